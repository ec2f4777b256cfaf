"""Do the tests of studies notice anything? Bugs are planted, one at a time, and have to be found.

Each mutant is one change of the package that a hurried hand could make. A copy of the repository
gets it, and the tests named beside it have to fail there. A battery that no planted bug can fail
is decoration.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CRASH, FOLDER = "results/test_crash_points.py", "results/test_study_folder.py"
TWO, STORE = "results/test_two_drivers.py", "results/test_object_store.py"
RUN, SCHEDULES = "sweeps/test_run.py", "sweeps/test_schedules.py"


@dataclass(frozen=True)
class Mutant:
    what: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    # --- Files ---
    Mutant("skips fsync", "results/files.py", "            files.sync(descriptor)\n", "", CRASH),
    Mutant(
        "a short write is a whole one",
        "results/files.py",
        "        rest = rest[taken:]",
        "        rest = rest[:0]",
        FOLDER,
    ),
    Mutant(
        "writes in place",
        "results/files.py",
        'draft = path.with_name(f".{path.name}.tmp")',
        "draft = path",
        CRASH,
    ),
    Mutant(
        "leaves drafts", "results/local_place.py", "            self._remove_drafts()\n", "", CRASH
    ),
    Mutant(
        "follows links",
        "results/files.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
        "test_security.py::test_a_link_in_the_place_of_study_json_is_not_followed",
    ),
    Mutant(
        "no lock",
        "results/files.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        TWO,
    ),
    Mutant(
        "swallows an I/O error",
        "results/files.py",
        "        _discard(files, draft)\n        raise\n\n\ndef replace_file",
        "        _discard(files, draft)\n\n\ndef replace_file",
        CRASH,
    ),
    # --- Parts ---
    Mutant(
        "ignores the digest",
        "results/parts.py",
        "if PartName.of(name.number, content) != name:",
        "if False:",
        FOLDER,
    ),
    Mutant(
        "counts a trial twice",
        "results/parts.py",
        "    if len(kept) < len(keys):\n",
        "    if False:\n",
        FOLDER,
    ),
    Mutant(
        "trusts a row that differs",
        "results/parts.py",
        "if _bits(before) != _bits(after):",
        "if False:",
        FOLDER,
    ),
    Mutant(
        "takes another study's part",
        "results/parts.py",
        "if study_key and owner and owner != study_key:",
        "if False:",
        FOLDER,
    ),
    Mutant(
        "reads a newer schema",
        "results/parts.py",
        "if int(number) > SCHEMA_VERSION:",
        "if False:",
        FOLDER,
    ),
    Mutant(
        "merges by removing first",
        "results/study_folder.py",
        '            self.place.publish(f"{TRIALS}/{merged.file}", content)\n'
        "            self._rows[merged] = table.num_rows\n"
        "            for name in small:\n"
        "                del self._rows[name]\n"
        "            self.place.remove(TRIALS, [name.file for name in small])",
        "            self.place.remove(TRIALS, [name.file for name in small])\n"
        '            self.place.publish(f"{TRIALS}/{merged.file}", content)',
        CRASH,
    ),
    Mutant(
        "accepts another question",
        "results/study_folder.py",
        'if held.get("study_key") == wanted.get("study_key"):',
        "if True:",
        FOLDER,
    ),
    Mutant(
        "hides an unknown column",
        "results/schema.py",
        "            if name not in known:",
        "            if False:",
        "results/test_schema.py",
    ),
    Mutant(
        "takes true for one",
        "results/schema.py",
        "if isinstance(value, int) and not isinstance(value, bool):",
        "if isinstance(value, int):",
        "results/test_schema.py",
    ),
    # --- Leases ---
    Mutant(
        "a lease nobody respects",
        "results/lease.py",
        "if age < self._times.lost_s:",
        "if False:",
        STORE,
    ),
    Mutant(
        "a lease that is never lost",
        "results/lease.py",
        "if over or mine is None:",
        "if False:",
        STORE,
    ),
    Mutant(
        "writes without a look at the lease",
        "results/object_place.py",
        "            self._lease.require()",
        "            pass",
        STORE,
    ),
    # --- The loop ---
    Mutant(
        "drops the last batch",
        "sweeps/loop.py",
        "        finally:\n            self._write()\n",
        "        finally:\n",
        RUN,
    ),
    Mutant(
        "takes late copies for rows",
        "sweeps/loop.py",
        "            return  # a second copy of a row that is settled",
        "            under_way = _Open({}, [])",
        SCHEDULES,
    ),
    Mutant(
        "runs again what is known",
        "sweeps/loop.py",
        'self._known[str(row["trial_key"])] = outcome_of(study, row)\n            self._count(row)',
        "self._count(row)",
        RUN,
    ),
    Mutant(
        "goes on without being asked",
        "sweeps/run.py",
        "if held is not None and not resume:",
        "if False:",
        RUN,
    ),
    Mutant("mixes into any folder", "sweeps/run.py", "    _refuse_foreign(place)\n", "", RUN),
    Mutant(
        "a limit the wrong way round",
        "sweeps/constraint.py",
        'if self.sign == "<="',
        'if self.sign == ">="',
        "sweeps/test_constraint.py",
    ),
    Mutant(
        "no value meets any limit",
        "sweeps/constraint.py",
        "            return 1.0",
        "            return 0.0",
        "sweeps/test_constraint.py",
    ),
    Mutant(
        "a key without the files' content",
        "sweeps/key.py",
        "{file.name: file.digest for file in files}",
        "{file.name: '' for file in files}",
        "sweeps/test_load_study.py",
    ),
    Mutant(
        "a second Ctrl-C waits",
        "sweeps/interrupt.py",
        "            os._exit(_BASE + number)",
        "            return",
        "sweeps/test_interrupted_driver.py",
    ),
    # --- The pool ---
    Mutant(
        "forgets a lost pack",
        "cluster/pool.py",
        "            self._alone.extend(task.trials)\n            return []",
        "            return []",
        SCHEDULES,
    ),
    Mutant(
        "never tries again",
        "cluster/pool.py",
        "if trial.attempt < attempts:",
        "if False:",
        SCHEDULES,
    ),
    Mutant(
        "tries for ever", "cluster/pool.py", "if trial.attempt < attempts:", "if True:", SCHEDULES
    ),
    Mutant(
        "forgets what a pack had no time for",
        "cluster/pool.py",
        "        self._fresh.extendleft(reversed(task.trials[len(rows) :]))\n",
        "",
        SCHEDULES,
    ),
    Mutant(
        "no deadline", "cluster/pool.py", "        rows += self._end_overdue()\n", "", SCHEDULES
    ),
    Mutant(
        "waits for a lost node",
        "cluster/pool.py",
        "        rows += self._leave_lost_nodes()\n",
        "",
        SCHEDULES,
    ),
    Mutant(
        "lets Ray retry",
        "cluster/pool.py",
        "ray.remote(num_cpus=1, max_retries=0)(run_pack)",
        "ray.remote(num_cpus=1, max_retries=3)(run_pack)",
        SCHEDULES,
    ),
    # --- Trials ---
    Mutant(
        "a failure is a success",
        "cluster/trial.py",
        '_failed("failed", type(error).__name__',
        '_failed("completed", type(error).__name__',
        RUN,
    ),
    Mutant(
        "a duration by the wall clock",
        "cluster/trial.py",
        "time.perf_counter()",
        "time.time()",
        "sweeps/test_clocks.py",
    ),
    Mutant(
        "a token for all to read",
        "cluster/token.py",
        "        os.link(draft, path)",
        "        os.chmod(draft, 0o644)\n        os.link(draft, path)",
        "cluster/test_listeners.py",
    ),
    # --- Statistics ---
    Mutant(
        "a normal quantile for Student's",
        "evaluation/statistics.py",
        "        return _T[freedom - 1]",
        "        return _Z",
        "evaluation",
    ),
]


_MOST_BYTES = 12 << 30  # of addresses


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of what the tests need, to plant bugs in."""
    home = tmp_path_factory.mktemp("mutants")
    for name in ("hermes", "tests", "sweeps", "cluster"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", home)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_planted_bug_is_found(copy: Path, mutant: Mutant) -> None:
    path = copy / "hermes" / mutant.file
    whole = path.read_text("utf-8")
    assert mutant.old in whole, "the place of this mutant has changed: plant it anew"
    path.write_text(whole.replace(mutant.old, mutant.new), "utf-8")
    try:
        assert fails(copy, mutant.tests), f"nobody noticed: {mutant.what}"
    finally:
        path.write_text(whole, "utf-8")


def fails(copy: Path, tests: str) -> bool:
    """Return whether tests fail; that they run at all is part of it."""
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
         "-m", "not slow and not ray", f"tests/{tests}"],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True,
        check=False, timeout=600, preexec_fn=_bounded,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout[-2000:]
    return done.returncode == 1


def _bounded() -> None:
    """Keep a bug that never stops taking memory from taking all of it."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
