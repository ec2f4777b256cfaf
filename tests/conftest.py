"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Nothing is timed in a test: a busy machine is no failure.
settings.register_profile("hermes", deadline=None)
settings.load_profile("hermes")

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured data, which is no part of the repository."""
    folder = Path(os.environ.get("HERMES_SHARED_DATA") or _BESIDE_THE_REPOSITORY)
    if not folder.is_dir():
        pytest.skip(f"no measured data: {folder.name!r} is absent (set HERMES_SHARED_DATA)")
    return folder
