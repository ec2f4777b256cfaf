"""A lease on a prefix of an object store: who may drive a study where no kernel holds a lock.

Each driver writes a claim under a name of its own, then lists the claims. Stores list what was
written before, so of two drivers that come at once at least one sees the other, and withdraws; a
driver that sees nobody alive has the lease. It writes its claim anew every few seconds. A claim
that was not, for a minute by the store's own clock, belongs to a driver that is dead or frozen,
and the next driver takes over, with a higher number. A frozen driver that wakes finds the claim
with the higher number when it next looks, before it writes anything, and stops.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hermes.errors import HermesError, StudyLockedError
from hermes.results.local_place import holder_said, signature

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["Lease", "LeaseTimes", "store_errors"]


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Let whatever a store's client complains of be an OSError; Azure's is sometimes none."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        if isinstance(error, OSError):
            raise
        raise OSError(str(error)) from error


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How often a claim is written anew, and after how long it counts as abandoned."""

    renew_s: float = 10.0
    lost_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Claim:
    """A driver's claim as the store holds it."""

    name: str
    written: datetime
    number: int
    holder: str


class Lease:
    """The right to drive one study.

    Args:
        filesystem: The store.
        folder: Where the claims lie.
        study: The study's URL, for messages.
        times: How long a lease lasts.
    """

    def __init__(
        self, filesystem: FileSystem, folder: str, study: str, times: LeaseTimes | None = None
    ) -> None:
        self._fs = filesystem
        self._folder = folder
        self._study = study
        self._times = times or LeaseTimes()
        self._name = ""
        self._content: dict[str, object] = {}
        self._seen_at = 0.0
        self._lost: StudyLockedError | None = None
        self._stop = threading.Event()
        self._busy = threading.Lock()
        self._keeper: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether it was taken and not given back."""
        return bool(self._name)

    def take(self) -> None:
        """Take the lease, from a dead driver where need be.

        Raises:
            StudyLockedError: Another driver has it, or wants it at the same moment.
        """
        if self.held:
            raise HermesError(f"the study {self._study} is open already")
        name = f"{uuid.uuid4().hex}.json"
        self._content = {**signature(), "number": 0}
        self._write(name)
        try:
            others, mine = self._claims(name)
            self._refuse_living(others, mine)
            self._content["number"] = 1 + max((claim.number for claim in others), default=0)
            self._write(name)
            # Whoever came while the number was chosen has seen this claim, and is seen now.
            others, mine = self._claims(name)
            self._refuse_living(others, mine)
        except BaseException:
            self._remove(name)
            raise
        for claim in others:
            self._remove(claim.name)
        self._name, self._seen_at, self._lost = name, time.monotonic(), None
        self._stop.clear()
        self._keeper = threading.Thread(target=self._keep, name="hermes-lease", daemon=True)
        self._keeper.start()

    def give_back(self) -> None:
        """End the lease; where the store cannot be reached, it ends by itself."""
        name, self._name = self._name, ""
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        if name:
            self._remove(name)

    def require(self) -> None:
        """Make sure that the lease is still ours, before something is written.

        Raises:
            StudyLockedError: Another driver has taken over.
            OSError: The store cannot be asked, and the lease may have ended.
        """
        if time.monotonic() - self._seen_at > self._times.lost_s / 2:
            self._renew()
        if self._lost is not None:
            raise self._lost

    def _keep(self) -> None:
        while not self._stop.wait(self._times.renew_s):
            with contextlib.suppress(OSError):  # `require` says so before anything is written
                self._renew()
            if self._lost is not None:
                return

    def _renew(self) -> None:
        """Look whether somebody took over; if not, show that this driver lives."""
        with self._busy, store_errors():
            name = self._name
            if self._lost is not None or not name:
                return
            others, mine = self._claims(name)
            number = self._number
            over = [claim for claim in others if claim.number > number]
            if over or mine is None:
                who = over[0].holder if over else "another driver"
                self._lost = StudyLockedError(
                    f"study {self._study} was taken over by {who}, because this driver did not "
                    f"show for {self._times.lost_s:.0f} s that it lives; everything written stays"
                )
                return
            self._write(name)
            self._seen_at = time.monotonic()

    @property
    def _number(self) -> int:
        return int(str(self._content["number"]))

    def _refuse_living(self, others: list[_Claim], mine: _Claim | None) -> None:
        """Refuse where a claim was written within the last minute, by the store's clock."""
        if mine is None:
            raise StudyLockedError(f"study {self._study} is being claimed by another driver")
        for claim in others:
            age = (mine.written - claim.written).total_seconds()
            if age < self._times.lost_s:
                raise StudyLockedError(
                    f"study {self._study} is being written by {claim.holder}; wait for it, stop "
                    "it, or choose another place. If it was killed, its claim ends by itself "
                    f"within {self._times.lost_s:.0f} s"
                )

    def _claims(self, own: str) -> tuple[list[_Claim], _Claim | None]:
        """Return the claims of other drivers, and the one called *own*."""
        from pyarrow.fs import FileSelector

        others: list[_Claim] = []
        mine: _Claim | None = None
        for info in self._fs.get_file_info(FileSelector(self._folder, allow_not_found=True)):
            content = self._read(info.path)
            if content is None:
                continue
            if info.mtime is None:
                raise HermesError(f"{self._study}: this store keeps no times, so no lease either")
            claim = _Claim(info.base_name, info.mtime, _number(content), holder_said(content))
            if claim.name == own:
                mine = claim
            else:
                others.append(claim)
        return others, mine

    def _read(self, path: str) -> bytes | None:
        from pyarrow.fs import FileType

        try:
            with self._fs.open_input_stream(path, compression=None) as stream:
                return bytes(stream.read())
        except OSError:
            if self._fs.get_file_info(path).type == FileType.NotFound:
                return None  # withdrawn since it was listed
            raise

    def _write(self, name: str) -> None:
        path = f"{self._folder}/{name}"
        with self._fs.open_output_stream(path, compression=None) as stream:
            stream.write(json.dumps(self._content).encode())

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError), store_errors():
            self._fs.delete_file(f"{self._folder}/{name}")


def _number(content: bytes) -> int:
    try:
        said: Any = json.loads(content)
        return int(said["number"])
    except (ValueError, KeyError, TypeError):
        return 0
