"""Confirming a trial: the right one, rebuilt as it was, compared with what the real engine does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from hermes.cli import _run as hermes
from hermes.errors import InputError, UnknownNameError
from hermes.results import pareto_front, read_trials
from hermes.sim.batching.vllm_scheduler import is_vllm_installed
from hermes.sweeps import confirm_trial
from hermes.sweeps.stored_trial import read_stored_trial
from tests.sweeps.small_study import STUDY, loaded, run_here

ITSELF = "tests.sweeps.stand_ins:LikeItself"
STATIC = "tests.sweeps.stand_ins:LikeStatic"
PACED = "tests.sweeps.stand_ins:LikePaced"


def study(tmp_path: Path, **changes: Any) -> Path:
    """Run a study of few trials and return its folder."""
    scenario = copy.deepcopy(STUDY["scenario"])
    scenario["clients"]["chat"]["batching"] = changes.pop("batching", ITSELF)
    scenario["clients"]["chat"] |= changes.pop("client", {})
    scenario["workload"] |= changes.pop("workload", {})
    space = changes.pop("space", {"clients.chat.max_num_seqs": [2, 4]})
    out = tmp_path / "out"
    run_here(loaded(tmp_path, scenario=scenario, space=space, sampler="grid", **changes), out)
    return out


class TestWhichTrial:
    def test_by_number_or_the_beginning_of_its_key(self, tmp_path: Path) -> None:
        out = study(tmp_path)
        for row in read_trials(out).to_dict("records"):
            for which in (str(row["number"]), row["trial_key"][:8], row["trial_key"]):
                assert read_stored_trial(out, which).row["trial_key"] == row["trial_key"]

    def test_by_default_the_best_of_the_front(self, tmp_path: Path) -> None:
        out = study(tmp_path)
        front = pareto_front(read_trials(out), STUDY["objectives"])
        assert read_stored_trial(out).row["number"] == front["number"].iloc[0]

    @pytest.mark.parametrize("which", ["7", "", "abc", "0123456789"])
    def test_no_other(self, tmp_path: Path, which: str) -> None:
        with pytest.raises(UnknownNameError, match="unknown trial"):
            read_stored_trial(study(tmp_path), which)

    def test_none_where_none_meets_the_constraints(self, tmp_path: Path) -> None:
        out = study(tmp_path, constraints={"ttft_ms.p99": "<= 0.001"})
        with pytest.raises(InputError, match="no trial met"):
            read_stored_trial(out)
        assert read_stored_trial(out, "1").row["number"] == 1

    def test_none_that_has_no_result(self, tmp_path: Path) -> None:
        out = study(tmp_path, space={"clients.chat.max_model_len": [1000, 10**9]})
        with pytest.raises(InputError, match="infeasible"):
            read_stored_trial(out, "1")


class TestTheScenario:
    def test_is_the_one_that_ran(self, tmp_path: Path) -> None:
        space = {
            "clients.chat.max_num_seqs": {"int": [1, 64], "log": True},
            "workload.arrivals.rate_per_s": {"float": [10, 80]},
            "clients.chat.costs": [{"linear": {"step_us": 500, "token_us": 10}}, "roofline"],
            "clients.chat.max_model_len": [None, 4000],
            "clients.chat.enable_prefix_caching": [True, False],
        }
        scenario = copy.deepcopy(STUDY["scenario"])
        scenario["clients"]["chat"]["batching"] = ITSELF
        loaded_study = loaded(tmp_path, scenario=scenario, space=space, sampler="random")
        run_here(loaded_study, tmp_path / "out", trials=6)
        for number in range(6):
            assert confirm_trial(tmp_path / "out", str(number)).reproduced

    def test_sets_all_fields_of_a_bundle(self, tmp_path: Path) -> None:
        small = {"clients.chat.max_num_seqs": 2, "clients.chat.max_num_batched_tokens": 64}
        large = {"clients.chat.max_num_seqs": 8, "clients.chat.max_num_batched_tokens": 512}
        out = study(tmp_path, space={"size": {"bundle": {"small": small, "large": large}}})
        for number, seqs in (("0", 2), ("1", 8)):
            assert read_stored_trial(out, number).scenario.clients["chat"].max_num_seqs == seqs
            assert confirm_trial(out, number).reproduced

    def test_is_at_the_load_that_a_capacity_search_found(self, tmp_path: Path) -> None:
        scenario = copy.deepcopy(STUDY["scenario"])
        scenario["clients"]["chat"]["batching"] = ITSELF
        scenario["slo"] = {"ttft_ms": 100}
        out = tmp_path / "out"
        changes = {"objectives": {"capacity_goodput": "maximize"}, "constraints": None}
        space = {"clients.chat.max_num_seqs": [2, 4]}
        judged = {"evaluate": "capacity", "replicates": 1, "sampler": "grid"}
        run_here(loaded(tmp_path, scenario=scenario, space=space, **changes, **judged), out)
        trial = read_stored_trial(out, "0")
        assert trial.scenario.workload.arrivals.rate_per_s == trial.row["capacity_load"]
        found = confirm_trial(out, "0")
        assert found.reproduced is None
        assert found.metrics["ttft_ms.p99"].own == trial.row["ttft_ms.p99"]
        assert found.within(0)

    def test_finds_its_files_where_they_were(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "trace.csv").write_text(
            "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,20,6\n"
        )
        trace = {"requests": {"trace": "hermes", "path": "trace.csv"}, "arrivals": None}
        out = study(tmp_path, workload={**trace, "limit": None})
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert confirm_trial(out).requests == 2
        (tmp_path / "trace.csv").rename(tmp_path / "elsewhere/trace.csv")
        with pytest.raises(InputError, match="--data"):
            confirm_trial(out)
        assert confirm_trial(out, data=tmp_path / "elsewhere").requests == 2
        (tmp_path / "elsewhere/trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n")
        with pytest.raises(InputError, match="has changed"):
            confirm_trial(out, data=tmp_path / "elsewhere")


class TestTheComparison:
    def test_finds_nothing_where_nothing_differs(self, tmp_path: Path) -> None:
        found = confirm_trial(study(tmp_path))
        assert found.reproduced
        assert found.within(0)
        assert found.largest == 0
        assert (found.first_token.requests, found.last_token.requests) == (0, 0)
        assert found.engines == {"chat": "chunked"}
        assert list(found.metrics)[:2] == list(STUDY["objectives"])

    def test_counts_the_requests_that_differ(self, tmp_path: Path) -> None:
        found = confirm_trial(study(tmp_path, batching=STATIC))
        assert found.reproduced
        assert 0 < found.first_token.requests <= found.requests == 20
        assert found.first_token.largest_ms > 0
        assert found.metrics["ttft_ms.p99"].real > found.metrics["ttft_ms.p99"].own
        assert not found.within(0)
        assert not found.within(found.largest / 2)
        assert found.within(found.largest)

    def test_says_when_the_row_is_of_another_hermes(self, tmp_path: Path) -> None:
        out = study(tmp_path)
        path = out / "study.json"
        held = json.loads(path.read_text())
        held["scenario"]["clients"]["chat"]["costs"]["linear"]["step_us"] = 4001
        path.write_text(json.dumps(held))
        assert not confirm_trial(out).reproduced


class TestTheCommand:
    def test_prints_both_and_ends_well_when_they_agree(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert hermes(["confirm", str(study(tmp_path, batching=PACED)), "--trial", "1"]) == 0
        text = capsys.readouterr().out
        assert "trial 1 (" in text
        assert "confirmed by Paced 1.0" in text
        assert "first token at another time: 0 of 20 requests" in text

    def test_fails_when_they_differ_by_more_than_the_tolerance(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = str(study(tmp_path, batching=STATIC))
        assert hermes(["confirm", out, "--json"]) == 1
        facts = json.loads(capsys.readouterr().out)
        assert not facts["confirmed"]
        assert facts["last_token"]["requests_that_differ"] > 0
        assert facts["metrics"]["ttft_ms.p99"]["relative_difference"] > 0
        assert hermes(["confirm", out, "--tolerance", "1", "-q"]) == 0
        assert capsys.readouterr().out == ""

    def test_needs_a_policy_that_follows_an_engine(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert hermes(["confirm", str(study(tmp_path, batching="continuous"))]) == 2
        error = capsys.readouterr().err
        assert "clients.chat.batching" in error
        assert "those that do: chunked" in error

    def test_needs_vllm_for_what_follows_vllm(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("hermes.sim.batching.vllm.is_vllm_installed", lambda: False)
        assert hermes(["confirm", str(study(tmp_path, batching="chunked"))]) == 2
        assert "hermes-dse[vllm]" in capsys.readouterr().err

    def test_needs_an_engine_that_does_what_the_trial_asks_for(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("hermes.sim.batching.vllm.is_vllm_installed", lambda: True)
        client = {"scheduling_policy": "edf"}
        out = study(tmp_path, batching="chunked", client=client)
        assert hermes(["confirm", str(out)]) == 2
        assert "clients.chat.scheduling_policy" in capsys.readouterr().err


@pytest.mark.skipif(not is_vllm_installed(), reason="vLLM is not installed (extra [vllm])")
@pytest.mark.filterwarnings("ignore")  # vLLM's own
def test_vllm_itself_confirms_a_chunked_trial(tmp_path: Path) -> None:
    client = {"num_gpu_blocks_override": 40}
    found = confirm_trial(study(tmp_path, batching="chunked", client=client))
    assert found.engines["chat"].startswith("vLLM ")
    assert found.reproduced
    assert found.within(0)
