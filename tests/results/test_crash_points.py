"""Every crash point and every I/O error of a small study, not a random sample of them.

The study is played once to count its system calls; then once for each call and each way of
failing there. Whatever happens, a row that was acknowledged is never lost, none is doubled, and
taking the study up again completes it.
"""

import errno
import os

import pytest

from hermes.errors import HermesError
from hermes.results import StudyFolder, read_rows, trial_schema
from hermes.results.schema import rows_to_table
from tests.results.fault_files import (
    CountingFiles,
    Crash,
    CrashingFiles,
    FailingFiles,
)
from tests.results.study_rows import STUDY, study_rows

SCHEMA = trial_schema({"clients.chat-pool.device": str}, ["ttft_ms.p99"])
ROWS = rows_to_table(
    [{name: row[name] for name in row if name in SCHEMA.names} for row in study_rows()[:6]], SCHEMA
).to_pylist()


def play(path, files, acknowledged):
    """Run what is missing of the six-trial study, two trials a part."""
    with StudyFolder(path, files) as folder:
        folder.write_study(STUDY)
        stored = folder.read_rows(SCHEMA)
        done = set(stored.table.column("number").to_pylist())
        assert set(acknowledged) <= done
        todo = [row for row in ROWS if row["number"] not in done]
        for start in range(0, len(todo), 2):
            batch = todo[start : start + 2]
            folder.write_part(batch, SCHEMA)
            acknowledged.extend(row["number"] for row in batch)


def damage(path):
    """Cut a part short, so that the replay also walks the way into quarantine."""
    part = min((path / "trials").iterdir())
    part.write_bytes(part.read_bytes()[:-1])


def prepared(path):
    """A study with one damaged part of the first two trials and a leftover draft."""
    with StudyFolder(path) as folder:
        folder.write_part(ROWS[:2], SCHEMA)
    damage(path)
    (path / "trials" / ".part-000003-0123456789abcdef.parquet.tmp").write_bytes(b"half")
    return path


def require_complete(path):
    play(path, None, [])
    with StudyFolder(path) as folder:
        stored = folder.read_rows(SCHEMA)
        assert folder.study() == STUDY
    assert stored.to_dicts() == ROWS
    names = [file.name for file in path.rglob("*")]
    assert not any(name.endswith(".tmp") for name in names)


def calls_of(path):
    files = CountingFiles()
    play(prepared(path), files, [])
    return files.calls


def test_the_study_makes_every_kind_of_call(tmp_path):
    assert set(calls_of(tmp_path / "new")) == {
        "make_folder", "open_lock", "lock", "truncate", "create", "write", "sync", "close",
        "link", "rename", "remove", "sync_folder",
    }  # fmt: skip


@pytest.mark.parametrize("moment", ["before", "halfway", "after"])
def test_a_crash_at_any_call_loses_and_doubles_nothing(tmp_path, moment):
    for at in range(len(calls_of(tmp_path / "count"))):
        path = prepared(tmp_path / f"{moment}-{at}")
        files, acknowledged = CrashingFiles(at, moment), []
        with pytest.raises(Crash):
            play(path, files, acknowledged)
        files.release()
        play(path, None, acknowledged)
        require_complete(path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("lost", [False, True], ids=["refused", "reply-lost"])
def test_an_error_at_any_call_is_one_message_and_loses_nothing(tmp_path, code, lost):
    calls = calls_of(tmp_path / "count")
    for at, name in enumerate(calls):
        path = prepared(tmp_path / f"{code}-{at}")
        files, acknowledged = FailingFiles(at, code, lost), []
        with pytest.raises(HermesError) as caught:
            play(path, files, acknowledged)
        assert str(path) in str(caught.value), name
        assert os.strerror(code) in str(caught.value), name
        play(path, None, acknowledged)
        require_complete(path)


def merge(path, files, most_small=1):
    with StudyFolder(path, files) as folder:
        folder.read_rows(SCHEMA)
        folder.compact(SCHEMA, most_small)


@pytest.mark.parametrize("moment", ["before", "halfway", "after"])
def test_a_crash_at_any_call_of_a_merge_loses_and_doubles_nothing(tmp_path, moment):
    def study(path):
        with StudyFolder(path) as folder:
            folder.write_study(STUDY)
            for row in ROWS:
                folder.write_part([row], SCHEMA)
        return path

    counter = CountingFiles()
    merge(study(tmp_path / "count"), counter)
    assert counter.calls.count("remove") == len(ROWS) + 1
    for at in range(len(counter.calls)):
        path = study(tmp_path / f"{moment}-{at}")
        files = CrashingFiles(at, moment)
        with pytest.raises(Crash):
            merge(path, files)
        files.release()
        assert read_rows(path) == ROWS
        merge(path, None)
        require_complete(path)
