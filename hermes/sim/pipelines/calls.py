"""Model calls of a pipeline: the context goes in as a prompt, the answer comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hermes.scenario.pipeline import Generate
from hermes.sim.operations.attempts import Served, serve
from hermes.sim.pipelines.context import Context
from hermes.sim.pipelines.signal import Signal, Waitable
from hermes.sim.pipelines.walk import Answer, Rejected, Visit, Walk
from hermes.sim.pipelines.world import Steps, World
from hermes.sim.replica import Replica
from hermes.sim.route import Route
from hermes.sim.routing import RoutedRequest
from hermes.sim.routing.request import adapter_keys
from hermes.sim.sequence import Sequence
from hermes.sim.tiers.lookup import Recalled

__all__ = ["BYTES_PER_TOKEN", "GenerateStep"]

BYTES_PER_TOKEN = 4
"""Of text on its way between stages."""

Quality = Mapping[int, Mapping[str, float]]
"""By replica, the share of requests of each difficulty class that its model answers right."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: what goes in, and how much comes out."""

    prompt: int
    thoughts: int
    answer: int
    keys: Context | None  # whose KV blocks its tokens are; None where none are shared
    recalled: Recalled | None  # stored context in front of the prompt

    @property
    def context(self) -> int:
        """Tokens to have or to compute before the first one is sampled."""
        return self.prompt + (self.recalled.tokens if self.recalled else 0)

    @property
    def output(self) -> int:
        """Tokens sampled."""
        return self.thoughts + self.answer


