"""A study's folder: one driver, whole parts, nothing lost and nothing doubled."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

from hermes.errors import HermesError, InputError, StudyLockedError
from hermes.results import StudyFolder, read_trials
from hermes.results.local_place import LocalPlace
from tests.results.fault_files import TricklingFiles, UnlinkedFiles
from tests.results.study_rows import STUDY, schema, study_rows

ROWS = study_rows()


def write(path, *batches, study=STUDY):
    with StudyFolder(path) as folder:
        folder.write_study(study)
        return [folder.write_part(batch, schema()) for batch in batches]


def read(path):
    with StudyFolder(path) as folder:
        return folder.read_rows(schema())


def numbers(stored):
    return stored.table.column("number").to_pylist()


def test_rows_come_back_as_they_were_written_in_the_order_asked(tmp_path):
    write(tmp_path / "out", ROWS[40:80], ROWS[:40])
    stored = read(tmp_path / "out")
    assert numbers(stored) == list(range(80))
    assert stored.set_aside == ()
    row = stored.to_dicts()[7]
    assert {name: row[name] for name in ROWS[7]} == ROWS[7]


def test_a_new_folder_holds_no_study_and_no_rows(tmp_path):
    with StudyFolder(tmp_path / "a" / "b") as folder:
        assert folder.study() is None
        assert folder.read_rows(schema()).table.num_rows == 0


def test_parts_are_named_by_number_and_content_and_no_draft_stays(tmp_path):
    paths = write(tmp_path, ROWS[:2], ROWS[2:4])
    assert [path.name[:12] for path in paths] == ["part-000000-", "part-000001-"]
    assert sorted(os.listdir(tmp_path)) == [".lock", "study.json", "trials"]
    assert sorted(os.listdir(tmp_path / "trials")) == sorted(path.name for path in paths)
    with StudyFolder(tmp_path) as folder:
        assert folder.write_part(ROWS[4:5], schema()).name.startswith("part-000002-")


def test_the_same_study_may_come_back_and_another_may_not(tmp_path):
    write(tmp_path)
    write(tmp_path, study=dict(STUDY))
    other = STUDY | {"study_key": "0", "constraints": []}
    with pytest.raises(InputError, match=r"holds another study .*different: constraints"):
        write(tmp_path, study=other)
    assert json.loads((tmp_path / "study.json").read_text())["study_key"] == STUDY["study_key"]


def test_a_damaged_study_file_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "study.json").write_text('{"name": ')
    with pytest.raises(HermesError, match=r"study.json is damaged"):
        write(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_one_error(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(HermesError, match=r"cannot create .*out: Not a directory"):
        write(tmp_path / "out")


def test_a_closed_folder_is_not_written_to(tmp_path):
    folder = StudyFolder(tmp_path)
    with pytest.raises(HermesError, match="not open"):
        folder.write_part(ROWS[:1], schema())


# --- One driver ---------------------------------------------------------------------------------


def test_a_second_driver_is_told_who_holds_the_study(tmp_path):
    with StudyFolder(tmp_path), pytest.raises(StudyLockedError) as caught:
        StudyFolder(tmp_path).open()
    message = str(caught.value)
    assert f"process {os.getpid()} on {os.uname().nodename} since 20" in message
    StudyFolder(tmp_path).open()


HOLDER = """
import sys, pathlib
from hermes.results import StudyFolder
StudyFolder(pathlib.Path(sys.argv[1])).open()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_killed_driver_leaves_the_lock_free_at_once(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StudyLockedError, match=f"process {holder.pid} "):
            StudyFolder(tmp_path).open()
        holder.kill()
        holder.wait()
    StudyFolder(tmp_path).open()


def test_an_unsigned_lock_is_still_a_lock(tmp_path):
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StudyLockedError, match="by another process"):
            StudyFolder(tmp_path).open()


