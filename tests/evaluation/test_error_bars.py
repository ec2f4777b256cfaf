"""Error bars of a candidate: the same draws for all, wide where costs are not known."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hermes.evaluation import EvaluationSpec, evaluation_columns
from hermes.sim.error_bars import simulate_with_error_bars
from tests.evaluation.candidates import SCENARIO, columns, runner

TPOT = "tpot_ms.mean"
CHAT = SCENARIO["clients"]["chat"]


def client(**changes):
    return {"chat": {k: v for k, v in CHAT.items() if k != "costs"} | changes}


def bars(names=(TPOT,), draws=8, spec=None, **blocks):
    return columns({"error_bars": draws, "barred": list(names)} | (spec or {}), **blocks)


def test_a_bar_is_what_simulate_prints():
    found = bars(draws=16, clients=client())
    _, same, _ = simulate_with_error_bars(runner(clients=client()).scenario)
    assert (found[TPOT + ".low"], found[TPOT + ".high"]) == (same[TPOT].low, same[TPOT].high)
    assert found[TPOT + ".low"] < found[TPOT] < found[TPOT + ".high"]
    assert found[TPOT] == columns({}, clients=client())[TPOT]
    assert found["evaluation_simulations"] == 17


def test_costs_taken_at_their_word_have_no_bar():
    found = bars()
    assert found[TPOT + ".low"] == found[TPOT] == found[TPOT + ".high"]


def test_draws_are_common_to_candidates():
    """A limit that never binds changes nothing, in the draws either."""
    one, other = (bars(clients=client(max_num_seqs=seqs)) for seqs in (300, 301))
    assert one[TPOT + ".high"] == other[TPOT + ".high"]


def test_a_device_without_a_fit_has_wider_bars():
    def width(device):
        found = bars(clients=client(device=device))
        return (found[TPOT + ".high"] - found[TPOT + ".low"]) / found[TPOT]

    assert width("mi300x") > 1.5 * width("h100-sxm")


def test_capacities_and_replicates_are_judged_again_whole():
    found = bars(("capacity_request_rate",), 2, {"capacity": {}}, clients=client(device="mi300x"))
    low, high = (found[f"capacity_request_rate.{end}"] for end in ("low", "high"))
    assert low < found["capacity_request_rate"] < high
    found = bars((TPOT,), 2, {"replicates": 2}, clients=client())
    assert found["evaluation_simulations"] == 6
    assert found[TPOT + ".low"] < found[TPOT] < found[TPOT + ".high"]


def test_what_a_draw_lacks_has_no_bar():
    found = bars(("answer_quality",))
    assert found["answer_quality.low"] is None


def test_columns_are_those_of_the_metrics_named():
    spec = EvaluationSpec(error_bars=4, barred=("a", "b"))
    assert evaluation_columns(spec)[:4] == ("a.low", "a.high", "b.low", "b.high")
    assert not any(name.endswith(".low") for name in evaluation_columns(EvaluationSpec()))
    assert "error_bars" not in EvaluationSpec(batches=4).written()
    assert spec.written()["error_bars"] == 4


def test_a_precision_and_bars_do_not_go_together():
    with pytest.raises(ValidationError, match="give a fixed number"):
        EvaluationSpec.model_validate({"error_bars": 4, "replicates": {"precision": 0.1}})
