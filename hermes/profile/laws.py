"""The roofline's constants fitted on a profile: rows as in the cost models' own data.

Two thirds of the shapes are fitted, the rest says how far off the fit is.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any

from hermes.catalog import Device
from hermes.costs.chip import Chip, HeadShape
from hermes.costs.law import Amounts, Law
from hermes.costs.tables import Call

__all__ = ["fit_laws", "write_laws"]

_NAMES = ("compute_efficiency", "memory_efficiency", "sharpness", "overhead_us", "wave", "extra")
_START = (0.6, 0.75, 2.0, 8.0, 0.5, 1.0)
_LOW = (0.03, 0.05, 1.0, 0.01, 1e-3, 1e-3)
_HIGH = (1.3, 1.3, 12.0, 4000.0, 60.0, 60.0)
_FEWEST = 12
_SMALL = 64
_FOLDS = 3
_KINDS = ("linear", "prefill", "decode")


def fit_laws(device: Device, calls: Sequence[Call], source: str) -> list[Law]:
    """Return a law for each kind of operator that was measured often enough.

    Raises:
        ImportError: scipy is not installed.
    """
    groups: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        if call.operator in _KINDS:
            groups[call.operator, call.dtype].append(call)
    chip = Chip(device)
    return [
        _fitted(device, kind, [(_amounts(chip, call), call) for call in group], source)
        for kind, group in groups.items()
        if len(group) >= _FEWEST
    ]


def write_laws(path: Path, laws: Sequence[Law]) -> None:
    """Write laws with the columns of the cost models' data."""
    names = [each.name for each in fields(Law) if each.name != "calibrated"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for law in laws:
            row = {name: getattr(law, name) for name in names}
            rounded = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(rounded)


def _amounts(chip: Chip, call: Call) -> Amounts:
    if call.operator == "linear":
        n, k, tokens = call.shape
        return chip.linear(tokens, n, k, call.dtype)
    heads, kv_heads, dim, length, count = call.shape
    shape = HeadShape(heads, kv_heads, int(dim), int(dim), 2.0)
    if call.operator == "decode":
        return chip.decode_attention(count, count * length, shape)
    return chip.prefill_attention(count, max(count, length), count * length / 2, shape)


def _fitted(
    device: Device, kind: tuple[str, str], pairs: list[tuple[Amounts, Call]], source: str
) -> Law:
    shapes = sorted({call.shape[:2] for _, call in pairs})
    if len(shapes) >= _FOLDS:
        held = [shapes.index(call.shape[:2]) % _FOLDS == 0 for _, call in pairs]
    else:
        held = [place % _FOLDS == 0 for place in range(len(pairs))]
    kept = [pair for pair, out in zip(pairs, held, strict=True) if not out]
    out = [pair for pair, out in zip(pairs, held, strict=True) if out]
    values = _least(kept)
    law = _law(device, kind, values)
    small = [_error(law, pair) for pair in out if pair[1].shape[-1] <= _SMALL]
    large = [_error(law, pair) for pair in out if pair[1].shape[-1] > _SMALL]
    every = [_error(law, pair) for pair in out]
    errors = (median(small or every), median(large or every))
    return _law(device, kind, values, errors, f"{len(kept)} calls", source)


def _law(
    device: Device,
    kind: tuple[str, str],
    values: Sequence[float],
    errors: tuple[float, float] = (0.0, 0.0),
    fitted_on: str = "",
    source: str = "",
) -> Law:
    constants: dict[str, Any] = dict(zip(_NAMES, map(float, values), strict=True))
    return Law(
        device=device.name,
        engine="torch",
        operator=kind[0],
        dtype=kind[1],
        small_error=errors[0],
        large_error=errors[1],
        fitted_on=fitted_on,
        source=source,
        **constants,
    )


def _error(law: Law, pair: tuple[Amounts, Call]) -> float:
    return abs(law.seconds(pair[0]) / pair[1].seconds - 1)


def _least(pairs: Sequence[tuple[Amounts, Call]]) -> Any:
    """Return the constants of least relative error; far-off points weigh less."""
    import numpy as np
    from scipy.optimize import least_squares

    amounts = np.array([pair[0] for pair in pairs])
    seconds = np.array([pair[1].seconds for pair in pairs])

    def residuals(logs: Any) -> Any:
        ec, em, power, overhead, wave, extra = np.exp(logs)
        compute, memory, waves, beside = amounts.T
        bound = ((compute / ec + wave * waves) ** power + (memory / em) ** power) ** (1 / power)
        return np.log((bound + overhead * 1e-6 + extra * beside) / seconds)

    found = least_squares(
        residuals,
        np.log(_START),
        bounds=(np.log(_LOW), np.log(_HIGH)),
        loss="soft_l1",
        f_scale=0.08,
    )
    return np.exp(found.x)
