"""Hermes: which LLM serving deployment meets my latency targets at the lowest cost?

>>> import hermes
>>> scenario = hermes.load_scenario("scenario.yaml")  # doctest: +SKIP
>>> hermes.simulate(scenario).summary["ttft_ms.p99"]  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hermes.errors import HermesError, InfeasibleError, InputError
    from hermes.scenario import Scenario, build_scenario, load_scenario
    from hermes.sim import SimulationResult, simulate

__all__ = [
    "HermesError",
    "InfeasibleError",
    "InputError",
    "Scenario",
    "SimulationResult",
    "__version__",
    "build_scenario",
    "load_scenario",
    "simulate",
]

__version__ = "0.1.0"

_HOMES = {
    "HermesError": "hermes.errors",
    "InfeasibleError": "hermes.errors",
    "InputError": "hermes.errors",
    "Scenario": "hermes.scenario",
    "SimulationResult": "hermes.sim",
    "build_scenario": "hermes.scenario",
    "load_scenario": "hermes.scenario",
    "simulate": "hermes.sim",
}


def __getattr__(name: str) -> Any:
    """Import public names when first used, so that `import hermes` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hermes' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
