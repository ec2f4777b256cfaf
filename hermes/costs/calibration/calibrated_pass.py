"""A roofline with fitted factors on its parts, and the file that keeps them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hermes.costs.pass_cost import PassCost
from hermes.costs.provenance import Part, StepShape
from hermes.costs.spread import DEVIATION
from hermes.costs.step import Spread
from hermes.errors import InputError, did_you_mean

__all__ = ["CalibratedPass", "Factors", "read_factors"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Factors:
    """What a calibration found: times added, and factors on the parts of the roofline."""

    model: str
    device: str
    tensor_parallel_size: int
    step_us: float
    """Added to every step."""
    linear: float
    """On everything that depends on the tokens alone, and the LM head."""
    decode: float
    """On the attention of decodes."""
    prefill: float
    """On the attention of prompts."""
    request_ms: float
    """Added to every request."""
    fitted_error: float
    """Median absolute relative error on what was fitted."""
    held_out_error: float
    """The same on what was left out, each observation once."""
    fitted_on: str

    def write(self, path: Path) -> None:
        """Write the file that `costs: {calibrated: PATH}` names."""
        content = {"hermes_calibration": _VERSION, **asdict(self)}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_factors(path: Path) -> Factors:
    """Read a file that `hermes calibrate` wrote.

    Raises:
        InputError: It is no such file, or a field is missing, unknown or senseless.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", file=str(path)) from error
    if not isinstance(content, dict) or content.pop("hermes_calibration", None) != _VERSION:
        raise InputError("is no calibration; `hermes calibrate` writes them", file=str(path))
    known = {field.name: field.type for field in fields(Factors)}
    for name in content:
        if name not in known:
            raise InputError(f"unknown field{did_you_mean(name, known)}", name, str(path))
    for name, kind in known.items():
        _check(name, str(kind), content.get(name), path)
    return Factors(**content)


def _check(name: str, kind: str, value: Any, path: Path) -> None:
    if kind == "str":
        if not isinstance(value, str):
            raise InputError(f"expected text, got {value!r}", name, str(path))
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"expected a number, got {value!r}", name, str(path))
    if not math.isfinite(value) or value < 0:
        raise InputError(f"expected a number of at least 0, got {value!r}", name, str(path))


class CalibratedPass:
    """A pass whose parts are scaled; see `PassCost`."""

    __slots__ = ("_cost", "_factors", "_same", "label", "spread")

    def __init__(self, cost: PassCost, factors: Factors, same: bool) -> None:
        """Scale *cost*.

        Args:
            cost: The roofline of the deployment.
            factors: What was fitted.
            same: Whether on the same model, device and group.
        """
        self._cost = cost
        self._factors = factors
        self._same = same
        deviation = DEVIATION * factors.held_out_error
        self.spread = Spread(deviation, deviation) if same else cost.spread
        where = f"{factors.model} on {factors.tensor_parallel_size} x {factors.device}"
        self.label = f"roofline: calibrated on {where}{'' if same else ' (not this deployment)'}"

    def token_seconds(self, tokens: int) -> float:
        """Return the scaled part; see `PassCost`."""
        return self._factors.linear * self._cost.token_seconds(tokens)

    def row_seconds(self, rows: int) -> float:
        """Return the scaled part; see `PassCost`."""
        return self._factors.linear * self._cost.row_seconds(rows)

    def decode_seconds(self, sequences: int, keys: int) -> float:
        """Return the scaled part; see `PassCost`."""
        return self._factors.decode * self._cost.decode_seconds(sequences, keys)

    def prefill_seconds(self, tokens: int, keys: int, pairs: int) -> float:
        """Return the scaled part; see `PassCost`."""
        return self._factors.prefill * self._cost.prefill_seconds(tokens, keys, pairs)

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the scaled operators; those of another deployment are not calibrated here."""
        factors = self._factors
        scales = {"decode attention": factors.decode, "prefill attention": factors.prefill}
        origin = "roofline" if self._same else "uncalibrated"
        return tuple(
            Part(part.operator, origin, part.seconds * scales.get(part.operator, factors.linear))
            for part in self._cost.parts(shape)
        )
