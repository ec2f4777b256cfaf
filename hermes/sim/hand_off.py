"""From prefill to decode: who decodes a request whose prompt is done, and how its KV gets there.

The decode replica is chosen when the prompt is done (or, layer by layer, in the step that finishes
it) among those the prefill replica reaches. It takes the blocks at its next step boundary with room
for them; then the KV flows over the links between the two, sharing them with all other flows. The
prefill replica keeps its blocks until the last byte has left, and the request decodes from the next
step boundary after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hermes.errors import SimulationError
from hermes.sim.network import Flow, FlowNetwork
from hermes.sim.replica import Replica
from hermes.sim.routing import RoutingPolicy
from hermes.sim.sequence import Sequence
from hermes.sim.topology import Topology

__all__ = ["HandOff"]


@dataclass(slots=True)
class _Transfer:
    """A request on its way; it arrives once it is both computed and sent."""

    source: Replica
    target: Replica
    here: Sequence  # as the prefill replica knows it
    there: Sequence  # as the decode replica knows it
    window: tuple[int, int] | None  # ticks between which its layers are computed
    prefilled: bool
    sent: bool = False
    flowing: bool = False  # its KV has begun to, for which the decode replica has blocks
    ready: int = 0  # tick at which the prompt was done
    begun: int = 0  # tick at which the bytes could flow
    flow: Flow | None = None


class HandOff:
    """Sends sequences from the prefill to the decode replicas of one pipeline stage.

    Args:
        network: What the KV flows over.
        topology: Paths, and who reaches whom.
        replicas: The decode replicas.
        policy: Chooses among them.
        bytes_per_token: Of KV, all layers, whole model.
        overflow_tokens: Context tokens of every decode replica above which an idle prefill replica
            keeps what it prefilled; None: it never does.
    """

    def __init__(
        self,
        network: FlowNetwork,
        topology: Topology,
        replicas: tuple[Replica, ...],
        policy: RoutingPolicy,
        bytes_per_token: int,
        overflow_tokens: int | None,
    ) -> None:
        self._network = network
        self._topology = topology
        self.replicas = replicas
        self._policy = policy
        self._bytes_per_token = bytes_per_token
        self._overflow_tokens = overflow_tokens
        self._transfers: dict[int, _Transfer] = {}
        # By request: those whose prompt is done, and that no decode replica takes at present
        self._stranded: dict[int, tuple[Replica, Sequence, int]] = {}

    def targets(self, source: Replica, prompt_tokens: int, output_tokens: int) -> list[Replica]:
        """Return the decode replicas that take a request from a prefill replica."""
        able = self.able(source, prompt_tokens, output_tokens)
        return [replica for replica in able if replica.accepting]

    def able(self, source: Replica, prompt_tokens: int, output_tokens: int) -> list[Replica]:
        """Return the decode replicas that could take a request, if they are up."""
        reaches = self._topology.reaches
        return [
            replica
            for replica in self.replicas
            if reaches(source.index, replica.index)
            and not replica.engine.rejection(prompt_tokens, output_tokens)
        ]

    def idle_target(self, prompt_tokens: int, output_tokens: int) -> Replica | None:
        """Return a decode replica with nothing to do that could take a request whole."""
        for replica in self.replicas:
            able = not replica.engine.rejection(prompt_tokens, output_tokens)
            if replica.accepting and replica.empty and able:
                return replica
        return None

    def finishing_prompt(self, source: Replica, sequence: Sequence, begin: int, end: int) -> None:
        """Begin a transfer layer by layer, in the step that ends the prompt."""
        if sequence.output_tokens > 1:
            self._send(source, sequence, begin, (begin, end))

    def prefilled(self, source: Replica, sequence: Sequence, now: int) -> None:
        """Begin the transfer of a sequence whose prompt is done, unless it is under way."""
        transfer = self._transfers.get(sequence.request_id)
        if transfer is not None:
            transfer.prefilled, transfer.ready = True, now
            self._deliver(transfer, now)
        elif self._keeps(source, sequence, now):
            source.engine.keep(sequence)
        else:
            self._send(source, sequence, now, None)

    def fetching(self, sequence: Sequence, now: int) -> None:
        """Let the KV flow: the decode replica has blocks for it."""
        transfer = self._transfers[sequence.request_id]
        transfer.begun, transfer.flowing = now, True
        produced = None
        if transfer.window is not None and now < transfer.window[1]:
            produced = (max(now, transfer.window[0]), transfer.window[1])
        transfer.flow = self._network.transfer(
            self._topology.path(transfer.source.index, transfer.target.index),
            sequence.remote * self._bytes_per_token,
            lambda: self._arrived(transfer),
            produced=produced,
        )

    def abort(self, request_id: int) -> bool:
        """Abort a sequence that is handed on, if it still is; whether it was.

        KV that flows is let come; the decode replica frees its blocks then.
        """
        transfer = self._transfers.get(request_id)
        if transfer is None:
            return False
        transfer.target.abort(transfer.there)
        if not transfer.flowing:
            transfer.sent = True
            self._deliver(transfer, self._network.now)
        return True

    def _keeps(self, source: Replica, sequence: Sequence, now: int) -> bool:
        """Whether a prefill replica with nothing else to do decodes itself, to spare the others."""
        if self._overflow_tokens is None or source.engine.has_work:
            return False
        prompt, output = sequence.prompt_tokens, sequence.output_tokens
        if source.engine.rejection(prompt, output):
            return False
        return all(
            replica.committed_blocks(now) * replica.engine.limits.block_size > self._overflow_tokens
            for replica in self.targets(source, prompt, output)
        )

    def _send(
        self, source: Replica, sequence: Sequence, ready: int, window: tuple[int, int] | None
    ) -> None:
        targets = self.targets(source, sequence.prompt_tokens, sequence.output_tokens)
        if not targets:
            self._strand(source, sequence, ready, window)
            return
        now = self._network.now
        if sequence.routed is None:
            raise SimulationError(f"{sequence} was never routed")
        one = len(targets) == 1
        target = targets[0] if one else self._policy.choose(targets, now, sequence.routed)
        there = _as_remote(sequence)
        done = window is None
        transfer = _Transfer(source, target, sequence, there, window, prefilled=done, ready=ready)
        self._transfers[sequence.request_id] = transfer
        target.submit(there)

    def _strand(
        self, source: Replica, sequence: Sequence, ready: int, window: tuple[int, int] | None
    ) -> None:
        """Let a request wait where it is until a decode replica is up."""
        if not self.able(source, sequence.prompt_tokens, sequence.output_tokens):
            raise SimulationError(f"{sequence} was admitted though no decode replica can take it")
        if window is None:  # else its prompt is not done yet
            self._stranded[sequence.request_id] = (source, sequence, ready)

    def _arrived(self, transfer: _Transfer) -> None:
        transfer.sent = True
        self._deliver(transfer, self._network.now)

    def _deliver(self, transfer: _Transfer, now: int) -> None:
        if not (transfer.sent and transfer.prefilled):
            return
        here, there = transfer.here, transfer.there
        del self._transfers[here.request_id]
        there.scheduled, there.first_token = here.scheduled, here.first_token
        there.last_token, there.preemptions = here.last_token, there.preemptions + here.preemptions
        begun = max(transfer.begun, transfer.ready)
        there.requeued_ticks = here.requeued_ticks + begun - transfer.ready
        there.transfer_ticks = here.transfer_ticks + now - begun
        there.preempted_ticks += here.preempted_ticks
        there.reused_tokens, there.fetched_tokens = here.reused_tokens, here.fetched_tokens
        there.retrieval_ticks, there.stall_ticks = here.retrieval_ticks, here.stall_ticks
        transfer.source.engine.sent(here)
        transfer.source.disturb()
        transfer.source.settle()
        if transfer.flowing:
            transfer.target.engine.received(there)
            transfer.target.disturb()

    # -- outages --------------------------------------------------------------------------------

    def reopen(self) -> None:
        """Send those on whose prompt is done: a decode replica is up."""
        stranded, self._stranded = self._stranded, {}
        for source, sequence, ready in stranded.values():
            self._send(source, sequence, ready, None)

    def give_up(self) -> list[Sequence]:
        """Return those that nobody will ever take, their KV let go."""
        stranded, self._stranded = self._stranded, {}
        for source, sequence, _ in stranded.values():
            source.engine.sent(sequence)
        return [sequence for _, sequence, _ in stranded.values()]

    def lose(self, replica: Replica, lost: Iterable[Sequence]) -> list[Sequence]:
        """Deal with what was on its way from or to a replica that is lost.

        KV on its way from it is lost, too; KV on its way to it goes elsewhere.

        Args:
            replica: It has lost all it had, and takes nothing any more.
            lost: What it had.

        Returns:
            What is lost in all: each request once, as the replica knew it that had it.
        """
        now = self._network.now
        gone = [t for t in self._transfers.values() if t.source is replica or t.target is replica]
        for transfer in gone:
            self._call_off(transfer)
        found = {id(sequence): sequence for sequence in lost}
        for transfer in gone:
            if transfer.source is replica:
                _take_back(transfer)
                _stop_waiting(transfer, now)
                found[id(transfer.here)] = transfer.here
            else:
                found.pop(id(transfer.there), None)
                if transfer.prefilled:
                    self._send(transfer.source, transfer.here, transfer.ready, None)
        for request, (source, sequence, ready) in list(self._stranded.items()):
            if source is replica:
                del self._stranded[request]
                sequence.requeued_ticks += now - ready
                sequence.begin_preemption(now)
                found[id(sequence)] = sequence
        return list(found.values())

    def _call_off(self, transfer: _Transfer) -> None:
        del self._transfers[transfer.here.request_id]
        if transfer.flow is not None:
            self._network.cancel(transfer.flow)


def _take_back(transfer: _Transfer) -> None:
    """Take a sequence away from a decode replica that will not get its KV."""
    target, there = transfer.target, transfer.there
    if target.withdraw(there):
        return
    target.engine.abandon(there)
    target.disturb()
    target.settle()


def _stop_waiting(transfer: _Transfer, now: int) -> None:
    """Count what a sequence has waited that was being handed over when its replica was lost."""
    here = transfer.here
    if transfer.prefilled:
        begun = max(transfer.begun, transfer.ready) if transfer.begun else now
        here.requeued_ticks += begun - transfer.ready
        here.transfer_ticks += now - begun
    here.begin_preemption(now)


def _as_remote(sequence: Sequence) -> Sequence:
    """Return the sequence as the decode replica gets it: its prompt's KV is to come."""
    there = Sequence(
        sequence.request_id,
        sequence.arrival,
        sequence.prompt_tokens,
        sequence.output_tokens,
        priority=sequence.priority,
        deadline=sequence.deadline,
    )
    there.route, there.routed, there.done = sequence.route, sequence.routed, sequence.done
    there.tenant = sequence.tenant
    there.remote = sequence.target
    there.target = sequence.target + 1
    return there
