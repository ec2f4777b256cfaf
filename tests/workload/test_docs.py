"""The page about workloads lists what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hermes.scenario.workload import WorkloadSpec
from hermes.workload import trace_names

PAGE = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text()


def test_every_reader_has_a_row():
    traces = PAGE.partition("## Traces")[2].partition("## Made up")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (?:CSV|JSON)", traces, re.MULTILINE)
    assert sorted(rows) == list(trace_names())


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_are_valid(text):
    WorkloadSpec.model_validate(yaml.safe_load(text)["workload"])


POISSON = {"process": "poisson", "rate_per_s": 1}


@pytest.mark.parametrize("text", re.findall(r"^\| `(\{[a-z_]+: \{.*\}\})` \|", PAGE, re.MULTILINE))
def test_requests_in_the_table_are_valid(text):
    if "..." not in text:
        WorkloadSpec.model_validate({"requests": yaml.safe_load(text), "arrivals": POISSON})


@pytest.mark.parametrize("text", re.findall(r"^\| `(\{process: .*\})` \|", PAGE, re.MULTILINE))
def test_arrivals_in_the_table_are_valid(text):
    block = {"requests": {"random": {}}, "arrivals": yaml.safe_load(text)}
    WorkloadSpec.model_validate(block | {"limit": {"requests": 1}})
