"""The copy: consistent while jobs write, whole or not there, and never over something else by accident."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import whalesync.host.backup as backup_module
from whalesync.errors import StoreError
from whalesync.host.backup import BackupResult, backup
from whalesync.store.database import Database, open_database, open_existing

NOW = 1_700_000_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "data" / "whalesync.db"
    with open_database(path) as database:
        path.chmod(0o640)
        with database.write():
            database.execute(
                "INSERT INTO whales (id, address, created_at, updated_at) VALUES (1, '0x1', 0, 0)"
            )
        yield database


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_copy_can_take_the_place_of_the_original(db: Database, shelf: Path) -> None:
    """A copy opens as a database of ours, in WAL mode, with the rows that were committed, WAL included."""
    target = shelf / "copy.db"
    result = backup(db, target, force=False, now=NOW)
    assert result == BackupResult(target, target.stat().st_size, replaced=False)
    assert names(shelf) == ["copy.db"]
    with open_database(target) as copy:
        assert [tuple(row) for row in copy.rows("SELECT id, address FROM whales")] == [(1, "0x1")]
        assert copy.value("PRAGMA journal_mode") == "wal"
        assert copy.value("PRAGMA auto_vacuum") == db.value("PRAGMA auto_vacuum") == 2


def test_the_copy_has_the_rights_of_the_original(db: Database, shelf: Path) -> None:
    """Who may not read the database may not read its copy either."""
    backup(db, shelf / "copy.db", force=False, now=NOW)
    assert (shelf / "copy.db").stat().st_mode & 0o777 == 0o640


def test_the_database_remembers_its_last_copy(db: Database, shelf: Path) -> None:
    """The moment of the copy is a fact of the original, even when it was opened only for looking."""
    with open_existing(db.path) as looking:
        backup(looking, shelf / "copy.db", force=False, now=NOW)
    assert db.fact("backup_at") == NOW


def test_an_existing_file_is_not_touched(db: Database, shelf: Path) -> None:
    """Without force an existing file stays as it is, byte by byte."""
    (shelf / "copy.db").write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        backup(db, shelf / "copy.db", force=False, now=NOW)
    assert (shelf / "copy.db").read_text() == "precious"
    assert names(shelf) == ["copy.db"]
    assert db.fact("backup_at") is None


def test_a_file_that_appears_meanwhile_is_not_touched(
    db: Database, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without force a file that appears while the copy is made wins."""
    target = shelf / "copy.db"
    monkeypatch.setattr(backup_module, "_heed_signals", lambda *_: target.write_text("precious"))
    with pytest.raises(StoreError, match="exists already"):
        backup(db, target, force=False, now=NOW)
    assert target.read_text() == "precious"
    assert names(shelf) == ["copy.db"]


def test_force_replaces_at_the_very_end(db: Database, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With force the old file is whole until the new one takes its place in one step."""
    target = shelf / "copy.db"
    target.write_text("old")
    seen: list[str] = []
    monkeypatch.setattr(backup_module, "_heed_signals", lambda *_: seen.append(target.read_text()))
    assert backup(db, target, force=True, now=NOW).replaced
    assert set(seen) == {"old"}
    open_existing(target).close()
    assert names(shelf) == ["copy.db"]


@pytest.mark.parametrize("force", [False, True])
def test_the_database_itself_is_refused(db: Database, shelf: Path, force: bool) -> None:
    """Neither the database, nor a link to it, nor its WAL can be the target, force or not."""
    (shelf / "link.db").symlink_to(db.path)
    (shelf / "hard.db").hardlink_to(db.path)
    wal = db.path.with_name(db.path.name + "-wal")
    for target in (db.path, wal, shelf / "link.db", shelf / "hard.db"):
        with pytest.raises(StoreError, match="is the database itself"):
            backup(db, target, force=force, now=NOW)
    assert db.value("PRAGMA quick_check") == "ok"


@pytest.mark.parametrize("force", [False, True])
def test_another_database_in_use_is_refused(db: Database, shelf: Path, force: bool) -> None:
    """A file with a WAL beside it is in use: SQLite would play that WAL into the copy."""
    with open_database(shelf / "other.db") as other:
        with other.write():
            other.remember("mine", 1)
        with pytest.raises(StoreError, match="is a database in use"):
            backup(db, shelf / "other.db", force=force, now=NOW)
        assert other.fact("mine") == 1


def test_a_missing_folder_is_named(db: Database, shelf: Path) -> None:
    """No folder is made by guess: the line names what is missing."""
    with pytest.raises(StoreError, match=f"there is no folder {shelf / 'typo'}: make it"):
        backup(db, shelf / "typo" / "copy.db", force=False, now=NOW)


def test_a_folder_as_target_is_refused(db: Database, shelf: Path) -> None:
    """The target must be a file's name, force or not."""
    with pytest.raises(StoreError, match="is a folder"):
        backup(db, shelf, force=True, now=NOW)


def test_a_folder_that_cannot_be_written_is_named(db: Database) -> None:
    """Where no file can be made, the line says so."""
    with pytest.raises(StoreError, match=r"cannot make the copy /proc/copy\.db"):
        backup(db, Path("/proc/copy.db"), force=False, now=NOW)


LIMITED = """
import resource, sys
from pathlib import Path
from whalesync.errors import StoreError
from whalesync.host.backup import backup
from whalesync.store.database import open_database
with open_database(Path(sys.argv[1])) as db:
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    try:
        backup(db, Path(sys.argv[2]), force=False, now=1)
    except StoreError as exc:
        print(exc)
"""


def test_a_copy_that_does_not_fit_leaves_nothing(db: Database, shelf: Path) -> None:
    """When the disk or a limit ends the writing, nothing stays behind and one line says so."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, db.path, shelf / "copy.db"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"cannot copy the database to {shelf / 'copy.db'} (")
    assert done.stdout.count("\n") == 1
    assert names(shelf) == []


def test_a_disk_without_room_is_named(db: Database, shelf: Path) -> None:
    """On a full disk nothing stays behind and the line says what is short."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", shelf], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a disk that is full takes the right to mount one")
    try:
        with pytest.raises(StoreError, match=f"no room for the copy in {shelf}: free some disk space"):
            backup(db, shelf / "copy.db", force=False, now=NOW)
        assert names(shelf) == []
    finally:
        subprocess.run(["umount", shelf], check=True)


