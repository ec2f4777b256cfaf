"""Measured operators: one schema, readers for the layouts users have, and a pass made of them."""

from hermes.costs.tables.calls import OPERATORS, Call, CallTable
from hermes.costs.tables.reading import read_calls
from hermes.costs.tables.table_pass import Provenance, TablePass

__all__ = ["OPERATORS", "Call", "CallTable", "Provenance", "TablePass", "read_calls"]
