"""Routing: which of several replicas serves a request.

Adding a policy: a class like those in `least.py`, with its options in `hermes.scenario.routing`
where it has any, its module imported here, and a test.
"""

from hermes.sim.routing.adapters import AdapterAffinity
from hermes.sim.routing.affinity import KvOverlap, PrefixAffinity, WeightedScores
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.blind import Random, RoundRobin
from hermes.sim.routing.drain import ShortestDrain
from hermes.sim.routing.heavy_light import HeavyLight
from hermes.sim.routing.least import (
    FewestDecodes,
    FewestPendingTokens,
    JoinShortestQueue,
    LeastLoaded,
    Oracle,
    PowerOfTwo,
)
from hermes.sim.routing.request import RoutedRequest
from hermes.sim.routing.sessions import ConsistentHash, SessionSticky

__all__ = [
    "ROUTING",
    "AdapterAffinity",
    "ConsistentHash",
    "FewestDecodes",
    "FewestPendingTokens",
    "HeavyLight",
    "JoinShortestQueue",
    "KvOverlap",
    "LeastLoaded",
    "Oracle",
    "PowerOfTwo",
    "PrefixAffinity",
    "Random",
    "RoundRobin",
    "RoutedRequest",
    "RoutingPolicy",
    "SessionSticky",
    "ShortestDrain",
    "WeightedScores",
]
