"""Layers with a sliding window: the engine equals a reference that keeps every group's blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hermes.catalog import find_model
from hermes.costs.kv_groups import KvGroups, kv_groups
from hermes.errors import InfeasibleError
from hermes.scenario import build_scenario
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.deployment import ClientPlan, resolve
from hermes.sim.limits import most_window_blocks
from hermes.sim.simulation import simulate_deployment
from tests.oracle.pipeline import PipelinedReference
from tests.oracle.reference import (
    ROUTERS,
    NeverEndsError,
    ReferenceReplica,
    Request,
    round_robin,
    run_reference,
)
from tests.oracle.windows import WindowedReference
from tests.sim.deployments import limits, workload
from tests.sim.test_against_oracle import (
    ANY_HEALTH,
    BATCHING,
    COSTS,
    SCENARIO,
    Case,
    assert_equal_to_reference,
    cases,
)
from tests.sim.test_pipeline_parallel import HOP_S, pipelined


@dataclass(frozen=True)
class Windowed(Case):
    """A case of a model with windows."""

    def reference(self) -> tuple[list[Request], int]:
        requests = self.unserved()
        costs = COSTS[self.cost]()
        pool: list[ReferenceReplica] = [
            WindowedReference(self.bounds, self.batching, costs, self.order)
            for _ in range(self.replicas)
        ]
        run_reference(requests, pool, ROUTERS[self.routing]())
        return requests, sum(replica.steps for replica in pool)


def windowed(case: Case, groups: KvGroups) -> Windowed:
    """Return a case with windows, in a cache that holds as many tokens of all groups."""
    bounds = case.bounds
    blocks = bounds.num_blocks * groups.total
    longest = bounds.max_model_len
    in_flight = bounds.max_num_batched_tokens if case.batching == "chunked" else longest
    most = most_window_blocks(groups.window, in_flight, longest, bounds.block_size)
    bounds = replace(bounds, num_blocks=blocks, kv_groups=groups, window_blocks=most, swap_blocks=0)
    return Windowed(**{**vars(case), "bounds": bounds})


@st.composite
def groups_of_layers(draw: st.DrawFn) -> KvGroups:
    full = draw(st.sampled_from([0, 1, 1, 2]))
    sliding = draw(st.integers(1, 4)) if full else 1
    window = draw(st.sampled_from([2, 3, 5, 8, 16, 17, 33, 100, 400]))
    return KvGroups(full, sliding, window, layers=1)


@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    case = windowed(data.draw(cases(batching)), data.draw(groups_of_layers()))
    assert_equal_to_reference(case)


@pytest.mark.slow
@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=2_000, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_many_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    case = windowed(data.draw(cases(batching)), data.draw(groups_of_layers()))
    assert_equal_to_reference(case)


class PipelinedWindows(WindowedReference, PipelinedReference):
    """Windows in a replica with stages."""


@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_stages_equal_the_reference(data: st.DataObject) -> None:
    case = data.draw(cases("chunked"))
    case = replace(case, bounds=replace(case.bounds, prefill_schedule_interval=1))
    case = windowed(case, data.draw(groups_of_layers()))
    stages, requests = data.draw(st.integers(2, 4)), case.unserved()
    replica = PipelinedWindows(
        case.bounds,
        case.batching,
        COSTS[case.cost](),
        case.order,
        stages=stages,
        hop_ticks=lambda _: seconds_to_ticks(HOP_S),
    )
    try:
        run_reference(requests, [replica], round_robin())
    except NeverEndsError:
        reject()
    traffic = workload(case.requests, case.priority, case.prefixes)
    columns = simulate_deployment(SCENARIO, pipelined(case, stages), traffic, check=True).requests
    assert [(r.token_times[0], r.token_times[-1], r.preemptions) for r in requests] == list(
        zip(columns.first_token, columns.last_token, columns.preemptions, strict=True)
    )


class TestMemory:
    """What windows are for."""

    groups = KvGroups(full=1, sliding=3, window=64, layers=1)

    def test_more_requests_run_at_once(self) -> None:
        """Four groups of 160 blocks: 2,560 tokens of one request each, or those of its window."""
        requests = [(0, 1000, 400)] * 4
        bounds = limits(num_blocks=160, max_num_batched_tokens=256, max_num_seqs=8)
        wide = windowed(Case(requests, bounds), replace(self.groups, window=10**6))
        narrow = windowed(Case(requests, bounds), self.groups)
        for case in (wide, narrow):
            assert_equal_to_reference(case)
        columns = [case.simulated(fast_forward=True).requests for case in (wide, narrow)]
        assert columns[0].scheduled[-1] > columns[1].scheduled[-1]
        assert columns[0].last_token.max() > columns[1].last_token.max()

    def test_a_window_that_holds_everything_changes_nothing(self) -> None:
        requests = [(i * 10**9, 100 + 37 * i, 60 - i) for i in range(20)]
        bounds = limits(num_blocks=40, max_num_batched_tokens=256, max_num_seqs=8)
        plain = Case(requests, bounds).simulated(fast_forward=True)
        wide = windowed(Case(requests, bounds), KvGroups(0, 1, 10**6, 1))
        assert wide.simulated(fast_forward=True).requests.last_token.tolist() == (
            plain.requests.last_token.tolist()
        )


def client(**changes: object) -> ClientPlan:
    """Return the plan of a client of Gemma-3-27B."""
    options = {"model": "gemma-3-27b-it", "device": "h100-sxm", **changes}
    scenario = build_scenario(
        {"workload": {"requests": {"sample": "chat"}}, "clients": {"chat": options}}
    )
    return resolve(scenario).clients[0]


class TestPlan:
    def test_windows_are_freed_unless_told_otherwise(self) -> None:
        plan, whole = client(), client(disable_hybrid_kv_cache_manager=True)
        assert plan.limits.kv_groups == KvGroups(1, 6, 1024, 10)
        assert plan.limits.window_blocks == -(-(1023 + 2048) // 16) + 1
        assert whole.limits.kv_groups is None
        assert plan.limits.num_blocks > 6 * whole.limits.num_blocks
        assert plan.limits.max_model_len > 2 * whole.limits.max_model_len

    def test_whole_prompts_are_counted_whole(self) -> None:
        plan = client(batching="continuous")
        assert plan.limits.window_blocks * 16 > plan.limits.max_model_len

    @pytest.mark.parametrize("name", ["llama-3.1-8b", "Llama-4-Scout-17B-16E-Instruct"])
    def test_other_models_keep_everything(self, name: str) -> None:
        assert kv_groups(find_model(name)) is None

    def test_layers_that_do_not_divide_are_padded(self) -> None:
        model = replace(find_model("gemma-3-27b-it"), num_sliding_layers=40)
        assert kv_groups(model) == KvGroups(1, 2, 1024, 22)
        assert kv_groups(replace(model, num_sliding_layers=34)) == KvGroups(1, 1, 1024, 34)

    @pytest.mark.parametrize(
        "beside",
        [
            {"swap_space_gb": 4.0},
            {"speculative_config": {"num_speculative_tokens": 2, "acceptance_rate": 0.5}},
        ],
    )
    def test_what_is_not_modelled_beside_them(self, beside: dict[str, object]) -> None:
        assert client(**beside).limits.kv_groups is None
        with pytest.raises(InfeasibleError, match=next(iter(beside))) as caught:
            client(**beside, disable_hybrid_kv_cache_manager=False)
        assert caught.value.field == "clients.chat.disable_hybrid_kv_cache_manager"

    def test_a_model_without_windows_cannot_free_any(self) -> None:
        with pytest.raises(InfeasibleError, match="no layers whose window slides"):
            client(model="llama-3.1-8b", disable_hybrid_kv_cache_manager=False)
