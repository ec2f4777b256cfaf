"""Ray, started for a study or joined where it runs.

An embedded Ray is started with `address="local"`, so that it never joins a stranger's cluster, in
a private folder with a short path, since the sockets in it may have no long one. Only what was
started here is stopped, and never by `ray stop`, which ends every Ray of the machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.cluster.token import require_token
from hermes.cluster.versions import require_same_everywhere
from hermes.errors import HermesError, InputError

__all__ = ["RaySession", "remove_abandoned"]

_QUIET = {
    # `uv run` would make Ray build an environment for every worker, and change its directory.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning about tasks without GPUs
}
_PATIENCE = {
    # A frozen node answers nothing and closes nothing. By default Ray's clients wait seven minutes
    # for it, and every task that asked it for a worker with them.
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
}
_PREFIX = "hermes-ray-"
_MARK = ".driver"
_LONGEST_TEMP = 20  # Ray adds about 75 characters, and a socket's path may have 107
_OBJECT_STORE_BYTES = 256 * 2**20
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class RaySession:
    """A Ray that trials can run on.

    Attributes:
        cpus: CPUs trials may use.
        local: Whether its workers are on this machine.
        owned: Whether `close` stops it.
        folder: Its private folder, or empty.
        mark: Descriptor of the lock that says the folder is in use, or -1.
    """

    cpus: int
    local: bool
    owned: bool
    folder: str = ""
    mark: int = -1

    @classmethod
    def start(cls, workers: int | None = None, address: str | None = None) -> RaySession:
        """Start Ray on this machine, or join the cluster at *address*.

        A Ray that this process has started before is used as it is.

        Args:
            workers: CPUs to use at most; default: all there are.
            address: `auto`, `HOST:PORT` or `ray://HOST:PORT`; default: start one here.

        Raises:
            InputError: The cluster has no CPU, or workers with another Hermes.
            HermesError: Ray does not start, or nothing answers at *address*.
        """
        for name, value in (_QUIET | _PATIENCE).items():
            os.environ.setdefault(name, value)
        if address is None:
            require_token()
        import ray

        if ray.is_initialized():
            session = cls(_cpus(ray, workers), local=address is None, owned=False)
        elif address is None:
            return cls._embedded(ray, workers)
        else:
            session = cls._joined(ray, workers, address)
        if not session.local:
            try:
                require_same_everywhere(ray)
            except BaseException:
                session.close()
                raise
        return session

    @classmethod
    def _embedded(cls, ray: Any, workers: int | None) -> RaySession:
        cpus = workers or len(os.sched_getaffinity(0))
        parent = tempfile.gettempdir()
        if len(parent) > _LONGEST_TEMP:
            parent = str(Path(os.sep, "tmp"))
        remove_abandoned(Path(parent))
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        mark = _marked(Path(folder))
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                configure_logging=True,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=folder,
            )
        except Exception as error:
            os.close(mark)
            shutil.rmtree(folder, ignore_errors=True)
            raise HermesError(
                f"Ray does not start on this machine ({_first_line(error)}); `--workers 0` runs "
                "the study without it, in one process"
            ) from error
        return cls(cpus, local=True, owned=True, folder=folder, mark=mark)

    @classmethod
    def _joined(cls, ray: Any, workers: int | None, address: str) -> RaySession:
        _require_answer(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except Exception as error:
            raise HermesError(
                f"cannot join the Ray cluster at {address!r}: {_first_line(error)}. Is it running "
                "(`ray status --address ...`), reachable from here, and is its token in "
                "RAY_AUTH_TOKEN or ~/.ray/auth_token?"
            ) from error
        try:
            return cls(_cpus(ray, workers), local=False, owned=True)
        except BaseException:
            ray.shutdown()
            raise

    def close(self) -> None:
        """Stop an embedded Ray, or leave a cluster; a Ray that others started goes on."""
        if not self.owned:
            return
        import ray

        ray.shutdown()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self.mark)


def remove_abandoned(parent: Path) -> None:
    """Remove the private folders of Rays whose driver was killed.

    A driver holds a lock in its folder for as long as it lives; the kernel lets go of it when the
    driver dies, however it does.
    """
    for folder in parent.glob(f"{_PREFIX}*"):
        mark = folder / _MARK
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(mark, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # not a folder of ours, or one that is just being made
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def _marked(folder: Path) -> int:
    """Lock a folder as in use; return the descriptor that holds the lock."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(folder / _MARK, flags, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _require_answer(address: str) -> None:
    """Check that somebody listens: where nobody does, Ray ends the process after a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto`: Ray knows at once whether there is one
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HermesError(
            f"cannot join the Ray cluster at {address!r}: {reason}. Is it running, and reachable "
            "from here? `ray start --head` prints its address"
        ) from error


def _cpus(ray: Any, workers: int | None) -> int:
    """Return the CPUs trials may use; Ray itself would wait for ever for one that never comes."""
    there = int(ray.cluster_resources().get("CPU", 0))
    if there < 1:
        raise InputError(
            "the Ray cluster has no CPU, and a trial needs one; add a worker node with CPUs, or "
            "start the head with --num-cpus",
            "--address",
        )
    return min(there, workers) if workers else there


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no message'}"[:300]
