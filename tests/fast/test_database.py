"""The file: opening, transactions, checkpoints, locks, and SQLite's errors in our words."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whalesync.errors import DamagedDatabase, DatabaseBusy, ForeignDatabase, NoDatabase, StoreError
from whalesync.store import database as module
from whalesync.store.database import APPLICATION_ID, Database, open_database, open_existing, translate
from whalesync.store.locks import FileLock, is_held


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "whalesync.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with open_database(path) as opened:
        yield opened


def test_a_new_file_is_whole_and_marked(path: Path) -> None:
    """In WAL mode, with our mark, and nothing is left beside it."""
    with open_database(path) as db:
        assert db.value("PRAGMA application_id") == APPLICATION_ID
        assert db.value("PRAGMA journal_mode") == "wal"
        assert db.value("PRAGMA auto_vacuum") == 2
        assert (db.value("PRAGMA foreign_keys"), db.value("PRAGMA synchronous")) == (1, 1)
        assert abs((db.fact("made_at") or 0) - time.time() * 1000) < 60_000
    assert sorted(file.name for file in path.parent.iterdir()) == ["whalesync.db", "whalesync.db.open.lock"]


def test_opening_again_changes_nothing(path: Path) -> None:
    """Not a byte, and it takes no lock on the making."""
    open_database(path).close()
    before = path.read_bytes()
    with FileLock(path, "open") as lock:
        assert lock.try_acquire()
        open_database(path).close()
    assert path.read_bytes() == before


def test_an_empty_file_becomes_ours(path: Path) -> None:
    """With the rights that its maker gave it, and by a link too."""
    path.parent.mkdir()
    path.touch(mode=0o600)
    link = path.with_name("link.db")
    link.symlink_to(path)
    open_database(link).close()
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_what_a_killed_making_left_behind(path: Path) -> None:
    """Is swept away by the next."""
    path.parent.mkdir()
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(f"whalesync.db.new{suffix}").write_bytes(b"half")
    open_database(path).close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["whalesync.db", "whalesync.db.open.lock"]


def test_a_copy_that_is_not_in_wal_mode_gets_there(path: Path) -> None:
    """As VACUUM INTO makes it; nothing is lost."""
    with open_database(path) as db, db.write():
        db.remember("answer", 42)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    connection.close()
    with open_existing(path) as db:
        assert db.value("PRAGMA journal_mode") == "wal"
        assert db.fact("answer") == 42


def test_looking_at_what_is_not_there(path: Path) -> None:
    """Makes nothing."""
    with pytest.raises(NoDatabase, match=str(path)):
        open_existing(path)
    assert not path.parent.exists()


def test_looking_writes_nothing(db: Database, path: Path) -> None:
    """Not even by mistake."""
    with open_existing(path) as looking, pytest.raises(StoreError):
        looking.execute("DELETE FROM facts")


def test_a_file_cut_short(path: Path) -> None:
    """Is told, unless it is only that a checkpoint has yet to come."""
    open_database(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedDatabase, match="backup"):
        open_database(path)

    def mend() -> None:
        time.sleep(0.01)
        path.write_bytes(whole)

    thread = threading.Thread(target=mend)
    thread.start()
    open_database(path).close()
    thread.join()


@pytest.mark.parametrize(
    "content", [b"x", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(84), b"text" * 100]
)
def test_a_file_that_is_not_ours(content: bytes, path: Path) -> None:
    """Is named and left alone."""
    path.parent.mkdir()
    path.write_bytes(content)
    for opening in (open_database, open_existing):
        with pytest.raises(ForeignDatabase, match=str(path)):
            opening(path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["whalesync.db"]


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


def test_a_failing_rollback_does_not_cover_the_first_error(db: Database) -> None:
    """The first error is the one that counts."""

    def deny_rollback(action: int, name: str | None, *_: object) -> int:
        rollback = action == sqlite3.SQLITE_TRANSACTION and name == "ROLLBACK"
        return sqlite3.SQLITE_DENY if rollback else sqlite3.SQLITE_OK

    db.connection.set_authorizer(deny_rollback)
    with pytest.raises(ValueError, match="first"), db.write():  # noqa: PT012  (it is about leaving the block)
        db.remember("half", 1)
        raise ValueError("first")
    assert db.connection.in_transaction


def test_a_writer_waits_for_another(db: Database, path: Path) -> None:
    """And gets its turn a few milliseconds after it."""
    with open_database_elsewhere(path, seconds=0.3):
        begun = time.monotonic()
        with db.write():
            db.remember("mine", 1)
        assert 0.1 < time.monotonic() - begun < 1.5


def test_a_writer_that_keeps_the_lock(db: Database, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for once; what is tried after that gives up soon, until the lock was got again."""
    monkeypatch.setattr(module, "BUSY_AGAIN_SECONDS", 0.05)
    db._patience = 0.3
    with open_database_elsewhere(path, seconds=30):
        for least, most in ((0.3, 1.0), (0.05, 0.25)):
            begun = time.monotonic()
            with pytest.raises(DatabaseBusy, match="fuser"), db.write():
                pass
            assert least <= time.monotonic() - begun < most
    with db.write():
        pass
    assert db._patience == module.BUSY_SECONDS


