"""The simulator: SimPy schedules time, engines schedule tokens."""

from hermes.sim.simulate import SimulationResult, simulate

__all__ = ["SimulationResult", "simulate"]
