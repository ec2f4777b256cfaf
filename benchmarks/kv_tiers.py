"""What share of a recorded trace's prompts is found in a KV memory tier, by capacity and eviction.

    python benchmarks/kv_tiers.py SHARED_DATA

Mooncake's conversation trace (the first 1,800 s), one request after another, before a tier that is
fast enough not to matter: tokens found of all tokens in full blocks, the table of docs/kv-tiers.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.simulation import SimulationResult
from hermes.sim.tiers.eviction import EVICTION

TRACE = "traces/mooncake_fast25/conversation_trace.first_1800s.jsonl.gz"
CAPACITIES_GB = (100.0, 300.0, 1000.0, 3000.0, None)


def replay(
    trace: Path, capacity_gb: float | None, eviction: str = "lru", requests: int | None = None
) -> SimulationResult:
    """Serve the trace, one request after another, from one engine and a fast store beside it."""
    tier: dict[str, Any] = {
        "shared_by": "all",
        "bandwidth_gb_per_s": 1e6,
        "link_gb_per_s": 1e6,
        "eviction": eviction,
    }
    if capacity_gb is not None:
        tier["capacity_gb"] = capacity_gb
    workload: dict[str, Any] = {
        "requests": {"trace": "mooncake", "path": str(trace)},
        "arrivals": {"process": "constant", "rate_per_s": 0.1},
    }
    if requests is not None:
        workload["limit"] = {"requests": requests}
    client = {
        "model": "llama-3.1-8b",
        "device": "h100-sxm",
        "block_size": 512,
        "num_gpu_blocks_override": 1000,
        "max_num_batched_tokens": 200_000,
        "max_model_len": 200_000,
        "enable_prefix_caching": False,
        "kv_tiers": ["store"],
        "costs": {"linear": {"step_us": 10}},
    }
    scenario = {
        "workload": workload,
        "topology": {"tiers": {"store": tier}},
        "clients": {"chat": client},
    }
    return simulate(build_scenario(scenario))


def main() -> None:
    """Print a row for each eviction policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared_data", type=Path)
    parser.add_argument("--requests", type=int, help="only the first so many")
    options = parser.parse_args()
    heads = ["no limit" if gb is None else f"{gb:,.0f} GB" for gb in CAPACITIES_GB]
    print("| eviction | " + " | ".join(heads) + " |")
    for eviction in EVICTION:
        rates = [
            replay(options.shared_data / TRACE, gb, eviction, options.requests).tiers[0].hit_rate
            for gb in CAPACITIES_GB
        ]
        print(
            f"| {eviction} | " + " | ".join(f"{rate or 0:.1%}" for rate in rates) + " |", flush=True
        )


if __name__ == "__main__":
    main()
