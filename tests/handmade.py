"""A hand-driven wallet sync: an exchange that is a few lists, and a crew that asks it in the test's own thread.

The lists hold records as the exchange sends them and are read through the real adapter, so that everything
from the wire to the file is the program's own.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whalesync.errors import OutOfTime
from whalesync.exchange.opinion import OpinionTrade
from whalesync.jobs.cleanup import cleanup
from whalesync.jobs.crew import Crew, Request, Task
from whalesync.jobs.perform import _compare_clocks
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.stats import compute_stats
from whalesync.jobs.whales import WhaleSync
from whalesync.records import PAGE_SIZE
from whalesync.sandbox import make_trade
from whalesync.settings import Settings
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.trades import ledgers

NOW = 1_790_000_000  # Unix seconds
WALLETS = [f"0x{i:040x}" for i in range(1, 31)]

Fields = tuple[Any, ...]


@dataclass(eq=False)
class Row:
    """A record in a wallet's list; while it is spoiled, the exchange shows it with these fields instead."""

    record: dict[str, Any]
    spoiled: dict[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> dict[str, Any]:
        return self.record | self.spoiled


class Market:
    """The exchange's lists of trades, newest first, behind the ``get`` of a client.

    ``before`` is called with the number of each request before it is answered: to let trades arrive, or to
    raise. ``lie`` may answer something else: it is given wallet, page and the honest answer.
    """

    def __init__(self) -> None:
        self.lists: dict[str, list[Row]] = {wallet: [] for wallet in WALLETS}
        self.now = NOW
        self.asked: list[tuple[str, int]] = []
        self.before: Callable[[int], None] = lambda number: None
        self.lie: Callable[[str, int, dict[str, Any]], dict[str, Any]] = lambda wallet, page, honest: honest
        self.serial = 0

    def get(self, path: str, params: dict[str, Any]) -> Any:
        """The result of one request."""
        wallet, page = path.removeprefix("/trade/user/"), params["page"]
        assert params["limit"] == PAGE_SIZE
        self.asked.append((wallet, page))
        self.before(len(self.asked))
        rows = self.lists[wallet]
        window = rows[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        return self.lie(wallet, page, {"total": len(rows), "list": [row.shown for row in window]})

    @property
    def latest_date(self) -> int | None:
        """The exchange's own time, in milliseconds."""
        return self.now * 1000

    def add(self, wallet: str, at: int | None = None, depth: int = 0, **fields: Any) -> Row:
        """Add a trade of the second ``at`` (now), ``depth`` places below the newest of its second."""
        at = self.now if at is None else at
        if not fields.get("txHash"):
            self.serial += 1
            fields["txHash"] = f"0x{self.serial:064x}"
        row = Row(make_trade(createdAt=at, **fields))
        rows = self.lists[wallet]
        place = next((i for i, other in enumerate(rows) if other.record["createdAt"] <= at), len(rows))
        while depth and place < len(rows) and rows[place].record["createdAt"] == at:
            place, depth = place + 1, depth - 1
        rows.insert(place, row)
        return row

    def add_many(self, wallet: str, count: int, *, step: int = 1, until: int | None = None) -> None:
        """Add ``count`` trades, ``step`` seconds apart, the newest at ``until`` (now)."""
        last = self.now if until is None else until
        for i in range(count):
            self.add(wallet, last - step * (count - 1 - i))


class HandCrew(Crew):
    """Runs the requests in the calling thread, in any order among those in flight. Time is their number."""

    def __init__(
        self, budget: float = 10**9, *, order: random.Random | None = None, in_flight: int = 16
    ) -> None:
        super().__init__(budget)
        self.used = 0
        self.order = order
        self.most = in_flight

    def left(self) -> float:
        return self.until - self.used

    def run(self, tasks: Iterable[Task]) -> None:
        todo = iter(tasks)
        waiting: deque[tuple[list[Any], int, Request]] = deque()  # a batch is [task, left, error, *results]

        def resume(task: Task, results: Any, error: BaseException | None) -> None:
            try:
                requests = task.send(results) if error is None else task.throw(error)
            except StopIteration:
                return
            batch = [task, len(requests), None, *[None] * len(requests)]
            waiting.extend((batch, index, request) for index, request in enumerate(requests, start=3))

        while True:
            while len(waiting) < self.most and self.left() > 0 and (task := next(todo, None)) is not None:
                resume(task, None, None)
            if not waiting:
                return
            chosen = self.order.randrange(min(self.most, len(waiting))) if self.order else 0
            batch, index, request = waiting[chosen]
            del waiting[chosen]
            if self.left() <= 0:
                batch[2] = batch[2] or OutOfTime()
            else:
                self.used += 1
                try:
                    batch[index] = request()
                except Exception as exc:  # noqa: BLE001 - what is no Exception stands for a crash
                    batch[2] = batch[2] or exc
            batch[1] -= 1
            if not batch[1]:
                resume(batch[0], batch[3:], batch[2])


class Office:
    """A database file, the clock of its host, and the jobs that are run on it."""

    def __init__(self, folder: Path, *, tracked: int = 1, retention_days: int = 90) -> None:
        self.market = Market()
        self.settings = Settings(db=folder / "whales.db", retention_days=retention_days)
        self.skew = 0  # how far the host's clock runs ahead, in seconds
        self.notes: list[str] = []
        self.requests = 0  # of the last sync
        #: may change a run before its work starts: to let its database fail
        self.prepare: Callable[[Run], None] = lambda run: None
        with open_database(self.settings.db) as db:
            whales.add(db, [(wallet, None) for wallet in WALLETS[:tracked]], self.host_now)

    @property
    def host_now(self) -> int:
        return (self.market.now + self.skew) * 1000

    def clock(self) -> Clock:
        return Clock(now=lambda: self.host_now, monotonic=lambda: float(self.market.now))

    def sync(self, budget: float = 10**9, *, order: random.Random | None = None, in_flight: int = 16) -> Run:
        """One run of sync-whales, with at most ``budget`` requests."""
        asked = len(self.market.asked)
        exchange = OpinionTrade(self.market)  # type: ignore[arg-type]  # a client as far as it is used here
        try:
            with run_job("sync-whales", self.settings, clock=self.clock()) as run:
                self.prepare(run)
                self.notes = []
                try:
                    WhaleSync(run, exchange, HandCrew(budget, order=order, in_flight=in_flight)).work()
                finally:
                    self.notes = run.errors()
                _compare_clocks(run, self.host_now, exchange.now())
        finally:
            self.requests = len(self.market.asked) - asked
        return run

    def cleanup(self) -> Run:
        with run_job("cleanup", self.settings, clock=self.clock()) as run:
            cleanup(run, sleep=lambda seconds: None)
        return run

    def stats(self, *, full: bool = False) -> Run:
        with run_job("compute-stats", self.settings, clock=self.clock()) as run:
            compute_stats(run, full=full)
        return run

    def query(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        with open_database(self.settings.db) as db:
            return [tuple(row) for row in db.rows(sql, params)]

    def pages(self) -> list[int]:
        """The pages that the last sync asked for."""
        return [page for _, page in self.market.asked[len(self.market.asked) - self.requests :]]

    def ledger(self, wallet: str = WALLETS[0]) -> Any:
        with open_database(self.settings.db) as db:
            row = db.value("SELECT id FROM whales WHERE address = ?", (wallet,))
            return ledgers(db).get(row)

    def stored(self, wallet: str = WALLETS[0]) -> Counter[Fields]:
        """Every stored trade of a wallet with all its fields."""
        return Counter(
            self.query(
                "SELECT a.tx_hash, m.external_id, a.action, a.outcome, a.amount, a.price, a.shares, a.fee,"
                " a.profit, a.timestamp FROM whale_activity AS a JOIN markets AS m ON m.id = a.market_id"
                " JOIN whales AS w ON w.id = a.whale_id WHERE w.address = ?",
                wallet,
            )
        )

    def listed(self, wallet: str = WALLETS[0], *, since: int = 0) -> Counter[Fields]:
        """What the exchange itself has of it, from the moment ``since`` (milliseconds) on."""
        trades = Counter(as_fields(row.record) for row in self.market.lists[wallet])
        return Counter({fields: count for fields, count in trades.items() if fields[-1] >= since})


def as_fields(record: dict[str, Any]) -> Fields:
    """All of a trade that is stored, read from the wire by itself: the adapter may be wrong."""
    return (
        record["txHash"], str(record["marketId"]), record["side"].upper(),
        {1: "YES", 2: "NO"}.get(record["outcomeSide"]),
        *(float(record[name]) for name in ("amount", "price", "shares", "fee", "profit")),
        record["createdAt"] * 1000,
    )  # fmt: skip


def exact(office: Office, *wallets: str) -> bool:
    """Whether just what the exchange has is stored."""
    return all(office.stored(wallet) == office.listed(wallet) for wallet in wallets or (WALLETS[0],))


def count(office: Office) -> int:
    """How many trades of the first wallet are stored."""
    return office.stored().total()
