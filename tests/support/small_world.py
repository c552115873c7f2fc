"""A world small enough to try every course of events on the exact sync: its lists, arrivals, cuts and all.

A world is a wallet's list of a few entries on pages of three or four, and a file that is a plain list of rows. Before
each request one of the events that are left may happen. ``courses`` replays the world with every choice in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from whalesync.exchanges.base import Batch, NewFill, Pace, StoredEntry, Traded
from whalesync.exchanges.opinion_trade.comparison import COMPARE_EVERY_MS
from whalesync.exchanges.opinion_trade.exact import OpinionTrades
from whalesync.exchanges.opinion_trade.interpretation import FALL_LASTS_MS
from whalesync.exchanges.opinion_trade.pages import PageRequest, TradePage
from whalesync.records import BUY, SELL, RejectedRecord, Trade

DAY = 2  # in the times of this world
START = COMPARE_EVERY_MS
MOST_REQUESTS = 80  # that may be needed until everything is stored, once nothing happens any more


class Cut(Exception):
    """The run ends here: its time is up, or it was killed."""


class Choices:
    """Replays a course of choices; ``advance`` turns to the next one until all have been tried."""

    def __init__(self) -> None:
        self._path: list[list[int]] = []
        self._position = 0

    def choose(self, options: int) -> int:
        """One of ``options`` numbers from 0."""
        if self._position == len(self._path):
            self._path.append([0, options])
        self._position += 1
        return self._path[self._position - 1][0]

    def advance(self) -> bool:
        """Turn to the next course; False after the last one."""
        self._position = 0
        while self._path and self._path[-1][0] + 1 >= self._path[-1][1]:
            self._path.pop()
        if not self._path:
            return False
        self._path[-1][0] += 1
        return True


@cache
def fill(time: int, name: str = "a") -> Trade:
    """A fill; two of the same time and name are equal."""
    return Trade(name, "1", "market", "BUY", "YES", 1.0, 0.5, 2.0, 0.0, None, time)


@cache
def unreadable(time: int | None, name: str = "x") -> RejectedRecord:
    """A record that cannot be read; without a time, not even its time can."""
    return RejectedRecord("broken", f"{name}{time}", time)


@dataclass(frozen=True)
class Listed:
    """An entry of the exchange's list: its true time, what it really is, and what the exchange shows of it."""

    time: int
    trade: Trade
    rejected: RejectedRecord | None = None

    @property
    def shown(self) -> Trade | RejectedRecord:
        """What a response holds."""
        return self.rejected or self.trade


@dataclass(frozen=True)
class Scope:
    """How many of each event a course may hold, and how large the world is.

    ``unstable``: trades of one second stand in another order on each odd page. ``untrusted``: rows that are stored
    before the wallet is first read.
    """

    arrivals: int = 1
    cuts: int = 1
    cleanups: int = 0
    removals: int = 0
    corrections: int = 0
    repairs: int = 0
    stale: int = 0
    budgets: tuple[int, ...] = (1_000,)
    cutoffs: tuple[int, ...] = (0,)
    largest_page: int = 3
    runs: int = 2
    unstable: bool = False
    untrusted: tuple[Listed, ...] = ()
    arriving: tuple[Listed, ...] = tuple(
        Listed(time, fill(time, name)) for time, name in [(1, "a"), (2, "a"), (3, "a"), (4, "b")]
    )


def keeps_rules(scope: Scope) -> bool:
    """Whether the list only grows, and all that is stored was read from it."""
    return not (scope.removals or scope.corrections or scope.repairs or scope.untrusted)


