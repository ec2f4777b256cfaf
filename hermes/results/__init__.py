"""Results: the store of a study's trials, the Pareto front, the reports."""

from __future__ import annotations

from hermes.results.pareto import knee_point, non_dominated, pareto_front
from hermes.results.place import Place, is_url, open_place
from hermes.results.report import Report, front_table, front_text, gather_report, write_report
from hermes.results.schema import SCHEMA_VERSION, common_type, parameter_column, trial_schema
from hermes.results.store import open_study, read_rows, read_trials
from hermes.results.study_folder import SetAside, StoredRows, StudyFolder

__all__ = [
    "SCHEMA_VERSION",
    "Place",
    "Report",
    "SetAside",
    "StoredRows",
    "StudyFolder",
    "common_type",
    "front_table",
    "front_text",
    "gather_report",
    "is_url",
    "knee_point",
    "non_dominated",
    "open_place",
    "open_study",
    "parameter_column",
    "pareto_front",
    "read_rows",
    "read_trials",
    "trial_schema",
    "write_report",
]
