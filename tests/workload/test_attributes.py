"""Columns `attribute.NAME` of a trace reach the workload, cut with it and part of its digest."""

from __future__ import annotations

import pytest

from hermes.scenario.loading import build_scenario
from hermes.workload import Workload, build_workload

HEADER = "arrival_s,prompt_tokens,output_tokens,attribute.calls,attribute.images"
ROWS = ["0,10,5,3,0", "1,11,6,0,7", "2,12,7,4,1"]


@pytest.fixture
def built(tmp_path):
    def build(rows=ROWS, header=HEADER, **workload) -> Workload:
        (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
        scenario = build_scenario(
            {
                "workload": {"requests": {"trace": "hermes", "path": "t.csv"}, **workload},
                "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
            }
        )
        return build_workload(scenario.workload, ("default",), 0, tmp_path)

    return build


def test_they_are_columns_of_the_workload(built):
    workload = built()
    assert {name: column.tolist() for name, column in workload.attributes.items()} == {
        "calls": [3, 0, 4],
        "images": [0, 7, 1],
    }


@pytest.mark.parametrize("limit", [{"requests": 2}, {"duration_s": 1.5}])
def test_a_limit_cuts_them(built, limit):
    workload = built(limit=limit)
    assert len(workload) == 2
    assert workload.attributes["calls"].tolist() == [3, 0]


def test_they_keep_with_their_requests_under_other_arrivals(built):
    workload = built(arrivals={"process": "burst"})
    assert workload.attributes["images"].tolist() == [0, 7, 1]


def test_they_are_part_of_the_digest(built):
    digest = built().digest()
    assert built().digest() == digest
    assert built([*ROWS[:2], "2,12,7,5,1"]).digest() != digest
    assert built(header=HEADER.replace("images", "pictures")).digest() != digest


def test_they_are_read_only(built):
    with pytest.raises(ValueError, match="read-only"):
        built().attributes["calls"][0] = 1
