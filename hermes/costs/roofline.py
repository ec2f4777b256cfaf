"""Time of one batched forward pass, from the model's architecture and the device's datasheet.

With the times at datasheet peaks F (arithmetic), M (device memory), C (all-reduces) and E
(element-wise traffic), and six fitted constants:

    t = ((F/ec)^p + (M/em)^p)^(1/p) + o * layers + a * all-reduces + C/b + E/em

Attention is causal and counted once; the LM head runs for the rows that sample; a batch reads the
experts it is expected to touch; latent attention takes the cheaper of its two forms. Not modelled:
imbalance between experts, sparse attention, and the host's time between steps.
"""

from __future__ import annotations

import math

from hermes.catalog import Device, Model
from hermes.costs.constants import RooflineConstants, find_constants
from hermes.costs.memory import resolve_dtype
from hermes.costs.work import compile_work, compute_dtype

__all__ = ["Roofline"]


class Roofline:
    """Seconds of a forward pass on one replica of one engine."""

    __slots__ = (
        "_base",
        "_decay",
        "_expand",
        "_experts",
        "_fixed",
        "_head",
        "_kv",
        "_memory_row",
        "_memory_token",
        "_pair",
        "_plain",
        "_power",
        "_root",
        "_row",
        "_short_kv",
        "_short_pair",
        "_token",
        "_token_rest",
        "_wide_pair",
        "_window",
        "calibrated",
        "constants",
    )

    def __init__(
        self,
        model: Model,
        device: Device,
        dtype: str = "auto",
        kv_dtype: str = "auto",
        tensor_parallel_size: int = 1,
        constants: RooflineConstants | None = None,
    ) -> None:
        """Compile *model* on a group of devices.

        Args:
            model: The architecture.
            device: One of the group.
            dtype: Of the weights; `auto` takes the checkpoint's.
            kv_dtype: Of the cache; `auto` takes 16 bits.
            tensor_parallel_size: Devices in the group.
            constants: In place of those kept for the device.

        Raises:
            InfeasibleError: The group does not divide the model, or the device has no peak for
                the data type.
        """
        stored = resolve_dtype(model, dtype)
        multiplied = compute_dtype(device, stored)
        self.constants = constants or find_constants(device, multiplied)
        dense = not model.is_moe and not model.is_mla
        self.calibrated = self.constants.calibrated and dense and stored == multiplied
        self._compile(model, device, dtype, kv_dtype, tensor_parallel_size)

    @property
    def label(self) -> str:
        """Whether the constants were fitted on this device and this sort of model."""
        return f"roofline: {'calibrated' if self.calibrated else 'uncalibrated'}"

    def seconds(
        self, tokens: int, logit_rows: int, attention_pairs: float, kv_tokens_read: float
    ) -> float:
        """Return the time of one pass over a batch; never less for more of anything.

        Args:
            tokens: All scheduled tokens.
            logit_rows: Sequences that sample a token.
            attention_pairs: Sum over the query tokens of the keys that each attends.
            kv_tokens_read: Tokens whose keys and values are read from memory.
        """
        compute = self._token * tokens + self._row * logit_rows + self._pair * attention_pairs
        memory = (
            self._fixed
            + self._memory_token * tokens
            + self._memory_row * logit_rows
            + self._kv * kv_tokens_read
        )
        if logit_rows:
            memory += self._head
        if not self._plain:
            if self._wide_pair:
                expanded = self._expand * kv_tokens_read
                compute += min(self._wide_pair * attention_pairs, expanded)
            if self._window:
                reach = self._window * tokens
                compute += self._short_pair * min(attention_pairs, reach)
                memory += self._short_kv * min(kv_tokens_read, reach)
            if self._experts:
                memory -= self._experts * math.expm1(self._decay * tokens)
        bound: float = (compute**self._power + memory**self._power) ** self._root
        return bound + self._base + self._token_rest * tokens

    def _compile(
        self, model: Model, device: Device, dtype: str, kv_dtype: str, tensor_parallel_size: int
    ) -> None:
        """Fold the constants into the coefficients of the work."""
        work = compile_work(model, device, dtype, kv_dtype, tensor_parallel_size)
        constants = self.constants
        compute, memory = 1 / constants.compute_efficiency, 1 / constants.memory_efficiency
        self._token = work.token_compute * compute
        self._row = work.row_compute * compute
        self._pair = work.pair_compute * compute
        self._expand = work.expand_compute * compute
        # what a pair costs more on the latent itself than on expanded keys
        self._wide_pair = max(0.0, work.wide_pair_compute - work.pair_compute) * compute
        self._short_pair = work.short_pair_compute * compute
        self._fixed = work.fixed_memory * memory
        self._head = work.head_memory * memory
        self._experts = work.experts_memory * memory
        self._memory_token = work.token_memory * memory
        self._memory_row = work.row_memory * memory
        self._kv = work.kv_memory * memory
        self._short_kv = work.short_kv_memory * memory
        self._decay = work.expert_decay
        self._window = work.window
        self._plain = not (model.is_moe or model.is_mla or work.window)
        self._power = constants.sharpness
        self._root = 1 / constants.sharpness
        self._token_rest = (
            work.token_allreduce / constants.link_efficiency + work.token_elementwise * memory
        )
        self._base = 1e-6 * (
            constants.layer_overhead_us * work.layers
            + constants.allreduce_latency_us * work.allreduces
        )
