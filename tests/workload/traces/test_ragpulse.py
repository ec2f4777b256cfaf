"""RAGPulse: prompts made of parts, dictionaries beside the trace, lines out of order."""

from __future__ import annotations

import json

import pytest

from hermes.errors import InputError
from hermes.workload import TraceOptions, read_trace

DICTIONARIES = {
    "1_sys_prompt": ("sys_prompt_id", {1: 32, 2: 8}),
    "2_passages": ("passage_id", {10: 16, 11: 24}),
    "3_history": ("history_id", {20: 5}),
    "4_user_input": ("user_input_id", {30: 7, 31: 9}),
    "5_web_search": ("web_search_id", {40: 16}),
}


def question(at, prompt=90, system=(1, 2), passages=(), history=(), web=(), user=(30,), **more):
    parts = {"sys_prompt": system, "passages_ids": passages, "history": history}
    fields = {"timestamp": str(at), "input_length": prompt, "output_length": 9}
    hashes = {**parts, "web_search": web, "user_input": user}
    return fields | {"hash_ids": hashes, "session_id": "s"} | more


@pytest.fixture
def read(tmp_path):
    for name, (key, lengths) in DICTIONARIES.items():
        lines = [json.dumps({key: number, "token_length": n}) for number, n in lengths.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*lines, "", ""]))

    def read(*rows, **options):
        path = tmp_path / "0_trace.jsonl"
        path.write_text("\n".join([*map(json.dumps, rows), "", ""]))
        return read_trace("ragpulse", path, options=TraceOptions(**options))

    return read


def test_blank_lines_at_the_end_are_no_requests(read):
    assert len(read(question(0))) == 1


def test_lines_are_sorted_by_time(read):
    trace = read(question(82), question(604_453, prompt=95), question(0, prompt=91))
    assert trace.arrival_ticks.tolist() == [0, 82 * 10**12, 604_453 * 10**12]
    assert trace.prompt_tokens.tolist() == [91, 90, 95]


def test_prompts_share_blocks_as_far_as_they_share_parts(read):
    """32 + 8 tokens of system prompt, then passages: the third block holds some of both."""
    trace = read(
        question(0, passages=(10, 11)),
        question(1, passages=(10, 11), user=(31,)),
        question(2, passages=(11, 10)),
    )
    first, second, third = trace.prefixes.ids
    assert [len(ids) for ids in trace.prefixes.ids] == [5, 5, 5]  # 80 + 7, 80 + 9 tokens
    assert second[:5] == first[:5]
    assert third[:2] == first[:2]
    assert not set(third[2:]) & set(first)


def test_a_part_that_differs_ends_the_sharing_where_it_begins(read):
    trace = read(question(0, user=(30,)), question(1, user=(31,)), block_tokens=8)
    first, second = trace.prefixes.ids
    assert second[:5] == first[:5]  # 40 tokens
    assert (len(first), len(second)) == (5, 6)


def test_sessions_are_numbered(read):
    rows = question(0), question(1, session_id="t"), question(2)
    assert read(*rows).session.tolist() == [0, 1, 0]


BAD_LINES = [
    (question(0, timestamp=82), "timestamp: must be a text, got 82"),
    (question("1e3"), "timestamp: must be whole seconds in quotes, like '82', got '1e3'"),
    (question(-5), "timestamp: must be whole seconds in quotes, like '82', got '-5'"),
    (question(1, user=(99,)), "user_input 99 stands in no line of its dictionary 4_user_input.jso"),
    (question(1, prompt=46), "hash_ids: the parts have 47 tokens, more than the 46 of input_len"),
    (
        question(1, hash_ids=[1]),
        "hash_ids: must be an object with the keys sys_prompt, passages_id",
    ),
    (question(1, hash_ids={}), "hash_ids: must be an object with the keys sys_prompt, passages_id"),
    (question(1, user=("x",)), "user_input: must be a list of whole numbers, 0 or more, got 'x'"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=lambda value: str(value)[:50])
def test_a_bad_line_is_one_error_with_file_line_and_field(read, line, message):
    with pytest.raises(InputError) as caught:
        read(question(1), line)
    assert caught.value.line == 2
    assert message in str(caught.value)


def test_a_missing_dictionary_is_named(read, tmp_path):
    (tmp_path / "3_history.jsonl").unlink()
    with pytest.raises(
        InputError, match=r"the dictionary 3_history\.jsonl \(or \.gz\) must lie bes"
    ):
        read(question(0))


def test_an_entry_twice_is_refused(read, tmp_path):
    line = json.dumps({"history_id": 20, "token_length": 5})
    (tmp_path / "3_history.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(
        InputError, match=r"3_history\.jsonl:2: history_id: history_id 20 stands in"
    ):
        read(question(0))


def test_the_real_files(shared_data, tmp_path):
    for file in (shared_data / "traces" / "ragpulse").glob("*.jsonl.gz"):
        (tmp_path / file.name).symlink_to(file)
    trace = read_trace("ragpulse", tmp_path / "0_trace.first_5000.jsonl.gz")
    assert len(trace) == 5000
    assert trace.arrival_ticks[-1] == 604_453 * 10**12
    assert trace.session.max() == 2858
    seen: set[int] = set()
    shared = 0
    for ids in trace.prefixes.ids:
        shared += sum(block in seen for block in ids)
        seen.update(ids)
    assert (shared, sum(map(len, trace.prefixes.ids))) == (291_924, 924_236)
