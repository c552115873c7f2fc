"""Disks that are full, fail or are read-only, and files that are not ours, cut short or damaged."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import KEY, Host, fill_books, wallet

from whalesync.sandbox import Books, Sandbox
from whalesync.store.database import APPLICATION_ID

STRACE = shutil.which("strace")
WATCHED = (wallet(1), wallet(2))


@pytest.fixture
def small_disk(tmp_path: Path, exchange: Sandbox) -> Iterator[Host]:
    """A machine whose database is on a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield Host(folder, exchange.url)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("room_kib", [0, 4, 32, 60, 100, 160])
def test_full_disk(room_kib: int, small_disk: Host, books: Books) -> None:
    """With less room than a run needs: one clear line and exit 1, or done; with room again, all is made up for."""
    host = small_disk
    host.environment()
    host.watch(*WATCHED)
    filler = host.folder / "filler"
    with open(filler, "wb") as file:
        free = os.statvfs(host.folder).f_bavail * os.statvfs(host.folder).f_frsize
        file.write(b"x" * (free - room_kib * 1024))
    ended = host.run("sync-whales")
    assert (ended.code, len(ended.lines())) in ((1, 1), (0, 0)), ended
    if ended.code:
        assert "unexpected" not in ended.err
        assert str(host.db) in ended.err
    assert ended.code == 1 or room_kib > 100
    filler.unlink()
    host.check_whole()
    host.succeed("sync-whales")
    host.check_whole()
    host.check_exact(books, 2)


def test_no_room_to_make_the_file(small_disk: Host) -> None:
    """A full disk is told at the first run too, and the run after it makes the file."""
    filler = small_disk.folder / "filler"
    small_disk.environment()
    with open(filler, "wb") as file:
        file.write(b"x" * os.statvfs(small_disk.folder).f_bavail * os.statvfs(small_disk.folder).f_frsize)
    line = small_disk.fail("sync-whales")
    assert "No space" in line or "no room" in line or "disk" in line
    filler.unlink()
    small_disk.succeed("sync-whales")


@pytest.mark.parametrize("limit_kib", [0, 1, 40, 90, 120, 200])
def test_file_size_limit(limit_kib: int, host: Host, books: Books) -> None:
    """As a full disk, where the limit is on the size of a file."""
    ended = host.run(
        "sync-whales",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kib * 1024,) * 2),
    )
    assert (ended.code, len(ended.lines())) in ((1, 1), (0, 0)), ended
    assert "unexpected" not in ended.err
    assert ended.code == 1 or limit_kib > 90
    host.check_whole()
    host.succeed("sync-whales")
    host.check_exact(books, 2)


@pytest.mark.skipif(STRACE is None, reason="needs strace")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize(
    ("call", "when"),
    [("pwrite64", "9"), ("pwrite64", "40+"), ("pwrite64", "120+"), ("pwrite64", "185"), ("fdatasync", "1+"),
     ("fdatasync", "4"), ("ftruncate", "1+"), ("flock", "3")],
)  # fmt: skip
def test_errors_of_the_disk(error: str, call: str, when: str, host: Host, books: Books) -> None:
    """An I/O error of one call, or of all from the Nth on: one clear line or no harm done; the next run mends."""
    assert STRACE is not None
    inject = [STRACE, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
              f"inject={call}:error={error}:when={when}"]  # fmt: skip
    ended = host.run("sync-whales", before=inject)
    assert (ended.code, len(ended.lines())) in ((1, 1), (0, 0)), ended
    assert "unexpected" not in ended.err, ended
    host.check_whole()
    host.succeed("sync-whales")
    host.check_whole()
    host.check_exact(books, 2)


@pytest.mark.parametrize("what", ["file", "folder", "both"])
@pytest.mark.parametrize("job", ["sync-whales", "compute-stats"])
@pytest.mark.parametrize("run_before", [True, False])
def test_read_only(what: str, job: str, run_before: bool, host: Host, unprivileged: list[str]) -> None:
    """One line that names the file, and what to do; nothing is changed, and with the rights back all is well."""
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
    assert "unexpected" not in line
    assert str(host.db) in line
    assert "write" in line
    assert host.db.read_bytes() == before
    for path in host.folder.iterdir():
        path.chmod(0o666)
    host.succeed(job, before=unprivileged)


