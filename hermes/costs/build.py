"""The step cost a client asks for, built."""

from __future__ import annotations

from hermes.catalog import Device, Model
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.linear import LinearStepCost
from hermes.costs.roofline import Roofline
from hermes.costs.step import StepCost
from hermes.scenario.client import CostsSpec, LinearCostSpec

__all__ = ["build_step_cost"]


def build_step_cost(
    spec: CostsSpec,
    model: Model,
    device: Device,
    dtype: str,
    kv_dtype: str,
    tensor_parallel_size: int,
) -> StepCost:
    """Build the cost model of one replica.

    Raises:
        InfeasibleError: the model cannot be split or computed that way on the device.
    """
    if isinstance(spec, LinearCostSpec):
        return LinearStepCost(spec.linear)
    roofline = Roofline(model, device, dtype, kv_dtype, tensor_parallel_size)
    return CompiledStepCost(roofline.seconds, roofline.label)
