"""Measured serving runs, replayed: closed loop at concurrency C, all C at once, then one for one.

With as many places as clients and every request queued from the start, an engine schedules just as
in a closed loop: a request is seen when one before it finishes. So request number C + k arrived
when the k-th finished, and its time to first token counts from there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hermes.catalog import find_device, find_model
from hermes.costs.memory import num_gpu_blocks, resolve_dtype, resolve_kv_dtype
from hermes.costs.step import StepCost
from hermes.errors import UnknownNameError
from hermes.scenario.scenario import Scenario
from hermes.sim.deployment import resolve
from hermes.sim.simulation import simulate_deployment
from hermes.workload import Workload

__all__ = ["ServingRow", "replay", "serving_rows"]

SYSTEMS = {"h100_sxm": "h100-sxm", "h200_sxm": "h200-sxm", "b200_sxm": "b200-sxm"}
DTYPES = {"fp8": "fp8", "fp4": "nvfp4"}
ALIASES = {
    "zhipuai/GLM-5": "zai-org/GLM-5",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-ai/DeepSeek-R1",
    "nvidia/Qwen3-32B-NVFP4": "Qwen/Qwen3-32B",
}
NODE = 8
DOCUMENTED = r"db-dump|source_file=[0-9-]+\.csv; model="
MAX_BATCHED_TOKENS = 8192  # vLLM's default on devices of this size
SCENARIO = Scenario.model_validate(
    {
        "workload": {"requests": {"sample": "chat"}},
        "clients": {"c": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
    }
)


@dataclass(frozen=True)
class ServingRow:
    """One measured run."""

    documented: bool
    """Whether the load protocol is known: InferenceX, in either form of its export."""
    system: str
    model: str
    engine: str
    dtype: str
    prompt: int
    output: int
    concurrency: int
    size: int
    expert_parallel: bool
    ttft_ms: float
    tpot_ms: float

    @property
    def kv_dtype(self) -> str:
        """TensorRT-LLM caches in 8 bits where NVIDIA's quantized checkpoints say so."""
        return "fp8" if self.engine == "trtllm" and self.dtype != "auto" else "auto"

    @property
    def kind(self) -> str:
        """dense, moe or mla."""
        model = find_model(self.model)
        return "mla" if model.is_mla else "moe" if model.is_moe else "dense"


def serving_rows(path: Path) -> Iterator[ServingRow]:
    """Yield the runs of the database that one replica in one node served."""
    import pandas as pd

    table = pd.read_csv(path)
    table = table[(table["mode"] == "agg") & (table.pp_size == 1) & (table.tp_size <= NODE)]
    table = table[table.attention_dp_size.fillna(1) <= 1]
    for row in table.itertuples():
        found = re.search(r"silicon_concurrency=(\d+)", row.silicon_data_source)
        model = ALIASES.get(row.model_path, row.model_path)
        if found is None or row.system not in SYSTEMS or not _known(model):
            continue
        yield ServingRow(
            system=SYSTEMS[row.system],
            documented=re.match(DOCUMENTED, row.silicon_data_source) is not None,
            model=model,
            engine=row.backend,
            dtype="auto" if "gpt-oss" in row.model_path else DTYPES.get(row.precision, "auto"),
            prompt=int(row.isl),
            output=int(row.osl),
            concurrency=int(found.group(1)),
            size=int(row.tp_size),
            expert_parallel=row.moe_ep_size > 1,
            ttft_ms=row.silicon_ttft_ms,
            tpot_ms=row.silicon_tpot_ms,
        )


def _known(model: str) -> bool:
    try:
        find_model(model)
    except UnknownNameError:
        return False
    return True


def replay(row: ServingRow, costs: StepCost, rounds: int = 10) -> tuple[float, float]:
    """Return the mean TTFT and TPOT, in milliseconds, that the simulator finds for a run."""
    model, device = find_model(row.model), find_device(row.system)
    dtype, kv = resolve_dtype(model, row.dtype), resolve_kv_dtype(model, row.kv_dtype)
    blocks = num_gpu_blocks(device, model, dtype, kv, row.size, 16, 0.9) - 1
    places = row.concurrency
    deployment = resolve(SCENARIO)
    plan = deployment.clients[0]
    limits = dataclasses.replace(
        plan.limits,
        max_num_seqs=places,
        max_num_batched_tokens=max(MAX_BATCHED_TOKENS, places),
        num_blocks=blocks,
        max_model_len=10**7,
    )
    plan = dataclasses.replace(plan, limits=limits, costs=costs)
    deployment = dataclasses.replace(deployment, clients=(plan,))
    result = simulate_deployment(SCENARIO, deployment, _workload(row, rounds))
    columns = result.requests
    done = np.sort(columns.last_token - costs.request_ticks)  # as the engine is done with them
    seen = np.concatenate([np.zeros(places, np.int64), done[: len(done) - places]])
    ttft = (columns.first_token - seen) / 1e9
    tpot = (columns.last_token - columns.first_token) / 1e9 / (columns.output_tokens - 1)
    return float(ttft.mean()), float(tpot.mean())


def _workload(row: ServingRow, rounds: int) -> Workload:
    count = rounds * row.concurrency
    random = np.random.default_rng(0)
    zeros = np.zeros(count, np.int64)
    return Workload(
        arrival_ticks=zeros,
        prompt_tokens=random.integers(int(0.8 * row.prompt), row.prompt + 1, count),
        output_tokens=random.integers(int(0.8 * row.output), row.output + 1, count),
        pipeline=zeros,
        pipeline_names=("default",),
        source="closed loop",
    )
