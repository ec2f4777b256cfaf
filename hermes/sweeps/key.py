"""Keys: a trial and a study are named by the hash of everything their result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hermes import __version__
from hermes.cluster import DataFile

__all__ = ["canonical", "digest", "trial_key"]


def canonical(value: object) -> str:
    """Return plain data as JSON with one spelling: sorted keys, no spaces, floats in full."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """Return the first half of the SHA-256 of plain data, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:32]


def trial_key(
    scenario: Mapping[str, Any],
    files: Sequence[DataFile],
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """Return a trial's key: from its whole scenario, its seed, its files' content, and Hermes.

    Args:
        scenario: The resolved scenario, which holds the seed.
        files: The files it reads; a changed file makes another key, under the same name too.
        evaluation: How it is judged, where that is not by one simulation.
    """
    content = {file.name: file.digest for file in files}
    judged = {"evaluation": dict(evaluation)} if evaluation else {}
    return digest({"scenario": scenario, "files": content, "hermes": __version__} | judged)
