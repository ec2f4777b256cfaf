"""Every spelling of a data type has one short name."""

from __future__ import annotations

import pytest

from hermes.catalog import DTYPE_BYTES, dtype_name
from hermes.errors import UnknownNameError


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("bfloat16", "bf16"),
        ("torch.float16", "fp16"),
        ("half", "fp16"),
        ("FP8_E4M3", "fp8"),
        ("fp8", "fp8"),
        ("mxfp4", "mxfp4"),
    ],
)
def test_spellings(given, name):
    assert dtype_name(given) == name


def test_block_formats_count_their_scales():
    assert DTYPE_BYTES["mxfp4"] == 0.53125


def test_an_unknown_data_type_says_where_and_what_is_allowed():
    with pytest.raises(UnknownNameError, match=r"clients\.pool\.dtype: unknown data type 'bf61'"):
        dtype_name("bf61", "clients.pool.dtype")
