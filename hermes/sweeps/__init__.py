"""Studies: a question about deployments, searched by a sampler, answered by trials."""

from __future__ import annotations

from hermes.sweeps.allowance import require_allowed
from hermes.sweeps.confirm import Confirmation, confirm_trial
from hermes.sweeps.explain import explain_study, study_schema
from hermes.sweeps.find import find_study, study_names
from hermes.sweeps.loop import Pace
from hermes.sweeps.run import StudyOutcome, run_study
from hermes.sweeps.spec import StudySpec
from hermes.sweeps.study import Study, load_study

__all__ = [
    "Confirmation",
    "Pace",
    "Study",
    "StudyOutcome",
    "StudySpec",
    "confirm_trial",
    "explain_study",
    "find_study",
    "load_study",
    "require_allowed",
    "run_study",
    "study_names",
    "study_schema",
]
