"""`python -m tests.conformance.record [CASE ...]`: record the named cases, or all of them."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tests.conformance.record.drawn import FEATURES, drawn
from tests.conformance.record.window_cases import CASES
from tests.conformance.recording import FOLDER, Recording


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.record", description=__doc__)
    parser.add_argument("case", nargs="*", help="names of cases; default: all")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the recordings")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument(
        "--drawn", type=int, metavar="COUNT", help="random cases instead; with --out"
    )
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first")
    parser.add_argument("--features", default=",".join(FEATURES), help="of random cases")
    options = parser.parse_args()
    cases = {case.name: case for case in CASES}
    if options.drawn:
        if options.out == FOLDER:
            parser.error("--drawn needs --out: random cases are not kept among the recordings")
        numbers = range(options.first, options.first + options.drawn)
        chosen = [drawn(number, tuple(options.features.split(","))) for number in numbers]
        cases = {case.name: case for case in chosen}
    if unknown := [name for name in options.case if name not in cases]:
        parser.error(f"no such case: {', '.join(unknown)}; cases: {', '.join(sorted(cases))}")
    if options.list:
        sys.stdout.writelines(f"{case.name:32} {case.about}\n" for case in CASES)
        return
    logging.disable(logging.WARNING)  # advice on the speed of a model that is not there
    from tests.conformance.record.driver import EndlessError, record  # loads vLLM

    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.case or cases:
        before = options.out / f"{name}.json.gz"
        old = Recording.read(before) if before.is_file() else None
        try:
            new = record(cases[name])
        except EndlessError:
            sys.stdout.write(f"{name:32} never ends; not recorded\n")
            continue
        path = new.write(options.out)
        sys.stdout.write(
            f"{name:32} {len(new.steps):5} steps {sum(new.preemptions):4} preemptions "
            f"{path.stat().st_size / 1024:7.1f} kB  {_change(old, new)}\n"
        )


def _change(old: Recording | None, new: Recording) -> str:
    """Say in what the recording differs from the one it replaces."""
    if old is None:
        return "new"
    if (old.case.requests, old.case.options, old.case.cost) != (
        new.case.requests,
        new.case.options,
        new.case.cost,
    ):
        return "another case than before"
    for index, (was, is_now) in enumerate(zip(old.steps, new.steps, strict=False)):
        if was != is_now:
            return f"MOVED at step {index} (was {old.engine['version']}): {was} -> {is_now}"
    return "same" if len(old.steps) == len(new.steps) else "MOVED: another number of steps"


if __name__ == "__main__":
    main()
