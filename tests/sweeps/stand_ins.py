"""Policies with a real engine that is none: found by `tests.sweeps.stand_ins:NAME`."""

from __future__ import annotations

from hermes.sim.batching import Chunked


class LikeItself(Chunked):
    imitates = "chunked"


class LikeStatic(Chunked):
    imitates = "static"


class Paced(Chunked):
    """Stands for a real engine, which says its version."""

    @classmethod
    def engine_version(cls) -> str:
        return "Paced 1.0"


class LikePaced(Chunked):
    imitates = "tests.sweeps.stand_ins:Paced"
