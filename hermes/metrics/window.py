"""What was done by the time that arrivals ended: how a deployment kept up, not how it drained."""

from __future__ import annotations

import numpy as np

from hermes.metrics.quantiles import describe
from hermes.metrics.requests import RequestColumns
from hermes.scenario.units import TICKS_PER_MILLISECOND

__all__ = ["window_metrics"]

Number = float | int | None


def window_metrics(requests: RequestColumns, window_ticks: int | None) -> dict[str, Number]:
    """Return the metrics of the requests that were completed within a window from time 0.

    Their latencies are those of survivors: of a deployment that falls behind, the fast ones only.

    Args:
        requests: The request log.
        window_ticks: How long requests arrive; None: the workload ends by number, or with a trace,
            and the metrics are undefined.
    """
    if window_ticks is None:
        done = np.zeros(len(requests.arrival), np.bool_)
    else:
        done = requests.completed & (requests.finished <= window_ticks)
    latencies = (requests.finished - requests.arrival)[done] / TICKS_PER_MILLISECOND
    found: dict[str, Number] = {
        f"e2el_in_window_ms.{statistic}": value
        for statistic, value in describe(latencies.tolist()).items()
    }
    found["completed_in_window"] = None if window_ticks is None else int(np.count_nonzero(done))
    return found
