"""What steps cost: one small interface, and the models behind it."""

from hermes.costs.build import build_step_cost
from hermes.costs.step import DecodeSegment, StepCost

__all__ = ["DecodeSegment", "StepCost", "build_step_cost"]
