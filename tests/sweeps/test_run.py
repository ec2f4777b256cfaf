"""Running a study: every trial ends as one row, and a resume adds what is missing."""

from __future__ import annotations

import json
import resource
import signal

import pyarrow.parquet as pq
import pytest

from hermes.cluster.trial import _judged
from hermes.errors import HermesError, InputError, StudyLockedError
from hermes.metrics import METRICS
from hermes.results import StudyFolder, open_study, pareto_front, read_trials
from hermes.sweeps import Pace
from hermes.sweeps.warm_start import warm_start
from tests.sweeps.small_study import (
    PROVENANCE,
    SPACE_SIZE,
    STUDY,
    digest,
    loaded,
    rows_of,
    run_here,
)

POLICY = "tests.sweeps.misbehaving:"
RANDOM = {"sampler": "random", "space": STUDY["space"] | {"seed": {"int": [0, 9999]}}}


def test_a_grid_becomes_one_row_a_point(tmp_path):
    out = tmp_path / "out"
    outcome = run_here(loaded(tmp_path), out)
    assert outcome.counts == {"completed": SPACE_SIZE}
    assert (outcome.failed, outcome.interrupted, outcome.folder) == (0, False, out)
    frame = read_trials(out)
    assert list(frame["number"]) == list(range(SPACE_SIZE))
    assert frame["trial_key"].is_unique
    assert set(frame["param.clients.chat.device"]) == {"h100-sxm", "l40s"}
    assert frame["cost_model"].eq("linear").all()
    late = frame["ttft_ms.p99"] > 500
    assert (frame["feasible"] == ~late).all()
    assert (frame["violation"] == (frame["ttft_ms.p99"] / 500 - 1).clip(lower=0)).all()
    assert len(pareto_front(frame, open_study(out)["objectives"])) > 0


def test_two_runs_give_the_same_rows_bit_by_bit(tmp_path):
    study = loaded(tmp_path)
    run_here(study, tmp_path / "one")
    run_here(study, tmp_path / "two")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


@pytest.mark.parametrize("changes", [{}, RANDOM], ids=["grid", "random"])
def test_a_resumed_study_equals_an_undisturbed_one(tmp_path, changes):
    study = loaded(tmp_path, **changes)
    run_here(study, tmp_path / "whole", trials=20)
    for trials in (7, 7, 15, 20):
        outcome = run_here(study, tmp_path / "parts", trials=trials, resume=True)
        assert outcome.counts == {"completed": trials}
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


@pytest.mark.parametrize("sampler", ["tpe", {"nsga2": {"population_size": 6}}])
def test_a_resumed_search_runs_no_trial_twice(tmp_path, sampler):
    study = loaded(tmp_path, **RANDOM | {"sampler": sampler})
    for trials in (9, 20, 31):
        run_here(study, tmp_path / "out", trials=trials, resume=True)
        rows = rows_of(tmp_path / "out")
        assert len(rows) == len({row["trial_key"] for row in rows}) == trials
    numbers = sorted(row["number"] for row in rows)
    assert len(set(numbers)) == 31


@pytest.mark.parametrize("sampler", ["random", "tpe", {"nsga2": {"population_size": 4}}])
def test_a_small_space_is_used_up_and_the_study_ends(tmp_path, sampler):
    space = {"clients.chat.replicas": [1, 2, 3], "clients.chat.device": ["h100-sxm", "l40s"]}
    outcome = run_here(loaded(tmp_path, space=space, sampler=sampler, trials=50), tmp_path / "out")
    assert outcome.counts == {"completed": 6}


def test_points_that_mean_the_same_deployment_run_once(tmp_path):
    limits = [{"requests": 9}, {"requests": 9, "duration_s": None}, {"requests": 8}]
    study = loaded(tmp_path, space={"workload.limit": limits})
    for _ in range(2):
        assert run_here(study, tmp_path / "out", resume=True).counts == {"completed": 2}
    assert list(read_trials(tmp_path / "out")["number"]) == [0, 2]


