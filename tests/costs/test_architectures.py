"""Architectures beside the plain decoder: hybrids and encoders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.encoder import encode_seconds
from hermes.costs.memory import weight_bytes_per_device
from hermes.costs.operators import pass_operators
from hermes.costs.roofline import Roofline

H100 = find_device("h100")
HYBRIDS = ("Qwen3-Next-80B-A3B-Instruct", "Jamba-v0.1")


@pytest.mark.parametrize("name", HYBRIDS)
def test_all_weights_of_a_hybrid_are_multiplied(name):
    model = find_model(name)
    operators = pass_operators(model, "auto", "auto", 1)
    weights = sum(each.n * each.k * each.count for each in operators.linears)
    experts = model.num_moe_layers * model.num_experts * model.expert_parameters
    assert weights == pytest.approx(
        model.total_parameters - 2 * model.embedding_parameters - experts
    )
    assert weight_bytes_per_device(model, "auto", 1) == pytest.approx(2 * model.total_parameters)


@pytest.mark.parametrize("name", HYBRIDS)
def test_most_layers_of_a_hybrid_do_not_see_the_context(name):
    hybrid = Roofline(find_model(name), H100, tensor_parallel_size=2)
    dense = Roofline(find_model("llama-3.1-8b"), H100, tensor_parallel_size=2)

    def growth(roofline: Roofline) -> float:
        return roofline.decode_seconds(64, 64 * 32_000) / roofline.decode_seconds(64, 64 * 1000)

    assert growth(hybrid) < growth(dense) / 2


def test_the_state_is_read_and_written_for_every_sequence():
    roofline = Roofline(find_model("Qwen3-Next-80B-A3B-Instruct"), H100)
    state = roofline.operators.recurrence.state_bytes
    assert state == 4 * (32 * 128 * 128 + 8192 * 3)
    more = roofline.decode_seconds(256, 256) - roofline.decode_seconds(1, 1)
    assert more > 255 * 36 * 2 * state / 3350e9


@given(st.lists(st.integers(1, 512), min_size=1, max_size=64))
def test_an_encoder_takes_longer_for_more(lengths):
    cost = Roofline(find_model("bge-reranker-large"), H100)
    assert 0 < encode_seconds(cost, lengths) <= encode_seconds(cost, [*lengths, 8])
    together = encode_seconds(cost, [sum(lengths)])
    assert encode_seconds(cost, lengths) <= together * (1 + 1e-9)
