"""Opinion.Trade's pages of trades, and what a stretch of the list shows for certain. Pure; see ``exact``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from whalesync.records import RejectedRecord, Trade

LARGEST_PAGE = 20

BEFORE_ALL = -1  # older than any entry
AFTER_ALL = 10**15  # newer than any entry


class PageRequest(NamedTuple):
    """Page ``number`` (from 1) of a wallet's list, ``limit`` entries a page."""

    limit: int
    number: int

    @property
    def first(self) -> int:
        """The index of its first entry in the list, from 0."""
        return (self.number - 1) * self.limit


class TradePage(NamedTuple):
    """A response: the entries of a page in the order of the list, and the length of the whole list."""

    total: int
    entries: Sequence[Trade | RejectedRecord]


class Entry(NamedTuple):
    """An entry of the list. An unreadable time is that of a neighbour, and makes no boundary."""

    time: int
    readable: bool
    record: Trade | RejectedRecord

    @property
    def key(self) -> int | bytes:
        """What tells it apart from others."""
        return self.record.fill_key if isinstance(self.record, Trade) else self.record.fingerprint


@dataclass(frozen=True, slots=True)
class Boundary:
    """Exactly ``index`` entries of the list are newer than ``time``."""

    index: int
    time: int


class Slice:
    """A stretch of the list, as one response or several together show it.

    ``boundaries`` stand in the order of the list, down to the one at ``cutoff``. ``otherwise``: the time (ms) of a
    record without one, on a page where no record has one.
    """

    def __init__(self, first: int, page: TradePage, *, cutoff: int, otherwise: int) -> None:
        self.first = first
        self.total = page.total
        self.entries = list(_placed(page.entries, otherwise))
        self.end = first + len(self.entries)
        self.boundaries: list[Boundary] = []
        self.reaches_cutoff = False
        for place in range(len(self.entries) + 1):
            if place and self.entries[place - 1].time < cutoff:
                break
            if self._is_boundary(place, cutoff):
                older = self.entries[place].time if place < len(self.entries) else BEFORE_ALL
                self.boundaries.append(Boundary(first + place, max(older, cutoff - 1)))
                self.reaches_cutoff = older < cutoff

    def fault(self, limit: int) -> str | None:
        """What is wrong with it, if it is not the slice that its own total makes it."""
        length, expected = len(self.entries), max(0, min(limit, self.total - self.first))
        if length != expected:
            return f"a page holds {length} trades where its total of {self.total} makes it {expected}"
        times = [entry.time for entry in self.entries if entry.readable]
        if times != sorted(times, reverse=True):
            return "a page is not sorted by time, newest first"
        return None

    def shows_whole(self, time: int) -> bool:
        """Whether every listed entry of that time is among ``entries``."""
        return bool(self.boundaries) and self.boundaries[-1].time < time <= self.whole_from

    @property
    def whole_from(self) -> int:
        """The newest time of which all entries are shown; the oldest is just above the last boundary."""
        return AFTER_ALL if self.first == 0 else self.boundaries[0].time

    def divides_at(self, *indexes: int) -> bool:
        """Whether there is a boundary at each of these indexes."""
        return set(indexes) <= {boundary.index for boundary in self.boundaries}

    def time_above(self, boundary: Boundary) -> int | None:
        """The time of the entry just above a boundary, if it is shown."""
        place = boundary.index - self.first
        return self.entries[place - 1].time if place > 0 else None

    def _is_boundary(self, place: int, cutoff: int) -> bool:
        """Whether it is known how many entries are newer than the one at ``place``."""
        if place == 0:
            return self.first == 0
        if place == len(self.entries):
            return self.first + place == self.total
        above, below = self.entries[place - 1], self.entries[place]
        if below.readable and below.time < cutoff:  # so is everything further down, and what is above counts as newer
            return True
        return above.readable and below.readable and above.time > below.time


def page_sizes(largest: int) -> Sequence[int]:
    """The page sizes with which a stretch is read that no page shows whole: seams and page numbers differ."""
    return tuple(dict.fromkeys((largest, largest - 1, largest * 2 // 3)))


def _placed(records: Sequence[Trade | RejectedRecord], otherwise: int) -> Iterator[Entry]:
    """Give each record a time: its own, else that of the one above, else of the one below, else ``otherwise``."""
    time = next((record.timestamp for record in records if record.timestamp is not None), otherwise)
    for record in records:
        time = time if record.timestamp is None else record.timestamp
        yield Entry(time, record.timestamp is not None, record)
