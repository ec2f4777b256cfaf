"""Metrics of each class of requests, beside those of all."""

from __future__ import annotations

import numpy as np

from hermes.metrics.quantiles import describe
from hermes.metrics.requests import RequestColumns
from hermes.metrics.summary import Number, good_requests
from hermes.scenario.scenario import SloSpec
from hermes.scenario.units import TICKS_PER_MILLISECOND

__all__ = ["summarize_kinds"]


def summarize_kinds(requests: RequestColumns, slo: SloSpec) -> dict[str, dict[str, Number]]:
    """Return, by class of requests, what became of them, with the names of `METRICS`.

    Args:
        requests: The request log.
        slo: What counts as good service where classes do not say.
    """
    good = good_requests(requests, slo)
    found: dict[str, dict[str, Number]] = {}
    for number, name in enumerate(requests.kind_names):
        here = requests.of_kind(number)
        total = int(np.count_nonzero(here))
        done, told = requests.completed & here, requests.answered & here
        result: dict[str, Number] = {
            "requests": total,
            "completed": int(np.count_nonzero(done)),
            "rejected": int(np.count_nonzero(here & ~requests.completed & ~requests.failed)),
            "failed": int(np.count_nonzero(here & requests.failed)),
            "slo_attainment": int(np.count_nonzero(good & here)) / total if total else None,
            "prompt_tokens": int(requests.prompt_tokens[done].sum()),
            "output_tokens": int(requests.generated_tokens[done].sum()),
        }
        latencies = {
            "ttft_ms": (requests.first_token - requests.arrival)[told],
            "e2el_ms": (requests.finished - requests.arrival)[done],
        }
        for metric, ticks in latencies.items():
            for statistic, value in describe((ticks / TICKS_PER_MILLISECOND).tolist()).items():
                result[f"{metric}.{statistic}"] = value
        found[name] = result
    return found
