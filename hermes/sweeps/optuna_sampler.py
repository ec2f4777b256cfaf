"""Samplers that learn: Optuna's, behind ask and tell, on a study that lives in memory only.

Optuna's own files are not used: one full disk ruins them for good, and our rows hold all there is
to know. A resumed study is rebuilt from them, seeded by how many there are, so that it does not
propose once more what it proposed at its start.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hermes.errors import InputError
from hermes.sweeps.sampler_spec import SamplerSpec
from hermes.sweeps.samplers import Finished, Outcome, Proposal, missing_for
from hermes.sweeps.space import Point, Space
from hermes.workload.streams import stream

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["OptunaSampler", "require_installed"]

# A genetic sampler breeds from whole generations and knows a trial's by this attribute; trials
# added without it would not count, and a resumed search would start over at random.
_GENERATIONS = {"nsga2": "NSGAIISampler:generation", "nsga3": "NSGAIIISampler:generation"}


def require_installed(spec: SamplerSpec) -> None:
    """Check that what a sampler needs is installed.

    Raises:
        InputError: It is not; the message names the extra.
    """
    missing = missing_for(spec.name)
    if missing:
        raise InputError(
            f"the sampler {spec.name!r} needs {' and '.join(missing)}: pip install "
            f"'hermes-dse[{spec.name}]', or choose tpe, nsga2 or qmc",
            "sampler",
        )


class OptunaSampler:
    """A sampler of Optuna's over a space.

    Args:
        space: The space.
        spec: Which sampler, with its options.
        objectives: Metric to `minimize` or `maximize`.
        seed: The study's seed.
        finished: Trials of earlier runs, in the order asked.
    """

    def __init__(
        self,
        space: Space,
        spec: SamplerSpec,
        objectives: Mapping[str, str],
        seed: int,
        finished: Sequence[Finished],
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._space = space
        self._spec = spec
        self._seed = seed
        self._next = 1 + max((trial.number for trial in finished), default=-1)
        self._distributions = space.distributions()
        self._study = optuna.create_study(
            directions=list(objectives.values()), sampler=self._sampler(len(finished))
        )
        self._study.add_trials(self._rebuilt(finished))

    def ask(self, explore: bool = False) -> Proposal:
        """Return the next proposal; see `Sampler`."""
        if explore:
            point = self._space.drawn(self._seed, self._next)
            self._study.enqueue_trial(dict(self._space.to_parameters(point)))
        trial = self._study.ask(None if self._space.conditional else self._distributions)
        if self._space.conditional:
            self._suggest(trial)
        number, self._next = self._next, self._next + 1
        return Proposal(number, self._space.from_parameters(trial.params), trial)

    def tell(self, proposal: Proposal, outcome: Outcome) -> None:
        """Learn what became of a proposal; see `Sampler`."""
        trial = proposal.handle
        if outcome.values is None:
            for step, standing in enumerate(outcome.short):
                trial.report(standing, step)
            states = self._optuna.trial.TrialState
            self._study.tell(trial, state=states.PRUNED if outcome.short else states.FAIL)
            return
        for name, excess in outcome.excesses.items():
            trial.set_constraint(name, excess)
        self._study.tell(trial, list(outcome.values))

    def most_in_flight(self, width: int) -> int:
        """Return how many proposals may be open: more would be made in the dark."""
        floor = (self._spec.population_size or 8) // 2
        return max(floor, 2 * width)

    def _sampler(self, finished: int) -> BaseSampler:
        samplers = self._optuna.samplers
        rng = stream(self._seed, "sampler", self._spec.name, str(finished))
        seed = int(rng.integers(2**32))
        makers: dict[str, Callable[..., BaseSampler]] = {
            "nsga2": samplers.NSGAIISampler,
            "nsga3": samplers.NSGAIIISampler,
            "tpe": samplers.TPESampler,
            "gp": partial(samplers.GPSampler, deterministic_objective=True),
            "cmaes": partial(samplers.CmaEsSampler, warn_independent_sampling=False),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            return makers[self._spec.name](**self._spec.options(), seed=seed)

    def _suggest(self, trial: Any) -> None:
        """Ask for the dimensions that apply, one after another."""
        point: Point = {}
        for path, dimension in self._space.dimensions.items():
            if dimension.applies(point):
                asked = self._distributions[path]
                if hasattr(asked, "choices"):
                    parameter = trial.suggest_categorical(path, asked.choices)
                else:
                    whole = type(asked).__name__ == "IntDistribution"
                    suggest = trial.suggest_int if whole else trial.suggest_float
                    parameter = suggest(path, asked.low, asked.high, log=asked.log)
                point[path] = dimension.from_parameter(parameter)

    def _rebuilt(self, finished: Sequence[Finished]) -> list[Any]:
        states = self._optuna.trial.TrialState
        trials, completed = [], 0
        generation = _GENERATIONS.get(self._spec.name)
        for trial in finished:
            values = trial.outcome.values
            attributes = {}
            if values is not None and generation is not None:
                attributes[generation] = completed // (self._spec.population_size or 1)
                completed += 1
            parameters = self._space.to_parameters(trial.cells)
            trials.append(
                self._optuna.trial.create_trial(
                    state=_state(states, trial.outcome),
                    intermediate_values=dict(enumerate(trial.outcome.short)),
                    values=None if values is None else list(values),
                    params=parameters,
                    distributions={path: self._distributions[path] for path in parameters},
                    constraints=None if values is None else dict(trial.outcome.excesses),
                    system_attrs=attributes,
                )
            )
        return trials


def _state(states: Any, outcome: Outcome) -> Any:
    if outcome.values is not None:
        return states.COMPLETE
    return states.PRUNED if outcome.short else states.FAIL
