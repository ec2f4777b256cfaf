"""Reading a study: one message per mistake, before anything runs, naming the file and the field."""

from __future__ import annotations

import copy
import json

import pytest

from hermes.errors import InputError
from hermes.sweeps import explain_study, find_study, load_study, study_names, study_schema
from tests.sweeps.small_study import STUDY, loaded, written

TP = "clients.chat.tensor_parallel_size"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"objectives": {"ttft_ms.p9": "minimize"}}, "objectives",
         "unknown metric 'ttft_ms.p9'; did you mean 'ttft_ms.p9"),
        ({"objectives": {"ttft_ms.p99": "min"}}, "objectives.ttft_ms.p99", "'minimize'"),
        ({"objectives": {}}, "objectives", "at least 1"),
        ({"objectives": dict.fromkeys(
            ["ttft_ms.p50", "ttft_ms.p90", "ttft_ms.p95", "ttft_ms.p99", "devices"], "minimize")},
         "objectives", "at most 4"),
        ({"constraints": {"tpot": "<= 3"}}, "constraints", "unknown metric 'tpot'"),
        ({"constraints": {"tpot_ms.p99": "< 3"}}, "constraints",
         'the limit of tpot_ms.p99 is "<= NUMBER" or ">= NUMBER", got \'< 3\''),
        ({"sampler": "ngsa2"}, "sampler", "unknown sampler 'ngsa2'; did you mean 'nsga2'?"),
        ({"sampler": "sobol"}, "sampler", "(allowed: auto, cmaes, gp, grid, nsga2, nsga3, qmc, "),
        ({"evaluate": "capacitiy"}, "evaluate", "did you mean 'capacity'?"),
        ({"evaluate": {"capacity": {"precison": 0.1}}}, "evaluate",
         "capacity.precison: unknown field; did you mean 'precision'?"),
        ({"evaluate": "capacity"}, "slo", "a capacity needs a limit to hold"),
        ({"objectives": {"goodput_per_usd": "maximize"}}, "objectives", "add `evaluate: capacity`"),
        ({"replicates": {"least": 4, "most": 2}}, "replicates", "`least` 4 is above `most` 2"),
        ({"replicates": {"most": 2}}, "replicates", "needs a `precision`"),
        ({"replicates": 3, "batches": 10}, "", "`batches` is for one seed"),
        ({"space": {"clients.chat.replicas": {"int": [1, 2], "when": {"clients.chat.device": 1}}}},
         "space.clients.chat.replicas.when", "unknown dimension 'clients.chat.device'"),
        ({"space": {"a": {"int": [1, 2], "when": {"b": 1}}, "b": [1]}}, "space.a.when",
         "'b' stands after this dimension"),
        ({"space": {"pools": {"bundle": {"x": {"seed": 1}, "y": {"sed": 1}}}}}, "space.pools",
         "do not set the same paths: sed, seed"),
        ({"space": {"seed": [1, 2], "pools": {"bundle": {"x": {"seed": 1}}}}}, "space.pools",
         "'seed' is set by 'seed' as well"),
        ({"sampler": {"nsga2": {"population": 9}}}, "sampler.nsga2.population", "unknown field"),
        ({"sampler": {"nsga2": {"population_size": 1}}}, "sampler.nsga2.population_size",
         "greater than or equal to 2"),
        ({"sampler": {"grid": {"fast": True}}}, "sampler", "'grid' has no options"),
        ({"sampler": 7}, "sampler", "a sampler is a name"),
        ({"space": {}}, "space", "at least 1"),
        ({"space": {TP: []}}, f"space.{TP}", "the list of choices is empty"),
        ({"space": {TP: {"int": [4, 1]}}}, f"space.{TP}", "low 4 is above high 1"),
        ({"space": {"clients.chat.tensor_paralel_size": [1, 2]}},
         "space.clients.chat.tensor_paralel_size",
         "unknown field; did you mean 'tensor_parallel_size'?"),
        ({"space": {"clients.chatt.replicas": [1]}}, "space.clients.chatt.replicas",
         "unknown client 'chatt'; did you mean 'chat'?"),
        ({"space": {"clients.chat.device": ["h100-sxm", "l40"]}}, "space.clients.chat.device",
         "unknown device 'l40'; did you mean"),
        ({"space": {"clients.chat.replicas": [1, 0]}}, "space.clients.chat.replicas",
         "greater than or equal to 1, got 0"),
        ({"space": {"clients.chat.replicas": {"float": [1, 2]}}}, "space.clients.chat.replicas",
         "valid integer, got 1.0"),
        ({"space": {"workload.arrivals.rate_per_sec": [1]}}, "space.workload.arrivals.rate_per_sec",
         "unknown field; did you mean 'rate_per_s'?"),
        ({"set": {"clients.chat.replicas": 2}}, "set.clients.chat.replicas", "in `space` as well"),
        ({"set": {"clients.chat.dtypo": "fp8"}}, "set.clients.chat.dtypo",
         "unknown field; did you mean 'dtype'?"),
        ({"scenario": "nowhere.yaml"}, "scenario", "no such file"),
        ({"scenario": None}, "scenario", "this field is required"),
        ({"trials": 0}, "trials", "greater than or equal to 1, got 0"),
        ({"trial": 5}, "trial", "unknown field; did you mean 'trials'?"),
        ({"seed": -1}, "seed", "greater than or equal to 0, got -1"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file(tmp_path, changes, field, message):
    path = written(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        load_study(path)
    error = caught.value
    assert error.file == str(path)
    assert error.field == field
    assert message in error.message


def test_a_mistake_in_the_scenario_names_the_scenario_file(tmp_path):
    scenario = copy.deepcopy(STUDY["scenario"])
    scenario["clients"]["chat"]["watermark"] = 7
    (tmp_path / "chat.yaml").write_text(json.dumps(scenario))
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, scenario="chat.yaml")
    assert caught.value.file == str(tmp_path / "chat.yaml")
    assert caught.value.field == "clients.chat.watermark"


def test_a_missing_trace_is_one_message_and_not_a_failure_of_every_trial(tmp_path):
    changes = {"workload.requests": {"trace": "hermes", "path": "gone.csv"}}
    with pytest.raises(InputError, match=r"set\.workload\.requests\.path: there is no file"):
        loaded(tmp_path, set=changes)


def test_a_deployment_that_cannot_exist_is_no_mistake_in_a_study(tmp_path):
    study = loaded(tmp_path, space={"clients.chat.model": ["llama-3.1-70b", "llama-3.1-8b"]})
    assert study.candidates.build(study.space.at(0)).problem is not None
    assert study.candidates.build(study.space.at(1)).problem is None


def test_an_override_changes_the_scenario_or_fixes_a_dimension(tmp_path):
    path = written(tmp_path)
    study = load_study(path, ["workload.limit.requests=5", "clients.chat.device=l40s"])
    assert study.scenario["workload"]["limit"] == {"requests": 5}
    assert study.scenario["clients"]["chat"]["device"] == "l40s"
    assert list(study.space.dimensions) == ["clients.chat.max_num_seqs", "clients.chat.replicas"]


def test_an_override_cannot_fix_everything(tmp_path):
    path = written(tmp_path, space={"clients.chat.replicas": [1, 2]})
    with pytest.raises(InputError, match="nothing varies"):
        load_study(path, ["clients.chat.replicas=1"])


def test_the_scenario_is_found_from_the_studys_folder(tmp_path):
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "chat.yaml").write_text(json.dumps(STUDY["scenario"]))
    study = loaded(tmp_path, scenario="scenarios/chat.yaml")
    assert study.folder == tmp_path / "scenarios"
    assert study.scenario == STUDY["scenario"]


