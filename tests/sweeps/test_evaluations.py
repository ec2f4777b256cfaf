"""Studies of capacities, of replicates, of bundles and conditions: their rows and their resume."""

from __future__ import annotations

import json

import pytest

from hermes.errors import InputError
from hermes.results import read_trials, write_report
from hermes.sweeps import explain_study, load_study
from tests.sweeps.small_study import STUDY, digest, loaded, rows_of, run_here, written

SLO = {"slo": {"ttft_ms": 300}, "workload.limit.requests": 200}
CAPACITY = {"evaluate": "capacity", "replicates": 2, "set": SLO, "constraints": {},
            "space": {"clients.chat.replicas": [1, 2], "clients.chat.max_num_seqs": [2, 4]},
            "sampler": "grid",
            "objectives": {"goodput_per_usd": "maximize", "tpot_ms.p99": "minimize"}}  # fmt: skip
REPLICAS = "clients.chat.replicas"
SEQS = "clients.chat.max_num_seqs"


def test_a_study_of_capacities_has_one_row_a_deployment_and_a_report(tmp_path):
    out = tmp_path / "out"
    assert run_here(loaded(tmp_path, **CAPACITY), out).counts == {"completed": 4}
    frame = read_trials(out)
    assert (frame["capacity_request_rate"] > 0).all()
    assert (frame["capacity_request_rate.ci95"] > 0).all()
    by_replicas = frame.groupby(f"param.{REPLICAS}")["capacity_request_rate"].mean()
    assert by_replicas.is_monotonic_increasing
    write_report(out)
    assert "Goodput per usd" in (out / "report.html").read_text()


def test_a_resumed_study_of_capacities_equals_an_undisturbed_one(tmp_path):
    study = loaded(tmp_path, **CAPACITY)
    run_here(study, tmp_path / "whole")
    for trials in (1, 4):
        run_here(study, tmp_path / "parts", trials=trials, resume=True)
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_how_trials_are_judged_is_part_of_the_question(tmp_path):
    run_here(loaded(tmp_path), tmp_path / "out", trials=2)
    with pytest.raises(InputError, match="evaluation"):
        run_here(loaded(tmp_path, replicates=3), tmp_path / "out", resume=True)
    keys = {loaded(tmp_path, **changes).candidates.build({REPLICAS: 1}).key
            for changes in ({}, {"replicates": 3}, {"batches": 4}, {"warm_up": 0.1})}  # fmt: skip
    assert len(keys) == 4


def test_replicates_have_intervals(tmp_path):
    run_here(loaded(tmp_path, replicates=3), tmp_path / "out", trials=3)
    frame = read_trials(tmp_path / "out")
    assert (frame["ttft_ms.p99.ci95"] > 0).all()
    assert (frame["evaluation_simulations"] == 3).all()


BUNDLED = {
    "pool": {"bundle": {"one wide": {REPLICAS: 1, SEQS: 8}, "two narrow": {REPLICAS: 2, SEQS: 4}}},
    "clients.chat.batching": ["chunked", "continuous"],
    "clients.chat.max_num_batched_tokens": {
        "choices": [256, 512, 1024], "when": {"clients.chat.batching": "chunked"}},
}  # fmt: skip


@pytest.mark.parametrize("sampler", ["grid", "random", "qmc", "tpe",
                                     {"nsga2": {"population_size": 4}}])  # fmt: skip
def test_bundles_move_together_and_conditions_leave_no_double_points(tmp_path, sampler):
    study = loaded(tmp_path, space=BUNDLED, sampler=sampler, trials=200)
    assert study.space.size == 2 * (3 + 1)
    for trials in (3, 200):
        outcome = run_here(study, tmp_path / "out", trials=trials, resume=True)
    assert outcome.counts == {"completed": 8}
    frame = read_trials(tmp_path / "out")
    assert set(frame["param.pool"]) == {"one wide", "two narrow"}
    continuous = frame["param.clients.chat.batching"] == "continuous"
    assert frame["param.clients.chat.max_num_batched_tokens"].isna().eq(continuous).all()
    assert continuous.sum() == 2
    # A bundle of two replicas costs twice what one replica costs.
    costs = frame.groupby("param.pool")["cost_per_hour"].max()
    assert costs["two narrow"] == 2 * costs["one wide"]
    write_report(tmp_path / "out")


def test_an_override_of_what_others_depend_on_settles_them(tmp_path):
    path = written(tmp_path, space=BUNDLED)
    batched = "clients.chat.max_num_batched_tokens"
    chunked = load_study(path, ["clients.chat.batching=chunked"])
    assert chunked.space.size == 6
    assert not chunked.space.conditional
    other = load_study(path, ["clients.chat.batching=continuous"])
    assert list(other.space.dimensions) == ["pool"]
    fixed = load_study(path, ["pool=two narrow"])
    assert fixed.scenario["clients"]["chat"]["replicas"] == 2
    assert batched in fixed.space.dimensions
    with pytest.raises(InputError, match="unknown bundle 'two narow'; did you mean"):
        load_study(path, ["pool=two narow"])


def test_a_wrong_name_inside_a_bundle_or_a_condition_is_found_at_once(tmp_path):
    space = {"pool": {"bundle": {"a": {"clients.chat.device": "h100-sxm"},
                                 "b": {"clients.chat.device": "h1000"}}}}  # fmt: skip
    with pytest.raises(InputError, match="unknown device 'h1000'"):
        loaded(tmp_path, space=space)
    space = BUNDLED | {"clients.chat.max_num_batched_tokens": {
        "choices": [512, -4], "when": {"clients.chat.batching": "chunked"}}}  # fmt: skip
    with pytest.raises(InputError, match="greater than or equal to"):
        loaded(tmp_path, space=space)


