"""Stages that are no model calls: embedding, encoding, search, reranking, CPU work, tools.

Each is a job for a station of its client. What a stage needs and what it leaves behind is a
`Service`; how a job gets there and back is the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hermes.scenario.distributions import LengthSpec
from hermes.scenario.pipeline import Embed, Encode, Process, Rerank, Retrieve, Tool
from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.sim.pipelines.calls import BYTES_PER_TOKEN
from hermes.sim.pipelines.signal import Signal
from hermes.sim.pipelines.walk import Documents, Rejected, Visit, Walk
from hermes.sim.pipelines.world import Steps, World
from hermes.sim.route import NO_PATH
from hermes.sim.stations.choosing import StationPolicy
from hermes.sim.stations.station import Job, Station

__all__ = [
    "Embedding",
    "Encoding",
    "Processing",
    "Reranking",
    "Search",
    "Service",
    "ServiceStep",
    "ToolCall",
]

_BYTES_PER_NUMBER = 4  # of an embedding, in single precision


class Service(Protocol):
    """What a stage asks of a station."""

    def job(self, walk: Walk) -> Job | None:
        """Return the job of a walk; None where there is nothing to do."""

    def size_bytes(self, walk: Walk) -> int:
        """Return what has to move to the station."""

    def done(self, walk: Walk) -> None:
        """Let the walk take what has come of it."""


class ServiceStep:
    """A stage served by stations.

    Args:
        world: What it works with.
        stage: Its number in the log.
        service: What it asks.
        stations: Who can serve it; none: something without bounds outside.
        policy: Chooses among them.
    """

    def __init__(
        self,
        world: World,
        stage: int,
        service: Service,
        stations: Sequence[Station],
        policy: StationPolicy | None,
    ) -> None:
        self._world = world
        self._stage = stage
        self._service = service
        self._stations = stations
        self._policy = policy

    def run(self, walk: Walk) -> Steps:
        """Have the job done; see `Step.run`."""
        world, service = self._world, self._service
        begin = submitted = world.enter(walk)
        job = service.job(walk)
        if job is None:
            return
        if self._policy is not None:
            station = self._choose(walk, self._policy)
            there = world.moved(walk, station.place, service.size_bytes(walk))
            if there is not None:
                yield there
                submitted = world.env.now
            station.submit(job)
            yield job.done
            place, server = station.place, station.index
        else:
            job.started = begin
            yield world.env.timeout(job.ticks)
            place = server = -1
        walk.at = place
        queued, computed = job.started - submitted, world.env.now - job.started
        visit = Visit(self._stage, begin, queued, computed, submitted - begin, 0, 0, server)
        walk.visits.append(visit)
        service.done(walk)

    def _choose(self, walk: Walk, policy: StationPolicy) -> Station:
        """Return one of the stations that can be reached."""
        world, stations = self._world, self._stations
        if not world.reaches_all:
            stations = [s for s in stations if world.reaches(walk, s.place)]
        if not stations:
            raise Rejected(NO_PATH)
        return stations[0] if len(stations) == 1 else policy.choose(stations)


class _Drawing:
    """What services have in common: draws of their own, and the request's query.

    Args:
        world: What they work with.
        name: For the draws: `pipeline/stage`.
        model: Position of the encoder among the client's.
    """

    def __init__(self, world: World, name: str, model: int = 0) -> None:
        self._world = world
        self._name = name
        self._model = model

    def _tokens(self, spec: LengthSpec, what: str, walk: Walk) -> int:
        if isinstance(spec, int):
            return spec
        name = f"{self._name}/{what}"
        return self._world.draws.tokens(spec, name, walk.request, walk.place)

    def _query(self, spec: LengthSpec | None, walk: Walk) -> int:
        """Return the tokens of the query: as stated, or those of the request's prompt."""
        if spec is None:
            return int(self._world.workload.prompt_tokens[walk.request])
        return self._tokens(spec, "tokens", walk)

    def _job(self, items: int, tokens: int) -> Job:
        return Job(Signal(), items, tokens, self._model)


class Embedding(_Drawing):
    """The query, through an encoder."""

    def __init__(self, world: World, name: str, model: int, spec: Embed) -> None:
        super().__init__(world, name, model)
        self._spec = spec

    def job(self, walk: Walk) -> Job:
        """Return one text; see `Service.job`."""
        return self._job(1, self._query(self._spec.tokens, walk))

    def size_bytes(self, walk: Walk) -> int:
        """Return the bytes of the query."""
        return BYTES_PER_TOKEN * self._query(self._spec.tokens, walk)

    def done(self, walk: Walk) -> None:
        """Nothing but a vector has come of it, which the next stage gets; see `Service.done`."""


