"""Opinion.Trade's lists of markets: which there are, which pages of them to read, whether one was read whole. Pure.

By default the exchange leaves out most markets that belong to a *collection*, a series of repeating markets. Three
lists together hold every listed market: those outside series, those of series, and the default.

A list moves while it is read: a new market pushes all others one place down, a deletion pulls them up, and the
``total`` of each response shows it. No market is missed between two neighbouring pages if the upper one was read when
the list was not longer than when the lower one was read. Pages for which that does not hold are read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from whalesync.exchanges.base import Key
from whalesync.exchanges.opinion_trade.pages import LARGEST_PAGE
from whalesync.exchanges.opinion_trade.parsing.markets import MarketPage
from whalesync.records import Market, RejectedRecord
from whalesync.units import DAY

#: the exchange's numbers (``collectionType``), and our names in messages
COLLECTIONS = {2: "outside series", 1: "in series", None: "listed by default"}

MOST_PAGES = 5_000
MOST_BARREN_PAGES = 10  # in a row that list nothing new: the list has ended, or the exchange repeats itself

WALK_EVERY = DAY
WALK_AGAIN = 3600 * 1000  # a list that does not add up: at 400 pages, 33 requests a run


class ListQuery(NamedTuple):
    """Which list: the ``collection`` that the exchange is asked for, and whether of open markets only."""

    collection: int | None
    only_open: bool = False

    @property
    def name(self) -> str:
        """For messages."""
        return f"{'open ' if self.only_open else ''}markets {COLLECTIONS[self.collection]}"


# What is open and in the default list alone is found in that list of all markets, and then looked up.
OPEN = [ListQuery(collection, only_open=True) for collection in COLLECTIONS if collection is not None]
WHOLE = [ListQuery(collection) for collection in COLLECTIONS]


class ListReading:
    """What one run has read of a list."""

    def __init__(self, query: ListQuery) -> None:
        self.query = query
        self.total = 0  # by the latest response
        self.listed: set[object] = set()  # what tells the entries apart, children not counted
        self.new: set[object] = set()  # those that this run has stored first
        self.goes_on_new = False  # whether the latest page had such
        self.totals: dict[int, list[int]] = {}  # the totals that the responses for each page named
        self._lengths: dict[int, int] = {}  # how many entries each page has
        self._begin = 1  # the page at which an earlier run was interrupted
        self._failed: set[int] = set()
        self._barren = 0  # pages in a row that listed nothing new
        self._ended = False  # before the page that the total makes the last one

    def take(self, number: int, page: MarketPage, new: Set[Key]) -> None:
        """Add a page; ``new``: the markets that this run has stored first."""
        before = len(self.listed)
        entries = set(filter(None, map(_entry, page.records)))
        self.listed |= entries
        self.new |= entries & new
        self.goes_on_new = bool(entries & new)
        self._barren = 0 if len(self.listed) > before else self._barren + 1
        self.total = page.total
        self.totals.setdefault(number, []).append(page.total)
        self._lengths[number] = page.length

    def fail(self, number: int) -> None:
        """Record that a page could not be read."""
        self._failed.add(number)

    def go_on_at(self, number: int) -> None:
        """Read pages from ``number`` on, and the one above for what was deleted meanwhile."""
        self._begin = max(1, number - 1)

    def pages(self) -> Iterator[int]:
        """The pages still to be read, as far as the latest total reaches and the list goes on."""
        for number in range(self._begin, MOST_PAGES + 1):
            if number > self.last_page:
                return
            if self._barren >= MOST_BARREN_PAGES:
                self._ended = True
                return
            if number not in self.totals:
                yield number

    def page_past_total(self) -> int | None:
        """The page behind the last one, if that is full and no repetition: a total may be too small."""
        number = max(self.totals, default=0)
        past = number >= self.last_page and self._lengths.get(number) == LARGEST_PAGE and not self._barren
        return number + 1 if past and number < MOST_PAGES else None

    @property
    def last_page(self) -> int:
        """The number of the last page, by the latest total."""
        return min(ceil(self.total / LARGEST_PAGE), MOST_PAGES) if self.totals else 1

    def doubtful_pages(self) -> list[int]:
        """The pages to read again: where markets can have been missed between two pages, and where new ones stand."""
        totals = self.totals
        again = {
            number
            for upper, lower in pairwise(sorted(totals))
            if min(totals[upper]) > max(totals[lower])
            for number in (upper, lower)
        }
        if totals and max(totals.get(1, [0])) < max(map(max, totals.values())):
            again.add(1)
        return sorted(again)

    @property
    def unread(self) -> list[int]:
        """The pages that should have been read and were not."""
        return [] if self._ended else [n for n in range(self._begin, self.last_page + 1) if n not in self.totals]

    @property
    def cut_at(self) -> int | None:
        """The first page for which there was no time."""
        return next((number for number in self.unread if number not in self._failed), None)

    def problem(self) -> str | None:
        """Return why markets may be missing; None if none can be."""
        listed, total = len(self.listed), self.total
        if unread := self.unread:
            return f"{len(unread)} of {self.last_page} pages were not read"
        if self._begin == 1 and not total <= listed < total + LARGEST_PAGE:
            return f"{listed} are listed, but the exchange counts {total}"
        if self.doubtful_pages():
            return "the list changed while it was read; some may be missing"
        return None


class Walk(NamedTuple):
    """What is remembered of reading a list whole. Times in ms, None: never.

    ``total``: how long the list was when all of it was accounted for. ``next_page``: where to go on; not 1 if there was
    no time for the rest.
    """

    begun_at: int | None = None
    done_at: int | None = None
    total: int | None = None
    next_page: int = 1

    def is_under_way(self, now: int) -> bool:
        """Whether to go on with it."""
        return not self.is_old(now) and self.next_page > 1

    def is_due(self, reading: ListReading, now: int) -> bool:
        """Whether to read the list whole, after reading the newest entries."""
        if self.begun_at is None or self.is_old(now) or self.is_under_way(now):
            return True
        done = self.done_at is not None and self.done_at >= self.begun_at
        return not (done and self.accounts_for(reading)) and now - self.begun_at >= WALK_AGAIN

    def accounts_for(self, reading: ListReading) -> bool:
        """Whether the entries that were new explain how the total has grown. Deleted ones make it smaller."""
        return self.total is not None and len(reading.new) >= reading.total - self.total

    def after(self, reading: ListReading, now: int) -> Walk:
        """What to remember after reading on, or from the beginning."""
        begun_at = self.begun_at if self.is_under_way(now) else now
        if cut_at := reading.cut_at:
            return Walk(begun_at, self.done_at, self.total, cut_at)
        if reading.unread or reading.doubtful_pages():
            return Walk(begun_at, self.done_at, self.total, 1)
        return Walk(begun_at, now, reading.total, 1)

    def is_old(self, now: int) -> bool:
        """Whether the list is to be read whole again, from the beginning."""
        return self.begun_at is None or not 0 <= now - self.begun_at < WALK_EVERY


def _entry(record: Market | RejectedRecord) -> object:
    """What tells an entry of the list from others; None for a child."""
    if isinstance(record, RejectedRecord):
        return record.payload
    return record.key if record.parent_external_id is None else None
