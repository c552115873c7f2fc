"""The wallet sync driven by hand: the real job over the exchange in memory, in the test's own thread.

Time is counted in requests, so a time budget is a number of requests, and runs repeat exactly.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.exchange import WALLETS, Exchange
from support.fills import Fill, query, stored

from whalesync.errors import ExchangeError, OutOfTime
from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.base import Call, Progress, Task
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.exchanges.opinion_trade.api import Api
from whalesync.jobs import cleanup, compute_stats
from whalesync.jobs.exchanges import compare_clocks
from whalesync.jobs.pool import Lane, Pool
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.sync_whales import Served, WhaleSync, polling_order
from whalesync.jobs.table import CLEANUP, COMPUTE_STATS, SYNC_WHALES, VERIFY
from whalesync.jobs.verdict import Verdict
from whalesync.jobs.verify import Asked, Verification, chosen
from whalesync.settings import Settings
from whalesync.store import trades, whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

UNLIMITED = 86_400  # requests: the largest time budget


@dataclass(eq=False)
class Waiting:
    """A task and the calls that it waits for."""

    lane: Lane
    task: Task
    calls: deque[Call]
    results: list[Any] = field(default_factory=list)
    error: BaseException | None = None


class HandPool(Pool):
    """Makes the calls in the calling thread, in any order among those in flight."""

    def __init__(self, clock: Callable[[], float], order: random.Random | None = None, in_flight: int = 16) -> None:
        super().__init__(clock)
        self.now = clock
        self.order = order
        self.in_flight = in_flight

    def run(self, lanes: Iterable[Lane], *, until: float, grace: float = 0.0) -> None:
        """As ``Pool.run``, one call after the other."""
        for lane in lanes:
            todo = iter(lane.tasks)
            waiting: list[Waiting] = []
            while lane.error is None:
                while len(waiting) < self.in_flight and self.now() < until:
                    task = next(todo, None)
                    if task is None:
                        break
                    self.resume(Waiting(lane, task, deque()), waiting)
                if not waiting:
                    break
                chosen = waiting[self.order.randrange(len(waiting)) if self.order else 0]
                self.call(chosen, until)
                if not chosen.calls:
                    waiting.remove(chosen)
                    self.resume(chosen, waiting)

    def call(self, chosen: Waiting, until: float) -> None:
        """Make the next call of a task; once the time is up, none."""
        call = chosen.calls.popleft()
        if self.now() >= until:
            chosen.error = chosen.error or OutOfTime()
            return
        try:
            chosen.results.append(call())
        except Exception as exc:  # noqa: BLE001  (what is not an Exception stands for a crash)
            chosen.error = chosen.error or exc

    def resume(self, done: Waiting, waiting: list[Waiting]) -> None:
        """Let a task go on with its results."""
        try:
            task, error = done.task, done.error
            calls = task.send(done.results or None) if error is None else task.throw(error)
        except StopIteration:
            return
        except ExchangeError as exc:
            done.lane.error = exc
            return
        waiting.append(Waiting(done.lane, done.task, deque(calls)))


class Office:
    """A database file, the clock of its host, and the jobs that are run on it."""

    def __init__(self, folder: Path, *, tracked: int = 1, retention_days: int = 90) -> None:
        self.exchange = Exchange()
        self.db = folder / "whales.db"
        self.retention_days = retention_days
        self.skew = 0  # how far the host's clock runs ahead, in seconds
        self.errors: list[str] = []  # of the last sync
        self.requests = 0  # of the last sync
        #: may change a run before its work starts: to let its database fail
        self.prepare: Callable[[Run], None] = lambda run: None
        with open_database(self.db) as db:
            whales.add(db, [WatchEntry(wallet) for wallet in WALLETS[:tracked]], self.host_now)

    @property
    def host_now(self) -> int:
        """The host's clock (ms)."""
        return (self.exchange.now + self.skew) * 1000

    def clock(self) -> Clock:
        """The host's clock; its seconds are requests."""
        return Clock(now=lambda: self.host_now, monotonic=lambda: float(len(self.exchange.asked)))

    def settings(self, budget: int = UNLIMITED) -> Settings:
        """The settings of this host."""
        values = {"WHALESYNC_TIME_BUDGET": str(budget), "WHALESYNC_RETENTION_DAYS": str(self.retention_days)}
        return Settings(self.db, values=values)

    def sync(self, budget: int = UNLIMITED, *, order: random.Random | None = None, in_flight: int = 16) -> Run:
        """One run of sync-whales, with at most ``budget`` requests."""
        asked = len(self.exchange.asked)
        connection = Api(self.exchange)  # type: ignore[arg-type]  # a client, as far as it is used here
        clock = self.clock()
        try:
            with run_job(SYNC_WHALES, self.settings(budget), clock=clock) as run:
                self.prepare(run)
                self.errors = []
                listed = polling_order(whales.tracked(run.db))
                pool = HandPool(clock.monotonic, order, in_flight)
                work = WhaleSync(run, pool, [Served(OPINION_TRADE, connection, listed)])
                try:
                    work.work()
                    compare_clocks(run, OPINION_TRADE, connection)
                    work.finish()
                finally:
                    self.errors = run.errors()
        finally:
            self.requests = len(self.exchange.asked) - asked
        return run

    def verify(
        self, *, deep: bool = False, repair: bool = False, order: random.Random | None = None
    ) -> dict[str, Verdict]:
        """One run of verify; the verdicts by wallet."""
        asked = len(self.exchange.asked)
        connection = Api(self.exchange)  # type: ignore[arg-type]  # a client, as far as it is used here
        clock = self.clock()
        with run_job(VERIFY, self.settings(), clock=clock) as run:
            verdicts = chosen(whales.tracked(run.db), whale_id=None, platform=None)
            pool = HandPool(clock.monotonic, order)
            work = Verification(run, pool, [Asked(OPINION_TRADE, connection, verdicts)])
            try:
                work.judge(deep=deep or repair)
                if repair:
                    work.repair()
            finally:
                work.finish()
                self.errors = run.errors()
                self.requests = len(self.exchange.asked) - asked
        return {verdict.whale.address: verdict for verdict in verdicts}

    def cleanup(self) -> Run:
        """One run of cleanup."""
        with run_job(CLEANUP, self.settings(), clock=self.clock()) as run:
            cleanup.run(run, sleep=lambda seconds: None)
        return run

    def stats(self) -> Run:
        """One run of compute-stats."""
        with run_job(COMPUTE_STATS, self.settings(), clock=self.clock()) as run:
            compute_stats.run(run)
        return run

    def query(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """Rows of the file."""
        return query(self.db, sql, *params)

    def pages(self) -> list[tuple[int, int]]:
        """Number and size of the pages that the last sync asked for."""
        return [(asked.number, asked.limit) for asked in self.exchange.asked[-self.requests :]]

    def progress(self, wallet: str = WALLETS[0]) -> Progress:
        """How far a wallet has been read."""
        with open_database(self.db) as db:
            whale_id = db.value("SELECT id FROM whales WHERE address = ?", (wallet,))
            return EXCHANGES[OPINION_TRADE.name].trades.progress(trades.state(db, whale_id))

    def stored(self, wallet: str = WALLETS[0]) -> Counter[Fill]:
        """Every stored trade of a wallet that counts, with all its fields."""
        return stored(self.db, wallet)

    def listed(self, wallet: str = WALLETS[0], *, since: int = 0) -> Counter[Fill]:
        """What the exchange itself has of it, from ``since`` (ms) on."""
        return self.exchange.fills(wallet, since=since)

    def exact(self, *wallets: str) -> bool:
        """Whether just what the exchange has is stored."""
        return all(self.stored(wallet) == self.listed(wallet) for wallet in wallets or (WALLETS[0],))
