"""A trial is a pure function from a payload to a row; it never raises for what went wrong in it."""

from __future__ import annotations

import resource
import signal
import time

import pytest

from hermes.cluster import DataFile, Trial, TrialSetup, run_trial
from hermes.cluster.data import digest_of, with_content
from hermes.cluster.time_limit import OutOfTimeError, time_limit
from hermes.metrics import METRICS
from hermes.sim import simulate
from tests.sweeps.misbehaving import ODD_ERRORS
from tests.sweeps.small_study import STUDY

SCENARIO = STUDY["scenario"]
POLICY = "tests.sweeps.misbehaving:"
BATCHING = "clients.chat.batching"


def trial(overrides=None, **fields) -> Trial:
    return Trial(0, "key", overrides or {}, 0, **fields)


def row_of(overrides=None, limit=None):
    return run_trial(TrialSetup(SCENARIO, time_limit_s=limit), trial(overrides))


def test_a_row_holds_every_metric_of_the_simulation():
    from hermes.scenario import build_scenario

    row = row_of({"clients.chat.replicas": 2})
    scenario = build_scenario(
        SCENARIO | {"clients": {"chat": SCENARIO["clients"]["chat"] | {"replicas": 2}}}
    )
    assert {name: row[name] for name in METRICS} == simulate(scenario).summary
    assert (row["status"], row["error"], row["cost_model"]) == ("completed", None, "linear")


def test_a_warm_process_returns_the_bits_of_a_cold_one():
    rows = [row_of({"clients.chat.costs": "roofline"}) for _ in range(2)]
    other = row_of({"clients.chat.costs": "roofline", "seed": 3})
    assert {name: rows[0][name] for name in METRICS} == {name: rows[1][name] for name in METRICS}
    assert other["ttft_ms.mean"] == rows[0]["ttft_ms.mean"], "the trial's seed decides"


@pytest.mark.parametrize(
    ("overrides", "status", "error_type"),
    [
        ({BATCHING: POLICY + "Raises"}, "failed", "ValueError"),
        ({BATCHING: POLICY + "Exits"}, "failed", "SystemExit"),
        ({BATCHING: POLICY + "Recurses"}, "failed", "RecursionError"),
        ({BATCHING: POLICY + "Spins"}, "timeout", "TrialTimeoutError"),
        ({"clients.chat.model": "llama-3.1-405b"}, "infeasible", "InfeasibleError"),
        ({"clients.chat.replicas": 0}, "failed", "InputError"),
    ],
)
def test_whatever_goes_wrong_is_in_the_row(overrides, status, error_type):
    row = row_of(overrides, limit=1.0)
    assert (row["status"], row["error_type"]) == (status, error_type)
    assert 0 < len(row["error"]) <= 1010
    assert row["trial_seconds"] >= 0


@pytest.mark.parametrize("name", list(ODD_ERRORS))
def test_whatever_is_raised_is_in_the_row(monkeypatch, name):
    monkeypatch.setenv("HERMES_TEST_ERROR", name)
    row = row_of({BATCHING: POLICY + "RaisesOddly"})
    assert (row["status"], row["error_type"]) == ("failed", name)
    assert len(row["error"]) <= 1010
    row["error"].encode("utf-8")


def test_a_trial_that_eats_memory_is_a_row_and_the_next_one_runs():
    before = resource.getrlimit(resource.RLIMIT_AS)
    setup = TrialSetup(SCENARIO, memory_limit_gib=0.25)
    row = run_trial(setup, trial({BATCHING: POLICY + "EatsMemory"}))
    assert (row["status"], row["error_type"]) == ("failed", "OutOfMemoryError")
    assert row["error"] == "stopped when it held 0.25 GiB, its memory limit"
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert run_trial(setup, trial())["status"] == "completed"


def test_the_time_limit_leaves_no_alarm_behind():
    with pytest.raises(OutOfTimeError), time_limit(0.01):
        time.sleep(60)
    with time_limit(5.0):
        time.sleep(0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def trace(folder, tokens):
    path = folder / "trace.csv"
    path.write_text(f"arrival_s,prompt_tokens,output_tokens\n0,5,{tokens}\n1,5,5\n")
    return path


def traced_row(folder, file):
    requests = {"trace": "hermes", "path": "trace.csv"}
    workload = {"requests": requests, "arrivals": {"process": "trace"}}
    setup = TrialSetup(SCENARIO | {"workload": workload}, str(folder), None, (file,))
    return run_trial(setup, trial(files=("trace.csv",)))


def test_a_trace_changed_under_a_running_study_is_noticed(tmp_path):
    file = DataFile("trace.csv", digest_of(trace(tmp_path, 7)))
    assert traced_row(tmp_path, file)["output_tokens"] == 12
    trace(tmp_path, 70)
    row = traced_row(tmp_path, file)
    assert (row["status"], row["error_type"]) == ("failed", "InputError")
    assert "has changed since the study started" in row["error"]


def test_a_worker_without_the_file_uses_the_copy_that_came_along(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = trace(tmp_path, 9)
    (file,) = with_content((DataFile("trace.csv", digest_of(path), None, "file"),), tmp_path)
    path.unlink()
    assert traced_row(tmp_path, file)["output_tokens"] == 14
    trace(tmp_path, 70)
    assert traced_row(tmp_path, file)["output_tokens"] == 14, "other content, same name"


def test_a_changed_trace_is_not_answered_from_the_cache(tmp_path):
    for tokens in (3, 4):
        file = DataFile("trace.csv", digest_of(trace(tmp_path, tokens)))
        assert traced_row(tmp_path, file)["output_tokens"] == tokens + 5
