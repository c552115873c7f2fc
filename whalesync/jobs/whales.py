"""``sync-whales``: new trades of every tracked wallet. ``whalesync.ledger`` says why they are exact.

First every wallet is polled: one request when nothing is new. What a poll cannot find near the head (a new
wallet's history, a gap after a long pause, a fill that surfaced late) is pending, and is dug up afterwards in
the time that is left, over as many runs as it takes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Any, Protocol, TypeAlias

from whalesync.errors import ExchangeChanged, ExchangeError, JobFailed, KeyRefused, OutOfTime, StoreError
from whalesync.jobs.crew import Crew, Request, Task
from whalesync.jobs.run import Run, fail_if_all
from whalesync.ledger import Ledger, Walk, all_bad, check_length, fresh
from whalesync.records import DAY_MS, PAGE_SIZE, Page, Trade
from whalesync.store import log, markets, trades, whales
from whalesync.store.whales import Whale

# How far a poll looks before it leaves the rest to a dig: 500 trades in a minute. A new wallet's poll takes one
# page, so that a long history does not keep the others waiting.
POLL_PAGES = 25
AHEAD = 4  # pages of one list asked for at once
DIG_SHARE = 0.15  # of the time budget is kept for digging, when something is pending

Reading: TypeAlias = Generator[list[Request], Any, tuple[Page[Trade], list[Trade]]]


class Exchange(Protocol):
    """What this job needs of an exchange."""

    def trades(self, wallet: str, number: int) -> Page[Trade]:
        """Page ``number`` (from 1) of a wallet's trades, newest first."""

    def now(self) -> int | None:
        """The exchange's own time in its latest answer, in milliseconds, if it said so."""


def polling_order(listed: list[Whale]) -> list[Whale]:
    """First those that earlier runs had no time for, longest left out first; then the most recently active."""
    return sorted(
        listed,
        key=lambda w: (w.left_out_since is None, w.left_out_since or 0, -(w.last_trade_at or 0), w.id),
    )


