"""A copy put in the place of the database: checked first, the old file kept, whoever reads goes on."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.rows import MOBY, NOW, OTHER, make_old_file, market, trade, whale

from whalesync.errors import DamagedDatabase, ForeignDatabase, JobActive, StoreError
from whalesync.host.backup import backup
from whalesync.host.restore import RestoreResult, interrupted, restore
from whalesync.jobs.table import JOBS, VERIFY
from whalesync.store.database import open_database, open_existing
from whalesync.store.file import SCHEMA_VERSION
from whalesync.store.locks import FileLock

LATER = NOW + 86_400_000
KEPT = "whalesync.db.before-restore-20260302T120000Z"
TRADES = "SELECT timestamp FROM whale_activity ORDER BY id"


def rows(path: Path, sql: str = TRADES) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute(sql).fetchall()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if not file.name.endswith(".lock")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy with two trades of one whale."""
    copy = tmp_path / "copy.db"
    with open_database(tmp_path / "data" / "whalesync.db") as db:
        with db.write():
            of, where = whale(db, MOBY), market(db)
            trade(db, of, where, NOW - 1000)
            trade(db, of, where, NOW)
        backup(db, copy, force=False, now=NOW + 5)
    return copy


@pytest.fixture
def path(copy: Path, tmp_path: Path) -> Path:
    """The database from which the copy was made, which has stored another trade and another whale since."""
    path = tmp_path / "data" / "whalesync.db"
    with open_database(path) as db, db.write():
        trade(db, whale(db, OTHER), 1, NOW + 1000)
        db.remember("revision", 700)
    path.chmod(0o640)
    return path


def put_back(copy: Path, path: Path, *, force: bool = False) -> RestoreResult:
    return restore(copy, path, force=force, now=LATER)


