"""The exact sync in a small world: every course of events, and mutated copies that must not pass.

The worlds are those of ``support.small_world``; larger scopes are tried by ``tests/slow/test_exact_large.py``.
"""

from __future__ import annotations

import json

import pytest
from support.mutants import mutant
from support.small_world import DAY, KINDS, File, Listed, Scope, courses, fill, lists

from whalesync.exchanges.base import Batch, NewFill, Pace
from whalesync.exchanges.opinion_trade import changes, comparison, exact, interpretation, pages, state
from whalesync.exchanges.opinion_trade.exact import OpinionTrades
from whalesync.exchanges.opinion_trade.pages import TradePage

LATE = (Listed(1, fill(1, "a")), Listed(3, fill(3, "a")))  # an equal one, or one in between
ONE_SECOND = (Listed(2, fill(2, "a")), Listed(2, fill(2, "b")))

# What may happen, the longest list, and what lists are made of.
SCOPES = {
    "arrivals": (Scope(arriving=LATE), 3, KINDS),
    "pages of four": (Scope(largest_page=4, arriving=LATE), 4, KINDS),
    "small budgets": (Scope(arrivals=2, cuts=0, budgets=(1, 2), runs=4, arriving=LATE), 2, KINDS),
    "one second": (Scope(arrivals=2, cuts=0, arriving=ONE_SECOND), 5, ONE_SECOND),
    "a cleanup": (Scope(arrivals=0, cuts=0, cutoffs=(0, 3, 1), cleanups=1, runs=3), 4, (KINDS[1], KINDS[3])),
    "a replica that lags behind": (Scope(cuts=0, stale=1, arriving=LATE), 3, KINDS),
    "removals": (Scope(cuts=0, removals=1, arriving=LATE), 2, KINDS),
    "corrections": (Scope(cuts=0, corrections=1, arriving=LATE), 3, KINDS),
    "unreadable records": (Scope(arrivals=0, cuts=0, repairs=2), 3, KINDS),
    "rows that are not trusted": (Scope(untrusted=(KINDS[1], KINDS[1], KINDS[3]), arriving=LATE), 3, KINDS),
}


@pytest.mark.parametrize("name", SCOPES)
def test_every_course_of_a_small_world(name: str) -> None:
    """Whatever happens before whichever request, nothing is lost, invented or repeated, and it comes to rest."""
    scope, longest, kinds = SCOPES[name]
    assert sum(courses(initial, scope) for initial in lists(longest, kinds)) > 100


def test_an_order_of_its_own_on_each_page() -> None:
    """Trades of one second in another order on each page are stored once each, as long as a page shows them whole."""
    kinds = (Listed(1, fill(1)), Listed(2, fill(2, "a")), Listed(2, fill(2, "b")), Listed(3, fill(3)))
    scope = Scope(cuts=0, unstable=True, arriving=(Listed(4, fill(4)),))
    for initial in lists(4, kinds):
        if sum(item.time == 2 for item in initial) <= 2:
            courses(initial, scope)


def test_a_page_that_shows_another_stretch_is_not_believed() -> None:
    """A trade removed above a second and one that comes late below it keep the total, and move what a page shows."""
    source, file = OpinionTrades(), File()
    listed = [fill(time) for time in range(78, 40, -1)] + [fill(40, name) for name in "abcde"] + [fill(5)]
    moved = [*listed[1:], fill(4)]
    state = json.dumps({"listed": len(listed), "next_index": 38, "span": 5})
    (reading,) = source.next(state, file)
    whole = next(each for each in reading if each.first <= 38 and each.first + each.limit >= 43)
    responses = [
        TradePage(len(listed), (moved if each == whole else listed)[each.first : each.first + each.limit])
        for each in reading
    ]
    assert source.take(state, reading, responses, file, now=100, cutoff=0).new == []


def test_a_late_trade_older_than_what_was_counted_as_older() -> None:
    """After the clock was put back it is stored, and still the older ones and the stored ones make up the list."""
    source, file = OpinionTrades(3, day=DAY), File()
    file.store(Batch("", Pace.DONE, [NewFill(fill(9), 1)]))
    state = json.dumps({"listed": 2, "accounted": 2, "complete_to": 2, "older": 1, "older_than": 5, "compared_at": 1})
    page = TradePage(3, [fill(9), fill(3), fill(1)])
    batch = source.take(state, source.poll(state), [page], file, now=10, cutoff=2)
    file.store(batch)
    assert [new.trade.timestamp for new in batch.new] == [3]
    assert source.account(batch.state, source.poll(state), [page], file) == (3, 3, 0, None)


# Each takes one thought out of the exact sync: what it says, what is put in its place, and where that shows.
MUTATIONS = {
    "stores what is stored": ("missing = len(shown) - len(active)", "missing = len(shown)", "arrivals"),
    "counts inside a second": ("above.time > below.time", "above.time >= below.time", "arrivals"),
    "is done without counting": ("part.reaches_cutoff and missing == 0", "part.reaches_cutoff", "arrivals"),
    "credits what is not stored": ("state.accounted + self.changes.net", "total", "arrivals"),
    "supersedes what is not shown": ("if missing < 0 and whole:", "if missing < 0:", "arrivals"),
    "believes a moving list": ("page.total != state.listed for", "page is None for", "one second"),
    "believes a fallen total": ("if part.total >= state.listed:", "if True:", "a replica that lags behind"),
    "forgets a cleanup": ("max(known.pruned_to or cutoff, cutoff)", "None", "a cleanup"),
    "forgets what cleanup deletes": ("+ stored.count(known.older_than, cutoff)", "", "a cleanup"),
    "ignores a raised retention": ("if state.accounted is not None and cutoff <", "if 0 >", "a cleanup"),
    "trusts every row": ("State(listed=count).doubted() if count", "State() if count", "rows that are not trusted"),
    "never supersedes": ("if isinstance(row.key, bytes):", "if row.copies or row.superseded:", "corrections"),
    "never compares": ("return state.comparing() if is_due else state", "return state", "corrections"),
    "does not count what it cannot read": (
        "copies = len(entries) if whole else max(len(entries), counted)", "copies = 0", "unreadable records"
    ),
}  # fmt: skip

# In the order in which they import each other.
MODULES = (pages, changes, state, comparison, interpretation, exact)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_copy_fails(name: str) -> None:
    """Each thought of the exact sync is needed: without it, some course of the same worlds goes wrong."""
    old, new, where = MUTATIONS[name]
    copy = mutant(MODULES, old, new).OpinionTrades
    scope, longest, kinds = SCOPES[where]
    initial = sorted(lists(longest, kinds), key=len, reverse=True)  # in the longer ones it shows sooner
    with pytest.raises(AssertionError):
        sum(courses(each, scope, copy(scope.largest_page, day=DAY)) for each in initial)
