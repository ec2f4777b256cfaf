"""A profile as the package's own data: its table as Parquet, its laws among all devices'."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hermes.catalog import find_device
from hermes.costs.constants import read_laws
from hermes.costs.law import Law
from hermes.costs.tables.frame import read_rows
from hermes.costs.tables.own import read_own
from hermes.errors import InputError, UnknownNameError

__all__ = ["publish"]

_MOST_BYTES = 4 * 2**20
_TEXT = frozenset({"operator", "dtype", "device", "kernel", "method", "source"})
_COLUMNS = tuple(each.name for each in fields(Law) if each.name != "calibrated")


def publish(profile: Path, data: Path) -> dict[str, Any]:
    """Write what `hermes profile` left in a folder into a folder of data, `hermes/costs/data`.

    The table becomes `tables/<device>.parquet`, which scenarios name `hermes:<device>`. The laws
    take the place of those that an earlier profile of the device left in `laws.csv`; those that
    were fitted on another engine's kernels stay, since engines are what is simulated.

    Args:
        profile: What was measured: `table.csv`, and `laws.csv` where it was fitted.
        data: With a `laws.csv`.

    Returns:
        What was written, for people.

    Raises:
        InputError: A file is missing or no such file, or the table is too large for a package.
    """
    source, all_laws = profile / "table.csv", data / "laws.csv"
    for path, wanted in ((source, "a folder of `hermes profile`"), (all_laws, "hermes/costs/data")):
        if not path.is_file():
            raise InputError(f"no such file; {wanted} has one", file=str(path))
    devices = sorted({device for device, _ in read_own(source)})
    if len(devices) != 1:
        raise InputError(f"expected rows of one device, got {devices}", "device", str(source))
    facts: dict[str, Any] = {"device": devices[0], **_write_table(source, devices[0], data)}
    if (profile / "laws.csv").is_file():
        facts |= _merge_laws(profile / "laws.csv", all_laws)
    else:
        facts["laws"] = "none: nothing was fitted"
    try:
        find_device(devices[0])
    except UnknownNameError:
        facts["to do"] = (
            "the catalog lacks the device: add it to hermes/catalog/data/devices.csv, from its"
            f" datasheet ({profile / 'devices.yaml'} is what was reached)"
        )
    return facts


def _write_table(source: Path, device: str, data: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for _, row in read_rows(source)]
    columns = {name: _column(name, [row[name] for row in rows]) for name in rows[0]}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", use_dictionary=True)
    size = sink.tell()
    if size > _MOST_BYTES:
        message = f"{size / 2**20:.1f} MiB as Parquet, of {_MOST_BYTES / 2**20:.0f} at most"
        raise InputError(f"{message}; measure fewer --models", file=str(source))
    target = data / "tables" / f"{device}.parquet"
    target.parent.mkdir(exist_ok=True)
    _replace(target, sink.getvalue())
    return {"table": str(target), "rows": len(rows), "bytes": size, "name": f"hermes:{device}"}


def _column(name: str, cells: list[str]) -> list[Any]:
    """Return the cells of a column as what they are; whole numbers stay whole."""
    if name in _TEXT:
        return [cell or None for cell in cells]
    numbers = [None if cell == "" else float(cell) for cell in cells]
    if all(each is None or each.is_integer() for each in numbers):
        return [None if each is None else int(each) for each in numbers]
    return numbers


def _merge_laws(own: Path, all_laws: Path) -> dict[str, Any]:
    text, new = (path.read_text(encoding="utf-8") for path in (all_laws, own))
    engines = {key: law.engine for key, law in read_laws(text).items()}
    laws = read_laws(new)
    kept = [key for key, law in laws.items() if engines.get(key, law.engine) != law.engine]
    added = [key for key in laws if key not in kept]
    rows = [row for row in csv.DictReader(text.splitlines()) if _key(row) not in added]
    rows += [row for row in csv.DictReader(new.splitlines()) if _key(row) in added]
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _replace(all_laws, file.getvalue().encode())
    facts: dict[str, Any] = {"laws": _named(added)}
    if kept:
        facts["laws left as they were, fitted on an engine's kernels"] = _named(kept)
    return facts


def _key(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["device"], row["operator"], row["dtype"]


def _named(keys: Iterable[tuple[str, str, str]]) -> str:
    return ", ".join(" ".join(key) for key in sorted(keys)) or "none"


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, path)
