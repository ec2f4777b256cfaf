"""A user's own retrieval index: the block that describes what the catalog lacks.

Four kinds are known: `ivfpq` (inverted lists of product-quantized codes), `ivfflat` (inverted lists
of whole vectors), `hnsw` (a graph) and `flat` (every vector is compared). Fields of another kind
than the index's own are errors, not ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from hermes.scenario.base import NonNegative, PositiveInt, Spec

__all__ = ["IndexField", "IndexKind", "IndexSpec", "VectorDtype"]

IndexKind = Literal["ivfpq", "ivfflat", "hnsw", "flat"]
VectorDtype = Literal["fp32", "fp16", "int8"]

_LISTS = ("n_centroids", "n_probe", "coarse", "coarse_ef_search")
_CODES = ("sub_quantizers", "bits", "residual", "rerank", "rerank_from", "storage_latency_us")
_GRAPH = ("m", "ef_search", "segments")
_NEEDED = {
    "ivfpq": ("n_centroids", "n_probe", "sub_quantizers"),
    "ivfflat": ("n_centroids", "n_probe"),
    "hnsw": (),
    "flat": (),
}
_FOREIGN = {
    "ivfpq": _GRAPH,
    "ivfflat": (*_CODES, *_GRAPH),
    "hnsw": (*_LISTS, *_CODES),
    "flat": (*_LISTS, *_CODES, *_GRAPH),
}


class IndexSpec(Spec):
    """One retrieval index: what it holds, and how a query searches it."""

    kind: IndexKind
    """ivfpq, ivfflat, hnsw or flat."""
    dimension: PositiveInt
    """Values of a vector: the width of the embedding."""
    vectors: PositiveInt
    """Vectors held."""
    vector_dtype: VectorDtype = "fp32"
    """How whole vectors are stored (hnsw, flat, ivfflat, and what ivfpq re-ranks with)."""
    n_centroids: PositiveInt | None = None
    """Inverted lists."""
    n_probe: PositiveInt | None = None
    """Lists that a query scans."""
    coarse: Literal["flat", "hnsw"] = "flat"
    """How the lists to scan are found: by comparing all centroids, or over a graph of them."""
    coarse_ef_search: PositiveInt = 64
    """Candidates kept while the graph of centroids is searched."""
    sub_quantizers: PositiveInt | None = None
    """Codes of a vector."""
    bits: Literal[4, 8] = 8
    """Of one code: 4 is searched in registers (fast scan), 8 through tables in cache."""
    residual: bool = True
    """Whether codes are of a vector's difference to its centroid: better recall, and with 4 bits a
    table for each list and not each query (faiss's PQ...x4fsr and PQ...x4fs)."""
    rerank: Annotated[int, Field(ge=0)] = 0
    """Vectors compared again exactly at the end; 0 for none."""
    rerank_from: Literal["memory", "storage"] = "memory"
    """Where the whole vectors lie that are compared again."""
    storage_latency_us: NonNegative = 100.0
    """Of one read where they lie on storage."""
    m: PositiveInt = 16
    """Neighbours of a vector in the graph (twice as many in its lowest layer)."""
    ef_search: PositiveInt = 100
    """Candidates kept while the graph is searched."""
    segments: PositiveInt = 1
    """Graphs that the vectors are dealt to, each searched by every query."""
    request_us: NonNegative = 0.0
    """Time of one core (or of an accelerator's host) that a server spends around a query."""
    threads_per_query: PositiveInt | None = None
    """Cores of a processor that work on one query; default: one for hnsw, all otherwise."""

    @model_validator(mode="after")
    def _agrees_with_its_kind(self) -> Self:
        for name in _NEEDED[self.kind]:
            if getattr(self, name) is None:
                raise _wrong(name, f"an index of kind {self.kind} needs {name}", None)
        for name in _FOREIGN[self.kind]:
            if name in self.model_fields_set:
                allowed = [field for field in type(self).model_fields if self._has(field)]
                message = f"no field of an index of kind {self.kind} (allowed: "
                raise _wrong(name, f"{message}{', '.join(allowed)})", getattr(self, name))
        return self

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        limits = (
            ("n_centroids", self.vectors, "vectors"),
            ("n_probe", self.n_centroids, "n_centroids"),
            ("sub_quantizers", self.dimension, "dimension"),
            ("rerank", self.vectors, "vectors"),
            ("segments", self.vectors, "vectors"),
        )
        for name, most, limit in limits:
            given = getattr(self, name)
            if given is not None and most is not None and given > most:
                raise _wrong(name, f"more than {limit} (allowed: at most {most})", given)
        return self

    def _has(self, field: str) -> bool:
        return field not in _FOREIGN[self.kind]


IndexField = Annotated[
    Annotated[str, Tag("name")] | Annotated[IndexSpec, Tag("own")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "own"),
]
"""An index by its name in the catalog, or described in place."""


def _wrong(field: str, message: str, given: object) -> ValidationError:
    """Return an error that stands at the field, not at the block."""
    kind = PydanticCustomError("contradiction", message)  # type: ignore[arg-type,unused-ignore]
    detail = InitErrorDetails(type=kind, loc=(field,), input=given)
    return ValidationError.from_exception_data("IndexSpec", [detail])
