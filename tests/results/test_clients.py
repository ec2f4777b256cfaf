"""Readers we did not write see the same rows: pandas, Polars and DuckDB, without a hint."""

import duckdb
import pandas as pd
import polars as pl
import pytest

from hermes.errors import HermesError, InputError
from hermes.results import StudyFolder, read_trials
from tests.results.study_rows import SPACE, STUDY, schema, study_rows

ROWS = study_rows()
COUNTED = {"completed": 120, "infeasible": 38, "failed": 1, "timeout": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    with StudyFolder(path) as study:
        study.write_study(STUDY)
        for start in range(0, len(ROWS), 30):
            study.write_part(ROWS[start : start + 30], schema())
    (path / "trials" / ".part-000099-0123456789abcdef.parquet.tmp").write_bytes(b"half")
    return path


def test_read_trials_gives_the_table_a_user_works_with(folder):
    frame = read_trials(folder)
    assert frame["number"].tolist() == list(range(160))
    assert frame["status"].value_counts().to_dict() == COUNTED
    assert frame["param.clients.chat-pool.tensor_parallel_size"].dtype == "int64"
    assert set(frame["param.clients.chat-pool.device"]) == set(SPACE["clients.chat-pool.device"])


def test_pandas_reads_the_folder(folder):
    frame = pd.read_parquet(folder / "trials").sort_values("number", ignore_index=True)
    pd.testing.assert_frame_equal(frame, read_trials(folder))


def test_polars_reads_the_folder(folder):
    frame = pl.scan_parquet(folder / "trials" / "*.parquet").sort("number").collect()
    assert frame.to_dicts() == _stored(folder)


def test_duckdb_reads_the_folder(folder):
    with duckdb.connect() as connection:
        found = connection.sql(
            f"select * from '{folder}/trials/*.parquet' order by number"
        ).to_arrow_table()
        counts = connection.sql(
            f"select status, count(*) from '{folder}/trials/*.parquet' group by status"
        ).fetchall()
    assert found.to_pylist() == _stored(folder)
    assert dict(counts) == COUNTED


def test_a_folder_without_a_study_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match=r"no study: expected study.json and trials/part"):
        read_trials(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_trials(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        read_trials(tmp_path / "file")


def test_a_study_without_a_finished_trial_says_so(tmp_path):
    with StudyFolder(tmp_path) as study:
        study.write_study(STUDY)
    with pytest.raises(InputError, match="no finished trial yet"):
        read_trials(tmp_path)


def test_a_damaged_part_is_named_with_its_repair_and_left_in_place(tmp_path):
    with StudyFolder(tmp_path) as study:
        study.write_study(STUDY)
        part = study.write_part(ROWS[:2], schema())
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(HermesError, match=rf"{part.name}: damaged.*--resume"):
        read_trials(tmp_path)
    assert part.exists()


def _stored(folder):
    with StudyFolder(folder) as study:
        return study.read_rows(schema()).to_dicts()
