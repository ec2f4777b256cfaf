"""Requests that are made up: by distributions, as vLLM's benchmark makes them, or by ServeGen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hermes.scenario.arrivals import MAX_DURATION_S
from hermes.scenario.base import PositiveInt, Spec
from hermes.scenario.distributions import LengthSpec, TokenCount

__all__ = [
    "LengthRequests",
    "Lengths",
    "PrefixRepetition",
    "PrefixRepetitionRequests",
    "Random",
    "RandomRequests",
    "ServeGen",
    "ServeGenRequests",
]

_BlockTokens = Annotated[int, Field(ge=1, le=2**20)]


class Lengths(Spec):
    """Lengths of synthetic requests, drawn independently."""

    prompt: LengthSpec
    """Prompt tokens of a request."""
    output: LengthSpec
    """Output tokens of a request."""


class LengthRequests(Spec):
    """Synthetic requests."""

    lengths: Lengths
    """Distributions of their lengths."""


class Random(Spec):
    """Lengths around a middle, as `vllm bench serve --dataset-name random` draws them."""

    prompt_tokens: TokenCount = 1024
    """Middle of the prompt lengths, without the prefix; vLLM's `--random-input-len`."""
    output_tokens: TokenCount = 128
    """Middle of the output lengths; vLLM's `--random-output-len`."""
    range_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Lengths are drawn uniformly from middle x (1 - ratio) to middle x (1 + ratio), rounded
    outwards; vLLM's `--random-range-ratio`."""
    prefix_tokens: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Tokens that all prompts begin with, before their own; vLLM's `--random-prefix-len`."""
    block_tokens: _BlockTokens = 16
    """Tokens in one block of what prompts share; it must divide the engine's `block_size`, or the
    other way round."""


class RandomRequests(Spec):
    """Synthetic requests of uniformly distributed lengths."""

    random: Random
    """Their lengths."""


class PrefixRepetition(Spec):
    """Prompts with one of a few prefixes, as vLLM's `prefix_repetition` dataset."""

    prefix_tokens: TokenCount = 256
    """Tokens of each prefix; vLLM's `--prefix-repetition-prefix-len`."""
    suffix_tokens: TokenCount = 256
    """Tokens of a prompt after its prefix; vLLM's `--prefix-repetition-suffix-len`."""
    num_prefixes: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Prefixes, each as likely; vLLM's `--prefix-repetition-num-prefixes`."""
    output_tokens: TokenCount = 128
    """Output tokens of each request; vLLM's `--prefix-repetition-output-len`."""
    block_tokens: _BlockTokens = 16
    """Tokens in one block of what prompts share; it must divide the engine's `block_size`, or the
    other way round."""


class PrefixRepetitionRequests(Spec):
    """Synthetic requests that repeat a few prefixes."""

    prefix_repetition: PrefixRepetition
    """Their prefixes and lengths."""


class ServeGen(Spec):
    """Clients measured in production, each with its own bursts and lengths."""

    path: Annotated[str, Field(min_length=1)]
    """The folder with `chunk-<i>-trace.csv` and `chunk-<i>-dataset.json`, possibly gzipped, of one
    model; a relative path starts at the scenario's folder."""
    start_s: Annotated[int, Field(ge=0, le=MAX_DURATION_S)] = 0
    """Second of the data at which the workload starts, a whole number of its windows."""
    max_clients: PositiveInt | None = None
    """Only the so many clients with the most requests; default: all."""


class ServeGenRequests(Spec):
    """Requests drawn from ServeGen's client data."""

    servegen: ServeGen
    """Which data, and from when."""