class Encoding(_Drawing):
    """Images or the like, through an encoder."""

    def __init__(self, world: World, name: str, model: int, spec: Encode) -> None:
        super().__init__(world, name, model)
        self._spec = spec

    def job(self, walk: Walk) -> Job:
        """Return the inputs of a request; see `Service.job`."""
        return self._job(self._spec.items, self._tokens(self._spec.tokens, "tokens", walk))

    def size_bytes(self, walk: Walk) -> int:
        """Return the bytes of what is encoded, reckoned as its tokens."""
        spec = self._spec
        return BYTES_PER_TOKEN * spec.items * self._tokens(spec.tokens, "tokens", walk)

    def done(self, walk: Walk) -> None:
        """Let the context grow; see `Service.done`."""
        spec = self._spec
        if spec.context_tokens is None:
            tokens = self._tokens(spec.tokens, "tokens", walk)
        else:
            tokens = self._tokens(spec.context_tokens, "context_tokens", walk)
        walk.context = walk.context.grown(spec.items * tokens, self._world.number())


class Search(_Drawing):
    """A query of a vector index of so many dimensions."""

    def __init__(self, world: World, name: str, dimension: int, spec: Retrieve) -> None:
        super().__init__(world, name)
        self._dimension = dimension
        self._spec = spec

    def job(self, walk: Walk) -> Job:
        """Return one query; see `Service.job`."""
        del walk
        return self._job(1, 0)

    def size_bytes(self, walk: Walk) -> int:
        """Return the bytes of the query's vector."""
        del walk
        return _BYTES_PER_NUMBER * self._dimension

    def done(self, walk: Walk) -> None:
        """Let the walk have the documents; see `Service.done`."""
        spec = self._spec
        tokens = self._tokens(spec.tokens_per_document, "tokens_per_document", walk)
        walk.documents = (*walk.documents, Documents(spec.top_k, tokens))


class Reranking(_Drawing):
    """Documents scored beside the query, the best of them kept."""

    def __init__(self, world: World, name: str, model: int, spec: Rerank) -> None:
        super().__init__(world, name, model)
        self._spec = spec

    def job(self, walk: Walk) -> Job | None:
        """Return a pair of texts for each document; see `Service.job`."""
        pairs = sum(found.count for found in walk.documents)
        if not pairs:
            return None
        tokens = sum(found.count * found.tokens for found in walk.documents)
        return self._job(pairs, self._query(self._spec.tokens, walk) + -(-tokens // pairs))

    def size_bytes(self, walk: Walk) -> int:
        """Return the bytes of all documents."""
        return BYTES_PER_TOKEN * sum(found.count * found.tokens for found in walk.documents)

    def done(self, walk: Walk) -> None:
        """Keep the best documents; see `Service.done`."""
        left = self._spec.keep
        if left is None:
            return
        kept = []
        for found in walk.documents:
            count = min(left, found.count)
            left -= count
            if count:
                kept.append(Documents(count, found.tokens))
        walk.documents = tuple(kept)


class Processing(_Drawing):
    """Work on a CPU worker."""

    def __init__(self, world: World, name: str, spec: Process) -> None:
        super().__init__(world, name)
        self._spec = spec
        self._per_token = round(spec.us_per_token * TICKS_PER_MILLISECOND / 1000)

    def job(self, walk: Walk) -> Job:
        """Return one piece of work; see `Service.job`."""
        name = f"{self._name}/service_ms"
        ticks = self._world.draws.ticks(self._spec.service_ms, name, walk.request, walk.place)
        job = self._job(1, 0)
        job.ticks = ticks + self._per_token * walk.context.tokens
        return job

    def size_bytes(self, walk: Walk) -> int:
        """Return the bytes of the context."""
        return BYTES_PER_TOKEN * walk.context.tokens

    def done(self, walk: Walk) -> None:
        """Nothing is left behind; see `Service.done`."""


class ToolCall(_Drawing):
    """A call to something outside."""

    def __init__(self, world: World, name: str, spec: Tool) -> None:
        super().__init__(world, name)
        self._spec = spec

    def job(self, walk: Walk) -> Job:
        """Return one call; see `Service.job`."""
        name = f"{self._name}/latency_ms"
        job = self._job(1, 0)
        job.ticks = self._world.draws.ticks(self._spec.latency_ms, name, walk.request, walk.place)
        return job

    def size_bytes(self, walk: Walk) -> int:
        """Return nothing: what is outside is not part of the network."""
        del walk
        return 0

    def done(self, walk: Walk) -> None:
        """Let the context grow by the result; see `Service.done`."""
        if self._spec.result_tokens is not None:
            tokens = self._tokens(self._spec.result_tokens, "result_tokens", walk)
            walk.context = walk.context.grown(tokens, self._world.number())
