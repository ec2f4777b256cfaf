"""How the weights of a Hugging Face checkpoint are stored.

`quantization_config` says it where there is one, each tool in its own words; else `torch_dtype`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermes.catalog.dtypes import dtype_name
from hermes.errors import InputError, UnknownNameError

__all__ = ["weight_dtype"]

_FIELD = "quantization_config"
_BY_METHOD = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4"}
_BY_BITS = {("int", 4): "int4", ("int", 8): "int8", ("float", 8): "fp8", ("float", 4): "nvfp4"}
_BY_ALGORITHM = {"FP8": "fp8", "NVFP4": "nvfp4", "FP8_PB_WO": "fp8", "W4A16_AWQ": "int4"}


def weight_dtype(outer: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    """Return the short name of the data type of the weights.

    Args:
        outer: The whole file.
        text: Its language model: the same, or the file completed by `text_config`.

    Raises:
        InputError: The data type or the way of quantization is not known.
    """
    quantization = text.get(_FIELD) or outer.get(_FIELD)
    if quantization is not None:
        return _quantized(quantization)
    given = text.get("dtype") or text.get("torch_dtype")
    if given is None:
        return "bf16"
    try:
        name = dtype_name(str(given))
    except UnknownNameError as error:
        raise error.inside("dtype" if "dtype" in text else "torch_dtype") from None
    return "bf16" if name == "fp32" else name  # engines serve float32 checkpoints in 16 bits


def _quantized(quantization: object) -> str:
    """Return the data type of a `quantization_config` block."""
    if not isinstance(quantization, dict):
        raise InputError(f"expected an object, got {quantization!r}", _FIELD)
    method = str(quantization.get("quant_method", "")).lower()
    found: str | None = None
    if method in _BY_METHOD:
        found = _BY_METHOD[method]
    elif method in {"awq", "gptq"}:
        found = _by_bits("int", quantization.get("bits", 4))
    elif method == "compressed-tensors":
        found = _compressed_tensors(quantization)
    elif method == "modelopt" or "quant_algo" in quantization:
        found = _BY_ALGORITHM.get(str(quantization.get("quant_algo", "")).upper())
    elif method == "bitsandbytes":
        found = "int4" if quantization.get("load_in_4bit") else "int8"
    if found is None:
        known = "awq, bitsandbytes, compressed-tensors, fbgemm_fp8, fp8, gptq, modelopt, mxfp4"
        what = {key: quantization[key] for key in sorted(quantization) if key.startswith("quant_")}
        raise InputError(f"unknown quantization {what or method!r} (allowed: {known})", _FIELD)
    return found


def _compressed_tensors(quantization: Mapping[str, Any]) -> str | None:
    """Return the data type of the first group's weights."""
    groups = quantization.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict):
            return _by_bits(weights.get("type"), weights.get("num_bits"))
    return None


def _by_bits(kind: object, bits: object) -> str | None:
    """Return the data type of a number format and its width."""
    return _BY_BITS.get((kind, bits)) if isinstance(kind, str) and isinstance(bits, int) else None
