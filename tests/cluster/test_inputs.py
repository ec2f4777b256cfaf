"""What a scenario reads is part of a trial's key, and reaches workers on other machines."""

import json
import os
import shutil

import numpy as np
import pytest

from hermes.cluster import Trial, TrialSetup, data_files, run_trial, with_content
from hermes.cluster.data import DataFile, with_local_files
from hermes.costs.calibration.calibrated_pass import Factors
from hermes.errors import InputError
from hermes.scenario.loading import build_scenario
from hermes.sweeps.key import trial_key

CHAT = {"model": "llama-3.1-8b", "device": "h100-sxm"}
LENGTHS = {"lengths": {"prompt": 64, "output": 8}}
POISSON = {"arrivals": {"process": "poisson", "rate_per_s": 40}, "limit": {"requests": 12}}
TABLE = """operator,dtype,device,tokens,n,k,latency_us
linear,bf16,h100,1,6144,4096,{time}
linear,bf16,h100,64,6144,4096,{time}
"""


def scenario(requests=None, costs=None, model=None, arrivals=None):
    chat = CHAT | ({"costs": costs} if costs else {}) | ({"model": model} if model else {})
    workload = {"requests": requests or LENGTHS} | ({"arrivals": arrivals} if arrivals else POISSON)
    return {"workload": workload, "clients": {"chat": chat}}


def cost_table(folder):
    (folder / "tables").mkdir()
    (folder / "tables" / "linear.csv").write_text(TABLE.format(time=9))
    (folder / "tables" / "notes.txt").write_text("not a table")
    return (
        scenario(costs={"table": "tables"}),
        folder / "tables" / "linear.csv",
        TABLE.format(time=99),
    )


def calibrated(folder):
    path = folder / "fit.json"
    factors = Factors("llama-3.1-8b", "h100-sxm", 1, 40.0, 1.1, 1.2, 1.3, 2.0, 0.01, 0.02, "a run")
    factors.write(path)
    changed = path.read_text().replace("1.1", "1.4")
    return scenario(costs={"calibrated": "fit.json"}), path, changed


def servegen(folder):
    clients = folder / "clients"
    clients.mkdir()
    for number in range(2):
        rows = "\n".join(f"{600 * n},2,1,Gamma,1.0,1" for n in range(4))
        (clients / f"chunk-{number}-trace.csv").write_text(rows + "\n")
        lengths = {"input_tokens": "{10: 1.0}", "output_tokens": "{3: 1.0}"}
        (clients / f"chunk-{number}-dataset.json").write_text(json.dumps({"0": lengths}))
    changed = json.dumps({"0": {"input_tokens": "{10: 1.0}", "output_tokens": "{7: 1.0}"}})
    requests = {"servegen": {"path": "clients"}}
    made = scenario(requests)
    made["workload"] = {"requests": requests, "limit": {"requests": 20}}
    return made, clients / "chunk-1-dataset.json", changed


def ragpulse(folder):
    kinds = {"1_sys_prompt": "sys_prompt_id", "2_passages": "passage_id", "3_history": "history_id",
             "4_user_input": "user_input_id", "5_web_search": "web_search_id"}  # fmt: skip
    for name, key in kinds.items():
        (folder / f"{name}.jsonl").write_text(json.dumps({key: 1, "token_length": 16}) + "\n")
    parts = {"sys_prompt": [1], "passages_ids": [1], "history": [], "web_search": [],
             "user_input": [1]}  # fmt: skip
    rows = [{"timestamp": str(at), "input_length": 60, "output_length": 9, "hash_ids": parts,
             "session_id": "s"} for at in range(9)]  # fmt: skip
    (folder / "0_trace.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = scenario({"trace": "ragpulse", "path": "0_trace.jsonl"}, arrivals={"process": "trace"})
    made["clients"]["chat"]["enable_prefix_caching"] = True
    changed = json.dumps({"passage_id": 1, "token_length": 32}) + "\n"
    return made, folder / "2_passages.jsonl", changed


def plain_trace(folder):
    path = folder / "trace.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,5,7\n1,5,5\n")
    made = scenario({"trace": "hermes", "path": "trace.csv"}, arrivals={"process": "trace"})
    return made, path, "arrival_s,prompt_tokens,output_tokens\n0,5,9\n1,5,5\n"


INPUTS = [cost_table, calibrated, servegen, ragpulse, plain_trace]


def found(mapping, folder):
    return data_files(build_scenario(mapping).model_dump(mode="json"), folder)


def row(mapping, folder, files):
    names = tuple(file.name for file in files)
    made = run_trial(TrialSetup(mapping, str(folder), None, files), Trial(0, "k", {}, 0, names))
    assert made["status"] == "completed", made["error"]
    ignored = {"started_at", "trial_seconds"}
    return {name: value for name, value in made.items() if name not in ignored}


@pytest.mark.parametrize("make", INPUTS)
def test_a_worker_elsewhere_finds_the_same_and_answers_bit_by_bit(make, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    here = tmp_path / "here"
    here.mkdir()
    mapping, _, _ = make(here)
    files = found(mapping, here)
    assert len(files) == 1
    before = row(mapping, here, files)
    travelling = with_content(files, here)
    shutil.rmtree(here)
    assert row(mapping, tmp_path / "elsewhere", travelling) == before
    with pytest.raises(InputError, match="does not exist"):
        with_local_files(mapping, files, tmp_path / "elsewhere")


@pytest.mark.parametrize("make", INPUTS)
def test_changed_content_makes_another_key_and_is_noticed(make, tmp_path):
    mapping, path, changed = make(tmp_path)
    before = found(mapping, tmp_path)
    path.write_text(changed)
    os.utime(path, ns=(1, 1))
    after = found(mapping, tmp_path)
    assert trial_key(mapping, before) != trial_key(mapping, after)
    with pytest.raises(InputError, match="has changed since the study started"):
        with_local_files(mapping, before, tmp_path)


def test_what_is_no_table_does_not_travel(tmp_path):
    mapping, _, _ = cost_table(tmp_path)
    (file,) = with_content(found(mapping, tmp_path), tmp_path)
    assert list(file.content) == ["linear.csv"]


def test_a_copy_that_somebody_spoilt_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mapping, path, changed = plain_trace(tmp_path)
    files = with_content(found(mapping, tmp_path), tmp_path)
    path.unlink()
    first = row(mapping, tmp_path, files)
    (copy,) = tmp_path.glob("hermes-data-*/*/trace.csv")
    copy.write_text(changed)
    assert row(mapping, tmp_path, files) == first


def test_a_path_out_of_its_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content = {"../../evil": np.zeros(3, np.uint8)}
    hostile = DataFile("trace.csv", "0" * 64, content, "file")
    with pytest.raises(InputError, match="outside its folder"):
        with_local_files({"path": "trace.csv"}, (hostile,), tmp_path)
    assert not (tmp_path / "evil").exists()
