"""A recording through Hermes' engine: the scenario a user would write, and what came of it."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hermes.costs.kv_groups import KvGroups
from hermes.errors import InputError
from hermes.scenario.loading import build_scenario
from hermes.sim.deployment import Deployment, resolve
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.limits import most_window_blocks
from hermes.sim.replica import Replica
from hermes.sim.sequence import Sequence
from hermes.sim.simulation import simulate_deployment
from hermes.workload import Prefixes, Workload, build_workload
from tests.conformance.pool_replay import Pool
from tests.conformance.recording import Recording

TICKS_PER_NS = 1000

NAMES = {"policy": "scheduling_policy"}
"""Options that a scenario calls otherwise: vLLM's command line does, too."""

ROLE = "kv_role"
"""What a pool's replica does with KV; a scenario says it by `serves`, and needs both pools."""

_INSTANT: dict[str, Any] = {
    "name": "instant-host",
    "fields": {
        "peak_tflops": {"bf16": 1000},
        "memory_gb": 80,
        "memory_bandwidth_gb_per_s": 3000,
        "host_bandwidth_gb_per_s": 1e12,
    },
}
"""A device that adapters are loaded onto in no time: recordings know no loads."""


GROUPS = "kv_groups"
"""Groups of layers (full, with a window, its tokens); in a scenario the model has them."""


@dataclass
class Replay:
    """What Hermes did, in ticks: each step's start and tokens by request, and what came of it.

    The steps stay empty when they were fast-forwarded, the first tokens where others sample them.
    """

    steps: list[tuple[int, dict[int, int]]] = field(default_factory=list)
    number_of_steps: int = 0
    first_token: list[int] = field(default_factory=list)
    last_token: list[int] = field(default_factory=list)
    preemptions: list[int] = field(default_factory=list)


def scenario_mapping(recording: Recording, folder: Path, batching: str) -> dict[str, Any]:
    """Return the scenario of a recording; its trace is written to `folder`."""
    case = recording.case
    options = {
        NAMES.get(name, name): value
        for name, value in case.options.items()
        if name not in {ROLE, GROUPS}
    }
    if case.options.get(GROUPS):
        del options["max_model_len"]  # more than one group could hold; set with the groups
    drafts = options.pop("num_speculative_tokens")
    if drafts:
        options["speculative_config"] = {
            "num_speculative_tokens": drafts,
            "acceptance_rate": 0.5,  # unused: what is accepted is part of the recording
            "mode": "sampled",
        }
    device = "h100-sxm"
    if "max_loras" in options:
        options["enable_lora"] = True
        device = _INSTANT["name"]
    cost = case.cost
    return {
        "name": case.name,
        "workload": {"requests": {"trace": "hermes", "path": _write_trace(recording, folder).name}},
        "clients": {
            "engine": {
                "model": "llama-3.1-8b",
                "device": device,
                "batching": batching,
                "costs": {
                    "linear": {
                        "step_us": float(cost.step_us),
                        "token_us": float(cost.token_us),
                        "context_token_ns": float(cost.context_token_ns),
                    }
                },
                **options,
            }
        },
        "devices": {_INSTANT["name"]: _INSTANT["fields"]},
    }


def replay(
    recording: Recording, folder: Path, fast_forward: bool, batching: str = "chunked"
) -> Replay:
    """Run a recording's scenario; batches are noted one by one when nothing is fast-forwarded."""
    scenario = build_scenario(scenario_mapping(recording, folder, batching))
    deployment = _with_groups(resolve(scenario, folder), recording)
    workload = build_workload(scenario.workload, tuple(scenario.pipelines), scenario.seed, folder)
    workload = _with_more_columns(workload, recording)
    outcome = Replay()

    def watch(replica: Replica, start: int, batch: Batch) -> None:
        outcome.steps.append((start, _tokens(replica.engine, batch)))

    observer = None if fast_forward else watch
    client = deployment.clients[0]
    if recording.case.options[ROLE]:
        if "prefill" not in client.batching.serves:
            raise InputError(f"batching {batching!r} serves whole requests, no pools")
        pool = Pool(recording, client, fast_forward, observer)
        outcome.number_of_steps = pool.run().steps
        outcome.first_token, outcome.last_token = pool.first_token, pool.last_token
        outcome.preemptions = pool.preemptions
        return outcome
    if client.speculation:
        planned = replace(client.speculation, acceptance=lambda rng: PlannedAcceptance(recording))
        deployment = replace(deployment, clients=(replace(client, speculation=planned),))
    result = simulate_deployment(scenario, deployment, workload, fast_forward, observer=observer)
    columns = result.requests
    outcome.number_of_steps = int(str(result.summary["steps"]))
    outcome.first_token = columns.first_token.tolist()
    outcome.last_token = columns.last_token.tolist()
    outcome.preemptions = columns.preemptions.tolist()
    return outcome


def _with_groups(deployment: Deployment, recording: Recording) -> Deployment:
    """Return a deployment whose model has the recorded groups of layers."""
    options = recording.case.options
    if not options.get(GROUPS):
        return deployment
    full, sliding, window = options[GROUPS]
    client = deployment.clients[0]
    most = most_window_blocks(
        window, options["max_num_batched_tokens"], options["max_model_len"], options["block_size"]
    )
    limits = replace(
        client.limits,
        kv_groups=KvGroups(full, sliding, window, layers=1),
        window_blocks=most,
        max_model_len=options["max_model_len"],
    )
    return replace(deployment, clients=(replace(client, limits=limits),))


class PlannedAcceptance:
    """As many drafts are accepted as a recording says, of each verification in turn."""

    def __init__(self, recording: Recording) -> None:
        self._plans = [request.accepted_drafts or (0,) for request in recording.case.requests]
        self._verified = [0] * len(self._plans)

    def accepted(self, sequence: Sequence, drafts: int) -> int:
        plan, turn = self._plans[sequence.request_id], self._verified[sequence.request_id]
        self._verified[sequence.request_id] += 1
        return min(drafts, plan[turn % len(plan)])


def _write_trace(recording: Recording, folder: Path) -> Path:
    path = folder / f"{recording.case.name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("arrival_ns", "prompt_tokens", "output_tokens"))
        writer.writerows(
            (r.arrival_ns, r.prompt_tokens, r.output_tokens) for r in recording.case.requests
        )
    return path


def _with_more_columns(workload: Workload, recording: Recording) -> Workload:
    """Return the workload with what a trace of the plain layout does not say."""
    requests = recording.case.requests
    adapters = np.array([request.adapter for request in requests], np.int64)
    return replace(
        workload,
        attributes={"adapter": adapters} if (adapters >= 0).any() else {},
        priority=np.array([request.priority for request in requests], np.int64),
        prefixes=Prefixes(
            recording.case.options["block_size"], tuple(request.blocks for request in requests)
        ),
    )


def _tokens(engine: Engine, batch: Batch) -> dict[int, int]:
    tokens = {sequence.request_id: sequence.granted for sequence, _ in batch.prefills}
    for sequence in engine.decoding.sequences():
        tokens[sequence.request_id] = sequence.granted if engine.limits.num_drafts else 1
    return {request: given for request, given in tokens.items() if given}
