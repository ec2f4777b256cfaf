"""From file to scenario: defaults that make sense, and one clear error for each mistake."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest

from hermes.errors import InputError
from hermes.scenario import build_scenario, load_scenario, scenario_schema
from hermes.scenario.yaml import parse_yaml

SMALLEST = """\
workload:
  requests: {sample: chat}
clients:
  chat: {model: llama-3.1-8b, device: h100-sxm}
"""

LARGER = """\
name: two-pools
seed: 7
workload:
  requests: {lengths: {prompt: {lognormal: {mean: 517, cv: 1.0}}, output: 100}}
  arrivals: {process: gamma, rate_per_s: 8, cv: 2}
  limit: {requests: 50}
  mix: {chat: 0.7, code: 0.3}
pipelines:
  chat: [{generate: {model: llama-3.1-8b}}]
  code: [{generate: {client: coder}}]
clients:
  chat: {model: llama-3.1-8b, device: mine, costs: {linear: {step_us: 4000}}}
  coder: {model: qwen3-8b, device: a100, tensor_parallel_size: 2, batching: continuous}
devices:
  mine: {peak_tflops: {bf16: 500}, memory_gb: 96, memory_bandwidth_gb_per_s: 2000}
routing: {chat: power_of_two}
slo: {ttft_ms: 500, attainment: 0.95}
"""


def load(tmp_path: Path, text: str, *overrides: str):
    path = tmp_path / "scenario.yaml"
    path.write_text(dedent(text))
    return load_scenario(path, overrides)


def test_the_smallest_useful_scenario_is_a_model_a_device_and_a_workload(tmp_path: Path) -> None:
    scenario = load(tmp_path, SMALLEST)
    client = scenario.clients["chat"]
    assert (client.batching, client.max_num_seqs, client.block_size) == ("chunked", 128, 16)
    assert list(scenario.pipelines) == ["default"]


def test_every_block_is_read(tmp_path: Path) -> None:
    scenario = load(tmp_path, LARGER, "clients.coder.replicas=3", "slo.tpot_ms=50")
    assert scenario.clients["coder"].replicas == 3
    assert scenario.slo.tpot_ms == 50
    assert scenario.devices["mine"].memory_gb == 96


@pytest.mark.parametrize("text", [SMALLEST, LARGER])
def test_the_published_schema_accepts_what_the_loader_accepts(text: str) -> None:
    value = parse_yaml(text).value
    build_scenario(value)
    jsonschema.Draft202012Validator(scenario_schema()).validate(value)


def test_the_published_schema_refuses_an_unknown_field() -> None:
    value = parse_yaml(SMALLEST).value
    value["clients"]["chat"]["replcas"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(scenario_schema()).validate(value)


def test_every_field_of_the_schema_is_described() -> None:
    schema = scenario_schema()
    silent = [
        f"{owner}.{name}"
        for owner, body in [("Scenario", schema), *schema["$defs"].items()]
        for name, field in body.get("properties", {}).items()
        if "description" not in field and "$ref" not in field
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("override", "place", "words"),
    [
        ("clients.chat.replcas=2", "clients.chat.replcas", ["unknown field", "'replicas'"]),
        ("clients.chat.replicas=-1", "clients.chat.replicas", ["greater than or equal to 1", "-1"]),
        ("clients.chat.replicas='2'", "clients.chat.replicas", ["valid integer", "'2'"]),
        ("clients.chat.replicas=true", "clients.chat.replicas", ["valid integer", "True"]),
        ("clients.chat.replicas=2.5", "clients.chat.replicas", ["valid integer", "2.5"]),
        ("clients.chat.model=", "clients.chat.model", ["valid string", "None"]),
        ("clients.chat.dtype=bf17", "clients.chat.dtype", ["'bfloat16'", "'bf17'"]),
        ("clients.chat.gpu_memory_utilization=1.5", "clients.chat.gpu_memory_utilization", ["1.5"]),
        ("clients.chat.watermark=.nan", "clients.chat.watermark", ["finite number"]),
        ("clients.chat.costs=fast", "clients.chat.costs", ["'roofline'", "'fast'"]),
        ("clients.chat.costs={linear: {step_us: -1}}", "clients.chat.costs.linear.step_us", ["-1"]),
        ("clients.chat.costs={linear: {}}", "clients.chat.costs.linear.step_us", ["required"]),
        ("clients={}", "clients", ["at least 1"]),
        ("clients.a/b={model: m, device: d}", "clients.a/b", ["pattern"]),
        ("routing={chatt: random}", "", ["routing", "unknown client 'chatt'", "'chat'"]),
        ("workload.mix={defalt: 1}", "", ["workload.mix", "unknown pipeline", "'default'"]),
        ("pipelines={a: []}", "pipelines.a", ["at least 1"]),
        ("pipelines={a: [{generate: {client: x}}]}", "", ["unknown client 'x'", "chat"]),
        ("seed=-1", "seed", ["-1"]),
        ("slo.attainment=0", "slo.attainment", ["0"]),
        ("sloo.ttft_ms=5", "sloo", ["unknown field", "'slo'"]),
        ("workload.arrivals={process: poison, rate_per_s: 1}", "workload.arrivals", ["poisson"]),
        (
            "workload.arrivals={process: poisson, rate_per_s: -1}",
            "workload.arrivals.rate_per_s",
            ["-1"],
        ),
        ("workload.requests={sample: chatt}", "workload.requests.sample", ["'chat'"]),
    ],
)
def test_each_mistake_has_one_error_for_people(
    tmp_path: Path, override: str, place: str, words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, SMALLEST, override)
    assert caught.value.field.startswith(place)
    assert "scenario.yaml" in caught.value.file
    for word in words:
        assert word in str(caught.value)


def test_errors_in_the_file_say_their_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, SMALLEST + "  code:\n    model: m\n    device: d\n    replicas: 0\n")
    assert (caught.value.field, caught.value.line) == ("clients.code.replicas", 8)


def test_a_missing_block_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clients: this field is required"):
        load(tmp_path, "workload: {requests: {sample: chat}}\n")


def test_a_file_that_holds_a_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mapping"):
        load(tmp_path, "- a\n")