def test_choices_of_several_kinds_arrive_as_they_were_written(tmp_path):
    space = {"clients.chat.costs": ["roofline", {"linear": {"step_us": 3000}}]}
    run_here(loaded(tmp_path, space=space), tmp_path / "out")
    frame = read_trials(tmp_path / "out")
    assert list(frame["param.clients.chat.costs"]) == ["roofline", '{"linear": {"step_us": 3000}}']
    assert list(frame["cost_model"])[1] == "linear"


def test_what_cannot_exist_is_a_row_and_never_runs(tmp_path):
    models = {"clients.chat.model": ["llama-3.1-70b", "llama-3.1-8b"]}
    outcome = run_here(loaded(tmp_path, space=models), tmp_path / "out")
    assert outcome.counts == {"completed": 1, "infeasible": 1}
    assert outcome.failed == 0
    row = read_trials(tmp_path / "out").iloc[0]
    assert row["error_type"] == "InfeasibleError"
    assert "clients.chat" in row["error"]
    assert row["trial_seconds"] == 0


def test_a_study_of_which_nothing_can_exist_says_why(tmp_path):
    space = {"clients.chat.model": ["llama-3.1-70b"], "clients.chat.replicas": [1, 2]}
    with pytest.raises(InputError, match=r"all 2 are infeasible\. .*2 of 2.: clients\.chat"):
        run_here(loaded(tmp_path, space=space), tmp_path / "out")
    assert len(read_trials(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("policy", "status", "error_type"),
    [("Raises", "failed", "ValueError"), ("Exits", "failed", "SystemExit"),
     ("Recurses", "failed", "RecursionError"), ("Spins", "timeout", "TrialTimeoutError")],
)  # fmt: skip
def test_a_trial_that_fails_is_a_row_and_the_study_goes_on(tmp_path, policy, status, error_type):
    space = {"clients.chat.batching": [POLICY + policy, "chunked"]}
    outcome = run_here(loaded(tmp_path, space=space, trial_timeout_s=1.0), tmp_path / "out")
    assert outcome.counts == {"completed": 1, status: 1}
    assert outcome.failed == 1
    row = read_trials(tmp_path / "out").iloc[0]
    assert (row["status"], row["error_type"]) == (status, error_type)
    assert 0 < len(row["error"]) <= 1010
    assert row["feasible"] is None or row["feasible"] != row["feasible"]
    again = run_here(loaded(tmp_path, space=space, trial_timeout_s=1.0), tmp_path / "out",
                     resume=True)  # fmt: skip
    assert again.counts == outcome.counts, "a finished trial is not run again"


def test_a_folder_with_a_study_needs_resume(tmp_path):
    run_here(loaded(tmp_path), tmp_path / "out", trials=2)
    with pytest.raises(InputError, match="add --resume"):
        run_here(loaded(tmp_path), tmp_path / "out")


def test_another_study_is_refused_with_what_differs(tmp_path):
    run_here(loaded(tmp_path), tmp_path / "out", trials=2)
    other = loaded(tmp_path, constraints={"ttft_ms.p99": "<= 400"}, seed=1)
    with pytest.raises(InputError, match="constraints, seed"):
        run_here(other, tmp_path / "out", resume=True)


def test_a_folder_of_other_things_is_refused_untouched(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds other things .thesis\.txt."):
        run_here(loaded(tmp_path), out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_second_driver_is_refused(tmp_path):
    study, out = loaded(tmp_path), tmp_path / "out"
    run_here(study, out, trials=2)
    with StudyFolder(out), pytest.raises(StudyLockedError, match="being written by process"):
        run_here(study, out, resume=True)


def test_resume_of_nothing_starts(tmp_path):
    assert run_here(loaded(tmp_path), tmp_path / "out", trials=3, resume=True).counts == {
        "completed": 3
    }


def test_a_larger_budget_does_not_make_auto_change_its_mind(tmp_path):
    study, out = loaded(tmp_path), tmp_path / "out"
    run_here(study, out, trials=10)
    assert json.loads((out / "study.json").read_text())["chosen_sampler"] == "qmc"
    run_here(study, out, trials=100, resume=True)
    assert len(read_trials(out)) == SPACE_SIZE


def test_damaged_rows_are_set_aside_and_run_again(tmp_path):
    study = loaded(tmp_path)
    run_here(study, tmp_path / "whole")
    run_here(study, tmp_path / "out")
    part = next((tmp_path / "out" / "trials").glob("part-*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    assert run_here(study, tmp_path / "out", resume=True).counts == {"completed": SPACE_SIZE}
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert len(list((tmp_path / "out" / "quarantine").iterdir())) == 1


def test_a_truncated_part_is_set_aside_and_its_trials_run_again(tmp_path):
    study, out = loaded(tmp_path), tmp_path / "out"
    run_here(study, tmp_path / "whole")
    run_here(study, out, pace=Pace(rows=5, seconds=60))
    parts = sorted((out / "trials").glob("part-*.parquet"))
    parts[1].write_bytes(parts[1].read_bytes()[:-100])
    parts[3].write_bytes(b"")
    assert run_here(study, out, resume=True).counts == {"completed": SPACE_SIZE}
    assert digest(out) == digest(tmp_path / "whole")
    assert len(list((out / "quarantine").iterdir())) == 2


def test_a_full_disk_is_one_error_and_a_resume_completes(tmp_path):
    """A limit on the size of files stands for the full disk: writes fail half-way."""
    study, out = loaded(tmp_path, sampler="grid"), tmp_path / "out"
    run_here(study, tmp_path / "whole")
    run_here(study, out, trials=5)
    before = rows_of(out)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(HermesError, match=r"cannot write \d+ trials .*File too large"):
            run_here(study, out, resume=True)
        assert rows_of(out) == before, "what was finished is readable while the disk is full"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(out.rglob("*.tmp"))
    run_here(study, out, resume=True)
    assert digest(out) == digest(tmp_path / "whole")


def test_a_study_of_a_hermes_with_fewer_metrics_is_read_and_goes_on(tmp_path, monkeypatch):
    study, out = loaded(tmp_path), tmp_path / "out"
    fewer = {name: metric for name, metric in METRICS.items() if name != "power_w"}
    with monkeypatch.context() as patch:
        patch.setattr("hermes.sweeps.run.METRICS", fewer)
        patch.setattr("hermes.cluster.trial._judged", without_power(_judged))
        run_here(study, out, trials=9)
    assert "power_w" not in read_trials(out)
    run_here(study, out, resume=True)
    frame = read_trials(out)
    assert len(frame) == SPACE_SIZE
    assert frame["power_w"].isna().sum() == 9
    assert pq.read_table(out / "trials").num_rows == SPACE_SIZE


def without_power(judged):
    def reduced(setup, runner):
        metrics, cost_model = judged(setup, runner)
        return {name: value for name, value in metrics.items() if name != "power_w"}, cost_model

    return reduced


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_warm_start_learns_from_an_earlier_study_and_runs_none_of_it_again(tmp_path, sampler):
    run_here(loaded(tmp_path), tmp_path / "earlier")
    space = STUDY["space"] | {"clients.chat.replicas": [1, 2, 3, 4]}
    study = loaded(tmp_path, space=space, sampler=sampler, warm_start="earlier", trials=32)
    run_here(study, tmp_path / "out")
    earlier = read_trials(tmp_path / "earlier").set_index("trial_key")["started_at"]
    now = read_trials(tmp_path / "out").set_index("trial_key")["started_at"]
    shared = [key for key in now.index if key in earlier.index]
    assert len(shared) == 24
    assert len(now) == 32
    assert (now[shared] == earlier[shared]).all()
    alone = loaded(tmp_path, space=space, sampler="grid")
    run_here(alone, tmp_path / "alone")
    ignore = [*PROVENANCE, "number"]
    assert rows_of(tmp_path / "out", ignore) == rows_of(tmp_path / "alone", ignore)


def test_points_outside_the_space_teach_nothing(tmp_path):
    run_here(loaded(tmp_path), tmp_path / "earlier")
    smaller = STUDY["space"] | {"clients.chat.replicas": [1, 3], "clients.chat.max_num_seqs": [2]}
    found = warm_start(loaded(tmp_path, space=smaller, warm_start="earlier"))
    assert len(found.lessons) == 4
    assert found.said.startswith("warm start: 4 of 24 trials of ")
    with pytest.raises(InputError, match="warm_start: no study"):
        warm_start(loaded(tmp_path, warm_start="nowhere"))
