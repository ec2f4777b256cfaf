"""The step cost a client asks for, built."""

from __future__ import annotations

from pathlib import Path

from hermes.catalog import Device, Model
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.constants import find_laws
from hermes.costs.engines import find_overheads
from hermes.costs.linear import LinearStepCost
from hermes.costs.roofline import Roofline
from hermes.costs.spread import DEVIATION
from hermes.costs.step import StepCost
from hermes.errors import InfeasibleError
from hermes.scenario.costs import (
    CalibratedCostSpec,
    CostsSpec,
    LinearCostSpec,
    RooflineCosts,
    RooflineCostSpec,
    TableCostSpec,
)

__all__ = ["build_step_cost"]

_MS = 1e-3
_US = 1e-6


def build_step_cost(  # noqa: PLR0913, PLR0917 - what decides the time of a step
    spec: CostsSpec,
    model: Model,
    device: Device,
    dtype: str,
    kv_dtype: str,
    tensor_parallel_size: int,
    folder: Path | None = None,
    data_parallel_size: int = 1,
) -> StepCost:
    """Build the cost model of one replica.

    Args:
        spec: The `costs` field of the client.
        model: What it serves.
        device: What it is built of.
        dtype: Of the weights.
        kv_dtype: Of the cache.
        tensor_parallel_size: Devices of a replica.
        folder: Where relative paths in *spec* start; default: the current folder.
        data_parallel_size: Groups of devices that share routed experts, in lock-step.

    Raises:
        InfeasibleError: the model cannot be split or computed that way on the device.
        InputError: a file of measurements or constants that cannot be used.
    """
    if isinstance(spec, LinearCostSpec):
        return LinearStepCost(spec.linear)
    if isinstance(spec, CalibratedCostSpec):
        _refuse_data_parallel(data_parallel_size, "calibrated")
        return _calibrated(
            spec, Roofline(model, device, dtype, kv_dtype, tensor_parallel_size), folder
        )
    around = _around(spec)
    engine = find_overheads(around.engine)
    laws = find_laws(device, engine.launch, engine.deep_gemm)
    roofline = Roofline(
        model,
        device,
        dtype,
        kv_dtype,
        tensor_parallel_size,
        around.expert_parallel,
        laws,
        data_parallel_size,
    )
    if isinstance(spec, TableCostSpec):
        _refuse_data_parallel(data_parallel_size, "table")
        return _table(spec, roofline, model, _table_path(spec.table, folder))
    return CompiledStepCost(roofline, *_overheads(around))


def _refuse_data_parallel(size: int, costs: str) -> None:
    if size > 1:
        raise InfeasibleError(
            f"costs from {costs!r} do not know experts shared in lock-step (allowed with "
            f"data_parallel_size {size}: roofline, linear)",
            "costs",
        )


def _table_path(table: str, folder: Path | None) -> Path:
    from hermes.costs.tables import packaged
    from hermes.costs.tables.aiconfigurator import PREFIX, installed_folder

    if table.startswith(packaged.PREFIX):
        return packaged.packaged_table(table)
    if table.startswith(PREFIX):
        return installed_folder(table)
    return (folder or Path()) / Path(table).expanduser()


def _table(spec: TableCostSpec, roofline: Roofline, model: Model, path: Path) -> StepCost:
    """Return the roofline joined to a table of operators, or fitted to a log of steps."""
    device, size = roofline.chip.device, roofline.operators.group
    step, request, error = _overheads(spec)
    if path.is_file() and path.suffix != ".parquet":
        from hermes.costs.calibration import CalibratedPass, calibrate, read_observations
        from hermes.costs.calibration.observations import is_step_log

        if is_step_log(path):
            observed = read_observations([path])
            factors = calibrate(roofline, observed, model.name, device.name, size).factors
            fitted = CalibratedPass(roofline, factors, same=True)
            return CompiledStepCost(fitted, factors.step_us * _US, request)
    from hermes.costs.tables import TablePass, read_calls

    table = read_calls(path, model, device, size)
    return CompiledStepCost(TablePass(roofline, table, path.name), step, request, error)


def _calibrated(spec: CalibratedCostSpec, roofline: Roofline, folder: Path | None) -> StepCost:
    """Return the roofline with the factors of a file; they hold the overheads too."""
    from hermes.costs.calibration import CalibratedPass, read_factors

    factors = read_factors((folder or Path()) / Path(spec.calibrated).expanduser())
    here = (roofline.model, roofline.chip.device.name, roofline.operators.group)
    there = (factors.model, factors.device, factors.tensor_parallel_size)
    scaled = CalibratedPass(roofline, factors, same=here == there)
    return CompiledStepCost(scaled, factors.step_us * _US, factors.request_ms * _MS)


def _around(spec: CostsSpec) -> RooflineCosts:
    """Return what is around the device's time."""
    if isinstance(spec, RooflineCostSpec):
        return spec.roofline
    return spec if isinstance(spec, TableCostSpec) else RooflineCosts()


def _overheads(around: RooflineCosts) -> tuple[float, float, float]:
    """Return the seconds that the engine adds to a step and to a request, and its error."""
    kept = find_overheads(around.engine)
    step, request = around.step_overhead_us, around.request_overhead_ms
    return (
        (kept.step_us if step is None else step) * _US,
        (kept.request_ms if request is None else request) * _MS,
        DEVIATION * kept.first_token_error,
    )
