"""The simulator: SimPy schedules time, engines schedule tokens."""

from hermes.sim.simulation import SimulationResult, simulate

__all__ = ["SimulationResult", "simulate"]
