"""Disks that are full, fail or are read-only, and files that are not ours, truncated or damaged."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.host import KEY, Host, fill_books, wallet
from support.kills import KILLS

from whalesync.sandbox import Books, Sandbox

WATCHED = (wallet(1), wallet(2))
JOBS = ("sync-whales", "compute-stats", "cleanup")


@pytest.fixture
def small_disk(tmp_path: Path, exchange: Sandbox) -> Iterator[Host]:
    """A machine whose database is on a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield Host(folder, exchange.url)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill_disk(host: Host, leave_kib: int = 0) -> Path:
    """A file that leaves this much room on the machine's disk."""
    host.environment()  # makes its file
    disk = os.statvfs(host.folder)
    filler = host.folder / "filler"
    filler.write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - leave_kib * 1024))
    return filler


def check_recovers(host: Host, books: Books) -> None:
    """The file is whole, and the next run stores everything."""
    host.check_whole()
    host.succeed("sync-whales")
    host.check_whole()
    host.check_exact(books)


@pytest.mark.parametrize("room_kib", [0, 32, 100, 160])
def test_full_disk(room_kib: int, small_disk: Host, books: Books) -> None:
    """With less room than a run needs it fails with a clear line that names the file; with room again, it recovers."""
    host = small_disk
    host.watch(*WATCHED)
    filler = fill_disk(host, room_kib)
    ended = host.succeed_or_fail("sync-whales")
    assert str(host.db) in ended.err or ended.code == 0
    assert ended.code == 1 or room_kib > 100
    filler.unlink()
    check_recovers(host, books)


def test_no_room_to_create_the_file(small_disk: Host) -> None:
    """A full disk is said at the first run too, and the run after it creates the file."""
    filler = fill_disk(small_disk)
    line = small_disk.fail("sync-whales")
    assert "disk" in line or "No space" in line
    filler.unlink()
    small_disk.succeed("sync-whales")


@pytest.mark.parametrize("limit_kib", [0, 40, 120])
def test_file_size_limit(limit_kib: int, host: Host, books: Books) -> None:
    """As with a full disk, where the limit is on the size of a file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kib * 1024, limit_kib * 1024))

    ended = host.succeed_or_fail("sync-whales", preexec_fn=limit)
    assert ended.code == 1 or limit_kib > 90
    check_recovers(host, books)


@pytest.mark.parametrize(
    ("error", "call", "when"),
    [
        ("EIO", "pwrite64", "9"),
        ("ENOSPC", "pwrite64", "40+"),
        ("EIO", "pwrite64", "120+"),
        ("EIO", "fdatasync", "1+"),
        ("ENOSPC", "fdatasync", "4"),
        ("EIO", "ftruncate", "1+"),
        ("ENOSPC", "flock", "3"),
    ],
)
def test_errors_of_the_disk(error: str, call: str, when: str, host: Host, books: Books, strace: str) -> None:
    """An error of one call, or of all from the Nth on: one clear line or no harm done, and the next run recovers."""
    inject = f"inject={call}:error={error}:when={when}"
    host.succeed_or_fail(
        "sync-whales", before=[strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    )
    check_recovers(host, books)


@pytest.mark.parametrize(
    ("job", "run_before", "what"),
    [
        ("sync-whales", True, "file"),
        ("sync-whales", True, "folder"),
        ("sync-whales", False, "folder"),
        ("sync-whales", False, "both"),
        ("cleanup", True, "file"),
        ("cleanup", True, "both"),
    ],
)
def test_read_only(job: str, run_before: bool, what: str, host: Host, unprivileged: list[str]) -> None:
    """One line that names the file; nothing is changed; with the permissions back, the job runs."""
    if run_before:
        host.succeed(job)  # its lock file is there
    host.environment()
    for path in host.folder.iterdir():
        path.chmod(0o666 if what == "folder" else 0o444)
    host.folder.chmod(0o777 if what == "file" else 0o555)
    before = host.db.read_bytes()
    try:
        line = host.fail(job, before=unprivileged)
    finally:
        host.folder.chmod(0o777)
    assert str(host.db) in line and "writ" in line
    assert host.db.read_bytes() == before
    for path in host.folder.iterdir():
        path.chmod(0o666)
    host.succeed(job, before=unprivileged)


def other_program(host: Host) -> bytes:
    """A database of another program."""
    file = host.folder / "other.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE markets (id)")
    return file.read_bytes()


NOT_OURS: dict[str, Callable[[Host, bytes], bytes]] = {
    "text": lambda host, content: b"Dear diary, today I saw a whale.\n" * 100,
    "another program's": lambda host, content: other_program(host),
    "newer": lambda host, content: content[:60] + (99).to_bytes(4, "big") + content[64:],
    "truncated": lambda host, content: content[:-5000],
    "truncated in the header": lambda host, content: content[:50],
    "begins with zeros": lambda host, content: bytes(100) + content[100:],
}


@pytest.mark.parametrize("kind", NOT_OURS)
def test_a_file_that_is_not_whole_and_ours(kind: str, host: Host) -> None:
    """Each job names it, and what to do; not a byte of it is touched, and nothing appears beside it."""
    content = NOT_OURS[kind](host, host.db.read_bytes())
    host.start_over(content)
    host.environment()
    before = sorted(host.folder.iterdir())
    for job in JOBS:
        line = host.fail(job)
        assert str(host.db) in line
        assert ("upgrade" if kind == "newer" else "backup") in line.lower()
        assert host.db.read_bytes() == content
        assert sorted(host.folder.iterdir()) == before


def test_damaged_pages(tmp_path: Path) -> None:
    """Whichever page is damaged: a line that names the file and ``backup``, or no harm to this job."""
    books = fill_books(2, 150)
    noticed = 0
    with Sandbox(books, rate=None, key=KEY) as exchange:
        host = Host(tmp_path, exchange.url)
        host.watch(*WATCHED)
        host.succeed("sync-whales")
        whole = host.db.read_bytes()
        starts = range(4096, len(whole), 4096)
        for number, start in enumerate(starts[:: max(1, len(starts) // (4 * KILLS))]):
            host.start_over(whole[:start] + os.urandom(4096) + whole[start + 4096 :])
            ended = host.succeed_or_fail(JOBS[number % 3])
            noticed += ended.code
            assert ended.code == 0 or (str(host.db) in ended.err and "backup" in ended.err), (start, ended)
    assert noticed


@pytest.mark.parametrize("name", ["pipe", "."])
def test_a_folder_or_a_pipe(name: str, tmp_path: Path, exchange: Sandbox) -> None:
    """What is not a file is refused, and not waited for."""
    os.mkfifo(tmp_path / "pipe")
    host = Host(tmp_path, exchange.url, environ={"WHALESYNC_DB": str(tmp_path / name)})
    assert str(tmp_path) in host.fail("sync-whales", timeout=20)


def test_the_wal_of_a_file_that_is_gone(host: Host, books: Books) -> None:
    """A WAL that was left behind when its file was deleted does not get into the new file."""
    with closing(sqlite3.connect(host.db)) as connection:
        connection.execute("DELETE FROM whales")
        connection.commit()
        wal = host.beside("-wal").read_bytes()
    host.db.unlink()
    host.beside("-wal").write_bytes(wal)
    host.watch(*WATCHED)
    check_recovers(host, books)