def test_a_file_system_without_hard_links_asks_for_force(
    db: Database, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no file can be put in place without the risk of replacing another, the user decides."""

    def refuse(_self: Path, _other: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as FAT does

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(StoreError, match="use --force if you are sure"):
        backup(db, shelf / "copy.db", force=False, now=NOW)
    assert names(shelf) == []
    backup(db, shelf / "copy.db", force=True, now=NOW)
    assert names(shelf) == ["copy.db"]


def test_a_copy_whose_time_cannot_be_noted_stays(
    db: Database, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database itself cannot be written, the copy is good all the same, and the line says both."""
    monkeypatch.setattr(db, "_patience", 0.05)
    with (
        open_database(db.path) as other,
        other.write(),
        pytest.raises(StoreError, match="is a sound copy, but"),
    ):
        backup(db, shelf / "copy.db", force=False, now=NOW)
    open_existing(shelf / "copy.db").close()


class Stop(BaseException):
    """As raised by a signal handler."""


def test_an_interrupted_copy_leaves_nothing(db: Database, shelf: Path) -> None:
    """A signal ends the copying after the batch at hand, and nothing stays behind."""

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backup_module, "_heed_signals", lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
            with pytest.raises(Stop):
                backup(db, shelf / "copy.db", force=False, now=NOW)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert names(shelf) == []
    assert db.fact("backup_at") is None
    backup(db, shelf / "copy.db", force=False, now=NOW)


def test_a_damaged_database_is_not_kept_as_a_copy(db: Database, shelf: Path) -> None:
    """A copy that fails the check is thrown away: a backup that cannot be restored is none."""
    root = db.value("SELECT rootpage FROM sqlite_schema WHERE name = 'whales'")
    db.checkpoint()
    db.close()
    with open(db.path, "r+b") as file:  # the root page of "whales" loses its header
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 64)
    with open_database(db.path) as damaged, pytest.raises(StoreError, match=r"damaged|malformed"):
        backup(damaged, shelf / "copy.db", force=False, now=NOW)
    assert names(shelf) == []


def test_a_copy_shows_one_moment_while_a_job_writes(
    db: Database, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two facts that change together are equal in the copy, and the writer gets on while it is made."""
    with db.write():
        db.execute("CREATE TABLE ballast (bytes BLOB)")
        db.execute_many("INSERT INTO ballast VALUES (randomblob(?))", [(4_000,)] * 200)
        db.remember("left", 0)
        db.remember("right", 0)
    stop = threading.Event()
    rounds: list[int] = []

    def write() -> None:
        with open_database(db.path) as job:
            while not stop.is_set():
                with job.write():
                    job.remember("left", len(rounds))
                    job.remember("right", len(rounds))
                rounds.append(1)

    during: list[int] = []
    monkeypatch.setattr(backup_module, "PAGES_AT_A_TIME", 1)
    monkeypatch.setattr(backup_module, "_heed_signals", lambda *_: during.append(len(rounds)))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            backup(db, shelf / f"{number}.db", force=False, now=NOW)
    finally:
        stop.set()
        writer.join()
    assert during[-1] > during[0]
    for number in range(3):
        with open_existing(shelf / f"{number}.db") as copy:
            assert copy.fact("left") == copy.fact("right")
