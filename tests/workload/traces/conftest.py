"""Traces written on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes.workload import Trace, TraceOptions, read_trace

Reader = Callable[..., Trace]


@pytest.fixture
def read_as(tmp_path: Path) -> Callable[[str], Reader]:
    """A reader of lines (texts, or objects that become JSON) by the name of their layout."""

    def as_layout(name: str) -> Reader:
        def read(*lines: str | dict[str, object], **options: float) -> Trace:
            texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            path = tmp_path / "trace"
            path.write_text("\n".join(texts) + "\n")
            return read_trace(name, path, options=TraceOptions(**options))

        return read

    return as_layout
