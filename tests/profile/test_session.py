"""A session on a bench that makes times up: kept at once, refused, resumed, written as a table."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from hermes.catalog import find_model
from hermes.costs.roofline import Roofline
from hermes.costs.tables import OPERATORS, TablePass, read_calls
from hermes.errors import InputError
from hermes.profile.accuracy import held_out_errors, roofline_errors
from hermes.profile.families import FAMILIES, plan_families
from hermes.profile.journal import Journal
from hermes.profile.physics import Peaks, refusal
from hermes.profile.point import measure, point
from hermes.profile.progress import open_progress
from hermes.profile.reach import Reach
from hermes.profile.session import Outcome, run_session
from hermes.profile.table import calls, write_table
from hermes.scenario.device import DeviceSpec
from tests.profile.bench import PEAKS, FakeBench

QWEN = find_model("qwen2.5-0.5b")
REACH = Reach("cpu", ("bf16",), 64, 128, 4, 1e12, 1e3, copy_bytes=2**16, vectors=(1000,))
ABOUT = {"device": "fake", "machine": "m", "torch": "2", "threads": 1, "hermes": "0"}


def session(
    folder: Path, bench: FakeBench, seconds: float = 1e9, resume: bool = False, names=()
) -> tuple[Journal, Outcome]:
    journal = Journal(folder / "points.jsonl", ABOUT, resume)
    families = plan_families(names, [QWEN], REACH, PEAKS)
    ticks = itertools.count()
    outcome = run_session(
        bench, families, journal, seconds, open_progress(quiet=True), lambda: float(next(ticks))
    )
    return journal, outcome


def test_every_operator_of_the_table_but_collectives_and_latent_attention_is_measured(tmp_path):
    journal, outcome = session(tmp_path, FakeBench())
    collectives = {"allreduce", "alltoall", "send_recv"}
    gpu_only = {"host_to_device", "device_to_host"}
    latent = {"mla_prefill", "mla_decode"}  # modules of other kernels, which others' tables hold
    left_out = collectives | gpu_only | latent
    assert {entry["operator"] for entry in journal.entries} == set(OPERATORS) - left_out
    assert outcome.left == outcome.failed == outcome.refused == 0
    assert outcome.measured == len(journal.entries)


def test_the_table_is_read_as_it_was_measured(tmp_path):
    journal, _ = session(tmp_path, FakeBench())
    path = tmp_path / "table.csv"
    rows = write_table(path, journal.entries, "fake", "a test")
    assert rows == len(journal.entries)
    spec = DeviceSpec(
        peak_tflops={"bf16": 1.0}, memory_gb=16, memory_bandwidth_gb_per_s=100, kind="cpu"
    )
    from hermes.catalog import find_device

    device = find_device("fake", {"fake": spec})
    roofline = Roofline(QWEN, device, "bf16", "bf16")
    table = TablePass(roofline, read_calls(path, QWEN, device, 1), "table.csv")
    for entry, call in calls(journal.entries):
        if call.operator in {"linear", "decode", "prefill", "norm", "sampling", "experts"}:
            told = table.call_seconds(call.operator, call.dtype, *call.shape)
            assert told == pytest.approx(entry["seconds"], rel=1e-5)
    assert table.provenance.measured > 0
    assert table.provenance.extrapolated == table.provenance.roofline == 0


def test_points_left_out_are_answered_from_the_others(tmp_path):
    journal, _ = session(tmp_path, FakeBench())
    spec = DeviceSpec(
        peak_tflops={"bf16": 1.0}, memory_gb=16, memory_bandwidth_gb_per_s=100, kind="cpu"
    )
    from hermes.catalog import find_device

    roofline = Roofline(QWEN, find_device("fake", {"fake": spec}), "bf16", "bf16")
    measured = [call for _, call in calls(journal.entries)]
    table, datasheet = held_out_errors(roofline, measured), roofline_errors(roofline, measured)
    assert set(table) <= set(datasheet)
    assert table["linear"][0] < 0.1 < datasheet["linear"][0]


def test_points_faster_than_physics_are_refused_and_not_in_the_table(tmp_path):
    bench = FakeBench(lambda each: 1e-9 if each["tokens"] == 64 else None)
    journal, outcome = session(tmp_path, bench, names=("linear",))
    refused = [entry for entry in journal.entries if entry["columns"]["tokens"] == 64]
    assert outcome.refused == len(refused) > 0
    assert all("is faster than the datasheet allows" in entry["why_not"] for entry in refused)
    rows = write_table(tmp_path / "table.csv", journal.entries, "fake", "a test")
    assert rows == len(journal.entries) - len(refused)
    with (tmp_path / "table.csv").open() as file:
        assert "64" not in {row["tokens"] for row in csv.DictReader(file)}


def test_a_point_that_cannot_run_is_kept_with_its_reason(tmp_path):
    bench = FakeBench(lambda each: -1.0 if each.operator == "search" else None)
    journal, outcome = session(tmp_path, bench, names=("search", "copies"))
    failed = [entry for entry in journal.entries if entry.seconds is None]
    assert outcome.failed == len(failed) > 0
    assert {entry["why_not"] for entry in failed} == {"no such kernel"}


def test_a_session_is_bounded_and_resumed_without_measuring_twice(tmp_path):
    first, before = session(tmp_path, FakeBench(), seconds=100)
    assert before.left > 0
    bench = FakeBench()
    journal, after = session(tmp_path, bench, resume=True)
    assert after.left == 0
    assert not set(first.finished) & set(bench.seen)
    assert len(journal.finished) == len(set(journal.finished)) == before.left + len(first.finished)


def test_an_interrupted_session_keeps_what_it_has(tmp_path):
    def odd(each):
        if each["tokens"] == 32:
            raise KeyboardInterrupt

    journal, outcome = session(tmp_path, FakeBench(odd), names=("linear",))
    assert outcome.interrupted
    assert outcome.measured == len(journal.entries) > 0


class TestProgress:
    def session(self, folder: Path, progress: Any) -> int:
        journal = Journal(folder / "points.jsonl", ABOUT, False)
        families = plan_families(("copies",), [QWEN], REACH, PEAKS)
        run_session(FakeBench(), families, journal, 1e9, progress)
        return len(journal.entries)

    def test_lines_say_how_far_it_is_but_not_more_often_than_they_are_read(self, tmp_path, capsys):
        points = self.session(tmp_path, open_progress(quiet=False))  # no terminal here
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(f"1/{points} points, 0 of 1000000000 s: device_to_device int8")

    def test_a_terminal_gets_a_bar(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        progress = open_progress(quiet=False)
        points = self.session(tmp_path, progress)
        progress.say("whole steps")
        progress.close()
        shown = capsys.readouterr().err
        assert f"{points}/{points} points" in shown
        assert "whole steps" in shown

    def test_quiet_says_nothing(self, tmp_path, capsys):
        self.session(tmp_path, open_progress(quiet=True))
        assert capsys.readouterr().err == ""


class TestJournal:
    def test_it_is_not_overwritten(self, tmp_path):
        session(tmp_path, FakeBench(), names=("copies",))
        with pytest.raises(InputError, match=r"points.jsonl: holds a profile already.*--resume"):
            session(tmp_path, FakeBench())

    def test_another_device_does_not_continue_it(self, tmp_path):
        Journal(tmp_path / "points.jsonl", ABOUT | {"device": "other"}, False)
        with pytest.raises(InputError, match=r"begun with device 'other', this is 'fake'"):
            Journal(tmp_path / "points.jsonl", ABOUT, resume=True)

    def test_a_line_cut_off_in_writing_is_dropped(self, tmp_path):
        journal, _ = session(tmp_path, FakeBench(), names=("copies",))
        with journal.path.open("a") as file:
            file.write('{"key": "linear bf')
        again = Journal(journal.path, ABOUT, resume=True)
        assert again.finished == journal.finished
        again.add(point("norm", "bf16", tokens=1, width=2), measure([1.0]))
        assert json.loads(journal.path.read_text().splitlines()[-1])["operator"] == "norm"

    def test_what_is_no_journal_is_said(self, tmp_path):
        path = tmp_path / "points.jsonl"
        path.write_text("operator,dtype\n")
        with pytest.raises(InputError, match=r"is no journal of a profile"):
            Journal(path, ABOUT, resume=True)


class TestPhysics:
    slow = point("linear", "bf16", 2e12, 1e9, tokens=1, n=1, k=1)

    def test_a_point_at_the_peak_passes_and_a_faster_one_does_not(self):
        assert PEAKS.least_seconds(self.slow) == 2.0
        assert refusal(self.slow, 2.0, PEAKS) == ""
        assert refusal(self.slow, 1.9, PEAKS).startswith("1.9e+06 us is faster")

    def test_bytes_bound_as_arithmetic_does(self):
        copied = point("device_to_device", "int8", 0.0, 1e11, bytes=1)
        assert refusal(copied, 0.5, PEAKS)
        assert not refusal(copied, 1.0, PEAKS)

    def test_a_bus_that_is_not_known_bounds_nothing(self):
        assert not refusal(point("search", "int8", bus="", batch=1), 1e-12, PEAKS)
        assert not refusal(point("host_to_device", "int8", 0, 1e9, "host", bytes=1), 1e-9, PEAKS)

    def test_measured_peaks_rise_with_what_is_accepted_and_a_datasheet_does_not(self):
        probe = Peaks({"bf16": 1e12}, 1e11, tolerance=1.3, source="probe")
        assert probe.raised(self.slow, 1.6).flops["bf16"] == pytest.approx(1.25e12)
        assert PEAKS.raised(self.slow, 1.6) is PEAKS

    def test_spread_is_the_interquartile_range_over_the_median(self):
        found = measure([1.0, 2.0, 3.0, 4.0, 5.0])
        assert (found.seconds, found.spread, found.runs) == (3.0, pytest.approx(2 / 3), 5)
        assert math.isinf(measure([0.0]).spread)
        with pytest.raises(ValueError, match="nothing was timed"):
            measure([])


def test_shares_of_the_families_are_shares():
    assert math.fsum(share for share, _ in FAMILIES.values()) == pytest.approx(1)
