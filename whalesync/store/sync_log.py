"""The sync log: one row for each run of a job (table ``sync_logs``)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from whalesync.store.database import Database

MAX_ERROR_CHARS = 2_000
DEAD_RUN = "was killed or the machine went down"


def start_run(db: Database, log_type: str, now: int) -> tuple[int, int]:
    """Open a row for a run; returns its id and how many open rows of dead runs were closed.

    The caller holds the job's lock, so a row that is still open belongs to a run that was killed.
    """
    with db.write():
        dead = db.execute(
            "UPDATE sync_logs SET status = 'failed', ended_at = max(started_at, ?), error_count = error_count + 1,"
            " error = ? WHERE type = ? AND status = 'running'",
            (now, DEAD_RUN, log_type),
        )
        row = db.insert("INSERT INTO sync_logs (type, status, started_at) VALUES (?, 'running', ?)", (log_type, now))
    return row, dead


def open_row(db: Database, log_type: str) -> int | None:
    """The row that is open for a job; the caller holds the job's lock."""
    found: int | None = db.value("SELECT max(id) FROM sync_logs WHERE type = ? AND status = 'running'", (log_type,))
    return found


def end_run(
    db: Database,
    row: int,
    *,
    status: str,
    ended_at: int,
    items: int,
    errors: list[str],
    error_count: int,
    exchanges: Mapping[str, str | None],
) -> None:
    """Close a run's row; ``errors`` become one text. It and each text of ``exchanges`` are cut to MAX_ERROR_CHARS.

    ``exchanges``: those that were asked, and why nothing could be done for them, if so.
    """
    text = "; ".join(errors).encode("utf-8", "replace").decode()[:MAX_ERROR_CHARS] or None
    outcomes = {name: why and why[:MAX_ERROR_CHARS] for name, why in exchanges.items()}
    with db.write():
        db.execute(
            "UPDATE sync_logs SET status = ?, ended_at = ?, item_count = ?, error = ?, error_count = ?, exchanges = ?"
            " WHERE id = ?",
            (status, ended_at, items, text, error_count, json.dumps(outcomes) if outcomes else None, row),
        )


def last_runs(db: Database, limit: int) -> list[sqlite3.Row]:
    """The newest runs of all jobs, newest first."""
    return db.rows("SELECT * FROM sync_logs ORDER BY id DESC LIMIT ?", (limit,))


def runs_of(db: Database, log_type: str, limit: int) -> list[sqlite3.Row]:
    """The newest runs of one job, newest first."""
    return db.rows("SELECT * FROM sync_logs WHERE type = ? ORDER BY id DESC LIMIT ?", (log_type, limit))


def runs_since_success(db: Database, log_type: str) -> list[sqlite3.Row]:
    """The runs of one job, newest first, back to its last completed one: all that its health depends on."""
    return db.rows(
        "SELECT * FROM sync_logs WHERE type = :type AND id >= coalesce("
        "(SELECT id FROM sync_logs WHERE type = :type AND status = 'completed' ORDER BY id DESC LIMIT 1), 0)"
        " ORDER BY id DESC",
        {"type": log_type},
    )


def last_good_start(db: Database, log_type: str, exchange: str | None = None) -> int | None:
    """When the last completed run of a job started, or the last one that did its part for an exchange (ms)."""
    found: int | None = db.value(
        "SELECT started_at FROM sync_logs WHERE type = :type AND iif(:exchange IS NULL OR exchanges IS NULL,"
        " status = 'completed', json_type(exchanges, '$.' || :exchange) = 'null') ORDER BY id DESC LIMIT 1",
        {"type": log_type, "exchange": exchange},
    )
    return found
