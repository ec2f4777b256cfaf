"""The table that a profile gives, in Hermes's own layout, and the calls cost models read in it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hermes.costs.tables import OPERATORS, Call
from hermes.costs.tables.own import attention_shape
from hermes.profile.journal import Entry

__all__ = ["calls", "write_table"]

_FIRST = ("operator", "dtype", "device", "latency_us", "spread", "runs")
_LAST = ("kernel", "method", "clock_mhz", "power_w", "source")


def write_table(path: Path, entries: Iterable[Entry], device: str, source: str) -> int:
    """Write what was measured; return the rows.

    Args:
        path: A CSV file; it is replaced as a whole.
        entries: Of the journal; those without a time are left out.
        device: Name that scenarios give the device.
        source: Where and with what it was measured.
    """
    rows = [_row(entry, device, source) for entry in _measured(entries)]
    shape = dict.fromkeys(
        name for row in rows for name in row if name not in _FIRST and name not in _LAST
    )
    draft = path.with_name(path.name + ".part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*_FIRST, *shape, *_LAST], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(draft, path)
    return len(rows)


def calls(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Call]]:
    """Yield what was measured in the coordinates of the cost model."""
    for entry in _measured(entries):
        operator, columns = str(entry["operator"]), entry["columns"]
        if operator in {"prefill", "decode"}:
            heads = (columns["heads"], columns["kv_heads"], columns["head_dim"])
            batch, length, prefix = columns["batch"], columns["length"], columns.get("prefix", 0)
            shape = attention_shape(operator, heads, batch, length, prefix)
        else:
            shape = tuple(columns[name] for name in OPERATORS[operator])
        yield entry, Call(operator, str(entry["dtype"]), tuple(map(float, shape)), entry["seconds"])


def _measured(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield entries that have a time and no objection; of several alike, the last."""
    unique = {entry.key: entry for entry in entries}
    for entry in unique.values():
        if entry.seconds is not None and not entry.get("why_not"):
            yield entry


def _row(entry: Entry, device: str, source: str) -> dict[str, Any]:
    row = {"operator": entry["operator"], "dtype": entry["dtype"], "device": device}
    row |= {"latency_us": f"{entry['seconds'] * 1e6:.6g}", "spread": f"{entry['spread']:.3g}"}
    row |= {"runs": entry["runs"], **entry["columns"]}
    for name in ("kernel", "method", "clock_mhz", "power_w"):
        value = entry.get(name)
        row[name] = "" if value is None else f"{value:.5g}" if isinstance(value, float) else value
    row["source"] = source
    return row
