"""The few system calls a study's files depend on, and how a file becomes durable.

Everything that a crash or a full disk can interrupt goes through the methods of `Files`, one
call each, so that a test can stand in for the operating system and make every one of them fail.
Only local file systems are spoken to here; for object stores see `object_place`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hermes.errors import HermesError

__all__ = ["Files", "cause_of", "explained", "publish", "read_plain_file", "replace_file"]

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_CHUNK = 1 << 20
_LONGEST_CAUSE = 400


class Files:
    """The operating system, one method a call; tests subclass it to make a call fail."""

    def make_folder(self, path: Path) -> None:
        """Create one folder; an existing folder is fine."""
        with suppress(FileExistsError):
            path.mkdir()
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))

    def create(self, path: Path) -> int:
        """Create a file that must not exist and return its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o644)

    def open_lock(self, path: Path) -> int:
        """Open or create a lock file, following no link, and return its descriptor."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(path, flags, 0o644)

    def lock(self, descriptor: int) -> None:
        """Take the kernel's lock at once or raise BlockingIOError; it ends with the process."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def truncate(self, descriptor: int) -> None:
        """Empty an open file."""
        os.ftruncate(descriptor, 0)

    def write(self, descriptor: int, content: memoryview) -> int:
        """Write some of *content* and return how many bytes were taken, maybe fewer than all."""
        return os.write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        """Return once the file's content is on the disk."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; an existing *target* is an error, never overwritten."""
        os.link(source, target, follow_symlinks=False)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file atomically, replacing *target*."""
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file's name."""
        os.unlink(path)

    def sync_folder(self, path: Path) -> None:
        """Return once the folder's names are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def explained(action: str, path: Path | str) -> Iterator[None]:
    """Turn an OSError into one HermesError that names the action, the path and the cause."""
    try:
        yield
    except OSError as error:
        raise HermesError(f"cannot {action} {path}: {cause_of(error)}") from error


def cause_of(error: OSError) -> str:
    """Return what went wrong in one line; libraries of object stores say it in many."""
    lines = str(error.strerror or error).strip().splitlines()
    return lines[0].strip()[:_LONGEST_CAUSE] if lines else type(error).__name__


def publish(files: Files, path: Path, content: bytes) -> None:
    """Make *content* appear under a new name, whole and durable, overwriting nothing.

    After an error the file may be there whole (the failure came last) or not at all.
    """
    draft = _write_draft(files, path, content)
    try:
        try:
            files.link(draft, path)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # No hard links here (exFAT, some FUSE). The study's lock keeps other writers away,
            # so looking first and renaming is as good.
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            files.rename(draft, path)
        else:
            files.remove(draft)
        files.sync_folder(path.parent)
    except OSError:
        _discard(files, draft)
        raise


def replace_file(files: Files, path: Path, content: bytes) -> None:
    """Write *content* under *path* atomically: readers see the old file or the new one."""
    draft = _write_draft(files, path, content)
    try:
        files.rename(draft, path)
        files.sync_folder(path.parent)
    except OSError:
        _discard(files, draft)
        raise


def read_plain_file(path: Path) -> bytes:
    """Read a regular file; a link, pipe or folder raises OSError instead of being followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        chunks = []
        while chunk := os.read(descriptor, _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def _write_draft(files: Files, path: Path, content: bytes) -> Path:
    """Write a durable draft beside *path*; its name starts with a dot, so readers skip it."""
    draft = path.with_name(f".{path.name}.tmp")
    if os.path.lexists(draft):
        files.remove(draft)
    descriptor = files.create(draft)
    try:
        try:
            _write_all(files, descriptor, content)
            files.sync(descriptor)
        finally:
            files.close(descriptor)
    except OSError:
        _discard(files, draft)
        raise
    return draft


def _write_all(files: Files, descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        taken = files.write(descriptor, rest)
        if taken <= 0:
            raise OSError(errno.EIO, "the file system took no more bytes")
        rest = rest[taken:]


def _discard(files: Files, draft: Path) -> None:
    """Remove a draft after a failure; if that fails too, the next start removes it."""
    with suppress(OSError):
        files.remove(draft)
