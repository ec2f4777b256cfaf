"""What exists: devices with their prices, and models with their architectures.

Facts live in the tables under `data/`, one row each with its source.
"""

from __future__ import annotations

from hermes.catalog.devices import Device, device_names, find_device
from hermes.catalog.dtypes import DTYPE_BYTES, dtype_name
from hermes.catalog.huggingface import read_config
from hermes.catalog.models import Model, find_model, model_names

__all__ = [
    "DTYPE_BYTES",
    "Device",
    "Model",
    "device_names",
    "dtype_name",
    "find_device",
    "find_model",
    "model_names",
    "read_config",
]
