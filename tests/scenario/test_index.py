"""An index that contradicts itself is refused at the field that is wrong."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from hermes.scenario.index import IndexField, IndexSpec

WHOLE = {
    "kind": "ivfpq",
    "dimension": 768,
    "vectors": 10**6,
    "n_centroids": 1024,
    "n_probe": 16,
    "sub_quantizers": 64,
}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"n_probe": 2048}, "n_probe", "more than n_centroids.*at most 1024"),
        ({"n_centroids": 10**7}, "n_centroids", "more than vectors"),
        ({"sub_quantizers": 1000}, "sub_quantizers", "more than dimension.*768"),
        ({"rerank": 10**7}, "rerank", "more than vectors"),
        ({"rerank": -1}, "rerank", "greater than or equal to 0"),
        ({"bits": 6}, "bits", "4 or 8"),
        ({"n_probe": 0}, "n_probe", "greater than or equal to 1"),
        ({"ef_search": 10}, "ef_search", "no field of an index of kind ivfpq"),
        ({"vectors": -5}, "vectors", "greater than or equal to 1"),
        ({"storage_latency_us": -1.0}, "storage_latency_us", "greater than or equal to 0"),
        ({"kind": "lsh"}, "kind", "'ivfpq', 'ivfflat', 'hnsw' or 'flat'"),
        ({"nprobe": 4}, "nprobe", "not permitted"),
        ({"n_centroids": None}, "n_centroids", "an index of kind ivfpq needs n_centroids"),
    ],
)
def test_a_senseless_block_is_refused_at_its_field(changes, field, message):
    with pytest.raises(ValidationError, match=message) as caught:
        IndexSpec(**{**WHOLE, **changes})
    assert field in {error["loc"][-1] for error in caught.value.errors()}


def test_fields_of_another_kind_are_refused_with_those_that_are_allowed():
    with pytest.raises(ValidationError, match=r"kind flat \(allowed: kind, dimension, vectors,"):
        IndexSpec(kind="flat", dimension=8, vectors=10, n_probe=1)
    with pytest.raises(ValidationError, match="no field of an index of kind hnsw"):
        IndexSpec(kind="hnsw", dimension=8, vectors=10, sub_quantizers=1)


def test_a_field_takes_a_name_or_a_block():
    adapter = TypeAdapter(IndexField)
    assert adapter.validate_python("ivfpq-1b") == "ivfpq-1b"
    assert adapter.validate_python(WHOLE) == IndexSpec(**WHOLE)
