"""Batching policies. Adding one: a file like `chunked.py`, imported here, and a test."""

from hermes.sim.batching.base import BATCHING, BatchingPolicy
from hermes.sim.batching.chunked import Chunked
from hermes.sim.batching.continuous import Continuous
from hermes.sim.batching.mixed import Mixed
from hermes.sim.batching.static import Static
from hermes.sim.batching.vllm import Vllm

__all__ = ["BATCHING", "BatchingPolicy", "Chunked", "Continuous", "Mixed", "Static", "Vllm"]
