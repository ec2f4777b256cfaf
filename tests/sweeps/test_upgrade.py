"""Studies that an earlier Hermes wrote are read, reported and gone on with.

`golden/small` was written by the first commit that could run a study, `golden/pruned` by the one
that brought pruners; both stopped in the middle. They are never written anew: a change that makes
them unreadable needs a way to read them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hermes.results import open_study, read_rows, read_trials, write_report
from hermes.sweeps import load_study
from tests.sweeps.small_study import PROVENANCE, run_here

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = {"small": 7, "pruned": 9}
WHOLE = 12


@pytest.fixture(params=list(WRITTEN))
def name(request) -> str:
    return request.param


@pytest.fixture
def out(name, tmp_path) -> Path:
    return shutil.copytree(GOLDEN / name, tmp_path / name)


def test_its_rows_are_read_and_its_report_is_written(name, out):
    frame = read_trials(out)
    assert list(frame["number"]) == list(range(WRITTEN[name]))
    assert open_study(out)["name"] == name
    assert frame["ttft_ms.p99"].notna().all()
    for path in write_report(out).values():
        assert path.stat().st_size > 0


def test_a_resume_keeps_its_rows_and_adds_what_is_missing(name, out):
    before = {row["number"]: row for row in read_rows(out)}
    outcome = run_here(load_study(GOLDEN / f"{name}.yaml"), out, resume=True)
    assert sum(outcome.counts.values()) == WHOLE
    assert not (out / "quarantine").exists()
    after = {row["number"]: row for row in read_rows(out)}
    assert sorted(after) == list(range(WHOLE))
    for number, row in before.items():
        assert {column: after[number][column] for column in row} == row


def test_its_trials_have_the_same_results_today(name, out, tmp_path):
    """What was found then is found now, in every metric that both know.

    To the last bit but one: means have been summed in another order since.
    """
    run_here(load_study(GOLDEN / f"{name}.yaml"), tmp_path / "today")
    now = {row["number"]: row for row in read_rows(tmp_path / "today")}
    for row in read_rows(out):
        for column in row.keys() - {*PROVENANCE, "trial_key"}:
            found = now[row["number"]][column]
            if isinstance(found, float):
                found = pytest.approx(found, rel=1e-14)
            assert row[column] == found, column
