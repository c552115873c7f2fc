"""What cleanup asks and deletes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from whalesync.store.database import Database

# Deleting in the order of time touches most pages of the indexes by whale and by market. With SQLite's usual 2 MB
# of cache they are read again and again: three times slower.
CACHE_KIB = 32 * 1024

TRIGGER = "whale_activity_removed"


class Youngest(NamedTuple):
    """The youngest moments the file knows of, in milliseconds."""

    trade: int | None
    sync: int | None


def youngest(db: Database) -> Youngest:
    """The newest trade, by the exchange's clock, and the last good sync, by ours."""
    return Youngest(
        db.value("SELECT max(timestamp) FROM whale_activity"),
        # The last one and not the latest: a clock that ran a year ahead for a while leaves runs in the future.
        db.value(
            "SELECT started_at FROM sync_logs WHERE id = (SELECT max(id) FROM ("
            "SELECT max(id) AS id FROM sync_logs WHERE type = 'whales' AND status = 'completed' UNION ALL "
            "SELECT max(id) AS id FROM sync_logs WHERE type = 'markets' AND status = 'completed'))"
        ),
    )


def widen_cache(db: Database) -> None:
    """Let this connection keep more of the indexes in memory."""
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def raise_floors(db: Database, cut: int) -> None:
    """Trades older than ``cut`` are not held from now on: the wallet sync will not fetch them again."""
    db.execute("UPDATE whale_cursors SET floor = ? WHERE floor IS NULL OR floor < ?", (cut, cut))


def oldest(db: Database, cut: int, limit: int) -> tuple[int, int] | None:
    """Where the oldest ``limit`` trades before ``cut`` end: time and id of the last of them. None if none is left."""
    row = db.one(
        "SELECT timestamp, id FROM (SELECT timestamp, id FROM whale_activity WHERE timestamp < ?"
        " ORDER BY timestamp, id LIMIT ?) ORDER BY timestamp DESC, id DESC LIMIT 1",
        (cut, limit),
    )
    return None if row is None else (row[0], row[1])


def trades(db: Database, where: str, params: tuple[int, ...]) -> int:
    """Delete trades whose sums are kept already; inside a write transaction.

    Meanwhile there is no trigger that notes what others delete. It comes back in the same transaction, so nobody
    ever misses it. A condition inside the trigger would do as well, but a trigger that does nothing still doubles
    what deleting a row costs: 52 % of the pace of a single DELETE against 71 %.
    """
    trigger = db.value("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?", (TRIGGER,))
    if trigger:
        db.execute(f"DROP TRIGGER {TRIGGER}")
    deleted = db.execute(f"DELETE FROM whale_activity WHERE {where}", params)
    if trigger:
        db.execute(trigger)
    return deleted


def removed_trades(db: Database, cut: int, limit: int) -> int:
    """Forget trades that others had deleted, if they were older than ``cut``: they are not fetched again."""
    return db.execute(
        "DELETE FROM removed_activity WHERE id IN"
        " (SELECT id FROM removed_activity WHERE timestamp < ? AND +state = 1 LIMIT ?)",
        (cut, limit),
    )


def old_rejected(db: Database, cut: int, after: int, limit: int) -> list[int]:
    """Records that were set aside and not seen since ``cut``, from the id ``after`` on. Read without any lock."""
    return [
        row[0]
        for row in db.rows(
            "SELECT id FROM rejected_records WHERE id > ? AND last_seen_at < ? ORDER BY id LIMIT ?",
            (after, cut, limit),
        )
    ]


def rejected_records(db: Database, ids: Sequence[int], cut: int) -> int:
    """Delete records that were set aside, unless they have been seen meanwhile."""
    return db.execute_many(
        "DELETE FROM rejected_records WHERE id = ? AND last_seen_at < ?", [(i, cut) for i in ids]
    )


def last_runs(db: Database) -> list[int]:
    """The last run and the last good run of each job: those are kept however old they are."""
    rows = db.rows(
        "WITH types (type) AS (VALUES ('markets'), ('whales'), ('stats'), ('cleanup'))"
        " SELECT (SELECT max(id) FROM sync_logs AS l WHERE l.type = types.type),"
        " (SELECT id FROM sync_logs AS l WHERE l.type = types.type AND status = 'completed' ORDER BY id DESC LIMIT 1)"
        " FROM types"
    )
    return [i for row in rows for i in row if i is not None]


def sync_logs(db: Database, cut: int, kept: Sequence[int], limit: int) -> int:
    """Delete runs that started before ``cut``, but not those of ``kept``."""
    marks = ", ".join("?" for _ in kept)
    return db.execute(
        "DELETE FROM sync_logs WHERE id IN"
        f" (SELECT id FROM sync_logs WHERE started_at < ? AND id NOT IN ({marks}) LIMIT ?)",
        (cut, *kept, limit),
    )


def free_pages(db: Database) -> int:
    """Pages that hold nothing."""
    found: int = db.value("PRAGMA freelist_count")
    return found


def give_back(db: Database, pages: int) -> None:
    """Give up to ``pages`` free pages back to the file system; inside a write transaction.

    One at a time: of a statement without columns Python runs the first step alone, and that frees one page.
    """
    for _ in range(pages):
        db.execute("PRAGMA incremental_vacuum(1)")
