"""A board where tasks say that they have started, and on which node.

Ray does not tell a driver which of its tasks run and which still wait, nor where; without that, a
task that waits behind others looks like one that hangs. The board is an actor on the driver's own
node, so that no other node can take it along.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

__all__ = ["Board", "announce"]

_ASK_S = 0.25


class _Starts:
    """What the actor holds: the node of each task that has started since it was last asked."""

    def __init__(self) -> None:
        self._nodes: dict[int, str] = {}

    def started(self, task: int, node: str) -> None:
        """Note that a task has started."""
        self._nodes[task] = node

    def read(self) -> dict[int, str]:
        """Return what is new."""
        found, self._nodes = self._nodes, {}
        return found


class Board:
    """The driver's side of the board."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._asked_at = 0.0
        self._answer: Any = None
        self.handle = self._made()

    def news(self) -> dict[int, str]:
        """Return the tasks that have started since the last call, and their nodes; never waits."""
        ray = self._ray
        if self._answer is None:
            if time.monotonic() - self._asked_at >= _ASK_S:
                self._asked_at = time.monotonic()
                self._answer = self.handle.read.remote()
            return {}
        ready, _ = ray.wait([self._answer], timeout=0)
        if not ready:
            return {}
        answer, self._answer = self._answer, None
        try:
            found: dict[int, str] = ray.get(answer)
        except ray.exceptions.RayError:
            self.handle = self._made()  # tasks in flight stay unknown; new ones are heard of
            return {}
        return found

    def close(self) -> None:
        """End the actor."""
        with contextlib.suppress(Exception):
            self._ray.kill(self.handle)

    def _made(self) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = self._ray.get_runtime_context().get_node_id()
        near = NodeAffinitySchedulingStrategy(here, soft=True)
        return self._ray.remote(num_cpus=0)(_Starts).options(scheduling_strategy=near).remote()


def announce(board: Any, task: int) -> None:
    """Say, in a task, that it has started; it runs all the same where that fails."""
    import ray

    with contextlib.suppress(Exception):
        board.started.remote(task, ray.get_runtime_context().get_node_id())
