"""Datasheet peaks of one device, and the work of every kind of operator on it.

Nothing here is fitted. The arguments may be numbers or arrays of them: the fit of the constants and
the simulator count the same work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hermes.catalog import DTYPE_BYTES, Device
from hermes.catalog.dtypes import WEIGHT_ONLY_DTYPES
from hermes.costs.law import Amounts
from hermes.costs.links import in_domain, link_seconds_per_byte
from hermes.errors import InfeasibleError

__all__ = ["Chip", "ExpertShape", "HeadShape", "compute_dtype", "touched_experts"]

_TILE_ROWS = 128
_WAVE_TILES = 100  # tiles that a large chip works on at once, in round numbers
_EXPERT_TILE_ROWS = 16
_KEYS_OF_A_TASK = 128
_BYTES = 2.0  # of an activation
_PREFERENCE = {
    "fp32": ("fp32",),
    "bf16": ("bf16", "fp16", "fp32"),
    "fp16": ("fp16", "bf16", "fp32"),
    "fp8": ("fp8", "bf16", "fp16"),
    "int8": ("int8", "bf16", "fp16"),
    "fp4": ("fp4", "bf16", "fp16"),
    "nvfp4": ("fp4", "bf16", "fp16"),
}


class ExpertShape(NamedTuple):
    """The routed experts of a layer, dealt to `groups` devices."""

    hidden: Any
    width: Any
    """Of one expert on one device."""
    matrices: int
    top_k: Any
    experts: Any
    """Of all groups together."""
    groups: Any


class HeadShape(NamedTuple):
    """The heads of attention on one device, and how it is cached."""

    heads: Any
    kv_heads: Any
    key_dim: int
    value_dim: int
    kv_bytes: float


def compute_dtype(device: Device, dtype: str) -> str:
    """Return the data type in which *device* multiplies weights stored as *dtype*.

    Weights in a type that the device cannot multiply are unpacked to 16 bits, as engines do.

    Raises:
        InfeasibleError: The device has no peak for any type that would serve.
    """
    wanted = "bf16" if dtype in WEIGHT_ONLY_DTYPES else dtype
    for candidate in _PREFERENCE[wanted]:
        if candidate in device.peak_tflops:
            return candidate
    known = ", ".join(sorted(device.peak_tflops))
    raise InfeasibleError(f"{device.name} cannot multiply {dtype} (allowed: {known})", "dtype")


def touched_experts(experts: Any, top_k: Any, tokens: Any) -> Any:
    """Return how many of *experts* a batch is expected to touch, each token choosing *top_k*."""
    return experts * (1.0 - (1.0 - top_k / experts) ** tokens)


class Chip:
    """One device seen from its operators: seconds of a FLOP and of a byte at peak."""

    __slots__ = ("_flop", "byte", "device")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.byte = 1 / (device.memory_bandwidth_gb_per_s * 1e9)
        self._flop: dict[str, float] = {}

    def flop(self, dtype: str) -> float:
        """Return the seconds of one FLOP on weights stored as *dtype*."""
        if dtype not in self._flop:
            peak = self.device.peak_tflops[compute_dtype(self.device, dtype)]
            self._flop[dtype] = 1 / (peak * 1e12)
        return self._flop[dtype]

    def linear(self, tokens: Any, n: Any, k: Any, dtype: str) -> Amounts:
        """Return the work of a (tokens, k) x (k, n) product with weights in *dtype*."""
        size, flop = DTYPE_BYTES[dtype], self.flop(dtype)
        inputs = size if dtype not in WEIGHT_ONLY_DTYPES else _BYTES
        quantized = 0.0 if inputs == _BYTES else tokens * k * (_BYTES + inputs)
        return Amounts(
            compute=2.0 * tokens * n * k * flop,
            memory=(tokens * k * inputs + n * k * size + _BYTES * tokens * n) * self.byte,
            wave=2.0 * _TILE_ROWS**2 * _WAVE_TILES * k * flop,
            extra=quantized * self.byte,
        )

    def experts(self, tokens: Any, shape: ExpertShape, skew: float, dtype: str) -> Amounts:
        """Return the work of the routed experts on one device.

        Args:
            tokens: Tokens of all groups together.
            shape: The experts.
            skew: Load of the busiest device above the mean, for many devices.
            dtype: Of the weights.
        """
        hidden, width, matrices, top_k, experts, groups = shape
        size, flop = DTYPE_BYTES[dtype], self.flop(dtype)
        touched = touched_experts(experts, top_k, tokens) / groups
        rows = tokens * top_k / groups * (1.0 + skew * (1.0 - 1.0 / groups))
        weights = matrices * hidden * width
        moved = rows * (2 * hidden + matrices * width) + 2 * tokens * hidden
        return Amounts(
            compute=2.0 * rows * weights * flop,
            memory=touched * weights * size * self.byte,
            wave=2.0 * _EXPERT_TILE_ROWS * touched * weights * flop,
            extra=_BYTES * moved * self.byte,
        )

    def prefill_attention(self, tokens: Any, keys: Any, pairs: Any, shape: HeadShape) -> Amounts:
        """Return the work of causal attention of *tokens* queries over *keys* keys."""
        heads, kv_heads, key_dim, value_dim, kv_bytes = shape
        flop, dims = self.flop("bf16"), key_dim + value_dim
        cached = keys * kv_heads * dims * kv_bytes
        return Amounts(
            compute=2.0 * pairs * heads * dims * flop,
            memory=(cached + _BYTES * tokens * heads * dims) * self.byte,
            wave=2.0 * _TILE_ROWS * _WAVE_TILES * dims * (pairs / tokens) * flop,
        )

    def decode_attention(
        self, sequences: Any, keys: Any, shape: HeadShape, latent: bool = False
    ) -> Amounts:
        """Return the work of one query of each sequence over *keys* keys in all.

        With *latent*, keys and values are one: read once, attended by every head.
        """
        heads, kv_heads, key_dim, value_dim, kv_bytes = shape
        dims = key_dim + value_dim
        cached = keys * kv_heads * (key_dim if latent else dims) * kv_bytes
        return Amounts(
            compute=2.0 * keys * heads * dims * self.flop("bf16"),
            memory=cached * self.byte,
            wave=sequences * kv_heads * _KEYS_OF_A_TASK * dims * kv_bytes * self.byte,
            extra=_BYTES * sequences * heads * dims * self.byte,
        )

    def elementwise(self, moved_bytes: Any) -> Amounts:
        """Return the work of norms, activations and residual sums over *moved_bytes*."""
        return Amounts(compute=0.0, memory=moved_bytes * self.byte)

    def allreduce(self, message_bytes: Any, size: int) -> Amounts:
        """Return the work of an all-reduce of a message that *size* devices hold.

        Either way of doing it: every device reads all others' messages at once (`compute`), or
        parts go around a ring in 2 (size - 1) turns (`memory`, and a microsecond a turn in
        `extra`). Over scale-up links the devices do not disturb one another. Beyond them the group
        shares the host's bridge, and the more devices the more of what moves at once takes turns:
        measured NCCL bandwidth of a PCIe-only L40S node falls with the square of the group (19,
        5.2 and 1.5 GB/s at 2, 4 and 8).
        """
        ring = 2 * (size - 1) / size
        byte = link_seconds_per_byte(self.device, size, "tensor_parallel_size")
        if not in_domain(self.device, size):
            byte *= (size / 2) ** 2
        return Amounts(
            compute=(size - 1) * message_bytes * byte,
            memory=ring * message_bytes * byte,
            extra=2 * (size - 1) * 1e-6,
        )
