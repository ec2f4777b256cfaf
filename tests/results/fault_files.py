"""Stand-ins for the operating system that fail, or die, at a chosen call."""

from __future__ import annotations

import contextlib
import errno
import os

from hermes.results.files import Files

CALLS = (
    "make_folder", "create", "open_lock", "lock", "truncate", "write", "sync", "close", "link",
    "rename", "remove", "sync_folder",
)  # fmt: skip


class Crash(BaseException):
    """The process died here: no handler of ours may tidy up after it."""


class CountingFiles(Files):
    """Counts the calls and lets a subclass interfere with the one numbered `at`."""

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.calls: list[str] = []
        self.dead = False

    def _interfere(self, name: str, call, *args):
        return call(*args)

    def _pass(self, name: str, *args):
        if self.dead:
            raise Crash(name)
        self.calls.append(name)
        call = getattr(Files, name)
        if len(self.calls) - 1 == self.at:
            return self._interfere(name, call, self, *args)
        return call(self, *args)


for _name in CALLS:
    setattr(CountingFiles, _name, lambda self, *args, _name=_name: self._pass(_name, *args))


class CrashingFiles(CountingFiles):
    """Dies before, after or half-way through call number `at`; nothing works afterwards."""

    def __init__(self, at: int, moment: str) -> None:
        super().__init__(at)
        self.moment = moment
        self.descriptors: list[int] = []

    def _interfere(self, name, call, *args):
        if self.moment == "after":
            call(*args)
        elif self.moment == "halfway" and name == "write":
            _, descriptor, content = args
            os.write(descriptor, content[: len(content) // 2])
        self.dead = True
        raise Crash(name)

    def release(self) -> None:
        """Do what the kernel does when a process ends: close its files, and so its lock."""
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def open_lock(self, path):
        descriptor = super().open_lock(path)
        self.descriptors.append(descriptor)
        return descriptor

    def create(self, path):
        descriptor = super().create(path)
        self.descriptors.append(descriptor)
        return descriptor

    def close(self, descriptor):
        super().close(descriptor)
        self.descriptors.remove(descriptor)


class FailingFiles(CountingFiles):
    """Call number `at` fails with *code*; `lost` makes it happen all the same (reply lost)."""

    def __init__(self, at: int, code: int, lost: bool = False) -> None:
        super().__init__(at)
        self.code = code
        self.lost = lost

    def _interfere(self, name, call, *args):
        if self.lost or name == "close":  # Linux lets go of the descriptor all the same
            call(*args)
        raise OSError(self.code, os.strerror(self.code))


class TricklingFiles(Files):
    """Writes at most seven bytes a call."""

    def write(self, descriptor, content):
        return super().write(descriptor, content[:7])


class UnlinkedFiles(Files):
    """A file system without hard links."""

    def link(self, source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
