"""Measured tables: what was measured is answered, the rest follows the roofline."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.build import build_step_cost
from hermes.costs.operators import Linear
from hermes.costs.provenance import StepShape
from hermes.costs.roofline import Roofline
from hermes.costs.tables import TablePass, read_calls
from hermes.costs.tables.aiconfigurator import installed_folder
from hermes.costs.tables.grid import EXTRAPOLATED, INTERPOLATED, MEASURED, CallGrid
from hermes.errors import InputError
from hermes.scenario.costs import TableCostSpec

H100 = find_device("h100")
LLAMA = find_model("llama-3.1-8b")
HEADER = "operator,dtype,device,tokens,n,k,latency_us\n"
O_PROJ = Linear(4096, 4096, "bf16")


def joined(folder: Path, text: str) -> TablePass:
    path = folder / "table.csv"
    path.write_text(text)
    return TablePass(Roofline(LLAMA, H100), read_calls(path, LLAMA, H100, 1), "table.csv")


def test_a_measured_call_is_answered_as_measured(tmp_path):
    text = HEADER + "linear,bf16,h100,16,4096,4096,40\nlinear,bf16,h100,64,4096,4096,44\n"
    table = joined(tmp_path, text)
    assert table.linear(16, O_PROJ) == pytest.approx(40e-6)
    assert table.linear(64, O_PROJ) == pytest.approx(44e-6)
    assert 40e-6 < table.linear(32, O_PROJ) < 44e-6
    assert (table.provenance.measured, table.provenance.interpolated) == (2, 1)


def test_outside_the_roofline_continues_from_the_edge(tmp_path):
    table = joined(
        tmp_path, HEADER + "linear,bf16,,16,4096,4096,40\nlinear,bf16,,64,4096,4096,44\n"
    )
    roofline = Roofline(LLAMA, H100)
    edge = 44e-6 / roofline.linear(64, O_PROJ)
    assert table.linear(4096, O_PROJ) == pytest.approx(edge * roofline.linear(4096, O_PROJ))
    assert table.provenance.extrapolated == 1


def test_what_the_table_lacks_is_the_roofline(tmp_path):
    table = joined(tmp_path, HEADER + "linear,bf16,h100,16,4096,4096,40\n")
    assert table.decode_seconds(8, 8000) == Roofline(LLAMA, H100).decode_seconds(8, 8000)
    assert table.provenance.roofline == 1
    assert "measured, else roofline: calibrated" in table.label


def test_attention_is_found_by_its_batch(tmp_path):
    text = "operator,dtype,batch,length,prefix,heads,kv_heads,head_dim,latency_ms\n"
    text += "decode,bf16,8,1000,,32,8,128,0.5\nprefill,bf16,1,512,0,32,8,128,0.7\n"
    table = joined(tmp_path, text)
    assert table.decode_seconds(8, 8000) == pytest.approx(32 * 0.5e-3)
    assert table.prefill_seconds(512, 512, 512 * 513 // 2) == pytest.approx(32 * 0.7e-3, rel=0.03)


SHAPES = st.dictionaries(
    st.tuples(st.integers(1, 50), st.integers(1, 50)), st.floats(0.1, 10), min_size=1, max_size=20
)


@given(SHAPES, st.floats(0.5, 100), st.floats(0.5, 100))
def test_what_is_read_lies_between_what_was_measured(seconds, x, y):
    grid = CallGrid({(float(a), float(b)): time for (a, b), time in seconds.items()})
    ratio, _ = grid.read((math.log(x), math.log(y)), lambda _: 1.0)
    assert min(seconds.values()) - 1e-9 <= ratio <= max(seconds.values()) + 1e-9
    for (a, b), time in seconds.items():
        assert grid.read((math.log(a), math.log(b)), lambda _: 1.0) == (time, MEASURED)


def test_inside_and_outside_are_told_apart():
    grid = CallGrid({(1.0,): 1.0, (4.0,): 3.0})
    found = [grid.read((math.log(x),), lambda _: 1.0) for x in (0.5, 1, 2, 4, 8)]
    assert [how for _, how in found] == [
        EXTRAPOLATED,
        MEASURED,
        INTERPOLATED,
        MEASURED,
        EXTRAPOLATED,
    ]
    assert found[2].ratio == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("linear,bf16,h100,16,4096,4096,nan\n", r"table.csv:2.*latency_us: expected a number"),
        ("linear,bf16,h100,16,4096,4096,-3\n", r"table.csv:2.*expected a positive time, got -3 us"),
        ("linear,bf16,h100,16,4096,4096,0\n", r"expected a positive time, got 0 us"),
        ("linear,bf16,h100,16,0,4096,4\n", r"table.csv:2.*n: expected a positive number, got 0"),
        ("linear,bf16,h100,16,4096,4096,fast\n", r"expected a number, got 'fast'"),
        ("linear,bf16,h100,16,4096,4096\n", r"table.csv:2.*expected 7 cells"),
        ("linaer,bf16,h100,16,4096,4096,4\n", r"unknown operator 'linaer'.*did you mean 'linear'"),
        ("linear,bf17,h100,16,4096,4096,4\n", r"unknown data type 'bf17'"),
        ("linear,bf16,a100,16,4096,4096,4\n", r"no measurement on h100-sxm \(only on: a100\)"),
        ("", r"holds no measurement"),
    ],
)
def test_bad_rows_are_refused_with_their_place(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        joined(tmp_path, HEADER + text)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("operator,dtype,tokens,n,k,latency_ns", r"unknown column 'latency_ns'.*latency_us"),
        ("operator,dtype,tokens,n,k,latency", r"unknown column 'latency'"),
        ("operator,dtype,tokens,n,k", r"needs the column latency_us or latency_ms"),
        ("dtype,tokens,n,k,latency_us", r"needs the column operator"),
    ],
)
def test_unknown_units_and_columns_are_refused(tmp_path, header, says):
    with pytest.raises(InputError, match=says):
        joined(tmp_path, header + "\n" + ",".join("1" for _ in header.split(",")) + "\n")


def test_a_path_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"nowhere.csv: no such file"):
        read_calls(Path("nowhere.csv"), LLAMA, H100, 1)


def test_calls_that_disagree_and_a_lonely_one_are_noted(tmp_path, caplog):
    path = tmp_path / "table.csv"
    row = "linear,bf16,h100,16,4096,4096,"
    path.write_text(HEADER + "".join(f"{row}{time}\n" for time in (40, 41, 80)))
    table = read_calls(path, LLAMA, H100, 1)
    assert "one linear in bf16: it scales the roofline everywhere" in table.notes
    assert any("from 40 to 80 us (lines 2, 3, 4)" in note for note in table.notes)
    assert "disagree" in caplog.text


def test_parquet_is_read_as_csv_is(tmp_path):
    import pandas as pd

    columns = {"operator": ["linear"], "dtype": ["bf16"], "device": ["h100"], "tokens": [16]}
    path = tmp_path / "table.parquet"
    pd.DataFrame(columns | {"n": [4096], "k": [4096], "latency_us": [40.0]}).to_parquet(path)
    table = TablePass(Roofline(LLAMA, H100), read_calls(path, LLAMA, H100, 1), "t")
    assert table.linear(16, O_PROJ) == pytest.approx(40e-6)


def test_a_scenario_names_a_table_beside_it(tmp_path):
    (tmp_path / "t.csv").write_text(HEADER + "linear,bf16,h100,16,4096,4096,40\n")
    spec = TableCostSpec(table="t.csv", engine="none")
    costs = build_step_cost(spec, LLAMA, H100, "bf16", "bf16", 1, tmp_path)
    assert costs.label.startswith("table t.csv: ")
    assert costs.decode_segment(16, 1600).base > 0


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = folder / "aiconfigurator_core" / "systems" / "data"
    (folder / "aiconfigurator_core").mkdir()
    (folder / "aiconfigurator_core" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder))
    return data


def test_the_newest_version_of_an_installed_system_is_read(tmp_path, monkeypatch):
    import pandas as pd

    data = fake_package(tmp_path, monkeypatch)
    for version, latency in (("0.9.0", 1.0), ("0.19.0", 0.04)):
        folder = data / "h100_sxm" / "gemm" / "vllm" / version
        folder.mkdir(parents=True)
        columns = {"gemm_dtype": ["bfloat16"], "m": [16], "n": [4096], "k": [4096]}
        pd.DataFrame(columns | {"latency": [latency]}).to_parquet(folder / "gemm_perf.parquet")
    table = read_calls(installed_folder("aiconfigurator:h100_sxm"), LLAMA, H100, 1)
    joint = TablePass(Roofline(LLAMA, H100), table, "t")
    assert joint.linear(16, O_PROJ) == pytest.approx(40e-6)
    with pytest.raises(InputError, match=r"unknown system 'h100'.*h100_sxm"):
        installed_folder("aiconfigurator:h100")


def test_without_the_package_its_extra_is_named():
    with pytest.raises(InputError, match=r"pip install 'hermes-dse\[aiconfigurator\]'"):
        build_step_cost(
            TableCostSpec(table="aiconfigurator:h100_sxm"), LLAMA, H100, "bf16", "bf16", 1
        )


class TestLayouts:
    def test_vidur(self, shared_data):
        llama = find_model("Llama-2-7b-hf")
        folder = shared_data / "hardware" / "vidur" / "compute" / "a100" / "meta-llama"
        table = read_calls(folder / "Llama-2-7b-hf", llama, find_device("a100"), 1)
        device = find_device("a100")
        joint = TablePass(Roofline(llama, device), table, "vidur")
        assert joint.linear(4096, Linear(4096, 4096, "bf16")) == pytest.approx(0.611e-3, rel=0.1)
        assert joint.provenance.measured == 1

    def test_vidur_attention(self, shared_data):
        qwen, a30 = find_model("Qwen2-7B"), find_device("a30")
        folder = shared_data / "hardware" / "vidur_fork_a30" / "compute" / "a30" / "Qwen"
        joint = TablePass(
            Roofline(qwen, a30), read_calls(folder / "Qwen-2-7B", qwen, a30, 1), "vidur"
        )
        assert joint.decode_seconds(16, 16 * 1024) > 0
        assert joint.provenance.roofline == 0

    def test_llmservingsim(self, shared_data):
        folder = shared_data / "hardware" / "llmservingsim" / "perf" / "RTX4090" / "meta-llama"
        device = find_device("rtx-4090")
        table = read_calls(folder / "Llama-3.1-8B" / "bf16" / "tp1", LLAMA, device, 1)
        joint = TablePass(Roofline(LLAMA, device), table, "rtx4090")
        shares = joint.provenance.shares()
        joint.token_seconds(512), joint.decode_seconds(8, 8192)
        shares = joint.provenance.shares()
        assert shares["measured"] + shares["interpolated"] == 1

    def test_aiconfigurator_sums_to_what_an_independent_reader_finds(
        self, shared_data, monkeypatch
    ):
        monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
        import accuracy
        import numpy as np

        folder = shared_data / "hardware" / "aiconfigurator" / "a100_sxm"
        device = find_device("a100")
        table = read_calls(folder, LLAMA, device, 1)
        errors = accuracy.dense_errors(
            folder,
            device,
            "bf16",
            lambda name, size: TablePass(
                Roofline(find_model(name), device, tensor_parallel_size=size), table, "a100"
            ),
            models=("Llama-3.1-8B", "Qwen3-14B"),
        )
        for values in errors.values():
            assert np.median(np.abs(values)) < 0.01


def test_elementwise_operators_and_sampling_are_read_where_a_table_has_them(tmp_path):
    header = "operator,dtype,tokens,width,n,latency_us\n"
    rows = {"norm": 4096, "activation": 14336, "rope": (32 + 8) * 128, "embedding": 4096}
    text = "".join(f"{name},bf16,8,{width},,5\n" for name, width in rows.items())
    table = joined(tmp_path, header + text + "sampling,bf16,8,,128256,50\n")
    layers = LLAMA.num_hidden_layers
    assert table.elementwise(8) == pytest.approx((2 * layers + 1 + 2 * layers) * 5e-6)
    roofline = Roofline(LLAMA, H100)
    others = roofline.token_seconds(8) - roofline.elementwise(8)
    assert table.token_seconds(8) == pytest.approx(others + table.elementwise(8) + 5e-6)
    head = roofline.linear(8, roofline.operators.head)
    assert table.row_seconds(8) == pytest.approx(head + 50e-6)


def test_some_elementwise_operators_are_not_enough(tmp_path):
    text = "operator,dtype,tokens,width,latency_us\nnorm,bf16,8,4096,5\n"
    assert joined(tmp_path, text).elementwise(8) == Roofline(LLAMA, H100).elementwise(8)


def test_the_tiles_of_large_gpus_do_not_bound_a_processor():
    from hermes.scenario.device import DeviceSpec

    spec = DeviceSpec(peak_tflops={"bf16": 0.2}, memory_gb=16, memory_bandwidth_gb_per_s=20)
    gpu, cpu = (
        find_device("own", {"own": spec.model_copy(update={"kind": kind})})
        for kind in ("gpu", "cpu")
    )
    one = Linear(1024, 1024, "bf16")
    assert Roofline(LLAMA, cpu).linear(1, one) < Roofline(LLAMA, gpu).linear(1, one)


@pytest.mark.parametrize("size", [1, 8])
def test_latent_attention_is_that_of_the_measured_modules(shared_data, size):
    """Projections and attention together take what the module took; the roofline does not know."""
    import pandas as pd

    folder = shared_data / "hardware" / "aiconfigurator" / "h100_sxm"
    model = find_model("DeepSeek-V3")
    roofline = Roofline(model, H100, "fp8", "auto", size)
    table = TablePass(roofline, read_calls(folder, model, H100, size), "nvidia")
    path = next(folder.glob("mla/vllm/*/mla_generation_module_perf.parquet"))
    rows = pd.read_parquet(path)
    rows = rows[(rows.gemm_type == "fp8_block") & (rows.kv_cache_dtype == "bfloat16")]
    rows = rows[(rows.num_heads == 128 // size) & (rows.step >= 128)]
    layers = table.operators.attention[0].count
    errors = []
    for row in rows.itertuples():
        seconds = sum(table.linear(row.batch_size, each) for each in table.operators.projections)
        seconds += table.decode_seconds(row.batch_size, row.batch_size * row.step) / layers
        errors.append(abs(seconds / (row.latency * 1e-3) - 1))
    assert len(errors) > 50
    assert sorted(errors)[len(errors) // 2] < 0.001
    origins = {part.operator: part.origin for part in table.parts(StepShape(16, 16 * 1023))}
    assert origins["decode attention"] in {"measured", "interpolated"}


def test_latent_attention_of_other_sizes_is_extrapolated(shared_data):
    folder = shared_data / "hardware" / "aiconfigurator" / "h100_sxm"
    model = find_model("DeepSeek-V2-Lite")
    roofline = Roofline(model, H100, "bf16")
    table = TablePass(roofline, read_calls(folder, model, H100, 1), "nvidia")
    origins = {
        part.operator: part.origin for part in table.parts(StepShape(16, 16_000, 512, 0, 512 * 256))
    }
    assert origins["decode attention"] == origins["prefill attention"] == "extrapolated"


def test_modules_are_no_operator_of_a_table_of_one_s_own(tmp_path):
    with pytest.raises(InputError, match="unknown operator 'mla_decode'"):
        joined(tmp_path, HEADER + "mla_decode,bf16,h100,16,4096,4096,40\n")


def test_the_parts_of_a_step_are_the_whole_of_it(tmp_path):
    text = "operator,dtype,tokens,width,n,k,latency_us\n"
    text += "linear,bf16,16,,4096,4096,40\nlinear,bf16,64,,4096,4096,44\n"
    text += "".join(
        f"{kind},bf16,{tokens},{width},,,{time}\n"
        for kind, width in (("norm", 4096), ("activation", 14336), ("rope", 5120))
        for tokens, time in ((1, 5), (4096, 60))
    )
    table = joined(tmp_path, text + "embedding,bf16,64,4096,,,6\n")
    shape = StepShape(16, 16_000, 48, 0, 48 * 49 // 2)
    whole = (
        table.token_seconds(64)
        + table.row_seconds(16)
        + table.decode_seconds(16, 16_016)
        + table.prefill_seconds(48, 48, shape.prefill_pairs)
    )
    parts = table.parts(shape)
    assert sum(part.seconds for part in parts) == pytest.approx(whole)
    origins = {part.operator: part.origin for part in parts}
    assert origins["embedding"] == "measured"
    assert origins["element-wise"] == "interpolated"
    assert origins["decode attention"] == "roofline"
