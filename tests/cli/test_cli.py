"""The command, as a user meets it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

import hermes as hermes_package
from hermes.cli import _run
from hermes.metrics import METRICS, PARTS

SCENARIO = """\
name: small
workload:
  requests: {lengths: {prompt: 200, output: 20}}
  arrivals: {process: poisson, rate_per_s: 5}
  limit: {requests: 50}
clients:
  chat: {model: llama-3.1-8b, device: h100-sxm}
slo: {ttft_ms: 500, tpot_ms: 50}
"""

STUDY = """\
name: tiny
scenario: scenario.yaml
space:
  clients.chat.device: [h100-sxm, l40s]
  clients.chat.replicas: [1, 2]
objectives: {cost_per_million_output_tokens: minimize, ttft_ms.p99: minimize}
sampler: grid
"""


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def hermes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run the command in a folder that holds scenario.yaml and study.yaml."""
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        code = _run(list(arguments))
        return Outcome(code, *capsys.readouterr())

    return run


class TestSimulate:
    def test_prints_metrics_and_the_verdict_on_the_slo(self, hermes) -> None:
        outcome = hermes("simulate", "scenario.yaml")
        assert outcome.code == 0
        assert "50 of 50 requests completed" in outcome.out
        assert "SLO met: 100.0%" in outcome.out
        assert outcome.err == ""

    def test_json_holds_every_metric_by_name(self, hermes) -> None:
        summary = json.loads(hermes("simulate", "scenario.yaml", "--json").out)
        assert set(METRICS) <= set(summary)
        assert summary["completed"] == 50

    def test_out_holds_a_summary_and_a_row_a_request(self, hermes, tmp_path: Path) -> None:
        assert hermes("simulate", "scenario.yaml", "--out", "run", "-q") == (0, "", "")
        assert json.loads((tmp_path / "run/summary.json").read_text())["requests"] == 50
        rows = pq.read_table(tmp_path / "run/requests.parquet").to_pylist()
        assert [row["request_id"] for row in rows] == list(range(50))
        for row in rows:
            assert row["status"] == "completed"
            assert (
                sum(row[f"{part}_ns"] for part in PARTS) == row["finished_ns"] - row["arrival_ns"]
            )
        stages = pq.read_table(tmp_path / "run/stages.parquet").to_pylist()
        assert [row["request_id"] for row in stages] == list(range(50))
        for row in stages:
            assert sum(row[f"{part}_ns"] for part in PARTS) == row["end_ns"] - row["begin_ns"]

    def test_draws_where_the_time_goes(self, hermes, tmp_path: Path) -> None:
        assert hermes("simulate", "scenario.yaml", "--breakdown", "time.png", "-q").code == 0
        assert (tmp_path / "time.png").read_bytes().startswith(b"\x89PNG")

    def test_rejected_requests_are_rows_with_a_reason(self, hermes, tmp_path: Path) -> None:
        long = "workload.requests.lengths.prompt={uniform: {low: 100, high: 300}}"
        tight = "clients.chat.max_model_len=200"
        hermes("simulate", "scenario.yaml", "--out", "run", "--set", long, "--set", tight)
        rows = pq.read_table(tmp_path / "run/requests.parquet").to_pylist()
        rejected = [row for row in rows if row["status"] == "rejected"]
        assert 0 < len(rejected) < 50
        assert {row["reason"] for row in rejected} == {"exceeds_max_model_len"}
        assert {row["last_token_ns"] for row in rejected} == {None}

    def test_the_gate_fails_a_scenario_that_misses_its_slo(self, hermes) -> None:
        assert hermes("simulate", "scenario.yaml", "--gate").code == 0
        missed = hermes("simulate", "scenario.yaml", "--gate", "--set", "slo.ttft_ms=0.001")
        assert missed.code == 1
        assert "SLO MISSED" in missed.out

    @pytest.mark.parametrize(
        "environment",
        [
            {"PYTHONHASHSEED": "0", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
            {
                "PYTHONHASHSEED": "1",
                "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
                "OPENBLAS_CORETYPE": "Haswell",
            },
            {"PYTHONHASHSEED": "random", "PYTHONMALLOC": "debug", "TZ": "Pacific/Chatham"},
        ],
        ids=["without AVX-512", "without AVX2", "other memory and time zone"],
    )
    def test_is_the_same_in_any_process(self, hermes, environment) -> None:
        """Hash seeds, CPU features that NumPy dispatches on, allocators: not one bit changes."""
        expected = hermes("simulate", "scenario.yaml", "--json").out
        command = [sys.executable, "-O", "-m", "hermes.cli", "simulate", "scenario.yaml", "--json"]
        path = {"PYTHONPATH": str(Path(hermes_package.__file__).parents[1])}
        result = subprocess.run(command, env=environment | path, capture_output=True, check=True)
        assert result.stdout.decode() == expected


class TestBadInput:
    @pytest.mark.parametrize(
        ("overrides", "words"),
        [
            (["clients.chat.tensor_paralel_size=2"], ["unknown field", "tensor_parallel_size"]),
            (["workload.arrivals.rate_per_s=-1"], ["rate_per_s", "greater than 0", "-1"]),
            (["clients.chat.device=h100-smx"], ["clients.chat.device", "'h100-smx'", "'h100-sxm'"]),
            (["clients.chat.model=llama-9"], ["clients.chat.model", "unknown model", "llama"]),
            (["clients.chat.model=llama-3.1-70b"], ["needs 142.4 GB", "smallest that fits is 2"]),
            (["clients.chat.tensor_parallel_size=3"], ["tensor_parallel_size", "does not divide"]),
            (["clients.chat.batching=chunky"], ["clients.chat.batching", "'chunked'"]),
            (["clients.chat.batching=no.such:Policy"], ["cannot import", "no.such"]),
            (["clients.chat.scheduling_policy=lifo"], ["unknown queue order", "fcfs"]),
            (["routing.chat=rand"], ["routing.chat", "unknown routing policy", "random"]),
            (["clients.chat.max_num_batched_tokens=64"], ["max_num_seqs (128)"]),
            (["clients.chat.max_model_len=10000000"], ["max_model_len", "KV cache holds"]),
            (["pipelines={default: [{generate: {model: qwen3-8b}}]}"], ["no client serves"]),
            (
                ["clients.other={model: qwen3-8b, device: h100-sxm}"],
                ["serve several models", "pipelines.default.0.generate.model"],
            ),
        ],
    )
    def test_one_error_that_names_field_and_remedy(
        self, hermes, overrides: list[str], words: list[str]
    ) -> None:
        arguments = [part for override in overrides for part in ("--set", override)]
        code, out, err = hermes("simulate", "scenario.yaml", *arguments)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        assert err.count("error:") == 1
        for word in ["scenario.yaml", *words]:
            assert word in err

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", ["header"]),
            ("arrival_s,prompt_tokens,output_tokens\n", ["trace.csv"]),
            (
                "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,ten,5\n",
                ["3", "prompt_tokens", "ten"],
            ),
            (
                "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,-5\n",
                ["3", "output_tokens", "-5"],
            ),
            ("arrival_s,prompt_tokens,output_tokens\n5,10,5\n1,10,5\n", ["3", "order of time"]),
            ("time,prompt_tokens,output_tokens\n0,10,5\n", ["arrival_s", "time"]),
        ],
    )
    def test_a_bad_trace_is_named_with_its_line(
        self, hermes, tmp_path: Path, content: str, words: list[str]
    ) -> None:
        (tmp_path / "trace.csv").write_text(content)
        trace = "workload={requests: {trace: hermes, path: trace.csv}}"
        code, out, err = hermes("simulate", "scenario.yaml", "--set", trace)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        for word in ["trace.csv", *words]:
            assert word in err

    def test_a_space_without_a_valid_point(self, hermes) -> None:
        fits_nowhere = "clients.chat.model=llama-3.1-405b"
        code, _, err = hermes("sweep", "study.yaml", "--workers", "0", "--set", fits_nowhere, "-q")
        assert code == 2
        assert "GB" in err
        assert "Traceback" not in err

    @pytest.mark.parametrize(
        "arguments", [["simulate"], ["simulat", "x"], ["simulate", "scenario.yaml", "--fast"], []]
    )
    def test_wrong_usage(self, hermes, arguments: list[str]) -> None:
        assert hermes(*arguments).code in ({0, 2} if not arguments else {2})


