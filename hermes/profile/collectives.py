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
_RUNS, _IN_A_ROW = 20, 10
_OWN_SHARE = 0.9
"""Of a group's time, after which it begins nothing new."""


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
) -> tuple[list[tuple[Point, Measurement]], str]:
    """Measure *points* within some *seconds*, shared by the sizes of groups.

    Args:
        kind: gpu or cpu.
        points: From `collective_points`.
        seconds: For all of them; processes that take longer are ended, what they had stays.
        folder: Where the processes meet and leave their results.

    Returns:
        What was measured, and why not everything was, if a group failed.
    """
    found: list[tuple[Point, Measurement]] = []
    problem = ""
    end = time.monotonic() + seconds
    sizes = sorted({each["devices"] for each in points})
    for place, size in enumerate(sizes):
        wanted = [each for each in points if each["devices"] == size]
        share = max(0.0, end - time.monotonic()) / (len(sizes) - place)
        times, why_not = _group(kind, size, wanted, share, folder)
        problem = problem or why_not
        kernel = "NCCL" if kind == "gpu" else "gloo"
        method = "cuda events over 10 calls" if kind == "gpu" else "perf_counter"
        for each, taken in zip(wanted, times, strict=False):
            found.append((each, measure(taken, kernel, f"{method}, slowest rank")))
    return found, problem


def _group(
    kind: str, size: int, points: list[Point], seconds: float, folder: Path
) -> tuple[list[list[float]], str]:
    """Return the times of the first so many *points*, and why there are no more."""
    from torch import multiprocessing

    meeting, results = folder / f"meet-{size}", folder / f"collectives-{size}.json"
    for path in (meeting, results):
        path.unlink(missing_ok=True)
    plan = [(each.operator, each["message_bytes"]) for each in points]
    deadline = time.time() + _OWN_SHARE * seconds
    arguments = (size, kind, plan, deadline, str(meeting), str(results))
    end, problem = time.monotonic() + seconds, ""
    context = multiprocessing.spawn(_worker, arguments, nprocs=size, join=False)
    try:
        while not context.join(timeout=max(0.0, end - time.monotonic())):
            if time.monotonic() >= end:
                problem = f"{size} devices did not end in {seconds:.0f} s"
                break
    except (
        multiprocessing.ProcessRaisedException,
        multiprocessing.ProcessExitedException,
    ) as error:
        problem = str(error).strip().splitlines()[-1]
    finally:
        for process in context.processes:
            if process.is_alive():
                process.kill()
            process.join()
    times = json.loads(results.read_text(encoding="utf-8")) if results.exists() else []
    for path in (meeting, results, folder / f"{results.name}.part"):
        path.unlink(missing_ok=True)
    return times, problem


def _worker(
    rank: int,
    size: int,
    kind: str,
    plan: list[tuple[str, int]],
    deadline: float,
    meeting: str,
    results: str,
) -> None:
    """Run every collective of the plan; rank 0 keeps the times of the slowest rank as they come."""
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
        device_id=torch.device(device) if kind == "gpu" else None,
    )
    found: list[list[float]] = []
    for operator, message in plan:
        late = torch.tensor([float(time.time() > deadline)], device=device)
        distributed.all_reduce(late)  # all stop together
        if late.item() > 0:
            break
        call = _collective(torch, distributed, operator, message, rank, size, device)
        timed = _device_seconds if kind == "gpu" else _host_seconds
        found.append(
            [_slowest(torch, distributed, timed, call, device) for _ in range(_RUNS + 3)][3:]
        )
        if rank == 0:
            draft = Path(results + ".part")
            draft.write_text(json.dumps(found), encoding="utf-8")
            draft.replace(results)
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


def _slowest(
    torch: Any,
    distributed: Any,
    timed: Callable[[Any, Callable[[], object]], float],
    call: Callable[[], object],
    device: str,
) -> float:
    """Return the seconds of a call on the slowest rank, after all have met."""
    distributed.barrier()
    taken = torch.tensor([timed(torch, call)], device=device)
    distributed.all_reduce(taken, op=distributed.ReduceOp.MAX)
    return float(taken.item())


def _host_seconds(torch: Any, call: Callable[[], object]) -> float:
    del torch
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _device_seconds(torch: Any, call: Callable[[], object]) -> float:
    """Return the seconds of one of several calls in a row, by the device's clock."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(_IN_A_ROW):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) * 1e-3 / _IN_A_ROW