class File:
    """The stored rows of one wallet (``StoredTrades``)."""

    def __init__(self) -> None:
        self.rows: list[StoredEntry] = []
        self._serial = 0

    def newer(self, timestamp: int) -> int:
        return sum(row.copies for row in self.rows if row.timestamp > timestamp and not row.superseded)

    def between(self, first: int, last: int) -> Sequence[StoredEntry]:
        return [row for row in self.rows if first <= row.timestamp <= last]

    def rejected(self, fingerprint: bytes) -> StoredEntry | None:
        return next((row for row in self.rows if row.key == fingerprint), None)

    def has_rejected(self) -> bool:
        return any(isinstance(row.key, bytes) and row.copies for row in self.rows)

    def count(self, first: int, before: int) -> int:
        return self.newer(first - 1) - self.newer(before - 1)

    def traded(self, first: int, before: int) -> Traded:
        rows = [row for row in self.between(first, before - 1) if not row.superseded and row.action in (BUY, SELL)]
        rejected = sum(row.copies for row in self.between(first, before - 1) if isinstance(row.key, bytes))
        return Traded(
            len(rows),
            sum(row.shares or 0.0 for row in rows),
            sum((row.shares or 0.0) * (row.price or 0.0) for row in rows),
            rejected,
        )

    def store(self, batch: Batch) -> None:
        """Store a batch as the file does."""
        for rewrite in batch.rewritten:
            self._change(rewrite.id, timestamp=rewrite.fill.trade.timestamp, copy=rewrite.fill.copy)
        for new in batch.new:
            assert not any((row.key, row.copy) == (new.trade.fill_key, new.copy) for row in self.rows), (
                "the same copy twice"
            )
            trade = new.trade
            names = ("fee", "action", "price", "shares")
            self._add(trade.fill_key, trade.timestamp, new.copy, **{name: getattr(trade, name) for name in names})
        for counted in batch.rejected:
            key = counted.record.fingerprint
            self.rows = [row for row in self.rows if row.key != key]
            self._add(key, counted.timestamp, copies=counted.copies)
        for row_id in batch.revived:
            self._change(row_id, superseded=False)
        for row_id in batch.superseded:
            self._change(row_id, superseded=True)
        for row_id, copies in batch.recounted:
            self._change(row_id, copies=copies)
        for correction in batch.corrected:
            self._change(correction.id, fee=correction.fee)

    def prune(self, cutoff: int) -> None:
        """Delete what is older."""
        self.rows = [row for row in self.rows if row.timestamp >= cutoff]

    def fills(self) -> Counter[int]:
        """How often each fill counts."""
        return Counter(row.key for row in self.rows if isinstance(row.key, int) and not row.superseded)

    def _add(self, key: int | bytes, time: int, copy: int = 1, copies: int = 1, **figures: Any) -> None:
        self._serial += 1
        self.rows.append(StoredEntry(self._serial, key, time, copy=copy, copies=copies, **figures))

    def _change(self, row_id: int, **values: Any) -> None:
        at = next(i for i, row in enumerate(self.rows) if row.id == row_id)
        self.rows[at] = self.rows[at]._replace(**values)


