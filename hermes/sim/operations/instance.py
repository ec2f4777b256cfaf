"""A replica that comes and goes: off, starting, up, draining, down."""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum
from typing import Any, Protocol

from simpy import Event

from hermes.sim.clock import Clock
from hermes.sim.operations.start_up import StartUp
from hermes.sim.operations.uptime import Uptime
from hermes.sim.replica import Replica
from hermes.sim.sequence import Sequence

__all__ = ["Instance", "Overseer", "State"]

_Steps = Generator[Event, Any, None]


class State(Enum):
    """What a replica is doing."""

    OFF = "off"  # not there
    STARTING = "starting"  # on its way to be up
    UP = "up"  # takes requests
    DRAINING = "draining"  # goes on with those it has
    DOWN = "down"  # failed, or being repaired or upgraded


class Overseer(Protocol):
    """Who hears what becomes of replicas."""

    def went_up(self, replica: Replica) -> None:
        """Hear that a replica takes requests."""

    def lost(self, replica: Replica, sequences: list[Sequence]) -> None:
        """Hear that a replica is gone, with what it had."""


class Instance:
    """A replica, and what state it is in.

    Args:
        env: The SimPy environment.
        replica: The replica.
        start_up: What it needs to start.
        overseer: Hears of its coming and going.
        released: Whether its devices are given back while it is down.
        is_up: Whether it is there at the beginning.
    """

    def __init__(
        self,
        env: Clock,
        replica: Replica,
        start_up: StartUp,
        overseer: Overseer,
        released: bool,
        is_up: bool,
    ) -> None:
        self.replica = replica
        self.state = State.UP if is_up else State.OFF
        self.uptime = Uptime(env.now, paid=is_up, serving=is_up)
        self._env = env
        self._start_up = start_up
        self._overseer = overseer
        self._released = released
        self._spell = 0  # counts the times it went down
        if not is_up:
            replica.accepting = replica.up = False
            replica.crash()

    @property
    def is_coming(self) -> bool:
        """Whether it takes requests, or soon will."""
        return self.state in {State.UP, State.STARTING}

    # -- up -------------------------------------------------------------------------------------

    def start(self) -> _Steps:
        """Start up a replica that is off or down."""
        self._enter(State.STARTING)
        yield from self._start_up.run(self.replica)
        self._enter(State.UP)
        self.replica.up = self.replica.accepting = True
        self._overseer.went_up(self.replica)

    # -- down -----------------------------------------------------------------------------------

    def outage(self, notice: int | None, down: int | None) -> _Steps:
        """Take it down and bring it back; one that is not up is left alone.

        Args:
            notice: Ticks for which it goes on with what it has; None: until it is empty.
            down: Ticks until it starts up again; None: it never does.
        """
        if self.state is State.UP and notice != 0:
            spell = self._spell
            yield from self._drain(notice)
            if self._spell != spell:
                return  # something else took it down meanwhile
        elif self.state not in {State.UP, State.DRAINING}:
            return
        self._go_down(State.DOWN)
        if down is not None:
            yield self._env.timeout(down)
            yield from self.start()

    def retire(self) -> _Steps:
        """Take it away when it is empty; another may be started in its place."""
        spell = self._spell
        yield from self._drain(None)
        if self._spell == spell:
            self._go_down(State.OFF)

    def _drain(self, notice: int | None) -> _Steps:
        """Take no new requests, and wait until it is empty or its time is up."""
        self._enter(State.DRAINING)
        self.replica.accepting = False
        env, replica = self._env, self.replica
        until = None if notice is None else env.now + notice
        while not replica.empty and (until is None or env.now < until):
            empty = env.event()
            replica.on_empty = _once(empty)
            yield empty if until is None else env.any_of([empty, env.timeout(until - env.now)])
            if self.state is not State.DRAINING:
                return

    def _go_down(self, state: State) -> None:
        self._spell += 1
        self._enter(state)
        replica = self.replica
        replica.accepting = replica.up = False
        replica.on_empty = None
        self._overseer.lost(replica, replica.crash())

    def _enter(self, state: State) -> None:
        self.state = state
        serving = state in {State.UP, State.DRAINING}
        there = state is not State.OFF and not (state is State.DOWN and self._released)
        self.uptime.change(
            self._env.now, paid=there, serving=serving, wanted=state is not State.OFF
        )


def _once(event: Event) -> Callable[[], None]:
    """Return what lets an event happen, the first time it is called."""

    def tell() -> None:
        if not event.triggered:
            event.succeed()

    return tell
