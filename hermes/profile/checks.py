"""What a profile says of itself: errors of table and roofline, of whole steps, of serving."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.catalog import Model, find_device, find_model
from hermes.costs.roofline import Roofline
from hermes.errors import InputError
from hermes.profile.accuracy import held_out_errors, roofline_errors, table_pass
from hermes.profile.decoder import Decoder, compact
from hermes.profile.journal import Entry
from hermes.profile.laws import fit_laws, write_laws
from hermes.profile.machine import Machine
from hermes.profile.outputs import write_facts
from hermes.profile.progress import Progress
from hermes.profile.reach import Reach
from hermes.profile.serving_check import ServingCheck, check_serving
from hermes.profile.steps import compare, measure_steps, step_shapes
from hermes.profile.table import calls
from hermes.profile.torch_bench import TorchBench
from hermes.scenario.device import DeviceSpec

__all__ = ["Checks", "check_operators", "check_whole"]

_STEPS_SHARE, _SERVING_SHARE = 0.35, 0.4
_MEMORY_SHARE = 0.3
_LAYERS = {"gpu": 32, "cpu": 8}


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

    @property
    def decoder(self) -> Model:
        """The model whose whole steps are measured: the first that a compact decoder can be."""
        memory = _MEMORY_SHARE * self.machine.memory_bytes
        problem: InputError | None = None
        for model in self.models:
            try:
                return compact(model, memory, _LAYERS[self.machine.kind])
            except InputError as error:
                problem = problem or error
        raise problem or InputError("name a model", "--models")


def check_operators(checks: Checks) -> dict[str, Any]:
    """Return the errors of roofline and table on single operators; write the fitted laws."""
    measured = [call for _, call in calls(checks.entries)]
    # the model does not matter to single operators, but experts' matrices are counted by one
    model = next((each for each in checks.models if each.causal), find_model("qwen2.5-0.5b"))
    roofline = checks.roofline(model)
    facts: dict[str, Any] = {
        "roofline as it is, median error": _shown(roofline_errors(roofline, measured)),
        "table on points left out, median error": _shown(held_out_errors(roofline, measured)),
    }
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


def check_whole(
    checks: Checks, bench: TorchBench, reach: Reach, seconds: float, progress: Progress
) -> dict[str, Any]:
    """Return how far whole steps and a served trace are from what the table says."""
    try:
        model = checks.decoder
    except InputError as error:
        return {"whole steps": {"not done": error.message}}
    progress.say(f"whole steps of {model.name} with {model.num_hidden_layers} layers")
    slots = min(reach.sequences, 64 if reach.kind == "gpu" else 8)
    length = min(reach.length, 4096 if reach.kind == "gpu" else 512)
    name = checks.folder.joinpath("steps.json")
    measured = [call for _, call in calls(checks.entries)]
    cost = table_pass(checks.roofline(model), measured, "table.csv")
    decoder = Decoder(model, bench.operands, slots + 1, length)
    shapes = step_shapes(slots, length, min(reach.tokens, length))
    steps = measure_steps(decoder, shapes, bench.time, _STEPS_SHARE * seconds, time.monotonic)
    del decoder
    check = compare(cost, steps)
    facts: dict[str, Any] = {
        "whole steps": {
            "model": f"{model.name}, {model.num_hidden_layers} layers",
            "measured": len(check.steps),
            "step_overhead_us": round(check.overhead_us, 1),
            "median error": {kind: f"{error:.1%}" for kind, error in check.errors.items()},
        }
    }
    write_facts(name, {"steps": list(check.steps)})
    progress.say("a served trace")
    lengths = (256, 64) if reach.kind == "gpu" else (min(64, length // 4), min(16, length // 16))
    serving = ServingCheck(
        checks.folder, checks.device, cost, lengths, slots, _SERVING_SHARE * seconds
    )
    try:
        facts["serving"] = check_serving(serving, model, bench.operands)
    except RuntimeError as error:  # PyTorch's: the table stands without this check
        facts["serving"] = {"not done": str(error).partition("\n")[0]}
    return facts


def _shown(errors: dict[str, tuple[float, float, int]]) -> dict[str, str]:
    return {
        operator: f"{middle:.1%} (90th percentile {high:.1%}, {count} points)"
        for operator, (middle, high, count) in errors.items()
    }
