"""Several samples of one prompt (vLLM's `n`): what they share, and when.

vLLM makes a request of each sample, all at once. Blocks are known by what they will hold as soon as
a step is to fill them, so the second sample finds those of the first though both are admitted in
the same step; what it computes itself is the last block, or what the budget cut off.
"""

from __future__ import annotations

import pytest

from hermes.sim.replica import Replica
from hermes.sim.simulation import simulate_deployment
from hermes.workload import Prefixes
from tests.sim.deployments import limits, workload
from tests.sim.test_against_oracle import SCENARIO, Case, assert_equal_to_reference


def computed_prompt_tokens(case: Case) -> int:
    """Return the prompt tokens that steps hold, as they are formed."""
    held = []

    def watch(replica: Replica, now: int, batch) -> None:
        held.append(sum(tokens for _, tokens in batch.prefills))

    traffic = workload(case.requests, case.priority, case.prefixes)
    simulate_deployment(SCENARIO, case.deployment(), traffic, observer=watch)
    return sum(held)


def samples(prompt: int, count: int, **bounds: int) -> Case:
    keys = tuple(range(prompt // 16))
    return Case([(0, prompt, 20)] * count, limits(**bounds), prefixes=Prefixes(16, (keys,) * count))


@pytest.mark.parametrize(("prompt", "left"), [(1000, 8), (1008, 16), (15, 15)])
def test_each_further_sample_computes_only_the_end_of_the_prompt(prompt: int, left: int) -> None:
    """Full blocks are shared, but never all of them: the last token must be computed."""
    case = samples(prompt, 4)
    assert_equal_to_reference(case)
    assert computed_prompt_tokens(case) == prompt + 3 * left


def test_samples_wait_while_the_first_one_fills_the_budget() -> None:
    """One chunk of the prompt is all a step holds: the others come after the last of them."""
    case = samples(1000, 4, max_num_batched_tokens=256)
    assert_equal_to_reference(case)
    assert computed_prompt_tokens(case) == 1000 + 3 * 8


def test_samples_hold_the_prompt_once() -> None:
    """65 blocks of the first and three more of each other are 74; apart they would need 260."""
    for num_blocks, preemptions in ((74, 0), (73, 1)):
        case = samples(1008, 4, num_blocks=num_blocks)
        assert_equal_to_reference(case)
        served = case.simulated(True).requests
        assert served.preemptions.sum() == preemptions
        assert len(set(served.scheduled.tolist())) == 1


def test_without_prefix_caching_each_sample_computes_everything() -> None:
    case = samples(1000, 4, enable_prefix_caching=False)
    assert_equal_to_reference(case)
    assert computed_prompt_tokens(case) == 4000
