"""The whole command on the processor, in a reduced form: it becomes a device one can simulate."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hermes.cli import _run
from hermes.costs.tables import packaged
from hermes.profile import Request, profile
from hermes.profile.reach import Reach
from hermes.scenario.loading import load_scenario
from hermes.sim import simulate
from tests.profile.test_publish import copy_data

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra [profile])")

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
EXPERTS = CONFIG | {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
}
REACH = Reach("cpu", ("bf16",), 16, 64, 4, 1e9, 1e3, copy_bytes=2**17, point_seconds=0.0)


@pytest.fixture(scope="module")
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def done(tmp_path_factory, one_thread) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("profile")
    (folder / "tiny").mkdir()
    (folder / "tiny" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "experts").mkdir()
    (folder / "experts" / "config.json").write_text(json.dumps(EXPERTS))
    request = Request(
        out=folder / "out",
        device="cpu",
        device_name="tiny-cpu",
        minutes=10,
        operators=(
            *("linear", "attention", "elementwise", "experts", "sampling", "copies", "storage"),
        ),
        models=tuple(str(folder / name / "config.json") for name in ("tiny", "experts")),
        quiet=True,
        reach=REACH,
    )
    assert profile(request)["left for --resume"] == 0
    checked = replace(request, resume=True, everything=True, minutes=1.0)
    return folder / "out", profile(checked)


def test_the_table_names_kernels_spread_and_method(done):
    folder, facts = done
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == facts["rows of the table"] > 20
    assert {row["device"] for row in rows} == {"tiny-cpu"}
    assert {row["operator"] for row in rows} >= {"linear", "prefill", "decode", "norm", "rope"}
    assert all(float(row["latency_us"]) > 0 and row["kernel"] and row["method"] for row in rows)
    assert facts["driver"]
    assert facts["torch"] == torch.__version__


def test_the_processor_is_a_device_that_a_scenario_names(done):
    folder, _ = done
    result = simulate(
        load_scenario(folder / "scenario.yaml", ["workload.limit.requests=5"]), folder
    )
    assert result.summary["completed"] == 5
    assert result.cost_model.startswith("table table.csv: ")
    import yaml

    block = yaml.safe_load((folder / "devices.yaml").read_text())["devices"]["tiny-cpu"]
    assert block["kind"] == "cpu"
    assert block["peak_tflops"]["bf16"] > 0


def test_a_profile_becomes_the_package_s_own_data(done, tmp_path, monkeypatch):
    """What someone with a GPU does to ship its table, done with the processor's."""
    folder, _ = done
    data = copy_data(tmp_path)
    assert _run(["profile", "--out", str(folder), "--publish", str(data)]) == 0
    assert (data / "tables" / "tiny-cpu.parquet").stat().st_size < 4 * 2**20
    monkeypatch.setattr(packaged, "packaged_folder", lambda: data / "tables")
    own, shipped = (
        simulate(
            load_scenario(
                folder / "scenario.yaml",
                ["workload.limit.requests=5", f"clients.chat.costs.table={table}"],
            ),
            folder,
        )
        for table in ("table.csv", "hermes:tiny-cpu")
    )
    assert shipped.summary == own.summary
    assert shipped.cost_model.startswith("table tiny-cpu.parquet: ")


@pytest.mark.parametrize("which", ["whole steps", "whole steps with experts"])
def test_whole_steps_of_every_kind_are_compared_with_their_operators(done, which):
    folder, facts = done
    model = facts[which]["model"].partition(",")[0]
    steps = json.loads((folder / "steps.json").read_text())["steps"]
    own = [step for step in steps if step["model"] == model]
    assert {step["kind"] for step in own} == {"decode", "prefill", "mixed"}
    assert all(step["measured_us"] > 0 and step["operators_us"] > 0 for step in own)
    assert facts[which]["step_overhead_us"] >= 0
    assert set(facts[which]["median error"]) == {"decode", "prefill", "mixed"}


def test_everything_that_is_claimed_of_a_profile_is_in_its_facts(done):
    """Roofline as it is, fitted, table on points left out, operator sums, the served trace."""
    _, facts = done
    assert "linear" in facts["roofline as it is, median error"]
    assert "linear" in facts["table on points left out, median error"]
    assert "whole steps" in facts
    assert facts["serving"]["requests"] >= 5
    assert facts["seconds"] > 0


def test_a_trace_is_served_and_simulated(done):
    _, facts = done
    serving = facts["serving"]
    assert serving["requests"] >= 5
    assert set(serving["metrics"]) == {
        f"{name}.{kind}"
        for name in ("ttft_ms", "tpot_ms", "e2el_ms")
        for kind in ("mean", "p50", "p99")
    }
    assert all(
        each["measured"] > 0 and each["simulated"] > 0 for each in serving["metrics"].values()
    )


def test_it_is_continued_without_measuring_anything_twice(done):
    folder, _ = done
    before = (folder / "points.jsonl").read_text()
    arguments = ["--device", "cpu", "--device-name", "tiny-cpu", "--operators", "linear"]
    arguments += ["--models", str(folder.parent / "tiny" / "config.json"), "--minutes", "0.01"]
    assert _run(["profile", "--out", str(folder), *arguments]) == 2  # it is there already
    assert _run(["profile", "--out", str(folder), "--resume", "--quiet", *arguments]) == 0
    after = (folder / "points.jsonl").read_text()
    assert after.startswith(before)
    keys = [json.loads(line).get("key") for line in after.splitlines()]
    assert len(keys) == len(set(keys))


