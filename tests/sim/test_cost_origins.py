"""What the time of a run rests on is counted step by step, and adds up."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.costs.provenance import ORIGINS, StepShape
from hermes.errors import InfeasibleError
from hermes.scenario.loading import build_scenario
from hermes.sim import simulate
from hermes.sim.step_log import StepLog, step_shapes


def scenario(requests=40, **client):
    return build_scenario(
        {
            "seed": 3,
            "workload": {
                "requests": {"sample": "chat"},
                "arrivals": {"process": "poisson", "rate_per_s": 6.0},
                "limit": {"requests": requests},
            },
            "clients": {"c": {"model": "llama-3.1-8b", "device": "h100"} | client},
        }
    )


def shares(requests=40, **client):
    summary = simulate(scenario(requests, **client)).summary
    return {origin: summary[f"cost_share.{origin}"] for origin in ORIGINS}


@pytest.fixture
def logged(monkeypatch):
    """Return what simulates a scenario and gives its replicas and the rows of their logs."""
    simulation = importlib.import_module("hermes.sim.simulation")
    begin, started = simulation.start_replicas, []

    def start(*arguments):
        pools = begin(*arguments)
        started.extend(replica for pool in pools.values() for replica in pool)
        return pools

    monkeypatch.setattr(simulation, "start_replicas", start)

    def run(asked):
        simulate(asked)
        return started, StepLog.rows(replica.step_log for replica in started).tolist()

    return run


@pytest.mark.parametrize(
    "client",
    [
        {},
        {"batching": "continuous"},
        {"pipeline_parallel_size": 2},
        {"replicas": 2, "batching": "mixed"},
        {"num_gpu_blocks_override": 100, "max_model_len": 1400},
    ],
)
def test_every_step_is_in_the_log(client, logged):
    replicas, rows = logged(scenario(**client))
    assert sum(row[5] for row in rows) == sum(replica.steps for replica in replicas)


def test_the_log_holds_what_the_steps_cost(logged):
    """With costs that are linear in the batch, the log gives the busy time to the tick."""
    costs = {"linear": {"step_us": 900, "token_us": 7, "context_token_ns": 11}}
    replicas, rows = logged(scenario(costs=costs))
    step, token, context_token = 900 * 10**6, 7 * 10**6, 11 * 10**3
    ticks = 0
    for decodes, context, tokens, before, _, steps in rows:
        contexts = steps * (context + before) + decodes * (steps * (steps - 1) // 2)
        ticks += steps * (step + token * (decodes + tokens)) + context_token * contexts
    assert ticks == sum(replica.busy_ticks for replica in replicas)


@pytest.mark.parametrize(
    ("client", "origin"),
    [
        ({}, "roofline"),
        ({"device": "mi300x"}, "uncalibrated"),
        ({"device": "h200"}, "uncalibrated"),
        ({"costs": {"linear": {"step_us": 4000}}}, "given"),
    ],
)
def test_a_run_of_one_origin_says_so(client, origin):
    found = shares(**client)
    assert found.pop(origin) == pytest.approx(1)
    assert set(found.values()) == {0.0}


def test_a_table_of_one_product_takes_its_part(tmp_path):
    path = tmp_path / "table.csv"
    header = "operator,dtype,tokens,n,k,latency_us\n"
    rows = "".join(
        f"linear,bf16,{tokens},{n},{k},{time}\n"
        for n, k in ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336))
        for tokens, time in ((1, 30), (16, 32), (4096, 700))
    )
    path.write_text(header + rows)
    found = simulate(scenario(costs={"table": str(path)}))
    facts = found.cost_origins.facts()["clients"]["c"]
    assert set(facts) == {"decode", "prefill"}
    assert facts["decode"]["share"] + facts["prefill"]["share"] == pytest.approx(1)
    decode = facts["decode"]["operators"]
    assert set(decode["linear"]) <= {"measured", "interpolated"}
    assert set(decode["LM head"]) == {"extrapolated"}
    assert set(decode["decode attention"]) == {"roofline"}
    total = sum(share for each in decode.values() for share in each.values())
    assert total == pytest.approx(1)
    assert sum(found.cost_origins.shares().values()) == pytest.approx(1)


def test_stations_say_what_they_rest_on():
    asked = {
        "workload": {
            "requests": {"sample": "chat"},
            "arrivals": {"process": "poisson", "rate_per_s": 2.0},
            "limit": {"requests": 20},
        },
        "pipelines": {"default": [{"embed": {}}, {"generate": {}}]},
        "clients": {
            "e": {"serves": ["embed"], "models": ["bge-base-en-v1.5"], "device": "mi300x"},
            "c": {"model": "llama-3.1-8b", "device": "h100"},
        },
    }
    found = simulate(build_scenario(asked))
    times = {time.client: time for time in found.cost_origins.times}
    assert times["e"].origin == "uncalibrated"
    assert times["e"].regime == "batch"
    assert 0 < found.summary["cost_share.uncalibrated"] < 0.2


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.integers(0, 10**6),
            st.integers(0, 9000),
            st.integers(0, 10**5),
            st.integers(0, 10**8),
            st.integers(1, 500),
        ),
        max_size=30,
    )
)
def test_steps_are_neither_lost_nor_moved_far(rows):
    log = StepLog()
    note = log.note()
    for row in rows:
        note(row)
    found = step_shapes([log])
    assert sum(steps for _, steps in found) == sum(row[5] for row in rows)
    tokens = sum((row[0] + row[2]) * row[5] for row in rows)
    middle = sum((shape.decodes + shape.prefill_tokens) * steps for shape, steps in found)
    assert 0.7 * tokens <= middle <= 1.51 * tokens
    assert all(isinstance(shape, StepShape) for shape, _ in found)


def test_devices_whose_host_is_not_known_serve_but_do_not_swap():
    assert shares(requests=5, device="tpu-v5p")["uncalibrated"] == pytest.approx(1)
    with pytest.raises(InfeasibleError, match="host is not known"):
        simulate(scenario(requests=5, device="tpu-v5p", swap_space_gb=4.0))