def damage(path: Path) -> None:
    """Overwrite the root page of a table, and leave the header."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sync_logs'").fetchone()
    with open(path, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)


def test_the_content_of_the_copy_is_back_and_the_old_one_beside_it(copy: Path, path: Path) -> None:
    """Both whole, with the old permissions; the copy itself is not touched."""
    before = copy.read_bytes()
    assert put_back(copy, path) == RestoreResult(path, 2, NOW, path.with_name(KEPT))
    assert rows(path) == [(NOW - 1000,), (NOW,)]
    assert rows(path.with_name(KEPT)) == [(NOW - 1000,), (NOW,), (NOW + 1000,)]
    assert {file.stat().st_mode & 0o777 for file in (path, path.with_name(KEPT))} == {0o640}
    assert (copy.read_bytes(), names(path.parent)) == (before, {"whalesync.db", KEPT})


def test_the_old_file_can_be_restored_again(copy: Path, path: Path) -> None:
    """In the same second, too: no kept file is overwritten."""
    put_back(copy, path)
    second = put_back(path.with_name(KEPT), path)
    assert second.kept is not None and second.kept.name == "whalesync.db.before-restore-20260302T120001Z"
    assert len(rows(path)) == 3 and len(rows(second.kept)) == 2


def test_open_connections_go_on_with_the_new_content(copy: Path, path: Path) -> None:
    """A transaction under way still sees the old one; the file is the same, so nobody reads a deleted one."""
    inode = path.stat().st_ino
    with closing(sqlite3.connect(path, isolation_level=None)) as inside, closing(sqlite3.connect(path)) as reader:
        inside.execute("BEGIN")
        assert len(inside.execute(TRADES).fetchall()) == len(reader.execute(TRADES).fetchall()) == 3
        put_back(copy, path)
        assert len(inside.execute(TRADES).fetchall()) == 3
        inside.execute("COMMIT")
        assert len(inside.execute(TRADES).fetchall()) == len(reader.execute(TRADES).fetchall()) == 2
    assert path.stat().st_ino == inode


def test_a_commit_just_before_is_in_the_kept_file(copy: Path, path: Path) -> None:
    """No other connection can write from the moment that is kept until the new content is there."""
    refused: list[str] = []

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=0)) as other:
            try:
                other.execute("DELETE FROM whale_activity")
            except sqlite3.OperationalError as exc:
                refused.append(str(exc))

    restore(copy, path, force=False, now=LATER, pages=1, on_pages=write)
    assert len(refused) > 10 and set(refused) == {"database is locked"}
    assert len(rows(path.with_name(KEPT))) == 3


def test_ids_and_revisions_only_grow(copy: Path, path: Path) -> None:
    """Whoever asks for what is newer than the last number seen misses nothing that is fetched again."""
    with open_database(path) as db:
        db.remember("backup_at", NOW + 9)
    put_back(copy, path)
    with open_database(path) as db:
        with db.write():
            assert trade(db, 1, 1, NOW + 1000) == 4
            assert whale(db, "0x3") == 3
            assert db.revision() == 701
        assert (db.fact("backup_at"), db.fact("restored_at")) == (NOW + 9, LATER)


def test_a_connection_of_ours_notices(copy: Path, path: Path) -> None:
    """Whether the content or the file was replaced; it stays as it was opened, for reading or for writing."""
    with open_existing(path) as reader, open_database(path) as writer:
        assert not reader.reopen_if_replaced()
        put_back(copy, path)
        assert reader.reopen_if_replaced() and not reader.reopen_if_replaced()
        copy.with_name("x").write_bytes(copy.read_bytes())
        copy.with_name("x").replace(path)
        for file in path.parent.glob("*-*l"):
            file.unlink()
        assert reader.reopen_if_replaced() and writer.reopen_if_replaced()
        writer.remember("mine", 7)
        assert reader.fact("mine") == 7
        with pytest.raises(StoreError):
            reader.remember("mine", 8)


def test_an_older_copy_is_brought_up_to_date(path: Path, tmp_path: Path) -> None:
    """Before it is put in place."""
    old = tmp_path / "old.db"
    make_old_file(old, 2)
    expected = rows(old)
    assert expected
    put_back(old, path)
    assert rows(path) == expected
    assert rows(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_what_the_wal_of_a_copy_holds_is_restored(path: Path, tmp_path: Path) -> None:
    """A file that was copied with its WAL; nothing appears beside it."""
    raw = tmp_path / "raw"
    raw.mkdir()
    with open_database(path) as db:
        trade(db, 1, 1, NOW + 2000)
        for end in ("", "-wal"):
            (raw / f"copy.db{end}").write_bytes(path.with_name(path.name + end).read_bytes())
    put_back(raw / "copy.db", path)
    assert len(rows(path)) == 4
    assert names(raw) == {"copy.db", "copy.db-wal"}


def of_another_program(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE markets (id)")


def of_a_newer_version(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (Path.unlink, "there is no file"),
        (lambda copy: copy.write_text("Dear diary"), "is not an SQLite database"),
        (of_another_program, "is the database of another program"),
        (of_a_newer_version, "was written by a newer whalesync .schema 99, .*: upgrade whalesync"),
        (damage, r"(?s)copy.db is damaged .*: choose a copy made with"),
        (lambda copy: os.truncate(copy, copy.stat().st_size - 5000), "copy.db is damaged.*: choose a copy made with"),
    ],
)
def test_what_is_no_sound_copy_is_refused(copy: Path, path: Path, spoil: Callable[[Path], object], text: str) -> None:
    """With force, too; not a byte beside the database changes."""
    spoil(copy)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(StoreError, match=text):
        put_back(copy, path, force=True)
    assert {file: file.read_bytes() for file in before} == before
    assert names(path.parent) == {"whalesync.db"}


def test_the_database_itself_is_no_copy(path: Path, tmp_path: Path) -> None:
    """Nor is a link to it, or its WAL."""
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "hard.db").hardlink_to(path)
    with open_database(path) as db:
        db.remember("x", 1)
        for source in (path, tmp_path / "link.db", tmp_path / "hard.db", path.with_name(path.name + "-wal")):
            with pytest.raises(StoreError, match="is the database itself"):
                put_back(source, path)


def test_what_an_interrupted_restore_left_is_no_copy(copy: Path, path: Path) -> None:
    """It would be removed before it is read."""
    folder = path.with_name(f".{path.name}.restoring")
    folder.mkdir()
    left = copy.rename(folder / "copy")
    with pytest.raises(StoreError, match="was left by an interrupted restore"):
        put_back(left, path)
    assert left.exists()


@pytest.mark.parametrize("command", [*(each.command for each in (*JOBS, VERIFY)), "restore"])
def test_while_a_job_runs_it_is_refused(copy: Path, path: Path, command: str) -> None:
    """The job is named."""
    with FileLock(path, command) as lock:
        assert lock.try_acquire()
        with pytest.raises(JobActive, match=f"^{command} is running: .*nothing was changed"):
            put_back(copy, path, force=True)
    assert (len(rows(path)), names(path.parent)) == (3, {"whalesync.db"})


def test_no_job_starts_meanwhile(copy: Path, path: Path) -> None:
    """All their locks are held until the end, and free then."""
    taken: set[str] = set()

    def look() -> None:
        for each in (*JOBS, VERIFY):
            with FileLock(path, each.command) as lock:
                if lock.try_acquire():
                    taken.add(each.command)

    restore(copy, path, force=False, now=LATER, on_pages=look)
    assert taken == set()
    look()
    assert taken == {each.command for each in (*JOBS, VERIFY)}


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda path: path.write_text("Dear diary"), ForeignDatabase),
        (of_another_program, ForeignDatabase),
        (of_a_newer_version, ForeignDatabase),
        (damage, DamagedDatabase),
        (lambda path: os.truncate(path, path.stat().st_size - 5000), DamagedDatabase),
    ],
)
def test_a_database_that_is_not_sound_needs_force(
    copy: Path, path: Path, spoil: Callable[[Path], object], error: type[Exception]
) -> None:
    """Then it is kept byte by byte."""
    spoil(path)
    path.chmod(0o604)
    old = path.read_bytes()
    with pytest.raises(error):
        put_back(copy, path)
    put_back(copy, path, force=True)
    assert (len(rows(path)), path.stat().st_mode & 0o777) == (2, 0o604)
    assert path.with_name(KEPT).read_bytes() == old
    assert names(path.parent) == {"whalesync.db", KEPT}


def test_the_new_file_never_meets_the_old_wal(copy: Path, path: Path) -> None:
    """It is kept with the old file, whose last commits it has; also where that file is in use."""
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE markets (id)")
        other.commit()
        put_back(copy, path, force=True)
        assert rows(path) == [(NOW - 1000,), (NOW,)]
        other.execute("INSERT INTO markets VALUES (7)")
        other.commit()
        assert rows(path.with_name(KEPT), "SELECT id FROM markets") == [(7,)]
    assert len(rows(path)) == 2


def test_on_a_new_host_the_folder_is_made(copy: Path, tmp_path: Path) -> None:
    """There is no old file to be kept; a WAL without its file is kept."""
    path = tmp_path / "new" / "folder" / "whalesync.db"
    assert put_back(copy, path) == RestoreResult(path, 2, NOW, None)
    assert (rows(path), names(path.parent)) == ([(NOW - 1000,), (NOW,)], {"whalesync.db"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(copy: Path, path: Path) -> None:
    """Also when root restores the file of another user, sound or not."""
    os.chown(path, 1234, 1235)
    put_back(copy, path)
    damage(path)
    put_back(copy, path, force=True)
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in path.parent.glob("whalesync.db*[bZ]")}
    assert owners == {(1234, 1235)}


def test_a_file_system_without_links_keeps_a_copy(copy: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that is not sound."""

    def refuse(_self: Path, _other: Path) -> None:
        raise PermissionError(1, "Operation not permitted")  # as FAT does

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path.write_text("Dear diary")
    put_back(copy, path, force=True)
    assert (len(rows(path)), path.with_name(KEPT).read_text()) == (2, "Dear diary")


