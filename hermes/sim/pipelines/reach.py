"""Whether a pipeline's data can get from each stage to the next over the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermes.errors import InfeasibleError
from hermes.sim.pipelines.plan import (
    CallPlan,
    ChoicePlan,
    LoopPlan,
    ParallelPlan,
    PipelinePlan,
    ServicePlan,
    StagePlan,
)
from hermes.sim.topology import Topology

__all__ = ["require_reach"]

_Places = dict[str, None]
"""Clients where a request's data may be; a dict for its order."""


def require_reach(pipeline: PipelinePlan, topology: Topology, hosts: Mapping[str, str]) -> None:
    """Check that from wherever a stage leaves a request some replica of the next can be reached.

    Args:
        pipeline: The pipeline.
        topology: Where everything stands.
        hosts: The client whose devices a client is on, for those on another's.

    Raises:
        InfeasibleError: naming the stage and the two clients.
    """
    sites: dict[str, list[int]] = {}
    for place, site in enumerate(topology.sites):
        sites.setdefault(site.client, []).append(place)
    for client, host in hosts.items():
        sites[client] = sites[host]
    _Reach(topology, sites).through(pipeline.stages, {})


class _Reach:
    """Follows the stages of a pipeline from client to client."""

    def __init__(self, topology: Topology, sites: Mapping[str, Sequence[int]]) -> None:
        self._topology = topology
        self._sites = sites

    def through(self, stages: Sequence[StagePlan], before: _Places) -> _Places:
        """Return where a request may be after stages, given where it may be before."""
        for stage in stages:
            before = self._pass(stage, before)
        return before

    def _pass(self, stage: StagePlan, before: _Places) -> _Places:
        match stage:
            case CallPlan():
                self._check(stage.where, before, stage.route.clients)
                last = stage.route.decode or stage.route
                return dict.fromkeys(last.clients)
            case ServicePlan():
                known = stage.client in self._sites
                self._check(stage.where, before, [stage.client] if known else [])
                return {stage.client: None} if known else {}
            case LoopPlan():
                once = self.through(stage.stages, before)
                return self.through(stage.stages, once)
            case ParallelPlan():
                after: _Places = {}
                for branch in stage.branches:
                    after |= self.through(branch, before)
                return after
            case ChoicePlan():
                if stage.router is not None:
                    before = self._pass(stage.router, before)
                after = {}
                for branch in stage.branches:
                    after |= self.through(branch, before)
                return after

    def _check(self, where: str, before: _Places, clients: Sequence[str]) -> None:
        targets = [place for client in clients for place in self._sites[client]]
        if not targets:
            return
        for client in before:
            for source in self._sites[client]:
                if not any(self._topology.reaches(source, target) for target in targets):
                    name = self._topology.sites[source].name
                    raise InfeasibleError(
                        f"no replica of {', '.join(clients)} can be reached from {name}, where the "
                        f"stage before is served: the network reaches no further than a "
                        f"{self._topology.reach} (allowed: all, rack, node)",
                        where,
                    )
