"""A reference for the LLM replica, written to be read next to vLLM's scheduler.

No SimPy, no lazy accounting, no fast-forward: a list of running requests, walked at every step, and
a list of blocks for each. It shares with the simulator the cost interface and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from hermes.costs.step import StepCost
from hermes.sim.limits import EngineLimits
from tests.oracle.blocks import Block, ReferencePool
from tests.oracle.drafts import Drafts

MOST_BARREN_STEPS = 5_000


class NeverEndsError(Exception):
    """Requests take KV blocks from each other in turn, for ever, as they would in vLLM."""


@dataclass(eq=False)
class Request:
    id: int
    arrival: int
    prompt: int
    output: int
    prefix: tuple[Hashable, ...] = ()
    priority: int = 0
    deadline: int = 0
    computed: int = 0
    generated: int = 0
    blocks: list[Block] = field(default_factory=list)
    scheduled: int = -1
    preemptions: int = 0
    swapped: int = 0
    running: bool = False
    remote: bool = False  # its KV is to come from another replica
    decoding: bool = False  # has sampled a token since it was last admitted
    padding: int = 0  # tokens of the step that stand for drafts it does not have
    token_times: list[int] = field(default_factory=list)

    @property
    def known_tokens(self) -> int:
        """Prompt and the tokens generated so far (vLLM's num_tokens)."""
        return self.prompt + self.generated

    def key(self, block: int) -> Hashable:
        return self.prefix[block] if block < len(self.prefix) else ("own", self.id, block)


RANKS: dict[str, Callable[[Request], int]] = {
    "fcfs": lambda request: 0,
    "priority": lambda request: request.priority,
    "shortest_prompt": lambda request: request.prompt,
    "least_work_left": lambda request: request.prompt + request.output - 1 - request.computed,
    "edf": lambda request: request.deadline,
}


class ReferenceReplica:
    def __init__(
        self,
        limits: EngineLimits,
        policy: str,
        costs: StepCost,
        order: str = "fcfs",
        move_ticks: Callable[[int], int] = lambda tokens: 0,
        drafts: Drafts | None = None,
    ) -> None:
        self.drafts = drafts or Drafts()
        self.limits = limits
        self.costs = costs
        self.order = order
        self.move_ticks = move_ticks
        self.schedule = getattr(self, f"schedule_{policy}")
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.ranks: dict[Request, tuple[int, int, int]] = {}
        self.pool = ReferencePool(limits.num_blocks, limits.enable_prefix_caching)
        self.host_blocks = limits.swap_blocks
        self.moved = 0
        self.preempted = 0
        self.arrived: list[Request] = []  # KV came from elsewhere; decode from the next step on
        self.parked: list[Request] = []  # blocks in transfer
        self.lent: dict[int, list[Block]] = {}  # blocks of requests that went on elsewhere
        self.fetching: list[Request] = []  # of those, just given blocks here
        self.batch: list[tuple[Request, int]] = []
        self.begun: list[tuple[Request, int]] = []  # those of them that ran before
        self.ends_at: int | None = None
        self.steps = 0
        self.last_prefill_step = -limits.prefill_schedule_interval
        self.prefill_capacity_bound = False
        self.barren_steps = 0

    elsewhere = 0  # sequences that run in other batches in flight
    in_flight = 0  # such batches
    carried = False  # a prompt, in the step being formed

    @property
    def has_work(self) -> bool:
        return bool(self.running or self.waiting or self.arrived)

    @property
    def may_begin(self) -> bool:
        return self.ends_at is None and self.has_work

    # -- the queue ------------------------------------------------------------------------------

    def enqueue(self, request: Request, at_head: bool = False) -> None:
        if self.order == "fcfs":
            self.waiting.insert(0 if at_head else len(self.waiting), request)
        else:
            self.ranks[request] = (RANKS[self.order](request), request.arrival, request.id)
            self.waiting.append(request)
            self.waiting.sort(key=self.ranks.__getitem__)

    def victim(self) -> Request:
        if self.order == "fcfs":
            return self.running[-1]
        return max(self.running, key=lambda request: self.ranks[request][:2])

    # -- blocks ---------------------------------------------------------------------------------

    def blocks_for(self, tokens: int) -> int:
        return (tokens + self.limits.block_size - 1) // self.limits.block_size

    def allocate(self, request: Request, tokens: int) -> bool:
        """vLLM's allocate_slots for a running request."""
        needed = self.blocks_for(self.slots(request.computed + tokens)) - len(request.blocks)
        if needed > len(self.pool.free):
            return False
        request.blocks += self.pool.take(max(0, needed))
        # what is computed in this step becomes known at once, but for tokens not yet sampled
        self.name_blocks(request, min(request.computed + tokens, request.known_tokens))
        return True

    def name_blocks(self, request: Request, tokens: int) -> None:
        for index in range(tokens // self.block_size):
            self.pool.name(request.blocks[index], request.key(index))

    def release(self, request: Request) -> None:
        self.pool.release(request.blocks)
        request.blocks = []

    def slots(self, tokens: int) -> int:
        longest = self.limits.max_model_len
        return min(min(tokens, longest - 1) + self.limits.lookahead, longest)

    @property
    def block_size(self) -> int:
        return self.limits.block_size

    def cached_head(self, request: Request) -> list[Block]:
        if not self.limits.enable_prefix_caching:
            return []
        full = (request.known_tokens - 1) // self.block_size
        return self.pool.find([request.key(index) for index in range(full)])

    def fetch(self) -> None:
        """Take blocks for those at the head of the queue whose KV is to come."""
        while self.waiting and self.waiting[0].remote:
            request = self.waiting[0]
            reserve = self.limits.watermark_blocks if self.running else 0
            begun = [r for r in self.running if not r.decoding]
            reserve += sum(max(0, self.blocks_for(r.known_tokens) - len(r.blocks)) for r in begun)
            blocks = self.blocks_for(request.prompt + 1)
            if len(self.running) >= self.limits.max_num_seqs:
                break
            if blocks + reserve > len(self.pool.free):
                break
            self.waiting.pop(0)
            request.blocks = self.pool.take(blocks)
            self.parked.append(request)
            self.fetching.append(request)

    def admit(self, request: Request, tokens: int) -> bool:
        """Admit the head of the queue to compute `tokens`, from what it finds in the cache."""
        if request.remote:
            return False
        if len(self.running) + self.elsewhere >= self.limits.max_num_seqs:
            return False
        head = [] if request.swapped else self.cached_head(request)
        start = request.swapped or len(head) * self.block_size
        known = self.slots(start + tokens)
        if self.limits.reserve_full_prompt and not request.swapped:
            known = max(known, request.known_tokens)
        needed = self.blocks_for(known) - len(head) + sum(block.users == 0 for block in head)
        reserve = self.limits.watermark_blocks if self.running or self.elsewhere else 0
        if needed + reserve > len(self.pool.free):
            return False
        self.waiting.remove(request)
        self.running.append(request)
        request.running = True
        self.pool.touch(head)
        request.blocks = list(head)
        request.computed = start
        if request.swapped:
            self.host_blocks += self.blocks_for(request.swapped)
            self.moved += request.swapped
            request.decoding = request.swapped == request.known_tokens - 1 and request.generated > 0
            request.swapped = 0
        assert self.allocate(request, tokens)
        self.batch.append((request, tokens))
        return True

    def start(self, request: Request) -> int:
        """Tokens a waiting request would not have to compute."""
        return request.swapped or len(self.cached_head(request)) * self.block_size

    def preempt(self) -> Request:
        victim = self.victim()
        self.running.remove(victim)
        victim.running = False
        blocks = self.blocks_for(victim.computed)
        if 0 < blocks <= self.host_blocks:
            self.host_blocks -= blocks
            self.moved += victim.computed
            victim.swapped = victim.computed
        self.release(victim)
        victim.computed = 0
        victim.decoding = False
        victim.preemptions += 1
        self.preempted += 1
        self.batch = [entry for entry in self.batch if entry[0] is not victim]
        self.enqueue(victim, at_head=True)
        return victim

    def committed_blocks(self) -> int:
        used = self.limits.num_blocks - len(self.pool.free)
        return used + sum(self.blocks_for(r.known_tokens) for r in self.waiting)

    # -- policies -------------------------------------------------------------------------------

    def chunk(self, tokens: int, budget: int) -> int:
        threshold = self.limits.long_prefill_token_threshold
        if 0 < threshold < tokens and len(self.running) + self.elsewhere + len(self.waiting) > 1:
            tokens = threshold
        return min(tokens, budget)

    def schedule_running(
        self, requests: list[Request], budget: int, deferring: bool = False
    ) -> tuple[int, bool]:
        """vLLM's loop over the running list; returns the budget left and whether it preempted."""
        if self.limits.num_drafts:  # those whose KV came are verified with the others
            self.join_arrived(budget)
            requests = list(self.running)
        preempted = False
        # In vLLM a decode never stands behind a prompt half done, but for KV that comes from
        # elsewhere and for capped chunks; there too Hermes gives decodes their token first.
        for request in sorted(requests, key=lambda request: not request.decoding):
            if not request.running or budget <= 0 or (deferring and not request.decoding):
                continue
            tokens = self.chunk(request.known_tokens - request.computed, budget)
            if request.decoding:
                tokens = self.decode_tokens(request, budget)
            while request.running and not self.allocate(request, tokens):
                preempted = True
                given = sum(tokens for _, tokens in self.batch)
                self.preempt()
                budget += given - sum(tokens for _, tokens in self.batch)
            if request.running:
                self.batch.append((request, tokens))
                budget -= tokens
                self.carried |= not request.decoding
        if not preempted and not self.limits.num_drafts:
            for request in self.join_arrived(budget):
                assert self.allocate(request, 1)
                self.batch.append((request, 1))
                budget -= 1
        return budget, preempted

    def join_arrived(self, most: int) -> list[Request]:
        """Let those whose KV came run, in the order in which they were given blocks."""
        places = min(most, self.limits.max_num_seqs - len(self.running))
        joined = [request for request in self.parked if request in self.arrived][:places]
        for request in joined:
            self.parked.remove(request)
            self.arrived.remove(request)
            self.running.append(request)
            request.running = request.decoding = True
        return joined

    @property
    def defers_prefills(self) -> bool:
        """vLLM's local prefill cadence."""
        passed = self.steps + self.in_flight + 1 - self.last_prefill_step
        return (
            not self.prefill_capacity_bound
            and passed < self.limits.prefill_schedule_interval
            and any(request.decoding for request in self.running)
        )

    def decode_tokens(self, request: Request, budget: int) -> int:
        """The latest token and its drafts; sampled ones may be cut, as in vLLM."""
        tokens = 1 + self.limits.num_drafts
        if self.drafts.accepted is not None:
            room = self.limits.max_model_len - 1 - max(request.computed, request.swapped)
            tokens = min(tokens, budget, room)
        return tokens

    def padding(self, request: Request) -> int:
        """vLLM pads a request with one token left to the size of a decode, where no prompt runs."""
        start = self.start(request)
        no_prompt = all(running.decoding for running, _ in self.begun)
        if request.known_tokens - start != 1 or not no_prompt or not (self.begun or start):
            return 0
        drafts = self.limits.num_drafts
        return drafts if start + drafts + 2 <= self.limits.max_model_len else 0

    def is_swapped_decode(self, request: Request) -> bool:
        return request.swapped == request.known_tokens - 1 and request.generated > 0

    def schedule_chunked(self) -> None:
        budget = self.limits.max_num_batched_tokens
        deferring = self.defers_prefills
        self.carried = False
        budget, preempted = self.schedule_running(list(self.running), budget, deferring)
        self.begun = list(self.batch)
        while not preempted and budget > 0 and self.waiting:
            request = self.waiting[0]
            left = request.known_tokens - self.start(request)
            if deferring and left > 1:
                break
            if not (tokens := self.next_tokens(request, budget)) or not self.admit(request, tokens):
                break
            self.carried |= left > 1
            budget -= tokens
        if not preempted and not deferring:
            self.prefill_capacity_bound = bool(self.waiting)
        if self.carried:
            self.last_prefill_step = self.steps + self.in_flight + bool(self.batch)

    def next_tokens(self, request: Request, budget: int) -> int:
        """What the head of the queue is given within a budget; 0 when it must wait."""
        request.padding = 0
        if self.is_swapped_decode(request):
            most = 1 + self.limits.num_drafts
            return self.decode_tokens(request, budget) if most <= budget else 0
        tokens = self.chunk(request.known_tokens - self.start(request), budget)
        if not request.swapped:
            request.padding = self.padding(request)
        if tokens + request.padding > budget:
            return 0
        return tokens + request.padding

    def schedule_mixed(self) -> None:
        whole = self.limits.max_num_batched_tokens
        budget, preempted = self.schedule_running(list(self.running), whole)
        self.begun = list(self.batch)
        prompts = 0
        while not preempted and budget > 0 and self.waiting:
            request = self.waiting[0]
            tokens = request.known_tokens - self.start(request)
            if tokens > budget and (prompts or tokens <= whole):
                break
            swapped = request.swapped
            tokens = self.next_tokens(request, max(tokens, budget))
            if not tokens or not self.admit(request, tokens):
                break
            prompts += not swapped
            budget -= tokens

    def admit_prompts(self) -> None:
        budget = self.limits.max_num_batched_tokens
        while budget > 0 and self.waiting and not self.waiting[0].swapped:
            if self.waiting[0].remote:
                break
            request = self.waiting[0]
            request.padding = 0
            tokens = request.known_tokens - self.start(request)
            if (tokens > budget and self.batch) or not self.admit(request, tokens):
                break
            budget -= tokens

    def decode(self) -> None:
        most = len(self.running) + len(self.arrived)
        budget = most * (1 + self.limits.num_drafts)
        _, preempted = self.schedule_running(list(self.running), budget)
        while not preempted and self.waiting and self.waiting[0].swapped:
            tokens = self.decode_tokens(self.waiting[0], 1 + self.limits.num_drafts)
            if not self.admit(self.waiting[0], tokens):
                break

    def schedule_continuous(self) -> None:
        self.admit_prompts()
        if not self.batch:
            self.decode()

    def schedule_static(self) -> None:
        if not self.running:
            self.admit_prompts()
        if not self.batch:
            self.decode()

    # -- transfers ------------------------------------------------------------------------------

    def hand_off(self) -> list[Request]:
        """Let go of requests whose prompt is done, but keep their blocks."""
        done = [request for request in self.running if request.generated == 1]
        for request in done:
            self.running.remove(request)
            request.running = request.decoding = False
            self.lent[request.id] = request.blocks
            self.parked.append(request)
            request.blocks, request.computed, request.remote, request.prefix = [], 0, True, ()
        return done

    def send(self, request: Request) -> None:
        self.parked.remove(request)
        self.pool.release(self.lent.pop(request.id))

    # -- time -----------------------------------------------------------------------------------

    def begin(self, now: int) -> None:
        before = self.preempted
        self.schedule()
        if not self.batch:  # everything was preempted: schedule what fits now
            self.schedule()
        if self.preempted == before:
            self.fetch()
        if not self.batch:
            return
        decodes = [request for request, _ in self.batch if request.decoding]
        verified = [(r, n) for r, n in self.batch if r.decoding]
        prefills = [(r, n) for r, n in self.batch if not r.decoding]
        context = sum(request.computed for request in decodes)
        for request, _ in self.batch:
            if request.scheduled < 0:
                request.scheduled = now
        if self.limits.num_drafts:
            done = sum(r.computed + n - r.padding == r.known_tokens for r, n in prefills)
            ticks = self.drafts.step_ticks(
                self.costs,
                [(r.computed, n) for r, n in verified],
                [(r.computed, n) for r, n in prefills],
                done,
            )
        elif prefills:
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
        if self.moved:
            ticks += self.move_ticks(self.moved)
            self.moved = 0
        self.ends_at = now + ticks

    def end(self, now: int) -> list[Request]:
        finished = []
        if any(request.decoding for request, _ in self.batch):
            self.drafts.begin_step()
        for request, tokens in self.batch:
            if request.decoding:
                gained = self.drafts.gained(request, tokens - 1)
                gained = min(gained, request.output - request.generated)
                request.computed += gained
                request.generated += gained
                request.token_times += [now] * gained
                self.name_blocks(request, request.computed)
            else:
                request.computed += tokens - request.padding
                request.padding = 0
                if request.computed == request.known_tokens:
                    request.generated += 1
                    request.decoding = True
                    request.token_times.append(now)
            if request.generated == request.output:
                finished.append(request)
        finished.sort(key=self.running.index)
        for request in finished:
            self.running.remove(request)
            self.release(request)
            request.running = False
        sampled = any(request.computed == request.known_tokens - 1 for request, _ in self.batch)
        self.barren_steps = 0 if sampled else self.barren_steps + 1
        if self.barren_steps > MOST_BARREN_STEPS:
            raise NeverEndsError
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
    return lambda replicas: min(replicas, key=lambda r: r.committed_blocks())


ROUTERS = {
    "round_robin": round_robin,
    "join_shortest_queue": shortest_queue,
    "least_loaded": least_loaded,
}


def run_reference(
    requests: list[Request], replicas: list[ReferenceReplica], choose: Router
) -> None:
    """Serve every request; results are left in the requests."""
    run_reference_pools(requests, replicas, choose, [], choose, 0)


def run_reference_pools(
    requests: list[Request],
    prefill: list[ReferenceReplica],
    choose: Router,
    decode: list[ReferenceReplica],
    choose_decode: Router,
    transfer_ticks: int,
) -> None:
    """Serve requests that go on in a decode pool, if there is one; KV takes a constant time."""
    arrivals = list(requests)
    replicas = prefill + decode
    sources: dict[int, ReferenceReplica] = {}
    transfers: list[tuple[int, Request, ReferenceReplica]] = []
    while arrivals or transfers or any(r.has_work for r in replicas):
        ends = [replica.ends_at for replica in replicas if replica.ends_at is not None]
        now = min(ends + [r.arrival for r in arrivals[:1]] + [t[0] for t in transfers])
        while arrivals and arrivals[0].arrival == now:
            choose(prefill).enqueue(arrivals.pop(0))
        for due, request, target in [transfer for transfer in transfers if transfer[0] == now]:
            transfers.remove((due, request, target))
            sources.pop(request.id).send(request)
            request.remote = False
            request.computed = request.prompt
            for index in range(request.prompt // target.block_size):
                target.pool.name(request.blocks[index], request.key(index))
            target.arrived.append(request)
        for replica in replicas:
            if replica.ends_at != now:
                continue
            replica.end(now)
            if replica not in decode and decode:
                for request in replica.hand_off():
                    sources[request.id] = replica
                    choose_decode(decode).enqueue(request)
        for replica in replicas:
            if replica.may_begin:
                replica.begin(now)
                transfers += [
                    (now + transfer_ticks, request, replica) for request in replica.fetching
                ]
                replica.fetching.clear()