def test_an_interrupted_restore_changes_nothing(copy: Path, path: Path) -> None:
    """A signal ends it after the current pages, wherever that is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    pages = 0
    try:
        for last in (1, 20, 40, 60):

            def interrupt(last: int = last) -> None:
                nonlocal pages
                pages += 1
                if pages == last:
                    os.kill(os.getpid(), signal.SIGINT)

            pages = 0
            with pytest.raises(KeyboardInterrupt):
                restore(copy, path, force=False, now=LATER, pages=1, on_pages=interrupt)
            assert (len(rows(path)), names(path.parent)) == (3, {"whalesync.db"})
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_a_killed_restore_left_is_seen_and_removed(copy: Path, path: Path) -> None:
    """By the next one."""
    folder = path.with_name(".whalesync.db.restoring")
    (folder / "half").mkdir(parents=True)
    assert interrupted(path) == folder
    with FileLock(path, "restore") as lock:
        assert lock.try_acquire() and interrupted(path) is None
    put_back(copy, path)
    assert (interrupted(path), names(path.parent)) == (None, {"whalesync.db", KEPT})


def test_a_writer_that_hangs_is_named(copy: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for as by any job; then nothing has changed."""
    monkeypatch.setattr("whalesync.store.database.BUSY_SECONDS", 0.05)
    with open_database(path) as writer, writer.write(), pytest.raises(StoreError, match="locked for over"):
        put_back(copy, path)
    assert (len(rows(path)), names(path.parent)) == (3, {"whalesync.db"})