class GenerateStep:
    """A call of a language model; see `hermes.scenario.pipeline.Generate`.

    Args:
        world: What it works with.
        name: For its draws: `pipeline/stage`.
        stage: Its number in the log.
        spec: What the user wrote.
        route: Where its calls can go.
        quality: Of the models behind it; empty where it is not known.
        shares: Whether other calls of a request may find the KV of this one.
    """

    def __init__(
        self,
        world: World,
        name: str,
        stage: int,
        spec: Generate,
        route: Route,
        quality: Quality,
        shares: bool,
    ) -> None:
        self._world = world
        self._name = name
        self._stage = stage
        self._spec = spec
        self._route = route
        self._quality = quality
        self._shares = shares

    def run(self, walk: Walk) -> Steps:
        """Make the call; see `Walker.run`."""
        world, spec = self._world, self._spec
        begin = world.enter(walk)
        if spec.prompt_tokens is None:
            walk.read_documents(world.number)
        call = self._call(walk)
        routed = RoutedRequest(
            walk.request,
            call.context,
            call.output,
            world.workload,
            lambda block_size: self._prefix(walk, call, block_size),
            self._route.adapter(walk.request),
        )
        reaches = None if world.reaches_all else partial(world.reaches, walk)
        if self._route.gate is not None:
            served = yield from self._attempt(walk, call, routed, reaches)
            replica, last, sequence = served.first, served.replica, served.sequence
            moved = served.moved
        else:
            pick = self._route.pick(begin, routed, reaches)
            if pick.replica is None:
                raise Rejected(pick.reason)
            replica = pick.replica
            there = world.moved(walk, replica.index, BYTES_PER_TOKEN * call.prompt)
            if there is not None:
                yield there
            moved = world.env.now - begin
            sequence = self._sequence(walk, call, replica)
            sequence.route, sequence.routed = self._route, routed
            sequence.hand_off = pick.hand_off
            sequence.done = done = Signal()
            replica.submit(sequence)
            last, sequence = yield done  # elsewhere than it began, if it was handed over
        if last.front_end_ticks:
            yield world.env.timeout(last.front_end_ticks)
        walk.at = last.index
        walk.visits.append(self._visit(sequence, begin, moved, last))
        world.coordinator.log.sampled(walk.request, sequence)
        self._take_answer(walk, call, sequence, last)
        walk.right = self._right(walk, replica)
        if spec.keeps_output:
            self._grow(walk, call)

    def _attempt(
        self,
        walk: Walk,
        call: _Call,
        routed: RoutedRequest,
        reaches: Callable[[int], bool] | None,
    ) -> Generator[Waitable, Any, Served]:
        """Make the call on replicas that come and go."""
        world = self._world

        def move(replica: Replica) -> Steps:
            world.enter(walk)  # nobody may wait for it any more
            yield from world.move(walk, replica.index, BYTES_PER_TOKEN * call.prompt)

        def build(replica: Replica) -> Sequence:
            return self._sequence(walk, call, replica)

        log = world.coordinator.log
        return (yield from serve(world.env, log, self._route, routed, build, move, reaches))

    def _call(self, walk: Walk) -> _Call:
        spec, draws = self._spec, self._world.draws
        request, place = walk.request, walk.place

        def tokens(what: str) -> int:
            return draws.tokens(getattr(spec, what), f"{self._name}/{what}", request, place)

        prompt = walk.context.tokens if spec.prompt_tokens is None else tokens("prompt_tokens")
        thoughts = 0 if spec.thought_tokens is None else tokens("thought_tokens")
        if spec.max_thought_tokens is not None:
            thoughts = min(thoughts, spec.max_thought_tokens)
        if spec.output_tokens is None:
            answer = int(self._world.workload.output_tokens[request])
        else:
            answer = tokens("output_tokens")
        recalled = self._route.recalled(request)
        keys = None if recalled else self._keys(walk, thoughts + answer)
        return _Call(prompt, thoughts, answer, keys, recalled)

    def _keys(self, walk: Walk, output: int) -> Context | None:
        """Return whose blocks the prompt and, where it stays in the context, the output are."""
        spec = self._spec
        if spec.prompt_tokens is not None or not self._shares:
            return None
        stays = spec.keeps_output and (spec.keep_thoughts or spec.thought_tokens is None)
        return walk.context.grown(output, self._world.number()) if stays else walk.context

    def _grow(self, walk: Walk, call: _Call) -> None:
        if call.keys is not None and call.keys is not walk.context:
            walk.context = call.keys
            return
        kept = call.output if self._spec.keep_thoughts else call.answer
        walk.context = walk.context.grown(kept, self._world.number())

    def _sequence(self, walk: Walk, call: _Call, replica: Replica) -> Sequence:
        world, request = self._world, walk.request
        prefix = self._prefix(walk, call, replica.engine.limits.block_size)
        sequence = world.coordinator.sequence(
            world.number(), request, walk.arrival, call.context, call.output, prefix
        )
        sequence.recalled, sequence.adapter = call.recalled, self._route.adapter(request)
        return sequence

    def _prefix(self, walk: Walk, call: _Call, block_size: int) -> tuple[Hashable, ...]:
        """Return the keys of the prompt's blocks that other calls may share."""
        request, workload = walk.request, self._world.workload
        prefix: tuple[Hashable, ...] = ()
        if self._spec.prompt_tokens is None and workload.prefixes is not None:
            prompt = int(workload.prompt_tokens[request])
            prefix = workload.prefixes.keys(request, prompt, block_size)
        if call.keys is not None:
            prefix = call.keys.keys(block_size, prefix)
        return adapter_keys(self._route.adapter(request), prefix)

    def _visit(self, sequence: Sequence, begin: int, moved: int, replica: Replica) -> Visit:
        preempted = sequence.preempted_ticks
        queued = sequence.scheduled - begin - moved + sequence.requeued_ticks
        queued -= sequence.retrieval_ticks
        retrieved = sequence.retrieval_ticks + sequence.stall_ticks
        transferred = moved + sequence.transfer_ticks
        waits = queued + transferred + retrieved + preempted
        now = self._world.env.now
        return Visit(
            stage=self._stage,
            begin=begin,
            queue=queued,
            compute=now - begin - waits,
            transfer=transferred,
            retrieval=retrieved,
            preemption=preempted,
            server=replica.index,
        )

    def _take_answer(self, walk: Walk, call: _Call, sequence: Sequence, replica: Replica) -> None:
        front_end = replica.front_end_ticks
        walk.answer = Answer(
            scheduled=sequence.scheduled,
            first_token=sequence.first_token + front_end,
            last_token=sequence.last_token + front_end,
            prompt_tokens=call.prompt,
            output_tokens=call.output,
            replica=replica.index,
        )

    def _right(self, walk: Walk, replica: Replica) -> bool | None:
        """Draw whether the answer is right.

        Two models asked in turn meet the same draw, so what the weaker one knows, the better one
        does too; branches draw for themselves.
        """
        classes = self._quality.get(replica.index)
        if classes is None:
            return None
        world = self._world
        difficulty = world.difficulty(walk.request)
        drawn = world.draws.share("quality", walk.request, walk.place)
        return drawn < classes[difficulty]
