"""Rows for tests of the store, put into a file in one line each."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from whalesync.records import TIER_DELAYS_MS
from whalesync.store.database import Database

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MIDNIGHT = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW = MIDNIGHT + 12 * HOUR
MOBY, OTHER = "0x" + "a1" * 20, "0x" + "b2" * 20

DATA = Path(__file__).parent.parent / "data"


def insert(db: Database, table: str, **values: Any) -> int:
    """Insert a row; returns its id."""
    names = ", ".join(values)
    return db.insert(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", tuple(values.values()))


def whale(db: Database, address: str = MOBY, **fields: Any) -> int:
    """A wallet on the watch list."""
    return insert(db, "whales", address=address, created_at=NOW, updated_at=NOW, **fields)


def market(db: Database, external_id: str = "1", title: str = "Will it rain?", **fields: Any) -> int:
    """A market that can be traded, unless ``kind`` says otherwise."""
    values = {"platform": "opinion_trade", "kind": "market", "created_at": NOW, "updated_at": NOW} | fields
    return insert(db, "markets", external_id=external_id, title=title, **values)


def trade(db: Database, whale_id: int, market_id: int, at: int, action: str = "BUY", **fields: Any) -> int:
    """A trade that is like no other."""
    number = (db.value("SELECT max(id) FROM whale_activity") or 0) + 1
    values = {"tx_hash": f"0x{number}", "amount": 10.0, "fill_key": -number, "action": action} | fields
    visible = {f"visible_to_{tier.replace('-', '_')}_at": at + delay for tier, delay in TIER_DELAYS_MS.items()}
    return insert(db, "whale_activity", whale_id=whale_id, market_id=market_id, timestamp=at, **values, **visible)


def make_old_file(path: Path, schema: int) -> None:
    """Make the file of an older schema that ``tests/data`` has a dump of, in WAL mode as it was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / f"schema_{schema}.sql").read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")


def migrations(path: Path) -> list[tuple[Any, ...]]:
    """The schema steps that a file has seen, in their order."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id").fetchall()


def plan(db: Database, ask: Callable[[Database], object]) -> list[str]:
    """How SQLite runs the statements of ``ask``, step by step."""
    ran: list[str] = []
    db.connection.set_trace_callback(ran.append)
    ask(db)
    db.connection.set_trace_callback(None)
    explained = [db.rows(f"EXPLAIN QUERY PLAN {sql}") for sql in ran if not sql.startswith("--")]
    return [step["detail"] for steps in explained for step in steps]
