"""Vidur's processed traces, with times and without."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.scenario.workload import WorkloadSpec
from hermes.workload import build_workload, read_trace

TIMED = "arrived_at,num_prefill_tokens,num_decode_tokens"
LENGTHS = "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio"


@pytest.fixture
def read(read_as):
    return read_as("vidur")


def test_times_keep_every_digit(read):
    trace = read(TIMED, "0.0,374,44", "5.8926549999999995,91,16")
    assert trace.arrival_ticks.tolist() == [0, 5_892_655_000_000]
    assert trace.prompt_tokens.tolist() == [374, 91]
    assert trace.output_tokens.tolist() == [44, 16]


def test_a_file_of_lengths_has_no_times(read):
    trace = read(LENGTHS, "3772,54,3826,69.85185185185185")
    assert trace.arrival_ticks is None
    assert trace.prompt_tokens.tolist() == [3772]


class TestLengthsInAScenario:
    @pytest.fixture
    def block(self, tmp_path):
        rows = [f"{prompt},2,{prompt + 2},1.0" for prompt in range(1, 6)]
        (tmp_path / "lengths.csv").write_text("\n".join([LENGTHS, *rows]))
        return {"requests": {"trace": "vidur", "path": str(tmp_path / "lengths.csv")}}

    def build(self, block):
        return build_workload(WorkloadSpec.model_validate(block), ["chat"], 0)

    def test_come_when_the_scenario_says(self, block):
        workload = self.build(block | {"arrivals": {"process": "constant", "rate_per_s": 2}})
        assert workload.prompt_tokens.tolist() == [1, 2, 3, 4, 5]
        assert workload.arrival_ticks[-1] == 2 * 10**12

    @pytest.mark.parametrize("arrivals", [None, {"process": "trace"}])
    def test_cannot_come_at_times_they_do_not_have(self, block, arrivals):
        with pytest.raises(
            InputError, match=r"workload\.arrivals: the trace holds lengths without"
        ):
            self.build(block | {"arrivals": arrivals})


BAD_ROWS = {
    "374.0,44,418,8.5": "num_prefill_tokens: must be a whole number, 0 or more, got '374.0'",
    "374,0,374,0": "num_decode_tokens: must be a whole number from 1 to",
    "374,44,419,8.5": "num_total_tokens: must be the sum of the two others, 418, got 419",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_one_error_with_file_line_and_column(read, row):
    with pytest.raises(InputError) as caught:
        read(LENGTHS, "1,1,2,1.0", row)
    assert caught.value.line == 3
    assert BAD_ROWS[row] in str(caught.value)


@pytest.mark.parametrize(
    ("file", "rows"),
    [
        ("vidur_processed/splitwise_conv.csv.gz", 19_366),
        ("vidur_processed/splitwise_code.csv.gz", 8_819),
        ("vidur_processed/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv.gz", 28_257),
        ("etalon_lengths/bwb_stats_llama2_tokenizer_filtered_v2.csv.gz", 33_768),
        ("etalon_lengths/sharegpt_8k_filtered_stats_llama2_tokenizer.csv.gz", 30_731),
    ],
)
def test_the_real_files(shared_data, file, rows):
    assert len(read_trace("vidur", shared_data / "traces" / file)) == rows


def test_vidur_kept_azures_requests(shared_data):
    folder = shared_data / "traces"
    ours = read_trace("azure-2023", folder / "azure_llm_2023/AzureLLMInferenceTrace_conv.csv.gz")
    theirs = read_trace("vidur", folder / "vidur_processed/splitwise_conv.csv.gz")
    assert theirs.prompt_tokens.tolist() == ours.prompt_tokens.tolist()
    assert abs(theirs.arrival_ticks - ours.arrival_ticks).max() < 10**6  # a microsecond
