"""The sums behind the whales' figures, and the rows they come from."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from whalesync.store.database import Database
from whalesync.tally import Row, Sums, Tally

_ROW = "id, whale_id, action, amount, profit, timestamp"


def rows_after(db: Database, last_id: int, limit: int) -> list[Row]:
    """Stored trades that came after ``last_id``, in the order they came."""
    return [
        Row(*row)
        for row in db.rows(
            f"SELECT {_ROW} FROM whale_activity WHERE id > ? ORDER BY id LIMIT ?", (last_id, limit)
        )
    ]


def rows_between(db: Database, since: int, until: int, last_id: int) -> list[Row]:
    """Counted trades of the time from ``since`` (inclusive) to ``until`` (exclusive), in milliseconds."""
    return [
        Row(*row)
        for row in db.rows(
            f"SELECT {_ROW} FROM whale_activity WHERE timestamp >= ? AND timestamp < ? AND id <= ?",
            (since, until, last_id),
        )
    ]


def delete_older(db: Database, cut: int, limit: int) -> list[Row]:
    """Delete up to ``limit`` trades older than ``cut``, oldest first; returns them. Inside a write transaction."""
    return [
        Row(*row)
        for row in db.rows(
            "DELETE FROM whale_activity WHERE id IN"
            " (SELECT id FROM whale_activity WHERE timestamp < ? ORDER BY timestamp LIMIT ?)"
            f" RETURNING {_ROW}",
            (cut, limit),
        )
    ]


def tallies(db: Database, whale_ids: Iterable[int] | None = None) -> dict[int, Tally]:
    """The sums of all whales, or of some; a whale that was never counted has empty ones."""
    sql = (
        "SELECT w.id, t.volume, t.profit, t.buys, t.sells, t.last_active, t.pruned_volume, t.pruned_profit,"
        " t.pruned_buys, t.pruned_sells, t.pruned_last_active, t.window_24h, t.window_7d, t.window_30d"
        " FROM whales AS w LEFT JOIN whale_tallies AS t ON t.whale_id = w.id"
    )
    if whale_ids is None:
        rows = db.rows(sql)
    else:
        rows = [row for i in whale_ids for row in db.rows(sql + " WHERE w.id = ?", (i,))]
    return {
        row[0]: Tally()
        if row[1] is None
        else Tally(
            Sums(Decimal(row[1]), Decimal(row[2]), *row[3:6]),
            Sums(Decimal(row[6]), Decimal(row[7]), *row[8:11]),
            [Decimal(text) for text in row[11:14]],
        )
        for row in rows
    }


def save(db: Database, changed: dict[int, Tally], now: int) -> None:
    """Keep sums, and the figures that come of them; inside a write transaction."""
    names = [
        "volume", "profit", "buys", "sells", "last_active",
        "pruned_volume", "pruned_profit", "pruned_buys", "pruned_sells", "pruned_last_active",
        "window_24h", "window_7d", "window_30d",
    ]  # fmt: skip
    db.execute_many(
        f"INSERT INTO whale_tallies (whale_id, {', '.join(names)}) VALUES (?, {', '.join('?' for _ in names)})"
        f" ON CONFLICT (whale_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in names)}",
        [
            (i, *_sums(tally.all), *_sums(tally.pruned), *map(str, tally.windows))
            for i, tally in changed.items()
        ],
    )
    db.execute_many(
        "UPDATE whales SET total_volume = ?, trade_count = ?, last_active_at = ?, volume_24h = ?, volume_7d = ?,"
        " volume_30d = ?, buy_count = ?, sell_count = ?, realized_profit = ?, updated_at = ? WHERE id = ?",
        [
            (
                float(tally.all.volume),
                tally.all.buys + tally.all.sells,
                tally.all.last_active,
                *map(float, tally.windows),
                tally.all.buys,
                tally.all.sells,
                float(tally.all.profit),
                now,
                i,
            )
            for i, tally in changed.items()
        ],
    )


def _sums(sums: Sums) -> tuple[str, str, int, int, int | None]:
    return str(sums.volume), str(sums.profit), sums.buys, sums.sells, sums.last_active
