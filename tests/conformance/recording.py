"""A recording: what an engine's scheduler did, step by step, under a virtual clock.

Read and written by the recorder and by the tests; the layout is described in docs/vllm.md. Only the
standard library: the recorder runs in vLLM's environment, where Hermes is not installed.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"
LAYOUT = 1


@dataclass(frozen=True)
class Request:
    """What arrives. `blocks` name the prompt's KV blocks by content, one id a block."""

    arrival_ns: int
    prompt_tokens: int
    output_tokens: int
    priority: int = 0
    blocks: tuple[int, ...] = ()
    accepted_drafts: tuple[int, ...] = ()  # of each verification in turn, repeated without end
    transfer_ns: int = 0  # of its KV, to or from another engine
    adapter: int = -1  # LoRA adapter; -1: none


@dataclass(frozen=True)
class Cost:
    """A step takes step_us + token_us x its tokens + context_token_ns x tokens computed before."""

    step_us: int = 4000
    token_us: int = 20
    context_token_ns: int = 8

    def duration_ns(self, tokens: int, context_tokens: int) -> int:
        return (
            1000 * self.step_us + 1000 * self.token_us * tokens
            + self.context_token_ns * context_tokens
        )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is to be recorded: requests, engine options (vLLM's names), cost of a step."""

    name: str
    about: str
    feature: str
    requests: tuple[Request, ...]
    options: dict[str, Any]
    cost: Cost = Cost()


@dataclass(frozen=True)
class Step:
    """One `schedule()` that gave tokens."""

    start_ns: int
    duration_ns: int
    tokens: dict[int, int]  # request number -> tokens of this step, in the scheduler's order
    preempted: tuple[int, ...] = ()


@dataclass
class Recording:
    case: Case
    engine: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    first_token_ns: list[int] = field(default_factory=list)
    last_token_ns: list[int] = field(default_factory=list)
    preemptions: list[int] = field(default_factory=list)
    cached_tokens: list[int] = field(default_factory=list)  # prefix hits at first admission

    def write(self, folder: Path) -> Path:
        document = {
            "layout": LAYOUT,
            "engine": self.engine,
            "case": {
                **{key: getattr(self.case, key) for key in ("name", "about", "feature", "options")},
                "cost": asdict(self.case.cost),
                "requests": _columns(self.case.requests),
            },
            "steps": {
                "start_ns": [step.start_ns for step in self.steps],
                "duration_ns": [step.duration_ns for step in self.steps],
                "tokens": [list(step.tokens.items()) for step in self.steps],
                "preempted": {
                    str(index): step.preempted
                    for index, step in enumerate(self.steps)
                    if step.preempted
                },
            },
            "requests": {
                "first_token_ns": self.first_token_ns,
                "last_token_ns": self.last_token_ns,
                "preemptions": self.preemptions,
                "cached_tokens": self.cached_tokens,
            },
        }
        text = json.dumps(document, separators=(",", ":"))
        path = folder / f"{self.case.name}.json.gz"
        path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        return path

    @classmethod
    def read(cls, path: Path) -> Recording:
        document = json.loads(gzip.decompress(path.read_bytes()))
        assert document["layout"] == LAYOUT, f"{path.name} has layout {document['layout']}"
        case, steps = document["case"], document["steps"]
        return cls(
            case=Case(
                name=case["name"],
                about=case["about"],
                feature=case["feature"],
                requests=_rows(case["requests"]),
                options=case["options"],
                cost=Cost(**case["cost"]),
            ),
            engine=document["engine"],
            steps=[
                Step(
                    start,
                    duration,
                    dict(tokens),
                    tuple(steps["preempted"].get(str(index), ())),
                )
                for index, (start, duration, tokens) in enumerate(
                    zip(steps["start_ns"], steps["duration_ns"], steps["tokens"], strict=True)
                )
            ],
            **document["requests"],
        )


_DEFAULTS = asdict(Request(0, 0, 0))


def _columns(requests: tuple[Request, ...]) -> dict[str, list[Any]]:
    """Return the requests by column, without the columns that no request uses."""
    columns = {name: [getattr(r, name) for r in requests] for name in _DEFAULTS}
    needed = ("arrival_ns", "prompt_tokens", "output_tokens")
    return {
        name: values
        for name, values in columns.items()
        if name in needed or any(value != _DEFAULTS[name] for value in values)
    }


def _rows(columns: dict[str, list[Any]]) -> tuple[Request, ...]:
    rows = zip(*columns.values(), strict=True)
    return tuple(
        Request(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in zip(columns, row, strict=True)
            }
        )
        for row in rows
    )
