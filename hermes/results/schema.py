"""The schema of a study's trial rows: one explicit, versioned set of columns.

Every part of a study is written with the whole schema, never an inferred one: a column that is
empty in one part must not lose its type there, because readers take the schema from the first
part they open. The columns come in four groups: what was asked (key, number, status, seed),
the parameters (`param.<path>`), the metrics, and the provenance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hermes.errors import HermesError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "PARAMETER_PREFIX",
    "PROVENANCE_COLUMNS",
    "SCHEMA_VERSION",
    "STATUSES",
    "common_type",
    "parameter_column",
    "rows_to_table",
    "trial_schema",
]

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning."""

PARAMETER_PREFIX = "param."

STATUSES = ("completed", "pruned", "infeasible", "failed", "timeout")

PROVENANCE_COLUMNS = (
    "hermes_version",
    "schema_version",
    "host",
    "started_at",
    "trial_seconds",
    "attempt",
)
"""Columns that say how a row came about; two runs of one trial may differ in these."""

_REQUIRED = frozenset({"trial_key", "number", "status", "seed", "schema_version"})


def common_type(values: Iterable[object]) -> type:
    """Return the one column type that holds every choice of a parameter.

    Mixed choices, such as a name or a mapping, become text (JSON where they are not strings).
    """
    kinds = {type(value) for value in values if value is not None}
    for candidate in (bool, int, float):
        if kinds == {candidate}:
            return candidate
    return float if kinds == {int, float} else str


def parameter_column(path: str) -> str:
    """Return the column of the parameter at the dotted *path*."""
    return PARAMETER_PREFIX + path


def trial_schema(
    parameters: Mapping[str, type], metrics: Sequence[str], study_key: str = ""
) -> pa.Schema:
    """Return the schema of a study's rows.

    Args:
        parameters: Dotted path to `bool`, `int`, `float` or `str`, in the study's order.
        metrics: Names of the numeric metrics, in the catalog's order.
        study_key: Written into the parts, so that a stray part of another study is noticed.
    """
    import pyarrow as pa

    kinds: dict[type, pa.DataType] = {
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        str: pa.string(),
    }
    columns: list[tuple[str, pa.DataType]] = [
        ("trial_key", pa.string()),
        ("number", pa.int64()),
        ("status", pa.string()),
        ("error_type", pa.string()),
        ("error", pa.string()),
        ("seed", pa.int64()),
        ("feasible", pa.bool_()),
        ("violation", pa.float64()),
        *((parameter_column(path), kinds[kind]) for path, kind in parameters.items()),
        *((name, pa.float64()) for name in metrics),
        ("cost_model", pa.string()),
        ("hermes_version", pa.string()),
        ("schema_version", pa.int64()),
        ("host", pa.string()),
        ("started_at", pa.string()),
        ("trial_seconds", pa.float64()),
        ("attempt", pa.int64()),
    ]
    return _schema(columns, study_key)


def _schema(columns: Sequence[tuple[str, pa.DataType]], study_key: str) -> pa.Schema:
    import pyarrow as pa

    names = [name for name, _ in columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise HermesError(f"two columns of a study's rows are called {', '.join(doubled)}")
    return pa.schema(
        [pa.field(name, kind, nullable=name not in _REQUIRED) for name, kind in columns],
        metadata={
            "hermes.schema_version": str(SCHEMA_VERSION),
            "hermes.study_key": study_key,
        },
    )


def rows_to_table(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pa.Table:
    """Turn rows into a table of *schema*; columns a row lacks are null, NaN becomes null.

    `schema_version` is filled in. A column the schema does not know is an error: a misspelt
    metric must not vanish.
    """
    import pyarrow as pa

    known = set(schema.names)
    for row in rows:
        for name in row:
            if name not in known:
                raise HermesError(f"unknown column {name!r}{did_you_mean(name, known)}")
    arrays = []
    for field in schema:
        default = SCHEMA_VERSION if field.name == "schema_version" else None
        values = [row.get(field.name, default) for row in rows]
        arrays.append(pa.array(_cells(values, field), type=field.type))
    return pa.table(arrays, schema=schema)


def _cells(values: Sequence[object], field: pa.Field[Any]) -> list[object]:
    import pyarrow.types as kinds

    convert: Callable[[object], object]
    if kinds.is_string(field.type):
        convert = _text
    elif kinds.is_floating(field.type):
        convert = _number
    else:
        convert = _flag if kinds.is_boolean(field.type) else _whole
    cells: list[object] = []
    for value in values:
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        if missing and not field.nullable:
            raise HermesError(f"column {field.name!r} of a trial row must not be empty")
        try:
            cells.append(None if missing else convert(value))
        except TypeError as error:
            message = f"column {field.name!r} holds {field.type}, not {value!r}"
            raise HermesError(message) from error
    return cells


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError
