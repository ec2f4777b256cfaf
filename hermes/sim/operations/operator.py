"""Operations of a deployment: gates before its routes, failures, autoscalers, and their toll."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermes.sim.clock import Clock
from hermes.sim.coordinator import Coordinator
from hermes.sim.deployment import Deployment
from hermes.sim.hand_off import HandOff
from hermes.sim.llm_client import ClientPlan
from hermes.sim.network import FlowNetwork
from hermes.sim.operations.autoscaler import Autoscaler
from hermes.sim.operations.failures import start_failures
from hermes.sim.operations.gate import NO_REPLICA_UP, Gate, Pool
from hermes.sim.operations.instance import Instance
from hermes.sim.operations.start_up import StartUp
from hermes.sim.operations.watch import Watch
from hermes.sim.pipelines.walk import Failed
from hermes.sim.replica import Replica
from hermes.sim.sequence import Sequence as Call

__all__ = ["Operator"]


class Operator:
    """Runs the clients of a deployment that say how they are operated.

    Args:
        env: The SimPy environment.
        deployment: The clients.
        pools: Their replicas.
        coordinator: Hears of what is lost.
        seed: Of the scenario.
    """

    def __init__(
        self,
        env: Clock,
        deployment: Deployment,
        pools: Mapping[str, Sequence[Replica]],
        coordinator: Coordinator,
        seed: int,
    ) -> None:
        self._env = env
        self._deployment = deployment
        self.replicas = pools
        self._coordinator = coordinator
        self._seed = seed
        self._gates: list[tuple[Gate, tuple[Replica, ...]]] = []
        self._hand_offs: list[HandOff] = []
        self._watch = Watch(env, coordinator.log)
        self.instances: dict[str, list[Instance]] = {}
        self._pools = {
            replica.index: Pool(client.operations, tuple(pools[client.name]))
            for client in deployment.clients
            if client.operations is not None
            for replica in pools[client.name]
        }

    def gate(self, replicas: tuple[Replica, ...], hand_off: HandOff | None) -> Gate | None:
        """Return the gate of a route; None where it is always open."""
        decode = () if hand_off is None else hand_off.replicas
        if not any(replica.index in self._pools for replica in (*replicas, *decode)):
            return None
        gate = Gate(self._env, self._pools, replicas)
        self._gates.append((gate, (*replicas, *decode)))
        if hand_off is not None:
            self._hand_offs.append(hand_off)
        return gate

    def start(self, network: FlowNetwork) -> None:
        """Begin with what happens to replicas, when all routes have their gates."""
        for client in self._deployment.clients:
            if client.operations is not None and client.operations.changes:
                self._start(client, network)

    def _start(self, client: ClientPlan, network: FlowNetwork) -> None:
        env, plan = self._env, client.operations
        assert plan is not None
        start_up = StartUp(env, network, self._deployment.topology, client.name, plan.start_up)
        released = plan.failures is not None and plan.failures.released
        instances = self.instances[client.name] = [
            Instance(env, replica, start_up, self, released, number < plan.replicas)
            for number, replica in enumerate(self.replicas[client.name])
        ]
        if plan.failures is not None:
            start_failures(env, plan.failures, instances, self._seed, client.name, self._watch)
        if plan.autoscale is not None:
            replicas = tuple(self.replicas[client.name])
            gates = [gate for gate, served in self._gates if replicas[0] in served]
            scaler = Autoscaler(env, plan.autoscale, instances, gates, self._watch)
            env.process(scaler.run())

    # -- as the overseer of instances -----------------------------------------------------------

    def went_up(self, replica: Replica) -> None:
        """Let those go on who waited for a replica."""
        for hand_off in self._hand_offs:
            if replica in hand_off.replicas:
                hand_off.reopen()
        for gate, replicas in self._gates:
            if replica in replicas:
                gate.reopen()

    def lost(self, replica: Replica, sequences: list[Call]) -> None:
        """Tell the requests of a replica that it is lost."""
        for hand_off in self._hand_offs:
            sequences = hand_off.lose(replica, sequences)
        for sequence in sequences:
            self._coordinator.lost(replica, sequence)

    def give_up(self) -> bool:
        """Let the requests fail that wait for replicas that never come; return whether any did."""
        gone = False
        for hand_off in self._hand_offs:
            for sequence in hand_off.give_up():
                gone = True
                if sequence.done is not None:
                    sequence.done.give(Failed(NO_REPLICA_UP))
        for gate, _ in self._gates:
            gone = gate.give_up() or gone
        return gone
