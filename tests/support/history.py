"""A file with trades of every kind, the jobs that count and prune them, and the same figures by plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

from whalesync.jobs import cleanup, compute_stats
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import CLEANUP, COMPUTE_STATS, DAY
from whalesync.settings import Settings
from whalesync.store.database import open_database

NOW = 1_772_323_200_000  # 2026-03-01T00:00:00Z

Figures = tuple[float | int | None, ...]


@dataclass(frozen=True)
class Row:
    """A trade that counts, whether it is stored or was pruned."""

    whale: int
    action: str
    amount: float
    profit: float | None
    at: int
    superseded: bool = False
    pruned: bool = False


class History:
    """Two whales and one market in a file, and a host's clock that can be set."""

    def __init__(self, folder: Path, *, retention_days: int = 90) -> None:
        self.settings = Settings(folder / "whalesync.db", values={"WHALESYNC_RETENTION_DAYS": str(retention_days)})
        self.now = NOW
        self.db = open_database(self.settings.db)
        self.rows: dict[int, Row] = {}
        for number in (1, 2):
            self.sql(
                "INSERT INTO whales (platform, address, created_at, updated_at) VALUES ('opinion_trade', ?, 1, 1)",
                f"0x{number:040x}",
            )
        self.sql(
            "INSERT INTO markets (platform, kind, external_id, title, created_at, updated_at)"
            " VALUES ('opinion_trade', 'market', '1', 'Rain?', 1, 1)"
        )
        self.hear_exchange(NOW)

    def sql(self, text: str, *params: object) -> int:
        """Run one statement; returns the id of the row that it inserted."""
        return self.db.insert(text, params)

    def table(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in self.db.rows(sql, params)]

    def hear_exchange(self, at: int) -> None:
        """A sync that works, at ``at`` by the exchange's clock and by the host's."""
        self.log("whales", at)
        with self.db.write():
            self.db.remember("opinion_trade exchange_time", at)

    def log(self, kind: str, at: int, status: str = "completed") -> int:
        """A run in the sync log."""
        return self.sql("INSERT INTO sync_logs (type, status, started_at) VALUES (?, ?, ?)", kind, status, at)

    def trade(
        self,
        whale: int = 1,
        *,
        action: str = "BUY",
        amount: float = 10.0,
        profit: float | None = None,
        at: int = NOW,
        tx_hash: str = "0x",
    ) -> int:
        """Store a trade; returns its id."""
        row_id = self.sql(
            "INSERT INTO whale_activity (whale_id, market_id, platform, tx_hash, action, amount, profit, timestamp,"
            " visible_to_pro_plus_at, visible_to_pro_at, visible_to_free_at, fill_key)"
            " VALUES (?, 1, 'opinion_trade', ?, ?, ?, ?, ?, 1, 1, 1, random())",
            *(whale, tx_hash, action, amount, profit, at),
        )
        self.rows[row_id] = Row(whale, action, amount, profit, at)
        return row_id

    def delete(self, row_id: int) -> Row:
        """Delete a stored trade by hand."""
        self.sql("DELETE FROM whale_activity WHERE id = ?", row_id)
        return self.rows.pop(row_id)

    def supersede(self, row_id: int, at: int | None = NOW) -> None:
        """Mark a stored trade as no longer listed; with None, as listed again."""
        self.sql("UPDATE whale_activity SET superseded_at = ? WHERE id = ?", at, row_id)
        self.rows[row_id] = replace(self.rows[row_id], superseded=at is not None)

    def stored(self) -> list[int]:
        """The ids of the stored trades."""
        return [row[0] for row in self.table("SELECT id FROM whale_activity ORDER BY id")]

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.db.value(f"SELECT count(*) FROM {table}"))

    def compute_stats(self) -> Run:
        """Run compute-stats."""
        with run_job(COMPUTE_STATS, self.settings, clock=Clock(now=lambda: self.now)) as run:
            compute_stats.run(run)
        return run

    def cleanup(self, sleep: Any = lambda seconds: None) -> Run:
        """Run cleanup."""
        with run_job(CLEANUP, self.settings, clock=Clock(now=lambda: self.now)) as run:
            cleanup.run(run, sleep=sleep)
        stored = set(self.stored())
        gone = {row_id: row for row_id, row in self.rows.items() if row_id not in stored}
        self.rows |= {row_id: replace(row, pruned=True) for row_id, row in gone.items()}
        return run

    def figures(self, whale: int = 1) -> Figures:
        """A whale's figures as they stand in the file."""
        return self.table(
            "SELECT total_volume, trade_count, last_active_at, volume_24h, volume_7d, volume_30d, buy_count,"
            " sell_count, realized_profit FROM whales WHERE id = ?",
            whale,
        )[0]

    def expected(self, whale: int = 1) -> Figures:
        """The same by plain arithmetic, in whole precision."""
        rows = [row for row in self.rows.values() if row.whale == whale and not row.superseded]
        counted = [row for row in rows if row.action in ("BUY", "SELL")]
        stored = [row for row in counted if not row.pruned]
        windows = [_sum(row.amount for row in stored if row.at >= self.now - days * DAY) for days in (1, 7, 30)]
        return (
            _sum(row.amount for row in counted),
            len(counted),
            max((row.at for row in rows), default=None),
            *windows,
            sum(row.action == "BUY" for row in counted),
            sum(row.action == "SELL" for row in counted),
            _sum(row.profit or 0.0 for row in rows if row.action in ("SELL", "MERGE")),
        )


def _sum(amounts: Any) -> float:
    with localcontext(prec=100):
        return float(sum((Decimal(amount) for amount in amounts), Decimal(0)))
