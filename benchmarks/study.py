"""What a study costs beside its simulations: the driver, Ray, samplers, memory.

    python benchmarks/study.py            # a few minutes
    python benchmarks/study.py --full     # 100,000 trials and slower samplers too

Prints Markdown tables. CPU times are of this process or a worker, so that other load on the machine
disturbs them less than wall times, which stand beside the load average they were taken at.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hermes.cluster import Trial, TrialSetup, run_trial
from hermes.evaluation import EvaluationSpec
from hermes.metrics import METRICS
from hermes.results import StudyFolder, trial_schema
from hermes.sim.batching.chunked import Chunked
from hermes.sweeps import Pace, load_study, run_study
from hermes.sweeps.interrupt import Interrupt
from hermes.sweeps.loop import Past, StudyLoop
from hermes.sweeps.optuna_sampler import OptunaSampler
from hermes.sweeps.progress import open_progress
from hermes.sweeps.sampler_spec import SamplerSpec
from hermes.sweeps.samplers import Finished, Outcome, qmc_sampler, random_sampler

HERE = Path(__file__).resolve().parent
CHAT = HERE.parent / "sweeps" / "scenarios" / "chat.yaml"


class Waits(Chunked):
    """Sleeps in its first step, so that a trial lasts as long as the class says.

    Not when it is made: the driver makes one too, to check the candidate.
    """

    seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._waited = False

    def form(self, engine: Any) -> Any:
        """Form a batch, the first one late."""
        if not self._waited:
            self._waited = True
            time.sleep(self.seconds)
        return super().form(engine)


class WaitsTenth(Waits):
    """A tenth of a second."""

    seconds = 0.1


class WaitsOne(Waits):
    """One second."""

    seconds = 1.0


def study_file(folder: Path, requests: int = 5, **blocks: Any) -> Path:
    """Write a study over half a million points of one small deployment."""
    study = {
        "name": "bench",
        "scenario": {
            "workload": {
                "requests": {"lengths": {"prompt": 64, "output": 8}},
                "arrivals": {"process": "poisson", "rate_per_s": 40},
                "limit": {"requests": requests},
            },
            "clients": {
                "chat": {
                    "model": "llama-3.1-8b",
                    "device": "h100-sxm",
                    "costs": {"linear": {"step_us": 4000, "token_us": 20}},
                }
            },
        },
        "space": {
            "clients.chat.device": ["h100-sxm", "a100-sxm-80", "l40s"],
            "clients.chat.max_model_len": {"int": [512, 8192]},
            "clients.chat.max_num_seqs": {"int": [1, 256], "log": True},
            "clients.chat.max_num_batched_tokens": {"int": [256, 8192], "log": True},
            "clients.chat.gpu_memory_utilization": {"float": [0.5, 0.95]},
            "workload.arrivals.rate_per_s": {"float": [1, 64], "log": True},
        },
        "objectives": {"cost_per_million_output_tokens": "minimize", "ttft_ms.p99": "minimize"},
        "constraints": {"ttft_ms.p99": "<= 500"},
        "sampler": "random",
    } | blocks
    path = folder / "study.yaml"
    path.write_text(json.dumps(study))
    return path


def throughput() -> float:
    """Trials per second through driver and Ray, and how much of the workers' time that uses.

    Returns the driver's CPU seconds a trial, for trials that are packed.
    """
    import ray

    packed = 0.0
    print("\n## Through the driver and Ray\n")
    print("| trial | workers | trials | trials/s | efficiency | driver CPU a trial |")
    print("|---|---|---|---|---|---|")
    for policy, seconds, trials in (
        ("chunked", 0.0, 2000), ("study:WaitsTenth", 0.1, 200), ("study:WaitsOne", 1.0, 24),
    ):  # fmt: skip
        for workers in (1, 2):
            count = trials * workers // 2
            start_ray(workers)
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                path = study_file(folder, set={"clients.chat.batching": policy})
                run_study(load_study(path), folder / "warm", trials=workers * 4, workers=workers,
                          quiet=True)  # fmt: skip
                cpu, wall = time.process_time(), time.perf_counter()
                run_study(load_study(path), folder / "out", trials=count, workers=workers,
                          quiet=True)  # fmt: skip
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            ray.shutdown()
            share = f"{count * seconds / workers / wall:.0%}" if seconds else "-"
            print(f"| {seconds:g} s | {workers} | {count} | {count / wall:.0f} | {share} "
                  f"| {1000 * cpu / count:.2f} ms |", flush=True)  # fmt: skip
            packed = packed if seconds else cpu / count
    return packed


def start_ray(workers: int) -> None:
    """Start a Ray whose workers find the policies of this file."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent)])
    import ray

    for name in ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_USAGE_STATS_ENABLED"):
        os.environ[name] = "0"
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False,
             logging_level="error", object_store_memory=2**28)  # fmt: skip


