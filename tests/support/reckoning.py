"""What ought to be in the file, by the exchange's own books and plain arithmetic; read with nothing but sqlite3."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.fills import Fill, StoredRow, listed, query, stored_rows

from whalesync.sandbox import Books

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass
class Sums:
    """A whale's figures in plain arithmetic."""

    volume: Decimal = Decimal(0)
    profit: Decimal = Decimal(0)
    buys: int = 0
    sells: int = 0
    last_active_at: int | None = None

    def add(self, fill: Fill, count: int = 1) -> None:
        """Count a trade, or several that agree in everything."""
        self.last_active_at = max(self.last_active_at or 0, fill.timestamp)
        if fill.action in ("BUY", "SELL"):
            self.buys += count * (fill.action == "BUY")
            self.sells += count * (fill.action == "SELL")
            self.volume += Decimal(repr(fill.amount)) * count
        if fill.action in ("SELL", "MERGE"):
            self.profit += Decimal(repr(fill.profit)) * count

    def figures(self) -> dict[str, Any]:
        """The columns of the whale's row that cover its whole known history."""
        return {
            "total_volume": float(self.volume),
            "realized_profit": float(self.profit),
            "buy_count": self.buys,
            "sell_count": self.sells,
            "trade_count": self.buys + self.sells,
            "last_active_at": self.last_active_at,
        }


def windows(fills: Iterable[Fill], now: int) -> dict[str, float]:
    """Dollars bought and sold in the last 24 hours, 7 and 30 days."""
    counted = [fill for fill in fills if fill.action in ("BUY", "SELL")]
    days = {"volume_24h": 1, "volume_7d": 7, "volume_30d": 30}
    return {
        name: float(sum(Decimal(repr(fill.amount)) for fill in counted if fill.timestamp >= now - count * DAY_MS))
        for name, count in days.items()
    }


def check_figures(file: Path, wallet: str, expected: dict[str, Any]) -> None:
    """A whale's row has these figures, as exactly as a sum of floats can be."""
    (row,) = query(file, f"SELECT {', '.join(expected)} FROM whales WHERE address = ?", wallet)
    assert dict(zip(expected, row, strict=True)) == pytest.approx(expected, rel=1e-9, abs=1e-6)


