"""Whole steps and a served trace against what the table says, within some time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hermes.catalog import Model
from hermes.costs.memory import kv_bytes_per_token
from hermes.errors import HermesError, InputError
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

_STEPS_SHARE, _SERVING_SHARE = 0.35, 0.75
"""When the steps of the first decoder end, and its served trace; then come those with experts."""
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

    Steps are those of the first dense model that a compact decoder can be, and of the first with
    routed experts; the first is served too.
    """
    limit = TimeLimit(seconds)
    found = decoders(checks.models, checks.machine.memory_bytes, checks.machine.kind)
    if not found:
        return {
            _KEYS[0]: {"not done": "no model is a decoder with grouped attention and no window"}
        }
    facts: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    progress.say(f"whole steps of {found[0].name} with {found[0].num_hidden_layers} layers")
    whole = _Whole(checks, bench, reach, found[0])
    with _said(facts, _KEYS[0]):
        facts[_KEYS[0]], rows = whole.steps(limit.until(_STEPS_SHARE))
    progress.say("a served trace")
    end = _SERVING_SHARE if len(found) > 1 else 1.0
    with _said(facts, "serving"):
        facts["serving"] = whole.serving(limit.until(end))
    del whole  # its weights make room
    if len(found) > 1:
        progress.say(f"whole steps of {found[1].name} with {found[1].num_hidden_layers} layers")
        with _said(facts, _KEYS[1]):
            whole = _Whole(checks, bench, reach, found[1])
            facts[_KEYS[1]], more = whole.steps(limit.left)
            rows += more
    write_facts(checks.folder / "steps.json", {"steps": rows})
    return facts


@contextmanager
def _said(facts: dict[str, Any], key: str) -> Iterator[None]:
    """Say what could not be done, and why: the table stands without it."""
    try:
        yield
    except (RuntimeError, HermesError, NotDoneError) as error:  # PyTorch's, the simulator's, ours
        facts[key] = {"not done": str(error).partition("\n")[0]}


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


class _Whole:
    """One decoder, made when it is first needed."""

    def __init__(self, checks: Checks, bench: TorchBench, reach: Reach, model: Model) -> None:
        self._checks, self._bench, self._reach, self._model = checks, bench, reach, model
        gpu = reach.kind == "gpu"
        slots = min(reach.sequences, 64 if gpu else 8)
        length = min(reach.length, 4096 if gpu else 512)
        self._slots, self._length = room(model, checks.machine.memory_bytes, slots, length)
        self._made: Decoder | None = None
        measured = [call for _, call in calls(checks.entries)]
        self._cost = table_pass(checks.roofline(model), measured, "table.csv")

    def steps(self, seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the facts and the rows of whole steps."""
        limit, model, cost = TimeLimit(seconds), self._model, self._cost
        decoder = self._decoder(seconds)
        shapes = step_shapes(self._slots, self._length, min(self._reach.tokens, self._length))
        run = step_runner(decoder, self._bench.time)
        steps = measure_steps(
            run, shapes, lambda shape: step_sum(cost, shape), limit.left, limit.clock
        )
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

    def serving(self, seconds: float) -> dict[str, Any]:
        """Return how far a served trace is from its simulation."""
        limit, length = TimeLimit(seconds), self._length
        decoder = self._decoder(seconds)
        gpu = self._reach.kind == "gpu"
        lengths = (256, 64) if gpu else (min(64, length // 4), min(16, length // 16))
        folder, device = self._checks.folder, self._checks.device
        check = ServingCheck(folder, device, self._cost, lengths, self._slots, limit.left)
        return check_serving(check, decoder)

    def _decoder(self, seconds: float) -> Decoder:
        """Return the decoder; raise where its weights take longer to draw than there is time."""
        if self._made is None:
            operands = self._bench.operands
            needed = _BUILT * operands.fill_seconds(self._model.total_parameters)
            if needed > seconds:
                raise NotDoneError(f"{seconds:.0f} s left, its weights may take {needed:.0f}")
            self._made = Decoder(self._model, operands, self._slots + 1, self._length)
        return self._made
