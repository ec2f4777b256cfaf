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
from hermes.profile.operators.operands import Operands
from hermes.profile.serving import Arrival, Served, ServingLoop, serve
from hermes.profile.steps import StepShape, step_sum
from hermes.scenario.device import DeviceSpec
from hermes.scenario.loading import build_scenario

__all__ = ["ServingCheck", "check_serving", "draw_trace", "write_config"]

_UTILISATION = 0.6
_MOST_REQUESTS, _FEWEST_REQUESTS = 400, 5
_BLOCK = 16


def write_config(path: Path, model: Model) -> None:
    """Write a dense *model* as a Hugging Face `config.json`, so that a scenario can name it."""
    names = (
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


def check_serving(check: ServingCheck, model: Model, operands: Operands) -> dict[str, Any]:
    """Serve a trace, simulate it, and compare.

    The time that the loop adds to a step is measured before, on decodes. The rate is 0.6 of what
    the simulation says the deployment can do.
    """
    write_config(check.folder / "decoder" / "config.json", model)
    decoder = Decoder(model, operands, 2 * check.max_num_seqs, check.length)
    with operands.torch.inference_mode():
        loop = ServingLoop(decoder, check.max_num_seqs, check.max_num_batched_tokens)
        begun, clock = time.perf_counter(), loop.clock()
        gaps = [
            seconds - step_sum(check.cost, StepShape(sequences, context))
            for sequences, context, seconds in loop.warm(check.length)
        ]
        warm = time.perf_counter() - begun
        attention = min(1.0, clock.now() / warm)  # that a busy machine gives to the loop
        overhead = max(0.0, median(gaps))
        scenario = _scenario(check, overhead * 1e6)
        burst = draw_trace(4 * check.max_num_seqs, 1e6, *check.lengths)
        capacity = len(burst) / _simulated(check.folder, scenario, burst)["duration_s"]
        rate = _UTILISATION * capacity
        count = max(
            _FEWEST_REQUESTS, min(_MOST_REQUESTS, int(rate * (check.seconds - warm) * attention))
        )
        trace = draw_trace(count, rate, *check.lengths)
        simulated = _simulated(check.folder, scenario, trace)
        served = serve(loop, trace)
    return {
        "requests": count,
        "rate_per_s": round(rate, 3),
        "step_overhead_us": round(overhead * 1e6, 1),
        "metrics": _compared(_measured(served), simulated),
    }


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


def _simulated(
    folder: Path, scenario: Mapping[str, Any], trace: Sequence[Arrival]
) -> dict[str, float]:
    """Return the summary of simulating *trace*; numbers only."""
    from hermes.sim import simulate

    with (folder / "serving-trace.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("arrival_s", "prompt_tokens", "output_tokens"))
        writer.writerows((f"{each.seconds:.6f}", *each[1:]) for each in trace)
    summary = simulate(build_scenario(scenario), folder).summary
    return {name: value for name, value in summary.items() if isinstance(value, (int, float))}


def _measured(served: Sequence[Served]) -> dict[str, float]:
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