def candidates() -> dict[str, float]:
    """Return the CPU seconds of one more candidate in a worker that is warm."""
    found: dict[str, float] = {}
    print("\n## One candidate in a warm worker\n")
    print("| candidate | CPU, median | CPU, slowest tenth |")
    print("|---|---|---|")
    import yaml

    scenario = yaml.safe_load(CHAT.read_text())
    for told, requests, evaluation, count in (
        ("200 requests", 200, {}, 200),
        ("2,000 requests", 2000, {}, 40),
        ("2,000 requests, 5 seeds", 2000, {"replicates": 5}, 8),
        ("capacity, 2,000 requests, 1 seed", 2000, {"capacity": {}}, 12),
        ("capacity, 2,000 requests, 5 seeds", 2000, {"capacity": {}, "replicates": 5}, 6),
    ):
        judged = EvaluationSpec.model_validate(evaluation)
        setup = TrialSetup(scenario, str(CHAT.parent), None, evaluation=judged)
        spent, saved = [], []
        for number in range(count + 8):
            changes = {
                "workload.limit.requests": requests,
                "clients.chat.max_num_seqs": 64 + number,
                "clients.chat.replicas": 1 + number % 4,
                "clients.chat.max_num_batched_tokens": 1024 + 64 * (number % 8),
            }
            start = time.process_time()
            row = run_trial(setup, Trial(number, str(number), changes, 0))
            if row["status"] != "completed":
                raise SystemExit(row["error"])
            if number >= min(8, count):
                spent.append(time.process_time() - start)
                saved.append(row.get("evaluation_saved", 0.0))
        found[told] = statistics.median(spent)
        tail = sorted(spent)[int(0.9 * len(spent))]
        print(f"| {told} | {1000 * statistics.median(spent):.1f} ms | {1000 * tail:.1f} ms |")
        if evaluation.get("capacity") is not None:
            print(f"| ... of the requests, early stops saved | {statistics.mean(saved):.0%} | |")
    return found


