"""What Polymarket is asked for a wallet's activity, and what a response shows for certain. Pure; see ``exact``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from whalesync.records import RejectedRecord, Trade


class Work(StrEnum):
    """Why something is asked for; what is left to do is done in this order."""

    POLL = "poll"  # what is new
    CATCH_UP = "catch up"  # the rest of a poll that one page did not hold
    BACKFILL = "backfill"  # history, down to the retention cutoff
    MISSED = "missed"  # seconds in which a stored row was not shown
    COUNT = "count"  # closed days: whether as much is stored as the exchange counts
    RECOUNT = "recount"  # a day that differs, read again
    COUNT_AGAIN = "count again"  # that day, counted after that
    OLDER = "older"  # whether anything is older than the retention cutoff
    SWEEP = "sweep"  # rows that have appeared late
    COMPARE = "compare"  # all that is stored


class ActivityRequest(NamedTuple):
    """A wallet's activity of some seconds, the newest first, as much as one page holds.

    ``first`` None: from a poll's overlap before now on; ``last`` None: without an end.
    """

    work: Work
    first: int | None
    last: int | None


class CountRequest(NamedTuple):
    """What the exchange counts of a wallet's trades on some UTC days, numbered since 1970, both included."""

    work: Work
    first_day: int
    last_day: int


class Entry(NamedTuple):
    """A row of the activity, and its second; where that cannot be read, a neighbour's."""

    second: int
    record: Trade | RejectedRecord


class Page(NamedTuple):
    """A response: all rows of the seconds from ``whole_from`` to ``last``, of those asked for from ``first`` on.

    ``at``: a second of the exchange's clock before which the rows were as they are shown. ``healthy``: whether its
    index keeps up with the chain.
    """

    first: int
    last: int
    whole_from: int
    at: int
    healthy: bool
    entries: Sequence[Entry]

    @property
    def is_whole(self) -> bool:
        """Whether it shows all that was asked for."""
        return self.whole_from <= self.first


class Volume(NamedTuple):
    """A response: how many TRADE rows there are, the sum of their shares, and that of shares x price (USD)."""

    trades: int
    shares: float
    usd: float
