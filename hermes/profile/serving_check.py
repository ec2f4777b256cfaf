"""The serving loop against the simulation of the same trace."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hermes.catalog import Model
from hermes.costs.tables import TablePass
from hermes.profile.decoder import Decoder
from hermes.profile.serving import Arrival, Served, ServingLoop, serve
from hermes.profile.steps import StepShape, step_sum
from hermes.scenario.device import DeviceSpec
from hermes.scenario.loading import build_scenario
from hermes.scenario.units import TICKS_PER_SECOND

__all__ = [
    "NotDoneError",
    "ServingCheck",
    "check_serving",
    "draw_trace",
    "simulated_times",
    "write_config",
]

_UTILISATION = 0.6
_MOST_REQUESTS, _FEWEST_REQUESTS = 400, 5
_BLOCK = 16
_WARM_SHARE, _FILLED = 0.4, 0.8


def write_config(path: Path, model: Model) -> None:
    """Write a *model* as a Hugging Face `config.json`, so that a scenario can name it."""
    names: tuple[str, ...] = (
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "tie_word_embeddings",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {name: getattr(model, name) for name in names}
    fields |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    if model.is_moe:
        fields |= {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}
        names = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
        fields |= {name: getattr(model, name) for name in (*names, "first_k_dense_replace")}
        shared = max(1, model.num_shared_experts)
        fields["n_shared_experts"] = model.num_shared_experts
        fields["shared_expert_intermediate_size"] = model.shared_intermediate_size // shared
        fields["decoder_sparse_step"] = model.moe_layer_step
    fields["torch_dtype"] = "bfloat16"
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def draw_trace(
    count: int, rate_per_s: float, prompt_tokens: int, output_tokens: int, seed: int = 0
) -> list[Arrival]:
    """Return Poisson arrivals with lengths uniform around their means, by a half."""
    from hermes.workload.streams import stream

    random = stream(seed, "profile", "serving")
    gaps = random.exponential(1.0, count) / rate_per_s
    prompts = random.integers(prompt_tokens // 2, 3 * prompt_tokens // 2, count, endpoint=True)
    outputs = random.integers(output_tokens // 2, 3 * output_tokens // 2, count, endpoint=True)
    found, now = [], 0.0
    for gap, prompt, output in zip(gaps, prompts, outputs, strict=True):
        now += float(gap)
        found.append(Arrival(round(now, 6), max(1, int(prompt)), max(2, int(output))))
    return found


@dataclass(frozen=True, slots=True)
class ServingCheck:
    """What is served, and with what costs it is simulated."""

    folder: Path
    """Where the table lies; the files of the check are written there."""
    device: tuple[str, DeviceSpec | None]
    cost: TablePass
    lengths: tuple[int, int]
    """Mean prompt and output tokens."""
    max_num_seqs: int
    seconds: float
    """How long serving should take, about."""

    @property
    def max_num_batched_tokens(self) -> int:
        """Tokens of a step at most."""
        return max(4 * self.lengths[0], self.max_num_seqs)

    @property
    def length(self) -> int:
        """Tokens of the longest request at most."""
        return 2 * sum(self.lengths)


def check_serving(check: ServingCheck, decoder: Decoder) -> dict[str, Any]:
    """Serve a trace, simulate it, and compare the requests that were answered in time.

    The time that the loop adds to a step is measured before, on decodes. The rate is 0.6 of what
    the simulation says the deployment can do.
    """
    begun = time.monotonic()
    model = decoder.model
    write_config(check.folder / "decoder" / "config.json", model)
    decoder.reserve(2 * check.max_num_seqs, check.length)
    with decoder.torch.inference_mode():
        loop = ServingLoop(decoder, check.max_num_seqs, check.max_num_batched_tokens)
        left = check.seconds - (time.monotonic() - begun)
        overhead, attention = _overhead(check, loop, _WARM_SHARE * left)
        scenario = _scenario(check, overhead * 1e6)
        burst = draw_trace(4 * check.max_num_seqs, 1e6, *check.lengths)
        answered = simulated_times(check.folder, scenario, burst)
        rate = _UTILISATION * len(burst) / max(each.last_token for each in answered)
        left = check.seconds - (time.monotonic() - begun)
        count = min(_MOST_REQUESTS, max(_FEWEST_REQUESTS, int(_FILLED * rate * left * attention)))
        trace = draw_trace(count, rate, *check.lengths)
        simulated = simulated_times(check.folder, scenario, trace)
        served = serve(loop, trace, check.seconds - (time.monotonic() - begun))
    done = [place for place, each in enumerate(served) if each is not None]
    if len(done) < _FEWEST_REQUESTS:
        raise NotDoneError(
            f"time for {len(done)} requests; fewer than {_FEWEST_REQUESTS} say little"
        )
    measured = [each for each in served if each is not None]
    return {
        "model": f"{model.name}, {model.num_hidden_layers} layers",
        "requests": len(done),
        "requests that time cut off": count - len(done),
        "rate_per_s": round(rate, 3),
        "step_overhead_us": round(overhead * 1e6, 1),
        "metrics": _compared(_metrics(measured), _metrics([simulated[each] for each in done])),
    }


class NotDoneError(Exception):
    """There was no time for the check; says for what."""


def _overhead(check: ServingCheck, loop: ServingLoop, seconds: float) -> tuple[float, float]:
    """Return the seconds that the loop adds to a step, and its share of a busy machine's time."""

    def expected(sequences: int, context: int) -> float:
        return step_sum(check.cost, StepShape(sequences, context))

    begun, clock = time.perf_counter(), loop.clock()
    steps = loop.warm(check.length, seconds, expected)
    attention = min(1.0, clock.now() / (time.perf_counter() - begun))
    if not steps:
        raise NotDoneError("no time for the steps that it would warm up with")
    gaps = [measured - expected(sequences, context) for sequences, context, measured in steps]
    return max(0.0, median(gaps)), attention


