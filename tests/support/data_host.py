"""Polymarket's Data API in memory, as far as the trades need it, and a host that syncs from it with the real job.

Time is counted in requests for a run's budget; the exchange's clock is moved by hand.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fills import query
from support.wallets import HandPool

from whalesync.errors import RequestRefused
from whalesync.exchanges.polymarket import POLYMARKET
from whalesync.exchanges.polymarket.api import Api
from whalesync.jobs import cleanup
from whalesync.jobs.exchanges import compare_clocks
from whalesync.jobs.pool import Pool
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.sync_whales import Served, WhaleSync, polling_order
from whalesync.jobs.table import CLEANUP, SYNC_WHALES, VERIFY
from whalesync.jobs.verdict import Verdict
from whalesync.jobs.verify import Asked, Verification, chosen
from whalesync.settings import Settings
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

DAY = 86_400
CACHE_SECONDS = 15
START = 1_790_000_000
UNLIMITED = 86_400

Raw = dict[str, Any]
Kept = tuple[str, str, str, float, float | None, int]  # of a row: transaction, action, token, amount, shares, ms


def activity_row(number: int, second: int, **fields: Any) -> Raw:
    """A row of the activity, a purchase of 10 shares unless said otherwise."""
    price, size = 0.5, fields.get("size", 10.0)
    kind = fields.get("type", "TRADE")
    return {
        "proxy_wallet": "0x" + 40 * "a",
        "timestamp": second,
        "condition_id": "0x" + 64 * "c",
        "type": kind,
        "size": size,
        "usdc_size": size * price,
        "transaction_hash": f"0x{number:064x}",
        "price": price if kind == "TRADE" else 0,
        "token_id": "77" if kind == "TRADE" else "",
        "side": "BUY" if kind == "TRADE" else "",
        "outcome_index": 0,
        "outcome": "Lakers",
        "title": "Lakers or Celtics?",
    } | fields


@dataclass(eq=False)
class Listed:
    """A row of a wallet; ``order`` is its place in the chain. ``hidden``: the index has not reached it."""

    raw: Raw
    order: tuple[int, int]
    hidden: bool = False


@dataclass
class DataHost:
    """The exchange: its rows by wallet, its clock (s), and what is wrong with it. It stands for ``Clients`` too."""

    now: int = START
    rows: dict[str, list[Listed]] = field(default_factory=dict)
    lag: float = 0.0
    secret: int = 0  # cursors that were signed with another one are refused
    asked: list[tuple[str, Mapping[str, str | int]]] = field(default_factory=list)
    before: Callable[[int], None] = lambda number: None
    largest_page: int = 1000
    cache: dict[str, tuple[int, Any]] = field(default_factory=dict)
    most: dict[str, Counter[Kept]] = field(default_factory=dict)  # of a wallet's rows, at one moment

    @property
    def activity(self) -> DataHost:
        """The client of activity, as all others."""
        return self

    data = gamma = positions = activity

    @property
    def latest_date(self) -> int:
        """The exchange's clock (ms)."""
        return self.now * 1000

    def add(self, wallet: str, raw: Raw, place: int = 0) -> Listed:
        """A row appears, in its place in the chain."""
        listed = Listed(raw, (raw["timestamp"], place), hidden=self.lag > 0)
        self.rows.setdefault(wallet, []).append(listed)
        self.changed(wallet)
        return listed

    def changed(self, wallet: str) -> None:
        """Remember how many of each row there were."""
        self.most[wallet] = self.most.get(wallet, Counter()) | self.kept(wallet)

    def kept(self, wallet: str, since: int = 0, *, hidden: bool = False) -> Counter[Kept]:
        """What is to be stored of a wallet, from the second ``since`` on, read without our adapter."""
        found: Counter[Kept] = Counter()
        for row in self.rows.get(wallet, []):
            raw = row.raw
            if raw["condition_id"] and raw["timestamp"] >= since and (hidden or not row.hidden):
                trade = raw["type"] == "TRADE"
                found[
                    raw["transaction_hash"],
                    raw["side"] if trade else raw["type"],
                    raw["token_id"],
                    raw["usdc_size"],
                    raw["size"] if trade else None,
                    raw["timestamp"] * 1000,
                ] += 1
        return found

    def get(self, path: str, params: Mapping[str, str | int]) -> Any:
        """One request."""
        self.asked.append((path, params))
        self.before(len(self.asked))
        if path == "/status":
            return {"age_seconds": 4.0, "serving": {"lag_seconds": self.lag}}
        if path == "/user-volume":
            first, last = (int(params[name]) // DAY for name in ("start", "end"))
            rows = [row.raw for row in self.rows.get(str(params["user"]), []) if row.raw["type"] == "TRADE"]
            rows = [raw for raw in rows if first <= raw["timestamp"] // DAY <= last]
            shares, usd = sum(raw["size"] for raw in rows), sum(raw["size"] * raw["price"] for raw in rows)
            return {"volume": round(shares, 6), "volume_usdc": round(usd, 6), "trade_count": len(rows)}
        address = json.dumps(params)
        stored_at, body = self.cache.get(address, (0, None))
        if body is None or self.now - stored_at > CACHE_SECONDS:
            body = self.page(params)
            self.cache = {address: (self.now, body)}
        return json.loads(json.dumps(body))

    def page(self, params: Mapping[str, str | int]) -> Any:
        """A page of activity, the newest first."""
        limit = min(int(params["limit"]), self.largest_page)
        start, end = int(params["start"]), int(params["end"])
        rows = [row for row in self.rows.get(str(params["user"]), []) if not row.hidden]
        rows = sorted((r for r in rows if start <= r.raw["timestamp"] <= end), key=lambda row: row.order, reverse=True)
        if cursor := params.get("cursor"):
            secret, *after = json.loads(str(cursor))
            if secret != self.secret:
                raise RequestRefused("cursor: bad signature")
            rows = [row for row in rows if list(row.order) < after]
        more = len(rows) > limit
        following = json.dumps([self.secret, *rows[limit - 1].order]) if more else None
        data = [row.raw for row in rows[:limit]]
        return {"data": data, "pagination": {"limit": limit, "has_more": more, "next_cursor": following}}


class DataOffice:
    """A database file and the jobs that are run on it, against a DataHost."""

    def __init__(self, folder: Path, wallets: list[str], *, retention_days: int = 90) -> None:
        self.host = DataHost()
        self.db = folder / "whales.db"
        self.retention_days = retention_days
        self.errors: list[str] = []
        self.requests = 0
        self.prepare: Callable[[Run], None] = lambda run: None
        with open_database(self.db) as db:
            whales.add(db, [WatchEntry(wallet, platform=POLYMARKET.name) for wallet in wallets], self.host.now * 1000)

    def clock(self) -> Clock:
        """The host's clock, which is right; its seconds are requests."""
        return Clock(now=lambda: self.host.now * 1000, monotonic=lambda: float(len(self.host.asked)))

    def settings(self, budget: int = UNLIMITED) -> Settings:
        """The settings of this host."""
        values = {"WHALESYNC_TIME_BUDGET": str(budget), "WHALESYNC_RETENTION_DAYS": str(self.retention_days)}
        return Settings(self.db, values=values)

    def connection(self) -> Api:
        """Our adapter, over the host in memory."""
        return Api(self.host, clock=lambda: float(self.host.now))  # type: ignore[arg-type]

    def sync(self, budget: int = UNLIMITED, order: random.Random | None = None) -> Run:
        """One run of sync-whales, with at most ``budget`` requests."""
        asked, clock, connection = len(self.host.asked), self.clock(), self.connection()
        try:
            with run_job(SYNC_WHALES, self.settings(budget), clock=clock) as run:
                self.prepare(run)
                listed = polling_order(whales.tracked(run.db))
                work = WhaleSync(run, HandPool(clock.monotonic, order), [Served(POLYMARKET, connection, listed)])
                try:
                    work.work()
                    compare_clocks(run, POLYMARKET, connection)
                    work.finish()
                finally:
                    self.errors = run.errors()
        finally:
            self.requests = len(self.host.asked) - asked
        return run

    def cleanup(self) -> None:
        """One run of cleanup."""
        with run_job(CLEANUP, self.settings(), clock=self.clock()) as run:
            cleanup.run(run, sleep=lambda seconds: None)

    def verify(self, *, deep: bool = False, repair: bool = False) -> list[Verdict]:
        """One run of verify."""
        with run_job(VERIFY, self.settings(), clock=self.clock()) as run:
            verdicts = chosen(whales.tracked(run.db), whale_id=None, platform=None)
            pool: Pool = HandPool(self.clock().monotonic)
            work = Verification(run, pool, [Asked(POLYMARKET, self.connection(), verdicts)])
            work.judge(deep=deep or repair)
            if repair:
                work.repair()
            work.finish()
        return verdicts

    def stored(self, wallet: str, since: int = 0) -> Counter[Kept]:
        """What is stored of a wallet, from the second ``since`` on."""
        rows = query(
            self.db,
            "SELECT a.tx_hash, a.action, coalesce(a.token_id, ''), a.amount, a.shares, a.timestamp FROM whale_activity"
            " AS a JOIN whales AS w ON w.id = a.whale_id WHERE a.superseded_at IS NULL AND w.address = ?"
            " AND a.timestamp >= ?",
            wallet,
            since * 1000,
        )
        return Counter(rows)