class Reckoning:
    """Compares the file ``db`` with the exchange's ``books``.

    What was ever stored is remembered here: ``look`` is called before a cleanup can delete any of it.
    """

    def __init__(self, db: Path, books: Books, retention_days: int) -> None:
        self.db = db
        self.books = books
        self.retention = retention_days * DAY_MS
        self.ever: dict[int, StoredRow] = {}  # as last seen, by id

    def look(self) -> None:
        """Take in what is stored now."""
        self.ever.update((row.id, row) for row in stored_rows(self.db))

    def held(self) -> defaultdict[str, Counter[Fill]]:
        """What is stored now and counts, by wallet."""
        held: defaultdict[str, Counter[Fill]] = defaultdict(Counter)
        for row in stored_rows(self.db):
            held[row.wallet][row.fill] += row.counts
        return held

    def check_rows(self, runs: list[tuple[str, str | None]]) -> None:
        """Every run has its row, which is closed and says how it ended; ``runs`` as they were made, in turn."""
        rows = query(self.db, "SELECT id, type, status, started_at, ended_at FROM sync_logs ORDER BY id")
        for row_id, job, ended, started_at, ended_at in rows:
            assert (job, ended) == (runs[row_id - 1][0], runs[row_id - 1][1] or ended)
            assert ended in ("completed", "failed") and ended_at >= started_at
        # None is missing among those that cleanup cannot have reached.
        newest = range(max(0, len(runs) - 1_000) + 1, len(runs) + 1)
        assert [row[0] for row in rows][-len(newest) :] == list(newest)

    def rejected(self, wallet: str, now: int) -> set[str]:
        """The transactions of which a record could not be read, within the days in which it is looked for again."""
        rows = query(
            self.db,
            "SELECT payload FROM rejected_records WHERE copies > 0 AND first_seen_at > ?"
            " AND whale_id = (SELECT id FROM whales WHERE address = ?)",
            now - 2 * DAY_MS,
            wallet,
        )
        return {json.loads(payload)["txHash"] for (payload,) in rows}

    def lost(self, wallet: str, stored: Counter[Fill], since: int, now: int) -> int:
        """How many of a wallet's trades are neither stored nor kept as unreadable."""
        missing = listed(self.books.trades(wallet), since=since) - stored
        rejected = self.rejected(wallet, now)
        return sum(count for fill, count in missing.items() if fill.tx_hash not in rejected)

    def check_trades(self, now: int) -> None:
        """Lost 0, double 0: within the retention both sides hold the same trades, as often."""
        held = self.held()
        lost = double = 0
        for wallet, tracked in query(self.db, "SELECT address, tracked FROM whales"):
            double += (held[wallet] - listed(self.books.trades(wallet))).total()
            if tracked:
                lost += self.lost(wallet, held[wallet], now - self.retention, now)
        assert (lost, double) == (0, 0)

    def check_figures(self, now: int) -> None:
        """A whale's figures are those of plain arithmetic over all that was ever stored."""
        self.look()
        held = self.held()
        sums: defaultdict[str, Sums] = defaultdict(Sums)
        for row in self.ever.values():
            if row.counts:
                sums[row.wallet].add(row.fill)
        for (wallet,) in query(self.db, "SELECT address FROM whales"):
            expected = sums[wallet].figures() | windows(held[wallet].elements(), now)
            check_figures(self.db, wallet, expected)

    def check_positions(self) -> None:
        """What is open is what the exchange lists, with as many shares; unless its market has ended meanwhile."""
        stored: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for wallet, market, outcome, shares in query(
            self.db,
            "SELECT whale_address, market_external_id, outcome, shares FROM holdings WHERE state = 'open'",
        ):
            stored[wallet][f"{market} {outcome}"] = shares
        for (wallet,) in query(self.db, "SELECT address FROM whales WHERE tracked"):
            held = {
                f"{row['marketId']} {'YES' if row['outcomeSide'] == 1 else 'NO'}": float(row["sharesOwned"])
                for row in self.books.positions(wallet)
                if row["marketStatus"] < 4 and float(row["sharesOwned"])
            }
            assert stored[wallet] == pytest.approx(held, abs=0.006)

    def check_pruned(self, now: int) -> None:
        """What was too old at the last cleanup is gone: it ran within a day, by a clock an hour off at most."""
        cutoff = now - self.retention - 26 * HOUR_MS
        assert query(self.db, "SELECT count(*) FROM whale_activity WHERE timestamp < ?", cutoff) == [(0,)]
        ((old,),) = query(self.db, "SELECT count(*) FROM sync_logs WHERE started_at < ?", cutoff)
        assert old <= 2 * 5  # of each job the last run and the last good one are kept

    def whole_month(self, added: dict[str, int], now: int) -> tuple[int, int]:
        """Over all that was ever stored: how many trades were lost, and how many came twice.

        ``added``: since when (ms) each wallet was on the watch list; one that is no longer on it loses nothing.
        """
        ever: defaultdict[str, Counter[Fill]] = defaultdict(Counter)
        for row in self.ever.values():
            ever[row.wallet][row.fill] += 1
        lost = double = 0
        for wallet, tracked in query(self.db, "SELECT address, tracked FROM whales"):
            double += (ever[wallet] - listed(self.books.trades(wallet))).total()
            if tracked:
                # The first look at a wallet is made within the hour, and goes back to the cutoff of that moment.
                lost += self.lost(wallet, ever[wallet], added[wallet] + HOUR_MS - self.retention, now)
        return lost, double
