"""Blocks of sampled tokens can be found by the next turn, whose prompt begins with them."""

from __future__ import annotations

from collections.abc import Generator, Hashable

import pytest
from simpy import Event

from hermes.sim.batching import BATCHING
from hermes.sim.clock import Clock
from hermes.sim.engine import Engine
from hermes.sim.laws import check_drained
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QUEUE_ORDERS
from hermes.sim.replica import Replica, ReplicaSetup
from hermes.sim.sequence import Sequence
from tests.oracle.reference import ROUTERS, ReferenceReplica, Request, run_reference
from tests.sim.deployments import limits, linear

SECOND = 10**12
PROMPT, OUTPUT, QUESTION, BLOCK = 100, 61, 30, 16
CONTEXT = PROMPT + OUTPUT - 1  # the last token is sampled, and never computed


class Listener:
    def __init__(self) -> None:
        self.ends: dict[int, int] = {}

    def finished(self, replica: Replica, sequence: Sequence, now: int) -> None:
        self.ends[sequence.request_id] = now

    def prefilled(self, replica: Replica, sequence: Sequence, now: int) -> None:
        raise NotImplementedError

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        raise NotImplementedError

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        raise NotImplementedError


def keys_of(conversation: int, blocks: int) -> tuple[Hashable, ...]:
    return tuple((conversation, block) for block in range(blocks))


def served(policy: str, bounds: EngineLimits, sequences: list[Sequence]) -> None:
    """Serve sequences, each at its arrival; all are done in the end, and no block is lost."""
    listener, clock = Listener(), Clock(initial_time=0)
    engine = Engine(bounds, QUEUE_ORDERS.find("fcfs", "")())
    batching = BATCHING.find(policy, "")()
    setup = ReplicaSetup(engine, batching, linear(), lambda tokens: 0, check=True)
    replica = Replica(clock, 0, setup, listener)

    def arrivals() -> Generator[Event, None, None]:
        for sequence in sequences:
            yield clock.timeout(sequence.arrival - clock.now)
            replica.submit(sequence)

    clock.process(arrivals())
    clock.run()
    check_drained(engine)
    assert sorted(listener.ends) == [sequence.request_id for sequence in sequences]
    assert not any(sequence.held for sequence in sequences)


def turns(policy: str, keys: int, size: int = BLOCK) -> Sequence:
    """Serve a turn whose first `keys` blocks have keys, and then the next, which is returned."""
    first = Sequence(0, 0, PROMPT, OUTPUT, keys_of(0, keys))
    second = Sequence(1, 9 * SECOND, PROMPT + OUTPUT + QUESTION, 5, keys_of(0, keys))
    served(policy, limits(block_size=size), [first, second])
    assert first.last_token < second.arrival
    return second


@pytest.mark.parametrize("policy", ["chunked", "continuous", "mixed", "static"])
@pytest.mark.parametrize("size", [1, 16])
def test_the_next_turn_starts_after_all_that_the_first_computed(policy: str, size: int) -> None:
    second = turns(policy, keys=1000, size=size)
    assert second.reused_tokens == CONTEXT // size * size


def test_keys_of_the_prompt_alone_share_the_prompt_alone() -> None:
    second = turns("chunked", keys=PROMPT // BLOCK)
    assert second.reused_tokens == PROMPT // BLOCK * BLOCK


@pytest.mark.parametrize("keys", range(PROMPT // BLOCK, CONTEXT // BLOCK + 2))
def test_answers_are_known_as_far_as_there_are_keys(keys: int) -> None:
    second = turns("chunked", keys)
    assert second.reused_tokens == min(keys, CONTEXT // BLOCK) * BLOCK


@pytest.mark.parametrize("num_blocks", [16, 18, 20, 24, 40, 60])
@pytest.mark.parametrize("policy", ["chunked", "continuous", "mixed", "static"])
def test_conversations_in_a_cache_that_evicts_equal_the_reference(
    policy: str, num_blocks: int
) -> None:
    """Turns of four conversations, one after the other: who starts where says what was evicted."""
    bounds = limits(num_blocks=num_blocks)
    requests, history = [], [0] * 4
    for number in range(60):
        talk = number * number % 4 if number % 3 else number % 4
        if history[talk] > 170:
            history[talk] = 0
        prompt, output = history[talk] + 21 + number % 7, 1 + number * 13 % 50
        prefix = keys_of(talk, 40) if number % 5 else ()
        requests.append((number * SECOND, prompt, output, prefix))
        history[talk] = prompt + output
    expected = [Request(i, at, p, o, prefix=x) for i, (at, p, o, x) in enumerate(requests)]
    run_reference(expected, [ReferenceReplica(bounds, policy, linear())], ROUTERS["least_loaded"]())
    sequences = [Sequence(i, at, p, o, x) for i, (at, p, o, x) in enumerate(requests)]
    served(policy, bounds, sequences)
    firsts = [sequence.first_token for sequence in sequences]
    assert firsts == [request.token_times[0] for request in expected]
    assert any(s.reused_tokens > 64 for s in sequences)
