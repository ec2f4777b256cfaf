"""A study of 24 tiny deployments, with step costs by three numbers: a trial takes milliseconds."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

from hermes.results import read_trials
from hermes.sweeps import Pace, Study, StudyOutcome, load_study
from hermes.sweeps.run import RunOptions, run

STUDY: dict[str, Any] = {
    "name": "small",
    "question": "Which tiny deployment is cheapest?",
    "scenario": {
        "workload": {
            "requests": {"lengths": {"prompt": 64, "output": {"uniform": {"low": 1, "high": 32}}}},
            "arrivals": {"process": "poisson", "rate_per_s": 40},
            "limit": {"requests": 20},
        },
        "clients": {
            "chat": {
                "model": "llama-3.1-8b",
                "device": "h100-sxm",
                "costs": {"linear": {"step_us": 4000, "token_us": 20}},
            }
        },
    },
    "space": {
        "clients.chat.device": ["h100-sxm", "l40s"],
        "clients.chat.max_num_seqs": [1, 2, 4, 8],
        "clients.chat.replicas": [1, 2, 3],
    },
    "objectives": {"cost_per_million_output_tokens": "minimize", "ttft_ms.p99": "minimize"},
    "constraints": {"ttft_ms.p99": "<= 500"},
}
SPACE_SIZE = 24
PROVENANCE = ["host", "started_at", "trial_seconds", "attempt"]


def written(folder: Path, **changes: Any) -> Path:
    """Write the study with some of its blocks changed; `path=value` under scenario by `__`."""
    content = copy.deepcopy(STUDY)
    for name, value in changes.items():
        if value is None:
            content.pop(name, None)
        else:
            content[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def loaded(folder: Path, **changes: Any) -> Study:
    return load_study(written(folder, **changes))


def run_here(study: Study, out: Path, trials: int | None = None, **options: Any) -> StudyOutcome:
    """Run a study in this process, quietly."""
    settings = {"workers": 0, "quiet": True, "pace": Pace(seconds=0.05)} | options
    return run(study, out, RunOptions(trials=trials, **settings))


def rows_of(out: Path, ignore: list[str] | None = None) -> list[dict[str, Any]]:
    frame = read_trials(out).drop(columns=PROVENANCE if ignore is None else ignore)
    rows = frame.sort_values("trial_key").to_dict("records")
    return [{str(name): _none(value) for name, value in row.items()} for row in rows]


def _none(value: Any) -> Any:
    """Return None for a number that is missing: NaN equals nothing, not even itself."""
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124


def digest(out: Path) -> str:
    """Return one hash of everything the rows say about the trials, floats by their bits."""
    plain = [
        {name: value.hex() if isinstance(value, float) else value for name, value in row.items()}
        for row in rows_of(out)
    ]
    return hashlib.sha256(json.dumps(plain, default=str).encode()).hexdigest()
