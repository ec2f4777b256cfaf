"""The base of every spec: frozen, strict, documented by the docstrings under its fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["NonNegative", "Positive", "PositiveInt", "Spec"]

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]


class Spec(BaseModel):
    """A part of a scenario as the user writes it.

    Strict: a string is no number and `true` is no integer; unknown keys, NaN and infinity are
    errors. Docstrings under fields become the descriptions of the published JSON Schema.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