def make_decoder(folder: Path, config: dict[str, Any] = CONFIG) -> Any:
    from hermes.catalog import find_model
    from hermes.profile.decoder import Decoder, compact
    from hermes.profile.operators.operands import Operands

    (folder / "config.json").write_text(json.dumps(config))
    model = compact(find_model(str(folder / "config.json")), 1e9, 8)
    return Decoder(model, Operands("cpu", 2**20, folder), 4, 32)


class TestDecoder:
    @pytest.fixture(params=["dense", "experts"])
    def decoder(self, request, tmp_path) -> Any:
        return make_decoder(tmp_path, EXPERTS if request.param == "experts" else CONFIG)

    def test_chunks_and_decodes_give_the_tokens_of_a_whole_prompt(self, decoder):
        from hermes.profile.decoder import Chunk

        tokens = torch.arange(9) * 7 % 256
        with torch.inference_mode():
            whole = decoder.prepared([Chunk(2, 0, 9)], 0, 1)(tokens, torch.arange(9))
            for start, length in ((0, 4), (4, 4)):
                places = torch.arange(start, start + length)
                decoder.prepared([Chunk(0, start, length)], 0, 1)(tokens[places], places)
            last = decoder.prepared([], 1, 9)(tokens[8:], torch.tensor([8]))
        assert whole.tolist() == last.tolist()

    def test_a_moved_sequence_goes_on_as_it_was(self, decoder):
        from hermes.profile.decoder import Chunk

        tokens, places = torch.arange(8), torch.arange(8)
        with torch.inference_mode():
            decoder.prepared([Chunk(0, 0, 8)], 0, 1)(tokens, places)
            stayed = decoder.prepared([], 1, 9)(tokens[:1], torch.tensor([8])).tolist()
            decoder.prepared([Chunk(3, 0, 8)], 0, 1)(tokens, places)
            decoder.move(3, 0, 8)
            moved = decoder.prepared([], 1, 9)(tokens[:1], torch.tensor([8])).tolist()
        assert stayed == moved


def test_serving_answers_every_request_in_order_of_its_own_times(tmp_path, one_thread):
    from hermes.profile.serving import Arrival, ServingLoop, serve

    decoder = make_decoder(tmp_path)
    trace = [Arrival(0.001 * place, 5 + place, 3) for place in range(6)]
    with torch.inference_mode():
        served = serve(ServingLoop(decoder, 2, 8), trace)
    assert [each.arrival for each in served] == [each.seconds for each in trace]
    assert all(each.arrival < each.first_token < each.last_token for each in served)
    assert [each.first_token for each in served] == sorted(each.first_token for each in served)


def test_experts_encoders_and_indexes_run(tmp_path, one_thread):
    from hermes.profile.machine import find_machine
    from hermes.profile.point import point
    from hermes.profile.torch_bench import TorchBench

    bench = TorchBench(find_machine("cpu"), None, {}, tmp_path, 0.001)
    shape = {"tokens": 4, "hidden": 32, "width": 32, "top_k": 2, "experts": 4, "groups": 1}
    texts = {"batch": 1, "length": 8, "layers": 1, "hidden": 32, "width": 64, "heads": 2}
    for each in (point("experts", "bf16", **shape), point("encoder", "bf16", **texts)):
        assert bench.run(each).seconds > 0


def test_an_index_is_searched(tmp_path):
    pytest.importorskip("faiss", reason="faiss is not installed (the extra [profile])")
    from hermes.profile.operators.operands import Operands
    from hermes.profile.operators.search import search_kernels
    from hermes.profile.point import point

    shape = {"vectors": 1000, "dimensions": 16, "lists": 4, "probes": 2, "code_bytes": 4}
    each = point("search", "int8", batch=3, top_k=5, **shape)
    (kernel,) = search_kernels(each, Operands("cpu", 2**20, tmp_path))
    _, found = kernel.call()
    assert found.shape == (3, 5)


@pytest.mark.slow
def test_collectives_between_two_processes(tmp_path):
    from hermes.profile.collectives import collective_points, measure_collectives

    points = collective_points(2, 2**13)
    found, problem = measure_collectives("cpu", points, 60.0, tmp_path)
    assert problem == ""
    assert [each for each, _ in found] == points
    assert all(measured.seconds > 0 for _, measured in found)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_group_that_fails_or_hangs_is_said_and_ends(tmp_path):
    from hermes.profile.collectives import collective_points, measure_collectives

    points = collective_points(2, 2**13)
    found, problem = measure_collectives("cpu", points, 0.2, tmp_path)
    assert (found, problem) == ([], "2 devices did not end in 0 s")
    found, problem = measure_collectives("gpu", points, 60.0, tmp_path)  # there is no NCCL
    assert found == []
    assert "cuda" in problem.lower()


def test_the_roofline_is_fitted_on_what_was_measured(done):
    pytest.importorskip("scipy", reason="scipy is not installed (the extra [profile])")
    folder, _ = done
    from hermes.costs.constants import read_laws

    laws = read_laws((folder / "laws.csv").read_text())
    assert ("tiny-cpu", "linear", "bf16") in laws
