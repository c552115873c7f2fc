"""A world small enough to try every course of events on the exact sync of Polymarket's activity.

A world is a wallet's activity of a few rows, on pages of two, a day of ten seconds, and a file that is a plain list of
rows. Before each request one of the events that are left may happen; each request takes a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

from support.small_world import Choices, Cut, File

from whalesync.exchanges.base import Pace
from whalesync.exchanges.polymarket.exact import Pacing
from whalesync.exchanges.polymarket.pages import ActivityRequest, CountRequest, Entry, Page, Volume
from whalesync.records import BUY, TOKEN_FILL_KEY_RULE, RejectedRecord, Trade

PACING = Pacing(overlap=4, late=14, sweep_every=5, miss_again=2, compare_every=400, day=10, closed_after=2)
CACHE = 1  # seconds that a page may be old
START, OLDEST = 100, 80
AHEAD = 50
PAGE = 2
MOST_REQUESTS = 250  # until everything is stored, once nothing happens any more


@cache
def fill(second: int, name: str, action: str = BUY) -> Trade:
    """A fill; two of the same transaction (``name``) and action are equal."""
    price, shares, fee = (0.5, 2.0, 0.0) if action == BUY else (None, None, None)
    return Trade(
        name, "1", "market", action, None, 1.0, price, shares, fee, None, second * 1000, token_id="7",
        fill_key_rule=TOKEN_FILL_KEY_RULE,
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the activity. ``place``: among those of its second; ``broken``: it cannot be read."""

    second: int
    name: str
    action: str = BUY
    place: int = 0
    broken: bool = False

    @property
    def order(self) -> tuple[int, int, str]:
        """The newest first."""
        return -self.second, -self.place, self.name

    @property
    def trade(self) -> Trade:
        """What it is."""
        return fill(self.second, self.name, self.action)

    @property
    def shown(self) -> Trade | RejectedRecord:
        """What a response holds."""
        return RejectedRecord("broken", f"{self}", self.second * 1000) if self.broken else self.trade


@dataclass(frozen=True)
class Scope:
    """How many of each event a course may hold.

    ``arriving``: rows that may; a second that is not positive is relative to the time.
    ``hidden``: rows that the index has not reached at first.
    ``vanishing`` rows may come back (``returns``); ``moves``: transactions that are mined again a second later;
    ``lags``: the index stands still until it is started again. ``cutoffs``: what the retention cutoff becomes.
    """

    arriving: tuple[Row, ...] = ()
    hidden: tuple[Row, ...] = ()
    arrivals: int = 1
    cuts: int = 0
    vanishing: int = 0
    returns: int = 0
    moves: int = 0
    lags: int = 0
    stale: int = 0
    cleanups: int = 0
    repairs: int = 0
    cutoffs: tuple[int, ...] = (OLDEST,)
    budgets: tuple[int, ...] = (1_000,)
    runs: int = 2
    between: tuple[int, ...] = (1,)  # seconds between two runs


class Source(Protocol):
    """The trade source, or a mutated copy of it."""

    def poll(self, state: str | None) -> Sequence[Any]: ...
    def next(self, state: str, stored: Any) -> Sequence[Sequence[Any]]: ...
    def take(self, *args: Any, **kwargs: Any) -> Any: ...
    def prune(self, state: str, cutoff: int, stored: Any) -> str: ...
    def progress(self, state: str | None) -> Any: ...
    def audit(self, state: str | None, answered: Any, stored: Any) -> Any: ...
    def account(self, state: str | None, requests: Any, responses: Any, stored: Any) -> Any: ...
    def recheck(self, state: str | None) -> str | None: ...


