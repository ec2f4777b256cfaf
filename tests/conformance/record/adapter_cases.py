"""Cases of requests that use LoRA adapters."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.conformance.record.cases import bursts, case, system_prompts, traffic, with_priorities
from tests.conformance.recording import Case, Request


def with_adapters(requests: list[Request], seed: int, adapters: int) -> list[Request]:
    """One in five requests uses none; of two drawn adapters the first is taken."""
    random = Random(seed)
    return [
        replace(
            r,
            adapter=-1
            if random.randint(0, 4) == 0
            else min(random.randint(0, adapters - 1), random.randint(0, adapters - 1)),
        )
        for r in requests
    ]


def adapter_cases() -> list[Case]:
    """Return them: small workloads, few slots."""
    feature = "LoRA adapters"
    return [
        case(
            "lora-one-slot", feature, "one adapter at a time; others are passed over",
            with_adapters(traffic(100, 80, 15), 100, 4), max_loras=1,
        ),
        case(
            "lora-many-adapters", feature, "more adapters than slots, some requests of none",
            with_adapters(traffic(101, 100, 10), 101, 12), max_loras=4,
        ),
        case(
            "lora-small-pool", feature, "preempted requests wait for their adapters",
            with_adapters(traffic(102, 80, 10, (1, 200), (1, 300)), 102, 5), max_loras=2,
            num_gpu_blocks_override=80,
        ),
        case(
            "lora-priority", feature, "priorities, preemption and adapters",
            with_adapters(
                with_priorities(traffic(103, 80, 10, (1, 200), (1, 200)), 103, 3), 103, 5
            ),
            max_loras=2, num_gpu_blocks_override=80, policy="priority",
        ),
        case(
            "lora-prefix", feature, "shared prompts of different adapters do not match",
            with_adapters(system_prompts(104, 80), 104, 3), max_loras=2,
            enable_prefix_caching=True, num_gpu_blocks_override=200,
        ),
        case(
            "lora-bursts", feature, "few places, many adapters, all at once",
            with_adapters(bursts(105), 105, 6), max_loras=3, max_num_seqs=12,
        ),
    ]  # fmt: skip