def asks(full: bool) -> dict[str, float]:
    """Return the CPU seconds of one proposal after 10,000 trials."""
    found: dict[str, float] = {}
    print("\n## Proposals: ask and tell, CPU\n")
    sizes = (1000, 10_000)
    print("| sampler | " + " | ".join(f"after {size:,}" for size in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    with tempfile.TemporaryDirectory() as name:
        study = load_study(study_file(Path(name)))
    space, objectives = study.space, study.spec.objectives
    for kind in ("random", "qmc", "nsga2", "nsga3", "tpe"):
        cells = []
        for size in sizes:
            past = []
            for number in range(size):
                point = space.drawn(1, number)
                values = list(point.values())
                good = Outcome((float(values[1]), 1.0 / values[2]), {"limit": values[5] - 50})
                past.append(Finished(number, point, good))
            done = frozenset(range(size))
            if kind == "random":
                sampler: Any = random_sampler(space, 0, done)
            elif kind == "qmc":
                sampler = qmc_sampler(space, 0, done)
            else:
                sampler = OptunaSampler(space, SamplerSpec(name=kind), objectives, 0, past)
            rounds = 5 if kind == "tpe" and not full else 100
            sampler.ask()  # a genetic sampler ranks its last generation here, once
            start = time.process_time()
            for _ in range(rounds):
                sampler.tell(sampler.ask(), past[0].outcome)
            found[kind] = (time.process_time() - start) / rounds
            cells.append(f"{1000 * found[kind]:.2f} ms")
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)
    return found


class Instantly:
    """An executor whose trials take no time: what is left is the driver."""

    width = 1000

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row
        self._queue: list[Trial] = []

    def wanted(self) -> int:
        """Ask for thousands at once, as a large cluster does."""
        return 3000 - len(self._queue)

    def submit(self, trials: Any) -> None:
        """Queue them."""
        self._queue.extend(trials)

    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        """Finish a thousand."""
        del timeout_s
        taken, self._queue = self._queue[:1000], self._queue[1000:]
        return [self._row | {"trial_key": t.key, "number": t.number} for t in taken]

    def close(self) -> None:
        """Nothing runs."""


def drive(trials: int) -> None:
    """Run the driver alone over so many trials; print what it took as JSON."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        study = load_study(study_file(path))
        row = run_trial(TrialSetup(study.scenario), Trial(0, "0", {}, 0))
        schema = trial_schema(study.space.types(), tuple(METRICS))
        sampler = random_sampler(study.space, 0, frozenset())
        before = resident()
        cpu, wall = time.process_time(), time.perf_counter()
        with StudyFolder(path / "out") as folder, Interrupt() as interrupt:
            past = Past((), {})
            loop = StudyLoop(study, folder, schema, sampler, Instantly(row), past, Pace())
            loop.run(trials, interrupt, open_progress(trials, 0, quiet=True))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        after = resident()
        size = sum(file.stat().st_size for file in (path / "out" / "trials").iterdir())
        start = time.process_time()
        with StudyFolder(path / "out") as folder:
            rows = folder.read_rows(schema).table.num_rows
        resume = time.process_time() - start
    print(json.dumps({
        "trials": rows, "cpu": cpu, "wall": wall, "before": before, "after": after,
        "bytes": size, "resume": resume,
    }))  # fmt: skip


def resident() -> float:
    """Return this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def driver(full: bool) -> None:
    """The driver alone, its memory and its files, by the size of the study."""
    print("\n## The driver alone: trials that take no time\n")
    print("| trials | CPU a trial | trials/s of one core | memory | files a trial | read back |")
    print("|---|---|---|---|---|---|")
    for trials in (1000, 10_000, *((100_000,) if full else ())):
        said = subprocess.run([sys.executable, __file__, "--drive", str(trials)], check=True,
                              capture_output=True, text=True)  # fmt: skip
        one = json.loads(said.stdout)
        print(f"| {trials:,} | {1000 * one['cpu'] / trials:.2f} ms | {trials / one['cpu']:.0f} | "
              f"{one['before']:.0f} -> {one['after']:.0f} MB | {one['bytes'] / trials:.0f} B | "
              f"{one['resume']:.1f} s CPU |", flush=True)  # fmt: skip


def cluster(spent: dict[str, float], driver_s: float, ask_s: dict[str, float]) -> None:
    """Compute from the above how many workers one driver keeps busy, per kind of trial."""
    print("\n## Workers that one driver keeps busy, computed\n")
    kinds = ("random", "nsga2", "tpe")
    print("| trial | CPU | " + " | ".join(kinds) + " |\n|---|---|" + "---|" * len(kinds))
    for told, seconds in spent.items():
        cells = [f"{seconds / (driver_s + ask_s[kind] - ask_s['random']):,.0f}" for kind in kinds]
        print(f"| {told} | {1000 * seconds:.0f} ms | " + " | ".join(cells) + " |")


def everything(full: bool) -> None:
    """Print all sections."""
    spent = candidates()
    driver(full)
    ask_s = asks(full)
    cluster(spent, throughput(), ask_s)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--drive", type=int)
    given = parser.parse_args()
    if given.drive:
        drive(given.drive)
    else:
        print(f"# Studies, on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
        everything(given.full)
        print(f"\nload average at the end: {os.getloadavg()[0]:.1f}")