class WhaleSync:
    """One run over all wallets, as far as the time budget allows."""

    def __init__(self, run: Run, exchange: Exchange, crew: Crew) -> None:
        self.run = run
        self.exchange = exchange
        self.crew = crew
        self.ledgers: dict[int, Ledger] = {}
        self.markets: dict[str, int] = {}
        self.polled: set[int] = set()
        self.failed: set[int] = set()
        self.told: set[tuple[int, str]] = set()  # bad records that this run has named
        self.changed: ExchangeChanged | None = None

    def work(self) -> None:
        """Poll all, then dig.

        Raises:
            KeyRefused: at once; no other request could succeed.
            ExchangeChanged: a page held nothing but unreadable records.
            JobFailed: no wallet could be read, or none in time.
        """
        listed = polling_order(whales.tracked(self.run.db))
        self.ledgers = trades.ledgers(self.run.db)
        until = self.crew.until
        if any(map(self.pending, listed)):
            self.crew.until -= self.crew.left() * DIG_SHARE
        try:
            self.crew.run(self.guarded(whale, self.poll(whale)) for whale in listed)
        finally:
            self.crew.until = until
            looked_at = self.polled | self.failed
            left_out = {whale.id for whale in listed} - looked_at
            if left_out or any(whale.left_out_since is not None for whale in listed):
                # Not to cover what is going on; the next run's order is all it changes.
                with suppress(StoreError):
                    whales.note_left_out(self.run.db, looked_at, left_out, self.run.now)
        self.crew.run(self.digs(listed))
        if self.changed is not None:
            raise self.changed
        fail_if_all(self.run, len(self.failed), len(looked_at), "wallets")
        if listed and not looked_at:
            raise JobFailed("the time budget ended before the first wallet was read")
        self.run.summary = f"{self.run.items} new trades; looked at {len(looked_at)} of {len(listed)} wallets"
        if unfinished := sum(map(bool, map(self.pending, listed))):
            self.run.summary += f", {unfinished} still being filled in"

    def pending(self, whale: Whale) -> int:
        """How many trades of a wallet are known to be missing (or how many at least are compared anew)."""
        return abs(self.ledgers.get(whale.id, Ledger()).pending)

    def digs(self, listed: list[Whale]) -> Iterator[Task]:
        """The wallets with something pending, the quickest to finish first."""
        for whale in sorted(listed, key=self.pending):
            if self.pending(whale) and whale.id not in self.failed:
                yield self.guarded(whale, self.dig(whale))

    def guarded(self, whale: Whale, task: Task) -> Task:
        """One wallet's failure is that wallet's alone."""
        try:
            yield from task
        except OutOfTime:
            self.run.say(f"{whale.name}: no time left; the next run goes on")
        except KeyRefused:
            raise
        except ExchangeError as exc:
            self.failed.add(whale.id)
            self.run.note(whale.name, exc)
            if isinstance(exc, ExchangeChanged):
                self.changed = self.changed or exc
        self.run.progress(f"{len(self.polled | self.failed)} wallets looked at, {self.run.items} new trades")

    def poll(self, whale: Whale) -> Task:
        """From the head down, until nothing is missing; what lies deeper becomes pending."""
        ledger = self.ledgers.get(whale.id)
        limit = 1 if ledger is None else POLL_PAGES
        ledger, now = ledger or Ledger(), self.run.now
        pages, known = 0, None  # the length of the list as far as we have seen
        # Again from the head, if trades arrived on the way down.
        while known is None or (ledger.missing(known) > 0 and pages < limit):
            walk, goal = Walk(), None
            reader = Reader(self.exchange, whale, walk)
            while goal is None or ledger.missing(goal) > 0:
                try:
                    page, seen = yield from reader.next(1 if goal is None else ledger.missing(goal))
                except (OutOfTime, ExchangeError) as exc:
                    if goal is not None and not ledger.pending:
                        with self.run.db.write():
                            self.save(whale, ledger.postponed(goal, walk))
                        if isinstance(exc, OutOfTime):
                            self.polled.add(whale.id)
                    raise
                pages += 1
                if goal is None:
                    goal = known = page.total
                    if ledger.missing(goal) < 0:
                        ledger = self.recount(whale, ledger, goal)
                known = max(known or 0, page.total)
                floor = self.floor(ledger)
                fills, rejected = self.compare(whale, page, seen, floor)
                ledger = ledger.found(len(fills), rejected, now).without_surplus(known)
                if ledger.missing(goal) > 0 and walk.at_floor(floor):
                    ledger = ledger.settled(goal, floor, now)
                elif ledger.missing(goal) > 0 and (pages >= limit or all_bad(page)):
                    ledger = ledger.postponed(goal, walk)
                self.keep(whale, page, fills, ledger)
                self.check_readable(page, rejected)
                if ledger.missing(known) < 0:
                    ledger = self.recount(whale, ledger, known)
        self.polled.add(whale.id)
        if ledger.recheck_due(now):
            self.compare_anew(whale, ledger, ledger.accounted)

    def dig(self, whale: Whale) -> Task:
        """From the frontier down, until nothing is pending."""
        ledger, now = self.ledgers[whale.id], self.run.now
        while ledger.pending:
            walk, known = Walk(ledger), ledger.accounted
            reader = Reader(self.exchange, whale, walk)
            arrived = False
            while ledger.pending and not arrived:
                whole = ledger.pending < 0 or ledger.again
                page, seen = yield from reader.next(known if whole else ledger.pending)
                known = max(known, page.total)
                floor = self.floor(ledger)
                fills, rejected = self.compare(whale, page, seen, floor)
                ledger = ledger.dug(len(fills), rejected, now).without_surplus(known).advanced(walk)
                arrived = walk.at_floor(floor)
                if ledger.pending and arrived:
                    ledger = ledger.bottomed(floor, now)
                self.keep(whale, page, fills, ledger)
                self.check_readable(page, rejected)

    def recount(self, whale: Whale, ledger: Ledger, total: int) -> Ledger:
        """The list has broken its own rules: say so, and compare all of it anew."""
        self.run.note(
            whale.name,
            f"its list holds {total} trades where {ledger.accounted} are accounted for; comparing all anew",
        )
        return self.compare_anew(whale, ledger, total)

    def compare_anew(self, whale: Whale, ledger: Ledger, total: int) -> Ledger:
        """Have the whole list compared, unreadable records included."""
        ledger = ledger.recounting(total)
        with self.run.db.write():
            log.look_again(self.run.db, self.source(whale))
            self.save(whale, ledger)
        return ledger

    def floor(self, ledger: Ledger) -> int:
        """Trades older than this are not stored (milliseconds).

        Of our clock and the exchange's, the slower one counts: a clock that runs ahead must not make history
        too old to be kept.
        """
        now = min(self.run.now, self.exchange.now() or self.run.now)
        return max(now - self.run.settings.retention_days * DAY_MS, ledger.floor or 0)

    def compare(
        self, whale: Whale, page: Page[Trade], seen: list[Trade], floor: int
    ) -> tuple[list[tuple[Trade, int]], int]:
        """The fills that are new, each with the number of its copy, and how many records are newly unreadable."""
        kept = [trade for trade in seen if trade.timestamp >= floor]
        fills = fresh(kept, trades.held_fills(self.run.db, whale.id, kept)) if kept else []
        return fills, log.uncounted(self.run.db, self.source(whale), page.bad)

    def keep(self, whale: Whale, page: Page[Trade], fills: list[tuple[Trade, int]], ledger: Ledger) -> None:
        """What a page has brought, and the ledger that says so: one transaction, or nothing at all."""
        if not fills and not page.bad and ledger == self.ledgers.get(whale.id):
            return
        db, now = self.run.db, self.run.now
        known = dict(self.markets)
        with db.write():
            # A cleanup that runs at the same time may have raised the floor.
            floor = trades.floor(db, whale.id)
            fills = [(trade, copy) for trade, copy in fills if trade.timestamp >= floor]
            if fills:
                markets.ids_for(db, (trade for trade, _ in fills), now, known)
                trades.add_fills(db, whale.id, fills, known)
            if page.bad:
                log.set_aside(db, self.source(whale), page.bad, run=self.run.id, now=now)
            self.save(whale, ledger)
        self.markets = known
        self.run.items += len(fills)
        self.run.say(f"{whale.name}: {len(fills)} new on page {page.number} of {page.total} trades")
        for bad in page.bad:
            if (whale.id, bad.payload) not in self.told:
                self.told.add((whale.id, bad.payload))
                self.run.note(whale.name, f"a record was set aside: {bad.reason}")

    @staticmethod
    def check_readable(page: Page[Trade], rejected: int) -> None:
        """Fail at a page of unreadable records: always at the head, deeper down when it is met anew.

        Raises:
            ExchangeChanged: after the records were set aside and counted, so that the next run can pass them.
        """
        bad = all_bad(page)
        if bad and (rejected or page.number == 1):
            raise ExchangeChanged(f"no record of a page can be read ({bad.reason}): the exchange has changed")

    def save(self, whale: Whale, ledger: Ledger) -> None:
        """Keep a wallet's ledger, here and in the file; inside a write transaction."""
        trades.save_ledger(self.run.db, whale.id, ledger)
        self.ledgers[whale.id] = ledger

    @staticmethod
    def source(whale: Whale) -> str:
        """Where a wallet's records come from, as rejected_records names it."""
        return f"trades {whale.address}"


