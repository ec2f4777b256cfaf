"""A study that asks for very much is asked about first."""

from __future__ import annotations

import json

import pytest

from hermes.cli import _run as hermes
from hermes.errors import InputError
from hermes.sweeps import load_study, require_allowed, study_names
from tests.sweeps.small_study import STUDY, loaded, written

LARGE = {"sampler": "random", "space": STUDY["space"] | {"seed": {"int": [0, 10**9]}}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (LARGE | {"trials": 100_001}, "trials: the study asks for 100,001 trials, above 100,000"),
        ({"trial_memory_gib": 65}, "trial_memory_gib: the study asks for 65 GiB for one trial"),
        ({"trial_timeout_s": 86_401}, "trial_timeout_s: the study asks for 86,401 seconds"),
    ],
)
def test_beyond_the_limits_a_yes_is_needed(tmp_path, changes, said, capsys):
    study, out = written(tmp_path, **changes), tmp_path / "out"
    assert hermes(["sweep", str(study), "--out", str(out), "--workers", "0"]) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert said in text
    assert "add --yes" in text
    assert not out.exists()


def test_a_yes_lets_it_run(tmp_path):
    study, out = written(tmp_path, trial_memory_gib=65), tmp_path / "out"
    given = ["sweep", str(study), "--out", str(out), "--workers", "0", "--quiet", "--no-report"]
    assert hermes([*given, "--trials", "2", "--yes"]) == 0


def test_a_budget_on_the_command_line_counts_too(tmp_path):
    study = loaded(tmp_path, **LARGE)
    require_allowed(study)
    with pytest.raises(InputError, match="200,000 trials"):
        require_allowed(study, 200_000)


def test_a_small_space_with_a_large_budget_is_small(tmp_path):
    require_allowed(loaded(tmp_path, trials=10_000_000))


@pytest.mark.parametrize("name", study_names())
def test_the_studies_that_ship_need_no_yes(name, shared_data):
    try:
        study = load_study(name)
    except InputError as error:
        pytest.skip(f"needs its trace: {json.dumps(str(error))[:60]}")
    require_allowed(study)