@dataclass
class World:
    """One course: the exchange's rows, a file, and the events that are left."""

    source: Source
    scope: Scope
    choices: Choices
    rows: list[Row]
    file: File = field(default_factory=File)
    state: str | None = None
    now: int = START
    quiet: bool = False
    at_rest: bool = False  # time stands still
    lagging: bool = False
    requests: int = 0
    log: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = ("arrivals", "cuts", "vanishing", "returns", "moves", "lags", "stale", "cleanups", "repairs")
        self.left = {name: getattr(self.scope, name) for name in names}
        self.rows = [replace(row, place=10 * row.place + n) for n, row in enumerate(self.rows)]  # no two in one place
        self.before, self.changed_at = list(self.rows), 0
        self.hidden = list(self.scope.hidden)  # what the index has not reached
        self.lagging = bool(self.hidden)
        self.vanished: list[Row] = []
        self.appeared = dict.fromkeys(self.rows, 0)
        self.most = Counter(row.trade.fill_key for row in self.rows)  # at one moment
        self.cutoff, self.moving = self.scope.cutoffs[0], list(self.scope.cutoffs[1:])
        self.pruned_to = 0
        self.disturbed = False

    # The sync

    def run(self, budget: int = 1_000) -> None:
        """One run of the sync for this wallet, with at most ``budget`` requests."""
        self.disturbed = self.lagging
        visible = list(self.rows)
        readings: Sequence[Sequence[Any]] = [self.source.poll(self.state)]
        pace = Pace.NOW
        while readings:
            for (request,) in readings:
                budget -= 1
                if budget < 0:
                    return
                response = self.fetch(request)
                batch = self.source.take(
                    self.state, [request], [response], self.file, now=self.now * 1000, cutoff=self.cutoff * 1000
                )
                self.log.append((request, response, batch.pace, batch.notes, batch.state))
                self.file.store(batch)
                self.state, pace = batch.state, batch.pace
                self.check_nothing_invented()
            readings = self.source.next(self.state or "", self.file) if pace is not Pace.DONE else []
        self.check_in_time(visible)

    def fetch(self, request: ActivityRequest | CountRequest) -> Page | Volume:
        """One request, before which something may happen."""
        self.happen()
        self.requests += 1
        self.now += not self.at_rest
        if isinstance(request, CountRequest):
            first, before = request.first_day * PACING.day, (request.last_day + 1) * PACING.day
            count = sum(row.action == BUY and first <= row.second < before for row in self.rows)
            return Volume(count, 2.0 * count, 1.0 * count)
        rows = self.rows
        if not self.quiet and self.left["stale"] and self.now - self.changed_at <= CACHE and self.choices.choose(2):
            self.left["stale"] -= 1
            self.log.append("a cached page")
            rows, self.disturbed = self.before, True
        at, healthy = self.now - CACHE, not self.lagging
        first = at - PACING.overlap if request.first is None else request.first
        last = self.now + AHEAD if request.last is None else request.last
        shown, more = self.page(rows, first, last, None)
        while more and shown[0].second == shown[-1].second:
            self.happen()
            part, more = self.page(self.rows, first, last, shown[-1])
            shown += part
        whole_from = shown[-1].second + 1 if more else first
        entries = [Entry(row.second, row.shown) for row in shown if row.second >= whole_from]
        return Page(first, last, whole_from, at, healthy, entries)

    def page(self, rows: Sequence[Row], first: int, last: int, after: Row | None) -> tuple[list[Row], bool]:
        """The next page behind a row, and whether there are more."""
        listed = sorted((row for row in rows if first <= row.second <= last), key=lambda row: row.order)
        listed = [row for row in listed if after is None or row.order > after.order]
        return listed[:PAGE], len(listed) > PAGE

    # What happens

    def happen(self) -> None:
        """At most one event of each kind that is left."""
        if self.quiet:
            return
        if self.left["cuts"] and self.choices.choose(2):
            self.left["cuts"] -= 1
            self.log.append("cut")
            raise Cut
        if self.left["arrivals"] and (which := self.choices.choose(len(self.scope.arriving) + 1)):
            self.left["arrivals"] -= 1
            new = self.scope.arriving[which - 1]
            second = new.second if new.second > 0 else self.now + new.second
            name = new.name if new.second > 0 else f"{new.name}{second}"  # one transaction has one second
            new = replace(new, second=second, name=name, place=10 * new.place - self.left["arrivals"] - 1)
            self.change(f"arrival {new}", [*self.rows, new] if not self.lagging else self.rows)
            if self.lagging:
                self.hidden.append(new)
        if self.left["vanishing"] and self.rows and (which := self.choices.choose(len(self.rows) + 1)):
            self.left["vanishing"] -= 1
            gone = self.rows[which - 1]
            self.vanished.append(gone)
            self.change(f"vanishes {gone}", [row for row in self.rows if row is not gone])
        elif self.vanished and self.left["returns"] and self.choices.choose(2):
            self.left["returns"] -= 1
            self.change("returns", [*self.rows, self.vanished.pop()])
        if self.left["moves"] and self.rows and (which := self.choices.choose(len(self.rows) + 1)):
            self.left["moves"] -= 1
            name = self.rows[which - 1].name
            moved = [replace(row, second=row.second + 1) if row.name == name else row for row in self.rows]
            self.change(f"mined again {name}", moved)
        if self.left["lags"] and self.choices.choose(2):
            self.left["lags"] -= 1
            self.lagging = not self.lagging
            self.disturbed = True
            self.log.append(f"lagging: {self.lagging}")
            if not self.lagging:
                self.catch_up()
        if self.left["repairs"] and self.rows and (which := self.choices.choose(len(self.rows) + 1)):
            self.left["repairs"] -= 1
            row = self.rows[which - 1]
            self.change("breaks or mends", [replace(o, broken=not o.broken) if o is row else o for o in self.rows])
        if self.moving and self.choices.choose(2):
            self.cutoff, self.disturbed = self.moving.pop(0), True
            self.log.append(f"cutoff {self.cutoff}")
        if self.left["cleanups"] and self.state and self.choices.choose(2):
            self.left["cleanups"] -= 1
            self.log.append(f"cleanup {self.cutoff}")
            self.state = self.source.prune(self.state, self.cutoff * 1000, self.file)
            self.file.prune(self.cutoff * 1000)
            self.pruned_to = max(self.pruned_to, self.cutoff)

    def change(self, what: str, rows: list[Row]) -> None:
        """The exchange's rows become others."""
        self.log.append(what)
        self.before, self.changed_at = self.rows, self.now
        self.rows = list(rows)
        for row in self.rows:
            self.appeared.setdefault(row, self.now)
        self.most |= Counter(row.trade.fill_key for row in self.rows)

    def catch_up(self) -> None:
        """The index has reached the end of the chain."""
        self.lagging = False
        self.change("caught up", [*self.rows, *self.hidden])
        self.hidden = []

    # What must hold

    @property
    def oldest(self) -> int:
        """From which second on everything is to be stored; of what was pruned, whole days are fetched again."""
        if self.cutoff >= self.pruned_to:
            return self.cutoff
        return min(self.pruned_to, -(-self.cutoff // PACING.day) * PACING.day)

    def stored(self) -> Counter[tuple[int, int]]:
        """The stored fills that count, by key and second."""
        rows = [row for row in self.file.rows if isinstance(row.key, int) and not row.superseded]
        return Counter((int(row.key), row.timestamp // 1000) for row in rows if row.timestamp >= self.oldest * 1000)

    def check_nothing_invented(self) -> None:
        """Nothing is stored more often than it was ever listed at one moment, not even superseded."""
        counted = [row for row in self.file.rows if not (row.superseded and self.scope.moves)]
        rows = Counter(row.key for row in counted if isinstance(row.key, int))
        assert not rows - self.most, ("stored more often than listed", *self.told())

    def check_in_time(self, visible: Sequence[Row]) -> None:
        """An undisturbed run has stored what was visible when it began, unless it had appeared late."""
        if self.disturbed or self.scope.vanishing or self.scope.moves or self.scope.repairs:
            return
        early = [row for row in visible if self.appeared[row] - row.second <= PACING.overlap - CACHE]
        due = Counter((row.trade.fill_key, row.second) for row in early if row.second >= self.oldest and not row.broken)
        assert not due - self.stored(), ("not stored in time", due - self.stored(), *self.told())

    def check_exact(self) -> None:
        """Just what is listed and young enough is stored, and the counts say so."""
        young = [row for row in self.rows if row.second >= self.oldest]
        there = Counter((row.trade.fill_key, row.second) for row in young)
        readable = Counter((row.trade.fill_key, row.second) for row in young if not row.broken)
        lost, surplus = readable - self.stored(), self.stored() - there  # what is broken may have been read before
        assert not lost and not surplus, ("lost", lost, "surplus", surplus, *self.told())
        progress = self.source.progress(self.state)
        assert progress.complete, ("not complete", *self.told())
        assert progress.phase == "current", (progress.phase, *self.told())
        rejected = sum(row.copies for row in self.file.rows if isinstance(row.key, bytes))
        assert rejected == sum(row.broken for row in young), ("rejected", *self.told())
        if self.cutoff < self.pruned_to:
            assert all(row.timestamp >= self.oldest * 1000 for row in self.file.rows), ("a part of a day", *self.told())
        answered: dict[Any, Any] = {}
        while reading := self.source.audit(self.state, answered, self.file):
            answered |= {request: self.fetch(request) for request in reading}
        account = self.source.account(self.state, list(answered), list(answered.values()), self.file)
        assert account.problem is None, (account, *self.told())
        if not self.scope.repairs:
            assert account.listed == account.accounted, (account, *self.told())

    def settle(self) -> None:
        """Nothing happens any more: everything comes to be stored, within a bound of requests."""
        self.quiet = True
        if self.lagging:
            self.catch_up()
        begun = self.requests
        for _ in range(6):
            self.run()
            self.now += PACING.sweep_every
        if not (self.scope.vanishing or self.scope.repairs):
            self.check_exact()
        self.now += PACING.compare_every  # what no count finds, the comparison does
        for _ in range(3):
            self.run()
            self.now += PACING.sweep_every
        assert self.requests - begun <= MOST_REQUESTS, ("too many requests", self.requests - begun, *self.told())
        self.check_exact()
        self.at_rest = True
        self.run()
        begun = self.requests
        self.run()
        assert self.requests - begun == 1, ("an idle wallet costs one request", *self.told())

    @property
    def identity(self) -> object:
        """All that decides what happens once nothing else does."""
        early = [row for row, at in self.appeared.items() if at - row.second <= PACING.overlap - CACHE]
        exchange = tuple(self.rows), tuple(self.hidden), frozenset(early), frozenset(self.most.items()), self.lagging
        return self.state, tuple(self.file.rows), exchange, self.now, self.cutoff, self.pruned_to

    def told(self) -> list[str]:
        """What happened, for the message of a failure."""
        return [str(self.rows), *map(str, self.log)]


def courses(lists: Iterable[Sequence[Row]], scope: Scope, source: Source) -> int:
    """Try every course from each list of rows; returns how many there were.

    Worlds that have become the same settle in the same way, so each of them settles once.

    Raises:
        AssertionError: a course lost, invented or repeated a row, or did not come to an end.
    """
    tried, settled = 0, set[object]()
    for rows in lists:
        choices = Choices()
        while True:
            world = World(source, scope, choices, list(rows))
            for number in range(scope.runs):
                with suppress(Cut):
                    world.run(scope.budgets[number % len(scope.budgets)])
                world.now += scope.between[number % len(scope.between)]
            if world.identity not in settled:
                settled.add(world.identity)
                world.settle()
            tried += 1
            if not choices.advance():
                break
    return tried
