"""From `speculative_config` to a deployment: memory, limits, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hermes.errors import InfeasibleError, InputError, UnknownNameError
from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.deployment import ClientPlan, resolve
from hermes.sim.explain import explain

DRAFTS = {"num_speculative_tokens": 3, "acceptance_rate": 0.7}


def scenario(config: dict[str, Any] | None = None, **client: Any):
    speculation = {} if config is None else {"speculative_config": config}
    return build_scenario(
        {
            "workload": {"requests": {"sample": "chat"}, "limit": {"requests": 40}},
            "clients": {
                "chat": {"model": "llama-3.1-8b", "device": "h100-sxm", **client, **speculation}
            },
        }
    )


def plan(config: dict[str, Any] | None = None, **client: Any) -> ClientPlan:
    return resolve(scenario(config, **client)).clients[0]


def test_lookahead_is_for_drafts_that_cache():
    assert plan(DRAFTS).limits.lookahead == 0
    assert plan({**DRAFTS, "draft": {"step_us": 200, "caches": True}}).limits.lookahead == 3
    assert plan({**DRAFTS, "draft": {"model": "llama-3.2-1b"}}).limits.lookahead == 3


def test_a_draft_model_takes_memory_from_the_cache():
    without, drafted = plan(DRAFTS), plan({**DRAFTS, "draft": {"model": "llama-3.2-1b"}})
    assert without.limits.num_blocks == plan().limits.num_blocks
    # 32 KiB a token beside 128 KiB, and 1.24 billion parameters in 16 bits
    free = without.limits.num_blocks * 16 * 131072 - 2.47e9
    assert drafted.limits.num_blocks == pytest.approx(free / 16 / (131072 + 32768), rel=1e-3)


def test_the_draft_model_is_named_in_the_report():
    deployment = resolve(scenario({**DRAFTS, "draft": {"model": "llama-3.2-1b"}}))
    assert "draft roofline" in deployment.cost_model
    facts = explain(scenario({**DRAFTS, "draft": {"model": "llama-3.2-1b"}}))["clients"]["chat"]
    assert facts["speculation"].startswith("3 drafts of llama-3.2-1b, 0.7 accepted: 2.53 tokens")
    assert "speculation" not in explain(scenario())["clients"]["chat"]


@pytest.mark.parametrize("mode", ["expected", "sampled"])
def test_drafts_that_hold_make_tokens_come_sooner(mode: str):
    config = {**DRAFTS, "mode": mode, "draft": {"model": "llama-3.2-1b"}}
    plain, drafted = simulate(scenario()).summary, simulate(scenario(config)).summary
    assert drafted["tpot_ms.mean"] < plain["tpot_ms.mean"]
    assert drafted["completed"] == plain["completed"] == 40
    again = simulate(scenario(config)).summary
    assert again == drafted


class TestRefused:
    def field(self, error: type[InputError], config: dict[str, Any], **client: Any) -> str:
        with pytest.raises(error) as caught:
            plan(config, **client)
        return caught.value.field

    def test_an_unknown_draft_model(self) -> None:
        field = self.field(UnknownNameError, {**DRAFTS, "draft": {"model": "llama-3.2-1c"}})
        assert field == "clients.chat.speculative_config.draft.model"

    def test_a_draft_model_with_another_vocabulary(self) -> None:
        field = self.field(InputError, {**DRAFTS, "draft": {"model": "qwen3-0.6b"}})
        assert field == "clients.chat.speculative_config.draft.model"

    def test_a_draft_model_that_leaves_no_room(self) -> None:
        config = {**DRAFTS, "draft": {"model": "llama-3.1-70b"}}
        field = self.field(InfeasibleError, config)
        assert field == "clients.chat.speculative_config.draft.model"

    @pytest.mark.parametrize("batching", ["chunked", "mixed"])
    def test_a_budget_below_the_tokens_to_verify(self, batching: str) -> None:
        limits = {"max_num_seqs": 64, "max_num_batched_tokens": 255, "batching": batching}
        assert self.field(InfeasibleError, DRAFTS, **limits).endswith("max_num_batched_tokens")
        assert plan(DRAFTS, **{**limits, "max_num_batched_tokens": 256})
        if batching == "chunked":
            assert plan({**DRAFTS, "mode": "sampled"}, **limits)

    def test_a_threshold_below_the_tokens_to_verify(self) -> None:
        field = self.field(InfeasibleError, DRAFTS, long_prefill_token_threshold=3)
        assert field == "clients.chat.long_prefill_token_threshold"
        assert plan(DRAFTS, long_prefill_token_threshold=4)

    def test_several_pipeline_stages(self) -> None:
        field = self.field(InfeasibleError, DRAFTS, pipeline_parallel_size=2)
        assert field == "clients.chat.pipeline_parallel_size"

    def test_no_drafts_and_no_chance(self) -> None:
        for change in ({"num_speculative_tokens": 0}, {"acceptance_rate": 1.5}):
            with pytest.raises(InputError, match=next(iter(change))):
                scenario({**DRAFTS, **change})
