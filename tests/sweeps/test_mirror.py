"""A copy for optuna-dashboard: read back by Optuna's own storage, and never in the way."""

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hermes.errors import InputError
from hermes.results import read_trials
from tests.sweeps.small_study import SPACE_SIZE, digest, loaded, run_here


def mirrored(path):
    return optuna.load_study(
        study_name="small", storage=JournalStorage(JournalFileBackend(str(path)))
    )


def test_optuna_reads_what_the_rows_say_also_after_a_resume(tmp_path):
    study, path = loaded(tmp_path), tmp_path / "mirror.log"
    run_here(study, tmp_path / "out", trials=7, mirror=path)
    assert len(mirrored(path).trials) == 7
    run_here(study, tmp_path / "out", resume=True, mirror=path)
    found = mirrored(path)
    assert found.metric_names == ["cost_per_million_output_tokens", "ttft_ms.p99"]
    rows = read_trials(tmp_path / "out").set_index("trial_key")
    assert len(found.trials) == len(rows) == SPACE_SIZE
    for trial in found.trials:
        row = rows.loc[trial.user_attrs["trial_key"]]
        assert trial.state is TrialState.COMPLETE
        assert trial.values == [row["cost_per_million_output_tokens"], row["ttft_ms.p99"]]
        assert trial.user_attrs["tpot_ms.p50"] == row["tpot_ms.p50"]
    assert len(found.best_trials) > 0


def test_a_mirror_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch, capfd):
    def full(self, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hermes.sweeps.mirror.Mirror._trial", full)
    study, path = loaded(tmp_path), tmp_path / "mirror.log"
    run_here(study, tmp_path / "out", mirror=path, quiet=False)
    assert "mirror.log is not complete: No space left on device" in capfd.readouterr().err
    run_here(study, tmp_path / "whole")
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_nothing_but_a_journal_is_replaced(tmp_path):
    for text in ("years of work", '["a", "list"]', '{"a": 1}'):
        (tmp_path / "thesis.txt").write_text(text)
        with pytest.raises(InputError, match="is not an Optuna journal"):
            run_here(
                loaded(tmp_path), tmp_path / "out", resume=True, mirror=tmp_path / "thesis.txt"
            )
        assert (tmp_path / "thesis.txt").read_text() == text
    with pytest.raises(InputError, match="its folder does not exist"):
        run_here(loaded(tmp_path), tmp_path / "out", resume=True, mirror=tmp_path / "no" / "m.log")
