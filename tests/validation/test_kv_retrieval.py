"""Time to read KV from a medium, simulated, beside what fio and a KV connector measured."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

import pytest

from hermes.catalog.media import Medium, find_medium
from hermes.sim.clock import Clock
from hermes.sim.link import Link
from hermes.sim.network import FlowNetwork

MEBIBYTE = 2**20
PAPER = {"NVMe SSD": 0.077, "DDR4": 0.144}
"""Mean errors of the paper's artifact at 16 MiB and more (arXiv 2504.09775)."""
MEDIA = {"NVMe SSD": "fio-nvme", "DDR4": "fio-ddr4"}

Points = list[tuple[int, float]]
"""Bytes, and the seconds they took."""


def simulated(size: int, gb_per_s: float, latency_us: float) -> float:
    """Return the seconds of one read, through the simulator's network."""
    env = Clock(initial_time=0)
    network = FlowNetwork(env, [Link("medium", gb_per_s * 1e9, round(latency_us * 1e6))])
    ended: list[int] = []
    network.transfer(["medium"], size, lambda: ended.append(env.now))
    env.run()
    return ended[0] / 1e12


def errors(points: Points, medium: Medium) -> list[float]:
    return [
        abs(simulated(size, medium.bandwidth_gb_per_s, medium.latency_us) / seconds - 1)
        for size, seconds in points
    ]


def fitted_gb_per_s(points: Points, latency_us: float) -> float:
    """Return the bandwidth with the least squared relative error."""
    ratios = [size / 1e9 / seconds for size, seconds in points]
    reached = [1 - latency_us / 1e6 / seconds for _, seconds in points]
    return sum(r * r for r in ratios) / sum(
        r * left for r, left in zip(ratios, reached, strict=True)
    )


def fio(shared_data: Path, device: str) -> Points:
    with (shared_data / "mist" / "fio_retrieval_latency.csv").open() as lines:
        return [
            (int(row["block_size_bytes"]), float(row["measured_latency_us"]) / 1e6)
            for row in csv.DictReader(lines)
            if row["device"] == device and int(row["block_size_bytes"]) >= 16 * MEBIBYTE
        ]


@pytest.mark.parametrize("device", sorted(MEDIA))
def test_reads_of_16_mib_and_more_take_what_fio_measured(shared_data: Path, device: str) -> None:
    points = fio(shared_data, device)
    assert len(points) == 5
    error = fmean(errors(points, find_medium(MEDIA[device])))
    assert error < PAPER[device]
    assert error < {"NVMe SSD": 0.074, "DDR4": 0.034}[device]


@pytest.mark.parametrize("device", sorted(MEDIA))
def test_the_catalog_holds_the_fit_and_it_holds_for_sizes_left_out(
    shared_data: Path, device: str
) -> None:
    points, medium = fio(shared_data, device), find_medium(MEDIA[device])
    assert fitted_gb_per_s(points, medium.latency_us) == pytest.approx(
        medium.bandwidth_gb_per_s, rel=0.01
    )
    left_out = []
    for n, point in enumerate(points):
        rest = points[:n] + points[n + 1 :]
        bandwidth = fitted_gb_per_s(rest, medium.latency_us)
        left_out.append(abs(simulated(point[0], bandwidth, medium.latency_us) / point[1] - 1))
    assert fmean(left_out) < {"NVMe SSD": 0.094, "DDR4": 0.042}[device]


def test_kv_between_hosts_takes_what_a_connector_measured(shared_data: Path) -> None:
    path = shared_data / "kv_storage" / "pd_kv_transfer_h800_qwen3_8b.csv"
    with path.open() as lines:
        points = [
            (int(float(row["kv_mb"]) * 1e6), float(row["transfer_ms"]) / 1e3)
            for row in csv.DictReader(lines)
        ]
    found = errors(points, find_medium("kv-rdma-8xcx7"))
    assert fmean(found) < 0.035
    assert max(found) < 0.07


def test_media_with_a_measured_figure_carry_that_figure(shared_data: Path) -> None:
    with (shared_data / "kv_storage" / "tier_bandwidth_latency.csv").open() as lines:
        facts = {
            (row["medium"], row["metric"]): float(row["value"]) for row in csv.DictReader(lines)
        }
    for name, key in {
        "ddr5-host": ("PCIe5 x16 H100<->host DRAM", "h2d_or_d2h_single_direction"),
        "cxl-x8": ("CXL 1.1/2.0 Type-3 DDR5 x8 PCIe5", "read_bandwidth"),
        "nvme-pcie4": ("single NVMe SSD (production)", "read_throughput_peak"),
        "nvme-pcie3": ("Samsung PM983 1.92TB PCIe3", "seq_read_spec"),
        "nvme-array-h100": ("NVMe array behind ServerlessLLM H100 test", "read_bandwidth"),
        "dram-rdma-4x200g": ("4x200 Gbps NICs", "transfer_engine_bandwidth"),
        "dram-rdma-8x400g": ("8x400 Gbps NICs", "transfer_engine_bandwidth"),
    }.items():
        assert find_medium(name).bandwidth_gb_per_s == facts[key]
