"""Routing of the calls of a pipeline: a router sees each call's own prefix."""

from __future__ import annotations

from hermes.scenario import build_scenario
from hermes.sim.simulation import simulate


def mean_latency(policy: object) -> float:
    """Return the mean latency of chains of calls whose context grows from call to call."""
    call = {"generate": {"keep_output": True}}
    scenario = build_scenario(
        {
            "workload": {
                "requests": {"lengths": {"prompt": 6000, "output": 20}},
                "arrivals": {"process": "poisson", "rate_per_s": 2},
                "limit": {"requests": 60},
            },
            "pipelines": {"agent": [{"loop": {"times": 5, "stages": [call]}}]},
            "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm", "replicas": 4}},
            "routing": {"chat": policy},
        }
    )
    value = simulate(scenario).summary["e2el_ms.mean"]
    assert value is not None
    return value


def test_a_chain_of_calls_stays_where_its_context_is_cached() -> None:
    in_turn = mean_latency("round_robin")
    for policy in ("prefix_affinity", {"prefix_affinity": {"cache": "router"}}, "weighted_scores"):
        assert mean_latency(policy) < 0.85 * in_turn
