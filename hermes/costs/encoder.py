"""Time of an encoder's batch: embeddings, cross-encoders that rerank, encoders of images.

An encoder reads whole texts (or images) at once: every token attends to every other, nothing is
cached, and no token is sampled. A cross-encoder reads query and document as one text. Poolers and
classifiers are negligible. Embedders made of a language model attend causally.

The time is the roofline's times a factor for the engines that serve encoders, which reach less of a
device than the kernels that the roofline was fitted on; see `docs/retrieval.md`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from hermes.catalog import DTYPE_BYTES, Device, Model
from hermes.costs.constants import find_laws
from hermes.costs.memory import (
    check_tensor_parallel_size,
    expert_weight_bytes,
    layer_weight_bytes,
    resolve_dtype,
)
from hermes.costs.pass_cost import PassCost
from hermes.costs.roofline import Roofline
from hermes.costs.token_terms import compile_token_seconds
from hermes.errors import InfeasibleError

__all__ = [
    "EncoderCost",
    "check_encoder_fits",
    "encode_seconds",
    "encoder_bytes_per_device",
    "encoder_pairs",
]

_LEAST_BYTES = 2.0
_ACTIVATION_COPIES = 6
"""Hidden states of a token alive at once: residual, queries, keys, values, output, a spare."""


@dataclass(frozen=True, slots=True)
class _Engine:
    """How far engines that serve encoders stay behind the roofline on one kind of device."""

    factor: float
    error: str
    source: str


def encoder_pairs(model: Model, lengths: Iterable[int]) -> int:
    """Return the query-key pairs of texts of some *lengths* in tokens, without padding."""
    if model.causal:
        return sum(length * (length + 1) // 2 for length in lengths)
    return sum(length * length for length in lengths)


def encode_seconds(cost: PassCost, lengths: Sequence[int]) -> float:
    """Return the seconds of one batch of texts of some *lengths* in tokens, without padding."""
    tokens = sum(lengths)
    pairs = sum(length * length for length in lengths)
    return cost.token_seconds(tokens) + cost.prefill_seconds(tokens, tokens, pairs)


class EncoderCost:
    """Cost of batches of one encoder on one group of devices."""

    __slots__ = ("_factor", "_roofline", "_token_seconds", "model")

    def __init__(
        self,
        model: Model,
        device: Device,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        factor: float | None = None,
    ) -> None:
        """Compile *model* on a group of devices.

        Args:
            model: The encoder; a decoder is one that attends causally.
            device: One of the group.
            dtype: Of the weights; `auto` takes 32 bits on a processor, as the engines that serve
                encoders there do, and the catalog's type elsewhere.
            tensor_parallel_size: Devices in the group.
            factor: Of the time over the roofline's, in place of the kind of device's own.

        Raises:
            InfeasibleError: The group does not divide the model, or the device has no peak for
                the data type.
        """
        stored = _stored(model, device, dtype)
        self.model = model
        laws = find_laws(device)
        self._roofline = Roofline(
            model,
            _in_one_width(device, stored),
            stored,
            tensor_parallel_size=tensor_parallel_size,
            laws=laws,
        )
        self._token_seconds = compile_token_seconds(self._roofline, laws)
        own = _engines()["cpu" if device.kind == "cpu" else "accelerator"]
        self._factor = own.factor if factor is None else factor

    @property
    def label(self) -> str:
        """Where the numbers come from, for reports."""
        return f"encoder {self._roofline.label}, engine x {self._factor:g}"

    @property
    def calibrated(self) -> bool:
        """Whether every law was fitted on this device and data type."""
        return self._roofline.calibrated

    def seconds(self, total_tokens: int, attention_pairs: int, sequences: int = 1) -> float:
        """Return the seconds of one batch.

        Args:
            total_tokens: Of all texts, with padding where the engine pads.
            attention_pairs: Query-key pairs of all texts; see `encoder_pairs`.
            sequences: Texts; nothing depends on them but what is asked for no text at all.
        """
        if sequences <= 0 or total_tokens <= 0:
            return 0.0
        attention = self._roofline.prefill_seconds(total_tokens, total_tokens, attention_pairs)
        return self._factor * (self._token_seconds(total_tokens) + attention)

    def batch_seconds(self, lengths: Sequence[int]) -> float:
        """Return the seconds of one batch of texts of some *lengths* in tokens."""
        return self.seconds(sum(lengths), encoder_pairs(self.model, lengths), len(lengths))


def encoder_bytes_per_device(
    model: Model,
    device: Device,
    dtype: str = "auto",
    tensor_parallel_size: int = 1,
    max_tokens: int = 0,
) -> int:
    """Return the bytes that an encoder occupies on each device of a group.

    Weights with the input embeddings once, and the activations of a batch of *max_tokens*.
    """
    stored = _stored(model, device, dtype)
    width = max(_LEAST_BYTES, DTYPE_BYTES[stored])  # embeddings and activations stay wide
    weights = layer_weight_bytes(model, stored, tensor_parallel_size)
    weights += expert_weight_bytes(model, stored, tensor_parallel_size)
    embeddings = model.embedding_parameters * width / tensor_parallel_size
    wide = model.mlp_matrices * model.intermediate_size / tensor_parallel_size
    activations = max_tokens * width * (_ACTIVATION_COPIES * model.hidden_size + wide)
    return round(weights + embeddings + activations)


def check_encoder_fits(
    model: Model,
    device: Device,
    dtype: str = "auto",
    tensor_parallel_size: int = 1,
    max_tokens: int = 0,
    reserved_bytes: int = 0,
) -> int:
    """Return the bytes left on each device once an encoder lies there.

    Args:
        model: The encoder.
        device: One of the group.
        dtype: Of the weights, as for `EncoderCost`.
        tensor_parallel_size: Devices in the group.
        max_tokens: Of the largest batch.
        reserved_bytes: Taken from every device for other things.

    Raises:
        InfeasibleError: It does not fit, or the group does not divide it.
    """
    check_tensor_parallel_size(model, tensor_parallel_size)
    needed = encoder_bytes_per_device(model, device, dtype, tensor_parallel_size, max_tokens)
    available = max(0, device.memory_bytes - reserved_bytes)
    if needed <= available:
        return available - needed
    raise InfeasibleError(
        f"{model.name} in {_stored(model, device, dtype)} needs {needed / 1e9:.1f} GB of each"
        f" {device.name} at {tensor_parallel_size} with batches of {max_tokens} tokens; there are"
        f" {available / 1e9:.1f} GB",
        "model",
    )


def _stored(model: Model, device: Device, dtype: str) -> str:
    """Return the type of the weights; engines for encoders keep to 32 bits on processors."""
    if dtype == "auto" and device.kind == "cpu":
        return "fp32"
    return resolve_dtype(model, dtype)


def _in_one_width(device: Device, stored: str) -> Device:
    """Return the device without the faster units that 32-bit weights do not use."""
    if stored != "fp32" or "fp32" not in device.peak_tflops:
        return device
    return replace(device, peak_tflops={"fp32": device.peak_tflops["fp32"]})


@cache
def _engines() -> dict[str, _Engine]:
    path = resources.files("hermes.costs").joinpath("data", "encoder_engines.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {
        row["device"]: _Engine(float(row["factor"]), row["error"], row["source"]) for row in rows
    }
