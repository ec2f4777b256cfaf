"""Trials on Ray: every trial comes back as one row, whatever happens to the process it ran in."""

from __future__ import annotations

import time

import pytest

from hermes.cluster import PoolLimits, Trial, TrialPool, TrialSetup
from hermes.results import read_trials
from tests.sweeps.small_study import STUDY, digest, loaded, run_here

pytestmark = pytest.mark.ray

POLICY = "tests.sweeps.misbehaving:"
BATCHING = "clients.chat.batching"
PATIENCE_S = 60.0


def trials(*policies, start=0):
    return [
        Trial(number, f"key-{number}", {BATCHING: policy, "clients.chat.replicas": 1}, 0)
        for number, policy in enumerate(policies, start)
    ]


def collected(session, given, limit_s=None, limits=None):
    """Run trials to the end; return their rows by number."""
    pool = TrialPool(session, TrialSetup(STUDY["scenario"], None, limit_s), limits)
    try:
        pool.submit(given)
        rows, end = [], time.monotonic() + PATIENCE_S
        while len(rows) < len(given):
            assert time.monotonic() < end, f"only {len(rows)} of {len(given)} rows"
            rows += pool.wait(0.2)
        assert pool.wait(0.0) == []
    finally:
        pool.close()
    assert sorted(row["number"] for row in rows) == [trial.number for trial in given]
    return {row["number"]: row for row in rows}


def test_rows_are_those_of_this_process(ray_session, tmp_path):
    study = loaded(tmp_path)
    assert run_here(study, tmp_path / "ray", workers=2).counts == {"completed": 24}
    run_here(study, tmp_path / "here")
    assert digest(tmp_path / "ray") == digest(tmp_path / "here")


def test_many_short_trials_are_packed_and_all_come_back(ray_session):
    rows = collected(ray_session, trials(*["chunked"] * 300))
    assert {row["status"] for row in rows.values()} == {"completed"}


def test_a_learning_sampler_works_through_ray(ray_session, tmp_path):
    changes = {"sampler": {"nsga2": {"population_size": 8}}, "trials": 40,
               "space": STUDY["space"] | {"seed": {"int": [0, 999]}}}  # fmt: skip
    for trials_in_all in (20, 40):
        outcome = run_here(loaded(tmp_path, **changes), tmp_path / "out", trials=trials_in_all,
                           workers=2, resume=True)  # fmt: skip
        assert outcome.counts == {"completed": trials_in_all}


def test_exceptions_and_soft_time_limits_are_rows(ray_session):
    rows = collected(ray_session, trials(POLICY + "Raises", POLICY + "Spins", "chunked"), 3.0)
    assert [rows[number]["status"] for number in range(3)] == ["failed", "timeout", "completed"]
    assert rows[0]["error_type"] == "ValueError"


def test_a_trial_that_kills_its_worker_is_given_up_and_its_neighbours_are_not_blamed(ray_session):
    limits = PoolLimits(tasks_per_cpu=1, crash_attempts=2)
    given = trials("chunked", POLICY + "Dies", *["chunked"] * 10)
    rows = collected(ray_session, given, None, limits)
    assert rows[1]["status"] == "failed"
    assert rows[1]["error_type"] == "WorkerCrashedError"
    assert "2 attempts" in rows[1]["error"]
    assert rows[1]["attempt"] == 2
    assert {rows[number]["status"] for number in rows if number != 1} == {"completed"}


def test_a_worker_lost_once_costs_nothing_but_time(ray_session, died_marker):
    died_marker.unlink(missing_ok=True)
    rows = collected(ray_session, trials(POLICY + "DiesOnce"))
    assert (rows[0]["status"], rows[0]["attempt"]) == ("completed", 2)


def test_a_trial_that_no_alarm_reaches_is_ended_with_its_process(ray_session):
    limits = PoolLimits(grace_s=1.0)
    given = trials(POLICY + "IgnoresItsAlarm", "chunked", "chunked")
    rows = collected(ray_session, given, 3.0, limits)
    assert (rows[0]["status"], rows[0]["error_type"]) == ("timeout", "TrialTimeoutError")
    assert "its process was ended" in rows[0]["error"]
    assert rows[1]["status"] == rows[2]["status"] == "completed"


def test_the_session_of_others_is_left_running(ray_session):
    import ray

    from hermes.cluster import RaySession

    session = RaySession.start(workers=1)
    assert (session.owned, session.cpus) == (False, 1)
    session.close()
    assert ray.is_initialized()


@pytest.mark.slow
def test_a_trial_that_eats_memory_is_stopped_and_its_neighbours_are_not(ray_session, tmp_path):
    space = {BATCHING: ["chunked", POLICY + "EatsMemory"], "clients.chat.replicas": [1, 2]}
    study = loaded(tmp_path, space=space, trial_memory_gib=0.5)
    outcome = run_here(study, tmp_path / "out", workers=2)
    assert outcome.counts == {"completed": 2, "failed": 2}
    assert set(read_trials(tmp_path / "out")["error_type"].dropna()) == {"OutOfMemoryError"}


@pytest.mark.slow
def test_a_study_reports_what_ray_workers_could_not(ray_session, tmp_path):
    space = {BATCHING: ["chunked", POLICY + "Dies"], "clients.chat.replicas": [1, 2]}
    outcome = run_here(loaded(tmp_path, space=space), tmp_path / "out", workers=2)
    assert outcome.counts == {"completed": 2, "failed": 2}
