"""Random pipelines and clients, for laws that hold for all of them."""

from __future__ import annotations

from itertools import chain
from typing import Any

from hypothesis import strategies as st

from tests.sim.pipelines.build import LLM

__all__ = ["clients", "pipelines", "requests"]


def _flat(lists: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(lists))


_tokens = st.one_of(
    st.integers(1, 60),
    st.just({"lognormal": {"mean": 30, "cv": 1.0}}),
    st.just({"geometric": {"mean": 12}}),
)
_ms = st.one_of(
    st.sampled_from([0, 0.5, 3]),
    st.just({"exponential": {"mean": 4}}),
    st.just({"uniform": {"low": 0, "high": 6}}),
)


def _optional(draw: Any, **fields: Any) -> dict[str, Any]:
    return {name: draw(values) for name, values in fields.items() if draw(st.booleans())}


@st.composite
def _call(draw: Any) -> dict[str, Any]:
    fields = _optional(
        draw,
        output_tokens=_tokens,
        prompt_tokens=_tokens,
        thought_tokens=_tokens,
        keep_thoughts=st.booleans(),
        keep_output=st.booleans(),
    )
    if "thought_tokens" in fields and draw(st.booleans()):
        fields["max_thought_tokens"] = draw(st.integers(1, 40))
    return {"generate": {"client": draw(st.sampled_from(["small", "large"])), **fields}}


@st.composite
def _retrieval(draw: Any) -> list[dict[str, Any]]:
    """Return a search, and what may go with it, as stages in order."""
    stages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        stages.append({"embed": {"model": "multilingual-e5-base"}})
    retrieve = {"top_k": draw(st.integers(1, 6)), "tokens_per_document": draw(_tokens)}
    stages.append({"retrieve": retrieve})
    if draw(st.booleans()):
        rerank = _optional(draw, keep=st.integers(1, 8), tokens=_tokens)
        stages.append({"rerank": {"model": "bge-reranker-base", **rerank}})
    return stages


_single = st.one_of(
    _call(),
    _call(),
    st.builds(lambda ms: {"process": {"service_ms": ms, "us_per_token": 2}}, _ms),
    st.builds(
        lambda ms, tokens: {"tool": {"client": "web", "latency_ms": ms, "result_tokens": tokens}},
        _ms,
        _tokens,
    ),
    st.builds(
        lambda items, tokens: {
            "encode": {"model": "multilingual-e5-base", "items": items, "tokens": tokens}
        },
        st.integers(1, 3),
        _tokens,
    ),
)


def pipelines(by_time: bool = True) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return pipelines; without `by_time`, what they do does not depend on when things happen."""
    parts = st.one_of(_single.map(lambda stage: [stage]), _retrieval())
    flat = st.lists(parts, min_size=1, max_size=2).map(_flat)
    return st.recursive(
        flat,
        lambda children: st.lists(
            st.one_of(flat, _combined(children, by_time).map(lambda stage: [stage])),
            min_size=1,
            max_size=2,
        ).map(_flat),
        max_leaves=6,
    )


def _combined(children: Any, by_time: bool) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(_loop(children), _choice(children, by_time), _parallel(children, by_time))


@st.composite
def _loop(draw: Any, children: Any) -> dict[str, Any]:
    times = draw(
        st.sampled_from([1, 2, {"geometric": {"mean": 2, "max": 4}}, {"column": "rounds"}])
    )
    return {"loop": {"times": times, "stages": draw(children)}}


@st.composite
def _choice(draw: Any, children: Any, by_time: bool) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = [
        {"difficulty": "hard"},
        {"prompt_tokens": [0, 40]},
        {"context_tokens": [60, 10**6]},
        {"attribute": {"rounds": [1, 1]}},
    ]
    if by_time:
        conditions.append({"pending_below": {"small": 2, "cpu": 3}})
    branches = {
        "a": {"when": draw(st.sampled_from(conditions)), "stages": draw(children)},
        "b": {"weight": 1, "stages": draw(children)},
        "c": {"weight": 2, "stages": []},
    }
    body: dict[str, Any] = {"branches": branches}
    if draw(st.booleans()):
        confusion = {"easy": {"easy": 3, "hard": 1}, "hard": {"easy": 1, "hard": 1}}
        body["router"] = {"client": "small", "confusion": confusion}
    return {"choice": body}


@st.composite
def _parallel(draw: Any, children: Any, by_time: bool) -> dict[str, Any]:
    if draw(st.booleans()):
        count = draw(st.integers(1, 3))
        body: dict[str, Any] = {"branches": count, "stages": draw(children)}
    else:
        body = {"each": {"x": draw(children), "y": draw(children), "z": []}}
        count = 3
    body["verdict"] = draw(st.sampled_from(["majority", "any"]))
    body["gather"] = draw(st.sampled_from(["all", "none"]))
    if by_time:
        body["verdict"] = draw(st.sampled_from(["majority", "any", "last"]))
        body["gather"] = draw(st.sampled_from(["all", "first", "none"]))
        body |= _optional(draw, wait_for=st.integers(1, count))
    return {"parallel": body}


@st.composite
def clients(draw: Any) -> dict[str, Any]:
    """Return clients that serve every kind of stage, some of them on shared devices."""
    blocks = draw(st.sampled_from([120, 400, 20_001]))
    small = {**LLM, "num_gpu_blocks_override": blocks, "replicas": draw(st.integers(1, 2))}
    small["max_num_batched_tokens"] = draw(st.sampled_from([64, 2048]))
    small["max_num_seqs"] = draw(st.sampled_from([2, 64]))
    searching = draw(st.integers(1, 2))
    return {
        "small": {**small, "quality": {"easy": 0.9, "hard": 0.3}},
        "large": {**LLM, "quality": 0.8, "enable_prefix_caching": draw(st.booleans())},
        "enc": {
            "serves": ["embed", "rerank", "encode"],
            "device": "grace",
            "replicas": searching,
            "models": ["multilingual-e5-base", "bge-reranker-base"],
            "max_num_seqs": draw(st.sampled_from([1, 4, 64])),
            "max_num_batched_tokens": draw(st.sampled_from([100, 8192])),
            **({"on": "vectors"} if draw(st.booleans()) else {}),
        },
        "vectors": {
            "serves": ["retrieve"],
            "device": "grace",
            "index": "ivfpq-1b",
            "replicas": searching,
            "max_batch_size": draw(st.sampled_from([1, 2, 64])),
        },
        "cpu": {
            "serves": ["process"],
            "device": "grace",
            "replicas": searching,
            "workers": draw(st.integers(1, 3)),
            **({"on": "vectors"} if draw(st.booleans()) else {}),
        },
        "web": {"serves": ["tool"], "max_concurrency": draw(st.integers(1, 3))},
    }


requests = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 90), st.integers(1, 40)), min_size=1, max_size=12
).map(lambda drawn: sorted(drawn, key=lambda request: request[0]))
"""Requests as (arrival in ms, prompt tokens, output tokens)."""
