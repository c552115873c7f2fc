"""Copying a database while it is in use, and checking whether one is intact."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from whalesync.store.database import Database

INTACT = "ok"


def copy_pages(db: Database, copy: Path, pages: int, on_pages: Callable[[], object]) -> None:
    """Copy the state of one moment into an empty file; ``on_pages`` is called after each ``pages`` pages.

    Python runs signal handlers between its own instructions: without that call SIGTERM would wait for the end. The
    copy is not durable yet, and has no journal: should this fail, it is to be deleted.
    """
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        with db.read():
            db.fact("made_at")  # the first query fixes the moment
            db.connection.backup(connection, pages=pages, progress=lambda *_: on_pages())


def fault_in(copy: Path) -> str | None:
    """What SQLite finds wrong in a file that nobody else uses; None if it is intact."""
    # Immutable: SQLite then makes no WAL beside it.
    with closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as connection:
        fault: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if fault == INTACT else fault


def fault_of(db: Database) -> str | None:
    """What is wrong in an open database: damaged pages, or rows that refer to missing rows; None if it is intact."""
    fault: str = db.value("PRAGMA quick_check(1)")
    if fault != INTACT:
        return f"is damaged ({fault})"
    orphan = db.one("PRAGMA foreign_key_check")
    return None if orphan is None else f"has a row of {orphan[0]} that refers to a missing row of {orphan[2]}"
