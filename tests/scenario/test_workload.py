"""The workload block: what may be written, and one good message for what may not."""

from __future__ import annotations

import json
from contextlib import suppress

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hermes.scenario.workload import WorkloadSpec

LENGTHS = {"lengths": {"prompt": 512, "output": {"lognormal": {"mean": 126, "cv": 1}}}}
POISSON = {"process": "poisson", "rate_per_s": 4}
TRACE = {"trace": "azure-2023", "path": "conv.csv"}
SAMPLE = {"sample": "chat"}


def synthetic(**changes):
    return {"requests": LENGTHS, "arrivals": POISSON} | changes


def prompt(length):
    return synthetic(requests={"lengths": {"prompt": length, "output": 1}})


def arriving(**arrivals):
    return synthetic(arrivals=arrivals)


VALID = [
    {"requests": TRACE},
    {"requests": SAMPLE},
    {"requests": TRACE, "arrivals": {"process": "trace", "scale": 2}},
    {"requests": SAMPLE, "arrivals": POISSON, "limit": {"requests": 10, "duration_s": 3.5}},
    {"requests": SAMPLE, "arrivals": {"process": "burst"}, "limit": {"duration_s": 1}},
    synthetic(mix={"chat": 0.7, "rag": 0}),
    synthetic(arrivals={"process": "burst"}, limit={"requests": 10}),
    arriving(process="gamma", rate_per_s=2, cv=0.5),
    arriving(process="constant", rate_per_s=2.5),
    arriving(process="diurnal", mean_rate_per_s=2, peak_to_mean=1.5),
    arriving(process="piecewise", pieces=[{"duration_s": 3, "rate_per_s": 1}]),
    arriving(process="ramp_up", strategy="exponential", start_rate_per_s=1, end_rate_per_s=9),
    arriving(process="gamma", rate_per_s=2, cv=0.5, exact_duration=True),
    synthetic(requests={"random": {}}),
    synthetic(requests={"random": {"prompt_tokens": 9, "range_ratio": 0.9, "prefix_tokens": 3}}),
    synthetic(requests={"prefix_repetition": {"num_prefixes": 3}}),
    {"requests": {"servegen": {"path": "m-small", "start_s": 1200, "max_clients": 5}}},
    {"requests": TRACE | {"block_tokens": 64, "chars_per_token": 3.5}},
    prompt({"constant": {"value": 5}}),
    prompt({"uniform": {"low": 1, "high": 1, "min": 1}}),
    prompt({"normal": {"mean": 100, "std": 0, "max": 120}}),
    prompt({"exponential": {"mean": 100}}),
    prompt({"geometric": {"mean": 1}}),
    prompt({"empirical": {"values": [1, 2], "weights": [0.5, 0]}}),
]


@pytest.mark.parametrize("block", VALID, ids=str)
def test_a_valid_block_survives_a_round_trip(block):
    spec = WorkloadSpec.model_validate(block)
    assert WorkloadSpec.model_validate(spec.model_dump()) == spec
    assert WorkloadSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("block", VALID, ids=str)
def test_the_json_schema_accepts_what_the_model_accepts(block):
    jsonschema.validate(json.loads(json.dumps(block)), WorkloadSpec.model_json_schema())


def test_specs_may_be_built_in_python():
    spec = WorkloadSpec.model_validate(synthetic())
    assert WorkloadSpec(requests=spec.requests, arrivals=spec.arrivals) == spec


def test_a_trace_keeps_its_times_unless_told_otherwise():
    assert WorkloadSpec.model_validate({"requests": TRACE}).arrivals is None


PROCESSES = "poisson, gamma, constant, trace, burst, closed_loop, piecewise, diurnal, ramp_up"
DISTRIBUTIONS = "constant, lognormal, uniform, normal, exponential, geometric, empirical"
A_LENGTH = f"a whole number from 1 to 100000000 or a mapping with one of the keys {DISTRIBUTIONS}"

