"""A forward pass made of measured operators; the roofline gives what was not measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from hermes.costs.chip import ExpertShape, HeadShape
from hermes.costs.law import Law
from hermes.costs.operators import Attention, Experts, Linear
from hermes.costs.provenance import ORIGINS, Part, StepShape
from hermes.costs.roofline import Roofline
from hermes.costs.step import Spread
from hermes.costs.tables.calls import CallTable
from hermes.costs.tables.grid import EXTRAPOLATED, INTERPOLATED, MEASURED, CallGrid
from hermes.costs.tables.latent import LatentModules, module_kind

__all__ = ["Provenance", "TablePass"]

_MOVES = {"norm": 4.0, "activation": 3.0, "rope": 2.0, "embedding": 2.0, "sampling": 2.0}
"""Values read and written for each one of the width."""
_PER_OCTAVE = 16
_NOISE = 0.02  # of repeated measurements of one call
_log = math.log
_LATTICE = _PER_OCTAVE / math.log(2)


@dataclass(slots=True)
class Provenance:
    """How many look-ups of operators came from where."""

    measured: int = 0
    interpolated: int = 0
    extrapolated: int = 0
    roofline: int = 0
    worst: int | None = MEASURED
    """The least known of the look-ups since it was last set; None is the roofline."""

    def count(self, how: int | None) -> None:
        """Count one look-up; None for an operator that the table lacks."""
        if self.worst is not None:
            self.worst = None if how is None else max(how, self.worst)
        if how == MEASURED:
            self.measured += 1
        elif how == INTERPOLATED:
            self.interpolated += 1
        elif how == EXTRAPOLATED:
            self.extrapolated += 1
        else:
            self.roofline += 1

    def shares(self) -> dict[str, float]:
        """Return the share of each, in its order."""
        counts = {
            "measured": self.measured,
            "interpolated": self.interpolated,
            "extrapolated": self.extrapolated,
            "roofline": self.roofline,
        }
        total = sum(counts.values()) or 1
        return {name: count / total for name, count in counts.items()}


class TablePass(Roofline):
    """The parts of a pass, from a table where it can tell; see `PassCost`."""

    __slots__ = (
        "_coverage",
        "_grids",
        "_latent",
        "_prefill_ratios",
        "_token_rows",
        "name",
        "provenance",
    )

    def __init__(self, roofline: Roofline, table: CallTable, name: str) -> None:
        """Join a table to a roofline.

        Args:
            roofline: Of the same model on the same devices.
            table: The measured calls.
            name: Of the table, for reports.
        """
        for slot in Roofline.__slots__:
            setattr(self, slot, getattr(roofline, slot))
        self.name = name
        self.provenance = Provenance()
        self._grids: Mapping[tuple[str, str], CallGrid] = table.grids
        self._prefill_ratios: dict[int, float] = {}
        self._token_rows: dict[int, int] = {}
        self._latent = self._latent_modules()
        self._coverage = self._covered()

    @property
    def label(self) -> str:
        """The table, and how much of ordinary steps it knows."""
        roofline = "calibrated" if self.calibrated else "uncalibrated"
        inside = self._coverage["measured"] + self._coverage["interpolated"]
        return f"table {self.name}: {inside:.0%} measured, else roofline: {roofline}"

    @property
    def spread(self) -> Spread:
        """How far off steps are expected to be: by the table's noise where it knows."""
        outside = self._coverage["extrapolated"] + self._coverage["roofline"]
        roofline = super().spread
        return Spread(*(_NOISE * (1 - outside) + outside * each for each in roofline))

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the operators of a pass, and how the table knows each; see `PassCost`."""
        kept, self._prefill_ratios = self._prefill_ratios, {}  # so that they are looked up
        self.provenance.worst = MEASURED
        found = super().parts(shape)
        tokens = shape.decodes + shape.prefill_tokens
        if ("embedding", "bf16") in self._grids:
            width = self.operators.head.k
            seconds = self.call_seconds("embedding", "bf16", width, tokens)
            found += (Part("embedding", self._origin("elementwise", "bf16"), seconds),)
        self._prefill_ratios = kept
        return found

    def _origin(self, operator: str, dtype: str) -> str:
        worst, self.provenance.worst = self.provenance.worst, MEASURED
        return super()._origin(operator, dtype) if worst is None else ORIGINS[worst]

    def linear(self, tokens: float, each: Linear) -> float:
        """Return the seconds of all products with weights of one shape."""
        ratio = self._read("linear", each.dtype, each.n, each.k, tokens)
        return ratio * Roofline.linear(self, tokens, each)

    def token_seconds(self, tokens: int) -> float:
        """Return everything but attention and the LM head; see `PassCost`."""
        seconds = Roofline.token_seconds(self, tokens)
        if tokens > 0 and ("embedding", "bf16") in self._grids:
            seconds += self.call_seconds("embedding", "bf16", self.operators.head.k, tokens)
        return seconds

    def row_seconds(self, rows: int) -> float:
        """Return the LM head, and the sampling where it was measured; see `PassCost`."""
        if rows <= 0 or ("sampling", "bf16") not in self._grids:
            return Roofline.row_seconds(self, rows)
        head = self.operators.head
        return self.linear(rows, head) + self.call_seconds("sampling", "bf16", head.n, rows)

    def elementwise(self, tokens: float) -> float:
        """Return norms, activations and rotary embedding where all of them were measured."""
        each = self.operators.elementwise
        if any((one.kind, "bf16") not in self._grids for one in each):
            self.provenance.worst = None
            return Roofline.elementwise(self, tokens)
        return sum(
            one.count * self.call_seconds(one.kind, "bf16", one.width, tokens) for one in each
        )

    def call_seconds(self, operator: str, dtype: str, *shape: float) -> float:
        """Return the seconds of one call, in the coordinates of `OPERATORS`."""
        return self._read(operator, dtype, *shape) * self._expected(operator, dtype, shape)

    def expected_seconds(self, operator: str, dtype: str, *shape: float) -> float:
        """Return the roofline's seconds of one call."""
        return self._expected(operator, dtype, shape)

    def experts(self, tokens: float, each: Experts) -> float:
        """Return the seconds of the routed experts of all layers."""
        shape = each.shape
        ratio = self._read(
            "experts",
            each.dtype,
            shape.hidden,
            shape.width,
            shape.top_k,
            shape.experts,
            shape.groups,
            tokens,
        )
        return ratio * Roofline.experts(self, tokens, each)

    def decode(self, sequences: float, keys: float, each: Attention, law: Law) -> float:
        """Return the seconds of decode attention in all layers of one kind."""
        seconds = Roofline.decode(self, sequences, keys, each, law)
        if self._latent is not None:
            ratio, how = self._latent.ratio("mla_decode", sequences, keys / sequences)
            self.provenance.count(how)
            return ratio * seconds
        if each.window:
            keys = min(keys, each.window * sequences)
        heads = (each.heads, each.kv_heads, each.key_dim)
        return seconds * self._read("decode", each.kv_dtype, *heads, keys / sequences, sequences)

    def allreduces(self, tokens: float) -> float:
        """Return the seconds of all all-reduces."""
        seconds = Roofline.allreduces(self, tokens)
        if not seconds:
            return 0.0
        message = self.operators.message_bytes * tokens
        return seconds * self._read("allreduce", "bf16", self.operators.group, message)

    def prefill_seconds(self, tokens: int, keys: int, pairs: int) -> float:
        """Return the attention of prompt chunks; see `PassCost`."""
        seconds = Roofline.prefill_seconds(self, tokens, keys, pairs)
        if not seconds:
            return seconds
        row = self._token_rows.get(tokens)
        if row is None:
            row = self._token_rows[tokens] = int(_log(tokens) * _LATTICE) << 12
        key = row | int(_log(2 * pairs / tokens) * _LATTICE)
        ratio = self._prefill_ratios.get(key)
        return (self._prefill_ratio(key) if ratio is None else ratio) * seconds

    def _prefill_ratio(self, key: int) -> float:
        """Return the ratio in a cell of a lattice, sixteen cells to an octave, read once."""
        each = self.operators.attention[0]
        tokens, length = ((x + 0.5) / _LATTICE for x in (key >> 12, key & 0xFFF))
        if self._latent is not None:
            found, how = self._latent.ratio("mla_prefill", math.exp(tokens), math.exp(length))
            self.provenance.count(how)
            self._prefill_ratios[key] = found
            return found
        heads = (each.heads, each.kv_heads, each.key_dim)
        found = self._read("prefill", each.kv_dtype, *heads, math.exp(length), math.exp(tokens))
        self._prefill_ratios[key] = found
        return found

    def latent_seconds(
        self, operator: str, tokens: float, keys: float, shape: HeadShape
    ) -> tuple[float, Callable[[float, Linear], float]]:
        """Return the roofline's seconds of latent attention in a layer, and its products."""
        kind = operator.removeprefix("mla_")
        law = self._laws.find(*self._attention_kind(kind, self.operators.attention[0]))
        if operator == "mla_decode":
            amounts = self.chip.decode_attention(tokens, keys, shape, latent=True)
        else:
            amounts = self.chip.prefill_attention(tokens, tokens, keys / 2, shape)
        return law.seconds(amounts), partial(Roofline.linear, self)

    def _latent_modules(self) -> LatentModules | None:
        each = self.operators.attention[0]
        if not each.latent_rank:
            return None
        kind = module_kind(self.operators.projections[0].dtype, each.kv_dtype)
        return LatentModules(
            self,
            {
                operator: self._grids[operator, kind]
                for operator in ("mla_prefill", "mla_decode")
                if (operator, kind) in self._grids
            },
        )

    def _read(self, operator: str, dtype: str, *shape: float) -> float:
        grid = self._grids.get((operator, dtype))
        if grid is None:
            self.provenance.count(None)
            return 1.0
        logs = tuple(math.log(x) for x in shape)
        ratio, how = grid.read(logs, lambda found: self._expected(operator, dtype, found))
        self.provenance.count(how)
        return ratio

    def _expected(self, operator: str, dtype: str, shape: tuple[float, ...]) -> float:
        """Return the roofline's seconds of one measured call."""
        stored = dtype.removesuffix("_block")
        if operator in _MOVES:
            moved = self.chip.elementwise(_MOVES[operator] * 2.0 * shape[0] * shape[1])
            return self._laws.find("elementwise", "bf16").seconds(moved)
        if operator == "linear":
            return Roofline.linear(self, shape[2], Linear(shape[0], shape[1], dtype))
        if operator == "experts":
            *sizes, tokens = shape
            hidden, width, top_k, experts, groups = sizes
            matrices = self.operators.experts.shape.matrices if self.operators.experts else 3
            form = ExpertShape(hidden, width, matrices, top_k, experts, groups)
            law = self._laws.find("experts", dtype)
            return law.seconds(self.chip.experts(tokens, form, law.skew, stored))
        if operator == "allreduce":
            size, message = int(shape[0]), shape[1]
            law = self._laws.find("allreduce", str(size))
            return law.seconds(self.chip.allreduce(message, size))
        heads, kv_heads, dim, length, count = shape
        form_of_heads = HeadShape(
            heads, kv_heads, int(dim), int(dim), 1.0 if dtype == "fp8" else 2.0
        )
        law = self._laws.find(operator, dtype)
        if operator == "decode":
            amounts = self.chip.decode_attention(count, count * length, form_of_heads)
        else:
            pairs = count * length / 2
            amounts = self.chip.prefill_attention(count, max(count, length), pairs, form_of_heads)
        return law.seconds(amounts)

    def _covered(self) -> dict[str, float]:
        """Return where the look-ups of ordinary steps come from; the count starts anew after."""
        for tokens in (1, 8, 64, 512, 2048):
            self.token_seconds(tokens)
            self.row_seconds(min(tokens, 64))
            self.decode_seconds(min(tokens, 64), min(tokens, 64) * 1000)
            self.prefill_seconds(tokens, tokens, tokens * (tokens + 1) // 2)
        found = self.provenance.shares()
        self.provenance = Provenance()
        self._prefill_ratios.clear()
        return found
