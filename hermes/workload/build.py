"""From the workload block of a scenario to its requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from hermes.errors import InputError, UnknownNameError
from hermes.scenario.arrivals import (
    ArrivalSpec,
    BurstArrivals,
    ClosedLoopArrivals,
    DiurnalArrivals,
    PiecewiseArrivals,
    RampUpArrivals,
    TraceArrivals,
)
from hermes.scenario.synthetic import ServeGen, ServeGenRequests
from hermes.scenario.units import seconds_to_ticks, ticks_to_seconds
from hermes.scenario.workload import (
    DEFAULT_REQUESTS,
    MAX_REQUESTS,
    Drawn,
    LimitSpec,
    SampleRequests,
    TraceRequests,
    WorkloadSpec,
)
from hermes.workload.adapters import with_adapters
from hermes.workload.arrivals import arrival_ticks, closed_loop
from hermes.workload.choices import choose
from hermes.workload.drawn import draw_requests
from hermes.workload.servegen import generate
from hermes.workload.servegen_data import read_clients
from hermes.workload.streams import stream
from hermes.workload.traces import Trace, TraceOptions, read_trace
from hermes.workload.warm import with_earlier
from hermes.workload.workload import Column, Prefixes, Workload

__all__ = ["build_workload"]

_NO_LIMIT = LimitSpec.model_construct()


@dataclass(frozen=True, slots=True, eq=False)
class _Requests:
    """Requests before their pipelines are known."""

    arrival_ticks: Column
    prompt_tokens: Column
    output_tokens: Column
    pipeline: Column | None
    source: str
    priority: Column | None = None
    prefixes: Prefixes | None = None
    session: Column | None = None
    attributes: Mapping[str, Column] = field(default_factory=dict)


def build_workload(
    spec: WorkloadSpec, pipeline_names: Sequence[str], seed: int, folder: Path | None = None
) -> Workload:
    """Read or draw the requests that a scenario describes.

    Arrivals, prompt lengths, output lengths and pipelines are drawn from streams of their own:
    changing one of them, or the limit, leaves the draws of the others alone.

    Args:
        spec: The workload block.
        pipeline_names: Names of the scenario's pipelines, in order.
        seed: The scenario's seed.
        folder: Where relative paths start; default: the working directory.

    Raises:
        InputError: if a file is wrong, a name is unknown, or no request arrives.
    """
    if spec.warm_cache is not None:
        whole = build_workload(_with_earlier(spec, spec.warm_cache), pipeline_names, seed, folder)
        return with_earlier(whole, spec.warm_cache)
    match spec.requests:
        case TraceRequests() | SampleRequests():
            requests = _traced(spec, spec.requests, pipeline_names, seed, folder)
        case ServeGenRequests(servegen=body):
            requests = _generated(spec, body, seed, folder)
        case _:
            requests = _drawn(spec, spec.requests, seed)
    count = len(requests.arrival_ticks)
    if count == 0:
        raise InputError("no request arrives before the workload ends", "workload")
    return Workload(
        requests.arrival_ticks,
        requests.prompt_tokens,
        requests.output_tokens,
        _pipelines(spec.mix, requests.pipeline, pipeline_names, count, seed),
        tuple(pipeline_names),
        _described(spec, requests),
        requests.priority,
        requests.prefixes,
        requests.session,
        with_adapters(requests.attributes, spec.adapters, requests.session, count, seed),
        closed_loop=closed_loop(spec.arrivals, seed, count),
    )


def _with_earlier(spec: WorkloadSpec, earlier: int) -> WorkloadSpec:
    """Return the workload with so many requests more than are to be simulated."""
    if isinstance(spec.arrivals, ClosedLoopArrivals):
        raise InputError(
            "not modelled with closed-loop arrivals, which have no time before they begin",
            "workload.warm_cache",
        )
    limit = spec.limit
    if limit is not None and limit.duration_s is not None:
        raise InputError(
            "limit.duration_s counts from the first request, which is not simulated then; give "
            "limit.requests",
            "workload.warm_cache",
        )
    if limit is not None and limit.requests is not None:
        limit = LimitSpec(requests=min(limit.requests + earlier, MAX_REQUESTS))
    return spec.model_copy(update={"warm_cache": None, "limit": limit})


def _drawn(spec: WorkloadSpec, requests: Drawn, seed: int) -> _Requests:
    if spec.arrivals is None:
        raise InputError("requests drawn from lengths need arrivals", "workload.arrivals")
    limit = spec.limit or _NO_LIMIT
    count = limit.requests
    if spec.limit is None and not isinstance(spec.arrivals, PiecewiseArrivals):
        count = DEFAULT_REQUESTS
    times = arrival_ticks(spec.arrivals, seed, count, _end(limit))
    prompts, outputs, prefixes = draw_requests(requests, len(times), seed)
    return _Requests(times, prompts, outputs, None, "synthetic requests", prefixes=prefixes)


def _generated(spec: WorkloadSpec, body: ServeGen, seed: int, folder: Path | None) -> _Requests:
    limit = spec.limit or _NO_LIMIT
    path = (folder or Path()) / Path(body.path).expanduser()
    own_times = spec.arrivals is None or isinstance(spec.arrivals, TraceArrivals)
    scale = spec.arrivals.scale if isinstance(spec.arrivals, TraceArrivals) else 1.0
    # What arrives before the limit at a multiple of the rate arrives so much later at the rate.
    end = _end(limit) if own_times else None
    end = None if end is None else math.ceil(min(end * scale, 9e18))
    drawn = generate(body, read_clients(path), seed, limit.requests, end)
    arrivals = spec.arrivals or TraceArrivals(process="trace")
    times = arrival_ticks(
        arrivals, seed, len(drawn.arrival_ticks), _end(limit), drawn.arrival_ticks
    )
    count = len(times)
    source = f"ServeGen data {path.name} of {drawn.clients} clients from {body.start_s:,} s"
    return _Requests(times, drawn.prompt_tokens[:count], drawn.output_tokens[:count], None, source)


def _traced(
    spec: WorkloadSpec,
    requests: TraceRequests | SampleRequests,
    pipeline_names: Sequence[str],
    seed: int,
    folder: Path | None,
) -> _Requests:
    limit = spec.limit or _NO_LIMIT
    # A mix replaces the trace's own pipelines, so their names need not be known.
    names = None if spec.mix is not None else pipeline_names
    trace, source = _read(requests, names, limit.requests, folder)
    arrivals = spec.arrivals or TraceArrivals(process="trace")
    if trace.arrival_ticks is None and isinstance(arrivals, TraceArrivals):
        message = "the trace holds lengths without times: say when requests come"
        raise InputError(message, "workload.arrivals")
    times = arrival_ticks(arrivals, seed, len(trace), _end(limit), trace.arrival_ticks)
    if limit.requests is not None and len(trace) < limit.requests:
        source += f" (which holds {len(trace):,} of the {limit.requests:,} asked for)"
    return _first(trace, times, source)


def _first(trace: Trace, times: Column, source: str) -> _Requests:
    """Return as many requests of a trace as there are times."""
    count = len(times)
    prefixes = trace.prefixes

    def cut(column: Column | None) -> Column | None:
        return None if column is None else column[:count]

    if prefixes is not None and count < len(trace):
        prefixes = Prefixes(prefixes.block_tokens, prefixes.ids[:count])
    return _Requests(
        times,
        trace.prompt_tokens[:count],
        trace.output_tokens[:count],
        cut(trace.pipeline),
        source,
        cut(trace.priority),
        prefixes,
        cut(trace.session),
        {name: column[:count] for name, column in trace.attributes.items()},
    )


def _read(
    requests: TraceRequests | SampleRequests,
    pipeline_names: Sequence[str] | None,
    limit: int | None,
    folder: Path | None,
) -> tuple[Trace, str]:
    if isinstance(requests, TraceRequests):
        path = (folder or Path()) / Path(requests.path).expanduser()
        options = TraceOptions(requests.block_tokens, requests.chars_per_token)
        trace = read_trace(requests.trace, path, pipeline_names, limit, options)
        source = f"{requests.trace} trace {path.name}"
        return trace, f"{source} ({'; '.join(trace.notes)})" if trace.notes else source
    sample = files("hermes.workload") / "samples" / f"{requests.sample}.csv"
    with as_file(sample) as path:
        return read_trace("hermes", path, pipeline_names, limit), f"sample {requests.sample}"


def _end(limit: LimitSpec) -> int | None:
    return None if limit.duration_s is None else seconds_to_ticks(limit.duration_s)


def _pipelines(
    mix: Mapping[str, float] | None,
    traced: Column | None,
    names: Sequence[str],
    count: int,
    seed: int,
) -> Column:
    if mix is not None:
        for name in mix:
            if name not in names:
                raise UnknownNameError.among("pipeline", name, names, "workload.mix")
        drawn = stream(seed, "workload", "mix").random(count)
        return choose([mix.get(name, 0.0) for name in names], drawn)
    if traced is not None:
        return traced
    if len(names) == 1:
        return np.zeros(count, dtype=np.int64)
    listed = ", ".join(names)
    message = f"is needed to share the requests among the pipelines {listed}, got none"
    raise InputError(message, "workload.mix")


def _described(spec: WorkloadSpec, requests: _Requests) -> str:
    """Return one line for people: how many requests, from where, arriving how and how fast."""
    count = len(requests.arrival_ticks)
    seconds = ticks_to_seconds(int(requests.arrival_ticks[-1]))
    noun = "request" if count == 1 else "requests"
    if isinstance(spec.arrivals, ClosedLoopArrivals):
        return f"{count:,} {noun}: {requests.source}, {_arriving(spec.arrivals)}"
    return f"{count:,} {noun} in {seconds:,.1f} s: {requests.source}, {_arriving(spec.arrivals)}"


def _arriving(spec: ArrivalSpec | None) -> str:
    match spec:
        case None | TraceArrivals(scale=1.0):
            said = "at its own times"
        case TraceArrivals(scale=scale):
            said = f"at its own times with {scale:g} times the rate"
        case BurstArrivals():
            said = "all at once"
        case ClosedLoopArrivals(users=users, think_s=think):
            said = f"asked by {users:,} users who think for {think:g} s"
        case PiecewiseArrivals(pieces=pieces):
            said = f"Poisson arrivals in {len(pieces)} pieces"
        case RampUpArrivals(start_rate_per_s=start, end_rate_per_s=end, strategy=strategy):
            said = f"{strategy} ramp-up from {start:g}/s to {end:g}/s"
        case DiurnalArrivals(mean_rate_per_s=rate):
            said = f"diurnal arrivals at {rate:g}/s on average"
        case _:
            name = spec.process.capitalize() if spec.process == "poisson" else spec.process
            said = f"{name} arrivals at {spec.rate_per_s:g}/s"
    return said
