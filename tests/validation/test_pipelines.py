"""What the paper found about RAG and reasoning pipelines (arXiv 2504.09775) is found here as well.

Its figures are simulated, so findings are compared, not numbers: who dominates, what grows how.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hermes.scenario.loading import build_scenario
from hermes.sim import simulate
from hermes.sim.simulation import SimulationResult

SMALL, LARGE = "multilingual-e5-base", "e5-mistral-7b-instruct"


def simulated(pipeline: list[Any], clients: dict[str, Any], **workload: Any) -> SimulationResult:
    return simulate(
        build_scenario({"workload": workload, "pipelines": {"p": pipeline}, "clients": clients})
    )


def poisson(rate: float, requests: int, prompt: int, output: int) -> dict[str, Any]:
    return {
        "requests": {"lengths": {"prompt": prompt, "output": output}},
        "arrivals": {"process": "poisson", "rate_per_s": rate},
        "limit": {"requests": requests},
    }


LLM = {
    "model": "llama-3.1-70b",
    "device": "h100-sxm",
    "tensor_parallel_size": 4,
    "max_num_batched_tokens": 8192,
}


class TestRag:
    """Queries of 1,155 tokens, 20 documents of 512: 10,240 more tokens to prefill."""

    @staticmethod
    def shares(embedder: str, device: str) -> dict[str, float]:
        """Return what each stage has of the mean TTFT, unloaded."""
        clients = {
            "llm": LLM,
            "enc": {"serves": ["embed"], "device": device, "models": [embedder]},
            "vectors": {"serves": ["retrieve"], "device": "grace", "index": "ivfpq-10b-small"},
        }
        stages = [
            {"embed": {}},
            {"retrieve": {"top_k": 20, "tokens_per_document": 512}},
            {"generate": {}},
        ]
        result = simulated(stages, clients, **poisson(0.005, 8, 1155, 20))
        log, found = result.requests.stages, result.requests
        ttft = float((found.first_token - found.arrival).mean())
        assert set(found.prompt_tokens.tolist()) == {1155 + 10_240}
        names = ("embed", "retrieve")
        times = [(log.end - log.begin)[log.stage == i].mean() for i in range(2)]
        shares = {name: float(t) / ttft for name, t in zip(names, times, strict=True)}
        return {**shares, "ttft_s": ttft / 1e12}

    @pytest.mark.parametrize("device", ["xeon-8480p", "grace"])
    def test_a_large_embedder_on_a_cpu_dominates_ttft(self, device):
        found = self.shares(LARGE, device)
        assert found["embed"] > 0.6
        assert found["ttft_s"] > 2

    @pytest.mark.parametrize(
        ("embedder", "device"),
        [(SMALL, "xeon-8480p"), (SMALL, "grace"), (SMALL, "a100-sxm-80"), (LARGE, "a100-sxm-80")],
    )
    def test_a_small_one_or_a_gpu_mends_it(self, embedder, device):
        found = self.shares(embedder, device)
        assert found["embed"] < 0.2
        assert found["retrieve"] < 0.1
        assert found["ttft_s"] < 1.2

    def test_the_larger_the_cpu_the_sooner(self):
        times = [self.shares(LARGE, d)["ttft_s"] for d in ("xeon-8480p", "grace", "a100-sxm-80")]
        assert times == sorted(times, reverse=True)

    def test_the_documents_make_the_prefill(self):
        """What is retrieved multiplies the prompt by ten, and TTFT by about as much."""
        plain = simulated([{"generate": {}}], {"llm": LLM}, **poisson(0.005, 8, 1155, 20))
        assert (
            6
            < self.shares(SMALL, "a100-sxm-80")["ttft_s"] * 1e3 / plain.summary["ttft_ms.mean"]
            < 12
        )  # type: ignore[operator]


class TestReasoning:
    """Thought tokens before the answer: on one path, or on eight with a vote."""

    POOL = {"llm": {**LLM, "max_num_seqs": 512}}
    ONE = [{"generate": {"thought_tokens": 1550}}]
    EIGHT = [
        {
            "parallel": {
                "branches": 8,
                "stages": [{"generate": {"thought_tokens": 150}}],
                "verdict": "majority",
            }
        }
    ]

    def run(self, stages: list[Any], rate: float, **client: Any) -> dict[str, Any]:
        pool = {"llm": {**self.POOL["llm"], **client}}
        found = simulated(stages, pool, **poisson(rate, 100, 1500, 50))
        assert found.summary["output_tokens"] == 100 * 1600
        return found.summary

    def test_latency_grows_linearly_with_thoughts(self):
        thoughts = [250, 500, 1000, 2000, 4000, 8000]
        times = []
        for tokens in thoughts:
            stages = [{"generate": {"thought_tokens": tokens}}]
            result = simulated(stages, self.POOL, **poisson(0.001, 2, 1500, 50))
            times.append(result.summary["e2el_ms.mean"])
        slope, start = np.polyfit(thoughts, times, 1)
        fitted = slope * np.array(thoughts) + start
        assert np.abs(fitted / times - 1).max() < 0.02
        assert times[-1] / times[-2] == pytest.approx(2, rel=0.03)  # all of it is decoding

    def test_unloaded_first_tokens_come_as_soon(self):
        one, eight = self.run(self.ONE, 0.02), self.run(self.EIGHT, 0.02)
        assert eight["ttft_ms.mean"] == pytest.approx(one["ttft_ms.mean"], rel=0.05)

    def test_several_paths_give_the_same_tokens_sooner(self):
        assert (
            self.run(self.EIGHT, 0.5)["e2el_ms.mean"] < self.run(self.ONE, 0.5)["e2el_ms.mean"] / 4
        )

    def test_but_saturate_earlier_where_each_holds_the_prompt_for_itself(self):
        """At two requests a second one path is served as it comes; eight prompts each are not."""
        one = self.run(self.ONE, 2)
        eight = self.run(self.EIGHT, 2, enable_prefix_caching=False)
        assert one["ttft_ms.mean"] < 250
        assert eight["ttft_ms.mean"] > 5000
        burst = [self.run(self.ONE, 50), self.run(self.EIGHT, 50, enable_prefix_caching=False)]
        assert burst[1]["output_throughput"] < 0.7 * burst[0]["output_throughput"]

    def test_sharing_the_prefix_makes_each_token_cheaper(self):
        shared = self.run(self.EIGHT, 50)
        apart = self.run(self.EIGHT, 50, enable_prefix_caching=False)
        # Seven of eight branches find all full blocks of the prompt: 93 of 16 tokens.
        assert shared["reused_tokens"] == 100 * 7 * 93 * 16
        price = "cost_per_million_output_tokens"
        assert shared[price] < 0.5 * apart[price]

    @pytest.mark.parametrize(
        ("stages", "sharing", "fits"),
        [(ONE, True, True), (EIGHT, False, False), (EIGHT, True, True)],
    )
    def test_eight_paths_hold_more_kv_at_once_unless_they_share(self, stages, sharing, fits):
        """239 blocks of 16 tokens: for 1,500 + 1,600, for 1,500 + 8 x 200, not for 8 x 1,700."""
        pool = {**self.POOL["llm"], "num_gpu_blocks_override": 240}
        pool["enable_prefix_caching"] = sharing
        found = simulated(stages, {"llm": pool}, **poisson(0.01, 3, 1500, 50)).summary
        assert found["completed"] == 3
        waits = found["preemptions"] or found["queue_ms.mean"] > 1000
        assert bool(waits) != fits