def _scenario(check: ServingCheck, step_overhead_us: float) -> dict[str, Any]:
    name, block = check.device
    costs = {"table": "table.csv", "engine": "none", "step_overhead_us": step_overhead_us}
    blocks = 2 + check.max_num_seqs * (check.length // _BLOCK + 1)
    client = {
        "model": "decoder/config.json",
        "device": name,
        "costs": costs,
        "max_num_seqs": check.max_num_seqs,
        "max_num_batched_tokens": check.max_num_batched_tokens,
        "num_gpu_blocks_override": blocks,
        "enable_prefix_caching": False,
    }
    scenario: dict[str, Any] = {
        "name": "serving-check",
        "workload": {"requests": {"trace": "hermes", "path": "serving-trace.csv"}},
        "clients": {"chat": client},
    }
    if block is not None:
        fields = block.model_dump(exclude_none=True)
        scenario["devices"] = {name: fields}
    return scenario


def simulated_times(
    folder: Path, scenario: Mapping[str, Any], trace: Sequence[Arrival]
) -> list[Served]:
    """Return when the simulation of *trace* answers each request."""
    from hermes.sim import simulate

    with (folder / "serving-trace.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("arrival_s", "prompt_tokens", "output_tokens"))
        writer.writerows((f"{each.seconds:.6f}", *each[1:]) for each in trace)
    found = simulate(build_scenario(scenario), folder).requests
    times = zip(found.arrival, found.first_token, found.last_token, trace, strict=True)
    tick = 1 / TICKS_PER_SECOND
    return [
        Served(arrival * tick, first * tick, last * tick, request.output_tokens)
        for arrival, first, last, request in times
    ]


def _metrics(served: Sequence[Served]) -> dict[str, float]:
    import numpy as np

    columns = {
        "ttft_ms": [1e3 * (each.first_token - each.arrival) for each in served],
        "tpot_ms": [
            1e3 * (each.last_token - each.first_token) / (each.output_tokens - 1) for each in served
        ],
        "e2el_ms": [1e3 * (each.last_token - each.arrival) for each in served],
    }
    found = {}
    for name, values in columns.items():
        found[f"{name}.mean"] = float(np.mean(values))
        found[f"{name}.p50"] = float(np.quantile(values, 0.5))
        found[f"{name}.p99"] = float(np.quantile(values, 0.99))
    return found


def _compared(
    measured: Mapping[str, float], simulated: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    return {
        name: {
            "measured": value,
            "simulated": simulated[name],
            "error": simulated[name] / value - 1,
        }
        for name, value in measured.items()
    }
