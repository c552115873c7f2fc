"""The exact sync of Polymarket's activity in larger small worlds, in which several kinds of events meet.

Each scope prints how many courses it tried (``-s``).
"""

from __future__ import annotations

import time
from itertools import combinations_with_replacement

import pytest
from support.activity_world import PACING, Row, Scope, courses

from whalesync.exchanges.polymarket.exact import PolymarketTrades

pytestmark = pytest.mark.slow

ROWS = (Row(85, "o", "SPLIT"), Row(93, "s", "SPLIT"), Row(99, "b"), Row(99, "c", place=2), Row(100, "d"))
LATE, TWIN = Row(92, "late", "SPLIT"), Row(99, "b", place=1)
LITTLE, MUCH = Row(-3, "x"), Row(-9, "y", "SPLIT")

SCOPES = {
    "three arrivals": (Scope(arriving=(LITTLE, LATE, TWIN), arrivals=3, between=(7, 1)), 2),
    "two arrivals, a cut": (Scope(arriving=(LITTLE, MUCH, TWIN), arrivals=2, cuts=1, runs=3, between=(5,)), 1),
    "an arrival, a cut, two cached pages": (Scope(arriving=(LATE, TWIN), cuts=1, stale=2), 3),
    "a row vanishes and returns, a cached page, a cut": (
        Scope(arrivals=0, vanishing=1, returns=1, stale=1, cuts=1, runs=3, between=(3,)), 2
    ),
    "two rows vanish, one returns": (Scope(arrivals=0, vanishing=2, returns=1, runs=3, between=(3,)), 2),
    "mined again twice, a cut": (Scope(arrivals=0, moves=2, cuts=1, between=(3,)), 2),
    "the index lags, a cut, an arrival": (Scope(arriving=(LITTLE, MUCH), lags=2, cuts=1, runs=3, between=(10,)), 1),
    "the index lags, a row vanishes": (Scope(arrivals=0, lags=2, vanishing=1, returns=1, between=(3,)), 2),
    "cleanup, retention, a cut, an arrival": (
        Scope(arriving=(MUCH,), cutoffs=(80, 94, 83), cleanups=2, cuts=1, runs=3), 1
    ),
    "unreadable rows, an arrival, a cut": (Scope(arriving=(TWIN,), repairs=2, cuts=1), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", SCOPES)
def test_every_course_of_a_larger_world(name: str) -> None:
    """Whatever happens before whichever request, nothing is lost, invented or repeated, and the sync comes to rest."""
    scope, longest = SCOPES[name]
    # What is mined again more than a day later, only the monthly comparison finds.
    rows = ROWS[2:] if scope.moves else ROWS
    lists = (each for n in range(longest + 1) for each in combinations_with_replacement(rows, n))
    begun = time.monotonic()
    tried = courses(lists, scope, PolymarketTrades(PACING))
    print(f"\n{name}: {tried:,} courses in {time.monotonic() - begun:.0f} s")
    assert tried > 1_000
