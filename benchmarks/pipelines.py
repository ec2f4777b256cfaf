"""How fast pipelines of several stages are simulated, in bare SimPy timeouts a request.

    python benchmarks/pipelines.py                 # 10,000 requests each
    python benchmarks/pipelines.py --requests 2000 --profile rag

The four-stage RAG pipeline (embed, search, rerank, generate) over eight replicas has a budget of
100 timeouts a request (the same timeouts as in benchmarks/engine.py, timed in the same process).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from typing import Any

from engine import HEADER, measure

from hermes.scenario import Scenario, build_scenario

LLM = {"model": "llama-3.1-8b", "device": "h100-sxm"}
ENCODER = {
    "serves": ["embed", "rerank"],
    "device": "l40s",
    "models": ["multilingual-e5-small", "bge-reranker-base"],
    "replicas": 4,
}
SEARCH = {"serves": ["retrieve"], "device": "grace", "index": "ivfpq-1b-small"}
RAG = [
    {"embed": {"model": "multilingual-e5-small", "tokens": 32}},
    {"retrieve": {"top_k": 10, "tokens_per_document": 128}},
    {"rerank": {"model": "bge-reranker-base", "tokens": 32, "keep": 4}},
    {"generate": {}},
]
AGENT = [
    {
        "loop": {
            "times": {"geometric": {"mean": 3}},
            "stages": [
                {"generate": {"output_tokens": 40}},
                {"tool": {"latency_ms": {"exponential": {"mean": 300}}, "result_tokens": 100}},
            ],
        }
    },
    {"generate": {}},
]
FORK = [{"parallel": {"branches": 4, "stages": [{"generate": {}}]}}]


def scenario(requests: int, stages: list[Any], clients: dict[str, Any], rate: float) -> Scenario:
    """Return a scenario of one pipeline."""
    return build_scenario(
        {
            "workload": {
                "requests": {
                    "lengths": {
                        "prompt": {"lognormal": {"mean": 517, "cv": 1.0}},
                        "output": {"lognormal": {"mean": 126, "cv": 1.0}},
                    }
                },
                "arrivals": {"process": "poisson", "rate_per_s": rate},
                "limit": {"requests": requests},
            },
            "pipelines": {"default": stages},
            "clients": clients,
        }
    )


def cases(requests: int) -> dict[str, Scenario]:
    """Return the pipelines that are measured."""
    pool = {"chat": {**LLM, "replicas": 8}}
    rag = {**pool, "encoder": ENCODER, "vectors": SEARCH}
    return {
        "one call, 8 replicas": scenario(requests, [{"generate": {}}], pool, 32),
        "rag, 8 replicas": scenario(requests, RAG, rag, 32),
        "agent of 4 calls, 8 replicas": scenario(requests, AGENT, pool, 8),
        "fork of 4 calls, 8 replicas": scenario(requests, FORK, pool, 8),
    }


def main() -> None:
    """Print a line a pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--profile", help="profile the pipelines whose name begins so")
    arguments = parser.parse_args()
    print(HEADER)
    for name, spec in cases(arguments.requests).items():
        if arguments.profile is None:
            print(measure(spec, arguments.repeats).row(name), flush=True)
        elif name.startswith(arguments.profile):
            with cProfile.Profile() as profile:
                measure(spec, 1)
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
