"""Which Hermes and Python a process runs: workers with others would return rows of their own.

Nodes that are there when a study starts are asked before its first trial. A node that joins later
may hold an older image, so each task looks for itself before it simulates anything.
"""

from __future__ import annotations

import contextlib
import platform
from typing import Any

from hermes import __version__
from hermes.errors import HermesError, InputError

__all__ = ["OtherVersionsError", "require_same_everywhere", "require_versions", "versions"]

_PROBE_S = 60.0


class OtherVersionsError(HermesError):
    """This process runs another Hermes or Python than the driver."""


def versions() -> str:
    """Return what this process runs, in words."""
    major, minor, _ = platform.python_version_tuple()
    return f"Hermes {__version__} on Python {major}.{minor}"


def require_versions(driver: str) -> None:
    """Refuse, in a worker, to simulate for a driver with other versions.

    Raises:
        OtherVersionsError: They differ.
    """
    if versions() != driver:
        raise OtherVersionsError(
            f"a node of the Ray cluster ({platform.node()}) runs {versions()}, this driver "
            f"{driver}; results would not be comparable, so install the same on both"
        )


def require_same_everywhere(ray: Any) -> None:
    """Ask every node with a CPU what it runs.

    Raises:
        InputError: One runs something else; the message names it.
        HermesError: One cannot run Hermes at all, or starts no task.
    """
    probe = ray.remote(num_cpus=0, max_retries=0)(versions)
    asked = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1:
            near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                node["NodeID"], soft=False
            )
            asked[probe.options(scheduling_strategy=near).remote()] = node
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_PROBE_S)
    for reference in silent:
        with contextlib.suppress(Exception):
            ray.cancel(reference, force=True)
    for reference in answered:
        _require_answer(ray, reference, asked[reference])
    if silent:
        raise HermesError(
            f"{_name(asked[silent[0]])} of the Ray cluster has not started a task within "
            f"{_PROBE_S:.0f} s; it may be overloaded, or cannot start workers"
        )


def _require_answer(ray: Any, reference: Any, node: Any) -> None:
    try:
        theirs = ray.get(reference)
    except ray.exceptions.RayError as error:
        living = {other["NodeID"] for other in ray.nodes() if other["Alive"]}
        if node["NodeID"] not in living:
            return  # it left meanwhile
        lines = str(error).strip().splitlines() or ["no message"]
        raise HermesError(
            f"workers of the Ray cluster cannot run Hermes ({_name(node)}: "
            f"{type(error).__name__}: {lines[-1].strip()[:300]}); install hermes-dse "
            f"{__version__} on every node"
        ) from error
    if theirs != versions():
        raise InputError(
            f"the Ray cluster's workers run {theirs} ({_name(node)}), this driver {versions()}; "
            "results would not be comparable, so install the same on both",
            "--address",
        )


def _name(node: Any) -> str:
    return f"node {node.get('NodeManagerHostname', '?')} ({node['NodeID'][:8]})"
