"""Search of an IVF-PQ index with faiss, over random vectors."""

from __future__ import annotations

from typing import Any

from hermes.profile.bench import Kernel, UnsupportedError
from hermes.profile.operators.operands import Operands
from hermes.profile.point import Point

__all__ = ["search_kernels"]

_TRAINED_ON = 40  # vectors a list: faiss wants at least 39


def search_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return the search of a batch of queries.

    Raises:
        UnsupportedError: faiss is not installed.
    """
    import numpy as np

    names = ("vectors", "dimensions", "lists", "code_bytes")
    shape = tuple(point[name] for name in names)
    index = operands.kept((f"index of {shape[0]}", *shape), lambda: _index(*shape))
    generator = np.random.default_rng(1)
    queries = generator.random((point["batch"], point["dimensions"]), np.float32)
    index.nprobe = point["probes"]
    probes, top_k = point["probes"], point["top_k"]

    def search() -> object:
        index.nprobe = probes
        return index.search(queries, top_k)

    return [Kernel("faiss IndexIVFPQ on the host", search, False, host=True)]


def _index(vectors: int, dimensions: int, lists: int, code_bytes: int) -> Any:
    import numpy as np

    try:
        import faiss
    except ImportError:
        raise UnsupportedError(
            "needs faiss: pip install 'hermes-dse[profile]' (or faiss-cpu)"
        ) from None
    generator = np.random.default_rng(0)
    data = generator.random((vectors, dimensions), np.float32)
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dimensions), dimensions, lists, code_bytes, 8)
    index.cp.niter = 4
    index.train(data[: min(vectors, max(_TRAINED_ON * lists, 10_000))])
    index.add(data)
    return index
