"""Pipelines that cannot be are refused before time starts, with one line that names the place."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from hermes.cli import main
from hermes.errors import InfeasibleError, InputError
from hermes.scenario.loading import build_scenario
from hermes.scenario.schema import scenario_schema
from hermes.sim import simulate
from tests.sim.pipelines.build import CPU, LLM, call, work

VECTORS = {"serves": ["retrieve"], "device": "grace", "index": "ivfpq-1b"}
ENCODER = {"serves": ["embed", "rerank"], "device": "l40s", "models": ["multilingual-e5-base"]}
WEB = {"serves": ["tool"]}
FIND: dict[str, Any] = {"retrieve": {}}
RERANK: dict[str, Any] = {"rerank": {}}
EASY = {"difficulty": {"easy": 1, "hard": 1}}
ESCALATE = {"when": {"doubted": {"right": 0, "wrong": 1}}, "stages": [call()]}
RETRIEVING = {"llm": LLM, "vectors": VECTORS, "enc": ENCODER}
WORKING = {"llm": LLM, "cpu": CPU}


def choice(router=None, **branches):
    body = {"branches": branches, **({"router": router} if router else {})}
    return {"choice": body}


def loop(times):
    return {"loop": {"times": times, "stages": [call()]}}


def document(stages, clients=None, workload=None, **fields) -> dict[str, Any]:
    return {
        "workload": {
            "requests": {"sample": "chat"},
            "limit": {"requests": 3},
            **(workload or {}),
        },
        "pipelines": {"p": stages},
        "clients": clients or {"llm": LLM},
        **fields,
    }


def refused(stages, clients=None, workload=None, **fields) -> InputError:
    with pytest.raises(InputError) as caught:
        simulate(build_scenario(document(stages, clients, workload, **fields)))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("stages", "clients", "field", "said"),
    [
        # Nobody there
        ([FIND], None, "0.retrieve", "no client serves this stage .*retrieve"),
        ([call()], {"cpu": CPU}, "0.generate", "no client serves this stage .*generate"),
        ([call(client="lm")], None, "0.generate.client", "'lm'; did you mean 'llm'"),
        ([call(client="cpu"), work(1)], WORKING, "0.generate.client", "serves process, not gen"),
        (
            [choice(router={"client": "lm"}, a={})],
            None,
            "0.choice.router.client",
            "did you mean 'llm'",
        ),
        (
            [FIND],
            {"one": VECTORS, "two": VECTORS},
            "0.retrieve.client",
            "several clients serve retrieve: name one of one, two",
        ),
        (
            [{"tool": {"latency_ms": 1}}],
            {"one": WEB, "two": WEB},
            "0.tool.client",
            "several clients serve tool: name one of one, two",
        ),
        (
            [{"embed": {"model": "bge-reranker-base"}}],
            {"enc": {**ENCODER, "serves": ["embed"]}},
            "0.embed.model",
            "unknown encoder 'bge-reranker-base' .*multilingual-e5-base",
        ),
        (
            [{"embed": {}}],
            {"enc": {**ENCODER, "models": ["multilingual-e5-base", "bge-reranker-base"]}},
            "0.embed.model",
            "holds several encoders: name one of",
        ),
        # Nothing there
        ([RERANK, call()], RETRIEVING, "0.rerank", "nothing to rerank"),
        ([FIND, call(), RERANK], RETRIEVING, "2.rerank", "nothing to rerank"),
        (
            [choice(a={"stages": [FIND, call()]}, b={"stages": [RERANK]})],
            RETRIEVING,
            "0.choice.branches.b.stages.0.rerank",
            "nothing to rerank",
        ),
        (
            [choice(a=ESCALATE, b={})],
            {"llm": {**LLM, "quality": 0.5}},
            "0.choice.branches.a.when.doubted",
            "no answer to doubt",
        ),
        (
            [call(), choice(a=ESCALATE, b={})],
            None,
            "1.choice.branches.a.when.doubted",
            "'llm' gives the answer: it needs a `quality`",
        ),
        # Branches
        ([choice(a={"weight": 0})], None, "0.choice.branches", "weight above 0"),
        (
            [choice(a={"when": {"prompt_tokens": [0, 5]}})],
            None,
            "0.choice.branches",
            "give one without `when`",
        ),
        (
            [choice(a={"when": {"prompt_tokens": [0, 5]}, "weight": 1}, b={})],
            None,
            "0.choice.branches.a",
            "not both",
        ),
        ([choice(a={"when": {}}, b={})], None, "0.choice.branches.a.when", "holds no condition"),
        (
            [choice(a={"when": {"context_tokens": [5, 1]}}, b={})],
            None,
            "0.choice.branches.a.when",
            "context_tokens: 5 to 1 holds nothing",
        ),
        (
            [choice(a={"when": {"attribute": {"x": [5, 1]}}}, b={})],
            None,
            "0.choice.branches.a.when",
            "attribute.x: 5 to 1 holds nothing",
        ),
        (
            [choice(a={"when": {"pending_below": {"lm": 3}}}, b={})],
            None,
            "0.choice.branches.a.when.pending_below",
            "did you mean 'llm'",
        ),
        (
            [choice(a={"when": {"difficulty": "hard"}}, b={})],
            None,
            "0.choice.branches.a.when.difficulty",
            "unknown difficulty class 'hard'",
        ),
        (
            [{"parallel": {"branches": 2, "stages": [], "wait_for": 3}}],
            None,
            "0.parallel",
            "3 of 2 branches",
        ),
        (
            [{"parallel": {"branches": 2, "stages": [], "each": {"a": []}}}],
            None,
            "0.parallel",
            "either `branches` .* or `each`",
        ),
        # Columns
        ([loop({"column": "calls"})], None, "", "no column 'attribute.calls' .columns: none"),
        (
            [choice(a={"when": {"attribute": {"calls": [1, 2]}}}, b={}), call()],
            None,
            "",
            "no column 'attribute.calls'",
        ),
        # Misspelt, at depth
        ([{"generat": {}}], None, "0", "got 'generat'; did you mean 'generate'"),
        (["generate"], None, "0", "a stage is a mapping with one of the keys generate"),
        ([{"generate": {}, **FIND}], None, "0", "only one of the keys"),
        (
            [choice(a={"stages": [{"parallel": {"branches": 2, "stages": [{"tol": {}}]}}]})],
            None,
            "0.choice.branches.a.stages.0.parallel.stages.0",
            "got 'tol'; did you mean 'tool'",
        ),
        (
            [{"parallel": {"each": {"x": [{"loop": {"times": 2, "stages": [call(modl="a")]}}]}}}],
            None,
            "0.parallel.each.x.0.loop.stages.0.generate.modl",
            "did you mean 'model'",
        ),
        ([choice(a={"stagse": []})], None, "0.choice.branches.a.stagse", "did you mean 'stages'"),
        (
            [choice(a={"when": {"promt_tokens": [0, 1]}}, b={})],
            None,
            "0.choice.branches.a.when.promt_tokens",
            "did you mean 'prompt_tokens'",
        ),
        ([loop({"colum": "calls"})], None, "0.loop.times.colum", "did you mean 'column'"),
        # Numbers
        ([loop(0)], None, "0.loop.times", "whole number from 1"),
        ([work(-1)], {"cpu": CPU}, "0.process.service_ms", "greater than or equal to 0, got -1"),
        ([work(1e300)], {"cpu": CPU}, "0.process.service_ms", "less than or equal to 100000000"),
        (
            [work({"exponential": {"mean": 0}})],
            {"cpu": CPU},
            "0.process.service_ms.exponential.mean",
            "greater than 0",
        ),
        (
            [work({"uniform": {"low": 3, "high": 2}})],
            {"cpu": CPU},
            "0.process.service_ms.uniform",
            "must not exceed",
        ),
        ([{"retrieve": {"top_k": 0}}], RETRIEVING, "0.retrieve.top_k", "greater than or equal"),
        ([FIND, {"rerank": {"keep": 0}}], RETRIEVING, "1.rerank.keep", "greater than or equal"),
        ([call(max_thought_tokens=9)], None, "0.generate", "thought_tokens`, which is not given"),
        ([], None, "", "at least 1 item"),
        ({"generate": {}}, None, "", "a list"),
    ],
)
def test_stages(stages, clients, field, said):
    error = refused(stages, clients)
    assert error.field == (f"pipelines.p.{field}" if field else "pipelines.p")
    with pytest.raises(InputError, match=said):
        raise error


@pytest.mark.parametrize(
    ("confusion", "said"),
    [
        ({"eesy": {"easy": 1}}, "did you mean 'easy'"),
        ({"easy": {"hrad": 1}}, "did you mean 'hard'"),
        ({"easy": {"easy": 0}}, "easy: at least one weight must be above 0"),
        ({"easy": {}}, "easy: at least one weight must be above 0"),
    ],
)
def test_confusions(confusion, said):
    error = refused([choice(router={"confusion": confusion}, a={})], workload=EASY)
    assert error.field == "pipelines.p.0.choice.router.confusion"
    with pytest.raises(InputError, match=said):
        raise error


@pytest.mark.parametrize(
    ("clients", "field", "said"),
    [
        ({"llm": LLM, "cpu": CPU}, "cpu", "no pipeline reaches this client"),
        ({"llm": LLM, "x": {"serves": ["retreive"]}}, "x", "did you mean 'retrieve'"),
        (
            {"llm": LLM, "x": {**VECTORS, "serves": ["retrieve", "embed"]}},
            "x.serves.1",
            "input should be 'retrieve'",
        ),
        ({"llm": LLM, "x": {**CPU, "serves": "process"}}, "x.serves", "a list"),
        ({"llm": "fast"}, "llm", "a client is a mapping"),
        ({"llm": LLM, "x": {**CPU, "workers": 0}}, "x.workers", "greater than or equal to 1"),
        ({"llm": LLM, "x": {**CPU, "max_num_seqs": 1}}, "x.max_num_seqs", "unknown field"),
        ({"llm": LLM, "x": {**WEB, "max_concurrency": 0}}, "x.max_concurrency", "equal to 1"),
        ({"llm": LLM, "x": {**VECTORS, "index": "ivfpq-1bb"}}, "x.index", "did you mean"),
        ({"llm": LLM, "x": {**VECTORS, "device": "l40s"}}, "x.index", "needs .* GB"),
        ({"llm": LLM, "x": {**ENCODER, "models": ["llama-3.1-70b"]}}, "x.models.0", "GB"),
        ({"llm": LLM, "x": {**CPU, "on": "llm"}}, "x.on", "'llm' has no devices to share"),
        ({"llm": LLM, "x": {**CPU, "on": "x"}}, "x.on", "'x' has no devices to share"),
        ({"llm": LLM, "v": VECTORS, "x": {**CPU, "on": "vv"}}, "x.on", "unknown client 'vv'"),
        (
            {"llm": LLM, "v": VECTORS, "x": {**CPU, "on": "v", "replicas": 2}},
            "x.on",
            "must be the same",
        ),
        (
            {"llm": LLM, "v": VECTORS, "w": {**CPU, "on": "v"}, "x": {**CPU, "on": "w"}},
            "x.on",
            "name that",
        ),
        ({"llm": {**LLM, "quality": 1.5}}, "llm.quality", "less than or equal to 1"),
        ({"llm": {**LLM, "quality": {"easy": 0.5}}}, "llm.quality", "workload.difficulty is not"),
    ],
)
def test_clients(clients, field, said):
    error = refused([call()], clients)
    assert error.field == f"clients.{field}"
    with pytest.raises(InputError, match=said):
        raise error


@pytest.mark.parametrize(
    ("policy", "said"),
    [("least_loaded", "allowed: join_shortest"), ("round_robbin", "did you mean 'round_robin'")],
)
def test_routing_that_a_client_without_a_kv_cache_does_not_know(policy, said):
    clients = {"llm": LLM, "vectors": VECTORS}
    error = refused([FIND, call()], clients, routing={"vectors": policy})
    assert error.field == "routing.vectors"
    with pytest.raises(InputError, match=said):
        raise error


def apart(reach):
    nodes = {"a": {"replicas": {"llm": [0]}}, "b": {"replicas": {"vectors": [0]}}}
    return {"topology": {"reach": reach, "nodes": nodes}}


def test_a_stage_that_the_network_does_not_reach():
    clients = {"llm": LLM, "vectors": VECTORS}
    error = refused([FIND, call()], clients, **apart("node"))
    assert isinstance(error, InfeasibleError)
    assert error.field == "pipelines.p.1.generate"
    assert "no replica of llm can be reached from vectors/0" in error.message
    assert simulate(build_scenario(document([FIND, call()], clients, **apart("rack"))))


def test_a_call_goes_to_replicas_that_the_data_can_reach():
    """Of two replicas the router would choose the idle one; it is on another node."""
    nodes = {
        "a": {"replicas": {"vectors": [0], "llm": [0]}},
        "b": {"replicas": {"llm": [1]}},
    }
    clients = {"llm": {**LLM, "replicas": 2}, "vectors": VECTORS}
    scenario = document(
        [FIND, call()],
        clients,
        topology={"reach": "node", "nodes": nodes},
        routing={"llm": "round_robin"},
    )
    found = simulate(build_scenario(scenario), check=True).requests
    assert found.completed.all()
    assert set(found.replica.tolist()) == {0}


def test_a_request_too_long_for_a_later_call_is_rejected_with_a_reason():
    clients = {"llm": {**LLM, "max_model_len": 4000}, "vectors": VECTORS}
    found = simulate(build_scenario(document([FIND, call()], clients)), check=True).requests
    assert not found.completed.any()  # ten documents of 512 tokens
    assert all(found.reason)
    assert set(found.generated_tokens.tolist()) == {0}


def test_the_only_client_of_tools_is_used_where_none_is_named():
    stages = [{"tool": {"latency_ms": 10}}]
    clients = {"web": {**WEB, "max_concurrency": 1}}
    burst = {"arrivals": {"process": "burst"}}
    found = simulate(build_scenario(document(stages, clients, burst))).requests
    assert found.finished.tolist() == [10 * 10**9, 20 * 10**9, 30 * 10**9]


def test_a_scenario_without_language_model_or_device_has_a_summary():
    result = simulate(build_scenario(document([{"tool": {"latency_ms": 10}}], {"web": WEB})))
    assert result.summary["completed"] == 3
    assert result.summary["devices"] == 0
    assert result.summary["ttft_ms.mean"] is None


def test_names_are_made_distinct_whatever_the_user_calls_stages():
    stages = [call(name="generate-2"), call(), call(), call(name="generate-2")]
    found = simulate(build_scenario(document(stages))).requests
    names = [name.partition("/")[2] for name in found.stages.stage_names]
    assert names == ["generate-2", "generate", "generate-3", "generate-2-2"]


@pytest.mark.parametrize("command", ["simulate", "check"])
def test_the_command_says_it_in_a_line_and_exits_with_2(tmp_path, capsys, command):
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(document([choice(a={"weight": 0})])))
    with pytest.raises(SystemExit) as ended:
        main([command, str(path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "pipelines.p.0.choice.branches: at least one branch" in said
    assert "scenario.yaml" in said
    assert len(said.splitlines()) == 1


EVERYTHING = [
    {"process": {"name": "guard", "service_ms": 4, "us_per_token": 0.5}},
    {"embed": {}},
    {"retrieve": {"top_k": 20, "tokens_per_document": {"uniform": {"low": 10, "high": 90}}}},
    {"rerank": {"keep": 5}},
    {"encode": {"items": 2, "tokens": 576, "context_tokens": 144}},
    choice(
        router={"confusion": {"easy": {"easy": 0.9, "hard": 0.1}}},
        hard={"when": {"difficulty": "hard", "prompt_tokens": [1, 10**6]}, "stages": [call()]},
        easy={"weight": 2, "stages": [call(thought_tokens=90, max_thought_tokens=50)]},
        other={},
    ),
    {
        "parallel": {
            "branches": 2,
            "stages": [loop({"geometric": {"mean": 2}})],
            "wait_for": 1,
            "gather": "first",
            "verdict": "any",
        }
    },
    {"tool": {"latency_ms": {"lognormal": {"mean": 3, "cv": 2}}, "result_tokens": 5}},
    choice(a=ESCALATE, b={}),
]
EVERY_CLIENT = {
    "llm": {**LLM, "quality": {"easy": 0.5, "hard": 0.25}},
    "vectors": {**VECTORS, "replicas": 2},
    "enc": {**ENCODER, "serves": ["embed", "rerank", "encode"]},
    "cpu": {**CPU, "replicas": 2, "on": "vectors"},
    "web": WEB,
}


def test_every_kind_of_stage_and_client_is_in_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    given = json.loads(json.dumps(document(EVERYTHING, EVERY_CLIENT, EASY)))
    assert simulate(build_scenario(given), check=True).requests.completed.all()
    validator = jsonschema.Draft202012Validator(scenario_schema())
    validator.check_schema(validator.schema)
    assert [error.message for error in validator.iter_errors(given)] == []
    for misspelt in ("retreive", "generate_"):
        wrong = json.loads(json.dumps(given))
        wrong["pipelines"]["p"].append({misspelt: {}})
        assert not validator.is_valid(wrong)
