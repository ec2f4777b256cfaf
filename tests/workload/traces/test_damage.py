"""Whatever happens to a file, a reader reads it or says in one error what is wrong and where."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.workload import read_trace, trace_names

DICTIONARIES = ("1_sys_prompt", "2_passages", "3_history", "4_user_input", "5_web_search")
PARTS = {"sys_prompt": [1], "passages_ids": [1], "history": [], "web_search": [], "user_input": [1]}
CHAT = {"chat_id": 1, "parent_chat_id": -1, "timestamp": 1.5, "input_length": 20, "turn": 1}

GOOD = {
    "hermes": "arrival_s,prompt_tokens,output_tokens,priority,session,turn\n1.5,20,3,-1,a,1\n"
    "2,40,3,0,a,2\n",
    "azure-2023": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n",
    "azure-2024": "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.5+00:00,21,5\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,GPT-4,2,1,3,API log\n6,GPT-4,2,0,2,API log\n",
    "mooncake": json.dumps(
        {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}
    ),
    "qwen-bailian": json.dumps(CHAT | {"output_length": 5, "type": "text", "hash_ids": [1]}),
    "ragpulse": json.dumps(
        {
            "timestamp": "82",
            "input_length": 90,
            "output_length": 9,
            "hash_ids": PARTS,
            "session_id": "s",
        }
    ),
    "llmservingsim": json.dumps(
        {"input_toks": 16, "output_toks": 2, "arrival_time_ns": 5, "input_tok_ids": [7] * 16}
    ),
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,3,4\n",
    "lmcache-agent": json.dumps(
        {"timestamp": 1_760_995_776_640_783, "input": "a", "output": "b", "session_id": "s"}
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    for name in DICTIONARIES:
        key = f"{name[2:].removesuffix('s')}_id"
        (folder / f"{name}.jsonl").write_text(json.dumps({key: 1, "token_length": 8}))
    return folder


def test_there_is_a_good_file_of_every_layout():
    assert sorted(GOOD) == list(trace_names())


@pytest.mark.parametrize("layout", sorted(GOOD))
def test_the_good_file_is_read(folder, layout):
    (folder / "trace").write_text(GOOD[layout])
    assert len(read_trace(layout, folder / "trace")) >= 1


@pytest.mark.parametrize("layout", sorted(GOOD))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(folder, layout, data):
    text = GOOD[layout]
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(begin + 8, len(text))))
        inserts = ["", "-1", "0", "null", "[", "{", "}", ",", '"', "\n", "1e999", "NaN", "9" * 20]
        insert = data.draw(st.sampled_from(inserts) | st.text(max_size=3))
        text = text[:begin] + insert + text[end:]
    (folder / "trace").write_text(text, errors="replace")
    outcome = attempt(layout, folder / "trace")
    if isinstance(outcome, InputError):
        assert outcome.file.endswith("trace")
        assert len(str(outcome)) < 600
    else:
        assert (outcome.prompt_tokens >= 1).all()
        assert (outcome.output_tokens >= 1).all()


def attempt(layout, path):
    try:
        return read_trace(layout, path)
    except InputError as error:
        return error
