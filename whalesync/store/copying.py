"""Copying a database while it is in use, in either direction, and checking whether one is intact."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from whalesync.errors import DatabaseBusy
from whalesync.store.database import BUSY_SECONDS, Database, translate

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


def damage_of(db: Database) -> str | None:
    """What SQLite finds wrong in the pages of an open database; None if they are intact."""
    fault: str = db.value("PRAGMA quick_check(1)")
    return None if fault == INTACT else fault


def fault_of(db: Database) -> str | None:
    """What is wrong in an open database: damaged pages, or rows that refer to missing rows; None if it is intact."""
    fault = damage_of(db)
    if fault is not None:
        return f"is damaged ({fault})"
    orphan = db.one("PRAGMA foreign_key_check")
    return None if orphan is None else f"has a row of {orphan[0]} that refers to a missing row of {orphan[2]}"


def overwrite(
    db: Database, copy: Path, pages: int, on_locked: Callable[[], None], on_pages: Callable[[], object]
) -> None:
    """Replace the content of an open database by that of ``copy``, which nobody else uses, in one transaction.

    Other connections see the old content until the end and the new one from then on, as with any other commit: the
    file stays the same, so none is left on a deleted one. ``on_locked`` is called when no other connection can write
    any more and before anything is changed; what it or ``on_pages`` raises rolls everything back.

    Raises:
        DatabaseBusy: another process kept the write lock.
        StoreError: the disk is full, ...
    """
    is_locked = False

    def after_step(status: int, _left: int, _total: int) -> None:
        nonlocal is_locked
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # sqlite3 itself would try again without end
            raise DatabaseBusy(
                f"another process has kept {db.path} locked for over {BUSY_SECONDS:.0f} s: see which with 'fuser', and "
                "end it if it hangs; nothing was changed"
            )
        if not is_locked:  # the first step takes the lock, and what it copies is not committed
            is_locked = True
            on_locked()
        if status != sqlite3.SQLITE_DONE:
            on_pages()

    with closing(sqlite3.connect(copy)) as source:
        # The last step commits, so the first must not be the last; a database of ours has many pages.
        first = source.execute("PRAGMA page_count").fetchone()[0] - 1
        try:
            source.backup(db.connection, pages=min(pages, first), progress=after_step)
        except sqlite3.DatabaseError as exc:
            translate(exc, db.path)


def continue_numbers(new: Database, old: Database) -> None:
    """Let ids and revisions of ``new`` go on from those of ``old``, so that readers never see one used twice.

    And let the file keep the number by which others tell it from other files.
    """
    sql = "SELECT name, seq FROM sqlite_sequence"
    last = dict(map(tuple, old.rows(sql)))
    with new.write():
        for name, number in new.rows(sql):
            last[name] = max(number, last.get(name, 0))
        new.execute("DELETE FROM sqlite_sequence")
        new.execute_many("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", last.items())
        new.remember("revision", max(new.fact("revision", 0) or 0, old.fact("revision", 0) or 0))
        for name in ("backup_at", "file_id"):
            if (value := old.fact(name)) is not None:
                new.remember(name, value)
