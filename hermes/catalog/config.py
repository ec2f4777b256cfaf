"""The keys of a Hugging Face `config.json`, read with the errors they deserve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermes.errors import InputError

__all__ = ["Config"]


@dataclass(frozen=True, slots=True)
class Config:
    """The keys of a file, read with the errors they deserve."""

    values: Mapping[str, Any]

    def integer(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """Return the first of *keys* that is set, or *default*; without one it is an error."""
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if type(value) is not int or value < least:
                raise InputError(f"expected a whole number of at least {least}, got {value!r}", key)
            return value
        if default is None:
            raise InputError(f"is missing (needed: {' or '.join(keys)})", keys[-1])
        return default

    def boolean(self, key: str, default: bool) -> bool:
        """Return the truth value of *key*, or *default*."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InputError(f"expected true or false, got {value!r}", key)
        return value
