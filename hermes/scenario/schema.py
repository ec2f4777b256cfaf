"""The published JSON Schema, which editors use to complete and check scenario files."""

from __future__ import annotations

from typing import Any

from hermes.scenario.scenario import Scenario

__all__ = ["scenario_schema"]


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a scenario file."""
    schema = Scenario.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
