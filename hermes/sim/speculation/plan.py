"""Speculative decoding as a client has it: names looked up, memory counted, costs built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from hermes.catalog import Device, Model, find_model
from hermes.costs.build import build_step_cost
from hermes.costs.memory import kv_bytes_per_token_per_device, weight_bytes_per_device
from hermes.costs.speculation import DraftModelCost, FixedDraftCost, VerifyCost
from hermes.costs.step import StepCost
from hermes.errors import InfeasibleError, InputError
from hermes.scenario.clients import LlmClientSpec
from hermes.scenario.costs import LinearCostSpec, RooflineCosts, RooflineCostSpec
from hermes.scenario.speculation import DraftModelSpec, SpeculativeSpec
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.speculation.acceptance import Acceptance, DrawnAcceptance, mean_gain

__all__ = [
    "DraftLimits",
    "DraftModel",
    "SpeculationPlan",
    "draft_limits",
    "find_draft_model",
    "plan_speculation",
]

_FIELD = "speculative_config"


@dataclass(frozen=True, slots=True)
class SpeculationPlan:
    """What a replica needs to know to verify drafts.

    Attributes:
        spec: As the user wrote it.
        verify: Puts a duration on its steps.
        acceptance: Makes the source of draws from a stream; None for draws at the given rate.
    """

    spec: SpeculativeSpec
    verify: VerifyCost
    acceptance: Callable[[np.random.Generator], Acceptance] | None = field(default=None)

    @property
    def about(self) -> str:
        """What is drafted and what comes of it, for people."""
        spec = self.spec
        drafts, rate = spec.num_speculative_tokens, spec.acceptance_rate
        gain = float(mean_gain(rate, drafts))
        model = isinstance(spec.draft, DraftModelSpec) and f" of {spec.draft.model}"
        return (
            f"{drafts} drafts{model or ''}, {rate:g} accepted: {gain:.2f} tokens a step on average"
        )

    def draws(self, rng: np.random.Generator) -> Acceptance:
        """Return the source of draws that a replica with a stream has."""
        if self.acceptance is not None:
            return self.acceptance(rng)
        return DrawnAcceptance(rng, self.spec.acceptance_rate, self.spec.num_speculative_tokens)


@dataclass(frozen=True, slots=True)
class DraftModel:
    """A small model on the devices of a large one, split as it is."""

    model: Model
    kv_bytes: int  # of one token on one device
    weight_bytes: int  # on one device

    def blocks_beside(self, blocks: int, kv_bytes: int, block_size: int) -> int:
        """Return how many of the large model's blocks are left, with the draft's beside them.

        Raises:
            InfeasibleError: The draft model leaves none.
        """
        room = blocks * kv_bytes * block_size - self.weight_bytes
        left = room // ((kv_bytes + self.kv_bytes) * block_size)
        if left < 2:  # one is the null block
            raise InfeasibleError(
                f"the weights of {self.model.name} need {self.weight_bytes / 1e9:.2f} GB of each "
                f"device, and {blocks * kv_bytes * block_size / 1e9:.2f} GB are free for them and "
                "for the KV cache",
                f"{_FIELD}.draft.model",
            )
        return left


def find_draft_model(
    spec: LlmClientSpec, model: Model, kv_dtype: str, folder: Path | None
) -> DraftModel | None:
    """Return the model that drafts, if one does; its weights are as published.

    Raises:
        InputError: There is no such model, or it has another vocabulary.
    """
    config = spec.speculative_config
    if config is None or not isinstance(config.draft, DraftModelSpec):
        return None
    try:
        found = find_model(config.draft.model, folder)
    except InputError as error:
        raise error if error.file else error.inside(f"{_FIELD}.draft.model") from None
    if found.vocab_size != model.vocab_size:
        raise InputError(
            f"a draft model has the vocabulary of the model it drafts for: {found.name} has "
            f"{found.vocab_size} tokens, {model.name} {model.vocab_size}",
            f"{_FIELD}.draft.model",
        )
    size = spec.tensor_parallel_size
    return DraftModel(
        found,
        kv_bytes_per_token_per_device(found, kv_dtype, size),
        weight_bytes_per_device(found, "auto", size),
    )


class DraftLimits(TypedDict, total=False):
    """Those of `EngineLimits` that are about drafts."""

    num_drafts: int
    lookahead: int
    uniform_drafts: bool


def draft_limits(config: SpeculativeSpec | None) -> DraftLimits:
    """Return what speculation asks of an engine's limits; nothing where there is none."""
    if config is None:
        return {}
    drafts, draft = config.num_speculative_tokens, config.draft
    return {
        "num_drafts": drafts,
        "lookahead": drafts if isinstance(draft, DraftModelSpec) or draft.caches else 0,
        "uniform_drafts": config.mode == "expected",
    }


def plan_speculation(
    spec: LlmClientSpec,
    draft: DraftModel | None,
    device: Device,
    kv_dtype: str,
    costs: StepCost,
    folder: Path | None,
) -> SpeculationPlan | None:
    """Return how a client speculates; None where it does not.

    Raises:
        InfeasibleError: Drafts that a limit would always cut, or a draft model that cannot be
            split as the large one is.
    """
    config = spec.speculative_config
    if config is None:
        return None
    if spec.pipeline_parallel_size > 1:
        raise InfeasibleError(
            "drafts are not verified over several pipeline stages "
            f"({spec.pipeline_parallel_size}) yet; remove speculative_config",
            "pipeline_parallel_size",
        )
    tokens, threshold = 1 + config.num_speculative_tokens, spec.long_prefill_token_threshold
    if 0 < threshold < tokens:
        raise InfeasibleError(
            f"must be 0 or at least 1 + num_speculative_tokens ({tokens}), got {threshold}",
            "long_prefill_token_threshold",
        )
    if draft is None:
        assert not isinstance(config.draft, DraftModelSpec)
        fixed = FixedDraftCost(seconds_to_ticks(config.draft.step_us * 1e-6))
        return SpeculationPlan(config, VerifyCost(costs, fixed))
    drafting = DraftModelCost(
        _draft_costs(spec, draft.model, device, kv_dtype, folder), config.num_speculative_tokens
    )
    return SpeculationPlan(config, VerifyCost(costs, drafting))


def _draft_costs(
    spec: LlmClientSpec, model: Model, device: Device, kv_dtype: str, folder: Path | None
) -> StepCost:
    """Return the costs of a draft's pass, which the host of the large model's step launches."""
    costs = spec.costs
    around = RooflineCosts()
    if isinstance(costs, RooflineCostSpec):
        around = costs.roofline
    elif not isinstance(costs, (str, LinearCostSpec)):
        raise InputError("a draft model needs costs: roofline or linear", "costs")
    roofline = RooflineCostSpec(roofline=around.model_copy(update={"step_overhead_us": 0.0}))
    size = spec.tensor_parallel_size
    try:
        return build_step_cost(roofline, model, device, model.weight_dtype, kv_dtype, size, folder)
    except InfeasibleError as error:
        raise InfeasibleError(str(error), f"{_FIELD}.draft.model") from None
