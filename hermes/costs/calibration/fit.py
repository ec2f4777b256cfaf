"""Fitting the roofline's parts to observations, by least relative squares.

A step is linear in the factors: `step + linear*T + decode*D + prefill*P`. So is, in a closed loop,
the time per output token: a decode step of the whole batch, and the prompts of the others that come
in between. Few observations cannot tell the factors apart, so each is drawn to what it was: half a
part in ten weighs as much as one observation that is 5 % off.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hermes.costs.calibration.calibrated_pass import Factors
from hermes.costs.calibration.observations import Observations, Run, StepTime
from hermes.costs.pass_cost import PassCost

__all__ = ["Calibration", "calibrate"]

Vector = NDArray[np.float64]

_PRIOR = np.array([0.0, 1.0, 1.0, 1.0])
_LEAST = np.array([0.0, 0.2, 0.05, 0.05])
_MOST = np.array([np.inf, 5.0, 20.0, 20.0])
_STEP_SCALE = 2e-3  # seconds: what a host may add
_STRENGTH = 0.5
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """Factors, and what they predict for every observation."""

    factors: Factors
    unfitted_error: float
    """Median absolute relative error of the roofline as it was."""
    measured: tuple[float, ...]
    """Seconds: of steps, or per output token of runs."""
    predicted: tuple[float, ...]
    held_out: tuple[float, ...]
    """Predicted with the observation left out of the fit."""


def calibrate(
    cost: PassCost,
    observations: Observations,
    model: str,
    device: str,
    tensor_parallel_size: int,
) -> Calibration:
    """Fit the parts of *cost* to what was observed.

    Args:
        cost: The roofline of the deployment that was measured.
        observations: What was measured.
        model: Its name.
        device: Its device.
        tensor_parallel_size: Its devices in a replica.
    """
    parts = [_step_parts(cost, step) for step in observations.steps]
    parts += [_token_parts(cost, run) for run in observations.runs]
    design = np.array(parts)
    measured = np.array(
        [step.seconds for step in observations.steps] + [run.tpot_s for run in observations.runs]
    )
    found = _fit(design, measured)
    held_out = _held_out(design, measured)
    factors = Factors(
        model=model,
        device=device,
        tensor_parallel_size=tensor_parallel_size,
        step_us=float(found[0] * 1e6),
        linear=float(found[1]),
        decode=float(found[2]),
        prefill=float(found[3]),
        request_ms=_request_ms(cost, observations.runs, found),
        fitted_error=_error(design @ found, measured),
        held_out_error=_error(held_out, measured),
        fitted_on=f"{len(measured)} observations of {observations.source}",
    )
    return Calibration(
        factors,
        _error(design @ _PRIOR, measured),
        tuple(measured.tolist()),
        tuple((design @ found).tolist()),
        tuple(held_out.tolist()),
    )


def _step_parts(cost: PassCost, step: StepTime) -> tuple[float, float, float, float]:
    """Return the host, linear, decode and prefill parts of a step.

    The log sums the context of all sequences: with prompts in the step, it is shared out by tokens
    that decode and prompts that do.
    """
    prompts = 1 if step.prefill_tokens else 0
    sequences = step.decode_sequences + prompts
    decode_context = step.context_tokens * step.decode_sequences // sequences
    done = step.context_tokens - decode_context
    chunk = step.prefill_tokens
    pairs = chunk * done + chunk * (chunk + 1) // 2
    return (
        1.0,
        cost.token_seconds(step.decode_sequences + chunk) + cost.row_seconds(sequences),
        cost.decode_seconds(step.decode_sequences, decode_context + step.decode_sequences),
        cost.prefill_seconds(chunk, done + chunk, pairs),
    )


def _token_parts(cost: PassCost, run: Run) -> tuple[float, float, float, float]:
    """Return the parts of one output token in a closed loop."""
    batch = max(1, round(run.concurrency))
    keys = round(batch * (run.prompt_tokens + run.output_tokens / 2))
    others = (run.concurrency - 1) / max(1.0, run.output_tokens)
    chunk = round(run.prompt_tokens)
    alone = cost.token_seconds(batch)
    more = cost.token_seconds(batch + chunk) - alone
    return (
        1.0,
        alone + cost.row_seconds(batch) + others * more,
        cost.decode_seconds(batch, keys),
        others * cost.prefill_seconds(chunk, chunk, chunk * (chunk + 1) // 2),
    )


def _fit(design: Vector, measured: Vector) -> Vector:
    """Return the factors of least squares of relative errors, within their bounds."""
    scale = np.array([_STEP_SCALE, 0.1, 0.3, 0.3])
    prior = np.diag(_STRENGTH * 0.05 / scale)
    matrix = np.vstack([design / measured[:, None], prior])
    target = np.concatenate([np.ones(len(measured)), prior @ _PRIOR])
    free = np.ones(4, bool)
    found = _PRIOR.copy()
    for _ in range(4):
        rest = target - matrix[:, ~free] @ found[~free]
        found[free] = np.linalg.lstsq(matrix[:, free], rest, rcond=None)[0]
        outside = free & ((found < _LEAST) | (found > _MOST))
        found = np.clip(found, _LEAST, _MOST)
        if not outside.any():
            break
        free &= ~outside
    return found


def _held_out(design: Vector, measured: Vector) -> Vector:
    """Return what is predicted for each observation without its fold."""
    folds = min(_FOLDS, len(measured))
    predicted = np.empty_like(measured)
    index = np.arange(len(measured))
    for fold in range(folds):
        out = index % folds == fold
        kept = _fit(design[~out], measured[~out]) if (~out).any() else _PRIOR
        predicted[out] = design[out] @ kept
    return predicted


def _request_ms(cost: PassCost, runs: tuple[Run, ...], found: Vector) -> float:
    """Return the time to first token that computation does not explain, at low load."""
    if not runs:
        return 0.0
    calm = sorted(runs, key=lambda run: run.concurrency)[: max(1, len(runs) // 3)]
    left = []
    for run in calm:
        chunk = round(run.prompt_tokens)
        prompt = np.array(_step_parts(cost, StepTime(chunk, 0, 0, 1.0)))
        token = np.array(_token_parts(cost, run))
        waiting = 0.5 * float(token @ found)
        left.append(run.ttft_s - float(prompt @ found) - waiting)
    return max(0.0, median(left) * 1e3)


def _error(predicted: Vector, measured: Vector) -> float:
    return float(np.median(np.abs(predicted / measured - 1)))
