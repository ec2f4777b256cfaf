"""Print what compiling a cost model and asking it for a step take, in microseconds.

    python benchmarks/step_query.py [TABLE]

TABLE is one device's folder of NVIDIA's database, or any other table that Hermes reads.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hermes.catalog import find_device, find_model
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.pass_cost import PassCost
from hermes.costs.roofline import Roofline
from hermes.costs.tables import TablePass, read_calls

CASES = (("llama-3.1-8b", 1), ("llama-3.1-70b", 8), ("mixtral-8x7b", 2), ("DeepSeek-V3", 8))
QUESTIONS = 20_000


def asked(costs: CompiledStepCost) -> float:
    """Return the microseconds of one question for a mixed step."""
    questions = [
        (64, 64_000 + i, 256 + (i & 511), 1000, 256 * (1000 + i % 3000), 65)
        for i in range(QUESTIONS)
    ]
    start = time.process_time()
    for question in questions:
        costs.step_ticks(*question)
    return (time.process_time() - start) / QUESTIONS * 1e6


def show(name: str, cost: PassCost, seconds: float) -> None:
    compiled = CompiledStepCost(cost)
    cold, warm = asked(compiled), min(asked(compiled) for _ in range(5))
    print(
        f"{name:<28} compile {seconds * 1e3:6.2f} ms   first {cold:5.2f} us   then {warm:5.2f} us"
    )


def main() -> None:
    """Time the roofline, and a table where one is given."""
    device = find_device("h100")
    for name, size in CASES:
        model = find_model(name)
        start = time.process_time()
        roofline = Roofline(model, device, tensor_parallel_size=size)
        show(f"{name} roofline", roofline, time.process_time() - start)
        if len(sys.argv) > 1:
            table = read_calls(Path(sys.argv[1]), model, device, size)
            start = time.process_time()
            joined = TablePass(roofline, table, "table")
            show(f"{name} table", joined, time.process_time() - start)


if __name__ == "__main__":
    main()
