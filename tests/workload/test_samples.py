"""The bundled samples: what they are fitted to, and that one script makes them."""

from __future__ import annotations

import runpy
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from hermes.scenario.workload import SAMPLES, WorkloadSpec
from hermes.workload import build_workload

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "make_samples.py"
PUBLISHED = {
    "chat": {"prompt": (1155, 1020, 4142), "output": (211, 129, 601), "rate": 5.5},
    "code": {"prompt": (2048, 1469, 7436), "output": (28, 13, 252), "rate": 2.6},
}


def sample(name, **rest):
    block = {"requests": {"sample": name}, **rest}
    return build_workload(WorkloadSpec.model_validate(block), ["chat"], 0)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_has_the_published_figures(name):
    workload, published = sample(name), PUBLISHED[name]
    assert len(workload) == 2000
    for tokens, key in ((workload.prompt_tokens, "prompt"), (workload.output_tokens, "output")):
        mean, median, p99 = published[key]
        assert tokens.mean() == pytest.approx(mean, rel=0.01)
        assert np.median(tokens) == pytest.approx(median, rel=0.01)
        assert np.percentile(tokens, 99) == pytest.approx(p99, rel=0.04)
    rate = len(workload) / (workload.arrival_ticks[-1] / 1e12)
    assert rate == pytest.approx(published["rate"], rel=0.01)


@pytest.mark.parametrize("name", SAMPLES)
def test_gaps_of_a_sample_are_exponential(name):
    gaps = np.diff(sample(name).arrival_ticks)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.07


@pytest.mark.parametrize("name", SAMPLES)
def test_the_committed_script_writes_the_committed_sample(name):
    script = runpy.run_path(str(SCRIPT))
    seed = list(script["SAMPLES"]).index(name)
    committed = (files("hermes.workload") / "samples" / f"{name}.csv").read_text()
    assert script["text"](script["SAMPLES"][name], seed) == committed


def test_a_sample_takes_limits_and_arrivals_as_a_trace_does():
    workload = sample("chat", limit={"requests": 3000}, arrivals={"process": "burst"})
    assert len(workload) == 2000
    assert workload.source == (
        "2,000 requests in 0.0 s: sample chat (which holds 2,000 of the 3,000 asked for),"
        " all at once"
    )
