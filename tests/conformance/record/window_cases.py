"""Cases of models with sliding windows; and all cases there are."""

from __future__ import annotations

from tests.conformance.record.adapter_cases import adapter_cases
from tests.conformance.record.cases import (
    PLAIN_CASES,
    case,
    sessions,
    system_prompts,
    traffic,
    with_priorities,
)
from tests.conformance.recording import Case


def _windows() -> list[Case]:
    feature = "sliding windows"
    groups: dict[str, list[int]] = {"one": [0, 1, 64], "even": [1, 1, 128], "many": [1, 6, 200]}
    return [
        case(
            "windows-all", feature, "every layer has a window",
            traffic(100, 80, 15, (1, 600), (1, 200)), kv_groups=groups["one"],
            num_gpu_blocks_override=60, max_num_batched_tokens=128,
        ),
        case(
            "windows-even", feature, "as many layers with a window as without, enough blocks",
            traffic(101, 60, 40, (1, 900), (1, 200)), kv_groups=groups["even"],
        ),
        case(
            "windows-many", feature, "six groups with a window to one without, and preemption",
            traffic(102, 80, 15, (1, 500), (1, 300)), kv_groups=groups["many"],
            num_gpu_blocks_override=400, max_num_batched_tokens=96, max_num_seqs=32,
        ),
        case(
            "windows-no-reserve", feature, "only the first chunk must fit",
            traffic(103, 60, 15, (1, 700), (1, 150)), kv_groups=groups["many"],
            num_gpu_blocks_override=300, scheduler_reserve_full_isl=False,
            max_num_batched_tokens=64,
        ),
        case(
            "windows-priority", feature, "the least urgent give way, whoever asks",
            with_priorities(traffic(104, 80, 15, (1, 300), (1, 250)), 104, 3),
            kv_groups=groups["even"], policy="priority", num_gpu_blocks_override=180,
        ),
        case(
            "windows-watermark", feature, "and a share of blocks kept free",
            traffic(105, 60, 15, (1, 400), (1, 200)), kv_groups=groups["many"],
            num_gpu_blocks_override=400, watermark=0.1,
        ),
        case(
            "windows-block-1", feature, "blocks of one token",
            traffic(106, 40, 20, (1, 60), (1, 60)), kv_groups=[1, 2, 17], block_size=1,
            num_gpu_blocks_override=500,
        ),
        case(
            "windows-prefix", feature, "prefix caching: windows are kept where a prompt ends",
            system_prompts(107, 80), kv_groups=[1, 2, 48], enable_prefix_caching=True,
        ),
        case(
            "windows-prefix-sessions", feature, "conversations", sessions(108),
            kv_groups=[1, 1, 100], enable_prefix_caching=True,
        ),
        case(
            "windows-prefix-eviction", feature, "groups forget one after the other",
            system_prompts(109, 100, 20), kv_groups=[1, 3, 48], enable_prefix_caching=True,
            num_gpu_blocks_override=360,
        ),
        case(
            "windows-prefix-all", feature, "prefixes where every layer has a window",
            system_prompts(110, 80, 10), kv_groups=[0, 1, 80], enable_prefix_caching=True,
            num_gpu_blocks_override=90,
        ),
        case(
            "windows-prefix-preempt", feature, "preempted requests return",
            traffic(111, 80, 15, (1, 200), (1, 200)), kv_groups=[1, 2, 40],
            enable_prefix_caching=True, num_gpu_blocks_override=160,
        ),
    ]  # fmt: skip


CASES: tuple[Case, ...] = (*PLAIN_CASES, *adapter_cases(), *_windows())
