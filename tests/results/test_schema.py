"""The schema of trial rows: complete, typed, versioned, the same in every part."""

import pyarrow as pa
import pytest

from hermes.errors import HermesError
from hermes.results import SCHEMA_VERSION, common_type, trial_schema
from hermes.results.schema import rows_to_table


def test_columns_stand_in_the_documented_order():
    schema = trial_schema({"clients.a.device": str, "workload.rate": float}, ["ttft_ms.p99"])
    assert schema.names == [
        "trial_key", "number", "status", "error_type", "error", "seed", "feasible", "violation",
        "param.clients.a.device", "param.workload.rate", "ttft_ms.p99", "cost_model",
        "hermes_version", "schema_version", "host", "started_at", "trial_seconds", "attempt",
    ]  # fmt: skip


def test_the_schema_says_its_version_and_its_study():
    metadata = trial_schema({}, [], "abc").metadata
    assert metadata == {b"hermes.schema_version": b"1", b"hermes.study_key": b"abc"}


@pytest.mark.parametrize(
    ("choices", "kind"),
    [
        ([1, 2], int),
        ([1, 2.5], float),
        ([True, False], bool),
        (["a", "b"], str),
        ([True, 1], str),
        ([None, 4], int),
        ([None], str),
        ([{"linear": {}}, "roofline"], str),
    ],
)
def test_a_parameter_has_one_type_for_the_whole_study(choices, kind):
    assert common_type(choices) is kind


def rows_of(**values):
    return [{"trial_key": "k", "number": 0, "status": "completed", "seed": 0, **values}]


def test_an_empty_column_keeps_its_type():
    table = rows_to_table(rows_of(), trial_schema({"a": int}, ["m"]))
    assert table.schema.field("m").type == pa.float64()
    assert table.column("param.a").to_pylist() == [None]
    assert table.column("schema_version").to_pylist() == [SCHEMA_VERSION]


def test_whole_metrics_become_floats_nan_becomes_null_and_blocks_become_json():
    table = rows_to_table(
        rows_of(**{"m": 3, "n": float("nan"), "param.costs": {"linear": {"step_us": 1}}}),
        trial_schema({"costs": str}, ["m", "n"]),
    )
    assert table.column("m").to_pylist() == [3.0]
    assert table.column("n").to_pylist() == [None]
    assert table.column("param.costs").to_pylist() == ['{"linear": {"step_us": 1}}']


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ttft_ms.p98": 1.0}, r"unknown column 'ttft_ms.p98'; did you mean 'ttft_ms.p99'"),
        ({"param.a": 1.5}, r"column 'param.a' holds int64, not 1.5"),
        ({"param.a": True}, r"column 'param.a' holds int64, not True"),
        ({"ttft_ms.p99": "fast"}, r"column 'ttft_ms.p99' holds double, not 'fast'"),
        ({"feasible": 1}, r"column 'feasible' holds bool, not 1"),
        ({"status": None}, r"column 'status' of a trial row must not be empty"),
    ],
)
def test_a_wrong_row_is_refused_by_name(values, message):
    with pytest.raises(HermesError, match=message):
        rows_to_table(rows_of(**values), trial_schema({"a": int}, ["ttft_ms.p99"]))


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(HermesError, match="called seed"):
        trial_schema({}, ["seed"])
