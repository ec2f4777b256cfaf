"""Pipelines: the stages a request passes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hermes.scenario.base import Spec
from hermes.scenario.recall import RecallSpec

__all__ = ["Generate", "GenerateStage", "PipelineSpec"]


class Generate(Spec):
    """Prefill and decode of one model call."""

    model: str | None = None
    """Model to call; default: the only model the clients serve."""
    client: str | None = None
    """Client to call; default: every client that serves the model."""
    recall: RecallSpec | None = None
    """Stored context in front of each prompt; default: none."""


class GenerateStage(Spec):
    """A stage that calls a language model."""

    generate: Generate
    """The call."""


PipelineSpec = Annotated[tuple[GenerateStage, ...], Field(min_length=1, max_length=1, strict=False)]
"""The stages of a pipeline, in order; for now exactly one `generate` stage."""
