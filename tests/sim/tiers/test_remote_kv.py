"""The bundled study of remote KV: the order in which the paper's places come, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes.scenario import build_scenario
from hermes.scenario.yaml import read_yaml
from hermes.sim import simulate
from hermes.sim.simulation import SimulationResult

SWEEPS = Path(__file__).resolve().parents[3] / "sweeps"
PLACES = {
    "A": "dedicated",
    "B": "platform",
    "C": "rack",
    "D1": "global-slow",
    "D128": "global-fast",
    "E": None,
}
HOT = {"hot": {"centres": 8, "sigma": 0.75}}


def run(
    place: str, tokens: int, home: Any = "uniform", contention: bool = False, requests: Any = None
) -> SimulationResult:
    scenario = read_yaml(SWEEPS / "scenarios" / "remote-kv.yaml").value
    assert isinstance(scenario, dict)
    recall = scenario["pipelines"]["chat"][0]["generate"]["recall"]
    recall.update(tokens=tokens, home=home)
    scenario["topology"]["contention"] = contention
    scenario["clients"]["llm"]["kv_tiers"] = [PLACES[place]] if PLACES[place] else []
    if requests is not None:
        scenario["workload"]["requests"] = requests
    return simulate(build_scenario(scenario))


def completed(place: str, *args: Any, **kwargs: Any) -> int:
    return int(run(place, *args, **kwargs).summary["completed_in_window"] or 0)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [4096, 24576])
def test_stores_of_ones_own_and_of_the_node_are_best_where_all_contexts_are_alike(tokens) -> None:
    done = {place: completed(place, tokens) for place in PLACES}
    assert done["A"] == pytest.approx(done["B"], rel=0.05)
    assert min(done["A"], done["B"]) > done["D128"] > done["C"] > done["D1"] > done["E"]


@pytest.mark.slow
def test_a_shared_store_completes_the_most_where_few_long_contexts_are_hot() -> None:
    done = {place: completed(place, 24576, HOT) for place in PLACES}
    assert done["D128"] > done["C"] > done["B"] > done["A"] > done["D1"] > done["E"]
    assert done["D1"] < 0.35 * done["C"]
    assert done["E"] < 0.35 * done["C"]


def test_a_racks_store_drowns_once_its_bandwidth_is_shared() -> None:
    free, shared = run("C", 4096), run("C", 4096, contention=True)
    assert free.summary["completed"] == shared.summary["completed"] == 2424
    assert shared.summary["completed_in_window"] == 0
    asked = 2424 * 4096 * 163_840
    least = asked / 4 / 2e9  # four stores of 2 GB/s each, if they were asked alike
    assert least < float(shared.summary["duration_s"] or 0) < 1.25 * least
    assert run("A", 4096, contention=True).summary["completed_in_window"] == pytest.approx(
        completed("A", 4096), rel=0.03
    )


@pytest.mark.slow
def test_the_order_is_the_same_on_the_recorded_trace(shared_data: Path) -> None:
    path = shared_data / "traces" / "azure_llm_2023" / "AzureLLMInferenceTrace_conv.csv.gz"
    trace = {"trace": "azure-2023", "path": str(path)}
    alike = {place: completed(place, 24576, requests=trace) for place in PLACES}
    assert alike["A"] == pytest.approx(alike["B"], rel=0.05)
    assert min(alike["A"], alike["B"]) > alike["C"] > alike["D1"] > alike["E"]
    hot = {place: completed(place, 24576, HOT, requests=trace) for place in PLACES}
    assert hot["D128"] > hot["C"] > hot["B"] > hot["A"] > hot["D1"] > hot["E"]
