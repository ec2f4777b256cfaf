"""Requests from ServeGen's client data: the right number, the right lengths, the traps."""

from __future__ import annotations

import csv
import gzip
import json
import math

import numpy as np
import pytest

from hermes.errors import InputError
from hermes.scenario.workload import WorkloadSpec
from hermes.workload import build_workload

LENGTHS = {"input_tokens": "{10: 0.25, 20: 0.75}", "output_tokens": "{3: 1.0}"}


def client(folder, number, rows, dataset=None):
    folder.mkdir(exist_ok=True)
    (folder / f"chunk-{number}-trace.csv").write_text("\n".join(rows) + "\n")
    text = json.dumps({"0": LENGTHS} if dataset is None else dataset)
    (folder / f"chunk-{number}-dataset.json").write_text(text)


def build(folder, limit=None, seed=0, arrivals=None, **body):
    block = {"requests": {"servegen": {"path": str(folder)} | body}}
    block |= {"limit": limit, "arrivals": arrivals}
    return build_workload(WorkloadSpec.model_validate(block), ["chat"], seed)


def windows(rate, gaps="Gamma", shape=1.0, count=4):
    return [f"{600 * n},{rate},1,{gaps},{shape},1" for n in range(count)]


class TestArrivals:
    @pytest.mark.parametrize(("gaps", "shape"), [("Gamma", 0.03), ("Gamma", 4), ("Weibull", 0.5)])
    def test_as_many_come_as_the_rate_says(self, tmp_path, gaps, shape):
        """Also in bursts: a window does not begin with one."""
        client(tmp_path, 0, windows(2, gaps, shape, count=200))
        spread = {"Gamma": 1 / math.sqrt(shape), "Weibull": 2.236}[gaps]
        counted = np.bincount(build(tmp_path).arrival_ticks // (600 * 10**12), minlength=200)
        assert counted.mean() == pytest.approx(1200, abs=4 * spread * math.sqrt(1200 / 200))

    def test_a_client_that_sends_less_than_a_request_a_window_sends_some(self, tmp_path):
        client(tmp_path, 0, windows(1 / 6000, count=4000))
        assert len(build(tmp_path)) == pytest.approx(400, abs=80)

    @pytest.mark.parametrize(("gaps", "shape", "cv"), [("Gamma", 4, 0.5), ("Weibull", 0.5, 5**0.5)])
    def test_gaps_are_as_uneven_as_the_shape_says(self, tmp_path, gaps, shape, cv):
        client(tmp_path, 0, windows(20, gaps, shape))
        between = np.diff(build(tmp_path).arrival_ticks)
        assert between.std() / between.mean() == pytest.approx(cv, rel=0.05)

    def test_requests_of_all_clients_are_in_order_of_time(self, tmp_path):
        client(tmp_path, 0, windows(3))
        client(tmp_path, 1, windows(2), {"0": LENGTHS | {"output_tokens": "{5: 1.0}"}})
        workload = build(tmp_path)
        assert (np.diff(workload.arrival_ticks) >= 0).all()
        assert (workload.output_tokens == 5).mean() == pytest.approx(0.4, abs=0.02)

    def test_it_can_start_later(self, tmp_path):
        client(tmp_path, 0, [*windows(0, ""), "2400,5,1,Gamma,1,1", "3000,5,1,Gamma,1,1"])
        workload = build(tmp_path, start_s=1800)
        assert workload.arrival_ticks[0] >= 600 * 10**12
        assert workload.arrival_ticks[-1] < 1800 * 10**12
        assert "of 1 clients from 1,800 s, at its own times" in workload.source

    def test_scale_and_limits(self, tmp_path):
        client(tmp_path, 0, windows(5))
        whole = build(tmp_path)
        fast = build(tmp_path, {"duration_s": 100}, arrivals={"process": "trace", "scale": 4})
        slow = whole.arrival_ticks[whole.arrival_ticks < 400 * 10**12]
        assert abs(fast.arrival_ticks - slow / 4).max() <= len(slow)
        assert len(build(tmp_path, {"requests": 7})) == 7
        poisson = {"process": "poisson", "rate_per_s": 1}
        other = build(tmp_path, {"requests": 7}, arrivals=poisson)
        assert other.prompt_tokens.tolist() == whole.prompt_tokens[:7].tolist()


class TestCommonRandomNumbers:
    def test_a_shorter_limit_keeps_the_first_requests(self, tmp_path):
        for number in range(3):
            client(tmp_path, number, windows(1 + number))
        whole, short = build(tmp_path), build(tmp_path, {"requests": 800})
        for name in ("arrival_ticks", "prompt_tokens", "output_tokens"):
            assert getattr(short, name).tolist() == getattr(whole, name)[:800].tolist()

    def test_clients_keep_their_requests_without_the_others(self, tmp_path):
        client(tmp_path, 0, windows(1))
        client(tmp_path, 1, windows(9))
        both = set(build(tmp_path).arrival_ticks.tolist())
        busiest = build(tmp_path, max_clients=1)
        assert len(busiest) == pytest.approx(9 * 2400, rel=0.05)
        assert set(busiest.arrival_ticks.tolist()) < both

    def test_another_seed_is_another_workload(self, tmp_path):
        client(tmp_path, 0, windows(1))
        assert build(tmp_path).digest() == build(tmp_path).digest()
        assert build(tmp_path).digest() != build(tmp_path, seed=1).digest()


class TestLengths:
    def test_follow_the_distribution_of_their_time(self, tmp_path):
        later = {"input_tokens": "{7: 1.0}", "output_tokens": "{1: 1.0}"}
        client(tmp_path, 0, windows(5), {"0": LENGTHS, "1200": later})
        workload = build(tmp_path)
        early = workload.prompt_tokens[workload.arrival_ticks < 1200 * 10**12]
        assert (early == 20).mean() == pytest.approx(0.75, abs=0.02)
        late = workload.prompt_tokens[workload.arrival_ticks >= 1200 * 10**12]
        assert set(late.tolist()) == {7}

    def test_a_prompt_of_images_has_the_tokens_of_each(self, tmp_path):
        media = {"text_tokens": "{100: 1.0}", "image_tokens": "{1000: 0.5, 3000: 0.5}"}
        media |= {"image_count": "{0: 0.5, 2: 0.5}", "audio_count": "{0: 1.0}"}
        media |= {"audio_tokens": "{0: 1.0}", "output_tokens": "{1: 1.0}"}
        client(tmp_path, 0, windows(5), {"0": media})
        counts = dict.fromkeys((100, 2100, 4100, 6100), 0)
        prompts = build(tmp_path).prompt_tokens.tolist()
        counts = {tokens: prompts.count(tokens) / len(prompts) for tokens in counts}
        assert counts == pytest.approx({100: 0.5, 2100: 0.125, 4100: 0.25, 6100: 0.125}, abs=0.02)
        assert sum(counts.values()) == pytest.approx(1)

    def test_placeholders_where_nothing_is_sent_are_not_read(self, tmp_path):
        empty = {"input_tokens": "{}", "output_tokens": "{0: 1.0}"}
        rows = [*windows(0, "", 0), *(f"{600 * n},2,1,Gamma,1,1" for n in range(4, 8))]
        client(tmp_path, 0, rows, {"0": empty, "2400": LENGTHS})
        assert build(tmp_path).output_tokens.tolist()[0] == 3


BAD_TRACES = {
    "0,1,1,Gamma,1": "chunk-0-trace.csv:1: a row has 6 cells, got 5",
    "x,1,1,Gamma,1,1": "chunk-0-trace.csv:1: start: must be a number from 0 to 1e9, got 'x'",
    "0,-1,1,Gamma,1,1": "chunk-0-trace.csv:1: rate: must be a number from 0 to 1e9, got '-1'",
    "0,nan,1,Gamma,1,1": "chunk-0-trace.csv:1: rate: must be a number from 0 to 1e9, got 'nan'",
    "0,1,1,,0,0": "chunk-0-trace.csv:1: distribution: must be Gamma or Weibull where requests co",
    "0,1,1,Pareto,1,1": "chunk-0-trace.csv:1: distribution: must be Gamma or Weibull where reque",
    "0,1,1,Gamma,0,1": "chunk-0-trace.csv:1: first parameter: must be a shape from 0.001 to 1000",
    "0.5,1,1,Gamma,1,1": "chunk-0-trace.csv:1: start: must be a whole number of seconds, got '0.5",
    "0,1,1,Gamma,1,1": "chunk-0-trace.csv: needs two windows at least, got 1",
    "600,1,1,Gamma,1,1\n0,1,1,Gamma,1,1": "csv:2: start: windows must be in order, got 0 s again",
    "0,1,1,Gamma,1,1\n0,1,1,Gamma,1,1": "csv:2: start: windows must be in order, got 0 s again",
    "0,1,1,Gamma,1,1\n600,1,1,Gamma,1,1\n1800,1,1,Gamma,1,1": "csv:3: start: windows must follow",
}


@pytest.mark.parametrize("text", BAD_TRACES, ids=lambda text: text[:40])
def test_a_bad_window_is_one_error_with_file_and_line(tmp_path, text):
    client(tmp_path, 0, [text])
    with pytest.raises(InputError) as caught:
        build(tmp_path)
    assert BAD_TRACES[text] in str(caught.value)


BAD_DATASETS = [
    ([], "chunk-0-dataset.json: must hold an object of windows, each an object of distributions"),
    ({"x": {}}, "chunk-0-dataset.json: must hold an object of windows, each an object of distrib"),
    ({"600": LENGTHS}, "chunk-0-dataset.json: has no window of lengths for requests at 0 s"),
    ({"600": LENGTHS, "0": LENGTHS}, "chunk-0-dataset.json: window 0 comes after window 600"),
    ({"0": {"input_tokens": "{1: 1.0}"}}, "client 0 has no distribution of output_tokens at 0 s"),
    ({"0": LENGTHS | {"output_tokens": "{}"}}, "client 0 has an empty distribution of output_tok"),
    ({"0": LENGTHS | {"output_tokens": {"1": 1}}}, "0.output_tokens: must be a text that holds a"),
    ({"0": LENGTHS | {"output_tokens": "{1: x}"}}, "0.output_tokens: must be a text that holds a"),
    ({"0": LENGTHS | {"output_tokens": "{1.5: 1}"}}, "0.output_tokens: token counts must be whol"),
    ({"0": LENGTHS | {"output_tokens": "{-1: 1}"}}, "0.output_tokens: values must be from 0 to "),
    ({"0": LENGTHS | {"output_tokens": "{1: -1}"}}, "0.output_tokens: values must be from 0 to "),
    ({"0": LENGTHS | {"output_tokens": "{1: nan}"}}, "0.output_tokens: values must be from 0 to"),
]


@pytest.mark.parametrize(("dataset", "message"), BAD_DATASETS, ids=lambda value: str(value)[:40])
def test_a_bad_dataset_is_one_error_with_its_file(tmp_path, dataset, message):
    client(tmp_path, 0, windows(1), dataset)
    with pytest.raises(InputError) as caught:
        build(tmp_path)
    assert message in str(caught.value)


class TestFolder:
    def test_that_is_missing_or_a_file_or_empty(self, tmp_path):
        with pytest.raises(InputError, match=r"servegen\.path: .*nowhere' does not exist"):
            build(tmp_path / "nowhere")
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="is a file, not a folder of clients"):
            build(tmp_path / "file")
        with pytest.raises(InputError, match=r"holds no file chunk-<i>-trace\.csv"):
            build(tmp_path)

    def test_with_half_a_client(self, tmp_path):
        client(tmp_path, 4, windows(1))
        (tmp_path / "chunk-4-dataset.json").unlink()
        with pytest.raises(InputError, match=r"client 4 has arrivals but no chunk-4-dataset\.json"):
            build(tmp_path)

    def test_with_a_client_twice(self, tmp_path):
        client(tmp_path, 4, windows(1))
        (tmp_path / "chunk-4-trace.csv.gz").write_bytes(
            (tmp_path / "chunk-4-trace.csv").read_bytes()
        )
        with pytest.raises(InputError, match="client 4 stands in the folder twice"):
            build(tmp_path)

    def test_with_windows_of_two_sizes(self, tmp_path):
        client(tmp_path, 0, windows(1))
        client(tmp_path, 1, ["0,1,1,Gamma,1,1", "300,1,1,Gamma,1,1"])
        with pytest.raises(InputError, match="has windows of 300 s where others have 600 s"):
            build(tmp_path)

    def test_without_the_start(self, tmp_path):
        client(tmp_path, 0, windows(1))
        with pytest.raises(
            InputError, match=r"start_s: must be the start of a window: 0 to 1800 s"
        ):
            build(tmp_path, start_s=100)

    def test_with_more_than_can_be_simulated(self, tmp_path):
        client(tmp_path, 0, windows(1e5))
        with pytest.raises(
            InputError, match=r"workload\.limit: more than 10,000,000 requests: set"
        ):
            build(tmp_path)


@pytest.mark.parametrize(
    ("folder", "clients", "start"),
    [
        ("reason/deepseek-r1", 73, 43_200),
        ("multimodal/mm-image", 35, 43_200),
        ("language/m-small", 38, 0),
    ],
)
def test_the_real_data(shared_data, folder, clients, start):
    path = shared_data / "traces" / "servegen" / folder
    workload = build(path, {"duration_s": 600}, start_s=start)
    assert f"of {clients} clients" in workload.source
    expected = 0.0
    for file in path.glob("*-trace.csv.gz"):
        with gzip.open(file, "rt") as lines:
            rows = [row for row in csv.reader(lines) if int(row[0]) == start]
        expected += sum(float(row[1]) * 600 for row in rows)
    assert len(workload) == pytest.approx(expected, rel=0.1)
