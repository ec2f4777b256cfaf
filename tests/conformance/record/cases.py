"""What is recorded: small workloads of our own making, one feature of the scheduler each.

Lengths and times are drawn with integers only, so that a case is the same everywhere.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from tests.conformance.recording import Case, Cost, Request

MS = 10**6  # ns

_DEFAULTS: dict[str, Any] = {
    "max_num_seqs": 64,
    "max_num_batched_tokens": 512,
    "block_size": 16,
    "num_gpu_blocks_override": 4001,  # one of them is the null block
    "max_model_len": 16384,  # or what the cache holds, where that is less: vLLM asks for it
    "policy": "fcfs",
    "enable_prefix_caching": False,
    "long_prefill_token_threshold": 0,
    "scheduler_reserve_full_isl": True,
    "watermark": 0.0,
    "prefill_schedule_interval": 1,
    "num_speculative_tokens": 0,
    "kv_role": None,
}

_OPTIONAL = {"max_loras", "kv_groups"}
"""Options that a case has only where it uses the feature."""


def case(
    name: str,
    feature: str,
    about: str,
    requests: list[Request],
    cost: Cost | None = None,
    **changes: Any,
) -> Case:
    wrong = set(changes) - set(_DEFAULTS) - _OPTIONAL
    assert not wrong, f"{name}: no such options: {sorted(wrong)}"
    ordered = tuple(sorted(requests, key=lambda request: request.arrival_ns))
    options = _DEFAULTS | changes
    options["max_model_len"] = longest = min(options["max_model_len"], capacity(options))
    too_long = [r for r in ordered if r.prompt_tokens + r.output_tokens > longest]
    assert not too_long, f"{name}: longer than {longest} tokens: {too_long[:3]}"
    return Case(name, about, feature, ordered, options, cost or Cost())


def capacity(options: dict[str, Any]) -> int:
    """Return the tokens of the longest request that the cache holds, up to `max_model_len`."""
    size, blocks = options["block_size"], options["num_gpu_blocks_override"] - 1
    full, sliding, window = options.get("kv_groups") or (1, 0, 0)
    in_flight = window - 1 + options["max_num_batched_tokens"]

    def held(columns: int) -> int:
        windows = min(columns, -(-min(in_flight, columns * size) // size) + 1)
        return full * columns + sliding * windows

    if not sliding:
        return blocks * size
    columns = 0
    while columns * size < options["max_model_len"] and held(columns + 1) <= blocks:
        columns += 1
    return columns * size


def traffic(
    seed: int,
    count: int = 100,
    gap_ms: int = 40,
    prompt: tuple[int, int] = (1, 600),
    output: tuple[int, int] = (1, 120),
) -> list[Request]:
    """Requests at uneven times; most lengths in the lower half of their range."""
    random = Random(seed)
    now, requests = 0, []
    for _ in range(count):
        now += random.randint(0, 2 * gap_ms * MS)
        requests.append(Request(now, _length(random, prompt), _length(random, output)))
    return requests


def _length(random: Random, bounds: tuple[int, int]) -> int:
    return min(random.randint(*bounds), random.randint(*bounds))


def bursts(seed: int, groups: int = 5, size: int = 24, gap_ms: int = 900) -> list[Request]:
    random = Random(seed)
    return [
        Request(group * gap_ms * MS, random.randint(1, 500), random.randint(1, 80))
        for group in range(groups)
        for _ in range(size)
    ]


def with_priorities(requests: list[Request], seed: int, levels: int) -> list[Request]:
    random = Random(seed)
    return [
        Request(r.arrival_ns, r.prompt_tokens, r.output_tokens, random.randint(0, levels - 1))
        for r in requests
    ]


def with_drafts(requests: list[Request], seed: int, drafts: int) -> list[Request]:
    random = Random(seed)
    return [
        Request(
            r.arrival_ns,
            r.prompt_tokens,
            r.output_tokens,
            accepted_drafts=tuple(random.randint(0, drafts) for _ in range(7)),
        )
        for r in requests
    ]


def with_transfers(requests: list[Request], seed: int, longest_ms: int) -> list[Request]:
    random = Random(seed)
    return [replace(r, transfer_ns=random.randint(1, longest_ms * MS)) for r in requests]


class Tree:
    """Names for blocks of prompts: a block has one id after one prefix, another after another."""

    def __init__(self, block_size: int = 16) -> None:
        self.block_size = block_size
        self._ids: dict[tuple[str, ...], int] = {}

    def blocks(self, *parts: tuple[str, int]) -> tuple[int, ...]:
        """Return the ids of the full blocks of parts given as (name, tokens), one after another."""
        labels = [f"{name}/{i}" for name, tokens in parts for i in range(tokens)]
        size = self.block_size
        ends = range(size, len(labels) + 1, size)
        return tuple(self._ids.setdefault(tuple(labels[:end]), 1 + len(self._ids)) for end in ends)

    def request(self, arrival_ns: int, output: int, *parts: tuple[str, int]) -> Request:
        prompt = sum(tokens for _, tokens in parts)
        return Request(arrival_ns, prompt, output, blocks=self.blocks(*parts))


def system_prompts(
    seed: int, count: int = 80, gap_ms: int = 40, block_size: int = 16
) -> list[Request]:
    """Chat behind one of four system prompts, which end inside a block."""
    random, tree, now = Random(seed), Tree(block_size), 0
    requests = []
    for i in range(count):
        now += random.randint(0, 2 * gap_ms * MS)
        system = random.randrange(4)
        parts = ((f"system{system}", 150 + 37 * system), (f"user{i}", random.randint(1, 200)))
        requests.append(tree.request(now, random.randint(1, 60), *parts))
    return requests


def sessions(seed: int, users: int = 12, turns: int = 5, gap_ms: int = 700) -> list[Request]:
    """Each turn's prompt is the turn before's and something new."""
    random, tree = Random(seed), Tree()
    requests = []
    for user in range(users):
        now, parts = random.randint(0, gap_ms * MS), [(f"user{user}", random.randint(20, 200))]
        for turn in range(turns):
            requests.append(tree.request(now, random.randint(1, 60), *parts))
            parts = [*parts, (f"user{user}.{turn}", random.randint(10, 120))]
            now += random.randint(gap_ms * MS // 2, 2 * gap_ms * MS)
    return requests


def identical(count: int, prompt: int, output: int, gap_ms: int) -> list[Request]:
    tree = Tree()
    return [tree.request(i * gap_ms * MS, output, ("same", prompt)) for i in range(count)]


def _chunked() -> list[Case]:
    feature = "chunked prefill"
    return [
        case("one-request", feature, "a single request", [Request(5 * MS, 500, 40)]),
        case(
            "two-requests", feature, "the second arrives inside a step",
            [Request(0, 100, 20), Request(7 * MS + 1, 900, 5)],
        ),
        *(
            case(
                f"budget-{budget}", feature, f"max_num_batched_tokens {budget}", traffic(budget),
                max_num_batched_tokens=budget, max_num_seqs=min(64, budget),
            )
            for budget in (64, 128, 512, 2048, 8192)
        ),
        case(
            "budget-of-seqs", feature, "as many tokens in a step as sequences may run",
            traffic(12, gap_ms=10), max_num_batched_tokens=16, max_num_seqs=16,
        ),
        case(
            "light-load", feature, "long idle times between requests",
            traffic(3, 60, gap_ms=900, output=(1, 200)),
        ),
        case("heavy-load", feature, "a queue throughout", traffic(4, 150, gap_ms=8)),
        case(
            "block-1", feature, "blocks of one token", traffic(5, 60),
            block_size=1, num_gpu_blocks_override=40_001,
        ),
        case("block-128", feature, "blocks of 128 tokens", traffic(6, 60), block_size=128),
        case(
            "fixed-step", feature, "steps of equal length; arrivals on their boundaries",
            [Request(i * 3 * MS, 1 + i % 90, 1 + i % 40) for i in range(100)],
            Cost(3000, 0, 0), max_num_seqs=16,
        ),
        case(
            "context-bound", feature, "steps mostly of context", traffic(7, 60),
            Cost(50, 1, 1000),
        ),
    ]  # fmt: skip


def _limits() -> list[Case]:
    return [
        *(
            case(
                f"seqs-{seqs}", "max_num_seqs", f"at most {seqs} sequences",
                traffic(20 + seqs, 80, gap_ms=20), max_num_seqs=seqs,
            )
            for seqs in (1, 4, 16)
        ),
        case("bursts", "bursts", "24 requests at one instant, five times", bursts(30)),
        case(
            "bursts-small-pool", "bursts", "bursts that do not fit the cache", bursts(31),
            num_gpu_blocks_override=161,
        ),
        case(
            "one-token-outputs", "one-token outputs", "prefill only",
            traffic(32, 100, 20, output=(1, 1)),
        ),
        case(
            "one-token-prompts", "one-token prompts", "decode only",
            traffic(33, 100, 20, prompt=(1, 1)),
        ),
        case(
            "long-prompts", "long prompts", "prompts of up to 15,000 tokens among short ones",
            traffic(34, 40, 60, output=(1, 60))
            + traffic(35, 6, 400, prompt=(6000, 15_000), output=(1, 30)),
        ),
        case(
            "longest-allowed", "max_model_len", "requests that end exactly at max_model_len",
            [Request(i * 30 * MS, 400 + i, 112 - i) for i in range(30)], max_model_len=512,
        ),
    ]  # fmt: skip


def _preemption() -> list[Case]:
    feature = "preemption"
    return [
        case(
            "pool-tiny", feature, "the cache holds two or three requests",
            traffic(40, 60, 30, (1, 200), (1, 150)), num_gpu_blocks_override=24,
        ),
        case(
            "pool-small", feature, "the cache holds a dozen requests",
            traffic(41, 100, 15, (1, 200), (1, 200)), num_gpu_blocks_override=120,
        ),
        case(
            "pool-small-chunks", feature, "short of blocks in the middle of prompts",
            traffic(42, 60, 30, (100, 700), (1, 120)),
            num_gpu_blocks_override=100, max_num_batched_tokens=48, max_num_seqs=32,
        ),
        case(
            "pool-exact", feature, "each request needs the whole cache",
            [Request(i * 10 * MS, 100 + i, 60 - i) for i in range(20)], num_gpu_blocks_override=11,
        ),
        case(
            "pool-block-1", feature, "every token needs a block",
            traffic(43, 40, 20, (1, 60), (1, 60)), block_size=1, num_gpu_blocks_override=200,
        ),
        case(
            "pool-equal-requests", feature, "equal requests cross block boundaries together",
            [Request(0, 32, 120)] * 30, num_gpu_blocks_override=130,
        ),
        case(
            "watermark", "watermark", "a share of blocks kept free at admission",
            traffic(44, 80, 15, (1, 200), (1, 200)), num_gpu_blocks_override=120, watermark=0.1,
        ),
        case(
            "watermark-large", "watermark", "admission mostly when nothing runs",
            traffic(45, 50, 15, (1, 300), (1, 100)), num_gpu_blocks_override=60, watermark=0.6,
        ),
        case(
            "no-reserve", "scheduler_reserve_full_isl off", "only the first chunk must fit",
            traffic(46, 80, 15, (1, 500), (1, 120)),
            num_gpu_blocks_override=120, scheduler_reserve_full_isl=False,
            max_num_batched_tokens=64,
        ),
        case(
            "no-reserve-arrival", "scheduler_reserve_full_isl off",
            "a prompt that does not fit arrives while another decodes",
            [Request(0, 100, 60), Request(50 * MS, 100, 2)], num_gpu_blocks_override=12,
            scheduler_reserve_full_isl=False, max_num_batched_tokens=32, max_num_seqs=4,
        ),
        case(
            "no-reserve-watermark", "scheduler_reserve_full_isl off", "and a watermark",
            traffic(47, 80, 15, (1, 500), (1, 120)), num_gpu_blocks_override=120,
            scheduler_reserve_full_isl=False, watermark=0.1, max_num_batched_tokens=64,
        ),
    ]  # fmt: skip


def _order() -> list[Case]:
    return [
        case(
            "priority", "priority policy", "four levels, a queue, enough blocks",
            with_priorities(traffic(50, 100, 10), 50, 4), policy="priority", max_num_seqs=12,
        ),
        case(
            "priority-preempt", "priority policy", "four levels, preemption of the least urgent",
            with_priorities(traffic(51, 100, 15, (1, 200), (1, 200)), 51, 4),
            policy="priority", num_gpu_blocks_override=120,
        ),
        case(
            "priority-preempt-chunks", "priority policy", "preemption in the middle of prompts",
            with_priorities(traffic(52, 80, 10, (20, 300), (1, 250)), 52, 3),
            policy="priority", num_gpu_blocks_override=60, max_num_batched_tokens=48,
            max_num_seqs=32,
        ),
        case(
            "priority-equal", "priority policy", "one level: order of arrival",
            with_priorities(traffic(53, 80, 15, (1, 200), (1, 200)), 53, 1),
            policy="priority", num_gpu_blocks_override=120,
        ),
        case(
            "priority-ties", "priority policy", "bursts: priority and arrival both tie",
            with_priorities(bursts(54), 54, 2), policy="priority", num_gpu_blocks_override=161,
        ),
        case(
            "long-prefill", "long_prefill_token_threshold", "at most 100 tokens of a prompt a step",
            traffic(55, 80, 25, (1, 1500), (1, 60)), long_prefill_token_threshold=100,
        ),
        case(
            "long-prefill-alone", "long_prefill_token_threshold", "none for a request alone",
            [Request(i * 250 * MS, 1500, 2 + i) for i in range(20)],
            long_prefill_token_threshold=100,
        ),
        case(
            "long-prefill-small-pool", "long_prefill_token_threshold", "and preemption",
            traffic(56, 60, 25, (1, 700), (1, 100)), long_prefill_token_threshold=64,
            num_gpu_blocks_override=120,
        ),
        case(
            "prefill-interval", "prefill_schedule_interval", "prompts in every fourth step",
            traffic(57, 80, 25, (1, 800), (1, 60)), prefill_schedule_interval=4,
        ),
        case(
            "prefill-interval-light", "prefill_schedule_interval", "with idle times",
            traffic(58, 40, 200, (1, 800), (1, 60)), prefill_schedule_interval=8,
        ),
    ]  # fmt: skip


def _prefixes() -> list[Case]:
    feature = "prefix caching"
    return [
        case(
            "prefix-system-prompts", feature, "four system prompts", system_prompts(60),
            enable_prefix_caching=True,
        ),
        case("prefix-sessions", feature, "conversations of five turns", sessions(61),
             enable_prefix_caching=True),
        case(
            "prefix-identical", feature, "one prompt of whole blocks again and again",
            identical(20, 320, 20, 15), enable_prefix_caching=True,
        ),
        case(
            "prefix-identical-burst", feature, "one prompt many times at one instant",
            identical(20, 330, 20, 0), enable_prefix_caching=True, max_num_batched_tokens=256,
        ),
        case(
            "prefix-eviction", feature, "the cache forgets: least recently used first",
            system_prompts(62, 100, 40), enable_prefix_caching=True, num_gpu_blocks_override=90,
        ),
        case(
            "prefix-preempt", feature, "a preempted request finds its own blocks again",
            system_prompts(63, 100, 10), enable_prefix_caching=True, num_gpu_blocks_override=140,
        ),
        case(
            "prefix-sessions-small-pool", feature, "conversations in a small cache",
            sessions(64, gap_ms=300),
            enable_prefix_caching=True, num_gpu_blocks_override=100,
        ),
        case(
            "prefix-unshared", feature, "nothing shared, but preempted requests return",
            traffic(65, 80, 15, (1, 200), (1, 200)), enable_prefix_caching=True,
            num_gpu_blocks_override=120,
        ),
        case(
            "prefix-long-prefill", feature, "with a threshold, and prompts that need not fit whole",
            system_prompts(68, 80, 10), enable_prefix_caching=True, num_gpu_blocks_override=140,
            long_prefill_token_threshold=48, scheduler_reserve_full_isl=False,
        ),
        case(
            "prefix-block-4", feature, "blocks of four tokens",
            system_prompts(66, 60, block_size=4), enable_prefix_caching=True, block_size=4,
        ),
        case(
            "prefix-priority", feature, "with priorities and preemption",
            [
                Request(r.arrival_ns, r.prompt_tokens, r.output_tokens, i * 7 % 3, r.blocks)
                for i, r in enumerate(system_prompts(67, 80, 10))
            ],
            enable_prefix_caching=True, policy="priority", num_gpu_blocks_override=140,
        ),
    ]  # fmt: skip


def _drafts() -> list[Case]:
    feature = "speculative tokens"
    return [
        case(
            f"drafts-{drafts}", feature, f"{drafts} draft tokens, some of them accepted",
            with_drafts(traffic(70 + drafts, 60, 40), 70 + drafts, drafts),
            num_speculative_tokens=drafts,
        )
        for drafts in (1, 3)
    ] + [
        case(
            "drafts-none-accepted", feature, "three draft tokens, all rejected",
            traffic(80, 40, 40), num_speculative_tokens=3,
        ),
        case(
            "drafts-all-accepted", feature, "three draft tokens, all accepted",
            [
                Request(r.arrival_ns, r.prompt_tokens, r.output_tokens, accepted_drafts=(3,))
                for r in traffic(81, 40, 40)
            ],
            num_speculative_tokens=3,
        ),
        case(
            "drafts-tight-budget", feature, "drafts cut by the token budget",
            with_drafts(traffic(82, 60, 20), 82, 3), num_speculative_tokens=3,
            max_num_batched_tokens=48, max_num_seqs=32,
        ),
        case(
            "drafts-small-pool", feature, "drafts and preemption",
            with_drafts(traffic(83, 80, 10, (1, 200), (1, 300)), 83, 3), num_speculative_tokens=3,
            num_gpu_blocks_override=80,
        ),
        case(
            "drafts-one-token-prompts", feature, "new requests of one token are padded",
            with_drafts(traffic(84, 40, 20, (1, 2), (1, 60)), 84, 3), num_speculative_tokens=3,
        ),
        case(
            "drafts-prefix", feature, "drafts and prefix caching",
            [
                Request(
                    r.arrival_ns, r.prompt_tokens, r.output_tokens, blocks=r.blocks,
                    accepted_drafts=(i % 4, (i + 1) % 3, 2),
                )
                for i, r in enumerate(system_prompts(85, 60))
            ],
            num_speculative_tokens=3, enable_prefix_caching=True, num_gpu_blocks_override=140,
        ),
    ]  # fmt: skip


def _disaggregated() -> list[Case]:
    prefill, decode = "disaggregated prefill", "disaggregated decode"
    first_tokens = traffic(90, 80, 15, (1, 600), (1, 1))
    return [
        case(
            "prefill-pool", prefill, "blocks are held until they are sent",
            with_transfers(first_tokens, 90, 60), kv_role="kv_producer",
        ),
        case(
            "prefill-pool-small", prefill, "requests wait for blocks that are being sent",
            with_transfers(first_tokens, 91, 200), kv_role="kv_producer",
            num_gpu_blocks_override=80,
        ),
        case(
            "decode-pool", decode, "prompts arrive over the network, and do not compute",
            with_transfers(traffic(92, 80, 15), 92, 60), kv_role="kv_consumer",
        ),
        case(
            "decode-pool-small", decode, "blocks are taken when a transfer begins",
            with_transfers(traffic(93, 80, 15, (1, 300), (1, 200)), 93, 100),
            kv_role="kv_consumer", num_gpu_blocks_override=120,
        ),
        case(
            "decode-pool-seqs", decode, "more prompts arrive than may run",
            with_transfers(traffic(94, 60, 10, (1, 300), (1, 60)), 94, 30),
            kv_role="kv_consumer", max_num_seqs=6,
        ),
    ]  # fmt: skip


PLAIN_CASES: tuple[Case, ...] = (
    *_chunked(), *_limits(), *_preemption(), *_order(), *_prefixes(), *_drafts(), *_disaggregated()
)  # fmt: skip
