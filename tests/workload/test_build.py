"""From the workload block to requests: which parts decide what, and what is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from hermes.errors import InputError, UnknownNameError
from hermes.scenario.workload import WorkloadSpec
from hermes.workload import build_workload

LENGTHS = {
    "lengths": {
        "prompt": {"lognormal": {"mean": 517, "cv": 1.0}},
        "output": {"geometric": {"mean": 126}},
    }
}
POISSON = {"process": "poisson", "rate_per_s": 8}
PIPELINES = ("chat", "rag")
SYNTHETIC = {"requests": LENGTHS, "arrivals": POISSON, "mix": {"chat": 0.7, "rag": 0.3}}


def build(block, pipelines=PIPELINES, seed=0, folder=None):
    return build_workload(WorkloadSpec.model_validate(block), pipelines, seed, folder)


@pytest.fixture
def trace(tmp_path):
    """A trace of five requests, in two pipelines; says its block of the scenario."""
    rows = ["0,10,1,chat", "1,20,2,rag", "2,30,3,rag", "5,40,4,chat", "9,50,5,chat"]
    text = "\n".join(["arrival_s,prompt_tokens,output_tokens,pipeline", *rows])
    (tmp_path / "five.csv").write_text(text)
    return {"requests": {"trace": "hermes", "path": "five.csv"}}


class TestSynthetic:
    def test_the_same_block_and_seed_give_the_same_requests(self):
        assert build(SYNTHETIC).digest() == build(SYNTHETIC).digest()
        assert build(SYNTHETIC).digest() != build(SYNTHETIC, seed=1).digest()

    def test_a_thousand_requests_unless_limited(self):
        assert len(build(SYNTHETIC)) == 1000
        assert len(build(SYNTHETIC | {"limit": {"requests": 7}})) == 7

    def test_a_time_limit_alone_keeps_all_that_arrives_in_it(self):
        workload = build(SYNTHETIC | {"limit": {"duration_s": 1000}})
        assert len(workload) == pytest.approx(8000, rel=0.05)
        assert workload.arrival_ticks[-1] < 1000 * 10**12

    def test_the_tighter_of_two_limits_holds(self):
        assert len(build(SYNTHETIC | {"limit": {"requests": 9, "duration_s": 1000}})) == 9
        assert len(build(SYNTHETIC | {"limit": {"requests": 9000, "duration_s": 1}})) < 30

    def test_piecewise_arrivals_run_to_their_end(self):
        pieces = [{"duration_s": 100, "rate_per_s": 30}, {"duration_s": 50, "rate_per_s": 60}]
        block = SYNTHETIC | {"arrivals": {"process": "piecewise", "pieces": pieces}}
        assert len(build(block)) == pytest.approx(6000, rel=0.05)
        assert len(build(block | {"limit": {"requests": 50}})) == 50

    def test_a_workload_without_requests_is_refused(self):
        with pytest.raises(InputError, match="workload: no request arrives before"):
            build(SYNTHETIC | {"limit": {"duration_s": 1e-6}})


class TestCommonRandomNumbers:
    """Changing one part leaves the draws of the others alone."""

    columns = ("arrival_ticks", "prompt_tokens", "output_tokens", "pipeline")
    changes = {
        "arrival_ticks": {"arrivals": {"process": "gamma", "rate_per_s": 3, "cv": 2}},
        "prompt_tokens": {
            "requests": {
                "lengths": {**LENGTHS["lengths"], "prompt": {"uniform": {"low": 1, "high": 9}}}
            }
        },
        "output_tokens": {"requests": {"lengths": {**LENGTHS["lengths"], "output": 64}}},
        "pipeline": {"mix": {"chat": 0.2, "rag": 0.8}},
    }

    @pytest.mark.parametrize("changed", columns)
    def test_one_change_moves_one_column(self, changed):
        before, after = build(SYNTHETIC), build(SYNTHETIC | self.changes[changed])
        moved = [
            name
            for name in self.columns
            if not np.array_equal(getattr(before, name), getattr(after, name))
        ]
        assert moved == [changed]

    def test_a_shorter_limit_keeps_the_first_requests(self):
        whole, short = build(SYNTHETIC), build(SYNTHETIC | {"limit": {"requests": 123}})
        for name in self.columns:
            assert np.array_equal(getattr(short, name), getattr(whole, name)[:123])


class TestTrace:
    def test_keeps_its_own_times_lengths_and_pipelines(self, trace, tmp_path):
        workload = build(trace, folder=tmp_path)
        assert workload.arrival_ticks.tolist() == [s * 10**12 for s in (0, 1, 2, 5, 9)]
        assert workload.prompt_tokens.tolist() == [10, 20, 30, 40, 50]
        assert workload.output_tokens.tolist() == [1, 2, 3, 4, 5]
        assert workload.pipeline.tolist() == [0, 1, 1, 0, 0]
        assert workload.source == "5 requests in 9.0 s: hermes trace five.csv, at its own times"

    def test_other_arrivals_replace_the_times_only(self, trace, tmp_path):
        workload = build(trace | {"arrivals": POISSON}, folder=tmp_path)
        synthetic = build(SYNTHETIC | {"limit": {"requests": 5}})
        assert np.array_equal(workload.arrival_ticks, synthetic.arrival_ticks)
        assert workload.prompt_tokens.tolist() == [10, 20, 30, 40, 50]
        assert "five.csv, Poisson arrivals at 8/s" in workload.source

    def test_scale_speeds_it_up(self, trace, tmp_path):
        workload = build(trace | {"arrivals": {"process": "trace", "scale": 4}}, folder=tmp_path)
        assert workload.arrival_ticks[-1] == 9 * 10**12 // 4
        assert "at its own times with 4 times the rate" in workload.source

    def test_limits_cut_it(self, trace, tmp_path):
        assert len(build(trace | {"limit": {"requests": 2}}, folder=tmp_path)) == 2
        assert len(build(trace | {"limit": {"duration_s": 5}}, folder=tmp_path)) == 3

    def test_a_limit_beyond_its_end_is_said(self, trace, tmp_path):
        workload = build(trace | {"limit": {"requests": 2000}}, folder=tmp_path)
        assert len(workload) == 5
        assert "five.csv (which holds 5 of the 2,000 asked for)" in workload.source

    def test_a_mix_replaces_its_pipelines(self, trace, tmp_path):
        block = trace | {"mix": {"solver": 1}}
        assert build(block, ("chat", "solver"), folder=tmp_path).pipeline.tolist() == [1] * 5

    def test_an_absolute_path_needs_no_folder(self, trace, tmp_path):
        block = {"requests": {"trace": "hermes", "path": str(tmp_path / "five.csv")}}
        assert len(build(block)) == 5

    def test_arrivals_that_end_early_cut_it(self, trace, tmp_path):
        pieces = [{"duration_s": 1, "rate_per_s": 2}]
        block = trace | {"arrivals": {"process": "piecewise", "pieces": pieces}}
        assert 1 <= len(build(block, folder=tmp_path)) <= 5


class TestPipelines:
    def test_the_only_pipeline_takes_all(self):
        block = {"requests": LENGTHS, "arrivals": POISSON}
        assert build(block, ("chat",)).pipeline.tolist() == [0] * 1000

    def test_several_without_a_mix_are_refused(self):
        with pytest.raises(InputError, match=r"workload\.mix: is needed .* pipelines chat, rag"):
            build({"requests": LENGTHS, "arrivals": POISSON})

    def test_weights_are_shares(self):
        workload = build(SYNTHETIC | {"mix": {"rag": 3, "chat": 1}, "limit": {"requests": 20_000}})
        assert workload.pipeline.mean() == pytest.approx(0.75, abs=0.01)
        assert workload.pipeline_names == PIPELINES

    def test_a_pipeline_outside_the_mix_takes_none(self):
        assert set(build(SYNTHETIC | {"mix": {"rag": 1}}).pipeline.tolist()) == {1}

    def test_an_unknown_pipeline_is_refused(self):
        with pytest.raises(UnknownNameError, match=r"workload\.mix: unknown pipeline 'chta'; did"):
            build(SYNTHETIC | {"mix": {"chta": 1}})


DIGEST = """
from hermes.scenario.workload import WorkloadSpec
from hermes.workload import build_workload
diurnal = {"process": "diurnal", "mean_rate_per_s": 5, "peak_to_mean": 1.5, "period_s": 60}
ramp = {"process": "ramp_up", "strategy": "exponential"}
ramp |= {"start_rate_per_s": 1.5, "end_rate_per_s": 7, "cv": 1.7}
for arrivals in ({"process": "gamma", "rate_per_s": 5, "cv": 1.7}, diurnal, ramp):
    prompt, output = {"lognormal": {"mean": 900, "cv": 1.3}}, {"geometric": {"mean": 90}}
    requests = {"lengths": {"prompt": prompt, "output": output}}
    block = {"requests": requests, "arrivals": arrivals}
    workload = build_workload(WorkloadSpec.model_validate(block), ["chat"], 3)
    print(workload.digest())
"""


def test_every_cpu_draws_the_same_requests():
    """NumPy's vectorised logarithms differ with the CPU's features; ours must not use them."""

    def digest(disabled):
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
        command = [sys.executable, "-W", "ignore", "-c", DIGEST]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert digest("") == digest("X86_V4 AVX512_ICL AVX512_SPR X86_V3") != ""
