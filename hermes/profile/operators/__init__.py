"""One file a kind of operator: from a point to a call that is ready to be timed."""

from __future__ import annotations

from hermes.profile.bench import Kernel
from hermes.profile.operators.attention import attention_kernels
from hermes.profile.operators.copies import copy_kernels
from hermes.profile.operators.elementwise import elementwise_kernels
from hermes.profile.operators.encoder import encoder_kernels
from hermes.profile.operators.experts import expert_kernels
from hermes.profile.operators.linear import linear_kernels
from hermes.profile.operators.operands import Operands
from hermes.profile.operators.sampling import sampling_kernels
from hermes.profile.operators.search import search_kernels
from hermes.profile.operators.storage import storage_kernels
from hermes.profile.point import Point

__all__ = ["kernels_of"]

_KERNELS = {
    "linear": linear_kernels,
    "prefill": attention_kernels,
    "decode": attention_kernels,
    "norm": elementwise_kernels,
    "activation": elementwise_kernels,
    "rope": elementwise_kernels,
    "embedding": sampling_kernels,
    "sampling": sampling_kernels,
    "experts": expert_kernels,
    "experts_uniform": expert_kernels,
    "encoder": encoder_kernels,
    "device_to_device": copy_kernels,
    "host_to_device": copy_kernels,
    "device_to_host": copy_kernels,
    "host_read": storage_kernels,
    "disk_read": storage_kernels,
    "search": search_kernels,
}


def kernels_of(point: Point, operands: Operands) -> list[Kernel]:
    """Return the ways to run a point; the fastest is kept."""
    return _KERNELS[point.operator](point, operands)
