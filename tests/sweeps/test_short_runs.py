"""Multi-fidelity: short runs first, the same answers for any order of finishing, nothing twice."""

import contextlib
import random

import pytest

from hermes.cluster import InProcessExecutor
from hermes.errors import InputError
from hermes.results import open_study, read_trials
from hermes.scenario.loading import build_scenario
from hermes.sweeps import run as run_module
from hermes.workload import build_workload
from tests.sweeps.drivers import parts, start, wait_until
from tests.sweeps.small_study import STUDY, digest, loaded, rows_of, run_here, written

SPACE = {
    "clients.chat.device": ["h100-sxm", "l40s"],
    "clients.chat.max_num_seqs": [1, 2, 4, 8],
    "clients.chat.replicas": [1, 2, 3],
    "workload.arrivals.rate_per_s": [20, 40, 60],
}  # 72 points
PRUNED = {
    "space": SPACE,
    "objectives": {"cost_per_million_output_tokens": "minimize"},
    "sampler": "grid",
    "pruner": {"successive_halving": {"first_share": 0.2, "reduction_factor": 3, "cohort": 24}},
}


class Unordered(InProcessExecutor):
    """Stands for many workers: takes many trials, finishes them in any order, some at a time."""

    def __init__(self, setup, seed, width):
        super().__init__(setup)
        self._random = random.Random(seed)
        self._width = width

    @property
    def width(self):
        return self._width

    def wanted(self):
        return 3 * self._width - len(self._queue)

    def wait(self, timeout_s):
        some = self._random.randint(1, self._width)
        rows = []
        for _ in range(min(some, len(self._queue))):
            self._queue.rotate(self._random.randrange(len(self._queue)))
            rows += super().wait(timeout_s)
        return rows


def run_unordered(monkeypatch, seed, width, *args, **options):
    @contextlib.contextmanager
    def executor(study, options):
        made = []
        with monkeypatch.context() as patch:
            patch.setattr(
                run_module,
                "InProcessExecutor",
                lambda setup: made.append(Unordered(setup, seed, width)) or made[0],
            )
            with original(study, options) as inner:
                yield inner  # fmt: skip

    original = run_module._executor
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_executor", executor)
        return run_here(*args, **options)


@pytest.mark.parametrize(
    ("pruner", "sampler"),
    [("successive_halving", "grid"), ("median", "random"), ("hyperband", "tpe"),
     *(pytest.param(p, s, marks=pytest.mark.slow)
       for p in ("successive_halving", "median", "hyperband") for s in ("grid", "random", "tpe"))],
)  # fmt: skip
def test_any_number_of_workers_in_any_order_gives_the_same_rows(
    tmp_path, monkeypatch, pruner, sampler
):
    changes = PRUNED | {"sampler": sampler, "trials": 60}
    changes["pruner"] = {pruner: PRUNED["pruner"]["successive_halving"]}
    outcome = run_here(loaded(tmp_path, **changes), tmp_path / "one")
    assert outcome.counts["pruned"] >= 5
    assert sum(outcome.counts.values()) == 60
    for seed, width in ((1, 2), (2, 7), (3, 40)):
        out = tmp_path / f"{width}"
        run_unordered(monkeypatch, seed, width, loaded(tmp_path, **changes), out)
        assert digest(out) == digest(tmp_path / "one")


def test_survivors_are_what_they_would_be_without_a_pruner_and_the_best_is_among_them(tmp_path):
    run_here(loaded(tmp_path, **PRUNED), tmp_path / "pruned")
    run_here(loaded(tmp_path, **PRUNED | {"pruner": None}), tmp_path / "whole")
    pruned = {row["trial_key"]: row for row in rows_of(tmp_path / "pruned")}
    whole = {row["trial_key"]: row for row in rows_of(tmp_path / "whole")}
    assert pruned.keys() == whole.keys()
    for key, row in pruned.items():
        if row["status"] == "completed":
            same = {name: row[name] for name in whole[key]}
            assert repr(same) == repr(whole[key])
    kept = [row for row in pruned.values() if row["status"] == "completed"]
    value = "cost_per_million_output_tokens"
    best = min((row for row in whole.values() if row["feasible"]), key=lambda row: row[value])
    assert best["trial_key"] in {row["trial_key"] for row in kept}
    assert len(kept) < len(whole) / 2


