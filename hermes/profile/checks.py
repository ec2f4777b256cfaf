"""What a profile says of its operators: errors of the roofline, of the fitted one, of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.catalog import Model, find_device, find_model
from hermes.costs.roofline import Roofline
from hermes.profile.accuracy import held_out_errors, roofline_errors
from hermes.profile.journal import Entry
from hermes.profile.laws import fit_laws, write_laws
from hermes.profile.machine import Machine
from hermes.profile.table import calls
from hermes.scenario.device import DeviceSpec

__all__ = ["Checks", "check_operators"]

_FIT_S, _CALL_S = 0.5, 0.01
"""What fitting takes at most, and each call that is fitted on."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What the checks are made on."""

    folder: Path
    machine: Machine
    device: tuple[str, DeviceSpec | None]
    models: Sequence[Model]
    entries: Sequence[Entry]
    source: str

    def roofline(self, model: Model) -> Roofline:
        """Return the roofline of a model on the device."""
        name, block = self.device
        device = find_device(name, {} if block is None else {name: block})
        return Roofline(model, device, "bf16", "bf16")


def check_operators(checks: Checks, seconds: float) -> dict[str, Any]:
    """Return the errors of roofline and table on single operators; write the fitted laws.

    The fit is left out where *seconds* may not be enough for it.
    """
    measured = [call for _, call in calls(checks.entries)]
    # the model does not matter to single operators, but experts' matrices are counted by one
    model = next((each for each in checks.models if each.causal), find_model("qwen2.5-0.5b"))
    roofline = checks.roofline(model)
    facts: dict[str, Any] = {
        "roofline as it is, median error": _shown(roofline_errors(roofline, measured)),
        "table on points left out, median error": _shown(held_out_errors(roofline, measured)),
    }
    if _FIT_S + _CALL_S * len(measured) > seconds:
        facts["roofline fitted"] = "not done: no time is left; --resume with more --minutes"
        return facts
    try:
        laws = fit_laws(roofline.chip.device, measured, checks.source)
    except ImportError:
        facts["roofline fitted"] = "not done: needs scipy"
        return facts
    if laws:
        write_laws(checks.folder / "laws.csv", laws)
        facts["roofline fitted, median error on shapes left out (few tokens, many)"] = {
            f"{law.operator} {law.dtype}": f"{law.small_error:.1%}, {law.large_error:.1%}"
            for law in laws
        }
    return facts


def _shown(errors: dict[str, tuple[float, float, int]]) -> dict[str, str]:
    return {
        operator: f"{middle:.1%} (90th percentile {high:.1%}, {count} points)"
        for operator, (middle, high, count) in errors.items()
    }
