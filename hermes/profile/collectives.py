"""All-reduce, all-to-all and send-receive between the devices of one machine.

A process a device, as PyTorch's collectives want it; NCCL between GPUs, gloo elsewhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hermes.profile.grid import coarse_first, powers
from hermes.profile.point import Measurement, Point, measure, point

__all__ = ["collective_points", "measure_collectives"]

_OPERATORS = ("allreduce", "alltoall", "send_recv")
_RUNS = 20


def collective_points(devices: int, most_bytes: int) -> list[Point]:
    """Return the collectives of 2, 4, ... devices by size, the ends of the sizes first."""
    groups = [size for size in powers(2, devices) if size <= devices]
    return [
        point(operator, "bf16", bus="", devices=size, message_bytes=message)
        for _, message in coarse_first(powers(2**12, most_bytes))
        for size in groups
        for operator in _OPERATORS
        if operator != "send_recv" or size == 2
    ]


def measure_collectives(
    kind: str, points: list[Point], seconds: float, folder: Path
) -> list[tuple[Point, Measurement]]:
    """Measure *points* within some *seconds*, shared by the sizes of groups.

    Args:
        kind: gpu or cpu.
        points: From `collective_points`.
        seconds: For all of them.
        folder: Where the processes meet and leave their results.
    """
    from torch import multiprocessing

    found: list[tuple[Point, Measurement]] = []
    sizes = sorted({each["devices"] for each in points})
    for size in sizes:
        wanted = [each for each in points if each["devices"] == size]
        meeting, results = folder / f"meet-{size}", folder / f"collectives-{size}.json"
        for path in (meeting, results):
            path.unlink(missing_ok=True)
        plan = [(each.operator, each["message_bytes"]) for each in wanted]
        arguments = (size, kind, plan, seconds / len(sizes), str(meeting), str(results))
        multiprocessing.spawn(_worker, arguments, nprocs=size)
        times = json.loads(results.read_text(encoding="utf-8"))
        for path in (meeting, results):
            path.unlink(missing_ok=True)
        kernel = "NCCL" if kind == "gpu" else "gloo"
        for each, taken in zip(wanted, times, strict=False):
            found.append((each, measure(taken, kernel, "perf_counter, slowest rank")))
    return found


def _worker(
    rank: int,
    size: int,
    kind: str,
    plan: list[tuple[str, int]],
    seconds: float,
    meeting: str,
    results: str,
) -> None:
    """Run every collective of the plan; rank 0 writes the times of the slowest rank."""
    import torch
    from torch import distributed

    device = f"cuda:{rank}" if kind == "gpu" else "cpu"
    if kind == "gpu":
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if kind == "gpu" else "gloo",
        init_method=f"file://{meeting}",
        world_size=size,
        rank=rank,
    )
    end = time.perf_counter() + seconds
    found: list[list[float]] = []
    for operator, message in plan:
        late = torch.tensor([float(time.perf_counter() > end)], device=device)
        distributed.all_reduce(late)  # all stop together
        if late.item() > 0:
            break
        call = _collective(torch, distributed, operator, message, rank, size, device)
        found.append([_timed(torch, distributed, call, device) for _ in range(_RUNS + 3)][3:])
    if rank == 0:
        Path(results).write_text(json.dumps(found), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


def _collective(
    torch: Any, distributed: Any, operator: str, message: int, rank: int, size: int, device: str
) -> Callable[[], object]:
    values = torch.ones(max(size, message // 2) // size * size, dtype=torch.bfloat16, device=device)
    if operator == "allreduce":
        return lambda: distributed.all_reduce(values)
    if operator == "alltoall":
        target = torch.empty_like(values)
        return lambda: distributed.all_to_all_single(target, values)
    if rank == 0:
        return lambda: distributed.send(values, 1)
    return lambda: distributed.recv(values, 0)


def _timed(torch: Any, distributed: Any, call: Callable[[], object], device: str) -> float:
    distributed.barrier()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    taken = torch.tensor([time.perf_counter() - begun], device=device)
    distributed.all_reduce(taken, op=distributed.ReduceOp.MAX)
    return float(taken.item())
