"""A disk that is full, really, where one may be mounted for it; a folder that is taken away."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

import pytest

from hermes.errors import HermesError
from hermes.results.files import Files
from hermes.sweeps import Pace
from tests.sweeps.small_study import digest, loaded, rows_of, run_here


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB, mounted for one test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no `mount` here")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder, leave):
    """Fill the disk with another file, up to so many bytes."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "ballast").write_bytes(b"x" * (free - leave))


@pytest.mark.parametrize("leave", [0, 4096, 16384])
def test_a_full_disk_is_one_error_keeps_what_was_finished_and_a_resume_completes(
    tmp_path, small_disk, leave
):
    study, out = loaded(tmp_path, sampler="grid"), small_disk / "out"
    run_here(study, tmp_path / "whole")
    run_here(study, out, trials=4)
    before = rows_of(out)
    fill(small_disk, leave)
    with pytest.raises(HermesError, match=r"cannot write \d+ trials .*No space left on device"):
        run_here(study, out, resume=True)
    kept = rows_of(out)
    assert set(map(repr, before)) <= set(map(repr, kept)), "readable while the disk is full"
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    run_here(study, out, resume=True)
    assert digest(out) == digest(tmp_path / "whole")
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("fault", ["gone", "read-only"])
def test_a_folder_that_is_taken_away_is_one_error(tmp_path, monkeypatch, fault):
    """Removed under the driver, or made read-only as only the system can for root."""
    study, out = loaded(tmp_path, sampler="grid"), tmp_path / "out"
    link, parts = Files.link, []

    def taken_away(files, source, target):
        if parts and fault == "gone":
            shutil.rmtree(out)
        elif parts:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(target))
        parts.append(target)
        return link(files, source, target)

    monkeypatch.setattr(Files, "link", taken_away)
    said = "No such file" if fault == "gone" else "Read-only file system"
    with pytest.raises(HermesError, match=rf"cannot write \d+ trials .*{out}.*: {said}"):
        run_here(study, out, pace=Pace(rows=3, seconds=60))
    monkeypatch.undo()
    run_here(study, out, resume=True)
    run_here(study, tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")
