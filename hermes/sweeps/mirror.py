"""A copy of a study in Optuna's own journal format, for optuna-dashboard to show while it runs.

Never the truth: it is written anew from the rows at each start, and if it cannot be written, the
study goes on without it. Lines are appended without Optuna's lock and flushes to disk, for there
is one writer and nothing to lose.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hermes.cluster.trial import Row
from hermes.errors import InputError
from hermes.metrics import METRICS
from hermes.sweeps.loop import outcome_of
from hermes.sweeps.study import Study

__all__ = ["Mirror"]

_SHOWN = ("trial_key", "status", "error", "feasible", "trial_seconds", "host")


class Mirror:
    """Appends a study's rows to an Optuna journal.

    Args:
        study: The study.
        path: The journal; one that is there is replaced.

    Raises:
        InputError: *path* holds something else, or cannot be written.
    """

    def __init__(self, study: Study, path: Path) -> None:
        _require_replaceable(path)
        import optuna
        from optuna.storages import JournalStorage

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._study = study
        self._space = study.space
        self._distributions = self._space.distributions()
        self.problem = ""
        try:
            path.unlink(missing_ok=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._journal = optuna.create_study(
                    study_name=study.name,
                    storage=JournalStorage(_backend(path)),
                    directions=list(study.spec.objectives.values()),
                )
                self._journal.set_metric_names(list(study.spec.objectives))
            self._journal.set_user_attr("question", study.spec.question)
        except OSError as error:
            raise InputError(
                f"cannot be written: {error.strerror}", "--mirror", str(path)
            ) from None

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows; a failure is noted in `problem`, and ends the mirror, not the study."""
        if self.problem:
            return
        try:
            for row in rows:
                self._journal.add_trial(self._trial(row))
        except OSError as error:
            self.problem = error.strerror or str(error)

    def _trial(self, row: Row) -> Any:
        states = self._optuna.trial.TrialState
        outcome = outcome_of(self._study, row)
        other = states.PRUNED if row["status"] == "pruned" else states.FAIL
        parameters = self._space.to_parameters(self._space.of_row(row))
        return self._optuna.trial.create_trial(
            state=other if outcome.values is None else states.COMPLETE,
            values=None if outcome.values is None else list(outcome.values),
            params=dict(parameters),
            distributions={path: self._distributions[path] for path in parameters},
            constraints=None if outcome.values is None else dict(outcome.excesses),
            user_attrs=_shown(row),
        )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in (*_SHOWN, *METRICS) if row.get(name) is not None}


def _require_replaceable(path: Path) -> None:
    """Refuse to replace anything but a journal."""
    if not path.exists():
        if not path.absolute().parent.is_dir():
            raise InputError("its folder does not exist", "--mirror", str(path))
        return
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 16)
        journal = not first or "op_code" in json.loads(first)
    except (OSError, ValueError, TypeError):
        journal = False
    if not journal:
        raise InputError("is not an Optuna journal, and is not replaced", "--mirror", str(path))


def _backend(path: Path) -> Any:
    from optuna.storages.journal import JournalFileBackend

    class Lines(JournalFileBackend):  # type: ignore[misc, unused-ignore]
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            with path.open("ab") as file:
                file.write(text.encode())

    return Lines(str(path))
