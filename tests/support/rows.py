"""Rows for tests of the store, put into a file in one line each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from whalesync.records import TIER_DELAYS_MS
from whalesync.store.database import Database, Params

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MIDNIGHT = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW = MIDNIGHT + 12 * HOUR
MOBY, OTHER = "0x" + "a1" * 20, "0x" + "b2" * 20

SCHEMA_1 = Path(__file__).parent.parent / "data" / "schema_1.sql"


def insert(db: Database, table: str, **values: Any) -> int:
    """Insert a row; returns its id."""
    names = ", ".join(values)
    return db.insert(
        f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    )


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
    visible = {
        f"visible_to_{tier.replace('-', '_')}_at": at + delay for tier, delay in TIER_DELAYS_MS.items()
    }
    return insert(
        db, "whale_activity", whale_id=whale_id, market_id=market_id, timestamp=at, **values, **visible
    )


def make_schema_1(path: Path) -> None:
    """Make the file that ``tests/data/schema_1.sql`` is a dump of, in WAL mode as it was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_1.read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")


def migrations(path: Path) -> list[tuple[Any, ...]]:
    """The schema steps that a file has seen, in their order."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id").fetchall()


class Explained(Database):
    """A database that keeps the plan of every query: how SQLite runs it, step by step."""

    plan: list[str]

    def explain(self, sql: str, params: Params = ()) -> None:
        """Ask SQLite how it would run a statement."""
        if not sql.startswith(("BEGIN", "COMMIT", "PRAGMA", "ANALYZE")):
            self.plan += [step["detail"] for step in super().rows("EXPLAIN QUERY PLAN " + sql, params)]

    def rows(self, sql: str, params: Params = ()) -> list[sqlite3.Row]:
        """As ``Database.rows``."""
        self.explain(sql, params)
        return super().rows(sql, params)

    def one(self, sql: str, params: Params = ()) -> Any:
        """As ``Database.one``."""
        self.explain(sql, params)
        return super().one(sql, params)

    def execute(self, sql: str, params: Params = ()) -> int:
        """As ``Database.execute``."""
        self.explain(sql, params)
        return super().execute(sql, params)

    def execute_many(self, sql: str, rows: Iterable[Params]) -> int:
        """As ``Database.execute_many``."""
        for first in (rows := list(rows))[:1]:
            self.explain(sql, first)
        return super().execute_many(sql, rows)

    def uses(self, index: str) -> bool:
        """Whether a step goes by an index."""
        return any(f"INDEX {index}" in step for step in self.plan)

    def sorts(self) -> list[str]:
        """The steps that sort all rows that were found."""
        return [step for step in self.plan if step == "USE TEMP B-TREE FOR ORDER BY"]


@contextmanager
def explained(path: Path) -> Iterator[Explained]:
    """The file at ``path``, whose queries are explained."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        found = Explained(path, connection)
        found.plan = []
        yield found
