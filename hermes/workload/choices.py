"""Choosing among weighted options with one uniform draw each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hermes.workload.workload import Column

__all__ = ["choose"]


def choose(weights: Sequence[float], drawn: npt.NDArray[np.float64]) -> Column:
    """Turn uniform draws in [0, 1) into indexes, each as likely as its weight says."""
    largest = max(weights)  # keeps the sum finite for any finite weights
    ends = np.cumsum([weight / largest for weight in weights])
    picked = np.searchsorted(ends, drawn * ends[-1], side="right")
    # Rounding may lift a draw just below 1 to the very end, beyond the last positive weight.
    last = max(index for index, weight in enumerate(weights) if weight > 0)
    chosen: Column = np.minimum(picked, last).astype(np.int64)
    return chosen
