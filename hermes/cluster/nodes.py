"""Which nodes of the cluster live, asked in a thread: the answer may never come.

Where the head of the cluster is dead, the question blocks, and Ray ends the whole process after a
minute without a word to Python. So a driver that looks here sees the silence first, and can say
what happened while it still may.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

from hermes.errors import HermesError

__all__ = ["Nodes"]

_ASK_S = 1.0
_SILENT_S = 30.0  # Ray ends the process after 60

_log = logging.getLogger(__name__)


class Nodes:
    """Keeps the list of living nodes, about a second old; use `close` at the end."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._living = self._asked()
        self._heard_at = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="hermes-nodes", daemon=True)
        self._thread.start()

    @property
    def living(self) -> frozenset[str]:
        """The nodes that live.

        Raises:
            HermesError: The head of the cluster has not answered for half a minute.
        """
        if time.monotonic() - self._heard_at > _SILENT_S:
            message = (
                f"the head of the Ray cluster has not answered for {_SILENT_S:.0f} s; it has "
                "probably died. Finished trials are kept: start the cluster again and go on with "
                "--resume"
            )
            _log.error(message)  # Ray may end the process before anybody prints the exception
            raise HermesError(message)
        return self._living

    def close(self) -> None:
        """Ask no more; a question that is under way is left behind."""
        self._end.set()

    def _keep(self) -> None:
        while not self._end.wait(_ASK_S):
            with contextlib.suppress(Exception):
                self._living, self._heard_at = self._asked(), time.monotonic()

    def _asked(self) -> frozenset[str]:
        nodes: list[Any] = self._ray.nodes()
        return frozenset(node["NodeID"] for node in nodes if node["Alive"])
