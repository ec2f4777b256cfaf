"""Stages: what is done to a request, one step at a time.

Each is a mapping with one key, the kind of stage; `client` names who does it.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import PositiveInt, Spec
from hermes.scenario.distributions import LengthSpec
from hermes.scenario.durations import DurationSpec
from hermes.scenario.recall import RecallSpec

__all__ = [
    "Embed",
    "EmbedStage",
    "Encode",
    "EncodeStage",
    "Generate",
    "GenerateStage",
    "Process",
    "ProcessStage",
    "Rerank",
    "RerankStage",
    "Retrieve",
    "RetrieveStage",
    "StageSpec",
    "Tool",
    "ToolStage",
]


class StageSpec(Spec):
    """What all stages have."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)] | None = (
        None
    )
    """Name for reports; default: the kind of stage, numbered where a pipeline has several."""
    client: str | None = None
    """Client to call; default: the only one that serves this kind of stage, and for model calls
    all that serve the model."""


class Generate(StageSpec):
    """Prefill and decode of one model call over the context gathered so far."""

    model: str | None = None
    """Model to call; default: the only model the clients serve."""
    prompt_tokens: LengthSpec | None = None
    """A prompt of its own, apart from the context; default: the context gathered so far."""
    output_tokens: LengthSpec | None = None
    """Tokens of the answer; default: those of the request."""
    thought_tokens: LengthSpec | None = None
    """Tokens of reasoning sampled before the answer; default: none."""
    max_thought_tokens: PositiveInt | None = None
    """Most tokens of reasoning: longer thoughts are cut there (budget forcing)."""
    keep_thoughts: bool = False
    """Whether reasoning stays in the context of later stages; chat templates usually drop it."""
    keep_output: bool | None = None
    """Whether the answer becomes part of the context of later stages; default: it does, unless the
    call has a prompt of its own."""
    recall: RecallSpec | None = None
    """Stored context in front of the prompt, kept in a memory tier; default: none."""

    @model_validator(mode="after")
    def _caps_thoughts_there_are(self) -> Self:
        if self.max_thought_tokens is not None and self.thought_tokens is None:
            raise PydanticCustomError(
                "no_thoughts", "max_thought_tokens caps `thought_tokens`, which is not given"
            )
        return self

    @property
    def keeps_output(self) -> bool:
        """Whether the answer stays in the context."""
        return self.prompt_tokens is None if self.keep_output is None else self.keep_output

    @property
    def is_plain(self) -> bool:
        """Whether the call is just the request: its prompt and its output."""
        return (
            self.prompt_tokens is None
            and self.output_tokens is None
            and self.thought_tokens is None
        )


class Embed(StageSpec):
    """The query, embedded by an encoder."""

    model: str | None = None
    """Encoder to use; default: the only one of the client."""
    tokens: LengthSpec | None = None
    """Tokens of the query; default: those of the request's prompt."""


class Encode(StageSpec):
    """Other inputs, such as images, turned into tokens of the context by an encoder."""

    model: str | None = None
    """Encoder to use; default: the only one of the client."""
    items: PositiveInt = 1
    """Inputs of a request, such as images."""
    tokens: LengthSpec
    """Tokens of each that the encoder computes."""
    context_tokens: LengthSpec | None = None
    """Tokens of each that the context grows by; default: as many as the encoder computes."""


class Retrieve(StageSpec):
    """A search in a vector index; the documents found join the context of the next model call."""

    top_k: PositiveInt = 10
    """Documents found."""
    tokens_per_document: LengthSpec = 512
    """Tokens of each."""


class Rerank(StageSpec):
    """The documents found, scored against the query by a cross-encoder; the best are kept."""

    model: str | None = None
    """Encoder to use; default: the only one of the client."""
    keep: PositiveInt | None = None
    """Documents kept; default: all."""
    tokens: LengthSpec | None = None
    """Tokens of the query beside each document; default: those of the request's prompt."""


class Process(StageSpec):
    """Work of a CPU client: tokenizing, templates, guardrails, parsing."""

    service_ms: DurationSpec
    """Time on one worker, milliseconds."""
    us_per_token: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Time for each token of the context on top, microseconds."""


class Tool(StageSpec):
    """A call to something outside: a search engine, a database, a sandbox."""

    latency_ms: DurationSpec
    """Time from call to result, milliseconds."""
    result_tokens: LengthSpec | None = None
    """Tokens that the result adds to the context; default: none."""


class GenerateStage(Spec):
    """A stage that calls a language model."""

    generate: Generate
    """The call."""


class EmbedStage(Spec):
    """A stage that embeds the query."""

    embed: Embed
    """The encoding."""


class EncodeStage(Spec):
    """A stage that encodes images or the like."""

    encode: Encode
    """The encoding."""


class RetrieveStage(Spec):
    """A stage that searches an index."""

    retrieve: Retrieve
    """The search."""


class RerankStage(Spec):
    """A stage that reranks documents."""

    rerank: Rerank
    """The scoring."""


class ProcessStage(Spec):
    """A stage of CPU work."""

    process: Process
    """The work."""


class ToolStage(Spec):
    """A stage that calls something outside."""

    tool: Tool
    """The call."""
