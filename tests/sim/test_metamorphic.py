"""What must follow when a scenario changes in a known way; the same draws on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hermes.scenario import build_scenario
from hermes.sim import SimulationResult, simulate
from hermes.sim.simulation import simulate_deployment
from tests.sim.deployments import deployment, limits, linear, one_call, route_of, workload
from tests.sim.test_against_oracle import SCENARIO

SEEDS = range(4)


def traffic(seed: int, size: int = 120, gap_us: int = 20_000) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.integers(0, gap_us * 10**6, size))
    return [
        (int(a), int(p), int(o))
        for a, p, o in zip(
            arrivals, rng.integers(1, 900, size), rng.integers(1, 150, size), strict=True
        )
    ]


def run(requests: list[tuple[int, int, int]], **plan: object) -> SimulationResult:
    return simulate_deployment(SCENARIO, deployment(**plan), workload(requests), check=True)


def scenario(**client: object) -> SimulationResult:
    spec = {"model": "llama-3.1-8b", "device": "a100-sxm-80", **client}
    return simulate(
        build_scenario(
            {
                "workload": {
                    "requests": {"sample": "chat"},
                    "arrivals": {"process": "poisson", "rate_per_s": 8},
                    "limit": {"requests": 300},
                },
                "devices": {"mine": spec.pop("own")} if "own" in spec else {},
                "clients": {"chat": spec},
            }
        )
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slower_step_makes_no_request_faster(seed: int) -> None:
    """One server, first come first served: every request is later, none overtakes."""
    requests = traffic(seed)
    bounds = limits(max_num_seqs=1)
    fast = run(requests, bounds=bounds, costs=linear(1000, 5, 0)).requests
    slow = run(requests, bounds=bounds, costs=linear(1100, 5, 0)).requests
    assert (slow.first_token >= fast.first_token).all()
    assert (slow.last_token >= fast.last_token).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_more_replicas_never_lengthen_the_mean_wait(seed: int) -> None:
    requests = traffic(seed, gap_us=3_000)
    waits = [
        float((result.scheduled - result.arrival).mean())
        for replicas in (1, 2, 4)
        for result in [run(requests, replicas=replicas, routing="join_shortest_queue").requests]
    ]
    assert waits == sorted(waits, reverse=True)


@pytest.mark.parametrize("batching", ["chunked", "continuous", "mixed", "static"])
@pytest.mark.parametrize("factor", [2, 4])
def test_time_scaled_by_a_factor_scales_every_latency_by_it(batching: str, factor: int) -> None:
    requests = traffic(7)
    scaled = [(arrival * factor, prompt, output) for arrival, prompt, output in requests]
    once = run(requests, batching=batching, costs=linear(1000, 10, 8)).requests
    twice = run(
        scaled, batching=batching, costs=linear(1000 * factor, 10 * factor, 8 * factor)
    ).requests
    for name in ("scheduled", "first_token", "last_token"):
        assert (getattr(twice, name) == factor * getattr(once, name)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_two_traces_far_apart_do_not_know_of_each_other(seed: int) -> None:
    first, second = traffic(seed, 60), traffic(seed + 100, 60)
    far = first[-1][0] + 10**15
    joined = run(first + [(arrival + far, p, o) for arrival, p, o in second]).requests
    alone = [run(first).requests, run(second).requests]
    latencies = joined.last_token - joined.arrival
    assert latencies[:60].tolist() == (alone[0].last_token - alone[0].arrival).tolist()
    assert latencies[60:].tolist() == (alone[1].last_token - alone[1].arrival).tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_one_more_request_never_speeds_up_those_before_it(seed: int) -> None:
    requests = traffic(seed)
    later = (requests[-1][0] + 1, 500, 50)
    bounds = limits(max_num_seqs=2)
    without = run(requests, bounds=bounds).requests
    with_it = run([*requests, later], bounds=bounds).requests
    assert (with_it.last_token[:-1] >= without.last_token).all()


def test_a_chunk_as_long_as_any_prompt_is_no_chunking() -> None:
    requests = traffic(3)
    chunked = run(requests, bounds=limits(max_num_batched_tokens=200_000)).requests
    mixed = run(requests, batching="mixed", bounds=limits(max_num_batched_tokens=200_000)).requests
    assert chunked.last_token.tolist() == mixed.last_token.tolist()


@pytest.mark.parametrize("batching", ["chunked", "continuous", "mixed", "static"])
def test_prefix_caching_with_nothing_shared_changes_nothing(batching: str) -> None:
    requests = traffic(4)
    on, off = (
        run(requests, batching=batching, bounds=limits(enable_prefix_caching=caching)).requests
        for caching in (True, False)
    )
    assert on.last_token.tolist() == off.last_token.tolist()


def test_tokens_are_conserved() -> None:
    result = run(traffic(5), bounds=limits(num_blocks=80))
    requests = result.requests
    assert requests.completed.all()
    assert result.summary["preemptions"] > 0
    assert result.summary["output_tokens"] == int(requests.output_tokens.sum())


def test_names_do_not_matter() -> None:
    plan = deployment()
    renamed = replace(
        plan,
        clients=(replace(plan.clients[0], name="other"),),
        pipelines={"default": one_call(replace(route_of(plan), clients=("other",)))},
    )
    requests = workload(traffic(6))
    results = [simulate_deployment(SCENARIO, each, requests) for each in (plan, renamed)]
    assert results[0].summary == results[1].summary


def own_device(**changes: float) -> dict[str, object]:
    base = {
        "peak_tflops": {"bf16": 300.0},
        "memory_gb": 80.0,
        "memory_bandwidth_gb_per_s": 2000.0,
        "link_bandwidth_gb_per_s": 300.0,
    }
    return base | changes


@pytest.mark.parametrize(
    "better",
    [
        {"memory_bandwidth_gb_per_s": 4000.0},
        {"peak_tflops": {"bf16": 600.0}},
        {"memory_bandwidth_gb_per_s": 4000.0, "peak_tflops": {"bf16": 600.0}},
    ],
)
def test_better_hardware_is_not_slower(better: dict[str, object]) -> None:
    slow = scenario(device="mine", own=own_device())
    fast = scenario(device="mine", own=own_device(**better))
    for metric in ("ttft_ms.mean", "tpot_ms.mean", "e2el_ms.mean"):
        assert fast.summary[metric] < slow.summary[metric]


def test_a_faster_link_makes_tensor_parallelism_faster() -> None:
    slow, fast = (
        scenario(
            device="mine",
            tensor_parallel_size=2,
            own=own_device(link_bandwidth_gb_per_s=bandwidth),
        ).summary["e2el_ms.mean"]
        for bandwidth in (50.0, 450.0)
    )
    assert fast < slow


def test_changing_the_prompts_leaves_arrivals_and_outputs_alone() -> None:
    def drawn(prompt: int) -> SimulationResult:
        lengths = {"prompt": prompt, "output": {"lognormal": {"mean": 50, "cv": 1.0}}}
        return simulate(
            build_scenario(
                {
                    "workload": {
                        "requests": {"lengths": lengths},
                        "arrivals": {"process": "poisson", "rate_per_s": 5},
                        "limit": {"requests": 100},
                    },
                    "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
                }
            )
        )

    short, long = drawn(10).requests, drawn(1000).requests
    assert short.arrival.tolist() == long.arrival.tolist()
    assert short.output_tokens.tolist() == long.output_tokens.tolist()


def test_a_gigabyte_is_a_billion_bytes_wherever_it_is_written() -> None:
    exact = scenario(device="mine", own=own_device(memory_bandwidth_gb_per_s=2000.0))
    spelt = scenario(device="mine", own=own_device(memory_bandwidth_gb_per_s=2.0e3))
    assert exact.summary == spelt.summary


@pytest.mark.parametrize("batching", ["chunked", "continuous", "mixed", "static"])
@pytest.mark.parametrize("seed", SEEDS)
def test_longer_prompts_never_bring_the_first_token_of_a_lone_request_forward(
    batching: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for prompt in rng.integers(1, 20_000, 10).tolist():
        short, long = (
            int(run([(0, tokens, 3)], batching=batching).requests.first_token[0])
            for tokens in (prompt, 2 * prompt)
        )
        assert long >= short


def piped(stages: list[dict[str, object]], clients: dict[str, object]) -> SimulationResult:
    return simulate(
        build_scenario(
            {
                "workload": {
                    "requests": {"sample": "chat"},
                    "arrivals": {"process": "poisson", "rate_per_s": 4},
                    "limit": {"requests": 200},
                },
                "pipelines": {"default": stages},
                "clients": clients,
            }
        )
    )


def test_a_stage_split_in_two_with_the_same_total_changes_no_request() -> None:
    llm = {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}}
    tools = {name: {"serves": ["tool"], "max_concurrency": 1000} for name in ("a", "b")}

    def tool(client: str, ms: float) -> dict[str, object]:
        return {"tool": {"client": client, "latency_ms": ms}}

    whole = piped([tool("a", 30.0), {"generate": {}}], llm | {"a": tools["a"]})
    split = piped([tool("a", 20.0), tool("b", 10.0), {"generate": {}}], llm | tools)
    assert whole.requests.finished.tolist() == split.requests.finished.tolist()
    assert whole.requests.first_token.tolist() == split.requests.first_token.tolist()


def test_one_client_of_two_replicas_is_two_clients_of_one() -> None:
    base = {"model": "llama-3.1-8b", "device": "h100-sxm"}
    one = piped([{"generate": {}}], {"c": {**base, "replicas": 2}})
    two = piped([{"generate": {}}], {"c": base, "d": base})
    assert one.requests.finished.tolist() == two.requests.finished.tolist()
    assert one.requests.replica.tolist() == two.requests.replica.tolist()


def test_replicas_of_different_shapes_serve_one_stage() -> None:
    """The larger one is quicker, so by load it gets more; each keeps to its own bounds."""
    base = {"model": "llama-3.1-8b", "device": "h100-sxm"}
    clients = {
        "small": {**base, "num_gpu_blocks_override": 40, "max_model_len": 600},
        "large": {**base, "tensor_parallel_size": 4},
    }
    result = piped([{"generate": {}}], clients)
    requests = result.requests
    assert requests.completed.all()
    shares = np.bincount(requests.replica, minlength=2)
    assert (shares > 0).all()
    assert requests.replica_names == ("small/0", "large/0")
    on_small = requests.replica == 0
    longest = requests.prompt_tokens + requests.output_tokens
    assert longest[on_small].max() <= 600 < longest.max()
    assert result.summary["devices"] == 5
