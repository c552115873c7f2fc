"""What ought to be in the file, by the exchange's own books and plain arithmetic; read with nothing but sqlite3."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from whalesync.sandbox import Books

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class Fill(NamedTuple):
    """A trade as both sides can tell of it; two of them are equal if all of it is."""

    tx_hash: str
    market: str
    action: str
    outcome: str
    amount: float
    price: float
    shares: float
    fee: float
    profit: float
    timestamp: int


def listed(books: Books, wallet: str) -> Counter[Fill]:
    """A wallet's whole list in the exchange's own books."""
    return Counter(
        Fill(
            tx_hash=trade["txHash"],
            market=str(trade["marketId"]),
            action=trade["side"].upper(),
            outcome="YES" if trade["outcomeSide"] == 1 else "NO",
            amount=float(trade["amount"]),
            price=float(trade["price"]),
            shares=float(trade["shares"]),
            fee=float(trade["fee"]),
            profit=float(trade["profit"]),
            timestamp=trade["createdAt"] * 1000,
        )
        for trade in books.trades(wallet)
    )


def since(fills: Counter[Fill], cut: int) -> Counter[Fill]:
    """Those that are not older than ``cut`` (ms)."""
    return Counter({fill: count for fill, count in fills.items() if fill.timestamp >= cut})


@dataclass
class Sums:
    """A whale's figures in plain arithmetic."""

    volume: Decimal = Decimal(0)
    profit: Decimal = Decimal(0)
    buys: int = 0
    sells: int = 0
    last_active_at: int | None = None

    def add(self, fill: Fill) -> None:
        """Count one stored trade."""
        self.last_active_at = max(self.last_active_at or 0, fill.timestamp)
        if fill.action in ("BUY", "SELL"):
            self.buys += fill.action == "BUY"
            self.sells += fill.action == "SELL"
            self.volume += Decimal(repr(fill.amount))
            self.profit += Decimal(repr(fill.profit))

    def figures(self) -> tuple[Any, ...]:
        """As the whale's row should show them."""
        trades = self.buys + self.sells
        return (
            float(self.volume), trades, self.buys, self.sells, float(self.profit), self.last_active_at,
        )  # fmt: skip


def windows(fills: Iterable[Fill], now: int) -> list[float]:
    """Dollars bought and sold in the last 24 hours, 7 and 30 days."""
    counted = [fill for fill in fills if fill.action in ("BUY", "SELL")]
    return [
        float(sum(Decimal(repr(fill.amount)) for fill in counted if fill.timestamp >= now - days * DAY_MS))
        for days in (1, 7, 30)
    ]


class Reckoning:
    """Compares the file ``db`` with the exchange's ``books``.

    What was ever stored is remembered here: ``look`` is called before a cleanup can delete any of it.
    """

    def __init__(self, db: Path, books: Books, retention_days: int) -> None:
        self.db = db
        self.books = books
        self.retention = retention_days * DAY_MS
        self.ever: defaultdict[str, Counter[Fill]] = defaultdict(Counter)
        self.sums: defaultdict[str, Sums] = defaultdict(Sums)
        self._last_id = 0

    def query(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of the file."""
        with closing(sqlite3.connect(self.db)) as connection:
            return connection.execute(sql, params).fetchall()

    def look(self) -> None:
        """Take in what was stored since the last look."""
        for row_id, wallet, fill in self._stored(self._last_id):
            self.ever[wallet][fill] += 1
            self.sums[wallet].add(fill)
            self._last_id = row_id

    def check_rows(self, runs: list[tuple[str, str | None]]) -> None:
        """Every run has its row, which is closed and says how it ended; ``runs`` as they were made, in turn."""
        rows = self.query("SELECT id, type, status, started_at, ended_at FROM sync_logs ORDER BY id")
        for row_id, job, ended, started_at, ended_at in rows:
            assert (job, ended) == (runs[row_id - 1][0], runs[row_id - 1][1] or ended)
            assert ended in ("completed", "failed") and ended_at >= started_at
        # None is missing among those that cleanup cannot have reached.
        newest = range(max(0, len(runs) - 1_000) + 1, len(runs) + 1)
        assert [row[0] for row in rows][-len(newest) :] == list(newest)

    def check_trades(self, now: int) -> None:
        """Lost 0, double 0: within the retention both sides hold the same trades, as often."""
        held: defaultdict[str, Counter[Fill]] = defaultdict(Counter)
        for _, wallet, fill in self._stored():
            held[wallet][fill] += 1
        lost = double = 0
        for wallet, tracked in self.query("SELECT address, tracked FROM whales"):
            exist = listed(self.books, wallet)
            double += (held[wallet] - exist).total()
            if tracked:
                lost += (since(exist, now - self.retention) - held[wallet]).total()
        assert (lost, double) == (0, 0)
        unfinished = self.query(
            "SELECT w.address FROM whales AS w JOIN whale_cursors AS c ON c.whale_id = w.id"
            " WHERE w.tracked AND (c.pending OR c.rejected)"
        )
        assert unfinished == []

    def check_figures(self, now: int) -> None:
        """A whale's figures are those of plain arithmetic over all that was ever stored."""
        self.look()
        held: defaultdict[str, list[Fill]] = defaultdict(list)
        for _, wallet, fill in self._stored():
            held[wallet].append(fill)
        for wallet, *figures in self.query(
            "SELECT address, total_volume, trade_count, buy_count, sell_count, realized_profit, last_active_at,"
            " volume_24h, volume_7d, volume_30d FROM whales"
        ):
            assert tuple(figures) == (*self.sums[wallet].figures(), *windows(held[wallet], now))

    def check_pruned(self, now: int) -> None:
        """What was too old at the last cleanup is gone: it ran within a day, by a clock an hour off at most."""
        cut = now - self.retention - 26 * HOUR_MS
        assert self.query("SELECT count(*) FROM whale_activity WHERE timestamp < ?", cut) == [(0,)]
        ((old,),) = self.query("SELECT count(*) FROM sync_logs WHERE started_at < ?", cut)
        assert old <= 2 * 4  # of each job the last run and the last good one are kept

    def whole_month(self, added: dict[str, int]) -> tuple[int, int]:
        """Over all that was ever stored: how many trades were lost, and how many came twice.

        ``added``: since when (ms) each wallet was on the watch list; one that is no longer on it loses nothing.
        """
        lost = double = 0
        for wallet, tracked in self.query("SELECT address, tracked FROM whales"):
            exist = listed(self.books, wallet)
            double += (self.ever[wallet] - exist).total()
            if tracked:
                # The first look at a wallet is made within the hour, and goes back to the cut of that moment.
                cut = added[wallet] + HOUR_MS - self.retention
                lost += (since(exist, cut) - self.ever[wallet]).total()
        return lost, double

    def _stored(self, after: int = 0) -> Iterator[tuple[int, str, Fill]]:
        """The stored trades in the order they came, each with its id and wallet."""
        for row in self.query(
            "SELECT a.id, w.address, a.tx_hash, m.external_id, a.action, a.outcome, a.amount, a.price, a.shares,"
            " a.fee, a.profit, a.timestamp FROM whale_activity AS a JOIN whales AS w ON w.id = a.whale_id"
            " JOIN markets AS m ON m.id = a.market_id WHERE a.id > ? ORDER BY a.id",
            after,
        ):
            yield row[0], row[1], Fill(*row[2:])