def test_a_pruned_trial_is_a_row_that_says_why_and_what_was_simulated(tmp_path, capfd):
    study = loaded(tmp_path, **PRUNED)
    run_here(study, tmp_path / "out", quiet=False)
    rows = read_trials(tmp_path / "out").set_index("number")
    pruned = rows[rows["status"] == "pruned"]
    completed = rows[rows["status"] == "completed"]
    assert (
        pruned["error"]
        .str.fullmatch(
            r"stopped by successive_halving after 0\.[26] of its requests, with "
            r"(cost_per_million_output_tokens [0-9.e+]+|a limit missed)"
        )
        .all()
    )
    assert set(pruned["error_type"]) == {"TrialPrunedError"}
    assert pruned["cost_per_million_output_tokens"].isna().all()
    assert pruned["pruner_rung.0"].notna().all()
    assert set(pruned["pruner_simulated"].round(9)) <= {0.2, 0.8}
    assert set(completed["pruner_simulated"].round(9)) == {1.8}
    saved = 1 - rows["pruner_simulated"].sum() / len(rows)
    said = f"stopped {len(pruned)} of 72 trials early; {saved:.0%} of the requests were not"
    assert said in capfd.readouterr().err
    assert open_study(tmp_path / "out")["pruner"]["name"] == "successive_halving"


def test_who_misses_a_limit_goes_behind_who_meets_all(tmp_path):
    changes = PRUNED | {"constraints": {"ttft_ms.p99": "<= 60"}}
    run_here(loaded(tmp_path, **changes), tmp_path / "out")
    run_here(loaded(tmp_path, **changes | {"pruner": None}), tmp_path / "whole")
    best = [rows[rows["feasible"].eq(True)]["cost_per_million_output_tokens"].min()
            for rows in map(read_trials, (tmp_path / "out", tmp_path / "whole"))]  # fmt: skip
    assert best[0] == best[1], "cheap ones that are too slow would have driven it out"


@pytest.mark.parametrize(
    "cut", [13, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 29, 51))]
)
def test_an_interrupted_study_is_judged_as_an_undisturbed_one(tmp_path, monkeypatch, cut):
    study, out = loaded(tmp_path, **PRUNED), tmp_path / "out"
    run_here(study, tmp_path / "whole")

    class CutError(Exception):
        pass

    original, runs = InProcessExecutor.wait, []

    def wait(self, timeout_s):
        runs.append(1)
        if len(runs) > cut * 2:
            raise CutError
        return original(self, timeout_s)

    with monkeypatch.context() as patch:
        patch.setattr(InProcessExecutor, "wait", wait)
        with pytest.raises(CutError):
            run_here(study, out)
    run_here(study, out, resume=True)
    assert digest(out) == digest(tmp_path / "whole")


@pytest.mark.slow  # the default suite cuts it off in its own process, above
def test_a_killed_driver_loses_nothing_and_repeats_no_row(tmp_path):
    study, out = written(tmp_path, **PRUNED), tmp_path / "out"
    for _ in range(3):
        before = parts(out)
        driver = start(study, out)
        wait_until(lambda low=before + 5: parts(out) >= low, driver)
        driver.kill()
        driver.communicate()
    first = read_trials(out).set_index("trial_key")["started_at"].to_dict()
    run_here(loaded(tmp_path, **PRUNED), out, resume=True)
    run_here(loaded(tmp_path, **PRUNED), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")
    now = read_trials(out).set_index("trial_key")["started_at"].to_dict()
    assert all(now[key] == when for key, when in first.items())


def test_trials_that_fail_or_cannot_exist_pass_by_the_judge(tmp_path):
    changes = PRUNED | {
        "space": SPACE | {"clients.chat.model": ["llama-3.1-8b", "llama-3.1-405b"]},
        "set": {},
    }
    outcome = run_here(loaded(tmp_path, **changes), tmp_path / "out")
    assert outcome.counts["infeasible"] == 72
    assert outcome.counts["completed"] + outcome.counts["pruned"] == 72


def test_a_larger_budget_leaves_what_was_judged_alone(tmp_path):
    changes = PRUNED | {"sampler": "random"}
    run_here(loaded(tmp_path, **changes), tmp_path / "out", trials=30)
    before = {row["trial_key"]: repr(row) for row in rows_of(tmp_path / "out")}
    run_here(loaded(tmp_path, **changes), tmp_path / "out", trials=50, resume=True)
    after = {row["trial_key"]: repr(row) for row in rows_of(tmp_path / "out")}
    assert len(after) == 50
    assert before.items() <= after.items()


def test_a_short_run_has_the_first_requests_of_the_long_one():
    scenario = build_scenario(STUDY["scenario"])
    whole = build_workload(scenario.workload, ("chat",), 0)
    limited = STUDY["scenario"]["workload"] | {"limit": {"requests": 7}}
    short = build_workload(
        build_scenario(STUDY["scenario"] | {"workload": limited}).workload, ("chat",), 0
    )
    assert whole.first(7).digest() == short.digest()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pruner": "halving"}, "unknown pruner 'halving'"),
        ({"pruner": {"median": {"first_share": 0.9}}}, "median.first_share: Input should be less"),
        (
            {"pruner": {"median": {"cohorts": 9}}},
            "median.cohorts: unknown field; did you mean 'cohort'",
        ),
        ({"objectives": STUDY["objectives"]}, "a pruner compares trials by one objective, got 2"),
    ],
)
def test_pruners_that_cannot_be(tmp_path, changes, said):
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, **PRUNED | changes)
    assert said in str(caught.value)
