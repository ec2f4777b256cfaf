"""A reference for the LLM replica, written to be read next to vLLM's scheduler.

No SimPy, no lazy accounting, no fast-forward: a list of running requests, walked at every step. It
shares with the simulator the cost interface and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hermes.costs.step import StepCost
from hermes.sim.engine import EngineLimits


@dataclass(eq=False)
class Request:
    id: int
    arrival: int
    prompt: int
    output: int
    computed: int = 0
    generated: int = 0
    blocks: int = 0
    scheduled: int = -1
    preemptions: int = 0
    decoding: bool = False  # has sampled a token since it was last admitted
    token_times: list[int] = field(default_factory=list)

    @property
    def known_tokens(self) -> int:
        """Prompt and the tokens generated so far (vLLM's num_tokens)."""
        return self.prompt + self.generated


class ReferenceReplica:
    def __init__(self, limits: EngineLimits, policy: str, costs: StepCost) -> None:
        self.limits = limits
        self.costs = costs
        self.schedule = {"chunked": self.schedule_chunked, "continuous": self.schedule_continuous}[
            policy
        ]
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.free_blocks = limits.num_blocks
        self.batch: list[tuple[Request, int]] = []
        self.ends_at: int | None = None
        self.steps = 0

    # -- blocks ---------------------------------------------------------------------------------

    def blocks_for(self, tokens: int) -> int:
        return (tokens + self.limits.block_size - 1) // self.limits.block_size

    def allocate(self, request: Request, tokens: int) -> bool:
        needed = self.blocks_for(request.computed + tokens) - request.blocks
        if needed > self.free_blocks:
            return False
        self.free_blocks -= needed
        request.blocks += needed
        return True

    def fits(self, request: Request) -> bool:
        reserve = self.limits.watermark_blocks if self.running else 0
        return self.blocks_for(request.known_tokens) + reserve <= self.free_blocks

    def release(self, request: Request) -> None:
        self.free_blocks += request.blocks
        request.blocks = 0

    def preempt_tail(self) -> Request:
        victim = self.running.pop()
        self.release(victim)
        victim.computed = 0
        victim.decoding = False
        victim.preemptions += 1
        self.waiting.insert(0, victim)
        return victim

    def committed_blocks(self) -> int:
        used = self.limits.num_blocks - self.free_blocks
        return used + sum(self.blocks_for(r.known_tokens) for r in self.waiting)

    # -- policies -------------------------------------------------------------------------------

    def schedule_running(self, requests: list[Request], budget: int) -> tuple[int, bool]:
        """vLLM's loop over the running list; returns the budget left and whether it preempted."""
        preempted = False
        index = 0
        while index < len(requests) and budget > 0:
            request = requests[index]
            tokens = min(request.known_tokens - request.computed, budget)
            allocated = self.allocate(request, tokens)
            while not allocated:
                preempted = True
                if self.preempt_tail() is request:
                    break
                allocated = self.allocate(request, tokens)
            if not allocated:
                break
            self.batch.append((request, tokens))
            budget -= tokens
            index += 1
        return budget, preempted

    def schedule_chunked(self) -> None:
        budget, preempted = self.schedule_running(self.running, self.limits.max_num_batched_tokens)
        if preempted:
            return
        while budget > 0 and self.waiting and len(self.running) < self.limits.max_num_seqs:
            request = self.waiting[0]
            if not self.fits(request):
                break
            tokens = min(request.known_tokens, budget)
            assert self.allocate(request, tokens)
            self.running.append(self.waiting.pop(0))
            self.batch.append((request, tokens))
            budget -= tokens

    def schedule_continuous(self) -> None:
        budget = self.limits.max_num_batched_tokens
        while self.waiting and len(self.running) < self.limits.max_num_seqs and budget > 0:
            request = self.waiting[0]
            tokens = request.known_tokens
            if not self.fits(request) or (tokens > budget and self.batch):
                break
            assert self.allocate(request, tokens)
            self.running.append(self.waiting.pop(0))
            self.batch.append((request, tokens))
            budget -= tokens
        if not self.batch:
            self.schedule_running(self.running, len(self.running))

    # -- time -----------------------------------------------------------------------------------

    def begin(self, now: int) -> None:
        self.schedule()
        if not self.batch:  # everything was preempted: schedule what fits now
            self.schedule()
        decodes = [request for request, _ in self.batch if request.decoding]
        prefills = [(r, n) for r, n in self.batch if not r.decoding]
        context = sum(request.computed for request in decodes)
        for request, _ in self.batch:
            if request.scheduled < 0:
                request.scheduled = now
        if prefills:
            ticks = self.costs.step_ticks(
                len(decodes),
                context,
                sum(n for _, n in prefills),
                sum(r.computed for r, _ in prefills),
                sum(r.computed + i for r, n in prefills for i in range(1, n + 1)),
                len(decodes) + sum(r.computed + n == r.known_tokens for r, n in prefills),
            )
        else:
            _, base, slope = self.costs.decode_segment(len(decodes), context)
            ticks = base + slope * context
        self.ends_at = now + ticks

    def end(self, now: int) -> list[Request]:
        finished = []
        for request, tokens in self.batch:
            request.computed += tokens
            if request.computed == request.known_tokens:
                request.generated += 1
                request.decoding = True
                request.token_times.append(now)
            if request.generated == request.output:
                self.running.remove(request)
                self.release(request)
                finished.append(request)
        self.batch = []
        self.ends_at = None
        self.steps += 1
        return finished


Router = Callable[[list[ReferenceReplica]], ReferenceReplica]


def round_robin() -> Router:
    turn = iter(range(10**9))
    return lambda replicas: replicas[next(turn) % len(replicas)]


def shortest_queue() -> Router:
    return lambda replicas: min(replicas, key=lambda r: len(r.waiting) + len(r.running))


def least_loaded() -> Router:
    return lambda replicas: min(replicas, key=ReferenceReplica.committed_blocks)


ROUTERS = {
    "round_robin": round_robin,
    "join_shortest_queue": shortest_queue,
    "least_loaded": least_loaded,
}


def run_reference(
    requests: list[Request], replicas: list[ReferenceReplica], choose: Router
) -> None:
    """Serve every request; results are left in the requests."""
    arrivals = list(requests)
    while arrivals or any(r.running or r.waiting for r in replicas):
        ends = [replica.ends_at for replica in replicas if replica.ends_at is not None]
        now = min(ends + [request.arrival for request in arrivals[:1]])
        while arrivals and arrivals[0].arrival == now:
            choose(replicas).waiting.append(arrivals.pop(0))
        for replica in replicas:
            if replica.ends_at == now:
                replica.end(now)
        for replica in replicas:
            if replica.ends_at is None and (replica.running or replica.waiting):
                replica.begin(now)
