"""Reading a finished or running study as a table, without the driver's lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hermes.errors import HermesError, InputError
from hermes.results.parts import DamagedPartError, list_parts, read_part, without_duplicates
from hermes.results.study_folder import read_study

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["open_study", "read_rows", "read_trials"]


def open_study(path: str | Path) -> dict[str, object]:
    """Return the study that the folder at *path* holds.

    Raises:
        InputError: There is no study.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"no study: the folder {what}", file=str(folder))
    study = read_study(folder)
    if study is None:
        raise InputError(
            "no study: expected study.json and trials/part-*.parquet, as `hermes sweep --out` "
            "writes them",
            file=str(folder),
        )
    return study


def read_trials(path: str | Path) -> pd.DataFrame:
    """Read a study's folder into a DataFrame, one row a trial in the order asked.

    The study may still be running: finished trials are read.

    Args:
        path: The folder that `hermes sweep --out` wrote.

    Raises:
        InputError: The folder holds no study, or no finished trial yet.
        HermesError: A part is damaged; the message names it and the repair.
    """
    frame: pd.DataFrame = _read_table(Path(path)).to_pandas()
    return frame


def read_rows(path: str | Path) -> list[dict[str, object]]:
    """Read a study's folder as mappings of column to value; see `read_trials`."""
    rows: list[dict[str, object]] = _read_table(Path(path)).to_pylist()
    return rows


def _read_table(folder: Path) -> pa.Table:
    import pyarrow as pa

    study = open_study(folder)
    trials, key = folder / "trials", str(study.get("study_key", ""))
    tables: list[pa.Table] = []
    names = list_parts(trials)
    while names:
        name = names.pop(0)
        try:
            tables.append(read_part(trials, name, key))
        except DamagedPartError as error:
            if not (trials / name.file).exists() and (again := list_parts(trials)) != names:
                names, tables = again, []  # the study's driver has merged parts meanwhile
                continue
            raise HermesError(
                f"{trials / name.file}: {error}. `hermes sweep STUDY --out {folder} --resume` "
                "sets it aside and runs its trials again; to read the rest as it is, move the "
                "file out of trials/"
            ) from error
    if not tables:
        raise InputError("the study has no finished trial yet", file=str(folder))
    table = pa.concat_tables(tables, promote_options="default")
    return without_duplicates(table)
