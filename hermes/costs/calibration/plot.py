"""Predicted against measured times, as a picture."""

from __future__ import annotations

from pathlib import Path

from hermes.costs.calibration.fit import Calibration

__all__ = ["write_plot"]


def write_plot(calibration: Calibration, path: Path) -> None:
    """Write a scatter of predicted over measured times; the held-out predictions apart."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    measured = [1e3 * seconds for seconds in calibration.measured]
    for values, label, mark in (
        (calibration.predicted, "fitted", "o"),
        (calibration.held_out, "held out", "x"),
    ):
        axes.scatter(
            measured, [1e3 * seconds for seconds in values], s=18, marker=mark, label=label
        )
    ends = [min(measured) * 0.8, max(measured) * 1.25]
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.set(xscale="log", yscale="log", xlim=ends, xlabel="measured ms", ylabel="predicted ms")
    factors = calibration.factors
    axes.set_title(
        f"{factors.model} on {factors.tensor_parallel_size} x {factors.device}\n"
        f"median error: fitted {factors.fitted_error:.1%}, held out {factors.held_out_error:.1%}"
    )
    axes.legend()
    figure.savefig(path, dpi=120)
