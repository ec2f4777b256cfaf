"""Cases drawn at random, to look for what nobody thought of; `--drawn COUNT` records them."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.conformance.record.cases import MS, Tree, capacity, case
from tests.conformance.recording import Case, Cost, Request

FEATURES = (
    "plain",
    "priority",
    "prefix",
    "long-prefill",
    "no-reserve",
    "interval",
    "drafts",
    "windows",
)


def drawn(number: int, features: tuple[str, ...] = FEATURES) -> Case:
    """Return the case of a number: a feature or several, and small limits of every kind."""
    random = Random(number)
    chosen = {random.choice(features) for _ in range(random.choice((1, 1, 2, 3)))}
    options = _limits(random)
    if "windows" in chosen:
        options["kv_groups"] = _groups(random, options)
    if "priority" in chosen:
        options["policy"] = "priority"
    if "long-prefill" in chosen:
        room = capacity(options)
        options["long_prefill_token_threshold"] = min(room, random.choice((1, 7, 40, 200)))
    if "no-reserve" in chosen:
        options["scheduler_reserve_full_isl"] = False
    if "interval" in chosen:
        options["prefill_schedule_interval"] = random.randint(2, 9)
    if "drafts" in chosen and "windows" not in chosen:
        options["num_speculative_tokens"] = random.randint(1, 4)
    options["enable_prefix_caching"] = "prefix" in chosen
    cost = random.choice((Cost(), Cost(1000, 0, 0), Cost(200, 50, 3), Cost(1, 1, 100)))
    about = ", ".join(sorted(chosen))
    return case(f"drawn-{number}", about, about, _requests(random, options), cost, **options)


def _limits(random: Random) -> dict[str, Any]:
    seqs = random.randint(1, 14)
    return {
        "max_model_len": 16384,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": seqs + random.choice((0, 1, 5, 40, 300)),
        "block_size": random.choice((1, 2, 4, 16)),
        "num_gpu_blocks_override": random.choice((4, 9, 17, 40, 120, 2000)),
        "watermark": random.choice((0.0, 0.0, 0.1, 0.5)),
    }


def _groups(random: Random, options: dict[str, Any]) -> list[int]:
    """Full groups of layers, those with a window, its tokens; and blocks for a token of each."""
    full = random.choice((0, 1, 1, 2))
    sliding = 1 if not full else random.randint(1, 4)
    blocks = options["num_gpu_blocks_override"] * random.choice((1, full + sliding))
    options["num_gpu_blocks_override"] = max(blocks, 2 * (full + sliding) + 2)
    return [full, sliding, random.choice((2, 3, 5, 8, 16, 17, 33, 100, 400))]


def _requests(random: Random, options: dict[str, Any]) -> list[Request]:
    room = capacity(options)
    longest = random.choice((3, 40, 700))
    gap = random.choice((0, 1, 10 * MS, 80 * MS))
    drafts = options.get("num_speculative_tokens", 0)
    tree, now, requests = Tree(options["block_size"]), 0, []
    for i in range(random.randint(1, 30)):
        now += random.choice((0, random.randint(0, gap)))
        prompt = random.randint(1, max(1, min(room - 1, longest)))
        output = random.randint(1, max(1, min(room - prompt, random.choice((1, 5, 60, 300)))))
        shared = random.choice((0, prompt, random.randint(0, prompt)))
        parts = ((f"system{random.randrange(3)}", shared), (f"user{i}", prompt - shared))
        requests.append(
            Request(
                now,
                prompt,
                output,
                priority=random.randrange(3) if options.get("policy") == "priority" else 0,
                blocks=tree.blocks(*parts) if options["enable_prefix_caching"] else (),
                accepted_drafts=tuple(random.randint(0, drafts) for _ in range(3 if drafts else 0)),
            )
        )
    return requests
