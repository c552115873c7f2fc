"""What cleanup reads and deletes."""

from __future__ import annotations

from collections.abc import Sequence

from whalesync.store import positions, stats
from whalesync.store.database import Database

# Deleting in the order of time touches most pages of the indexes by whale and by market. With SQLite's usual 2 MB of
# cache they are read again and again, which takes twice as long.
CACHE_KIB = 32 * 1024


def newest_trade(db: Database) -> int | None:
    """The time of the newest trade, by the exchange's clock (ms); None without any."""
    newest: int | None = db.value("SELECT max(timestamp) FROM whale_activity")
    return newest


def states(db: Database) -> list[tuple[int, str, str]]:
    """Whale id, platform and the trade source's state, of every wallet that has been read."""
    sql = "SELECT whale_id, platform, state FROM whale_cursors JOIN whales ON id = whale_id WHERE state IS NOT NULL"
    return [(whale_id, platform, state) for whale_id, platform, state in db.rows(sql)]


def widen_cache(db: Database) -> None:
    """Let this connection keep more of the indexes in memory."""
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def delete_trades(db: Database, cut: int, limit: int) -> int:
    """Delete the oldest trades before ``cut`` (ms), ``limit`` of them and what else is of the last one's moment.

    Their sums are kept. Rows of one moment go together, because those of one conversion are understood together.
    Inside a write transaction.
    """
    until = db.value(
        "SELECT max(timestamp) FROM (SELECT timestamp FROM whale_activity WHERE timestamp < ?"
        " ORDER BY timestamp LIMIT ?)",
        (cut, limit),
    )
    if until is None:
        return 0
    stats.add_removed_sums(db, until)
    positions.add_removed_flows(db, until)
    return db.execute("DELETE FROM whale_activity WHERE timestamp <= ?", (until,))


def old_rejected_records(db: Database, cut: int) -> list[int]:
    """The ids of rejected records that were neither made nor seen since ``cut`` (ms). Needs no lock."""
    return [
        row[0]
        for row in db.rows(
            "SELECT id FROM rejected_records WHERE last_seen_at < ? AND coalesce(timestamp, 0) < ?",
            (cut, cut),
        )
    ]


def delete_rejected_records(db: Database, ids: Sequence[int], cut: int) -> int:
    """Delete rejected records, unless they were seen meanwhile; inside a write transaction."""
    return db.execute_many(
        "DELETE FROM rejected_records WHERE id = ? AND last_seen_at < ?", [(row_id, cut) for row_id in ids]
    )


def delete_sync_logs(db: Database, cut: int, limit: int) -> int:
    """Delete up to ``limit`` runs that started before ``cut`` (ms); inside a write transaction.

    The last run and the last good run of each type stay, however old they are.
    """
    return db.execute(
        "DELETE FROM sync_logs WHERE id IN (SELECT id FROM sync_logs WHERE started_at < ? AND id NOT IN ("
        "SELECT max(id) FROM sync_logs GROUP BY type"
        " UNION SELECT max(id) FROM sync_logs WHERE status = 'completed' GROUP BY type) LIMIT ?)",
        (cut, limit),
    )


def delete_deliveries(db: Database, cut: int, limit: int) -> int:
    """Delete up to ``limit`` alerts that were made before ``cut`` (ms), unless they are still to be sent.

    Inside a write transaction.
    """
    return db.execute(
        "DELETE FROM alert_deliveries WHERE id IN (SELECT id FROM alert_deliveries WHERE created_at < ?"
        " AND status <> 'pending' LIMIT ?)",
        (cut, limit),
    )


def free_pages(db: Database) -> int:
    """How many pages of the file hold nothing."""
    count: int = db.value("PRAGMA freelist_count")
    return count


def give_back_pages(db: Database, count: int) -> int:
    """Give ``count`` free pages back to the file system, and return that; inside a write transaction.

    One at a time: of a statement without columns Python runs the first step alone, which frees one page.
    """
    for _ in range(count):
        db.execute("PRAGMA incremental_vacuum(1)")
    return count
