"""Whole steps and a served trace against what the table says, within some time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hermes.catalog import Model
from hermes.costs.memory import kv_bytes_per_token
from hermes.errors import InputError
from hermes.profile.accuracy import table_pass
from hermes.profile.checks import Checks
from hermes.profile.decoder import Decoder, compact
from hermes.profile.limit import TimeLimit
from hermes.profile.outputs import write_facts
from hermes.profile.progress import Progress
from hermes.profile.reach import Reach
from hermes.profile.serving_check import NotDoneError, ServingCheck, check_serving
from hermes.profile.steps import compare, measure_steps, step_runner, step_shapes, step_sum
from hermes.profile.table import calls
from hermes.profile.torch_bench import TorchBench

__all__ = ["check_whole", "decoders", "room"]

_STEPS_SHARE, _EXPERTS_SHARE = 0.35, 0.55
"""When the steps of the dense decoder end, and those of the one with experts."""
_MEMORY_SHARE = 0.3
"""Of the device's memory, for weights; as much for the cache."""
_LAYERS = {"gpu": 32, "cpu": 8}
_FEWEST_SLOTS, _FEWEST_TOKENS = 2, 64
_BUILT = 4.0
"""What a decoder takes at most, over drawing its weights once."""
_KEYS = ("whole steps", "whole steps with experts")


def check_whole(
    checks: Checks, bench: TorchBench, reach: Reach, seconds: float, progress: Progress
) -> dict[str, Any]:
    """Return how far whole steps and a served trace are from what the table says.

    Steps are those of the first model that a compact decoder can be, and of the first with routed
    experts; the first is served too.
    """
    limit = TimeLimit(seconds)
    found = decoders(checks.models, checks.machine.memory_bytes, checks.machine.kind)
    if not found:
        return {
            _KEYS[0]: {"not done": "no model is a decoder with grouped attention and no window"}
        }
    facts: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    ends = (_STEPS_SHARE, _EXPERTS_SHARE)
    for key, model, end in zip(_KEYS, found, ends, strict=False):
        progress.say(f"{key} of {model.name} with {model.num_hidden_layers} layers")
        try:
            facts[key], steps = _steps(checks, model, bench, reach, limit.until(end))
            rows += steps
        except (RuntimeError, NotDoneError) as error:  # PyTorch's: the table stands without
            facts[key] = {"not done": str(error).partition("\n")[0]}
    write_facts(checks.folder / "steps.json", {"steps": rows})
    progress.say("a served trace")
    try:
        facts["serving"] = _serving(checks, found[0], bench, reach, limit.left)
    except (RuntimeError, NotDoneError) as error:
        facts["serving"] = {"not done": str(error).partition("\n")[0]}
    return facts


def decoders(models: Sequence[Model], memory_bytes: float, kind: str) -> list[Model]:
    """Return compact forms of the first dense decoder and the first with experts, if there are."""
    found: dict[bool, Model] = {}
    for model in models:
        if model.is_moe in found:
            continue
        try:
            found[model.is_moe] = compact(model, _MEMORY_SHARE * memory_bytes, _LAYERS[kind])
        except InputError:
            continue
    return [found[key] for key in (False, True) if key in found]


def room(model: Model, memory_bytes: float, slots: int, length: int) -> tuple[int, int]:
    """Return how many sequences of what length a cache can hold, *slots* and *length* at most."""
    token = kv_bytes_per_token(model, "bf16")
    most = _MEMORY_SHARE * memory_bytes
    while token * slots * length > most and slots > _FEWEST_SLOTS:
        slots //= 2
    while token * slots * length > most and length > _FEWEST_TOKENS:
        length //= 2
    return slots, length


def _steps(
    checks: Checks, model: Model, bench: TorchBench, reach: Reach, seconds: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the facts and the rows of the whole steps of one decoder."""
    limit = TimeLimit(seconds)
    _check_time(model, bench, seconds)
    slots, length = _sizes(checks, model, reach)
    measured = [call for _, call in calls(checks.entries)]
    cost = table_pass(checks.roofline(model), measured, "table.csv")
    decoder = Decoder(model, bench.operands, slots + 1, length)
    shapes = step_shapes(slots, length, min(reach.tokens, length))
    run = step_runner(decoder, bench.time)
    steps = measure_steps(run, shapes, lambda shape: step_sum(cost, shape), limit.left, limit.clock)
    if not steps:
        raise NotDoneError("no time for a step")
    check = compare(cost, steps)
    facts = {
        "model": f"{model.name}, {model.num_hidden_layers} layers",
        "measured": f"{len(check.steps)} of {len(shapes)}",
        "step_overhead_us": round(check.overhead_us, 1),
        "median error": {kind: f"{error:.1%}" for kind, error in check.errors.items()},
    }
    return facts, [{"model": model.name, **row} for row in check.steps]


def _serving(
    checks: Checks, model: Model, bench: TorchBench, reach: Reach, seconds: float
) -> dict[str, Any]:
    limit = TimeLimit(seconds)
    _check_time(model, bench, seconds)
    slots, length = _sizes(checks, model, reach)
    gpu = checks.machine.kind == "gpu"
    lengths = (256, 64) if gpu else (min(64, length // 4), min(16, length // 16))
    measured = [call for _, call in calls(checks.entries)]
    cost = table_pass(checks.roofline(model), measured, "table.csv")
    check = ServingCheck(checks.folder, checks.device, cost, lengths, slots, limit.left)
    return check_serving(check, model, bench.operands)


def _sizes(checks: Checks, model: Model, reach: Reach) -> tuple[int, int]:
    gpu = reach.kind == "gpu"
    slots, length = min(reach.sequences, 64 if gpu else 8), min(reach.length, 4096 if gpu else 512)
    return room(model, checks.machine.memory_bytes, slots, length)


def _check_time(model: Model, bench: TorchBench, seconds: float) -> None:
    """Raise where the decoder's weights take longer to draw than there is time."""
    needed = _BUILT * bench.operands.fill_seconds(model.total_parameters)
    if needed > seconds:
        raise NotDoneError(f"{seconds:.0f} s are left, its weights may take {needed:.0f}")