def test_equal_studies_have_equal_keys_and_other_questions_other_keys(tmp_path):
    def key(**changes):
        return loaded(tmp_path, **changes).record()["study_key"]

    assert key() == key()
    assert key(trials=7) == key(), "a budget is no part of the question"
    others = [{"seed": 1}, {"sampler": "random"}, {"constraints": {"ttft_ms.p99": "<= 400"}},
              {"set": {"clients.chat.max_num_batched_tokens": 512}}]  # fmt: skip
    assert len({key(**changes) for changes in [*others, {}]}) == 5


def test_a_changed_trace_makes_another_study_and_other_trials(tmp_path):
    trace = tmp_path / "trace.csv"
    changes = {"workload.requests": {"trace": "hermes", "path": "trace.csv"}}
    keys = []
    for tokens in (10, 11):
        trace.write_text(f"arrival_s,prompt_tokens,output_tokens\n0,5,{tokens}\n1,5,5\n")
        study = loaded(tmp_path, set=changes)
        keys.append((study.record()["study_key"], study.candidates.build(study.space.at(0)).key))
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] != keys[1][1]


def test_a_key_does_not_depend_on_how_a_value_was_written(tmp_path):
    study = loaded(tmp_path, space={"clients.chat.max_model_len": [None, 512]},
                   set={"clients.chat.replicas": 1})  # fmt: skip
    plain = loaded(tmp_path, space={"clients.chat.max_model_len": [512, 1024]})
    one, other = (
        study.candidates.build(study.space.at(1)),
        plain.candidates.build(plain.space.at(0)),
    )
    assert one.key == other.key


@pytest.mark.parametrize("name", study_names())
def test_the_studies_that_ship_are_found_by_name(name):
    assert find_study(name).name == f"{name}.yaml"


def test_the_demo_study_holds_a_hundred_trials():
    facts = explain_study(load_study("chat-on-which-gpu"))
    assert facts["sampler"] == "grid"
    assert facts["trials"] >= 100
    assert facts["first candidate"]["scenario"] == "chat"


def test_the_azure_study_runs_on_the_recorded_trace(shared_data):
    path = shared_data / "traces" / "azure_llm_2023" / "AzureLLMInferenceTrace_conv.csv.gz"
    study = load_study("chat-on-which-gpu-azure", [f"workload.requests.path={path}"])
    assert explain_study(study)["first candidate"]["workload"]["requests"] == 4000


def test_an_unknown_name_lists_the_studies():
    with pytest.raises(InputError, match="did you mean 'chat-on-which-gpu'"):
        find_study("chat-on-which-gpus")
    with pytest.raises(InputError, match="no such file"):
        find_study("gone.yaml")


def test_the_schema_accepts_what_the_loader_accepts(tmp_path):
    validator = pytest.importorskip("jsonschema").Draft202012Validator(study_schema())
    validator.validate(STUDY)
    validator.validate(STUDY | {"sampler": {"nsga2": {"population_size": 9}}, "trials": 3})
    assert not validator.is_valid(STUDY | {"space": {"a": []}})
    assert not validator.is_valid(STUDY | {"sampler": "sobol"})
