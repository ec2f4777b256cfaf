"""The coordinator: brings requests in, walks them through their stages, notes what became of them.

A request whose pipeline is one model call goes straight to a replica. Any other is walked through
its pipeline by a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from collections.abc import Sequence as Sequence_
from typing import Any, Protocol

from hermes.errors import SimulationError
from hermes.sim.arrivals import Arrivals
from hermes.sim.classes import RequestClasses, rate_limits
from hermes.sim.clock import Clock
from hermes.sim.hand_off import HandOff
from hermes.sim.operations.attempts import Lost, serve
from hermes.sim.pipelines.signal import Waitable, start
from hermes.sim.pipelines.walk import Rejected, Walk
from hermes.sim.replica import Replica
from hermes.sim.request_log import RequestLog
from hermes.sim.route import Route
from hermes.sim.routing import RoutedRequest
from hermes.sim.sequence import Sequence
from hermes.sim.tiers.lookup import Recalled
from hermes.sim.users import Users
from hermes.workload import Workload

__all__ = ["RATE_LIMITED", "Coordinator", "Walker"]

RATE_LIMITED = "rate_limited"

Finished = Callable[[int, int, int, int], None]


class Walker(Protocol):
    """What walks the requests of a pipeline of several stages."""

    def start(self, request: int, prompt: int) -> Walk:
        """Return the walk of a request that has just come."""

    def run(self, walk: Walk) -> Generator[Waitable, Any, None]:
        """Pass all stages.

        Raises:
            Rejected: nobody can serve one of them.
        """


class Coordinator:
    """Feeds a workload to the replicas and keeps the request log.

    Args:
        env: The SimPy environment.
        workload: The requests.
        log: Where it is noted what became of them.
        ttft_ticks: Time to first token that the SLO allows, for deadlines.
        on_finished: Hears of each request that has passed all its stages: its number, and the
            ticks of its arrival, first token and end. May end the simulation by raising.
        classes: Of the requests; None where all are alike.
    """

    def __init__(
        self,
        env: Clock,
        workload: Workload,
        log: RequestLog,
        ttft_ticks: int,
        on_finished: Finished | None = None,
        classes: RequestClasses | None = None,
    ) -> None:
        self.log = log
        self._env = env
        self._workload = workload
        self._ttft_ticks = ttft_ticks
        self._on_finished = on_finished
        self._classes = classes
        self._limits = rate_limits(classes)
        self.under_way = 0  # walks, and branches of them
        self._ways: tuple[Route | Walker, ...] = ()
        self._users: Users | None = None

    def check_drained(self) -> None:
        """Raise if a walk has not ended when no event is left: it waits for what never comes."""
        if self.under_way:
            raise SimulationError(f"the simulation ended with {self.under_way} walks under way")

    def start(self, pipelines: tuple[Route | Walker, ...]) -> None:
        """Begin the arrivals.

        Args:
            pipelines: For each pipeline of the workload, the route of its only call, or its walker.
        """
        self._ways = pipelines
        if self._workload.closed_loop is None:
            Arrivals(self._env, self._workload, self._bring)
            return
        self._users = Users(self._env, self._workload, self._bring_next)
        self._users.start()

    # -- as the replicas' listener --------------------------------------------------------------

    def finished(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Hear that a sequence got its last token at tick `now`."""
        if not replica.accepting:
            replica.settle()
        if sequence.done is not None:
            sequence.last_token = now
            sequence.done.give((replica, sequence))
            return
        front_end = replica.front_end_ticks
        self.log.called(sequence, now, front_end)
        if self._on_finished is not None:
            first = sequence.first_token + front_end
            self._on_finished(sequence.request_id, sequence.arrival, first, now + front_end)
        if self._users is not None:
            self._users.answered(front_end)

    def lost(self, replica: Replica, sequence: Sequence) -> None:
        """Hear that a sequence was lost with its replica."""
        if sequence.done is None:
            raise SimulationError(f"{sequence} was on a replica that could not be lost")
        sequence.done.give(Lost(replica, sequence))

    def prefilled(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Hand a request over to the decode replicas."""
        _hand_off(sequence).prefilled(replica, sequence, now)

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        """Begin to hand a request over, layer by layer."""
        _hand_off(sequence).finishing_prompt(replica, sequence, begin, end)

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        """Let a request's KV flow to the replica that has blocks for it."""
        del replica
        _hand_off(sequence).fetching(sequence, self._env.now)

    # -- arrivals -------------------------------------------------------------------------------

    def _bring(self, request: int, now: int, prompt: int, output: int, pipeline: int) -> None:
        """Let a request begin that has just come."""
        if self._limits is not None and not self._limits.lets_in(request, now):
            self.log.rejected(request, RATE_LIMITED)
            self._answered()
            return
        way = self._ways[pipeline]
        if isinstance(way, Route):
            self._admit(way, request, now, prompt, output)
        else:
            start(self._walk(way, request, prompt))

    def _bring_next(self, request: int) -> None:
        """Let a request of a closed loop begin."""
        workload = self._workload
        prompt, output = int(workload.prompt_tokens[request]), int(workload.output_tokens[request])
        self._bring(request, self._env.now, prompt, output, int(workload.pipeline[request]))

    def _admit(self, route: Route, request: int, now: int, prompt: int, output: int) -> None:
        if route.only is not None:
            self._admit_to(route.only, request, now, prompt, output)
            return
        recalled = route.recalled(request)
        if recalled is not None:
            prompt += recalled.tokens
        adapter = route.adapter(request)
        routed = RoutedRequest(request, prompt, output, self._workload, adapter=adapter)
        if route.gate is not None:
            start(self._attempt(route, routed, recalled))
            return
        pick = route.pick(now, routed)
        replica = pick.replica
        if replica is None:
            self.log.rejected(request, pick.reason)
            self._answered()
            return
        self.log.routed(request, replica.index)
        prefix = routed.prefix_keys(replica.engine.limits.block_size)
        sequence = self.sequence(request, request, now, prompt, output, prefix)
        sequence.route, sequence.routed, sequence.recalled = route, routed, recalled
        sequence.hand_off, sequence.adapter = pick.hand_off, adapter
        replica.submit(sequence)

    def _admit_to(self, replica: Replica, request: int, now: int, prompt: int, output: int) -> None:
        """Let the only replica there is take a request, if it can."""
        reason = replica.engine.rejection(prompt, output)
        if reason:
            self.log.rejected(request, reason)
            self._answered()
            return
        self.log.routed(request, replica.index)
        prefixes = self._workload.prefixes
        prefix: tuple[Hashable, ...] = ()
        if prefixes is not None:
            prefix = prefixes.keys(request, prompt, replica.engine.limits.block_size)
        replica.submit(self.sequence(request, request, now, prompt, output, prefix))

    def _attempt(
        self, route: Route, routed: RoutedRequest, recalled: Recalled | None
    ) -> Generator[Waitable, Any, None]:
        """Have a plain request served by replicas that come and go."""
        env, request, log = self._env, routed.number, self.log
        arrival = env.now

        def build(replica: Replica) -> Sequence:
            prefix = routed.prefix_keys(replica.engine.limits.block_size)
            tokens = routed.prompt_tokens, routed.output_tokens
            sequence = self.sequence(request, request, arrival, *tokens, prefix)
            sequence.recalled, sequence.adapter = recalled, routed.adapter
            return sequence

        self.under_way += 1
        try:
            served = yield from serve(env, log, route, routed, build)
        except Rejected as ending:
            log.ended(request, ending)
            self.under_way -= 1
            self._answered()
            return
        self.under_way -= 1
        front_end = served.replica.front_end_ticks
        sequence, now = served.sequence, env.now
        log.routed(request, served.first.index)
        log.called(sequence, now, front_end)
        if self._on_finished is not None:
            self._on_finished(request, arrival, sequence.first_token + front_end, now + front_end)
        if self._users is not None:
            self._users.answered(front_end)

    def sequence(
        self,
        call: int,
        request: int,
        arrival: int,
        prompt: int,
        output: int,
        prefix: Sequence_[Hashable],
    ) -> Sequence:
        """Return a model call as a sequence that can be submitted.

        Args:
            call: Its number; that of the request, where the request makes one call only.
            request: The request that makes it.
            arrival: Tick at which the request came.
            prompt: Prompt tokens.
            output: Tokens to sample.
            prefix: Keys of the KV blocks that others may share.
        """
        priorities = self._workload.priority
        priority = 0 if priorities is None else int(priorities[request])
        deadline = arrival + self._ttft_ticks
        if self._classes is None:
            return Sequence(call, arrival, prompt, output, prefix, priority, deadline)
        tenant = self._classes.of(request)
        if tenant.priority is not None:
            priority = tenant.priority
        deadline = arrival + tenant.ttft_ticks
        sequence = Sequence(call, arrival, prompt, output, prefix, priority, deadline)
        sequence.tenant = tenant
        return sequence

    # -- walks ----------------------------------------------------------------------------------

    def _walk(self, walker: Walker, request: int, prompt: int) -> Generator[Waitable, Any, None]:
        arrival = self._env.now
        walk = walker.start(request, prompt)
        walk.arrival = arrival
        self.under_way += 1
        try:
            yield from walker.run(walk)
        except Rejected as rejected:
            for visit in walk.visits:
                self.log.visited(request, visit, critical=False)
            self.log.ended(request, rejected)
            self.under_way -= 1
            self._answered()
            return
        self.under_way -= 1
        now = self._env.now
        self.log.walked(walk, now)
        if self._on_finished is not None:
            first = now if walk.answer is None else walk.answer.first_token
            self._on_finished(request, arrival, first, now)
        self._answered()

    def _answered(self) -> None:
        """Let the user of a closed loop go on."""
        if self._users is not None:
            self._users.answered()


def _hand_off(sequence: Sequence) -> HandOff:
    route = sequence.route
    if route is None or route.hand_off is None:
        raise SimulationError(f"{sequence} has nobody to be handed to")
    return route.hand_off