INVALID = [
    # requests
    ({"requests": {}}, "requests", "one of the keys trace, sample, lengths, random, prefix_r"),
    ({"requests": "chat"}, "requests", "is a mapping with one of the keys trace, sample, leng"),
    ({"requests": {"trce": "a"}}, "requests", "got 'trce'; did you mean 'trace'?"),
    (
        {"requests": SAMPLE | TRACE},
        "requests",
        "sample, lengths, random, prefix_repetition, servegen, not 'sample' and",
    ),
    ({"requests": {"trace": "hermes"}}, "requests.path", "Field required"),
    (
        {"requests": {"trace": "hermes", "pth": "x"}},
        "requests.pth",
        "unknown field; did you mean 'path'? (allowed: block_tokens, chars_per_token, path, trace)",
    ),
    (
        arriving(process="poisson", rate_per_sec=2),
        "arrivals.rate_per_sec",
        "unknown field; did you mean 'rate_per_s'? (allowed: exact_duration, process, rate_per_s)",
    ),
    ({"requests": {"sample": "chatt"}}, "requests.sample", "did you mean 'chat'? (allowed: chat,"),
    ({"requests": {"sample": 3}}, "requests.sample", "unknown sample (allowed: chat, code)"),
    # lengths
    (prompt(0), "requests.lengths.prompt", A_LENGTH),
    (prompt(-5), "requests.lengths.prompt", A_LENGTH),
    (prompt(1.5), "requests.lengths.prompt", A_LENGTH),
    (prompt(True), "requests.lengths.prompt", A_LENGTH),
    (prompt("512"), "requests.lengths.prompt", A_LENGTH),
    (prompt(2**63), "requests.lengths.prompt", A_LENGTH),
    (prompt(None), "requests.lengths.prompt", A_LENGTH),
    (prompt([1]), "requests.lengths.prompt", A_LENGTH),
    (prompt({"lognomal": {}}), "requests.lengths.prompt", "'lognomal'; did you mean 'lognormal'?"),
    (prompt({"lognormal": {"mean": 5}}), "requests.lengths.prompt.lognormal.cv", "Field required"),
    (
        prompt({"lognormal": {"mean": 0.5, "cv": 1}}),
        "requests.lengths.prompt.lognormal.mean",
        "greater than or equal to 1",
    ),
    (
        prompt({"uniform": {"low": 5, "high": 4}}),
        "requests.lengths.prompt.uniform",
        "low (5) must not exceed high (4)",
    ),
    (
        prompt({"constant": {"value": 5, "min": 9, "max": 8}}),
        "requests.lengths.prompt.constant",
        "min (9) must not exceed max (8)",
    ),
    (
        prompt({"empirical": {"values": []}}),
        "requests.lengths.prompt.empirical.values",
        "at least 1 item",
    ),
    (
        prompt({"empirical": {"values": [1, 0]}}),
        "requests.lengths.prompt.empirical.values.1",
        "greater than or equal to 1",
    ),
    (
        prompt({"empirical": {"values": [1, 2], "weights": [1]}}),
        "requests.lengths.prompt.empirical",
        "one weight for each value, got 1 weights for 2 values",
    ),
    (
        prompt({"empirical": {"values": [1, 2], "weights": [0, 0]}}),
        "requests.lengths.prompt.empirical",
        "at least one of the weights must be positive",
    ),
    # arrivals
    ({"requests": LENGTHS}, "", "say when they come with `arrivals`, for example {process: poi"),
    (arriving(process="trace"), "arrivals", "needs requests from a trace or a sample"),
    (arriving(rate_per_s=3), "arrivals", f"needs the key 'process', one of {PROCESSES}"),
    (synthetic(arrivals="poisson"), "arrivals", f"the key 'process', one of {PROCESSES}"),
    (synthetic(arrivals=8), "arrivals", f"the key 'process', one of {PROCESSES}"),
    (arriving(process="poison"), "arrivals", "unknown process 'poison'; did you mean 'poisson'?"),
    (arriving(process=["poisson"]), "arrivals", "unknown process ['poisson']"),
    (arriving(process="poisson", rate_per_s=-1), "arrivals.rate_per_s", "greater than 0"),
    (arriving(process="poisson", rate_per_s=0), "arrivals.rate_per_s", "greater than 0"),
    (arriving(process="poisson", rate_per_s="4"), "arrivals.rate_per_s", "valid number"),
    (arriving(process="poisson", rate_per_s=True), "arrivals.rate_per_s", "valid number"),
    (arriving(process="poisson", rate_per_s=float("inf")), "arrivals.rate_per_s", "finite"),
    (arriving(process="poisson", rate_per_s=float("nan")), "arrivals.rate_per_s", "finite"),
    (arriving(process="poisson"), "arrivals.rate_per_s", "Field required"),
    (arriving(process="gamma", rate_per_s=1, cv=0), "arrivals.cv", "or equal to 0.01"),
    (arriving(process="piecewise", pieces=[]), "arrivals.pieces", "at least 1 item"),
    (
        arriving(process="piecewise", pieces=[{"duration_s": 1, "rate_per_s": 0}]),
        "arrivals",
        "at least one piece must have a rate_per_s above 0",
    ),
    (
        arriving(process="piecewise", pieces=[{"duration_s": 8e6, "rate_per_s": 1}] * 2),
        "arrivals",
        "all pieces together must last at most 9000000 s",
    ),
    (
        arriving(process="diurnal", mean_rate_per_s=1, peak_to_mean=3),
        "arrivals.peak_to_mean",
        "less than or equal to 2",
    ),
    # keys that YAML allows and no field has
    (
        arriving(process="poisson", rate_per_s=2) | {"requests": {"trace": "x", None: 1}},
        "requests.None",
        "unknown field (allowed: block_tokens, chars_per_token, path, trace)",
    ),
    (
        arriving(process="ramp_up", start_rate_per_s=0, end_rate_per_s=9),
        "arrivals.start_rate_per_s",
        "greater than 0",
    ),
    (
        arriving(process="ramp_up", strategy="cubic", start_rate_per_s=1, end_rate_per_s=9),
        "arrivals.strategy",
        "'linear' or 'exponential'",
    ),
    (synthetic(requests={"random": {"range_ratio": 1}}), "requests.random.range_ratio", "less th"),
    (
        synthetic(requests={"random": {"prompt_tokens": 1.5}}),
        "requests.random.prompt_tokens",
        "valid integer",
    ),
    (
        synthetic(requests={"prefix_repetition": {"num_prefixes": 0}}),
        "requests.prefix_repetition.num_prefixes",
        "greater than or equal to 1",
    ),
    ({"requests": {"random": {}}}, "", "say when they come with `arrivals`"),
    (
        {"requests": {"random": {}}, "arrivals": {"process": "trace"}},
        "arrivals",
        "needs requests from a trace or a sample",
    ),
    ({"requests": {"servegen": {}}}, "requests.servegen.path", "Field required"),
    (
        {"requests": {"servegen": {"path": "m", "start_s": 0.5}}},
        "requests.servegen.start_s",
        "valid integer",
    ),
    ({"requests": TRACE | {"block_tokens": 0}}, "requests.block_tokens", "greater than or equal"),
    (
        {"requests": TRACE | {"chars_per_token": 0}},
        "requests.chars_per_token",
        "greater than or equal to 0.1",
    ),
    # limit, mix
    (synthetic(limit={}), "limit", "needs `requests`, `duration_s` or both"),
    (synthetic(limit={"requests": 0}), "limit.requests", "greater than or equal to 1"),
    (synthetic(limit={"requests": 10**8}), "limit.requests", "less than or equal to 10000000"),
    (synthetic(limit={"duration_s": 1e8}), "limit.duration_s", "less than or equal to 9000000"),
    (
        synthetic(arrivals={"process": "burst"}, limit={"duration_s": 5}),
        "limit",
        "never ends: give limit.requests",
    ),
    (synthetic(mix={}), "mix", "at least 1 item"),
    (synthetic(mix={"chat": 0}), "mix", "at least one weight must be above 0"),
    (synthetic(mix={"chat": -1}), "mix.chat", "greater than or equal to 0"),
]


@pytest.mark.parametrize(("block", "place", "message"), INVALID, ids=str)
def test_a_mistake_is_reported_once_at_the_path_the_user_wrote(block, place, message):
    with pytest.raises(ValidationError) as caught:
        WorkloadSpec.model_validate(block)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == place
    assert message in error["msg"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["requests", "arrivals", "limit", "mix", "process", "trace", "lengths", "prompt"]
            )
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
)


@given(st.dictionaries(st.sampled_from(["requests", "arrivals", "limit", "mix"]), JSON))
def test_any_data_is_accepted_or_refused_with_a_report(block):
    with suppress(ValidationError):
        WorkloadSpec.model_validate(block)
