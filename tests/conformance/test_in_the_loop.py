"""`batching: vllm`: the installed vLLM decides; every recording it is asked for is exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.sim.batching.vllm import Vllm
from hermes.sim.batching.vllm_scheduler import is_vllm_installed
from tests.conformance.agreement import NOT_YET, read_agreement
from tests.conformance.compare import difference
from tests.conformance.recording import FOLDER, Recording
from tests.sim.deployments import limits

NAMES = [row.recording for row in read_agreement() if row.verdict != NOT_YET]


@pytest.mark.skipif(not is_vllm_installed(), reason="vLLM is not installed (extra [vllm])")
@pytest.mark.filterwarnings("ignore")  # vLLM's own
@pytest.mark.parametrize("name", NAMES)
def test_the_real_scheduler_makes_the_recorded_batches(name: str, tmp_path: Path) -> None:
    recording = Recording.read(FOLDER / f"{name}.json.gz")
    assert difference(recording, tmp_path, batching="vllm") == ""


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
        assert "max_num_seqs" in Vllm().check(limits(max_num_seqs=9, max_num_batched_tokens=8))
