"""Reading a finished or running study as a table, without the driver's lock."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hermes.errors import HermesError, InputError
from hermes.results.parts import (
    DamagedPartError,
    PartName,
    list_parts,
    read_parts,
    without_duplicates,
)
from hermes.results.place import STUDY, Place, open_place
from hermes.results.study_folder import read_study

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["open_study", "read_rows", "read_trials"]


def open_study(path: str | Path) -> dict[str, object]:
    """Return the study that the folder or URL *path* holds.

    Raises:
        InputError: There is no study.
    """
    return _opened(open_place(path))


def _opened(place: Place) -> dict[str, object]:
    if not place.holds_study():
        folder = Path(str(place))
        what = "is not a folder" if isinstance(place.at(STUDY), Path) and folder.exists() else (
            "does not exist"
        )  # fmt: skip
        raise InputError(f"no study: the folder {what}", file=str(place))
    study = read_study(place)
    if study is None:
        raise InputError(
            "no study: expected study.json and trials/part-*.parquet, as `hermes sweep --out` "
            "writes them",
            file=str(place),
        )
    return study


def read_trials(path: str | Path) -> pd.DataFrame:
    """Read a study's folder into a DataFrame, one row a trial in the order asked.

    The study may still be running: finished trials are read.

    Args:
        path: The folder or URL that `hermes sweep --out` wrote.

    Raises:
        InputError: The folder holds no study, or no finished trial yet.
        HermesError: A part is damaged; the message names it and the repair.
    """
    frame: pd.DataFrame = _read_table(open_place(path)).to_pandas()
    return frame


def read_rows(path: str | Path) -> list[dict[str, object]]:
    """Read a study's folder as mappings of column to value; see `read_trials`."""
    rows: list[dict[str, object]] = _read_table(open_place(path)).to_pylist()
    return rows


def _read_table(place: Place) -> pa.Table:
    import pyarrow as pa

    study = _opened(place)
    key = str(study.get("study_key", ""))
    names = list_parts(place)
    while True:
        tables, damaged = _tables(place, names, key)
        if damaged is None:
            break
        name, error = damaged
        again = list_parts(place)
        if name not in again and again != names:
            names = again  # the study's driver has merged parts meanwhile
            continue
        raise HermesError(
            f"{place.at(f'trials/{name.file}')}: {error}. `hermes sweep STUDY "
            f"--out={shlex.quote(str(place))} "
            "--resume` sets it aside and runs its trials again; to read the rest as it is, move "
            "the file out of trials/"
        ) from error
    if not tables:
        raise InputError("the study has no finished trial yet", file=str(place))
    table = pa.concat_tables(tables, promote_options="default")
    return without_duplicates(table)


def _tables(
    place: Place, names: Sequence[PartName], key: str
) -> tuple[list[pa.Table], tuple[PartName, DamagedPartError] | None]:
    """Read parts up to the first damaged one, which is returned with them."""
    tables: list[pa.Table] = []
    for name, found in read_parts(place, names, key):
        if isinstance(found, DamagedPartError):
            return tables, (name, found)
        tables.append(found)
    return tables, None