def test_a_link_is_not_followed_to_the_lock(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(victim)
    with pytest.raises(HermesError, match=r"cannot lock .*\.lock"):
        StudyFolder(tmp_path / "out").open()
    assert victim.read_text() == "precious"


# --- Damage -------------------------------------------------------------------------------------


def damaged(path, content):
    path.write_bytes(content)
    stored = read(path.parents[1])
    assert numbers(stored) == [2, 3]
    (aside,) = stored.set_aside
    assert aside.file.startswith(f"quarantine/{path.name}")
    assert (path.parents[1] / aside.file).read_bytes() == content
    assert read(path.parents[1]).set_aside == ()
    return aside.why


def test_a_truncated_part_is_set_aside_at_every_length(tmp_path):
    first, _ = write(tmp_path, ROWS[:2], ROWS[2:4])
    whole = first.read_bytes()
    for length in [*range(0, 64, 7), *range(64, len(whole), 1997), len(whole) - 1]:
        assert "SHA-256" in damaged(first, whole[:length])


def test_a_flipped_bit_never_passes(tmp_path):
    first, _ = write(tmp_path, ROWS[:2], ROWS[2:4])
    whole = first.read_bytes()
    for bit in range(3, len(whole) * 8, 9001):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        assert "SHA-256" in damaged(first, bytes(content))


def test_a_set_aside_part_never_overwrites_an_earlier_one(tmp_path):
    first, _ = write(tmp_path, ROWS[:2], ROWS[2:4])
    for content in (b"one", b"two"):
        first.write_bytes(content)
        read(tmp_path)
    kept = sorted(path.read_bytes() for path in (tmp_path / "quarantine").iterdir())
    assert kept == [b"one", b"two"]


def test_an_honest_name_on_something_else_than_parquet_is_set_aside(tmp_path):
    from hermes.results.parts import PartName

    write(tmp_path, ROWS[:1])
    name = PartName.of(7, b"hello").file
    (tmp_path / "trials" / name).write_bytes(b"hello")
    stored = read(tmp_path)
    assert numbers(stored) == [0]
    assert "not a Parquet file" in stored.set_aside[0].why


def test_foreign_files_are_left_alone(tmp_path):
    write(tmp_path, ROWS[:2])
    trials = tmp_path / "trials"
    (trials / "notes.txt").write_text("mine")
    (trials / "part-1-abc.parquet").write_text("mine")
    (trials / ".part-000009-0123456789abcdef.parquet.tmp").write_text("half a part")
    (trials / "folder").mkdir()
    os.mkfifo(trials / "pipe")
    assert numbers(read(tmp_path)) == [0, 1]
    left = set(os.listdir(trials))
    assert {"notes.txt", "part-1-abc.parquet", "folder", "pipe"} < left
    assert not any(name.endswith(".tmp") for name in left)


def test_links_and_pipes_called_parts_are_set_aside_unread(tmp_path):
    write(tmp_path, ROWS[:1])
    trials = tmp_path / "trials"
    (trials / "part-000008-0123456789abcdef.parquet").symlink_to("/dev/zero")
    os.mkfifo(trials / "part-000009-0123456789abcdef.parquet")
    stored = read(tmp_path)
    assert numbers(stored) == [0]
    assert len(stored.set_aside) == 2


def test_a_part_of_another_study_is_set_aside(tmp_path):
    write(tmp_path / "mine", ROWS[:1])
    with StudyFolder(tmp_path / "other") as folder:
        part = folder.write_part(ROWS[1:2], schema("another"))
    part.rename(tmp_path / "mine" / "trials" / part.name)
    stored = read(tmp_path / "mine")
    assert numbers(stored) == [0]
    assert "another study (key another)" in stored.set_aside[0].why


def test_a_part_of_a_newer_hermes_is_refused_not_set_aside(tmp_path):
    newer = schema().with_metadata({"hermes.schema_version": "999"})
    with StudyFolder(tmp_path) as folder:
        part = folder.write_part(ROWS[:1], newer)
        with pytest.raises(HermesError, match="newer Hermes"):
            folder.read_rows(schema())
    assert part.exists()


# --- Twice the same trial -----------------------------------------------------------------------


def test_a_trial_run_twice_counts_once(tmp_path):
    again = ROWS[1] | {"number": 9, "host": "node-2", "attempt": 2, "trial_seconds": 9.0}
    write(tmp_path, ROWS[:3], [again])
    assert numbers(read(tmp_path)) == [0, 1, 2]


def test_two_different_results_of_one_trial_raise_the_alarm(tmp_path):
    one = ROWS[155]
    other = one | {"ttft_ms.p99": one["ttft_ms.p99"] * (1 + 2**-52)}
    write(tmp_path, [one], [other])
    with pytest.raises(HermesError, match=f"trial {one['trial_key']} was simulated twice"):
        read(tmp_path)
    with pytest.raises(HermesError, match=r"ttft_ms\.p99 was"):
        read_trials(tmp_path)


@pytest.mark.parametrize("order", [1, -1])
def test_a_result_replaces_a_failure_of_the_machinery(tmp_path, order):
    lost = {name: ROWS[155][name] for name in ("trial_key", "number", "seed")}
    lost |= {"status": "timeout", "error": "stopped after 300 s"}
    write(tmp_path, *[[row] for row in (lost, ROWS[155])[::order]])
    (row,) = read(tmp_path).to_dicts()
    assert row["status"] == "completed"


# --- Merging ------------------------------------------------------------------------------------


def test_many_small_parts_become_one_with_the_same_rows(tmp_path):
    write(tmp_path, *[[row] for row in ROWS[:30]])
    before = read(tmp_path).to_dicts()
    with StudyFolder(tmp_path) as folder:
        folder.read_rows(schema())
        folder.compact(schema(), most_small=30)
        assert len(os.listdir(tmp_path / "trials")) == 30, "so many may stay"
        folder.write_part(ROWS[30:31], schema())
        folder.compact(schema(), most_small=30)
        folder.write_part(ROWS[31:32], schema())
    assert len(os.listdir(tmp_path / "trials")) == 2
    assert read(tmp_path).to_dicts()[:30] == before
    assert numbers(read(tmp_path)) == list(range(32))
    assert len(read_trials(tmp_path)) == 32


def test_a_reader_is_not_disturbed_by_a_merge(tmp_path, monkeypatch):
    write(tmp_path, *[[row] for row in ROWS[:9]])
    real, calls = LocalPlace.read, []

    def merging(place, name):
        calls.append(name)
        if len(calls) == 4:
            with StudyFolder(tmp_path) as folder:
                folder.read_rows(schema())
                folder.compact(schema(), most_small=2)
        return real(place, name)

    monkeypatch.setattr(LocalPlace, "read", merging)
    assert list(read_trials(tmp_path)["number"]) == list(range(9))
    assert len(calls) > 20


# --- File systems -------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [TricklingFiles(), UnlinkedFiles()])
def test_odd_but_honest_file_systems_work(tmp_path, files):
    with StudyFolder(tmp_path, files) as folder:
        folder.write_study(STUDY)
        folder.write_part(ROWS[:3], schema())
    assert numbers(read(tmp_path)) == [0, 1, 2]


def test_a_part_is_never_overwritten(tmp_path):
    for files in (None, UnlinkedFiles()):
        with StudyFolder(tmp_path / str(files is None), files) as folder:
            path = folder.write_part(ROWS[:1], schema())
            folder._next_number = 0
            with pytest.raises(HermesError, match=os.strerror(errno.EEXIST)):
                folder.write_part(ROWS[:1], schema())
            assert os.listdir(path.parent) == [path.name]
