"""Combinators at run time: one after the other, one of several, all at once, again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hermes.scenario.distributions import LengthSpec
from hermes.scenario.pipeline import Parallel, TimesColumn, When
from hermes.sim.pipelines.signal import Signal, start
from hermes.sim.pipelines.walk import Rejected, Stopped, Walk
from hermes.sim.pipelines.world import Steps, World

__all__ = ["Branch", "ChoiceStep", "LoopStep", "ParallelStep", "Step", "run_all"]


class Step(Protocol):
    """A stage of any kind, ready to run."""

    def run(self, walk: Walk) -> Steps:
        """Take a walk through the stage, yielding what it waits for.

        Raises:
            Rejected: nobody can serve it.
            Stopped: nobody waits for this branch any more.
        """


class Server(Protocol):
    """Who has requests queued or running."""

    def outstanding_requests(self) -> int:
        """Return how many."""


def run_all(steps: Sequence[Step], walk: Walk) -> Steps:
    """Take a walk through stages, one after the other."""
    for step in steps:
        yield from step.run(walk)


@dataclass(frozen=True, slots=True)
class Branch:
    """One way of a choice.

    Attributes:
        steps: What is done.
        when: What must hold; None: it has a weight.
        weight: Its share of those no condition took.
    """

    steps: tuple[Step, ...]
    when: When | None
    weight: float


class ChoiceStep:
    """One of several branches; see `hermes.scenario.pipeline.Choice`.

    Args:
        world: What it works with.
        name: For its draws.
        branches: In the order they are tried.
        router: Is asked first.
        confusion: What the router takes a request for, by weight, for each true class.
        pools: Replicas and stations by client, for their load.
    """

    def __init__(
        self,
        world: World,
        name: str,
        branches: Sequence[Branch],
        router: Step | None,
        confusion: Mapping[str, Mapping[str, float]],
        pools: Mapping[str, Sequence[Server]],
    ) -> None:
        self._world = world
        self._name = name
        self._conditional = [branch for branch in branches if branch.when is not None]
        self._free = [branch for branch in branches if branch.when is None]
        self._router = router
        self._confusion = confusion
        self._pools = pools

    def run(self, walk: Walk) -> Steps:
        """Decide, and take the branch; see `Step.run`."""
        if self._router is not None:
            before = walk.answer, walk.right
            yield from self._router.run(walk)
            walk.answer, walk.right = before  # a decision is no answer
        yield from run_all(self._taken(walk).steps, walk)

    def _taken(self, walk: Walk) -> Branch:
        difficulty = self._difficulty(walk)
        for branch in self._conditional:
            if branch.when is not None and self._holds(branch.when, walk, difficulty):
                return branch
        if len(self._free) == 1:
            return self._free[0]
        weights = [branch.weight for branch in self._free]
        return self._free[self._drawn(weights, f"{self._name}/weight", walk)]

    def _drawn(self, weights: Sequence[float], name: str, walk: Walk) -> int:
        left = self._world.draws.share(name, walk.request, walk.place) * sum(weights)
        for number, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return number
        return max(number for number, weight in enumerate(weights) if weight)

    def _difficulty(self, walk: Walk) -> str:
        """Return what class the request is taken for."""
        true = self._world.difficulty(walk.request)
        taken = self._confusion.get(true)
        if taken is None:
            return true
        names = list(taken)
        weights = list(taken.values())
        return names[self._drawn(weights, f"{self._name}/confusion", walk)]

    def _holds(self, when: When, walk: Walk, difficulty: str) -> bool:
        prompt = int(self._world.workload.prompt_tokens[walk.request])
        return (
            _within(when.prompt_tokens, prompt)
            and _within(when.context_tokens, walk.context.tokens)
            and when.difficulty in {None, difficulty}
            and self._has_room(when)
            and self._attributes_fit(when, walk)
            and self._doubted(when, walk)
        )

    def _has_room(self, when: When) -> bool:
        for client, limit in (when.pending_below or {}).items():
            pool = self._pools[client]
            if sum(server.outstanding_requests() for server in pool) >= limit * len(pool):
                return False
        return True

    def _attributes_fit(self, when: When, walk: Walk) -> bool:
        return all(
            _within(bounds, self._world.attribute(name, walk.request))
            for name, bounds in (when.attribute or {}).items()
        )

    def _doubted(self, when: When, walk: Walk) -> bool:
        if when.doubted is None:
            return True
        if walk.right is None:  # there is no answer that could be doubted
            return False
        share = when.doubted.right if walk.right else when.doubted.wrong
        return self._world.draws.share(f"{self._name}/doubt", walk.request, walk.place) < share


def _within(bounds: tuple[int, int] | None, value: int) -> bool:
    return bounds is None or bounds[0] <= value <= bounds[1]


class LoopStep:
    """The same stages again and again; see `hermes.scenario.pipeline.Loop`."""

    def __init__(
        self, world: World, name: str, times: LengthSpec | TimesColumn, steps: Sequence[Step]
    ) -> None:
        self._world = world
        self._name = name
        self._times = times
        self._steps = steps

    def run(self, walk: Walk) -> Steps:
        """Go round; see `Step.run`."""
        place, times = walk.place, self._times
        if isinstance(times, TimesColumn):
            rounds = self._world.attribute(times.column, walk.request)
        else:
            rounds = self._world.draws.tokens(times, f"{self._name}/times", walk.request, place)
        for number in range(rounds):
            walk.place = (*place, number)
            yield from run_all(self._steps, walk)
        walk.place = place


class ParallelStep:
    """Several branches at once; see `hermes.scenario.pipeline.Parallel`."""

    def __init__(self, world: World, spec: Parallel, branches: Sequence[Sequence[Step]]) -> None:
        self._world = world
        self._spec = spec
        self._branches = branches

    def run(self, walk: Walk) -> Steps:
        """Fork, and join when enough branches are done; see `Step.run`."""
        self._world.enter(walk)
        walk.read_documents(self._world.number)  # else every branch would add them anew
        branches = [walk.branch(number) for number in range(len(self._branches))]
        enough = self._spec.wait_for or len(branches)
        join = _Join(self._world, Signal(), enough, len(branches))
        for branch, steps in zip(branches, self._branches, strict=True):
            start(join.take(branch, steps))
        yield join.over
        for branch in branches:
            branch.dropped = True
        if len(join.done) < enough:
            raise join.ending or Stopped
        self._gather(walk, join.done)

    def _gather(self, walk: Walk, done: Sequence[Walk]) -> None:
        """Go on from the last of those waited for, with what they have found."""
        last = done[-1]
        walk.visits += last.visits
        walk.at, walk.answer = last.at, last.answer
        walk.right = self._verdict(done)
        if self._spec.gather == "none":
            return
        kept = done[:1] if self._spec.gather == "first" else sorted(done, key=_place)
        before = walk.context.tokens
        walk.context = kept[0].context
        further = sum(branch.context.tokens - before for branch in kept[1:])
        if further:
            walk.context = walk.context.grown(further, self._world.number())
        found = [document for branch in kept for document in branch.documents]
        walk.documents = tuple(found)

    def _verdict(self, done: Sequence[Walk]) -> bool | None:
        rights = [branch.right for branch in done if branch.right is not None]
        if not rights:
            return None
        if self._spec.verdict == "majority":
            return 2 * sum(rights) > len(rights)
        return any(rights) if self._spec.verdict == "any" else done[-1].right


def _place(walk: Walk) -> tuple[int, ...]:
    return walk.place


class _Join:
    """Where branches meet.

    Args:
        world: What it works with.
        over: Given when enough branches are done, or never will be.
        wait_for: How many are enough.
        branches: How many there are.
    """

    def __init__(self, world: World, over: Signal, wait_for: int, branches: int) -> None:
        self.over = over
        self.done: list[Walk] = []
        self.ending: Rejected | None = None
        self._world = world
        self._wait_for = wait_for
        self._spare = branches - wait_for

    def take(self, branch: Walk, steps: Sequence[Step]) -> Steps:
        """Take a branch through its stages."""
        self._world.coordinator.under_way += 1
        yield from self._take(branch, steps)
        self._world.coordinator.under_way -= 1

    def _take(self, branch: Walk, steps: Sequence[Step]) -> Steps:
        try:
            yield from run_all(steps, branch)
        except Stopped:
            self._log(branch)
            if not self.over.given:  # nor does anybody wait for what is to be joined here
                self.over.give()
            return
        except Rejected as rejected:
            self._log(branch)
            self._spare -= 1
            if self._spare < 0 and not self.over.given:
                self.ending = rejected
                self.over.give()
            return
        if self.over.given:
            self._log(branch)
            return
        self.done.append(branch)
        if len(self.done) == self._wait_for:
            self.over.give()
        else:
            self._log(branch)

    def _log(self, branch: Walk) -> None:
        """Note the stages of a branch that the request's end does not wait for."""
        for visit in branch.visits:
            self._world.coordinator.log.visited(branch.request, visit, critical=False)
