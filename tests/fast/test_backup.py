"""The copy: consistent while jobs write, whole or not there, and never over another file by accident."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from whalesync.errors import StoreError
from whalesync.host.backup import BackupResult, backup
from whalesync.store import database
from whalesync.store.database import Database, open_database, open_existing

NOW = 1_700_000_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "data" / "whalesync.db"
    with open_database(path) as database:
        path.chmod(0o640)
        with database.write():
            database.execute("INSERT INTO whales (id, address, created_at, updated_at) VALUES (1, '0x1', 0, 0)")
        yield database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the copies go."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_copy_can_replace_the_original(db: Database, folder: Path) -> None:
    """It opens as a database of ours, in WAL mode, with the committed rows, those in the WAL included, and the mode."""
    target = folder / "copy.db"
    with open_existing(db.path) as reading:
        assert backup(reading, target, force=False, now=NOW) == BackupResult(target, target.stat().st_size)
    assert db.fact("backup_at") == NOW
    assert names(folder) == ["copy.db"]
    assert target.stat().st_mode & 0o777 == 0o640
    with open_database(target) as copy:
        assert [tuple(row) for row in copy.rows("SELECT id, address FROM whales")] == [(1, "0x1")]
        assert copy.value("PRAGMA journal_mode") == "wal"
        assert copy.value("PRAGMA auto_vacuum") == db.value("PRAGMA auto_vacuum") == 2


@pytest.mark.parametrize("appears_late", [False, True])
def test_an_existing_file_is_not_touched(db: Database, folder: Path, appears_late: bool) -> None:
    """Without force it stays as it is, byte by byte, even if it appears while the copy is being made."""
    target = folder / "copy.db"
    if not appears_late:
        target.write_text("precious")
    with pytest.raises(StoreError, match="already exists"):
        backup(db, target, force=False, now=NOW, on_pages=lambda: target.write_text("precious"))
    assert (target.read_text(), names(folder), db.fact("backup_at")) == ("precious", ["copy.db"], None)


def test_force_replaces_at_the_very_end(db: Database, folder: Path) -> None:
    """With force the old file is whole until the new one takes its place in one step."""
    target = folder / "copy.db"
    target.write_text("old")
    seen: list[str] = []
    backup(db, target, force=True, now=NOW, pages=1, on_pages=lambda: seen.append(target.read_text()))
    assert set(seen) == {"old"}
    open_existing(target).close()
    assert names(folder) == ["copy.db"]


@pytest.mark.parametrize("force", [False, True])
def test_databases_in_use_are_refused(db: Database, folder: Path, force: bool) -> None:
    """Neither the database, nor a link to it, nor its WAL; nor another one, whose WAL would be played into it."""
    (folder / "link.db").symlink_to(db.path)
    (folder / "hard.db").hardlink_to(db.path)
    wal = db.path.with_name(db.path.name + "-wal")
    for target in (db.path, wal, folder / "link.db", folder / "hard.db"):
        with pytest.raises(StoreError, match="is the database itself"):
            backup(db, target, force=force, now=NOW)
    assert db.value("PRAGMA quick_check") == "ok"
    with open_database(folder / "other.db") as other:
        with other.write():
            other.remember("mine", 1)
        with pytest.raises(StoreError, match="is a database in use"):
            backup(db, folder / "other.db", force=force, now=NOW)
        assert other.fact("mine") == 1


def test_targets_that_cannot_be_are_named(db: Database, folder: Path) -> None:
    """A missing folder is not made, a folder is not a file, and where no file can be made the line says so."""
    os.mkfifo(folder / "pipe")
    for target, text in (
        (folder / "typo" / "copy.db", f"there is no folder {folder / 'typo'}: make it"),
        (folder, "is a folder: give a file name for the copy"),
        (folder / "pipe", "is not a regular file"),
        (Path("/proc/copy.db"), "cannot make the copy /proc/copy.db"),
    ):
        with pytest.raises(StoreError, match=text):
            backup(db, target, force=True, now=NOW)


def test_a_full_disk_is_named(db: Database, folder: Path) -> None:
    """No file stays behind and the line says what is short."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a full disk")
    try:
        with pytest.raises(StoreError, match=f"no space left for the copy in {folder}: free some disk space"):
            backup(db, folder / "copy.db", force=False, now=NOW)
        assert names(folder) == []
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_file_system_without_hard_links_needs_force(
    db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no file can be put in place without the risk of replacing another, the user decides."""

    def refuse(_self: Path, _other: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as FAT does

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(StoreError, match="use --force if the name is right"):
        backup(db, folder / "copy.db", force=False, now=NOW)
    assert names(folder) == []
    backup(db, folder / "copy.db", force=True, now=NOW)
    assert names(folder) == ["copy.db"]


def test_a_copy_whose_time_cannot_be_recorded_stays(
    db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database itself cannot be written, the copy is good all the same, and the line says both."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with (
        open_existing(db.path) as reading,
        db.write(),
        pytest.raises(StoreError, match="is a complete copy, but its time could not be recorded"),
    ):
        backup(reading, folder / "copy.db", force=False, now=NOW)
    open_existing(folder / "copy.db").close()


def test_an_interrupted_copy_leaves_nothing(db: Database, folder: Path) -> None:
    """A signal ends the copying after the current pages."""
    # Also where the tests were started in the background of a shell, which ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            backup(db, folder / "copy.db", force=False, now=NOW, pages=1, on_pages=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (names(folder), db.fact("backup_at")) == ([], None)


def test_a_damaged_copy_is_deleted(db: Database, folder: Path) -> None:
    """A copy from which nothing can be restored is not a backup."""
    root = db.value("SELECT rootpage FROM sqlite_schema WHERE name = 'whales'")
    db.checkpoint()
    db.close()
    with open(db.path, "r+b") as file:  # the root page of "whales" loses its header
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 64)
    with open_database(db.path) as damaged, pytest.raises(StoreError, match=r"damaged|malformed"):
        backup(damaged, folder / "copy.db", force=False, now=NOW)
    assert names(folder) == []


def test_a_copy_shows_one_moment_while_a_job_writes(db: Database, folder: Path) -> None:
    """Two facts that change together are equal in the copy, and the writer continues while it is made."""
    pages = 0
    with open_database(db.path) as job:

        def write() -> None:
            nonlocal pages
            pages += 1
            with job.write():
                job.remember("left", pages)
                job.execute("CREATE TABLE IF NOT EXISTS filler (bytes BLOB)")
                job.execute("INSERT INTO filler VALUES (randomblob(8000))")
                job.remember("right", pages)

        write()
        backup(db, folder / "copy.db", force=False, now=NOW, pages=1, on_pages=write)
    assert pages > 10
    with open_existing(folder / "copy.db") as copy:
        assert copy.fact("left") == copy.fact("right") == copy.value("SELECT count(*) FROM filler") == 1