def test_a_study_explains_its_conditions(tmp_path):
    told = explain_study(loaded(tmp_path, space=BUNDLED))
    assert told["points"] == 8
    assert told["space"]["clients.chat.max_num_batched_tokens"] == (
        "256, 512, 1024; when clients.chat.batching is chunked"
    )


def test_what_is_known_to_cost_too_much_never_runs(tmp_path):
    limits = {"devices": "<= 2", "cost_per_hour": "<= 5"}
    outcome = run_here(loaded(tmp_path, constraints=limits), tmp_path / "out")
    frame = read_trials(tmp_path / "out")
    pruned = frame["status"] == "infeasible"
    assert outcome.counts["infeasible"] == pruned.sum() > 0
    assert (frame["trial_seconds"][pruned] == 0).all()
    assert frame["error"][pruned].str.contains("the study allows").all()
    assert (frame["devices"][~pruned] <= 2).all()


def test_the_spec_survives_the_study_file(tmp_path):
    run_here(loaded(tmp_path, space=BUNDLED, evaluate="capacity", set=SLO),
             tmp_path / "out", trials=1)  # fmt: skip
    said = json.loads((tmp_path / "out" / "study.json").read_text())
    assert said["space"] == BUNDLED
    assert said["evaluation"]["capacity"]["precision"] == 0.02


def test_seeds_of_a_study_are_those_of_its_scenario(tmp_path):
    study = loaded(tmp_path, replicates=2, set={"seed": 5})
    assert study.candidates.build({REPLICAS: 1}).seed == 5
    assert STUDY["scenario"].get("seed") is None


def test_hopeless_trials_end_early_and_leave_the_answer_as_it_was(tmp_path, capfd):
    changes = {"constraints": {"ttft_ms.p99": "<= 40"}, "sampler": "grid"}
    run_here(loaded(tmp_path, **changes), tmp_path / "whole")
    study = loaded(tmp_path, **changes, stop_hopeless=True)
    outcome = run_here(study, tmp_path / "out", trials=9)
    outcome = run_here(study, tmp_path / "out", resume=True, quiet=False)
    whole = {row["trial_key"]: row for row in rows_of(tmp_path / "whole")}
    rows = rows_of(tmp_path / "out")
    assert len(rows) == len(whole)
    assert outcome.counts["pruned"] >= 5
    unfinished = 0.0
    for row in rows:
        before = whole[row["trial_key"]]
        if row["status"] == "pruned":
            assert before["feasible"] is False
            assert row["error"].startswith("ttft_ms.p99 is certain to miss <= 40 after ")
            unfinished += 1 - row["stopped_after"]
        else:
            assert repr({name: row[name] for name in before}) == repr(before)
    said = f"{outcome.counts['pruned']} trials were certain to miss a limit and ended early; "
    assert f"{said}{unfinished:.1f} whole simulations were saved" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"constraints": None}, "needs `constraints`"),
        ({"replicates": 3}, "for single simulations"),
    ],
)
def test_stop_hopeless_where_it_means_nothing_is_refused(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        loaded(tmp_path, stop_hopeless=True, **changes)


DEVICES = {
    "scenario": {
        "workload": {
            "requests": {"lengths": {"prompt": 64, "output": {"uniform": {"low": 1, "high": 32}}}},
            "arrivals": {"process": "poisson", "rate_per_s": 40},
            "limit": {"requests": 20},
        },
        "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
    },
    "space": {"clients.chat.device": ["h100-sxm", "mi300x"], "clients.chat.replicas": [1, 2]},
    "objectives": {"devices": "minimize", "tpot_ms.p50": "minimize"},
    "constraints": {"ttft_ms.p99": "<= 5000"},
    "sampler": "grid",
}  # fmt: skip


def test_error_bars_and_doubts_reach_the_rows_and_every_report(tmp_path):
    out = tmp_path / "out"
    study = loaded(tmp_path, **DEVICES, error_bars=4)
    assert run_here(study, out).counts == {"completed": 4}
    frame = read_trials(out).set_index("param.clients.chat.device")
    for name in ("tpot_ms.p50", "ttft_ms.p99"):
        assert (frame[f"{name}.low"] < frame[name]).all()
        assert (frame[f"{name}.high"] > frame[name]).all()
    assert (frame["devices.low"] == frame["devices.high"]).all()
    assert frame.loc["mi300x", "cost_share.uncalibrated"].tolist() == pytest.approx([1, 1])
    assert frame.loc["h100-sxm", "cost_share.roofline"].tolist() == pytest.approx([1, 1])
    write_report(out)
    texts = {name: (out / name).read_text() for name in ("report.md", "report.html")}
    best = frame.sort_values(["devices", "tpot_ms.p50"]).iloc[0]
    assert best.name == "mi300x"  # the datasheet promises most
    for text in texts.values():
        assert "100% uncalibrated" in text
        assert "this device stands behind that share" in text
    assert " to " in texts["report.md"].split("## The Pareto front")[1]
    assert '"low": [' in texts["report.html"]


def test_what_is_not_known_can_be_ruled_out(tmp_path):
    limits = DEVICES["constraints"] | {"cost_share.uncalibrated": "<= 0.05"}
    run_here(loaded(tmp_path, **DEVICES | {"constraints": limits}), tmp_path / "out")
    frame = read_trials(tmp_path / "out")
    assert set(frame[frame["feasible"]]["param.clients.chat.device"]) == {"h100-sxm"}
    write_report(tmp_path / "out")
    front = (tmp_path / "out" / "report.md").read_text().split("## The Pareto front")[1]
    assert "mi300x" not in front.split("##")[0]