class Reader:
    """Fetches the pages that a walk wants, a few ahead, and lets the walk judge them."""

    def __init__(self, exchange: Exchange, whale: Whale, walk: Walk) -> None:
        self.exchange = exchange
        self.whale = whale
        self.walk = walk
        self.ahead: dict[int, Page[Trade]] = {}
        self.reach = 1  # further and further while all goes well: what is asked for in vain is lost
        self.last_page: int | None = None
        self.ends_at: int | None = None  # a length of the list that has been put to the test

    def next(self, expected: int) -> Reading:
        """The walk's next page, and the fills to compare; ``expected`` trades are still looked for.

        Raises:
            ContradictoryList: the list breaks its own rules.
        """
        while True:
            number = self.walk.next
            if number not in self.ahead:
                count = min(self.reach, ceil(expected / PAGE_SIZE), (self.last_page or number) - number + 1)
                fetched = yield [self._request(number + i) for i in range(max(1, count))]
                self.ahead = {page.number: page for page in fetched}
                self.reach = min(AHEAD, 2 * self.reach)
            page = self.ahead.pop(number)
            self.last_page = ceil(page.total / PAGE_SIZE)
            if self.walk.repeats(page) and page.total != self.ends_at:
                # Twins, or pages that repeat? Beyond the end there must be nothing.
                for beyond in (yield [self._request(self.last_page + 1)]):
                    check_length(beyond)
                self.ends_at = page.total
            seen = self.walk.take(page)
            if seen is not None:
                return page, seen
            self.ahead.clear()
            self.reach = 1

    def _request(self, number: int) -> Request:
        return partial(self.exchange.trades, self.whale.address, number)
