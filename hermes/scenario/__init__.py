"""What a user writes: typed specs, strict loading, dotted overrides, the JSON Schema."""

from hermes.scenario.loading import build_scenario, load_scenario
from hermes.scenario.scenario import Scenario
from hermes.scenario.schema import scenario_schema

__all__ = ["Scenario", "build_scenario", "load_scenario", "scenario_schema"]
