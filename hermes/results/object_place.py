"""A prefix of an object store as the place of a study: S3, Google Cloud Storage, Azure.

Objects appear whole, so a part needs no draft; its name holds its content's digest, so writing it
twice writes the same. What an object store lacks is a lock that ends with its holder, and
`pyarrow.fs` has no conditional put. One driver at a time is therefore kept by a lease
(`hermes.results.lease`), which a driver renews while it lives; and nothing that must not happen
depends on the lease alone. Should two drivers write after all, a frozen one that wakes, say, each
row of both is read, and the two of one trial are compared bit by bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from hermes.errors import HermesError, InputError, did_you_mean
from hermes.results.files import cause_of, explained
from hermes.results.lease import Lease, LeaseTimes, store_errors
from hermes.results.place import DRIVERS, QUARANTINE, STUDY, TRIALS

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["SCHEMES", "ObjectPlace"]

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
"""Kinds of URL that name an object store."""

_THREADS = 16
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_GOOGLE_TRIES_S = 20
_HOPELESS = (
    "access_denied", "accessdenied", "forbidden", "no_such_bucket", "nosuchbucket",
    "invalid_access_key", "invalidaccesskey", "signature", "unauthorized", "credential",
    "permission_denied", "unauthenticated", "authorizationfailure", "authenticationfailed",
)  # fmt: skip

_T = TypeVar("_T")


class ObjectPlace:
    """A prefix in an object store; see `Place`.

    Args:
        url: What the user wrote, for messages.
        filesystem: The store.
        root: Bucket and prefix.
        times: How long a lease lasts.
        pauses_s: Waits before what failed is tried again.
    """

    def __init__(
        self,
        url: str,
        filesystem: FileSystem,
        root: str,
        times: LeaseTimes | None = None,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._url = url.partition("?")[0].rstrip("/")
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._pauses_s = pauses_s
        self._lease = Lease(filesystem, f"{self._root}/{DRIVERS}", self._url, times)

    @classmethod
    def of_url(cls, url: str) -> ObjectPlace:
        """Return the place a URL names.

        What `pyarrow.fs` takes in a URL's query (`region`, `endpoint_override`, `scheme`) is
        taken; credentials come from where the store's own tools look for them.

        Raises:
            InputError: No such kind of store, no bucket, or a secret in the URL.
        """
        from pyarrow.fs import FileSystem

        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise InputError(
                f"a study's place is a local folder or a URL in an object store, not one of "
                f"{parts.scheme!r}{did_you_mean(parts.scheme, SCHEMES)}",
                "--out",
            )
        named = "@" in parts.netloc and parts.username != "anonymous"
        secret = named and not parts.scheme.startswith("abfs")
        if secret or parts.password or "secret" in parts.query or "key" in parts.query:
            raise InputError(
                "a URL must not hold credentials, they would end up in logs: set them in the "
                "environment, as the store's own tools read them",
                "--out",
            )
        if not parts.netloc or not parts.path.strip("/"):
            raise InputError(
                f"needs a bucket and a folder in it: {parts.scheme}://BUCKET/FOLDER", "--out", url
            )
        try:
            filesystem, root = FileSystem.from_uri(_patient(url))
        except (OSError, ValueError, NotImplementedError) as error:
            raise HermesError(f"cannot reach {url}: {str(error).splitlines()[0]}") from error
        return cls(url, filesystem, root)

    def __str__(self) -> str:
        return self._url

    def at(self, name: str) -> str:
        """Return the URL of a file."""
        return f"{self._url}/{name}"

    def claim(self) -> None:
        """Take the lease; see `Place`. There are no drafts, and folders need not be made."""
        with explained("claim", self._url), store_errors():
            self._lease.take()

    def release(self) -> None:
        """Give the lease back; should that fail, it ends by itself."""
        self._lease.give_back()

    @property
    def claimed(self) -> bool:
        """Whether the lease is ours, as far as is known."""
        return self._lease.held

    def holds_study(self) -> bool:
        """Return whether anything lies under the prefix."""
        with explained("list", self._url):
            return bool(self.names())

    def names(self, folder: str = "") -> list[str]:
        """Return the names under a prefix; an empty object is one that is still being written."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(f"{self._root}/{folder}".rstrip("/"), allow_not_found=True)
        found = self._persistently(lambda: self._fs.get_file_info(selector))
        return sorted(
            str(info.base_name)
            for info in found
            if info.type == FileType.Directory or info.size != 0
        )

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        return self._persistently(lambda: self._read(name))

    def read_all(self, names: Sequence[str]) -> Iterator[bytes | OSError]:
        """Return objects' content in order, several fetched at a time."""

        def fetch(name: str) -> bytes | OSError:
            try:
                return self.read(name)
            except OSError as error:
                return error

        rest = iter(names)
        with ThreadPoolExecutor(_THREADS) as pool:
            while batch := list(islice(rest, 4 * _THREADS)):
                yield from pool.map(fetch, batch)

    def publish(self, name: str, content: bytes) -> None:
        """Write an object whose name tells its content; see `Place`."""
        self._write(name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Write an object over the old one; readers see one of them whole."""
        self._write(name, content)

    def remove(self, folder: str, names: Sequence[str]) -> None:
        """Remove objects; one that is gone already is fine."""

        def remove(name: str) -> None:
            try:
                self._fs.delete_file(f"{self._root}/{folder}/{name}")
            except FileNotFoundError:
                return

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda name: self._persistently(lambda: remove(name)), names))

    def set_aside(self, folder: str, name: str) -> str:
        """Copy an object to the quarantine, then remove it; see `Place`."""
        held = set(self.names(QUARANTINE))
        target, count = name, 0
        while target in held:
            count += 1
            target = f"{name}.{count}"
        source = f"{self._root}/{folder}/{name}"
        copy = f"{self._root}/{QUARANTINE}/{target}"
        self._persistently(lambda: self._fs.copy_file(source, copy))
        self.remove(folder, [name])
        return f"{QUARANTINE}/{target}"

    def _read(self, name: str) -> bytes:
        with self._fs.open_input_stream(f"{self._root}/{name}", compression=None) as stream:
            return bytes(stream.read())

    def _write(self, name: str, content: bytes) -> None:
        if self._lease.held and (name == STUDY or name.startswith(TRIALS)):
            self._lease.require()

        def write() -> None:
            path = f"{self._root}/{name}"
            with self._fs.open_output_stream(path, compression=None) as stream:
                stream.write(content)

        self._persistently(write)

    def _persistently(self, action: Callable[[], _T]) -> _T:
        """Do what may be done twice, again and again while the store is out of reach."""
        for pause in self._pauses_s:
            try:
                with store_errors():
                    return action()
            except (FileNotFoundError, PermissionError):
                raise
            except OSError as error:
                said = cause_of(error).lower()
                if any(sign in said for sign in _HOPELESS):
                    raise
                time.sleep(pause)
        with store_errors():
            return action()


def _patient(url: str) -> str:
    """Return a URL at which Google's client gives up in time: by default it tries for minutes."""
    if not url.startswith(("gs://", "gcs://")) or "retry_limit_seconds" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}retry_limit_seconds={_GOOGLE_TRIES_S}"