def text_file() -> bytes:
    return b"Dear diary, today I saw a whale.\n" * 100


def other_program(tmp_path: Path) -> bytes:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE markets (id)")
    connection.close()
    return (tmp_path / "other.db").read_bytes()


def newer(content: bytes) -> bytes:
    return content[:60] + (99).to_bytes(4, "big") + content[64:]


@pytest.mark.parametrize("kind", ["text", "other", "newer", "cut", "cut in the header", "begins with zeros"])
@pytest.mark.parametrize("job", ["sync-whales", "compute-stats", "cleanup"])
def test_a_file_that_is_not_whole_and_ours(kind: str, job: str, host: Host, tmp_path: Path) -> None:
    """It is named, a way out too, and not a byte of it is touched."""
    content = {
        "text": text_file,
        "other": lambda: other_program(tmp_path),
        "newer": lambda: newer(host.db.read_bytes()),
        "cut": lambda: host.db.read_bytes()[:-5000],
        "cut in the header": lambda: host.db.read_bytes()[:50],
        "begins with zeros": lambda: bytes(100) + host.db.read_bytes()[100:],
    }[kind]()
    for path in host.folder.iterdir():
        path.unlink()
    host.db.write_bytes(content)
    host.environment()
    before = sorted(host.folder.iterdir())
    line = host.fail(job)
    assert str(host.db) in line
    assert "unexpected" not in line
    assert "upgrade" in line if kind == "newer" else "backup" in line
    assert host.db.read_bytes() == content
    assert sorted(host.folder.iterdir()) == before


def test_damaged_pages(tmp_path: Path) -> None:
    """Whatever page is damaged: a line that names the file and ``backup``, or no harm to this job."""
    books = fill_books(2, 150)
    with Sandbox(books, rate=None, key=KEY) as exchange:
        host = Host(tmp_path, exchange.url)
        host.watch(*WATCHED)
        host.succeed("sync-whales")
        whole = host.db.read_bytes()
        pages = len(whole) // 4096
        noticed = 0
        jobs = ("sync-whales", "compute-stats", "cleanup")
        for number, page in enumerate(range(2, pages + 1, 2)):
            for path in host.folder.iterdir():
                path.unlink()
            start = (page - 1) * 4096
            host.db.write_bytes(whole[:start] + os.urandom(4096) + whole[start + 4096 :])
            ended = host.run(jobs[number % 3])
            assert (ended.code, len(ended.lines())) in ((1, 1), (0, 0)), (page, ended)
            if ended.code:
                noticed += 1
                assert str(host.db) in ended.err and "backup" in ended.err, (page, ended)
        print(f"{pages} pages, noticed {noticed} times")
        assert noticed


def test_a_folder_or_a_pipe(tmp_path: Path, exchange: Sandbox) -> None:
    """What is no file at all is told, and not waited for."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        host = Host(tmp_path, exchange.url, environ={"WHALESYNC_DB": str(tmp_path / name)})
        assert str(tmp_path) in host.fail("sync-whales", timeout=5)


def test_journal_of_a_file_that_is_gone(host: Host, books: Books) -> None:
    """A WAL that was left behind when its file was deleted does not get into the new file."""
    running: Any = sqlite3.connect(host.db)
    running.execute("DELETE FROM whales")
    running.commit()
    wal = host.db.with_name("whalesync.db-wal").read_bytes()
    running.close()
    host.db.unlink()
    host.db.with_name("whalesync.db-wal").write_bytes(wal)
    host.watch(*WATCHED)
    host.succeed("sync-whales")
    host.check_whole()
    host.check_exact(books, 2)
    assert host.rows("PRAGMA application_id")[0][0] == APPLICATION_ID
