"""Numbers as they are written in traces, taken exactly."""

from __future__ import annotations

import re
from decimal import Context, Decimal

__all__ = ["MOST_DIGITS", "decimal_ticks"]

MOST_DIGITS = 19
"""Digits of the largest whole number that 64 bits hold; int() is slow on thousands of digits."""

_DECIMAL = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?|-0+(\.0*)?", re.ASCII)
_LONGEST = 60
_DIGITS = Context(prec=80)  # more than a text of 60 characters and the tick's digits need
_FAR = 10**9  # seconds, beyond any time that a trace may hold


def decimal_ticks(text: str) -> int | None:
    """Return the nearest tick to decimal seconds, without a binary float in between.

    Returns:
        The ticks, beyond 64 bits for times too far away; None where the text is no number of
        seconds, 0 or more.
    """
    text = text.strip()
    if len(text) > _LONGEST or not _DECIMAL.fullmatch(text):
        return None
    seconds = min(Decimal(text), Decimal(_FAR))
    return int(_DIGITS.to_integral_value(_DIGITS.scaleb(seconds, 12)))
