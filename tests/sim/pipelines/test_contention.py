"""What shares a device takes turns, and what shares a memory slows down, to the tick."""

from __future__ import annotations

import pytest

from hermes.sim.deployment import resolve
from hermes.sim.stations.plan import SearchPlan
from tests.sim.pipelines.build import (
    CPU,
    LLM,
    MS,
    built,
    call,
    e2e_ms,
    hop_ms,
    requests_of,
    run,
    visits,
    work,
)

FLAT = {"kind": "flat", "dimension": 768, "vectors": 20_000_000, "vector_dtype": "fp16"}
SEARCH = {"serves": ["retrieve"], "device": "grace", "index": FLAT, "max_batch_size": 1}
STAGE = [{"retrieve": {"top_k": 5}}]
GB_PER_S = 100


def searched(starts_ms, **client):
    """Simulate searches of a host's memory at set times; return begin, end and one one's work."""
    scenario = built(
        STAGE,
        {"vectors": {**SEARCH, **client}},
        topology={"host_memory_gb_per_s": GB_PER_S, "devices_per_node": 8},
    )
    (plan,) = resolve(scenario).stations
    assert isinstance(plan, SearchPlan)
    found = run(scenario, [(ms, 1, 1) for ms in starts_ms]).requests
    return (found.finished - found.arrival).tolist(), plan.cost.work(1)


def ceil_ticks(size_bytes: int, parts: int = 1) -> int:
    """Return the first tick at which so many bytes are through, at a share of the memory."""
    return -(-size_bytes * parts * 1000 // GB_PER_S)


@pytest.fixture(scope="module")
def asked():
    (alone,), asked = searched([0])
    size, after = round(asked.memory_bytes), round(asked.overhead_seconds * 10**12)
    assert asked.compute_seconds < asked.memory_bytes / (GB_PER_S * 1e9)  # bound by memory
    assert abs(alone - ceil_ticks(size) - after) <= 1
    return size, after


def test_two_searches_of_one_memory_take_twice_as_long(asked):
    size, after = asked
    times, _ = searched([0, 0], replicas=2)
    assert all(abs(time - ceil_ticks(size, 2) - after) <= 1 for time in times)


def test_three_take_three_times_as_long(asked):
    size, after = asked
    times, _ = searched([0, 0, 0], replicas=3)
    assert all(abs(time - ceil_ticks(size, 3) - after) <= 1 for time in times)


def test_one_that_comes_later_slows_the_first_from_then_on(asked):
    """Max-min: alone for 10 ms, then half each, then the second alone: both memories' worth."""
    size, after = asked
    (first, second), _ = searched([0, 10], replicas=2)
    assert abs(first - (2 * ceil_ticks(size) - 10 * MS) - after) <= 2
    assert abs(second + 10 * MS - 2 * ceil_ticks(size) - after) <= 2


def test_searches_far_apart_do_not_meet(asked):
    size, after = asked
    times, _ = searched([0, 100_000], replicas=2)
    assert all(abs(time - ceil_ticks(size) - after) <= 1 for time in times)


def test_no_search_takes_more_than_its_own_device_could(asked):
    """With a memory wider than one device, two do not slow each other."""
    del asked
    clients = {"vectors": {**SEARCH, "replicas": 2}}
    found = run(built(STAGE, clients), [(0, 1, 1), (0, 1, 1)]).requests
    alone = run(built(STAGE, clients), [(0, 1, 1)]).requests
    assert found.finished.tolist() == [alone.finished[0]] * 2


def test_alone_a_search_takes_what_its_cost_model_says():
    for device in ("grace", "h100-sxm"):
        index = FLAT if device == "grace" else {**FLAT, "vectors": 1_000_000}
        clients = {"vectors": {**SEARCH, "device": device, "index": index}}
        scenario = built(STAGE, clients)
        (plan,) = resolve(scenario).stations
        assert isinstance(plan, SearchPlan)
        (took,) = run(scenario).requests.finished.tolist()
        assert abs(took - plan.cost.seconds(1) * 10**12) <= 2


class TestSharedDevice:
    """Clients on the devices of another take turns."""

    def clients(self, workers=4):
        return {
            "vectors": {**SEARCH, "index": {**FLAT, "vectors": 1_000_000}},
            "cpu": {**CPU, "on": "vectors", "workers": workers},
        }

    def result(self, requests, workers=4):
        pipelines = {"find": STAGE, "work": [work(4)]}
        scenario = built(pipelines, self.clients(workers))
        times = [(ms, 1, 1) for ms, _ in requests]
        workload = requests_of(scenario, times, pipeline=[kind for _, kind in requests])
        return run(scenario, workload)

    def test_a_search_takes_the_whole_device_a_worker_a_share(self):
        alone = e2e_ms(self.result([(0, 0)]))
        result = self.result([(0, 1), (1, 0), (2, 1), (2.5, 1)])
        # The search waits for the worker, and those that come later do not overtake it.
        assert e2e_ms(result, 0) == 4
        assert e2e_ms(result, 1) == pytest.approx(3 + alone)
        assert e2e_ms(result, 2) == pytest.approx(2 + alone + 4)
        assert e2e_ms(result, 3) == pytest.approx(1.5 + alone + 4)

    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_workers_are_as_many_as_are_stated(self, workers):
        result = self.result([(0, 1)] * 6, workers)
        rounds = -(-6 // workers)
        assert max(e2e_ms(result, i) for i in range(6)) == 4 * rounds

    @pytest.mark.parametrize(("one", "other"), [(8, 3), (2, 3), (4, 4)])
    def test_also_where_two_pools_of_workers_share_a_device(self, one, other):
        clients = {"one": {**CPU, "workers": one}, "two": {**CPU, "on": "one", "workers": other}}
        pipelines = {"a": [work(4, client="one")], "b": [work(4, client="two")]}
        scenario = built(pipelines, clients)
        workload = requests_of(scenario, [(0, 1, 1)] * 12, pipeline=[1] * 12)
        result = run(scenario, workload)
        assert max(e2e_ms(result, i) for i in range(12)) == 4 * -(-12 // other)

    def test_the_devices_are_paid_once(self):
        price = {"usd_per_device_hour": 2.0}
        shared = {name: {**client, **price} for name, client in self.clients().items()}
        apart = {**shared, "cpu": {**CPU, **price}}
        pipeline = [*STAGE, work(1)]
        one = run(built(pipeline, shared)).summary
        two = run(built(pipeline, apart)).summary
        assert (one["devices"], two["devices"]) == (1, 2)
        assert (one["cost_per_hour"], two["cost_per_hour"]) == (2, 4)

    def test_nothing_moves_between_clients_on_one_device(self):
        result = run(built([*STAGE, work(1)], self.clients()))
        assert not result.requests.stages.transfer.any()


def test_data_takes_its_time_over_the_network():
    clients = {"cpu": CPU, "llm": LLM}
    result = run(built([work(1), call(), work(1)], clients), [(0, 5000, 100)])
    transfer = result.requests.stages.transfer / MS
    assert transfer.tolist() == pytest.approx([0, hop_ms(5000), hop_ms(5100)], abs=2e-9)
    assert visits(result)[2].time == pytest.approx(1 + hop_ms(5100), abs=2e-9)
