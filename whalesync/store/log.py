"""The sync log, and the records that were set aside."""

from __future__ import annotations

import sqlite3
from hashlib import blake2b

from whalesync.records import BadRecord
from whalesync.store.database import Database

MAX_ERROR_CHARS = 2_000


def start_run(db: Database, job: str, now: int) -> tuple[int, int]:
    """Open a row for a run of ``job``; returns its id and how many open rows of dead runs were closed.

    The caller holds the job's lock, so a row that is still open belongs to a run that was killed.
    """
    with db.write():
        dead = db.execute(
            "UPDATE sync_logs SET status = 'failed', ended_at = max(started_at, ?), error_count = error_count + 1,"
            " error = 'the run ended without a word: it was killed, or the machine went down'"
            " WHERE type = ? AND status = 'running'",
            (now, job),
        )
        row = db.insert(
            "INSERT INTO sync_logs (type, status, started_at) VALUES (?, 'running', ?)", (job, now)
        )
    return row, dead


def open_row(db: Database, job: str) -> int | None:
    """The row that is open for a job; the caller holds the job's lock."""
    found: int | None = db.value(
        "SELECT max(id) FROM sync_logs WHERE type = ? AND status = 'running'", (job,)
    )
    return found


def end_run(
    db: Database, row: int, *, status: str, ended_at: int, items: int, errors: list[str], error_count: int
) -> None:
    """Close a run's row; ``errors`` become one text, cut to MAX_ERROR_CHARS."""
    text = "; ".join(errors).encode("utf-8", "replace").decode()[:MAX_ERROR_CHARS] or None
    with db.write():
        db.execute(
            "UPDATE sync_logs SET status = ?, ended_at = ?, item_count = ?, error = ?, error_count = ? WHERE id = ?",
            (status, ended_at, items, text, error_count, row),
        )


def uncounted(db: Database, source: str, bad: list[BadRecord]) -> int:
    """How many distinct records of ``bad`` are not set aside yet, or were put up for a second look."""
    marks = {_fingerprint(record) for record in bad}
    return sum(
        not db.value(
            "SELECT counted FROM rejected_records WHERE source = ? AND fingerprint = ?", (source, mark)
        )
        for mark in marks
    )


def set_aside(db: Database, source: str, bad: list[BadRecord], *, run: int, now: int) -> None:
    """Keep refused records, one row for each distinct one; inside a write transaction.

    ``seen_count`` counts the runs that met it: a page may be read twice in one.
    """
    for record in bad:
        db.execute(
            "INSERT INTO rejected_records (sync_log_id, source, reason, payload, first_seen_at, last_seen_at,"
            " fingerprint) VALUES (:run, :source, :reason, :payload, :now, :now, :fingerprint)"
            " ON CONFLICT (source, fingerprint) DO UPDATE SET last_seen_at = :now, reason = :reason,"
            " seen_count = seen_count + (sync_log_id IS NOT :run), sync_log_id = :run, counted = 1",
            {
                "run": run,
                "source": source,
                "reason": record.reason,
                "payload": record.payload,
                "now": now,
                "fingerprint": _fingerprint(record),
            },
        )


def look_again(db: Database, source: str) -> None:
    """Put all set-aside records of ``source`` up for a second look; inside a write transaction."""
    db.execute("UPDATE rejected_records SET counted = 0 WHERE source = ?", (source,))


def _fingerprint(record: BadRecord) -> bytes:
    return blake2b(record.payload.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def last_runs(db: Database, limit: int) -> list[sqlite3.Row]:
    """The newest runs of all jobs, newest first."""
    return db.rows("SELECT * FROM sync_logs ORDER BY id DESC LIMIT ?", (limit,))


def runs_of(db: Database, job: str, limit: int) -> list[sqlite3.Row]:
    """The newest runs of one job, newest first."""
    return db.rows("SELECT * FROM sync_logs WHERE type = ? ORDER BY id DESC LIMIT ?", (job, limit))


def failing_since(db: Database, job: str) -> tuple[int, int]:
    """When the present row of failed runs of a job began, and how many there are."""
    row = db.one(
        "SELECT min(started_at), count(*) FROM sync_logs WHERE type = ? AND status = 'failed' AND id >"
        " coalesce((SELECT max(id) FROM sync_logs WHERE type = ? AND status = 'completed'), 0)",
        (job, job),
    )
    return row[0] or 0, row[1]


def last_good_start(db: Database, job: str) -> int | None:
    """When the last completed run of a job started."""
    found: int | None = db.value(
        "SELECT started_at FROM sync_logs WHERE type = ? AND status = 'completed' ORDER BY id DESC LIMIT 1",
        (job,),
    )
    return found
