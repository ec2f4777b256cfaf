"""Qwen-Bailian's traces: sessions that are trees, blocks hashed by themselves."""

from __future__ import annotations

import pytest

from hermes.errors import InputError


def chat(number, parent=-1, at=0.0, prompt=40, ids=(1, 2), **changes):
    fields = {"chat_id": number, "parent_chat_id": parent, "timestamp": at, "input_length": prompt}
    fields |= {"output_length": 5, "type": "text", "turn": 1, "hash_ids": list(ids)}
    return fields | changes


@pytest.fixture
def read(read_as):
    return read_as("qwen-bailian")


def test_times_are_seconds_with_every_digit(read):
    trace = read(chat(1, at=0), chat(2, at=61.114))
    assert trace.arrival_ticks.tolist() == [0, 61_114 * 10**9]


def test_a_session_is_all_that_descends_from_its_first_turn(read):
    trace = read(chat(9), chat(4), chat(7, parent=9), chat(8, parent=7), chat(6, parent=9))
    assert trace.session.tolist() == [0, 1, 0, 0, 0]


def test_a_parent_from_before_the_trace_stands_for_its_session(read):
    assert read(chat(9, parent=3), chat(4), chat(5, parent=3)).session.tolist() == [0, 1, 0]


def test_a_block_is_shared_only_after_the_same_head(read):
    """The trace's ids say what is in a block, not what stands before it."""
    trace = read(chat(1, ids=(1, 2)), chat(2, ids=(3, 2)), chat(3, ids=(1, 2)))
    assert trace.prefixes.ids == ((0, 1), (2, 3), (0, 1))
    assert trace.prefixes.block_tokens == 16


@pytest.mark.parametrize("ids", [(1, 2), (1, 2, 3)])
def test_the_last_block_may_be_cut_or_left_out(read, ids):
    assert len(read(chat(1, prompt=40, ids=ids))) == 1


BAD_LINES = [
    (chat(1), "chat_id: chat 1 stands in the trace twice"),
    (chat(2, ids=(1,)), "hash_ids: 40 prompt tokens make 2 or 3 blocks of 16, got 1 ids"),
    (chat(2, parent=-2), "parent_chat_id: must be the number of a chat, or -1 for none, got -2"),
    (chat(2, parent=None), "parent_chat_id: must be the number of a chat, or -1 for none"),
    (chat(2, at="3"), "timestamp: must be a number of seconds, 0 or more, got '3'"),
    (chat(2, at=-1), "timestamp: must be a number of seconds, 0 or more, got -1"),
    (chat(2, at=1e9), "times count from the start of the simulation and end within 106 days"),
    (chat(2, prompt=40.5), "input_length: must be a whole number from 1 to 100000000, got 40.5"),
    (chat(2, user="x"), "the object has an unknown field 'user' (allowed: chat_id, hash_ids, "),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=lambda value: str(value)[:50])
def test_a_bad_line_is_one_error_with_file_line_and_field(read, line, message):
    with pytest.raises(InputError) as caught:
        read(chat(1), line)
    assert caught.value.line == 2
    assert message in str(caught.value)