@dataclass
class World:
    """One course: a list, a file, and the events that are left."""

    source: OpinionTrades
    scope: Scope
    choices: Choices
    listed: list[Listed]
    file: File = field(default_factory=File)
    state: str | None = None
    now: int = START
    cutoff: int = 0
    pruned_to: int = 0
    quiet: bool = False
    requests: int = 0
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = {
            name: getattr(self.scope, name)
            for name in ("arrivals", "cuts", "cleanups", "removals", "corrections", "repairs", "stale")
        }
        self.earlier = list(self.listed)
        self.cutoff = self.scope.cutoffs[0]
        self.moves = list(self.scope.cutoffs[1:])
        for item in self.scope.untrusted:
            copy = 1 + self.file.fills()[item.trade.fill_key]
            self.file.store(Batch("", Pace.DONE, [NewFill(item.trade, copy)]))
        self.ever = Counter(item.trade.fill_key for item in self.listed)

    def run(self, budget: int = 1_000) -> None:
        """One run of the sync for this wallet, with at most ``budget`` requests."""
        left = budget
        readings: Sequence[Sequence[PageRequest]] = [self.source.poll(self.state)]
        while readings:
            pace = Pace.DONE
            for reading in readings:
                left -= len(reading)
                if left < 0:
                    return
                pace = self.read(reading)
            assert self.state is not None
            readings = self.source.next(self.state, self.file) if pace is not Pace.DONE else []

    def read(self, reading: Sequence[PageRequest]) -> Pace:
        """Make the requests of one reading, and store what they bring."""
        pages = [self.fetch(request) for request in reading]
        batch = self.source.take(self.state, reading, pages, self.file, now=self.now, cutoff=self.cutoff)
        self.file.store(batch)
        self.state = batch.state
        self.log.append(f"{batch.state} {batch.pace.name} {batch.problem or ''}")
        self.check_nothing_invented()
        return batch.pace

    def fetch(self, request: PageRequest) -> TradePage:
        """One request, before which something may happen."""
        if not self.quiet:
            self.happen()
        self.requests += 1
        assert self.requests < 10 * MOST_REQUESTS, ("it does not end", *self.told()[:24])
        self.log.append(f"page {request.number} of {request.limit}")
        listed = self.listed
        if not self.quiet and self.left["stale"] and self.choices.choose(2):
            self.left["stale"] -= 1
            self.log.append("a replica that lags behind")
            listed = self.earlier
        elif self.scope.unstable and request.number % 2:
            listed = self.reordered()
        page = listed[request.first : request.first + request.limit]
        return TradePage(len(listed), [item.shown for item in page])

    def reordered(self) -> list[Listed]:
        """The list with each second upside down."""
        return sorted(self.listed, key=lambda item: item.time)[::-1]

    def happen(self) -> None:
        """At most one event of each kind that is left."""
        if self.left["cuts"] and self.choices.choose(2):
            self.left["cuts"] -= 1
            self.log.append("cut")
            raise Cut
        if self.left["arrivals"] and (which := self.choices.choose(len(self.scope.arriving) + 1)):
            self.left["arrivals"] -= 1
            self.arrive(self.scope.arriving[which - 1])
        if self.moves and self.choices.choose(2):
            self.cutoff = self.moves.pop(0)
            self.log.append(f"cutoff {self.cutoff}")
        if self.left["cleanups"] and self.state and self.choices.choose(2):
            self.left["cleanups"] -= 1
            self.log.append(f"cleanup {self.cutoff}")
            self.state = self.source.prune(self.state, self.cutoff, self.file)
            self.file.prune(self.cutoff)
            self.pruned_to = max(self.pruned_to, self.cutoff)
        for name, change in (
            ("removals", self.remove),
            ("corrections", self.correct),
            ("repairs", self.repair),
        ):
            if self.left[name] and self.listed and (which := self.choices.choose(len(self.listed) + 1)):
                self.left[name] -= 1
                self.log.append(f"{name} {which - 1}")
                change(which - 1)

    def arrive(self, new: Listed) -> None:
        """A trade appears, in its place."""
        self.log.append(f"arrival {new.time} {new.trade.tx_hash}")
        self.earlier = list(self.listed)
        place = next((i for i, item in enumerate(self.listed) if item.time <= new.time), len(self.listed))
        self.listed.insert(place, new)
        self.ever[new.trade.fill_key] += 1

    def remove(self, at: int) -> None:
        """The exchange takes a trade away."""
        del self.listed[at]

    def correct(self, at: int) -> None:
        """The exchange changes a trade: another fill, in the same place."""
        new = fill(self.listed[at].time, "corrected")
        self.listed[at] = replace(self.listed[at], trade=new)
        self.ever[new.fill_key] += 1

    def repair(self, at: int) -> None:
        """A record becomes readable, or unreadable."""
        item = self.listed[at]
        broken = (
            None if item.rejected else unreadable(item.time if at % 2 else None, f"{item.trade.tx_hash}{item.time}")
        )
        self.listed[at] = replace(item, rejected=broken)

    def check_nothing_invented(self) -> None:
        """Nothing is stored more often than it was ever listed."""
        if not self.scope.untrusted:
            assert not self.file.fills() - self.ever, ("stored more often than listed", *self.told())
        if keeps_rules(self.scope):
            assert not any(row.superseded for row in self.file.rows), ("superseded", *self.told())

    def check_exact(self) -> None:
        """Everything that is listed and young enough is stored, and nothing else that is young enough."""
        oldest = self.cutoff
        if oldest < self.pruned_to:  # of what was pruned, whole days are fetched again
            oldest = -(-oldest // DAY) * DAY
        if not self.listed:
            return  # a list that has become empty is not believed
        young = [item for item in self.listed if item.time >= oldest]
        there = Counter(item.trade.fill_key for item in young)
        # What cannot be read now may have been stored when it could.
        readable = Counter(item.trade.fill_key for item in young if item.rejected is None)
        stored = Counter(
            row.key
            for row in self.file.rows
            if isinstance(row.key, int) and not row.superseded and row.timestamp >= oldest
        )
        lost, surplus = readable - stored, stored - there
        assert not lost and not surplus, ("lost", lost, "surplus", surplus, *self.told())
        self.check_account()

    def check_account(self) -> None:
        """The entries that are older than what is stored, and those that are stored, make up the list."""
        if self.source.progress(self.state).complete:
            request = self.source.poll(self.state)[0]
            shown = [item.shown for item in self.listed[: request.limit]]
            account = self.source.account(self.state, [request], [TradePage(len(self.listed), shown)], self.file)
            assert account == (len(self.listed), len(self.listed), 0, None), (account, *self.told())

    def told(self) -> list[str]:
        """What happened, for the message of a failure."""
        return [str([(i.time, i.trade.tx_hash, bool(i.rejected)) for i in self.listed]), *self.log]

    def settle(self) -> None:
        """Nothing happens any more: everything comes to be stored, within a bound of requests."""
        self.quiet = True
        begun = self.requests
        for _ in range(3):
            self.run()
            self.now += FALL_LASTS_MS
        if keeps_rules(self.scope) or self.scope.untrusted:
            self.check_exact()
        # A removal and an arrival of equal number, or a correction, is found by the next comparison.
        self.now += COMPARE_EVERY_MS
        self.run()
        self.run()
        assert self.requests - begun <= MOST_REQUESTS, (
            "too many requests",
            self.requests - begun,
            *self.told(),
        )
        self.check_exact()
        begun = self.requests
        self.run()
        assert self.requests - begun == 1, ("an idle wallet costs one request", *self.told())


def courses(initial: Sequence[Listed], scope: Scope, source: OpinionTrades | None = None) -> int:
    """Try every course from one list; returns how many there were.

    Raises:
        AssertionError: a course lost, invented or repeated a trade, or did not come to an end.
    """
    choices, tried = Choices(), 0
    while True:
        world = World(
            source or OpinionTrades(scope.largest_page, day=DAY),
            scope,
            choices,
            sorted(initial, key=lambda item: -item.time),
        )
        for number in range(scope.runs):
            with suppress(Cut):
                world.run(scope.budgets[number % len(scope.budgets)])
        world.settle()
        tried += 1
        if not choices.advance():
            return tried


def lists(longest: int, kinds: Sequence[Listed]) -> Iterator[list[Listed]]:
    """Every list of up to ``longest`` entries of ``kinds``, repeated ones too."""
    from itertools import combinations_with_replacement

    for length in range(longest + 1):
        for chosen in combinations_with_replacement(kinds, length):
            yield list(chosen)


KINDS = tuple(Listed(time, fill(time, name)) for time, name in [(1, "a"), (2, "a"), (2, "b"), (3, "a")])
