"""What the plain layout may say beyond lengths: priorities, blocks, sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.workload import TraceOptions, read_trace

NS = "arrival_ns,prompt_tokens,output_tokens"


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "t.csv"

    def read(*lines, block_tokens=None):
        path.write_text("\n".join(lines) + "\n")
        return read_trace("hermes", path, options=TraceOptions(block_tokens))

    return read


class TestPriority:
    def test_is_read_with_its_sign(self, read):
        trace = read(f"{NS},priority", "1,1,1,0", "1,1,1,-3", "1,1,1, 7 ")
        assert trace.priority.tolist() == [0, -3, 7]

    def test_is_absent_without_the_column(self, read):
        assert read(NS, "1,1,1").priority is None

    @pytest.mark.parametrize("cell", ["", "high", "1.5", "--1", "9" * 19])
    def test_must_be_a_whole_number(self, read, cell):
        with pytest.raises(InputError, match=r"t\.csv:2: priority: must be a whole number of at"):
            read(f"{NS},priority", f"1,1,1,{cell}")


class TestBlocks:
    def test_equal_heads_get_equal_numbers(self, read):
        trace = read(
            f"{NS},block_ids",
            "1,48,1,7 8 9",
            "1,40,1,7 8",
            "1,9,1,",
            "1,32,1, 7  5",
            block_tokens=16,
        )
        assert trace.prefixes.block_tokens == 16
        assert trace.prefixes.ids == ((0, 1, 2), (0, 1), (), (0, 3))

    def test_the_same_id_after_another_head_is_another_block(self, read):
        """Some traces number a block by itself, others by all that stands before it, too."""
        trace = read(f"{NS},block_ids", "1,48,1,1 2 3", "1,48,1,4 2 3", block_tokens=16)
        assert trace.prefixes.ids == ((0, 1, 2), (3, 4, 5))

    @given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1))
    def test_numbers_are_equal_just_where_the_heads_are(self, read, prompts):
        rows = [f"1,80,1,{' '.join(map(str, ids))}" for ids in prompts]
        numbered = read(f"{NS},block_ids", *rows, block_tokens=16).prefixes.ids
        for ids, numbers in zip(prompts, numbered, strict=True):
            for others, their_numbers in zip(prompts, numbered, strict=True):
                for place in range(min(len(ids), len(others))):
                    same_head = ids[: place + 1] == others[: place + 1]
                    assert (numbers[place] == their_numbers[place]) == same_head

    def test_the_size_may_stand_in_a_column(self, read):
        trace = read(f"{NS},block_tokens,block_ids", "1,48,1,32,7 8", "1,1,1,32,")
        assert trace.prefixes.block_tokens == 32

    def test_the_size_may_not_change(self, read):
        with pytest.raises(InputError, match=r"t\.csv:3: block_tokens: all blocks .* 16 tokens af"):
            read(f"{NS},block_tokens,block_ids", "1,48,1,32,7 8", "1,1,1,16,")

    def test_the_size_must_be_known(self, read):
        with pytest.raises(InputError, match=r"t\.csv:1: block_ids needs the tokens of a block: a"):
            read(f"{NS},block_ids", "1,48,1,7")

    def test_the_size_must_be_said_once(self, read):
        with pytest.raises(
            InputError, match=r"requests\.block_tokens: the trace has a column bloc"
        ):
            read(f"{NS},block_tokens,block_ids", "1,48,1,32,7 8", block_tokens=16)

    def test_a_size_without_blocks_is_refused(self, read):
        with pytest.raises(
            InputError, match=r"requests\.block_tokens: the trace has no column blo"
        ):
            read(NS, "1,48,1", block_tokens=16)
        with pytest.raises(
            InputError, match=r"t\.csv:1: .*'block_tokens', which needs 'block_ids'"
        ):
            read(f"{NS},block_tokens", "1,48,1,16")

    @pytest.mark.parametrize("cell", ["x", "-1", "1.0", "1,2", "[1 2]"])
    def test_ids_are_whole_numbers(self, read, cell):
        with pytest.raises(InputError, match=r"t\.csv:2: block_ids: must be a whole number, 0 or"):
            read(f"{NS},block_ids", f'1,99,1,"{cell}"', block_tokens=16)

    @pytest.mark.parametrize("cell", ["0", "-16", "1048577", "16.0", ""])
    def test_the_size_is_a_whole_number(self, read, cell):
        with pytest.raises(InputError, match=r"t\.csv:2: block_tokens: must be a whole number"):
            read(f"{NS},block_ids,block_tokens", f"1,99,1,1,{cell}")

    def test_a_prompt_holds_no_more_blocks_than_its_tokens(self, read):
        message = r"t\.csv:2: block_ids: 33 prompt tokens make 3 blocks of 16, got 4 ids"
        with pytest.raises(InputError, match=message):
            read(f"{NS},block_ids", "1,33,1,1 2 3 4", block_tokens=16)


class TestSessions:
    HEADER = f"{NS},session,turn"

    def test_turns_are_numbered_by_session(self, read):
        trace = read(self.HEADER, "1,9,1,a,1", "2,9,1,b,5", "3,9,1,,0", "4,9,1,a,3")
        assert trace.session.tolist() == [0, 1, -1, 0]

    def test_a_turn_that_grows_repeats_the_prompt_before(self, read):
        trace = read(self.HEADER, "1,32,8,a,1", "2,64,8,a,2", "3,16,8,b,1", "4,80,8,a,3")
        assert trace.prefixes.block_tokens == 16
        assert trace.prefixes.ids == ((0, 1), (0, 1, 2, 3), (4,), (0, 1, 2, 3, 5))

    def test_a_turn_with_no_room_for_the_one_before_is_new(self, read):
        trace = read(self.HEADER, "1,32,8,a,1", "2,39,8,a,2")
        assert trace.prefixes.ids == ((0, 1), (2, 3))

    def test_the_trace_may_say_what_is_repeated(self, read):
        lines = [f"{self.HEADER},shared_tokens", "1,32,8,a,1,", "2,33,8,a,2,17", "3,40,8,a,3,0"]
        trace = read(*lines)
        assert trace.prefixes.ids == ((0, 1), (0, 2), (3, 4))
        assert read(*lines, block_tokens=1).prefixes.ids[1][16:18] == (16, 32)

    def test_never_more_is_shared_than_stood_there(self, read):
        trace = read(f"{self.HEADER},shared_tokens", "1,20,8,a,1,", "2,99,8,a,2,99")
        assert trace.prefixes.ids == ((0,), (0, 1, 2, 3, 4, 5))

    def test_ids_of_blocks_say_more_than_sessions(self, read):
        trace = read(f"{NS},session,block_ids", "1,32,1,a,5 6", "2,99,1,a,7", block_tokens=16)
        assert trace.prefixes.ids == ((0, 1), (2,))
        assert trace.session.tolist() == [0, 0]

    def test_a_turn_twice_is_refused(self, read):
        with pytest.raises(
            InputError, match=r"t\.csv:4: turn 2 of session 'a' already stands in l"
        ):
            read(self.HEADER, "1,9,1,a,1", "1,9,1,a,2", "2,9,1,a,2")

    def test_turns_out_of_order_are_refused(self, read):
        with pytest.raises(
            InputError, match=r"t\.csv:3: turns .* turn 1 of session 'a' comes after"
        ):
            read(self.HEADER, "1,9,1,a,2", "1,9,1,a,1")

    @pytest.mark.parametrize("column", ["turn", "shared_tokens"])
    def test_turns_need_sessions(self, read, column):
        with pytest.raises(InputError, match=rf"t\.csv:1: the header has '{column}', which needs"):
            read(f"{NS},{column}", "1,9,1,1")

    def test_more_cannot_be_repeated_than_the_prompt_holds(self, read):
        with pytest.raises(InputError, match=r"t\.csv:2: shared_tokens: must be at most the 9 pro"):
            read(f"{NS},session,shared_tokens", "1,9,1,a,10")


def test_a_scenario_file_says_both_priority_and_blocks(tmp_path):
    """The urgent request overtakes; the repeated prompt finds its blocks."""
    header = f"{NS},priority,block_ids"
    rows = ["0,64,4,0,1 2 3 4", "1,64,4,5,", "2,64,4,1,1 2 3 4"]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]))
    chat = {"model": "llama-3.1-8b", "device": "h100-sxm", "max_num_seqs": 1}
    scenario = build_scenario(
        {
            "workload": {"requests": {"trace": "hermes", "path": "t.csv", "block_tokens": 16}},
            "clients": {"chat": chat | {"scheduling_policy": "priority"}},
        }
    )
    first_token = simulate(scenario, tmp_path).requests.first_token.tolist()
    assert sorted(range(3), key=first_token.__getitem__) == [0, 2, 1]


def test_block_sizes_that_do_not_divide_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text(f"{NS},block_ids\n0,64,4,1 2\n")
    scenario = build_scenario(
        {
            "workload": {"requests": {"trace": "hermes", "path": "t.csv", "block_tokens": 24}},
            "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
        }
    )
    with pytest.raises(InputError, match="blocks of 24 tokens do not go with a block_size of 16"):
        simulate(scenario, tmp_path)
