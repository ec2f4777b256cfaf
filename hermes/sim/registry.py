"""Names for policies, open to the user's own: by decorator, or by `package.module:Class`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Generic, TypeVar

from hermes.errors import InputError, UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T", bound=type[Any])


class Registry(Generic[T]):
    """A table from name to class, for one kind of policy."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._classes: dict[str, T] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters a class under a name."""

        def enter(entry: T) -> T:
            if self._classes.setdefault(name, entry) is not entry:
                raise ValueError(f"{self._kind} {name!r} is registered twice")
            return entry

        return enter

    def find(self, name: str, field: str) -> T:
        """Return the class a name stands for.

        Raises:
            UnknownNameError: no class has this name.
            InputError: `name` is an import path that does not lead to a class.
        """
        if ":" in name:
            return self._imported(name, field)
        if name not in self._classes:
            raise UnknownNameError.among(self._kind, name, self._classes, field)
        return self._classes[name]

    def _imported(self, path: str, field: str) -> T:
        module, _, attribute = path.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(f"cannot import {self._kind} {path!r}: {error}", field) from None
        if not isinstance(found, type):
            raise InputError(f"{self._kind} {path!r} is no class", field)
        return found  # type: ignore[return-value]
