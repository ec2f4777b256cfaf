"""The machine a profile runs on: which device, what memory, which caches, which software."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.catalog import Device, find_device
from hermes.errors import InputError, UnknownNameError

__all__ = ["Machine", "catalog_device", "find_machine", "scenario_name"]

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_DEFAULT_CACHE = 64 * 2**20
_WORDS = {"nvidia", "tesla", "geforce", "quadro", "gpu", "generation", "graphics"}
_NO_GPU = (
    "PyTorch sees no GPU on this machine; `--device cpu` profiles the processor, which scenarios"
    " can then name as a device"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """One device and what is around it."""

    torch_device: str
    """cuda:0 or cpu."""
    device_name: str
    """As the driver or the processor calls itself."""
    memory_bytes: int
    cache_bytes: int
    """Last cache before the memory."""
    devices: int
    """Alike devices that are present."""
    fp8: bool
    driver: str
    torch_version: str
    threads: int
    uuid: str = ""
    """Of the GPU, as its driver names it: PyTorch may number devices otherwise."""

    @property
    def kind(self) -> str:
        """Return gpu or cpu."""
        return "gpu" if self.torch_device.startswith("cuda") else "cpu"


def find_machine(device: str) -> Machine:
    """Return the machine with the device asked for.

    Args:
        device: `auto` or `cuda` for a GPU, `cpu` for the processor.

    Raises:
        InputError: There is no such device, or no PyTorch.
    """
    torch = _torch()
    if device == "cpu":
        return _processor(torch)
    if not torch.cuda.is_available():
        raise InputError(_NO_GPU, "--device")
    return _gpu(torch)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(
            "profiling needs PyTorch: pip install 'hermes-dse[profile]' (or torch alone)"
        ) from None
    return torch


def _processor(torch: Any) -> Machine:
    return Machine(
        torch_device="cpu",
        device_name=_processor_name(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cache_bytes=_last_cache(),
        devices=1,
        fp8=False,
        driver=platform.release(),
        torch_version=str(torch.__version__),
        threads=torch.get_num_threads(),
    )


def _gpu(torch: Any) -> Machine:
    from hermes.profile.power import driver_version

    properties = torch.cuda.get_device_properties(0)
    return Machine(
        torch_device="cuda:0",
        device_name=properties.name,
        memory_bytes=properties.total_memory,
        cache_bytes=getattr(properties, "L2_cache_size", _DEFAULT_CACHE),
        devices=torch.cuda.device_count(),
        fp8=torch.version.cuda is not None and torch.cuda.get_device_capability(0) >= (8, 9),
        driver=driver_version() or f"CUDA {torch.version.cuda}",
        torch_version=str(torch.__version__),
        threads=torch.get_num_threads(),
        uuid=f"GPU-{properties.uuid}" if hasattr(properties, "uuid") else "",
    )


def _processor_name() -> str:
    if _CPUINFO.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", _CPUINFO.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _last_cache() -> int:
    """Return the bytes of the largest cache of the processor."""
    units = {"K": 2**10, "M": 2**20}
    sizes = [0]
    for path in sorted(_CACHES.glob("index*/size")):
        found = re.fullmatch(r"(\d+)([KM])", path.read_text().strip())
        if found:
            sizes.append(int(found[1]) * units[found[2]])
    return max(sizes) or _DEFAULT_CACHE


def catalog_device(name: str, memory_bytes: int) -> Device | None:
    """Return the catalog's device that calls itself *name*, or None.

    Tried are the words of the name joined, longest first: `NVIDIA H100 80GB HBM3` is `h100-sxm`,
    by the alias `h100`; the memory must agree within a tenth.
    """
    words = [word for word in re.split(r"[\s\-_]+", name.lower()) if word not in _WORDS]
    for start in range(len(words)):
        for end in range(len(words), start, -1):
            try:
                found = find_device("-".join(words[start:end]))
            except UnknownNameError:
                continue
            if abs(found.memory_gb * 2**30 / memory_bytes - 1) < 0.1:
                return found
    return None


def scenario_name(name: str) -> str:
    """Return a name that a scenario may give a device that calls itself *name*."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return plain[:60] or "device"
