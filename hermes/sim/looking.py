"""Names looked up so that the error names the field that asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hermes.errors import InputError

__all__ = ["looked_up"]

T = TypeVar("T")


def looked_up(field: str, find: Callable[[], T]) -> T:
    """Return what `find` finds; its errors name the field that asked for it."""
    try:
        return find()
    except InputError as error:
        raise error if error.field or error.file else error.inside(field) from None
