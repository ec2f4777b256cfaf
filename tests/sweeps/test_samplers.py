"""Samplers: every point once, the same after a resume, and never an endless search."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import random

import pytest

from hermes.errors import InputError
from hermes.results import open_study
from hermes.sweeps.halton import Halton
from hermes.sweeps.optuna_sampler import OptunaSampler
from hermes.sweeps.sampler_spec import Nsga2Options, Nsga3Options, SamplerSpec
from hermes.sweeps.samplers import (
    Finished,
    Outcome,
    choose_sampler,
    grid_sampler,
    qmc_sampler,
    random_sampler,
)
from tests.sweeps.small_study import loaded, run_here


def asked(sampler, count=10**6):
    proposals = []
    while len(proposals) < count and (proposal := sampler.ask()) is not None:
        proposals.append((proposal.number, tuple(proposal.point.values())))
    return proposals


@pytest.fixture
def space(tmp_path):
    return loaded(tmp_path).space


def test_the_grid_proposes_every_point_once(space):
    points = asked(grid_sampler(space, set()))
    assert [number for number, _ in points] == list(range(24))
    assert len({point for _, point in points}) == 24


def test_random_proposes_every_point_of_a_small_space_once_and_ends(space):
    points = asked(random_sampler(space, 3, set()))
    assert len(points) == len({point for _, point in points}) == 24


@pytest.mark.parametrize("make", [grid_sampler,
                                  lambda s, done: qmc_sampler(s, 3, done),
                                  lambda s, done: random_sampler(s, 3, done)])  # fmt: skip
@pytest.mark.parametrize("stop", [0, 1, 9, 24])
def test_a_resumed_sequence_goes_on_where_it_stopped(space, make, stop):
    whole = asked(make(space, set()))
    done = {number for number, _ in whole[:stop]}
    assert asked(make(space, done)) == whole[stop:]


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr("hermes.sweeps.samplers.missing_for", lambda sampler: ("torch",))


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, "grid"),
        ({"trials": 24}, "grid"),
        ({"trials": 100}, "grid"),
        ({"trials": 23}, "qmc"),
        ({"space": {"seed": {"int": [0, 10**6]}}}, "nsga2"),
        ({"space": {"seed": {"int": [0, 10**6]}}, "trials": 99}, "qmc"),
        ({"space": {"seed": {"int": [0, 10**6]}}, "objectives": dict.fromkeys(
            ["devices", "ttft_ms.p50", "tpot_ms.p50"], "minimize")}, "nsga3"),
        ({"space": {"seed": {"int": [0, 10**6]}}, "objectives": {"devices": "minimize"}}, "tpe"),
        ({"space": {"seed": {"int": [0, 10**6]}}, "objectives": {"devices": "minimize"},
          "trials": 5000}, "nsga2"),
        ({"sampler": "random"}, "random"),
    ],
)  # fmt: skip
def test_auto_fits_the_budget(tmp_path, changes, chosen):
    assert choose_sampler(loaded(tmp_path, **changes).spec).name == chosen


def learned(space, spec, count, finished=(), explore=False):
    """Ask and tell with two made-up objectives; return the proposals and what became of them."""
    objectives = {"a": "minimize", "b": "maximize"}
    sampler = OptunaSampler(space, spec, objectives, 5, list(finished))
    results = []
    for _ in range(count):
        proposal = sampler.ask(explore)
        device, seqs, replicas = proposal.point.values()
        outcome = Outcome((seqs * replicas, float(seqs)), {"limit": seqs - 4.0})
        if device == "l40s" and replicas == 3:
            outcome = Outcome(None, {})
        sampler.tell(proposal, outcome)
        results.append(Finished(proposal.number, proposal.point, outcome))
    return sampler, results


SPECS = [SamplerSpec(name="tpe"),
         SamplerSpec(name="nsga2", nsga2=Nsga2Options(population_size=8)),
         SamplerSpec(name="nsga3", nsga3=Nsga3Options(population_size=8))]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_learning_sampler_is_a_function_of_its_seed_and_history(space, spec):
    assert learned(space, spec, 30)[1] == learned(space, spec, 30)[1]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_rebuilt_sampler_goes_on_numbering_and_does_not_repeat_its_start(space, spec):
    _, first = learned(space, spec, 20)
    _, second = learned(space, spec, 20, first)
    assert [trial.number for trial in second] == list(range(20, 40))
    assert [trial.cells for trial in second] != [trial.cells for trial in first]


@pytest.mark.parametrize("spec", SPECS[1:], ids=lambda spec: spec.name)
def test_a_rebuilt_genetic_search_breeds_instead_of_starting_over_at_random(space, spec):
    _, first = learned(space, spec, 40)
    sampler, _ = learned(space, spec, 1, first)
    last = sampler._study.trials[-1]
    completed = sum(trial.outcome.values is not None for trial in first)
    (generation,) = (v for k, v in last.system_attrs.items() if k.endswith(":generation"))
    assert generation == completed // 8 > 0


def test_a_rebuilt_sampler_knows_values_and_constraints(space):
    _, first = learned(space, SPECS[1], 12)
    sampler, _ = learned(space, SPECS[1], 0, first)
    for trial, before in zip(sampler._study.trials, first, strict=True):
        assert space.from_parameters(trial.params) == before.cells
        if before.outcome.values is None:
            assert trial.state.name == "FAIL"
        else:
            assert tuple(trial.values) == before.outcome.values
            assert trial.constraints == before.outcome.excesses


def test_exploring_proposes_other_points(space):
    _, results = learned(space, SPECS[0], 40, explore=True)
    assert len({tuple(trial.cells.values()) for trial in results}) > 15


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_quasi_random_points_visit_every_share_of_every_dimension_once(dimensions):
    halton = Halton(dimensions, seed=3)
    for place, base in enumerate([2, 3, 5, 7, 11][:dimensions]):
        for power in (1, 2):
            cells = base**power
            for first in (0, 7 * cells):
                shares = [halton.point(n)[place] for n in range(first, first + cells)]
                assert sorted(int(share * cells) for share in shares) == list(range(cells))


def test_quasi_random_points_depend_on_seed_and_number_only():
    points = [Halton(3, 1).point(n) for n in range(40)]
    again = Halton(3, 1)
    assert [again.point(n) for n in reversed(range(40))] == points[::-1]
    assert Halton(3, 2).point(0) != points[0]
    assert all(0 <= share < 1 for point in points for share in point)


def test_quasi_random_points_estimate_better_than_random_ones():
    def error(draw):
        return abs(sum(math.prod(draw(n)) for n in range(64)) / 64 - 0.25)

    def mean_error(maker):
        return sum(error(maker(seed)) for seed in range(30)) / 30

    def independent(seed):
        return lambda n: random.Random(1000 * seed + n).choices(range(1000), k=2)

    quasi = mean_error(lambda seed: Halton(2, seed).point)
    assert quasi < mean_error(lambda seed: lambda n: [x / 1000 for x in independent(seed)(n)]) / 2


@pytest.mark.parametrize(("name", "needs"), [("gp", "torch"), ("cmaes", "cmaes")])
def test_a_sampler_whose_extra_is_missing_says_how_to_get_it(tmp_path, monkeypatch, name, needs):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda module: None if module == needs else found(module)
    )
    one = {"ttft_ms.p99": "minimize"}
    study = loaded(
        tmp_path, sampler={name: {"n_startup_trials": 5}}, objectives=one, constraints={}
    )
    with pytest.raises(InputError, match=rf"{needs}.*hermes-dse\[{name}\]"):
        run_here(study, tmp_path / "out")
    assert not (tmp_path / "out" / "study.json").exists()


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({"trials": 199}, "gp"),
        ({"trials": 200}, "nsga2"),
        ({"trials": 199, "objectives": {"devices": "minimize"}}, "gp"),
        ({"trials": 200, "objectives": {"devices": "minimize"}}, "tpe"),
        ({"trials": 199, "objectives": dict.fromkeys(
            ["devices", "ttft_ms.p50", "tpot_ms.p50"], "minimize")}, "nsga3"),
        ({"trials": 199, "space": {"seed": [1, 2, 3]}}, "grid"),
    ],
)  # fmt: skip
def test_auto_takes_a_gaussian_process_for_few_trials_where_it_is_installed(
    tmp_path, monkeypatch, changes, chosen
):
    monkeypatch.setattr("hermes.sweeps.samplers.missing_for", lambda sampler: ())
    study = loaded(tmp_path, **{"space": {"seed": {"int": [0, 10**6]}}} | changes)
    assert choose_sampler(study.spec).name == chosen


def test_a_study_begun_with_an_extra_is_not_gone_on_with_without_it(tmp_path, monkeypatch):
    changes = {"space": {"seed": {"int": [0, 10**6]}}, "trials": 3}
    with monkeypatch.context() as patch:
        patch.setattr("hermes.sweeps.run.choose_sampler", lambda spec: SamplerSpec(name="gp"))
        patch.setattr("hermes.sweeps.run.require_installed", lambda spec: None)
        with contextlib.suppress(ImportError):
            run_here(loaded(tmp_path, **changes), tmp_path / "out")
    assert open_study(tmp_path / "out")["chosen_sampler"] == "gp"
    monkeypatch.setattr("hermes.sweeps.optuna_sampler.missing_for", lambda sampler: ("torch",))
    with pytest.raises(InputError, match="the sampler 'gp' needs torch"):
        run_here(loaded(tmp_path, **changes), tmp_path / "out", resume=True)