class TestStudy:
    def test_a_study_ends_with_its_front_and_a_report(self, hermes, tmp_path: Path) -> None:
        outcome = hermes("sweep", "study.yaml", "--out", "out", "--workers", "0")
        assert outcome.code == 0
        assert {"report.html", "report.md", "pareto.png"} <= {
            p.name for p in (tmp_path / "out").iterdir()
        }
        front = json.loads(hermes("pareto", "out", "--json").out)
        assert front
        assert {"trial_key", "cost_per_million_output_tokens"} <= set(front[0])

    def test_nothing_is_overwritten_and_resuming_runs_nothing_twice(self, hermes) -> None:
        hermes("sweep", "study.yaml", "--out", "out", "--workers", "0", "-q")
        again = hermes("sweep", "study.yaml", "--out", "out", "--workers", "0", "-q")
        assert again.code == 2
        assert "--resume" in again.err
        assert (
            hermes("sweep", "study.yaml", "--out", "out", "--workers", "0", "-q", "--resume").code
            == 0
        )


class TestLookingThingsUp:
    @pytest.mark.parametrize(
        "listing", ["devices", "models", "indexes", "media", "metrics", "policies"]
    )
    def test_catalogs_are_listed(self, hermes, listing: str) -> None:
        rows = json.loads(hermes("catalog", listing, "--json").out)
        assert rows
        assert all(row["name"] for row in rows)
        assert rows[0]["name"] in hermes("catalog", listing).out

    def test_check_says_what_would_run(self, hermes) -> None:
        facts = json.loads(hermes("check", "scenario.yaml", "--json").out)
        assert facts["clients"]["chat"]["model"] == "meta-llama/Llama-3.1-8B"
        assert hermes("check", "study.yaml").code == 0
        assert hermes("check", "chat-on-which-gpu").code == 0

    @pytest.mark.parametrize("kind", ["scenario", "study"])
    def test_schemas_are_printed(self, hermes, kind: str) -> None:
        assert "properties" in json.loads(hermes("schema", kind).out)

    def test_version(self, hermes) -> None:
        assert hermes("--version").out.startswith("hermes ")
