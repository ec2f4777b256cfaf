"""The workload's columns."""

from __future__ import annotations

import numpy as np
import pytest

from hermes.workload import Workload


def workload(prompts=(3, 4), names=("chat",)):
    def column(values):
        return np.array(values, dtype=np.int64)

    return Workload(column([0, 5]), column(prompts), column([1, 2]), column([0, 0]), names, "test")


def test_length_is_the_number_of_requests():
    assert len(workload()) == 2


def test_columns_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        workload().prompt_tokens[0] = 9


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="columns differ in length"):
        workload(prompts=(3,))


def test_the_digest_tells_traffic_apart():
    assert workload().digest() == workload().digest()
    assert workload().digest() != workload(prompts=(4, 3)).digest()
    assert workload().digest() != workload(names=("rag",)).digest()
