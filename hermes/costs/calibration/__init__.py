"""The roofline fitted to a user's own numbers: reading them, fitting, keeping the result."""

from hermes.costs.calibration.calibrated_pass import CalibratedPass, Factors, read_factors
from hermes.costs.calibration.fit import Calibration, calibrate
from hermes.costs.calibration.observations import Observations, read_observations

__all__ = [
    "CalibratedPass",
    "Calibration",
    "Factors",
    "Observations",
    "calibrate",
    "read_factors",
    "read_observations",
]
