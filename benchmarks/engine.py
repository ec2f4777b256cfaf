"""How fast the engine is: simulated requests per CPU second, in bare SimPy timeouts a request.

    python benchmarks/engine.py                 # 1k and 10k requests at three loads, and more
    python benchmarks/engine.py --sizes 1000 10000 100000 1000000

A figure in seconds says as much about the machine as about the code, so every cost is also given in
bare SimPy timeouts (one process that does nothing but wait), timed right before and after in the
same process. Poisson arrivals, lognormal lengths with a mean of 517 prompt and 126 output tokens,
Llama-3.1-8B on one H100.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from dataclasses import dataclass

import simpy

from hermes.scenario import Scenario, build_scenario
from hermes.sim.deployment import resolve
from hermes.sim.simulation import simulate_deployment
from hermes.workload import build_workload

LOADS = {"low": 4.0, "medium": 15.0, "saturated": 40.0}
TIMEOUTS = 200_000


@dataclass(frozen=True)
class Measured:
    """The cost of one scenario."""

    requests: int
    steps: int
    seconds: float
    timeout: float
    bytes_per_request: float

    def row(self, name: str) -> str:
        """Return it as a line of the table."""
        per_request = self.seconds / self.requests
        return (
            f"{name:<34} {self.requests:>9,} {self.requests / self.seconds:>10,.0f} "
            f"{self.steps / self.seconds:>12,.0f} {per_request * 1e6:>9.1f} "
            f"{per_request / self.timeout:>9.1f} {self.bytes_per_request:>9,.0f}"
        )


HEADER = (
    f"{'scenario':<34} {'requests':>9} {'req/CPU s':>10} {'steps/CPU s':>12} "
    f"{'us/req':>9} {'timeouts':>9} {'B/req':>9}"
)


def timeout_seconds() -> float:
    """Return the CPU time of one bare SimPy timeout."""
    env = simpy.Environment()

    def wait(env: simpy.Environment):  # noqa: ANN202 - a generator of events
        for _ in range(TIMEOUTS):
            yield env.timeout(1)

    env.process(wait(env))
    begin = time.process_time()
    env.run()
    return (time.process_time() - begin) / TIMEOUTS


def scenario(requests: int, rate: float, clients: dict[str, object] | None = None) -> Scenario:
    """Return the benchmark's traffic on one replica, or on other clients."""
    lengths = {
        "prompt": {"lognormal": {"mean": 517, "cv": 1.0}},
        "output": {"lognormal": {"mean": 126, "cv": 1.0}},
    }
    one = {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}}
    return build_scenario(
        {
            "workload": {
                "requests": {"lengths": lengths},
                "arrivals": {"process": "poisson", "rate_per_s": rate},
                "limit": {"requests": requests},
            },
            "clients": clients or one,
        }
    )


def measure(spec: Scenario, repeats: int) -> Measured:
    """Simulate a scenario and return the best of several runs, start-up apart."""
    deployment = resolve(spec)
    workload = build_workload(spec.workload, tuple(spec.pipelines), spec.seed)
    best, timeout, steps = float("inf"), timeout_seconds(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(repeats):
        gc.collect()
        begin = time.process_time()
        result = simulate_deployment(spec, deployment, workload)
        best = min(best, time.process_time() - begin)
        steps = int(result.summary["steps"] or 0)
        timeout = min(timeout, timeout_seconds())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Measured(len(workload), steps, best, timeout, grown * 1024 / len(workload))


def others(requests: int) -> dict[str, Scenario]:
    """Return scenarios that exercise more than one plain replica."""
    base = {"model": "llama-3.1-8b", "device": "h100-sxm"}
    pools = {
        "p": {**base, "serves": ["prefill"]},
        "d": {**base, "serves": ["decode"]},
    }
    return {
        "8 replicas at 32/s": scenario(requests, 32.0, {"c": {**base, "replicas": 8}}),
        "continuous at 15/s": scenario(requests, 15.0, {"c": {**base, "batching": "continuous"}}),
        "priority queue at 40/s": scenario(
            requests, 40.0, {"c": {**base, "scheduling_policy": "shortest_prompt"}}
        ),
        "tight cache at 15/s": scenario(
            requests, 15.0, {"c": {**base, "num_gpu_blocks_override": 900}}
        ),
        "prefill and decode pools at 15/s": scenario(requests, 15.0, pools),
        "2 pipeline stages at 15/s": scenario(
            requests, 15.0, {"c": {**base, "pipeline_parallel_size": 2}}
        ),
        "4 groups in lock-step at 15/s": scenario(
            requests,
            15.0,
            {
                "c": {
                    **base,
                    "model": "mixtral-8x7b",
                    "tensor_parallel_size": 2,
                    "data_parallel_size": 4,
                }
            },
        ),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"a bare SimPy timeout: {timeout_seconds() * 1e6:.2f} us\n{HEADER}")
    for name, rate in LOADS.items():
        for size in options.sizes:
            repeats = options.repeats if size <= 10_000 else 1
            print(measure(scenario(size, rate), repeats).row(f"{name} ({rate:g}/s)"), flush=True)
    for name, spec in others(min(10_000, max(options.sizes))).items():
        print(measure(spec, options.repeats).row(name), flush=True)


if __name__ == "__main__":
    main()
