"""Records that could not be read (table ``rejected_records``): one row for each distinct one of a source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from whalesync.exchanges.base import CountedRecord, StoredEntry
from whalesync.records import RejectedRecord
from whalesync.store.database import Database

_ENTRY = "SELECT id, fingerprint, timestamp, copies FROM rejected_records WHERE whale_id = ?"


def keep(db: Database, source: str, records: Iterable[RejectedRecord], *, run_id: int, now: int) -> None:
    """Keep records of a list that is not a wallet's; inside a write transaction."""
    keep_counted(db, None, source, [CountedRecord(each, 0, now) for each in records], run_id=run_id, now=now)


def keep_counted(
    db: Database, whale_id: int | None, source: str, counted: Iterable[CountedRecord], run_id: int, now: int
) -> None:
    """Keep records of a wallet's list, with their place in it and how often they are listed."""
    db.execute_many(
        # "seen_count" counts the runs that met a record: a page may be read twice in one.
        "INSERT INTO rejected_records (sync_log_id, whale_id, source, reason, payload, timestamp, copies,"
        " first_seen_at, last_seen_at, fingerprint)"
        " VALUES (:run, :whale, :source, :reason, :payload, :timestamp, :copies, :now, :now, :fingerprint)"
        " ON CONFLICT (source, fingerprint) DO UPDATE SET last_seen_at = :now, reason = :reason, whale_id = :whale,"
        " timestamp = :timestamp, copies = :copies, seen_count = seen_count + (sync_log_id IS NOT :run),"
        " sync_log_id = :run",
        [
            {
                "run": run_id,
                "whale": whale_id,
                "source": source,
                "reason": each.record.reason,
                "payload": each.record.payload,
                "timestamp": each.timestamp,
                "copies": each.copies,
                "now": now,
                "fingerprint": each.record.fingerprint,
            }
            for each in counted
        ],
    )


def recount(db: Database, copies: Iterable[tuple[int, int]]) -> None:
    """Set how often records (by id) are listed; inside a write transaction."""
    db.execute_many("UPDATE rejected_records SET copies = ? WHERE id = ?", [(n, row_id) for row_id, n in copies])


def newer(db: Database, whale_id: int, timestamp: int) -> int:
    """How many entries of a wallet's list that are newer than ``timestamp`` (ms) cannot be read."""
    found: int = db.value(
        "SELECT coalesce(sum(copies), 0) FROM rejected_records WHERE whale_id = ? AND timestamp > ?",
        (whale_id, timestamp),
    )
    return found


def between(db: Database, whale_id: int, first: int, last: int) -> list[StoredEntry]:
    """The records of a wallet's list from ``first`` to ``last`` (ms), both included."""
    return [_entry(row) for row in db.rows(f"{_ENTRY} AND timestamp BETWEEN ? AND ?", (whale_id, first, last))]


def any_of(db: Database, whale_id: int) -> bool:
    """Whether a wallet's list ever held a record that could not be read."""
    return db.value("SELECT 1 FROM rejected_records WHERE whale_id = ? LIMIT 1", (whale_id,)) is not None


def find(db: Database, whale_id: int, fingerprint: bytes) -> StoredEntry | None:
    """One record of a wallet's list."""
    row = db.one(f"{_ENTRY} AND fingerprint = ?", (whale_id, fingerprint))
    return None if row is None else _entry(row)


def counts(db: Database) -> list[dict[str, Any]]:
    """Records by source: ``source``, ``records``, ``seen`` (how often they came), ``last_seen_at`` (ms)."""
    rows = db.rows(
        "SELECT source, count(*) AS records, sum(seen_count) AS seen, max(last_seen_at) AS last_seen_at"
        " FROM rejected_records GROUP BY source ORDER BY source"
    )
    return [dict(row) for row in rows]


def _entry(row: Sequence[Any]) -> StoredEntry:
    row_id, fingerprint, timestamp, copies = row
    return StoredEntry(row_id, fingerprint, timestamp or 0, copies=copies)
