"""Where the time goes: the table behind the picture, and the files of a run with a pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hermes.metrics import PARTS, stage_means
from hermes.results.breakdown import breakdown_png, pipeline_times
from hermes.results.run_folder import write_run
from hermes.scenario import build_scenario
from hermes.sim import SimulationResult, simulate
from hermes.sim.link import Link, LinkUse, link_facts


@pytest.fixture(scope="module")
def result() -> SimulationResult:
    return simulate(
        build_scenario(
            {
                "workload": {
                    "requests": {"lengths": {"prompt": 300, "output": 20}},
                    "arrivals": {"process": "poisson", "rate_per_s": 20},
                    "limit": {"requests": 60},
                    "mix": {"plain": 0.5, "forked": 0.4, "none": 0.1},
                },
                "pipelines": {
                    "plain": [{"generate": {}}],
                    "forked": [
                        {"process": {"service_ms": {"exponential": {"mean": 30}}}},
                        {"parallel": {"branches": 3, "stages": [{"generate": {}}]}},
                        {"tool": {"latency_ms": 12, "result_tokens": 5}},
                    ],
                    "none": [{"process": {"service_ms": 5}}],
                },
                "clients": {
                    "chat": {"model": "llama-3.1-8b", "device": "h100-sxm", "max_num_seqs": 4},
                    "cpu": {"serves": ["process"], "device": "grace", "workers": 1},
                },
            }
        )
    )


def test_the_bars_of_a_pipeline_add_up_to_its_mean_latency(result: SimulationResult) -> None:
    requests = result.requests
    for times in pipeline_times(requests):
        mine = requests.pipeline == requests.pipeline_names.index(times.pipeline)
        latency = (requests.finished - requests.arrival)[mine] / 1e9
        assert times.requests == np.count_nonzero(mine)
        assert times.mean_ms == pytest.approx(latency.mean(), rel=1e-12)


def test_stages_stand_in_the_order_of_the_pipeline(result: SimulationResult) -> None:
    found = {times.pipeline: times.stages for times in pipeline_times(result.requests)}
    assert found == {
        "plain": ("generate",),
        "forked": ("process", "generate", "tool"),
        "none": ("process",),
    }


def test_the_picture_is_a_png_also_when_nothing_was_completed(result: SimulationResult) -> None:
    assert breakdown_png("some", pipeline_times(result.requests)).startswith(b"\x89PNG")
    assert breakdown_png("none", []).startswith(b"\x89PNG")


def test_means_of_visits_count_branches_that_nobody_waited_for(result: SimulationResult) -> None:
    means = stage_means(result.requests.stages)
    forked = np.count_nonzero(result.requests.pipeline == 1)
    assert means["forked/generate"]["visits"] == 3 * forked
    assert means["forked/tool"]["compute_ms"] == pytest.approx(12)


def test_the_files_of_a_run_add_up_to_the_nanosecond(
    result: SimulationResult, tmp_path: Path
) -> None:
    write_run(tmp_path, result.summary, result.requests)
    stages = pq.read_table(tmp_path / "stages.parquet").to_pandas()
    requests = pq.read_table(tmp_path / "requests.parquet").to_pandas()
    parts = [f"{part}_ns" for part in PARTS]
    assert (stages[parts].sum(axis=1) == stages["end_ns"] - stages["begin_ns"]).all()
    assert (requests[parts].sum(axis=1) == requests["finished_ns"] - requests["arrival_ns"]).all()
    critical = stages[stages["critical"]]
    for _, rows in critical.groupby("request_id"):  # one after the other, without a gap
        assert rows["end_ns"].tolist()[:-1] == rows["begin_ns"].tolist()[1:]
    ends = critical.groupby("request_id")["end_ns"].max()
    assert (ends == requests.set_index("request_id")["finished_ns"]).all()


def test_a_pipeline_without_a_model_call_has_no_first_token(
    result: SimulationResult, tmp_path: Path
) -> None:
    write_run(tmp_path, result.summary, result.requests)
    rows = pq.read_table(tmp_path / "requests.parquet").to_pylist()
    silent = [row for row in rows if row["pipeline"] == "none"]
    assert silent
    assert {row["status"] for row in silent} == {"completed"}
    assert {row["first_token_ns"] for row in silent} == {None}
    assert result.summary["completed"] == 60


def test_links_are_told_busiest_first_and_only_those_that_carried() -> None:
    uses = [
        LinkUse(Link("idle", 1e9), 0, 0, 0, 0),
        LinkUse(Link("slow", 1e9), 2, 4 * 10**9, 4 * 10**12, 10**9),
        LinkUse(Link("fast", 8e9), 1, 4 * 10**9, 5 * 10**11, 0),
        LinkUse(Link("endless", float("inf")), 1, 10**9, 0, 0),
    ]
    facts = link_facts(uses, 10.0)
    assert list(facts) == ["slow", "fast", "endless"]
    assert facts["slow"] == {
        "transfers": 2,
        "gb": 4.0,
        "utilization": 0.4,
        "busy": 0.4,
        "stall_ms": 1.0,
    }
    assert facts["endless"]["utilization"] is None
