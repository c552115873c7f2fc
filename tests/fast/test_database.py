"""The file: opening, transactions, checkpoints, locks, and SQLite's errors in our words."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whalesync.errors import DamagedDatabase, DatabaseBusy, ForeignDatabase, NoDatabase, StoreError
from whalesync.store import database as module
from whalesync.store.database import Database, open_database, open_existing, translate
from whalesync.store.file import APPLICATION_ID, beside
from whalesync.store.locks import FileLock, is_held


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be; its folder is not there yet."""
    return tmp_path / "folder" / "whalesync.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    """A new file."""
    with open_database(path) as opened:
        yield opened


def test_a_new_file_is_whole_and_marked(path: Path) -> None:
    """In WAL mode, with our mark; nothing is left beside it, not even what a process left that was killed making it."""
    path.parent.mkdir()
    new = path.with_name("whalesync.db.new")
    for leftover in (new, *beside(new)):
        leftover.write_bytes(b"half")
    with open_database(path) as db:
        assert db.value("PRAGMA application_id") == APPLICATION_ID
        assert db.value("PRAGMA journal_mode") == "wal"
        assert db.value("PRAGMA auto_vacuum") == 2
        assert (db.value("PRAGMA foreign_keys"), db.value("PRAGMA synchronous")) == (1, 1)
        assert abs((db.fact("made_at") or 0) - time.time() * 1000) < 60_000
    assert {file.name for file in path.parent.iterdir()} == {"whalesync.db", "whalesync.db.open.lock"}


def test_opening_again_changes_nothing(path: Path) -> None:
    """Not a byte, and it does not wait for another process that makes or updates a file."""
    open_database(path).close()
    before = path.read_bytes()
    with FileLock(path, "open") as lock:
        assert lock.try_acquire()
        open_database(path).close()
    assert path.read_bytes() == before


def test_an_empty_file_becomes_ours(path: Path) -> None:
    """With the permissions that its maker gave it, and by a link too."""
    path.parent.mkdir()
    path.touch(mode=0o600)
    link = path.with_name("link.db")
    link.symlink_to(path)
    open_database(link).close()
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_looking_at_what_is_not_there_makes_nothing(path: Path) -> None:
    """The error names the file."""
    with pytest.raises(NoDatabase, match=str(path)):
        open_existing(path)
    assert not path.parent.exists()


def test_looking_writes_nothing(db: Database, path: Path) -> None:
    """Not even by mistake."""
    with open_existing(path) as looking, pytest.raises(StoreError):
        looking.execute("DELETE FROM facts")


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(84), b"text" * 100])
def test_a_file_that_is_not_ours_is_named(content: bytes, tmp_path: Path) -> None:
    """Neither working nor looking touches it."""
    path = tmp_path / "file"
    path.write_bytes(content)
    for opening in (open_database, open_existing):
        with pytest.raises(ForeignDatabase, match=str(path)):
            opening(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (content, [path])


def test_a_transaction_is_whole_or_not_at_all(db: Database) -> None:
    """Whatever leaves it."""
    for error in (ValueError, KeyboardInterrupt, StoreError):
        with pytest.raises(error), db.write():  # noqa: PT012  (it is about leaving the block)
            db.remember("half", 1)
            raise error
    assert db.fact("half") is None
    with db.write():
        db.remember("whole", 1)
    assert db.fact("whole") == 1


def test_a_failing_rollback_does_not_hide_the_first_error(db: Database) -> None:
    """The first error is the one that counts; closing rolls back."""

    def deny_rollback(action: int, name: str | None, *_: object) -> int:
        rollback = action == sqlite3.SQLITE_TRANSACTION and name == "ROLLBACK"
        return sqlite3.SQLITE_DENY if rollback else sqlite3.SQLITE_OK

    db.connection.set_authorizer(deny_rollback)
    with pytest.raises(ValueError, match="first"), db.write():  # noqa: PT012  (it is about leaving the block)
        db.remember("half", 1)
        raise ValueError("first")
    with open_database(db.path) as other:
        assert other.fact("half") is None


def test_queries_of_a_read_transaction_see_one_state(db: Database, path: Path) -> None:
    """Though another process writes in between, and is not kept waiting."""
    with db.read():
        assert db.fact("number", 0) == 0
        with open_database(path) as other, other.write():
            other.remember("number", 1)
        assert db.fact("number", 0) == 0
    assert db.fact("number", 0) == 1


def test_a_lock_that_is_kept_is_waited_for_once(db: Database, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed run still wants to write gives up sooner."""
    waits: list[float] = []
    monkeypatch.setattr(module, "BUSY_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(time, "sleep", waits.append)
    with open_database(path) as patient, db.write():
        for waited in (True, False):
            waits.clear()
            with pytest.raises(DatabaseBusy, match="fuser"), patient.write():
                pass
            assert bool(waits) is waited


def test_a_checkpoint_empties_the_wal(db: Database, path: Path) -> None:
    """And only ours does: writing alone makes it grow."""
    for number in range(50):
        with db.write():
            db.remember(f"fact {number}", number)
    assert db.wal_bytes() > 100_000
    with FileLock(path, "checkpoint") as lock:
        assert lock.try_acquire()
        db.checkpoint()  # another process is at it
    assert db.wal_bytes() > 100_000
    db.checkpoint()
    assert db.wal_bytes() == 0


def test_text_that_is_not_utf_8_is_damage(db: Database) -> None:
    """Python cannot read it."""
    with pytest.raises(DamagedDatabase, match="backup"):
        db.rows("SELECT CAST(x'ff' AS TEXT)")


def test_bad_sql_stays_what_it_is(db: Database) -> None:
    """A bug is not wrapped."""
    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        db.rows("SELECT nonsense")


@pytest.mark.parametrize(
    ("code", "words"),
    [("FULL", "no room"), ("IOERR", "disk"), ("IOERR_FSYNC", "disk"), ("READONLY", "write"), ("CANTOPEN", "write"),
     ("CORRUPT", "damaged"), ("CORRUPT_VTAB", "damaged"), ("NOTADB", "damaged"), ("BUSY_SNAPSHOT", "locked"),
     ("LOCKED", "locked"), ("NOMEM", "memory")],
)  # fmt: skip
def test_errors_of_sqlite_are_told_in_our_words(code: str, words: str) -> None:
    """Extended codes too; each names the file, and is one line."""
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
    with pytest.raises(StoreError, match=words) as caught:
        translate(error, Path("/where/it/is.db"))
    assert "/where/it/is.db" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_a_lock_is_not_inherited(path: Path) -> None:
    """A child that lives on does not keep it."""
    path.parent.mkdir()
    lock = FileLock(path, "job")
    assert lock.try_acquire() and is_held(path, "job")
    with subprocess.Popen(["sleep", "30"], close_fds=False) as child:
        lock.release()
        assert not is_held(path, "job")
        child.kill()
