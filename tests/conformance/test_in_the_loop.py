"""`batching: vllm`: the installed vLLM decides; every recording it is asked for is exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.metrics.gaps import TokenGaps
from hermes.sim.batching.vllm import Vllm
from hermes.sim.batching.vllm_scheduler import Decision, is_vllm_installed
from hermes.sim.limits import EngineLimits
from hermes.sim.sequence import Sequence
from hermes.sim.simulation import simulate_deployment
from tests.conformance.agreement import NOT_YET, read_agreement
from tests.conformance.compare import difference
from tests.conformance.recording import FOLDER, Recording
from tests.sim.deployments import US, deployment, limits, linear, workload
from tests.sim.test_against_oracle import SCENARIO

REFUSED = "speculative tokens"  # Hermes does these by itself
NAMES = [
    row.recording for row in read_agreement() if row.verdict != NOT_YET and row.feature != REFUSED
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
    result = simulate_deployment(SCENARIO, plan, workload([(0, 10, 4), (0, 10, 4)]))
    milliseconds = 1000 * US
    assert (result.requests.first_token // milliseconds).tolist() == [1, 1]
    assert (result.requests.last_token // milliseconds).tolist() == [6, 4]
    assert result.requests.preemptions.tolist() == [0, 0]
    gaps, counts = TokenGaps.gathered(result.gaps)
    assert (gaps.repeat(counts) // milliseconds).tolist() == [1, 1, 1, 1, 1, 3]


class TestCheck:
    def test_asks_for_the_extra_where_vllm_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hermes.sim.batching.vllm.is_vllm_installed", lambda: False)
        assert "hermes-dse[vllm]" in Vllm().check(limits())

    def test_refuses_what_vllm_does_not_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hermes.sim.batching.vllm.is_vllm_installed", lambda: True)
        assert Vllm().check(limits()) == ""
        assert "swap_space_gb" in Vllm().check(limits(swap_blocks=1))
        assert "no drafts" in Vllm().check(limits(num_drafts=1))
        assert "max_num_seqs" in Vllm().check(limits(max_num_seqs=9, max_num_batched_tokens=8))
