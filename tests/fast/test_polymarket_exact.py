"""The exact sync of Polymarket's activity in a small world: every course of events, and mutated copies that must fail.

The worlds are those of ``support.activity_world``.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
from support.activity_world import PACING, Row, Scope, courses
from support.mutants import mutant

from whalesync.exchanges.polymarket import changes, exact
from whalesync.exchanges.polymarket.exact import PolymarketTrades

NEW = Row(100, "new")
LATE = Row(92, "late", "SPLIT")  # within a day: a sweep finds it
TOO_LATE = Row(84, "too late")  # the count of its day finds it
TWIN = Row(99, "b", place=1)
KINDS = (Row(85, "a"), Row(93, "s", "SPLIT"), Row(99, "b"), Row(99, "c", place=2))
OLD = Row(85, "o", "SPLIT")  # nothing but the monthly comparison would find it
ONE_SECOND = (Row(99, "b"), Row(99, "c", place=2), Row(99, "d", place=3))

# What may happen, how many rows there are at first at most, and which.
SCOPES = {
    "arrivals": (Scope(arriving=(NEW, LATE, TOO_LATE, TWIN), arrivals=2), 1, KINDS),
    "full pages": (Scope(arriving=(LATE, NEW)), 4, (OLD, *KINDS[1:])),
    "kills": (Scope(arriving=(LATE, TWIN), cuts=2, runs=3), 1, KINDS),
    "small budgets": (Scope(arriving=(NEW, LATE, TWIN), budgets=(1, 2), runs=4), 3, KINDS),
    "one second": (Scope(arriving=(TWIN, Row(99, "e", place=5)), arrivals=2), 3, ONE_SECOND[1:]),
    "late by a little": (Scope(arriving=(Row(-3, "x"), Row(-9, "y", "SPLIT")), runs=4, between=(7, 1)), 1, KINDS),
    "vanishing": (Scope(arrivals=0, vanishing=1, returns=1, runs=4, between=(3,)), 1, (OLD, *KINDS)),
    "mined again": (Scope(arriving=(NEW,), moves=1, between=(3,)), 2, (*KINDS, Row(100, "d"))),
    "cached pages": (Scope(arriving=(NEW, LATE, TWIN), stale=2), 3, KINDS),
    "a lagging index": (Scope(arriving=(Row(0, "h", "SPLIT"), TWIN), lags=2, runs=3, between=(10,)), 1, KINDS),
    "an index that lags from the start": (Scope(arrivals=0, hidden=(OLD, NEW), lags=1, runs=3, between=(6,)), 1, KINDS),
    "cleanup and retention": (Scope(arrivals=0, cutoffs=(80, 94, 83), cleanups=1, runs=3), 1, KINDS),
    "unreadable rows": (Scope(arrivals=0, repairs=2, cuts=1), 1, KINDS),
}


def all_courses(name: str, source: PolymarketTrades) -> int:
    """Try every course of a scope; returns how many there were."""
    scope, longest, kinds = SCOPES[name]
    lists = (each for n in range(longest + 1) for each in combinations_with_replacement(kinds, n))
    return courses(lists, scope, source)


@pytest.mark.parametrize("name", SCOPES)
def test_every_course_of_a_small_world(name: str) -> None:
    """Whatever happens before whichever request, nothing is lost, invented or repeated, and it comes to rest."""
    assert all_courses(name, PolymarketTrades(PACING)) > 20


# Each takes one thought out of the exact sync: what it says, what is put in its place, and where that shows.
MUTATIONS = {
    "stores what is stored": (
        "row for row in rows if not row.superseded", "row for row in rows if False", "full pages"
    ),
    "stores one of equal rows": ("in trades:\n            row", "in trades[:1]:\n            row", "one second"),
    "forgets the rest of a poll": ("if not page.is_whole:\n", "if False:\n", "full pages"),
    "takes a page for all of a span": (
        "without(request.work, page.whole_from,", "without(request.work, page.first,", "full pages"
    ),
    "polls without an overlap": ("at - pacing.overlap, state.poll_from", "at, state.poll_from", "late by a little"),
    "never sweeps": ("if at - state.sweep_from", "if False and at - state.sweep_from", "arrivals"),
    "sweeps what is young only": ("sweep_from=at - pacing.late)", "sweep_from=at)", "late by a little"),
    "never counts": ("if agree(volume, counted):", "if True:", "arrivals"),
    "counts without reading again": ("self._add_days(Work.RECOUNT, first, last)", "pass", "arrivals"),
    "trusts a first poll while the index lags": (
        "pacing.late if page.healthy else oldest", "pacing.late", "an index that lags from the start"
    ),
    "never doubts a row": ("self.missed += [", "[", "vanishing"),
    "never reads a missed row again": ("in stretches(due, pacing.day)", "in stretches([], pacing.day)", "vanishing"),
    "never revives": ("if row.superseded and row.timestamp", "if False and row.timestamp", "vanishing"),
    "doubles what was mined again": ("            if active:\n", "            if False:\n", "mined again"),
    "looks for moved rows in its seconds only": (
        "between(self._first - reach, self._last + reach)", "between(self._first, self._last)", "mined again"
    ),
    "ignores a raised retention": ("if oldest < state.read_from:", "if self._is_first:", "cleanup and retention"),
    "forgets a cleanup": ("pruned_to=pruned_to)", "pruned_to=None)", "cleanup and retention"),
    "forgets what it leaves out": ("if leaves_out else", "if False else", "cleanup and retention"),
    "keeps records that are not shown": (
        "and self._is_covered(row)\n        ]", "and False\n        ]", "unreadable rows"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_copy_fails(name: str) -> None:
    """Each thought of the exact sync is needed: without it, some course of the same worlds goes wrong."""
    old, new, where = MUTATIONS[name]
    copy = mutant((changes, exact), old, new)
    with pytest.raises(AssertionError):
        all_courses(where, copy.PolymarketTrades(PACING))
