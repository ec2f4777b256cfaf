"""Hermes forms the batches that vLLM formed: same tokens, same times, to the nanosecond.

`agreement.csv` says which recordings Hermes reproduces; this test holds it to that. Where Hermes
lacks a feature the recording stays, and the table and docs/vllm.md say so.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from tests.conformance.agreement import DIFFERS, EXACT, NOT_YET, read_agreement
from tests.conformance.compare import difference
from tests.conformance.record.window_cases import CASES
from tests.conformance.recording import FOLDER, Recording

AGREEMENT = read_agreement()
NAMES = [row.recording for row in AGREEMENT]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "vllm.md"


def load(name: str) -> Recording:
    return Recording.read(FOLDER / f"{name}.json.gz")


@pytest.mark.parametrize("name", [row.recording for row in AGREEMENT if row.verdict == EXACT])
def test_hermes_reproduces_the_recording(name: str, tmp_path: Path) -> None:
    assert difference(load(name), tmp_path) == ""


class TestTable:
    def test_names_every_recording_once(self) -> None:
        assert sorted(NAMES) == sorted(path.name[: -len(".json.gz")] for path in FOLDER.iterdir())

    def test_gives_a_reason_for_whatever_is_not_exact(self) -> None:
        for row in AGREEMENT:
            assert row.verdict in {EXACT, DIFFERS, NOT_YET}, row
            assert bool(row.why) == (row.verdict != EXACT), row

    def test_says_of_each_recording_what_the_recording_says(self) -> None:
        assert {row.recording: row.feature for row in AGREEMENT} == {
            name: load(name).case.feature for name in NAMES
        }

    def test_is_what_the_docs_say(self) -> None:
        page = PAGE.read_text()
        by_feature = itertools.groupby(
            sorted(AGREEMENT, key=lambda row: row.feature), key=lambda row: row.feature
        )
        for feature, rows in by_feature:
            verdicts = [row.verdict for row in rows]
            exact = f"{verdicts.count(EXACT)} of {len(verdicts)}"
            assert f"| {feature} | {exact} |" in page


class TestRecordings:
    def test_are_of_the_cases_that_the_recorder_has(self) -> None:
        assert {case.name: case for case in CASES} == {name: load(name).case for name in NAMES}

    def test_are_all_of_one_engine(self) -> None:
        engines = {tuple(load(name).engine.items()) for name in NAMES}
        assert len(engines) == 1
        version = dict(engines.pop())["version"]
        assert f"vLLM {version}" in PAGE.read_text()

    @pytest.mark.parametrize("name", NAMES)
    def test_keep_the_laws_of_a_scheduler(self, name: str) -> None:
        recording = load(name)
        options, requests = recording.case.options, recording.case.requests
        for step, following in itertools.pairwise(recording.steps):
            assert step.start_ns + step.duration_ns <= following.start_ns
        for step in recording.steps:
            assert 0 < sum(step.tokens.values()) <= options["max_num_batched_tokens"]
            assert len(step.tokens) <= options["max_num_seqs"]
            assert all(requests[request].arrival_ns <= step.start_ns for request in step.tokens)
        for request, first, last in zip(
            requests, recording.first_token_ns, recording.last_token_ns, strict=True
        ):
            assert request.arrival_ns < first <= last
        preempted = [request for step in recording.steps for request in step.preempted]
        assert [preempted.count(i) for i in range(len(requests))] == recording.preemptions


class TestTheComparison:
    """It would notice."""

    @pytest.fixture
    def recording(self) -> Recording:
        return load("pool-tiny")

    def test_one_token_more(self, recording: Recording, tmp_path: Path) -> None:
        step = recording.steps[5]
        tokens = {request: count + 1 for request, count in step.tokens.items()}
        recording.steps[5] = dataclasses.replace(step, tokens=tokens)
        assert "step 5 at" in difference(recording, tmp_path)

    def test_a_step_a_nanosecond_later(self, recording: Recording, tmp_path: Path) -> None:
        step = recording.steps[7]
        recording.steps[7] = dataclasses.replace(step, start_ns=step.start_ns + 1)
        assert "step 7 starts" in difference(recording, tmp_path)

    def test_a_step_fewer(self, recording: Recording, tmp_path: Path) -> None:
        recording.steps.pop()
        assert "972 steps, in Hermes 973" in difference(recording, tmp_path)

    @pytest.mark.parametrize("column", ["first_token_ns", "last_token_ns", "preemptions"])
    def test_an_outcome(self, recording: Recording, column: str, tmp_path: Path) -> None:
        getattr(recording, column)[3] += 1
        assert "request 3" in difference(recording, tmp_path)
