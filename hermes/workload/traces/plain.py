"""Hermes' own trace layout: a plain CSV.

Columns: `arrival_s` (decimal seconds) or `arrival_ns` (whole nanoseconds), `prompt_tokens`,
`output_tokens`. Times count from the start of the simulation, in order; equal times are fine.

Optional: `pipeline`; `priority`, smaller is more urgent; `block_ids`, the ids of the prompt's
blocks from the start, separated by spaces, with the size of a block in `block_tokens` or in the
scenario; `session`, which marks the turns of a conversation or the calls of an agent, with `turn`,
which must rise within it, and `shared_tokens`, what a prompt repeats of the turn before;
`attribute.NAME`, whole numbers that pipelines go by.
"""

from __future__ import annotations

from collections.abc import Iterator

from hermes.errors import InputError
from hermes.scenario.units import ns_to_ticks
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = ["ATTRIBUTE", "DEFAULT_BLOCK_TOKENS", "read_hermes"]

DEFAULT_BLOCK_TOKENS = 16
"""Tokens in a block where blocks follow from sessions, as vLLM has by default."""

ATTRIBUTE = "attribute."
"""What the names of columns begin with that only pipelines know."""
_ADAPTER = f"{ATTRIBUTE}adapter"
_TIMES = ("arrival_s", "arrival_ns")
_OPTIONAL = ("pipeline", "priority", "block_ids", "block_tokens", "session", "turn")
_MOST_BLOCK_TOKENS = 1 << 20
_MOST = 2**63 - 1


@trace_reader("hermes", "block_tokens")
def read_hermes(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a plain CSV."""
    optional = (*_TIMES, *_OPTIONAL, "shared_tokens")
    table = CsvTable(source, ("prompt_tokens", "output_tokens"), optional, ATTRIBUTE)
    row = _Row(source, table)
    for cells in table.rows(*row.columns):
        yield row.read(cells)


class _Row:
    """Reads rows of the columns that a file has."""

    def __init__(self, source: TraceSource, table: CsvTable) -> None:
        self._source, self._table = source, table
        present = set(table.columns)
        times = [column for column in _TIMES if column in present]
        if len(times) != 1:
            has = "both" if times else "neither"
            raise source.wrong(f"the header needs one of arrival_s and arrival_ns, it has {has}")
        self._time = times[0]
        self._block_tokens = self._block_size(present)
        for column, needed in (("turn", "session"), ("shared_tokens", "session")):
            if column in present and needed not in present:
                raise source.wrong(f"the header has {column!r}, which needs {needed!r} beside it")
        further = [name for name in (*_OPTIONAL, "shared_tokens") if name in present]
        attributes = [name for name in table.columns if name.startswith(ATTRIBUTE)]
        self._attributes = tuple((name, name.removeprefix(ATTRIBUTE)) for name in attributes)
        self.columns = (self._time, "prompt_tokens", "output_tokens", *further, *attributes)
        self._further = (*further, *attributes)

    def read(self, cells: list[str]) -> TraceRow:
        table = self._table
        time, prompt, output, *rest = cells
        arrival = (
            table.seconds(time, "arrival_s")
            if self._time == "arrival_s"
            else ns_to_ticks(table.whole(time, "arrival_ns"))
        )
        row = TraceRow(
            arrival,
            table.tokens(prompt, "prompt_tokens"),
            table.tokens(output, "output_tokens"),
            block_tokens=self._block_tokens,
        )
        if not rest:
            return row
        return self._with(row, dict(zip(self._further, rest, strict=True)))

    def _block_size(self, present: set[str]) -> int:
        """Return the tokens of a block; 0 where no blocks are known, or the rows say it."""
        given = self._source.options.block_tokens
        if "block_tokens" in present:
            if given is not None:
                message = "the trace has a column block_tokens, so the scenario must not give it"
                raise InputError(message, "workload.requests.block_tokens")
            if not present & {"block_ids", "session"}:
                raise self._source.wrong(
                    "the header has 'block_tokens', which needs 'block_ids' or 'session' beside it"
                )
            return 0
        if "block_ids" in present:
            if given is None:
                raise self._source.wrong(
                    "block_ids needs the tokens of a block: a column block_tokens, or block_tokens"
                    " beside the path in the scenario"
                )
            return given
        if "session" in present:
            return given or DEFAULT_BLOCK_TOKENS
        if given is not None:
            message = "the trace has no column block_ids or session that it could be for"
            raise InputError(message, "workload.requests.block_tokens")
        return 0

    def _with(self, row: TraceRow, cells: dict[str, str]) -> TraceRow:
        """Add what the optional columns say."""
        table = self._table
        found: dict[str, object] = {}
        if "pipeline" in cells:
            found["pipeline"] = cells["pipeline"].strip()
            if not found["pipeline"]:
                raise table.wrong("", "pipeline", "the name of a pipeline")
        if "priority" in cells:
            found["priority"] = table.integer(cells["priority"], "priority")
        if "block_tokens" in cells:
            found["block_tokens"] = self._blocks_of(cells["block_tokens"])
        if self._attributes:
            found["attributes"] = tuple(
                (name, self._attribute(cells[column], column)) for column, name in self._attributes
            )
        row = row._replace(**found)  # type: ignore[arg-type]
        if "block_ids" in cells:
            row = row._replace(block_ids=self._ids(cells["block_ids"], row))
        return self._in_session(row, cells) if "session" in cells else row

    def _attribute(self, cell: str, column: str) -> int:
        if column == _ADAPTER and cell.strip() in {"", "-1"}:
            return -1
        value = self._table.whole(cell, column)
        if value > _MOST:
            raise self._table.wrong(cell, column, f"a whole number from 0 to {_MOST}")
        return value

    def _blocks_of(self, cell: str) -> int:
        tokens = self._table.whole(cell, "block_tokens")
        if not 1 <= tokens <= _MOST_BLOCK_TOKENS:
            allowed = f"a whole number from 1 to {_MOST_BLOCK_TOKENS}"
            raise self._table.wrong(cell, "block_tokens", allowed)
        return tokens

    def _ids(self, cell: str, row: TraceRow) -> tuple[int, ...]:
        ids = tuple(self._table.whole(part, "block_ids") for part in cell.split())
        most = -(-row.prompt_tokens // row.block_tokens)
        if len(ids) > most:
            raise self._source.wrong(
                f"{row.prompt_tokens} prompt tokens make {most} blocks of {row.block_tokens},"
                f" got {len(ids)} ids",
                "block_ids",
            )
        return ids

    def _in_session(self, row: TraceRow, cells: dict[str, str]) -> TraceRow:
        table, session = self._table, cells["session"].strip()
        if not session:
            return row
        turn, shared = cells.get("turn"), cells.get("shared_tokens")
        row = row._replace(session=session)
        if turn is not None:
            row = row._replace(turn=table.whole(turn, "turn"))
        if shared is not None and shared.strip():
            tokens = table.whole(shared, "shared_tokens")
            if tokens > row.prompt_tokens:
                allowed = f"at most the {row.prompt_tokens} prompt tokens"
                raise table.wrong(shared, "shared_tokens", allowed)
            row = row._replace(shared_tokens=tokens)
        return row
