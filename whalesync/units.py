"""Lengths of time in milliseconds."""

from __future__ import annotations

import re

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

_BY_LETTER = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_SPAN = re.compile(r"(\d{1,6})\s*([smhdw])")


def parse_span(text: str) -> int | None:
    """A length of time as people write it, such as 30m or 7d; None if it is none."""
    found = _SPAN.fullmatch(text.strip().lower())
    return int(found[1]) * _BY_LETTER[found[2]] if found else None
