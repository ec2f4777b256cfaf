"""One embedded Ray for all tests that need one; it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes.cluster import RaySession


@pytest.fixture(scope="session")
def died_marker(tmp_path_factory) -> Path:
    """Where `DiesOnce` notes that it died; workers inherit the environment Ray started in."""
    return tmp_path_factory.mktemp("died") / "marker"


@pytest.fixture(scope="session")
def ray_session(died_marker) -> Iterator[RaySession]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERMES_TEST_DIED", str(died_marker))
        session = RaySession.start(workers=2)
        yield session
        session.close()
