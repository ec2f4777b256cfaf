"""Whole steps of the compact decoder against the sum of their operators in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from hermes.costs.pass_cost import PassCost
from hermes.costs.tables import TablePass
from hermes.profile.bench import Kernel, UnsupportedError
from hermes.profile.decoder import Chunk, Decoder
from hermes.profile.grid import product
from hermes.profile.operators.operands import Operands
from hermes.profile.patience import Patience
from hermes.profile.point import Measurement

__all__ = [
    "StepCheck",
    "StepShape",
    "compare",
    "measure_steps",
    "step_runner",
    "step_shapes",
    "step_sum",
]

_FIXED_S, _UNKNOWN = 0.05, 3.0


@dataclass(frozen=True, slots=True)
class StepShape:
    """A batch: decodes of one context beside prompts of one length."""

    decodes: int = 0
    context: int = 0
    prompts: int = 0
    prompt_tokens: int = 0

    @property
    def kind(self) -> str:
        """Return decode, prefill or mixed."""
        if not self.prompts:
            return "decode"
        return "mixed" if self.decodes else "prefill"


@dataclass(frozen=True, slots=True)
class StepCheck:
    """How far sums of operators are from whole steps."""

    steps: tuple[dict[str, Any], ...]
    overhead_us: float
    """What a step takes beyond its operators: the median of half of the decode steps."""
    errors: dict[str, float]
    """Median absolute relative error of all others by kind, the overhead added."""


def step_shapes(slots: int, length: int, tokens: int) -> list[StepShape]:
    """Return steps of all kinds in turn within a cache, the ends of the ranges first."""
    batches = sorted({1, 2, max(1, slots // 4), slots})
    contexts = sorted({max(1, length // 16), length // 4, length - 1})
    prompts = sorted({max(1, tokens // 16), tokens // 4, tokens // 2, tokens})
    decodes = [StepShape(batch, each) for _, (batch, each) in product([0], batches, contexts)]
    whole = [StepShape(0, 0, 1, min(each, length)) for each in prompts]
    beside = [StepShape(batch, length // 4, 1, tokens // 2) for batch in batches if batch < slots]
    kinds = [decodes, whole, beside]
    count = max(map(len, kinds))
    return [kind[place] for place in range(count) for kind in kinds if place < len(kind)]


def step_sum(cost: PassCost, shape: StepShape) -> float:
    """Return the seconds that a cost model gives a step."""
    prompt_tokens = shape.prompts * shape.prompt_tokens
    pairs = shape.prompts * shape.prompt_tokens * (shape.prompt_tokens + 1) // 2
    return (
        cost.token_seconds(shape.decodes + prompt_tokens)
        + cost.row_seconds(shape.decodes + shape.prompts)
        + cost.decode_seconds(shape.decodes, shape.decodes * (shape.context + 1))
        + cost.prefill_seconds(prompt_tokens, prompt_tokens, pairs)
    )


def measure_steps(
    run: Callable[[StepShape, float], Measurement],
    shapes: Sequence[StepShape],
    expected: Callable[[StepShape], float],
    seconds: float,
    clock: Callable[[], float],
) -> list[tuple[StepShape, Measurement]]:
    """Measure steps of *shapes* within some *seconds*; none starts that could outlast them.

    Args:
        run: Measures one, for about the seconds given.
        shapes: Which, the first matter most.
        expected: Seconds of one step, by the table.
        seconds: For all of them.
        clock: Of the time.
    """
    found = []
    patience = Patience(_FIXED_S, _UNKNOWN)
    end = clock() + seconds
    for done, shape in enumerate(shapes):
        begun, work = clock(), expected(shape)
        repeated = max(0.0, end - begun) / (len(shapes) - done) / 2
        if patience.most("step", work) + repeated > end - begun:
            continue
        try:
            found.append((shape, run(shape, repeated)))
        except UnsupportedError:
            continue
        finally:
            patience.learn("step", max(0.0, clock() - begun - repeated), work)
    return found


def step_runner(
    decoder: Decoder, time: Callable[[Kernel, float], Measurement]
) -> Callable[[StepShape, float], Measurement]:
    """Return what measures a step of a decoder; see `measure_steps`."""
    return lambda shape, seconds: time(Kernel("step", _step(decoder, shape)), seconds)


def _step(decoder: Decoder, shape: StepShape) -> Callable[[], Any]:
    """Return one step of a shape, its inputs on the device."""
    operands: Operands = decoder.operands
    torch, device = operands.torch, operands.device
    chunks = [
        Chunk(shape.decodes + place, 0, shape.prompt_tokens) for place in range(shape.prompts)
    ]
    positions = [shape.context] * shape.decodes
    for chunk in chunks:
        positions += range(chunk.length)
    tokens = torch.arange(len(positions), device=device) % decoder.model.vocab_size
    where = torch.tensor(positions, device=device)
    run = decoder.prepared(chunks, shape.decodes, shape.context + 1)
    return lambda: run(tokens, where)


def compare(cost: TablePass, steps: Sequence[tuple[StepShape, Measurement]]) -> StepCheck:
    """Return how far the table's sums are off; the overhead is that of every other decode step."""
    sums = [step_sum(cost, shape) for shape, _ in steps]
    decodes = [place for place, (shape, _) in enumerate(steps) if shape.kind == "decode"]
    kept = frozenset(decodes[::2])
    gaps = [steps[place][1].seconds - sums[place] for place in decodes[::2]]
    overhead = max(0.0, median(gaps)) if gaps else 0.0
    rows, errors = [], {}
    for place, ((shape, each), total) in enumerate(zip(steps, sums, strict=True)):
        error = (total + overhead) / each.seconds - 1
        rows.append(
            asdict(shape)
            | {"kind": shape.kind, "measured_us": each.seconds * 1e6, "operators_us": total * 1e6}
            | {"spread": each.spread, "error": error, "held_out": place not in kept}
        )
    for kind in ("decode", "prefill", "mixed"):
        found = [abs(row["error"]) for row in rows if row["kind"] == kind and row["held_out"]]
        if found:
            errors[kind] = median(found)
    return StepCheck(tuple(rows), overhead * 1e6, errors)
