"""The Ray side of a study: trials as tasks, a bounded window of them, retries and time limits.

Knows nothing of samplers, objectives or files: trials go in, rows come out.
"""

from __future__ import annotations

from hermes.cluster.data import DataFile, data_files, with_content
from hermes.cluster.executor import Executor, InProcessExecutor
from hermes.cluster.pool import PoolLimits, TrialPool
from hermes.cluster.session import RaySession
from hermes.cluster.trial import Trial, TrialSetup, run_trial

__all__ = [
    "DataFile",
    "Executor",
    "InProcessExecutor",
    "PoolLimits",
    "RaySession",
    "Trial",
    "TrialPool",
    "TrialSetup",
    "data_files",
    "run_trial",
    "with_content",
]
