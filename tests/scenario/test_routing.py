"""The routing block of a scenario."""

from __future__ import annotations

import inspect

import pytest

from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.scenario.routing import RoutingBlock
from hermes.scenario.schema import scenario_schema
from hermes.sim.deployment import resolve
from hermes.sim.explain import list_known
from hermes.sim.routing import ROUTING, RoutingPolicy
from hermes.sim.simulation import simulate

OPTIONS = {
    name: field
    for name, field in RoutingBlock.model_fields.items()
    if name not in {"policy", "options", "signal_interval_ms"}
}


def scenario(routing: object):
    return build_scenario(
        {
            "workload": {"requests": {"sample": "chat"}, "limit": {"requests": 30}},
            "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm", "replicas": 3}},
            "routing": {"chat": routing},
        }
    )


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_options_and_defaults_are_those_of_the_class(name: str) -> None:
    spec = next(a for a in OPTIONS[name].annotation.__args__ if a is not type(None))
    parameters = dict(inspect.signature(ROUTING.find(name, "").__init__).parameters)
    for own in ("self", "rng", "interval"):
        del parameters[own]
    assert spec().model_dump() == {key: value.default for key, value in parameters.items()}


@pytest.mark.parametrize(
    "routing",
    [
        "round_robin",
        {"policy": "round_robin"},
        {"policy": "join_shortest_queue", "signal_interval_ms": 100},
        {"heavy_light": {"prompt_tokens": 1000}},
        {"heavy_light": {}, "signal_interval_ms": 0.5},
        {"policy": "power_of_two", "options": {"signal": "decodes"}},
        {"consistent_hash": {"load_factor": None}},
        *[{name: {}} for name in sorted(OPTIONS)],
    ],
    ids=str,
)
def test_ways_to_name_a_policy(routing: object) -> None:
    result = simulate(scenario(routing))
    assert result.summary["completed"] == 30


def test_without_options_a_key_and_a_name_are_the_same() -> None:
    logs = [simulate(scenario(r)).requests for r in ("power_of_two", {"power_of_two": {}})]
    assert logs[0].replica.tolist() == logs[1].replica.tolist()


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        ("least_loadd", ["routing.chat", "unknown routing policy 'least_loadd'", "'least_loaded'"]),
        ({"heavy_lite": {}}, ["routing.chat.heavy_lite", "unknown field", "'heavy_light'"]),
        ({"heavy_light": {"promt_tokens": 3}}, ["heavy_light.promt_tokens", "'prompt_tokens'"]),
        ({"heavy_light": {"prompt_tokens": 0}}, ["routing.chat.heavy_light.prompt_tokens", "0"]),
        ({"heavy_light": {"heavy_share": 1.0}}, ["heavy_share", "less than 1"]),
        ({"heavy_light": {"by": "prompts"}}, ["heavy_light.by", "'prompt'"]),
        ({"least_loaded": {"signal": "kv_block"}}, ["least_loaded.signal", "kv_blocks"]),
        ({"least_loaded": {}, "power_of_two": {}}, ["one policy", "least_loaded", "power_of_two"]),
        ({}, ["routing.chat", "one policy", "none"]),
        ({"signal_interval_ms": 5}, ["one policy", "none"]),
        (3, ["routing.chat", "a name or a mapping"]),
        ({"least_loaded": {}, "signal_interval_ms": 0}, ["signal_interval_ms", "greater than 0"]),
        ({"least_loaded": {}, "options": {"a": 1}}, ["options", "own key"]),
        ({"policy": "round_robin", "options": {"a": 1}}, ["routing.chat.options.a", "no options"]),
        (
            {"policy": "power_of_two", "options": {"signl": "decodes"}},
            ["routing.chat.options.signl", "'signal'"],
        ),
        ({"policy": "oracl"}, ["routing.chat.policy", "unknown routing policy", "'oracle'"]),
        ("no_such_module:Mine", ["routing.chat", "cannot import", "no_such_module"]),
        ("tests.scenario.test_routing:Nothing", ["routing.chat", "cannot import", "Nothing"]),
        ("tests.scenario.test_routing:OPTIONS", ["routing.chat", "is no class"]),
        ("tests.scenario.test_routing:Mute", ["routing.chat", "no method choose(self, replicas"]),
        ("tests.scenario.test_routing:Unfinished", ["routing.chat", "lacks choose"]),
        ("tests.scenario.test_routing:Short", ["routing.chat", "cannot be called as choose("]),
        ("tests.scenario.test_routing:Picky", ["routing.chat", "cannot be made", "weight"]),
        (
            {"policy": "tests.scenario.test_routing:Picky", "options": {"weight": -1}},
            ["routing.chat.options", "cannot be made", "negative weight"],
        ),
        (
            {"policy": "tests.scenario.test_routing:Timeless", "signal_interval_ms": 5},
            ["routing.chat.signal_interval_ms", "takes no `interval`"],
        ),
    ],
    ids=str,
)
def test_mistakes_are_named_before_time_starts(routing: object, expected: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        resolve(scenario(routing))
    for part in expected:
        assert part in str(caught.value)


class Mute:
    def __init__(self, rng: object) -> None: ...


class Unfinished(RoutingPolicy):
    pass


class Short:
    def __init__(self, rng: object) -> None: ...
    def choose(self, replicas: list[object]) -> object: ...


class Picky(RoutingPolicy):
    def __init__(self, rng, interval=0, *, weight) -> None:
        super().__init__(rng, interval)
        if weight < 0:
            raise ValueError("negative weight")

    def choose(self, replicas, now, request):
        return replicas[0]


class Timeless:
    def __init__(self, rng: object) -> None: ...
    def choose(self, replicas, now, request):
        return replicas[0]


def test_clients_that_share_a_stage_need_the_same_policy() -> None:
    base = {"model": "llama-3.1-8b", "device": "h100-sxm"}
    facts = {
        "workload": {"requests": {"sample": "chat"}, "limit": {"requests": 10}},
        "clients": {"a": base, "b": base},
    }
    block = {"heavy_light": {"prompt_tokens": 100}}
    resolve(build_scenario({**facts, "routing": {"a": block, "b": block}}))
    with pytest.raises(InputError, match="one policy"):
        resolve(build_scenario({**facts, "routing": {"a": block}}))


def test_the_catalog_lists_every_policy_with_a_meaning() -> None:
    rows = [row for row in list_known("policies") if row["kind"] == "routing"]
    assert {row["name"] for row in rows} == set(ROUTING)
    assert all(row["meaning"].endswith((".", "docs/routing.md.")) for row in rows)
    assert set(OPTIONS) <= {row["name"] for row in rows}


def test_the_schema_knows_the_options() -> None:
    definitions = scenario_schema()["$defs"]
    assert set(OPTIONS) < set(definitions["RoutingBlock"]["properties"])
    assert definitions["HeavyLightOptions"]["properties"]["prompt_tokens"]["default"] == 2048
    undocumented = [
        name
        for block in ("RoutingBlock", "HeavyLightOptions", "PrefixAffinityOptions")
        for name, facts in definitions[block]["properties"].items()
        if not facts.get("description")
    ]
    assert not undocumented


def test_options_are_search_dimensions_by_their_path() -> None:
    from hermes.scenario.overrides import apply_override

    given = {"routing": {"chat": {"heavy_light": {}}}}
    changed = apply_override(given, "routing.chat.heavy_light.prompt_tokens", 512)
    assert changed["routing"]["chat"]["heavy_light"]["prompt_tokens"] == 512
