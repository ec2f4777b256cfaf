"""Data types by one short name each, and how many bytes a value of each takes.

The short names are those of the peaks in the device catalog. vLLM, PyTorch and Hugging Face spell
them in several ways; `dtype_name` knows these.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hermes.errors import UnknownNameError

__all__ = ["DTYPE_BYTES", "WEIGHT_ONLY_DTYPES", "dtype_name"]

DTYPE_BYTES: Mapping[str, float] = MappingProxyType(
    {
        "fp32": 4.0,
        "bf16": 2.0,
        "fp16": 2.0,
        "fp8": 1.0,
        "int8": 1.0,
        "int4": 0.5,
        "fp4": 0.5,
        "mxfp4": 0.5 + 1 / 32,  # one byte of scale for a block of 32
        "nvfp4": 0.5 + 1 / 16,  # one byte of scale for a block of 16
    }
)
"""Bytes of one value, block scales included where the format defines them."""

WEIGHT_ONLY_DTYPES = frozenset({"int4", "mxfp4"})
"""Formats that engines unpack to 16 bits before they multiply."""

_SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        "float32": "fp32",
        "float": "fp32",
        "bfloat16": "bf16",
        "float16": "fp16",
        "half": "fp16",
        "float8": "fp8",
        "fp8_e4m3": "fp8",
        "fp8_e5m2": "fp8",
        "float8_e4m3fn": "fp8",
        "float8_e5m2": "fp8",
        "awq": "int4",
        "gptq": "int4",
    }
)


def dtype_name(given: str, field: str = "") -> str:
    """Return the short name of a data type however it is spelt.

    Args:
        given: Such as `bfloat16`, `torch.float16`, `half`, `fp8_e4m3`, `mxfp4`.
        field: Where it was given, for the message.

    Raises:
        UnknownNameError: Nothing is called that.
    """
    key = given.strip().lower().removeprefix("torch.")
    name = _SPELLINGS.get(key, key)
    if name not in DTYPE_BYTES:
        raise UnknownNameError.among("data type", given, [*DTYPE_BYTES, *_SPELLINGS], field)
    return name
