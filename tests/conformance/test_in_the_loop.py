"""`batching: vllm`: the installed vLLM decides; every recording it is asked for is exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.errors import InfeasibleError, InputError
from hermes.metrics.gaps import TokenGaps
from hermes.scenario import Scenario, build_scenario
from hermes.sim.batching.vllm import Vllm
from hermes.sim.batching.vllm_scheduler import Decision, is_vllm_installed
from hermes.sim.deployment import resolve
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import Fcfs
from hermes.sim.sequence import Sequence
from hermes.sim.simulation import simulate_deployment
from tests.conformance.agreement import NOT_YET, read_agreement
from tests.conformance.compare import difference
from tests.conformance.recording import FOLDER, Recording
from tests.sim.deployments import US, deployment, limits, linear, workload
from tests.sim.test_against_oracle import SCENARIO

REFUSED = (
    "speculative tokens",
    "disaggregated prefill",
    "disaggregated decode",
    "LoRA adapters",
)
NAMES = [
    row.recording
    for row in read_agreement()
    if row.verdict != NOT_YET and row.feature not in REFUSED
]


@pytest.mark.skipif(not is_vllm_installed(), reason="vLLM is not installed (extra [vllm])")
@pytest.mark.filterwarnings("ignore")  # vLLM's own
@pytest.mark.parametrize("name", NAMES)
def test_the_real_scheduler_makes_the_recorded_batches(name: str, tmp_path: Path) -> None:
    recording = Recording.read(FOLDER / f"{name}.json.gz")
    assert difference(recording, tmp_path, batching="vllm") == ""


class Scripted:
    """Stands in for vLLM: two prompts, then decodes that leave request 0 out of two steps."""

    def __init__(self, bounds: EngineLimits, policy: str) -> None:
        assert policy == "fcfs"
        self.free_blocks = bounds.num_blocks
        self.steps = [{0: 10, 1: 10}, {0: 1, 1: 1}, {1: 1}, {1: 1}, {0: 1}, {0: 1}]
        self.computed = {0: 0, 1: 0}

    def add(self, sequence: Sequence) -> None:
        assert sequence.request_id in self.computed

    def answer(self) -> None:
        pass

    def schedule(self) -> Decision:
        tokens = self.steps.pop(0)
        before = {number: self.computed[number] for number in tokens}
        for number, given in tokens.items():
            self.computed[number] += given
        return Decision(tokens, before, ())


def test_a_decode_left_out_of_a_step_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermes.sim.batching.vllm.VllmScheduler", Scripted)
    plan = deployment(batching="vllm", costs=linear(1000, 0, 0))
    result = simulate_deployment(SCENARIO, plan, workload([(0, 10, 4), (0, 10, 4)]), check=True)
    milliseconds = 1000 * US
    assert (result.requests.first_token // milliseconds).tolist() == [1, 1]
    assert (result.requests.last_token // milliseconds).tolist() == [6, 4]
    assert result.requests.preemptions.tolist() == [0, 0]
    gaps, counts = TokenGaps.gathered(result.gaps)
    assert (gaps.repeat(counts) // milliseconds).tolist() == [1, 1, 1, 1, 1, 3]


class TestCheck:
    """What vLLM is not there for, or does not do, is refused before time starts."""

    def test_asks_for_the_extra_where_vllm_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hermes.sim.batching.vllm.is_vllm_installed", lambda: False)
        with pytest.raises(InputError, match=r"hermes-dse\[vllm\]") as caught:
            Vllm().check(limits(), Fcfs)
        assert caught.value.field == "batching"
        assert not isinstance(caught.value, InfeasibleError)  # the machine's fault, not the point's

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"scheduling_policy": "shortest_prompt"}, "scheduling_policy"),
            ({"swap_space_gb": 1.0}, "swap_space_gb"),
            ({"max_num_batched_tokens": 8}, "max_num_batched_tokens"),
            ({"pipeline_parallel_size": 2}, "batching"),
            (
                {"speculative_config": {"num_speculative_tokens": 2, "acceptance_rate": 0.5}},
                "speculative_config",
            ),
        ],
    )
    def test_names_the_field(
        self, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], field: str
    ) -> None:
        monkeypatch.setattr("hermes.sim.batching.vllm.is_vllm_installed", lambda: True)
        resolve(scenario())
        with pytest.raises(InfeasibleError) as caught:
            resolve(scenario(**changes))
        assert caught.value.field == f"clients.chat.{field}"

    def test_serves_whole_requests_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hermes.sim.batching.vllm.is_vllm_installed", lambda: True)
        with pytest.raises(InfeasibleError, match="prefill") as caught:
            resolve(scenario(serves=["prefill"]))
        assert caught.value.field == "clients.chat.serves"


def scenario(**changes: object) -> Scenario:
    client = {"model": "llama-3.1-8b", "device": "h100-sxm", "batching": "vllm", **changes}
    return build_scenario(
        {"workload": {"requests": {"sample": "chat"}}, "clients": {"chat": client}}
    )
