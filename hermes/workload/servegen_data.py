"""ServeGen's client data: what each client of a production service sent, window by window.

A folder holds two files a client. `chunk-<i>-trace.csv`, without a header: start of a window (s),
mean rate (requests/s), coefficient of variation, distribution of the gaps (Gamma, Weibull or
nothing) and its two parameters. `chunk-<i>-dataset.json`: start of a longer window -> the
distribution of each length, a text that holds a Python dict {tokens: probability}. See
https://github.com/alibaba/ServeGen, data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hermes.errors import InputError
from hermes.scenario.distributions import MAX_TOKENS
from hermes.workload.traces.source import TraceSource
from hermes.workload.workload import Column

__all__ = ["Client", "Lengths", "Window", "read_clients"]

_TRACE = re.compile(r"chunk-(\d+)-trace\.csv(?:\.gz)?")
_COLUMNS = ("start", "rate", "cv", "distribution", "first parameter", "second parameter")
_GAPS = ("Gamma", "Weibull")
_MOST_CHARACTERS = 1 << 26
_FIELD = "workload.requests.servegen.path"


@dataclass(frozen=True, slots=True)
class Window:
    """A client's arrivals in one window.

    Attributes:
        start_s: Where it begins.
        rate_per_s: Mean rate; the gaps are scaled to it.
        gaps: Their distribution, `Gamma` or `Weibull`; "" where nothing arrives.
        shape: Its shape, from which its burstiness follows.
    """

    start_s: int
    rate_per_s: float
    gaps: str
    shape: float


class Lengths:
    """A distribution of lengths: values, and how likely each is."""

    __slots__ = ("_ends", "_last", "_values")

    def __init__(self, values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> None:
        self._values = values.astype(np.int64)
        self._ends = np.cumsum(weights)
        positive = np.flatnonzero(weights)
        self._last = int(positive[-1]) if len(positive) else -1

    def __bool__(self) -> bool:
        return self._last >= 0

    def pick(self, drawn: npt.NDArray[np.float64]) -> Column:
        """Turn uniform draws in [0, 1) into lengths."""
        places = np.searchsorted(self._ends, drawn * self._ends[-1], side="right")
        # Rounding may lift a draw just below 1 to the very end, beyond the last likely value.
        picked: Column = self._values[np.minimum(places, self._last)]
        return picked


class Client:
    """One client's data.

    Attributes:
        name: Its number, as its files have it.
        windows: Its arrivals, in order.
    """

    def __init__(self, name: str, trace: Path, dataset: Path) -> None:
        self.name = name
        self.windows = tuple(_windows(trace))
        self._path = dataset
        self._texts: dict[int, dict[str, str]] | None = None
        self._read: tuple[int, dict[str, Lengths]] = (-1, {})

    @property
    def window_s(self) -> int:
        """Seconds in a window."""
        return self.windows[1].start_s - self.windows[0].start_s

    @property
    def requests(self) -> float:
        """Requests to expect in all windows."""
        return sum(window.rate_per_s for window in self.windows) * self.window_s

    def lengths(self, at_s: int) -> dict[str, Lengths]:
        """Return the distributions of all lengths at a time, by name."""
        if self._texts is None:
            self._texts = _read_dataset(self._path)
        starts = [start for start in self._texts if start <= at_s]
        if not starts:
            message = f"has no window of lengths for requests at {at_s} s"
            raise InputError(message, "", str(self._path))
        start = max(starts)
        if start != self._read[0]:
            texts = self._texts[start].items()
            found = {name: _lengths(self._path, start, name, text) for name, text in texts}
            self._read = (start, found)
        return self._read[1]


def read_clients(folder: Path) -> list[Client]:
    """Read the arrivals of all clients in a folder; their lengths are read when asked for.

    Raises:
        InputError: what is not as ServeGen has it, with file and line.
    """
    if not folder.is_dir():
        what = "is a file, not a folder of clients" if folder.exists() else "does not exist"
        raise InputError(f"{str(folder)!r} {what}", _FIELD)
    found = [(match, path) for path in folder.iterdir() if (match := _TRACE.fullmatch(path.name))]
    if not found:
        message = f"{str(folder)!r} holds no file chunk-<i>-trace.csv (or .gz)"
        raise InputError(message, _FIELD)
    clients: dict[int, Client] = {}
    for match, path in sorted(found, key=lambda entry: (int(entry[0][1]), entry[1].name)):
        number = int(match[1])
        if number in clients:
            raise InputError(f"client {number} stands in the folder twice", "", str(path))
        clients[number] = Client(match[1], path, _dataset_of(folder, match[1]))
    first = next(iter(clients.values()))
    for client in clients.values():
        if client.window_s != first.window_s:
            message = f"has windows of {client.window_s} s where others have {first.window_s} s"
            raise InputError(message, "", f"{folder}/chunk-{client.name}-trace.csv")
    return list(clients.values())


def _dataset_of(folder: Path, number: str) -> Path:
    for name in (f"chunk-{number}-dataset.json", f"chunk-{number}-dataset.json.gz"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"client {number} has arrivals but no chunk-{number}-dataset.json", _FIELD)


def _windows(path: Path) -> Iterator[Window]:
    rows: list[Window] = []
    with TraceSource(path) as source:
        for line in source.lines():
            if not line.strip():
                continue
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) != len(_COLUMNS):
                raise source.wrong(f"a row has {len(_COLUMNS)} cells, got {len(cells)}")
            window = _window(source, cells)
            if len(rows) > 1 and window.start_s - rows[-1].start_s != (
                rows[1].start_s - rows[0].start_s
            ):
                raise source.wrong(
                    f"windows must follow each other in equal steps, got {window.start_s} s"
                    f" after {rows[-1].start_s} s",
                    "start",
                )
            if rows and window.start_s <= rows[-1].start_s:
                message = f"windows must be in order, got {window.start_s} s again or too late"
                raise source.wrong(message, "start")
            rows.append(window)
    if len(rows) < 2:
        raise InputError(f"needs two windows at least, got {len(rows)}", "", str(path))
    yield from rows


def _window(source: TraceSource, cells: list[str]) -> Window:
    start, rate, _, gaps, shape = cells[:5]
    start_s = _number(source, start, "start")
    if start_s % 1:
        raise source.wrong(f"must be a whole number of seconds, got {start!r}", "start")
    rate_per_s = _number(source, rate, "rate")
    if rate_per_s == 0:
        return Window(int(start_s), 0.0, "", 1.0)
    if gaps not in _GAPS:
        message = f"must be Gamma or Weibull where requests come, got {gaps!r}"
        raise source.wrong(message, "distribution")
    value = _number(source, shape, "first parameter")
    if not 0.001 <= value <= 1e6:
        message = f"must be a shape from 0.001 to 1000000, got {shape!r}"
        raise source.wrong(message, "first parameter")
    return Window(int(start_s), rate_per_s, gaps, value)


def _number(source: TraceSource, cell: str, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise source.wrong(f"must be a number from 0 to 1e9, got {cell!r}", column)
    return value


def _read_dataset(path: Path) -> dict[int, dict[str, str]]:
    with TraceSource(path) as source:
        text = "".join(source.lines(_MOST_CHARACTERS))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON: {error}", "", str(path)) from None
    try:
        windows = {int(start): dict(texts) for start, texts in value.items()}
    except (AttributeError, TypeError, ValueError):
        message = "must hold an object of windows, each an object of distributions"
        raise InputError(message, "", str(path)) from None
    for before, after in pairwise(windows):
        if after <= before:
            raise InputError(f"window {after} comes after window {before}", "", str(path))
    return windows


def _lengths(path: Path, start: int, name: str, text: object) -> Lengths:
    """Read a distribution; values may be ratios as well, which nobody asks for as lengths."""
    where = f"{start}.{name}"
    if not (isinstance(text, str) and text.startswith("{") and text.endswith("}")):
        message = "must be a text that holds a dict {tokens: probability}"
        raise InputError(message, where, str(path))
    pairs = [pair.partition(":") for pair in text[1:-1].split(",") if pair.strip()]
    try:
        values = np.array([float(value) for value, _, _ in pairs])
        weights = np.array([float(weight) for _, _, weight in pairs])
    except ValueError:
        message = "must be a text that holds a dict {tokens: probability}"
        raise InputError(message, where, str(path)) from None
    if not (np.all((values >= 0) & (values <= MAX_TOKENS)) and np.all(weights >= 0)):
        message = f"values must be from 0 to {MAX_TOKENS} and probabilities 0 or more"
        raise InputError(message, where, str(path))
    if np.any(values % 1) and name != "reason_ratio":
        raise InputError("token counts must be whole numbers", where, str(path))
    return Lengths(values, weights)
