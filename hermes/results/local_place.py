"""A local folder as the place of a study: system calls, and a lock that the kernel holds."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hermes.errors import HermesError, StudyLockedError
from hermes.results.files import Files, explained, publish, read_plain_file, replace_file
from hermes.results.place import LOCK, QUARANTINE, STUDY, TRIALS

__all__ = ["LocalPlace", "holder_said", "signature"]


class LocalPlace:
    """A folder; see `Place`.

    A child made by a bare `fork` shares the lock; processes started with `exec` do not.

    Args:
        path: The folder; parents are created.
        files: The system calls to use.
    """

    def __init__(self, path: Path, files: Files | None = None) -> None:
        self.path = path
        self._files = files or Files()
        self._lock: int | None = None

    def __str__(self) -> str:
        return str(self.path)

    def at(self, name: str) -> Path:
        """Return the path of a file."""
        return self.path / name

    def claim(self) -> None:
        """Create the folder, take the lock, remove drafts; see `Place`."""
        with explained("create", self.path):
            for folder in [*reversed(self.path.absolute().parents), self.path]:
                if not folder.is_dir():
                    self._files.make_folder(folder)
                    self._files.sync_folder(folder.parent)
        self._take_lock()
        try:
            trials = self.path / TRIALS
            with explained("create", trials):
                self._files.make_folder(trials)
                self._files.sync_folder(self.path)
            self._remove_drafts()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back."""
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            with explained("unlock", self.path / LOCK):
                self._files.close(descriptor)

    @property
    def claimed(self) -> bool:
        """Whether the lock is ours."""
        return self._lock is not None

    def holds_study(self) -> bool:
        """Return whether the folder exists."""
        return self.path.is_dir()

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder; see `Place`."""
        try:
            return sorted(os.listdir(self.path / folder))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """Read a regular file; a link is not followed."""
        return read_plain_file(self.path / name)

    def read_all(self, names: Sequence[str]) -> Iterator[bytes | OSError]:
        """Read files one after another; see `Place`."""
        for name in names:
            try:
                yield self.read(name)
            except OSError as error:
                yield error

    def publish(self, name: str, content: bytes) -> None:
        """Make a file appear under a new name, overwriting nothing."""
        publish(self._files, self.path / name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Replace a file atomically."""
        replace_file(self._files, self.path / name, content)

    def remove(self, folder: str, names: Sequence[str]) -> None:
        """Remove files durably."""
        for name in names:
            self._files.remove(self.path / folder / name)
        self._files.sync_folder(self.path / folder)

    def set_aside(self, folder: str, name: str) -> str:
        """Rename a file into the quarantine; see `Place`."""
        quarantine = self.path / QUARANTINE
        target = quarantine / name
        self._files.make_folder(quarantine)
        count = 0
        while os.path.lexists(target):
            count += 1
            target = quarantine / f"{name}.{count}"
        self._files.rename(self.path / folder / name, target)
        self._files.sync_folder(quarantine)
        self._files.sync_folder(self.path / folder)
        return str(target.relative_to(self.path))

    def _take_lock(self) -> None:
        if self._lock is not None:
            raise HermesError(f"the study {self} is open already")
        path = self.path / LOCK
        with explained("lock", path):
            descriptor = self._files.open_lock(path)
            try:
                self._files.lock(descriptor)
            except BlockingIOError as error:
                holder = _holder(descriptor)
                self._files.close(descriptor)
                raise StudyLockedError(
                    f"study {self.path} is being written by {holder}; wait for it, stop it, "
                    "or choose another output folder"
                ) from error
            except BaseException:
                self._files.close(descriptor)
                raise
            self._lock = descriptor
            self._sign_lock(descriptor)

    def _sign_lock(self, descriptor: int) -> None:
        """Say who holds the lock: for the message only, the kernel decides who has it."""
        try:
            self._files.truncate(descriptor)
            self._files.write(descriptor, memoryview(json.dumps(signature()).encode()))
        except BaseException:
            self.release()
            raise

    def _remove_drafts(self) -> None:
        """Remove what a killed driver had not finished writing."""
        drafts = [self.path / f".{STUDY}.tmp"]
        drafts += [
            self.path / TRIALS / name
            for name in os.listdir(self.path / TRIALS)
            if name.startswith(".part-") and name.endswith(".parquet.tmp")
        ]
        for draft in drafts:
            if os.path.lexists(draft):
                with explained("remove", draft):
                    self._files.remove(draft)


def signature() -> dict[str, object]:
    """Return who this driver is, for the messages that others get."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def holder_said(content: bytes) -> str:
    """Return in words what a driver's signature says."""
    try:
        said = json.loads(content)
        return f"process {int(said['pid'])} on {said['host']} since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _holder(descriptor: int) -> str:
    try:
        return holder_said(os.pread(descriptor, 4096, 0))
    except OSError:
        return "another process"
