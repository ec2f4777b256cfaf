"""Transfers share links max-min fairly, exactly to the tick."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InputError, SimulationError, UnknownNameError
from hermes.sim.clock import Clock
from hermes.sim.flow import Flow
from hermes.sim.link import Link
from hermes.sim.network import FlowNetwork
from tests.sim.fluid_reference import Transfer, finish_ticks, max_min_rates

TB = 10**12  # bytes a second: a byte a tick
MILLION = 10**6


class Bench:
    """A network, and what happened to the transfers made on it."""

    def __init__(self, **bytes_per_second: float) -> None:
        self.env = Clock(initial_time=0)
        links = [Link(name, bandwidth) for name, bandwidth in bytes_per_second.items()]
        self.network = FlowNetwork(self.env, links)
        self.done: list[tuple[str, int]] = []

    def send(self, name: str, path: str, size: int, at: int = 0, **options) -> list[Flow]:
        """Send at a tick; the list holds the flow once it has been sent."""
        sent: list[Flow] = []

        def start(_):
            done = lambda: self.done.append((name, self.env.now))  # noqa: E731
            sent.append(self.network.transfer(path.split(), size, done, **options))

        event = self.env.timeout(at)
        event.callbacks.append(start)
        return sent

    def at(self, tick: int, action) -> None:
        self.env.timeout(tick).callbacks.append(lambda _: action())

    def run(self) -> dict[str, int]:
        self.env.run()
        return dict(self.done)


# -- one flow ------------------------------------------------------------------------------------


def test_a_lone_flow_takes_the_latencies_then_size_over_the_narrowest_link():
    env = Clock(initial_time=0)
    network = FlowNetwork(env, [Link("a", 4 * TB, 100), Link("b", TB, 20), Link("c", 2 * TB, 3)])
    flow = network.transfer(("a", "b", "c"), 1000, lambda: None, extra_latency=5)
    env.run()
    assert flow.finished == 100 + 20 + 3 + 5 + 1000
    assert flow.stall_ticks == 0


def test_durations_are_rounded_up():
    bench = Bench(a=3 * TB)
    bench.send("x", "a", 1000)
    assert bench.run() == {"x": 334}


def test_no_bytes_take_the_latency_only():
    env = Clock(initial_time=0)
    network = FlowNetwork(env, [Link("a", TB, 7)])
    flow = network.transfer(["a"], 0, lambda: None)
    env.run()
    assert flow.finished == 7


def test_an_empty_path_is_done_at_once_but_not_before_the_call_returns():
    bench = Bench(a=TB)
    order = []
    bench.network.transfer((), 5 * MILLION, lambda: order.append("done"))
    order.append("returned")
    bench.run()
    assert order == ["returned", "done"]
    assert bench.env.now == 0


def test_infinite_links_cost_their_latency_and_count_their_bytes():
    env = Clock(initial_time=0)
    network = FlowNetwork(env, [Link("core", float("inf"), 9)])
    flow = network.transfer(["core"], 10**12, lambda: None)
    env.run()
    assert flow.finished == 9
    assert network.use("core").bytes == 10**12
    assert network.use("core").utilisation(9) == 0


# -- flows that meet -----------------------------------------------------------------------------


def test_two_flows_on_one_link_each_get_half():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000)
    bench.send("y", "a", 3000)
    assert bench.run() == {"x": 2000, "y": 4000}


def test_a_late_joiner_slows_the_first_and_speeds_up_when_alone():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000)
    bench.send("y", "a", 1000, at=400)  # x has 600 left: both at half until 1600
    assert bench.run() == {"x": 1600, "y": 2000}


def test_weights_divide_a_link():
    bench = Bench(a=TB)
    bench.send("x", "a", 3000, weight=3)
    bench.send("y", "a", 3000)
    assert bench.run() == {"x": 4000, "y": 6000}


def test_what_a_capped_flow_leaves_goes_to_the_other():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000, max_bytes_per_second=TB // 10)
    bench.send("y", "a", 900)
    assert bench.run() == {"x": 10_000, "y": 1000}


def test_a_chain_is_as_fast_as_its_narrowest_link_lets_each():
    # x crosses both, y only the narrow b: x and y get half of b; z gets the rest of a.
    bench = Bench(a=4 * TB, b=2 * TB)
    bench.send("x", "a b", 1000)
    bench.send("y", "b", 1000)
    bench.send("z", "a", 3000)
    assert bench.run() == {"x": 1000, "y": 1000, "z": 1000}


def test_a_star_of_equal_ports_shares_at_the_port_where_flows_meet():
    # Three senders to one receiver: a third each. Sender 1 also sends to another: two thirds.
    bench = Bench(out1=3 * TB, out2=3 * TB, out3=3 * TB, in1=3 * TB, in2=3 * TB)
    bench.send("1->1", "out1 in1", 1000)
    bench.send("2->1", "out2 in1", 1000)
    bench.send("3->1", "out3 in1", 1000)
    bench.send("1->2", "out1 in2", 2000)
    assert bench.run() == {"1->1": 1000, "2->1": 1000, "3->1": 1000, "1->2": 1000}


def test_a_parking_lot_gives_the_long_flow_the_least_share_on_its_way():
    # The long flow has a third of b; the ones on a and c have what it leaves.
    bench = Bench(a=3 * TB, b=3 * TB, c=3 * TB)
    bench.send("long", "a b c", 1000)
    bench.send("a", "a", 2000)
    bench.send("b1", "b", 1000)
    bench.send("b2", "b", 1000)
    bench.send("c", "c", 2000)
    assert bench.run() == dict.fromkeys(["long", "a", "b1", "b2", "c"], 1000)


def test_flows_that_end_together_end_at_one_tick_in_the_order_they_were_asked_for():
    bench = Bench(a=7 * TB)
    for name in "xyz":
        bench.send(name, "a", 1000)
    bench.run()
    assert [name for name, _ in bench.done] == ["x", "y", "z"]
    assert {tick for _, tick in bench.done} == {-(-3000 // 7)}


def test_a_flow_may_be_sent_from_the_callback_of_another():
    bench = Bench(a=TB)
    ends = []

    def again():
        bench.network.transfer(["a"], 500, lambda: ends.append(bench.env.now))

    bench.network.transfer(["a"], 1000, again)
    bench.run()
    assert ends == [1500]


# -- bytes that are still being produced ---------------------------------------------------------


def test_a_flow_is_not_done_before_its_bytes_are_produced():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000, produced=(0, 5000))
    assert bench.run() == {"x": 5000}


def test_a_flow_slower_than_production_ends_when_its_bandwidth_says():
    bench = Bench(a=TB)
    bench.send("x", "a", 8000, produced=(0, 5000))
    assert bench.run() == {"x": 8000}


def test_a_flow_that_starts_late_catches_up_with_production():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000, at=3000, produced=(0, 5000))
    assert bench.run() == {"x": 5000}


def test_production_that_is_over_makes_no_difference():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000, at=6000, produced=(0, 5000))
    assert bench.run() == {"x": 7000}


def test_what_a_produced_flow_does_not_use_others_do():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000, produced=(0, 10_000))  # a tenth of the link
    bench.send("y", "a", 9000)
    assert bench.run() == {"x": 10_000, "y": 10_000}


def test_latency_comes_on_top_of_production():
    env = Clock(initial_time=0)
    network = FlowNetwork(env, [Link("a", TB, 30)])
    some = network.transfer(["a"], 1000, lambda: None, produced=(100, 5000))
    none = network.transfer(["a"], 0, lambda: None, produced=(100, 5000))
    env.run()
    assert (some.finished, none.finished) == (5030, 5030)
    assert some.stall_ticks == 0


# -- cancellation --------------------------------------------------------------------------------


def test_a_cancelled_flow_leaves_its_share_to_the_others():
    bench = Bench(a=TB)
    x = bench.send("x", "a", 1000)
    bench.send("y", "a", 1000)
    bench.at(500, lambda: bench.network.cancel(x[0]))
    assert bench.run() == {"y": 1250}
    assert x[0].cancelled
    assert x[0].finished is None
    assert x[0].bytes_sent(bench.env.now) == 250
    assert bench.network.use("a").bytes == 1250


def test_a_flow_can_be_cancelled_during_its_latency_and_after_its_end():
    env = Clock(initial_time=0)
    network = FlowNetwork(env, [Link("a", TB, 50)])
    calls = []
    early = network.transfer(["a"], 1000, lambda: calls.append("early"))
    late = network.transfer(["a"], 1000, lambda: calls.append("late"))
    network.cancel(early)
    env.run()
    network.cancel(late)
    assert calls == ["late"]
    assert late.finished == 1050
    assert not late.cancelled


# -- statistics ----------------------------------------------------------------------------------


def test_a_link_says_what_it_carried_and_how_long_it_was_busy():
    bench = Bench(a=2 * TB)
    bench.send("x", "a", 1000)
    bench.send("y", "a", 1000, at=2000)
    bench.run()
    use = bench.network.use("a")
    assert (use.transfers, use.bytes, use.busy_ticks, use.stall_ticks) == (2, 2000, 1000, 0)
    assert use.full_ticks == 1000
    assert use.utilisation(2500) == 0.4


def test_bytes_under_way_are_counted():
    bench = Bench(a=TB)
    bench.send("x", "a", 1000)
    seen = []
    bench.at(300, lambda: seen.append(bench.network.use("a")))
    bench.run()
    assert (seen[0].bytes, seen[0].busy_ticks, seen[0].transfers) == (300, 300, 0)


def test_stall_is_what_sharing_cost():
    bench = Bench(a=TB)
    x, y = bench.send("x", "a", 1000), bench.send("y", "a", 1000, at=400)
    bench.run()
    assert (x[0].stall_ticks, y[0].stall_ticks) == (600, 600)
    assert bench.network.use("a").stall_ticks == 1200


# -- wrong use -----------------------------------------------------------------------------------


def test_an_unknown_link_is_named_with_its_nearest_match():
    with pytest.raises(UnknownNameError, match=r"unknown link 'nci'; did you mean 'nic'\?"):
        Bench(nic=TB).network.transfer(["nci"], 1, lambda: None)


@pytest.mark.parametrize("bandwidth", [0, -1.0, float("nan")])
def test_a_link_without_bandwidth_is_refused(bandwidth):
    with pytest.raises(InputError, match="'a': a link needs a bandwidth above 0"):
        Link("a", bandwidth)


def test_two_links_of_one_name_are_refused():
    with pytest.raises(SimulationError, match="several links are called a"):
        FlowNetwork(Clock(initial_time=0), [Link("a", TB), Link("b", TB), Link("a", TB)])


@pytest.mark.parametrize(
    ("path", "size", "options"),
    [
        (["a", "a"], 1, {}),
        (["a"], -1, {}),
        (["a"], 1, {"weight": 0}),
        (["a"], 1, {"max_bytes_per_second": 0}),
    ],
)
def test_senseless_transfers_are_refused(path, size, options):
    with pytest.raises(SimulationError):
        Bench(a=TB).network.transfer(path, size, lambda: None, **options)


# -- laws ----------------------------------------------------------------------------------------

LINKS = ("a", "b", "c", "d", "e")
BANDWIDTHS = st.integers(1, 10).map(lambda n: n * 10**11) | st.integers(10**9, 3 * 10**12)
NETWORKS = st.fixed_dictionaries(
    {name: st.tuples(BANDWIDTHS, st.integers(0, 3) | st.integers(0, 300)) for name in LINKS}
)
PATHS = st.lists(st.sampled_from(LINKS), unique=True, max_size=4).map(tuple)


@st.composite
def transfers(draw, cancel=True):
    start = draw(st.integers(0, 20) | st.integers(0, 4000))
    produced = draw(st.none() | st.tuples(st.integers(0, 3000), st.integers(1, 3000)))
    return Transfer(
        start=start,
        path=draw(PATHS),
        size=draw(st.integers(0, 10) | st.integers(0, 5000)),
        weight=draw(st.integers(1, 5)),
        cap=draw(st.none() | st.none() | BANDWIDTHS),
        produced=None if produced is None else (produced[0], sum(produced)),
        cancel_at=draw(st.none() | st.integers(start, start + 4000)) if cancel else None,
    )


def simulate(links, wanted, watch=None):
    env = Clock(initial_time=0)
    network = FlowNetwork(env, [Link(name, *link) for name, link in links.items()])
    flows: dict[int, Flow] = {}

    def start(number, transfer):
        flows[number] = network.transfer(
            transfer.path,
            transfer.size,
            lambda: watch and watch(network, flows),
            transfer.weight,
            max_bytes_per_second=transfer.cap,
            produced=transfer.produced,
        )

    for number, transfer in enumerate(wanted):
        env.timeout(transfer.start).callbacks.append(lambda _, n=number, t=transfer: start(n, t))
        if transfer.cancel_at is not None:
            event = env.timeout(transfer.cancel_at)
            event.callbacks.append(lambda _, n=number: network.cancel(flows[n]))
    env.run()
    return network, [flows[number] for number in range(len(wanted))]


@given(links=NETWORKS, wanted=st.lists(transfers(), max_size=12))
def test_it_agrees_with_exact_fractions_to_the_tick(links, wanted):
    _, flows = simulate(links, wanted)
    assert [flow.finished for flow in flows] == finish_ticks(links, wanted)


@pytest.mark.parametrize("seed", range(4))
def test_gigabytes_over_seconds_agree_to_the_tick_too(seed):
    rng = random.Random(seed)
    ports = [*(f"out{n}" for n in range(4)), *(f"in{n}" for n in range(4)), "core"]
    links = {port: (rng.randrange(10**9, 5 * 10**10), rng.randrange(10**6)) for port in ports}
    wanted = [
        Transfer(
            start=rng.randrange(10**12),
            path=(f"out{rng.randrange(4)}", "core", f"in{rng.randrange(4)}"),
            size=rng.randrange(6 * 10**9),
            weight=rng.choice([1, 1, 2]),
            cap=rng.choice([None, None, 10**9 + 3]),
        )
        for _ in range(40)
    ]
    flows = simulate(links, wanted)[1]
    assert [flow.finished for flow in flows] == finish_ticks(links, wanted)


@given(links=NETWORKS, wanted=st.lists(transfers(), max_size=12))
def test_every_link_carries_the_bytes_of_its_flows(links, wanted):
    network, flows = simulate(links, wanted)
    now = max([flow.finished or 0 for flow in flows] + [t.cancel_at or 0 for t in wanted] + [0])
    for name in LINKS:
        crossing = [flow for flow, t in zip(flows, wanted, strict=True) if name in t.path]
        assert network.use(name).bytes == sum(flow.bytes_sent(now) for flow in crossing)
        assert network.use(name).transfers <= len(crossing)
    for flow in flows:
        assert flow.finished is None or flow.bytes_sent(now) == flow.size_bytes


@given(links=NETWORKS, wanted=st.lists(transfers(cancel=False), max_size=12))
def test_sharing_never_speeds_a_flow_up(links, wanted):
    _, flows = simulate(links, wanted)
    assert all(flow.stall_ticks >= 0 for flow in flows)
    for transfer, flow in zip(wanted, flows, strict=True):
        (alone,) = simulate(links, [transfer])[1]
        assert alone.finished == flow.alone


@given(links=NETWORKS, wanted=st.lists(transfers(cancel=False), min_size=2, max_size=12))
def test_rates_are_max_min_fair_whenever_a_flow_ends(links, wanted):
    capacity = {name: Fraction(bandwidth) for name, (bandwidth, _) in links.items()}

    def watch(network, flows):
        live = {
            n: (wanted[n].path, wanted[n].weight, wanted[n].cap, Fraction(network.rate(flow)))
            for n, flow in flows.items()
            if flow.share is not None and flow.until is None
        }
        if any(flow.share is not None and flow.until is not None for flow in flows.values()):
            return
        total = {
            name: sum(rate for path, _, _, rate in live.values() if name in path) for name in LINKS
        }
        close = 1 + Fraction(1, 10**9)
        for name in LINKS:
            assert total[name] <= capacity[name] * close
        for path, weight, cap, rate in live.values():
            held_back = cap is not None and rate * close >= cap
            for name in path:  # a bottleneck: full, and nobody on it goes faster for its weight
                full = total[name] * close >= capacity[name]
                most = max(r / w for p, w, _, r in live.values() if name in p)
                held_back |= full and rate / weight * close >= most
            assert held_back

    simulate(links, wanted, watch)


@given(
    bandwidth=st.integers(10**9, 10**12),
    more=st.integers(1, 10**12),
    wanted=st.lists(
        st.builds(
            Transfer,
            start=st.integers(0, 3000),
            path=st.just(("a",)),
            size=st.integers(0, 5000),
            weight=st.integers(1, 3),
        ),
        max_size=10,
    ),
)
def test_more_bandwidth_is_never_slower_on_a_single_link(bandwidth, more, wanted):
    slow = simulate({"a": (bandwidth, 0)}, wanted)[1]
    fast = simulate({"a": (bandwidth + more, 0)}, wanted)[1]
    assert all(f.finished <= s.finished for f, s in zip(fast, slow, strict=True))


@given(links=NETWORKS, wanted=st.lists(transfers(), max_size=12))
def test_it_is_deterministic(links, wanted):
    first, second = simulate(links, wanted), simulate(links, wanted)
    assert [flow.finished for flow in first[1]] == [flow.finished for flow in second[1]]
    assert first[0].uses() == second[0].uses()


@given(sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=60))
def test_many_flows_on_one_link_end_in_order_of_size_and_fill_it_to_the_last_byte(sizes):
    bench = Bench(a=7 * 10**9)
    flows = [bench.send(str(n), "a", size) for n, size in enumerate(sizes)]
    bench.run()
    by_size = sorted((flow[0].size_bytes, flow[0].finished) for flow in flows)
    assert all(first[1] <= second[1] for first, second in pairwise(by_size))
    # Each end is rounded up to a tick, in which the link may idle for part of a tick.
    exact = Fraction(sum(sizes) * 10**12, 7 * 10**9)
    assert exact <= by_size[-1][1] < exact + len(sizes) + 1


def test_the_reference_knows_the_parking_lot():
    flows = {0: (("a", "b"), 1, None), 1: (("a",), 1, None), 2: (("b",), 2, None)}
    rates = max_min_rates(flows, {"a": Fraction(1), "b": Fraction(1)})
    assert rates == {0: Fraction(1, 3), 1: Fraction(2, 3), 2: Fraction(2, 3)}


class TestEstimates:
    def test_an_estimate_alone_is_what_the_transfer_then_takes(self) -> None:
        env, network, done = fresh({"a": 1.0, "b": 2.0})
        expected = network.estimate(["a", "b"], 10**6)
        network.transfer(["a", "b"], 10**6, lambda: done.append(env.now))
        env.run()
        assert done == [expected]

    def test_it_counts_those_on_the_link_as_far_as_they_are_in_the_way(self) -> None:
        env, network, done = fresh({"a": 1.0})
        network.transfer(["a"], 10**6, lambda: None)
        network.transfer(["a"], 4 * 10**6, lambda: None)
        expected = network.estimate(["a"], 2 * 10**6)
        network.transfer(["a"], 2 * 10**6, lambda: done.append(env.now))
        env.run()
        assert done == [expected] == [5 * 10**6 * 1000]


class TestWithoutContention:
    def test_each_transfer_has_the_path_to_itself(self) -> None:
        env, network, done = fresh({"a": 1.0, "b": 0.5}, contention=False)
        for _ in range(3):
            network.transfer(["a", "b"], 10**6, lambda: done.append(env.now))
        env.run()
        assert done == [2 * 10**6 * 1000] * 3
        assert network.use("b").bytes == 3 * 10**6
        assert network.estimate(["a", "b"], 10**6) == 2 * 10**6 * 1000


def fresh(
    gb_per_s: dict[str, float], contention: bool = True
) -> tuple[Clock, FlowNetwork, list[int]]:
    env = Clock(initial_time=0)
    links = [Link(name, bandwidth * 1e9) for name, bandwidth in gb_per_s.items()]
    return env, FlowNetwork(env, links, contention), []
