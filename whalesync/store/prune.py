"""What cleanup asks and deletes."""

from __future__ import annotations

from typing import NamedTuple

from whalesync.store.database import Database

PAGES_AT_ONCE = 500  # of free space given back in one transaction: 2 MB


class Youngest(NamedTuple):
    """The youngest moments the file knows of, in milliseconds."""

    trade: int | None
    sync: int | None


def youngest(db: Database) -> Youngest:
    """The newest trade, by the exchange's clock, and the newest good sync, by ours."""
    return Youngest(
        db.value("SELECT max(timestamp) FROM whale_activity"),
        db.value(
            "SELECT max(started_at) FROM sync_logs WHERE type IN ('whales', 'markets') AND status = 'completed'"
        ),
    )


def raise_floors(db: Database, cut: int) -> None:
    """Trades older than ``cut`` are not held from now on: the wallet sync will not fetch them again."""
    db.execute("UPDATE whale_cursors SET floor = ? WHERE floor IS NULL OR floor < ?", (cut, cut))


def rejected_records(db: Database, cut: int, limit: int) -> int:
    """Delete records that were set aside and not seen since ``cut``."""
    return db.execute(
        "DELETE FROM rejected_records WHERE id IN"
        " (SELECT id FROM rejected_records WHERE last_seen_at < ? LIMIT ?)",
        (cut, limit),
    )


def sync_logs(db: Database, cut: int, limit: int) -> int:
    """Delete runs that started before ``cut``, but never the last run or the last good run of a job."""
    return db.execute(
        "DELETE FROM sync_logs WHERE id IN (SELECT id FROM sync_logs WHERE started_at < ? AND id NOT IN"
        " (SELECT max(id) FROM sync_logs GROUP BY type, status = 'completed') LIMIT ?)",
        (cut, limit),
    )


def give_back(db: Database) -> int:
    """Give free pages back to the file system, some at a time; returns how many there still are."""
    free: int = db.value("PRAGMA freelist_count")
    if free:
        db.rows(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
    left: int = db.value("PRAGMA freelist_count")
    return left if left < free else 0
