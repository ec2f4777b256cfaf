"""How long a sequence is out after a preemption, against a look at the queue at every step."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.sim.lane import Batch
from hermes.sim.replica import Replica
from hermes.sim.sequence import Sequence
from hermes.sim.simulation import simulate_deployment
from tests.oracle.reference import NeverEndsError
from tests.sim.deployments import US, limits, workload
from tests.sim.test_against_oracle import ANY_HEALTH, BATCHING, SCENARIO, Case, cases


class Watch:
    """Sees every step, and adds up for how long each sequence that lost its blocks waits."""

    def __init__(self) -> None:
        self.sequences: dict[int, Sequence] = {}
        self.waited: Counter[int] = Counter()
        self._out: dict[int, tuple[int, list[int]]] = {}  # by replica: tick, requests that are out

    def __call__(self, replica: Replica, now: int, batch: Batch) -> None:
        since, out = self._out.get(replica.index, (now, []))
        for request in out:
            self.waited[request] += now - since
        begun = [s for s in replica.engine.waiting if s.scheduled >= 0]
        self._out[replica.index] = (now, [s.request_id for s in begun])
        self.sequences |= {s.request_id: s for s, _ in batch.prefills}


def preempted_ticks(case: Case, fast_forward: bool) -> tuple[dict[int, int], dict[int, int]]:
    """Return what the sequences say, and what a look at each step that was formed says."""
    watch = Watch()
    traffic = workload(case.requests, case.priority, case.prefixes)
    simulate_deployment(
        SCENARIO, case.deployment(), traffic, fast_forward, check=True, observer=watch
    )
    assert all(sequence.lost < 0 for sequence in watch.sequences.values())
    own = {request: sequence.preempted_ticks for request, sequence in watch.sequences.items()}
    return own, {request: watch.waited[request] for request in own}


@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_it_is_the_time_in_the_queue_since_the_first_step(
    batching: str, data: st.DataObject
) -> None:
    case = data.draw(cases(batching))
    try:
        case.reference()
    except NeverEndsError:
        return
    own, seen = preempted_ticks(case, fast_forward=False)
    assert own == seen
    assert preempted_ticks(case, fast_forward=True)[0] == own


@pytest.mark.parametrize("swap_blocks", [0, 1000])
@pytest.mark.parametrize("batching", BATCHING)
def test_a_tiny_cache(batching: str, swap_blocks: int) -> None:
    requests = [(i * 1000 * US, 30, 60) for i in range(20)]
    case = Case(requests, limits(num_blocks=9, swap_blocks=swap_blocks), batching)
    own, seen = preempted_ticks(case, fast_forward=True)
    assert own == seen
    assert any(own.values())


def test_a_request_is_out_until_another_ends() -> None:
    """Two of 32 + 33 tokens in 6 blocks of 16: at 49 tokens each needs a 4th; the younger goes.

    It comes back when the older one has ended, which decodes its 49th to 64th token alone.
    """
    case = Case([(0, 32, 33), (0, 32, 33)], limits(num_blocks=6))
    own, _ = preempted_ticks(case, fast_forward=True)
    alone = sum((4000 + 20) * US + 8 * 1000 * context for context in range(48, 64))
    assert own == {0: 0, 1: alone}


def test_waiting_for_a_first_place_is_no_preemption() -> None:
    own, _ = preempted_ticks(Case([(0, 100, 50)] * 40, limits(max_num_seqs=4)), fast_forward=True)
    assert set(own.values()) == {0}


@pytest.mark.parametrize(
    ("scheduled", "ticket", "out"),
    [(0, -1, True), (-1, -1, False), (0, 7, False)],
    ids=["it waits again", "it never ran", "it was given blocks again in the same batch"],
)
def test_what_counts_as_being_out(scheduled: int, ticket: int, out: bool) -> None:
    sequence = Sequence(0, 0, 10, 10)
    sequence.scheduled, sequence.ticket = scheduled, ticket
    sequence.begin_preemption(100)
    sequence.end_preemption(130)
    assert sequence.preempted_ticks == (30 if out else 0)


def test_admitted_and_preempted_again_in_one_batch_it_was_out_all_along() -> None:
    sequence = Sequence(0, 0, 10, 10)
    sequence.scheduled = 0
    for now in (100, 120):
        sequence.begin_preemption(now)
    sequence.end_preemption(130)
    sequence.end_preemption(150)
    assert sequence.preempted_ticks == 30
