"""Making the database file, and bringing one of an earlier version up to date."""

from __future__ import annotations

import time
from pathlib import Path

from sqlite_utils import Database as SqliteUtils

from whalesync.errors import DamagedDatabase, StoreError
from whalesync.store.database import Database, connect, translated
from whalesync.store.file import APPLICATION_ID, RESTORE, SCHEMA_VERSION, beside, header
from whalesync.store.migrations import steps


def bring_up_to_date(path: Path) -> None:
    """Make the file, or apply the steps that it lacks. Nobody else may do so meanwhile."""
    if not header(path):
        _make(path.resolve())
        return
    with connect(path) as database:
        # A commit that was killed before its checkpoint stands in the WAL, where the header does not show it.
        if database.value("PRAGMA user_version") != SCHEMA_VERSION:
            # Tables are replaced under the rows and views that refer to them; all references are checked afterwards.
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute("PRAGMA legacy_alter_table = ON")
            _apply_steps(database)
        database.value("PRAGMA journal_mode = WAL")
        database.checkpoint()


def _make(path: Path) -> None:
    """Make the file under another name: under its own there is all of it, or nothing, whatever happens meanwhile."""
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, *beside(new), *beside(path)):
            leftover.unlink(missing_ok=True)  # SQLite would play an old journal into the new file
        with connect(new) as database:
            # So that cleanup can give pages back to the file system; it takes effect on an empty file only.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _apply_steps(database)
            database.value("PRAGMA journal_mode = WAL")
        if path.exists():
            new.chmod(path.stat().st_mode & 0o777)
        new.replace(path)
    except OSError as exc:
        raise StoreError(
            f"cannot make the database {path} ({exc.strerror}): this user must be able to write the folder"
        ) from exc


def _apply_steps(database: Database) -> None:
    with database.write():
        dangling = len(database.rows("PRAGMA foreign_key_check"))  # rows that somebody has deleted by hand
        with translated(database.path):
            steps.apply(SqliteUtils(database.connection, execute_plugins=False))
        if len(database.rows("PRAGMA foreign_key_check")) > dangling:
            raise DamagedDatabase(f"{database.path} has rows that refer to missing rows: {RESTORE}")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if database.fact("made_at") is None:
            database.remember("made_at", int(time.time() * 1000))
