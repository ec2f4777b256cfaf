"""Cost of a transfer over contended links, in bare SimPy timeouts timed in the same run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from math import inf

from simpy import Event

from hermes.scenario.units import TICKS_PER_SECOND
from hermes.sim.clock import Clock
from hermes.sim.link import Link
from hermes.sim.network import FlowNetwork

GB = 10**9
Paths = Callable[[random.Random], tuple[str, ...]]


def timeout_seconds(count: int = 200_000) -> float:
    env = Clock(initial_time=0)

    def process() -> Generator[Event, None, None]:
        for _ in range(count):
            yield env.timeout(5)

    env.process(process())
    began = time.process_time()
    env.run()
    return (time.process_time() - began) / count


def flow_seconds(
    links: list[Link], path: Paths, flows: int, flows_per_s: float, mean_bytes: float
) -> tuple[float, int]:
    """Return the CPU seconds of a flow, and the most in flight; arrivals are Poisson."""
    rng = random.Random(1)
    env = Clock(initial_time=0)
    network = FlowNetwork(env, links)
    live, most = 0, 0
    plan = [
        (
            int(rng.expovariate(flows_per_s) * TICKS_PER_SECOND),
            path(rng),
            int(rng.expovariate(1 / mean_bytes)),
        )
        for _ in range(flows)
    ]

    def done() -> None:
        nonlocal live
        live -= 1

    def source() -> Generator[Event, None, None]:
        nonlocal live, most
        for gap, route, size in plan:
            yield env.timeout(gap)
            network.transfer(route, size, done)
            live += 1
            most = max(most, live)

    env.process(source())
    began = time.process_time()
    env.run()
    return (time.process_time() - began) / flows, most


def ports(count: int) -> list[Link]:
    names = [f"{side}{n}" for side in ("out", "in") for n in range(count)]
    return [*(Link(name, 50 * GB, 10**7) for name in names), Link("core", inf)]


def main() -> None:
    timeout = min(timeout_seconds() for _ in range(3))
    print(f"a bare SimPy timeout: {timeout * 1e6:.2f} us")
    print(f"{'':34} {'most in flight':>14} {'us a flow':>10} {'timeouts a flow':>16}")

    def show(
        name: str, links: list[Link], path: Paths, flows: int, rate: float, size: float
    ) -> None:
        seconds, most = flow_seconds(links, path, flows, rate, size)
        print(f"{name:34} {most:14} {seconds * 1e6:10.1f} {seconds / timeout:16.1f}")

    private = [Link(f"link{n}", 50 * GB, 1000) for n in range(1000)]
    show("mostly private links", private, lambda r: (f"link{r.randrange(1000)}",), 20_000, 5e3, GB)
    show("one link, 80 % load", private, lambda _: ("link0",), 20_000, 40, GB)
    show("one link, overloaded", private, lambda _: ("link0",), 3_000, 75, GB)
    store = [Link("store", 2 * GB), *ports(128)]
    show(
        "one store, 128 readers, 95 % load",
        store,
        lambda r: ("store", "core", f"in{r.randrange(128)}"),
        10_000,
        19,
        GB / 10,
    )
    for count, load in ((4, 0.7), (8, 0.7), (8, 0.95), (32, 0.5), (32, 0.8)):
        show(
            f"{count} senders to {count} receivers, {load:.0%} load",
            ports(count),
            lambda r, n=count: (f"out{r.randrange(n)}", "core", f"in{r.randrange(n)}"),
            8_000,
            count * 50 * load,
            GB,
        )


if __name__ == "__main__":
    main()
