"""Clients: pools of identical replicas, and the stages they serve."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from hermes.errors import did_you_mean
from hermes.scenario.base import Spec
from hermes.scenario.choice import validated
from hermes.scenario.clients.llm import Dtype, KVCacheDtype, LlmClientSpec
from hermes.scenario.clients.others import (
    EncoderClientSpec,
    SearchClientSpec,
    ToolClientSpec,
    WorkerClientSpec,
)

__all__ = [
    "SERVED",
    "ClientSpec",
    "Dtype",
    "EncoderClientSpec",
    "KVCacheDtype",
    "LlmClientSpec",
    "SearchClientSpec",
    "ToolClientSpec",
    "WorkerClientSpec",
]

SERVED: dict[str, type[Spec]] = {
    "generate": LlmClientSpec,
    "prefill": LlmClientSpec,
    "decode": LlmClientSpec,
    "embed": EncoderClientSpec,
    "rerank": EncoderClientSpec,
    "encode": EncoderClientSpec,
    "retrieve": SearchClientSpec,
    "process": WorkerClientSpec,
    "tool": ToolClientSpec,
}
"""The spec of the clients that serve each kind of stage."""


def _pick(value: Any) -> Any:
    if isinstance(value, Spec):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("wrong_choice", "a client is a mapping of its fields")
    serves = value.get("serves", ["generate"])
    given = list(serves) if isinstance(serves, (list, tuple)) else [serves]
    for kind in given:
        if not isinstance(kind, str) or kind not in SERVED:
            hint = did_you_mean(str(kind), SERVED)
            message = f"serves: unknown kind of stage {kind!r}{hint}"
            raise PydanticCustomError("wrong_choice", message)  # type: ignore[arg-type,unused-ignore]
    return validated(SERVED[given[0]] if given else LlmClientSpec, value)


ClientSpec = Annotated[
    LlmClientSpec | EncoderClientSpec | SearchClientSpec | WorkerClientSpec | ToolClientSpec,
    BeforeValidator(_pick),
    Field(description="A pool of identical replicas; `serves` says of what kind."),
]
"""A client, told by what it serves; one that does not say serves whole requests (`generate`)."""
