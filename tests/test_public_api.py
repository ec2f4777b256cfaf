"""What `import hermes` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import hermes

HEAVY = ("ray", "optuna", "pandas", "pyarrow", "plotly", "matplotlib", "simpy", "pydantic")


def test_every_public_name_exists() -> None:
    assert all(getattr(hermes, name) is not None for name in hermes.__all__)


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_importing_hermes_loads_nothing_heavy() -> None:
    assert not loaded_by("import hermes") & set(HEAVY)


def test_simulating_loads_only_what_simulating_needs() -> None:
    code = (
        "import hermes\n"
        "hermes.simulate(hermes.build_scenario({"
        "'workload': {'requests': {'sample': 'chat'}, 'limit': {'requests': 5}},"
        "'clients': {'chat': {'model': 'llama-3.1-8b', 'device': 'h100-sxm'}}}))"
    )
    unwanted = {"ray", "optuna", "pandas", "pyarrow", "plotly", "matplotlib"}
    assert not loaded_by(code) & unwanted
