"""A disk that is really full: a small file system of its own, where one may be mounted."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from hermes.errors import HermesError
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
    (small_disk / "ballast").unlink()
    run_here(study, out, resume=True)
    assert digest(out) == digest(tmp_path / "whole")
    assert not list(out.rglob("*.tmp"))
