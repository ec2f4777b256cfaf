"""LoRA adapters: what a client that serves them states, and which requests use which."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import NonNegative, Positive, PositiveInt, Spec
from hermes.scenario.choice import word_or_key

__all__ = ["AdaptersSpec", "LoraFields", "LoraModuleName", "Zipf", "ZipfPopularity"]

LoraModuleName = Literal[
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
]
_ALL: tuple[LoraModuleName, ...] = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)


class LoraFields(Spec):
    """The fields of an LLM client that are about adapters; most carry vLLM's names."""

    enable_lora: bool = False
    """Serve LoRA adapters of the model; docs/lora.md."""
    max_loras: PositiveInt = 1
    """With `enable_lora`: most adapters among the running requests, and slots for adapters in
    device memory."""
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = 16
    """With `enable_lora`: rank that the slots in device memory have room for."""
    max_cpu_loras: PositiveInt | None = None
    """With `enable_lora`: most adapters in host memory, at least `max_loras`; default: as many."""
    lora_rank: PositiveInt | None = None
    """With `enable_lora`: rank of the adapters, at most `max_lora_rank`; default: as much."""
    lora_target_modules: Annotated[
        tuple[LoraModuleName, ...], Field(min_length=1, strict=False)
    ] = _ALL
    """With `enable_lora`: the layers that adapters change."""
    lora_store_gb_per_s: Positive | None = None
    """With `enable_lora`: how fast adapters that are not in host memory are read from where they
    are stored; default: in no time."""

    @model_validator(mode="after")
    def _adapters_are_enabled(self) -> Self:
        given = [name for name in LoraFields.model_fields if name in self.model_fields_set]
        if not self.enable_lora:
            left = [name for name in given if name != "enable_lora"]
            if left:
                raise PydanticCustomError(
                    "no_lora", "`{field}` needs `enable_lora: true`", {"field": left[0]}
                )
            return self
        host, rank = self.max_cpu_loras, self.lora_rank
        if host is not None and host < self.max_loras:
            raise PydanticCustomError(
                "few_cpu_loras",
                "max_cpu_loras ({host}) must be at least max_loras ({device})",
                {"host": host, "device": self.max_loras},
            )
        if rank is not None and rank > self.max_lora_rank:
            raise PydanticCustomError(
                "large_rank",
                "lora_rank ({rank}) must be at most max_lora_rank ({most})",
                {"rank": rank, "most": self.max_lora_rank},
            )
        twice = [n for n in self.lora_target_modules if self.lora_target_modules.count(n) > 1]
        if twice:
            raise PydanticCustomError(
                "module_twice", "lora_target_modules lists {name} twice", {"name": twice[0]}
            )
        return self


class Zipf(Spec):
    """The k-th most popular adapter is asked for in proportion to `k ** -exponent`."""

    exponent: NonNegative = 1.0
    """How fast popularity falls; 0: all alike."""


class ZipfPopularity(Spec):
    """A few adapters are asked for often, many seldom."""

    zipf: Zipf
    """How popularity falls from adapter to adapter."""


class AdaptersSpec(Spec):
    """Which LoRA adapter each request uses, drawn; turns of one session use the same."""

    count: Annotated[int, Field(ge=1, le=100_000)]
    """Different adapters, numbered from 0, the most popular first."""
    popularity: Annotated[
        Literal["uniform"] | ZipfPopularity,
        word_or_key("a popularity", "uniform", "zipf", ZipfPopularity, "{zipf: {exponent: 1.0}}"),
    ] = "uniform"
    """`uniform`, or `{zipf: {exponent: 1.0}}`."""
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the requests that use an adapter; the others use the base model."""