class open_database_elsewhere:
    """Another process that holds the write lock for so long."""

    def __init__(self, path: Path, seconds: float) -> None:
        code = (
            "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            f"c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep({seconds})"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_checkpoint_empties_the_wal(db: Database, path: Path) -> None:
    """And only ours does: writing alone leaves it to grow."""
    for number in range(50):
        with db.write():
            db.remember(f"fact {number}", number)
    assert db.wal_bytes() > 100_000
    with FileLock(path, "checkpoint") as lock:
        assert lock.try_acquire()
        db.checkpoint()  # somebody else is at it
    assert db.wal_bytes() > 100_000
    db.checkpoint()
    assert db.wal_bytes() == 0


def test_text_that_is_none(db: Database) -> None:
    """What Python cannot read of a damaged file is told as damage."""
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
def test_errors_in_our_words(code: str, words: str) -> None:
    """Extended codes too; each names the file, and is one line."""
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
    with pytest.raises(StoreError, match=words) as caught:
        translate(error, Path("/where/it/is.db"))
    assert "/where/it/is.db" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_a_lock_is_held_by_one(path: Path) -> None:
    """Until it is given back; the file stays."""
    path.parent.mkdir()
    one, other = FileLock(path, "job"), FileLock(path, "job")
    assert not is_held(path, "job")
    assert one.try_acquire()
    assert is_held(path, "job")
    assert not other.try_acquire(0.05)
    with pytest.raises(DatabaseBusy, match="fuser"):
        other.acquire(0.01)
    one.release()
    assert other.try_acquire()
    other.release()
    assert one.path.exists()
    assert not is_held(path, "job")


def test_a_lock_is_not_inherited(path: Path) -> None:
    """A child that lives on does not keep it."""
    path.parent.mkdir()
    lock = FileLock(path, "job")
    assert lock.try_acquire()
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    lock.release()
    assert not is_held(path, "job")
    child.kill()
    child.wait()


def test_one_lock_by_every_name(path: Path, tmp_path: Path) -> None:
    """A link to the file leads to the same lock."""
    open_database(path).close()
    (tmp_path / "link.db").symlink_to(path)
    with FileLock(path, "job") as lock:
        assert lock.try_acquire()
        assert is_held(tmp_path / "link.db", "job")


def test_a_lock_file_that_cannot_be_made(tmp_path: Path) -> None:
    """It is told as a failure of the store."""
    with pytest.raises(StoreError, match="lock file"):
        FileLock(tmp_path / "none" / "db", "job").try_acquire()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nor is a folder taken for a file."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(StoreError, match="no file"):
            open_database(tmp_path / name)
