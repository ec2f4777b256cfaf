"""Measured calls of operators, checked: what a table of any layout becomes.

A call is an operator, a data type, the coordinates of its shape and the seconds it took. The order
of the coordinates is the order in which they are interpolated.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from hermes.costs.tables.grid import CallGrid
from hermes.errors import InputError

__all__ = ["OPERATORS", "Call", "CallTable"]

OPERATORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "linear": ("n", "k", "tokens"),
        "experts": ("hidden", "width", "top_k", "experts", "groups", "tokens"),
        "prefill": ("heads", "kv_heads", "head_dim", "length", "tokens"),
        "decode": ("heads", "kv_heads", "head_dim", "length", "sequences"),
        "allreduce": ("devices", "message_bytes"),
        "mla_prefill": ("hidden", "query_rank", "rank", "heads", "length", "tokens"),
        "mla_decode": ("hidden", "query_rank", "rank", "heads", "length", "sequences"),
        "norm": ("width", "tokens"),
        "activation": ("width", "tokens"),
        "rope": ("width", "tokens"),
        "embedding": ("width", "tokens"),
        "sampling": ("n", "tokens"),
        "experts_uniform": ("hidden", "width", "top_k", "experts", "groups", "tokens"),
        "encoder": ("layers", "hidden", "width", "heads", "length", "batch"),
        "alltoall": ("devices", "message_bytes"),
        "send_recv": ("devices", "message_bytes"),
        "host_to_device": ("bytes",),
        "device_to_host": ("bytes",),
        "device_to_device": ("bytes",),
        "host_read": ("bytes",),
        "disk_read": ("bytes",),
        "search": ("vectors", "dimensions", "lists", "probes", "code_bytes", "top_k", "batch"),
    }
)
"""Coordinates of each operator. From `experts_uniform` on, steps do not read them: they describe
encoders, links, tiers of memory and indexes. `length` is the keys per query: twice the mean for a
causal prompt. Latent attention (`mla_`) is measured as a module, with its projections. Attention
and all-reduce are told apart by the data type of the cache and not at all."""

_UNREAD = frozenset(list(OPERATORS)[list(OPERATORS).index("experts_uniform") :])
_DISAGREE = 0.1
_log = logging.getLogger(__name__)


class Call(NamedTuple):
    """One measured call."""

    operator: str
    dtype: str
    shape: tuple[float, ...]
    seconds: float
    line: int = 0


class CallTable:
    """All calls of one source, by operator and data type, duplicates reduced to their median."""

    __slots__ = ("grids", "notes", "source")

    def __init__(self, calls: Iterable[Call], source: str) -> None:
        """Check and sort *calls*.

        Raises:
            InputError: A call is no positive finite time of a positive shape, or there is none.
        """
        self.source = source
        self.notes: list[str] = []
        """What is odd about the table, for people."""
        found: dict[tuple[str, str], dict[tuple[float, ...], list[Call]]] = defaultdict(dict)
        for call in calls:
            self._check(call)
            found[call.operator, call.dtype].setdefault(call.shape, []).append(call)
        if not found:
            raise InputError("holds no measurement", file=source)
        self.grids = {kind: CallGrid(self._reduced(kind, group)) for kind, group in found.items()}
        for note in self.notes:
            _log.warning("%s: %s", source, note)

    def _check(self, call: Call) -> None:
        if not (math.isfinite(call.seconds) and call.seconds > 0):
            message = f"expected a positive time, got {call.seconds * 1e6:g} us"
            raise InputError(message, call.operator, self.source, call.line)
        for name, value in zip(OPERATORS[call.operator], call.shape, strict=True):
            if not (math.isfinite(value) and value > 0):
                message = f"expected a positive number, got {value:g}"
                raise InputError(message, name, self.source, call.line)

    def _reduced(
        self, kind: tuple[str, str], group: dict[tuple[float, ...], list[Call]]
    ) -> dict[tuple[float, ...], float]:
        """Return the median seconds by shape; note calls that disagree, and a lonely one."""
        if len(group) == 1 and kind[0] not in _UNREAD:
            self.notes.append(f"one {kind[0]} in {kind[1]}: it scales the roofline everywhere")
        reduced = {}
        for shape, calls in group.items():
            times = [call.seconds for call in calls]
            middle = median(times)
            if max(times) - min(times) > 2 * _DISAGREE * middle:
                lines = ", ".join(str(call.line) for call in calls[:5])
                self.notes.append(
                    f"{len(times)} calls of {kind[0]} {kind[1]} {shape} disagree, from"
                    f" {min(times) * 1e6:.4g} to {max(times) * 1e6:.4g} us (lines {lines});"
                    " their median is taken"
                )
            reduced[shape] = middle
        return reduced
