"""Sizes follow from dimensions, and agree with what the publishers say."""

from __future__ import annotations

import csv

import pytest

from hermes.catalog import find_model, model_names
from hermes.catalog.tables import read_table
from hermes.errors import InputError, UnknownNameError

PUBLISHED = [
    (row["name"], float(row["published_parameters_b"]))
    for row in read_table("models.csv")
    if row["published_parameters_b"]
]
PUBLISHED_ACTIVE = [
    (row["name"], float(row["published_active_parameters_b"]))
    for row in read_table("models.csv")
    if row["published_active_parameters_b"]
]


@pytest.mark.parametrize(("name", "billions"), PUBLISHED)
def test_parameters_add_up_to_the_published_total(name, billions):
    assert find_model(name).total_parameters / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize(("name", "billions"), PUBLISHED_ACTIVE)
def test_active_parameters_add_up_to_the_published_count(name, billions):
    """Publishers round active counts to whole billions."""
    assert find_model(name).active_parameters / 1e9 == pytest.approx(billions, rel=0.01, abs=0.6)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Meta-Llama-3-70B", 163_840),
        ("llama-3.1-8b", 65_536),
        ("DeepSeek-V3", 61 * (512 + 64)),
        ("gemma-2b", 9_216),
    ],
)
def test_cached_values_of_a_token(name, values):
    assert find_model(name).kv_elements_per_token == values


def test_experts_stand_in_every_second_layer_where_the_model_says_so():
    assert find_model("llama-4-maverick").num_moe_layers == 24
    assert find_model("llama-4-scout").num_moe_layers == 48
    assert find_model("DeepSeek-V3").num_moe_layers == 58
    assert find_model("llama-3.1-8b").num_moe_layers == 0


@pytest.mark.parametrize(
    "name",
    ["meta-llama/Llama-3.1-8B", "LLAMA-3.1-8B", "llama-3.1-8b-instruct", "Meta-Llama-3.1-8B"],
)
def test_a_model_is_found_by_its_id_its_last_part_in_any_case_and_its_aliases(name):
    assert find_model(name).name == "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize("name", model_names())
def test_every_model_is_found_by_its_own_name_and_says_where_it_comes_from(name):
    model = find_model(name)
    assert model.name == name
    assert find_model(name.split("/")[-1]) is model
    assert model.source
    assert model.is_moe == (model.active_parameters < model.total_parameters)


def test_an_unknown_model_is_answered_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match=r"did you mean 'Llama-3.1-70B'.*config\.json"):
        find_model("llama-3.1-71b")


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*nowhere\.json"):
        find_model("nowhere.json", tmp_path)


def test_arithmetic_agrees_with_an_independent_count(shared_data):
    with (shared_data / "catalog_models.csv").open(newline="") as lines:
        rows = {row["model_id"]: row for row in csv.DictReader(lines)}
    for name in model_names():
        model = find_model(name)
        if model.num_linear_layers or not model.causal:
            continue  # counted there as if every layer attended, or not at all
        if name == "intfloat/e5-mistral-7b-instruct":
            continue  # counted there with the LM head that the embedder does not have
        row = rows[name]
        total, active = float(row["calc_total_params_b"]), float(row["calc_active_params_b"])
        assert model.total_parameters / 1e9 == pytest.approx(total, rel=0.002), name
        assert model.active_parameters / 1e9 == pytest.approx(active, rel=0.002), name
        assert 2 * model.kv_elements_per_token == int(row["kv_bytes_per_token_bf16"]), name


def test_makers_checkpoints_in_8_bits_are_the_model_with_a_scale_per_block():
    half, eight = find_model("Qwen3-235B-A22B"), find_model("Qwen/Qwen3-235B-A22B-FP8")
    assert (half.weight_dtype, eight.weight_dtype) == ("bf16", "fp8")
    assert eight.name == "Qwen/Qwen3-235B-A22B-FP8"
    assert eight.total_parameters == half.total_parameters
    with pytest.raises(UnknownNameError):
        find_model("meta-llama/Llama-3.1-70B-FP8")  # others publish other scales under that name
