"""A profile added to the package's data: its table under a name, its laws among the others."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest

from hermes.catalog import find_device, find_model
from hermes.cli import _run
from hermes.costs.constants import read_laws
from hermes.costs.law import Law
from hermes.costs.tables import packaged, read_calls
from hermes.costs.tables.own import read_own
from hermes.errors import InputError, UnknownNameError
from hermes.profile import publish as publishing
from hermes.profile.families import plan_families
from hermes.profile.journal import Journal
from hermes.profile.laws import write_laws
from hermes.profile.progress import open_progress
from hermes.profile.publish import publish
from hermes.profile.reach import Reach
from hermes.profile.session import run_session
from hermes.profile.table import write_table
from tests.profile.bench import PEAKS, FakeBench

QWEN = find_model("qwen2.5-0.5b")
REACH = Reach("gpu", ("bf16",), 64, 128, 4, 1e12, 1e3, copy_bytes=2**16, vectors=(1000,))


def copy_data(folder: Path) -> Path:
    """Return a copy of the package's data that a test may change."""
    data = folder / "data"
    data.mkdir()
    laws = resources.files("hermes.costs").joinpath("data", "laws.csv")
    (data / "laws.csv").write_bytes(laws.read_bytes())
    return data


def law(device: str, operator: str, overhead_us: float, engine: str = "torch") -> Law:
    constants = (0.8, 0.9, 2.0, overhead_us, 0.1, 1.0)
    return Law(device, engine, operator, "bf16", *constants, source="a test")


def make_profile(folder: Path, device: str = "h200-sxm", overhead_us: float = 5.0) -> Path:
    """Return a folder as `hermes profile` leaves it."""
    out = folder / device
    journal = Journal(out / "points.jsonl", {}, resume=out.exists())
    families = plan_families((), [QWEN], REACH, PEAKS)
    run_session(FakeBench(), families, journal, 1e9, open_progress(quiet=True))
    write_table(out / "table.csv", journal.entries, device, "a test")
    write_laws(out / "laws.csv", [law(device, kind, overhead_us) for kind in ("linear", "decode")])
    return out


def test_the_table_is_read_by_name_as_it_was_by_path(tmp_path):
    out, data = make_profile(tmp_path), copy_data(tmp_path)
    facts = publish(out, data)
    assert facts["name"] == "hermes:h200-sxm"
    assert "to do" not in facts
    path = packaged.packaged_table("hermes:h200-sxm", data / "tables")
    shipped, own = (
        [(device, call._replace(line=0)) for device, call in read_own(each)]
        for each in (path, out / "table.csv")
    )
    assert shipped == own
    assert read_calls(path, QWEN, find_device("h200-sxm"), 1).grids
    assert facts["rows"] > 100
    assert facts["bytes"] == path.stat().st_size < (out / "table.csv").stat().st_size


def test_laws_are_added_and_every_other_line_stays(tmp_path):
    data = copy_data(tmp_path)
    before = (data / "laws.csv").read_text().splitlines()
    publish(make_profile(tmp_path), data)
    after = (data / "laws.csv").read_text().splitlines()
    assert after[: len(before)] == before
    assert [line.split(",")[:4] for line in after[len(before) :]] == [
        ["h200-sxm", "torch", "linear", "bf16"],
        ["h200-sxm", "torch", "decode", "bf16"],
    ]


def test_a_later_profile_takes_the_place_of_an_earlier_one(tmp_path):
    data = copy_data(tmp_path)
    publish(make_profile(tmp_path, overhead_us=5.0), data)
    lines = len((data / "laws.csv").read_text().splitlines())
    publish(make_profile(tmp_path, overhead_us=7.0), data)
    text = (data / "laws.csv").read_text()
    assert len(text.splitlines()) == lines
    assert read_laws(text)["h200-sxm", "linear", "bf16"].overhead_us == 7.0
    assert packaged.packaged_tables(data / "tables") == ("h200-sxm",)


def test_laws_of_an_engine_s_kernels_are_not_replaced_by_pytorch_s(tmp_path):
    data = copy_data(tmp_path)
    before = (data / "laws.csv").read_bytes()
    facts = publish(make_profile(tmp_path, "h100-sxm"), data)
    assert facts["laws"] == "none"
    assert facts["laws left as they were, fitted on an engine's kernels"] == (
        "h100-sxm decode bf16, h100-sxm linear bf16"
    )
    assert (data / "laws.csv").read_bytes() == before


def test_a_device_that_the_catalog_lacks_is_said(tmp_path):
    facts = publish(make_profile(tmp_path, "imaginary-9000"), copy_data(tmp_path))
    assert "hermes/catalog/data/devices.csv" in facts["to do"]


def test_without_a_fit_the_table_alone_is_written(tmp_path):
    out, data = make_profile(tmp_path), copy_data(tmp_path)
    before = (data / "laws.csv").read_bytes()
    (out / "laws.csv").unlink()
    assert publish(out, data)["laws"] == "none: nothing was fitted"
    assert (data / "laws.csv").read_bytes() == before


class TestRefused:
    def test_a_folder_without_a_profile(self, tmp_path):
        with pytest.raises(InputError, match=r"table\.csv: no such file; a folder of `hermes prof"):
            publish(tmp_path, copy_data(tmp_path))

    def test_a_folder_that_is_not_the_package_s_data(self, tmp_path):
        with pytest.raises(InputError, match=r"laws\.csv: no such file; hermes/costs/data has one"):
            publish(make_profile(tmp_path), tmp_path)
        assert not (tmp_path / "tables").exists()

    def test_rows_of_several_devices(self, tmp_path):
        out = make_profile(tmp_path)
        table = out / "table.csv"
        table.write_text(table.read_text().replace(",h200-sxm,", ",h100-sxm,", 1))
        with pytest.raises(InputError, match=r"rows of one device, got \['h100-sxm', 'h200-sxm'\]"):
            publish(out, copy_data(tmp_path))

    def test_a_table_that_is_too_large(self, tmp_path, monkeypatch):
        monkeypatch.setattr(publishing, "_MOST_BYTES", 1000)
        data = copy_data(tmp_path)
        with pytest.raises(InputError, match=r"MiB as Parquet, of 0 at most; measure fewer"):
            publish(make_profile(tmp_path), data)
        assert not (data / "tables").exists()

    def test_a_name_that_no_table_has(self, tmp_path):
        with pytest.raises(InputError, match=r"no measured table ships with this version, 'h200'"):
            packaged.packaged_table("hermes:h200", tmp_path)
        data = copy_data(tmp_path)
        publish(make_profile(tmp_path), data)
        with pytest.raises(UnknownNameError, match=r"unknown table 'h200-sxn'; did you mean 'h200"):
            packaged.packaged_table("hermes:h200-sxn", data / "tables")


def test_the_command_measures_nothing(tmp_path, capsys):
    out, data = make_profile(tmp_path), copy_data(tmp_path)
    before = (out / "points.jsonl").read_bytes()
    assert _run(["profile", "--out", str(out), "--publish", str(data)]) == 0
    assert "hermes:h200-sxm" in capsys.readouterr().out
    assert (out / "points.jsonl").read_bytes() == before
    shutil.rmtree(data)
    assert _run(["profile", "--out", str(out), "--publish", str(data)]) == 2
