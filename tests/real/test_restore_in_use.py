"""Restored while the file is in use, and killed at any system call: the old content or the new one, whole."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.host import Host, wait_until
from support.kills import KILLS, end_at, stretches

from whalesync.sandbox import Books, Sandbox

TIMES = KILLS - 1  # that each kind of system call is the last one, spread over the restore
COUNT = "SELECT count(*) FROM whale_activity"


@pytest.fixture
def copy(host: Host, books: Books, exchange: Sandbox, tmp_path: Path) -> Path:
    """A copy without trades; the database has them all since."""
    copy = tmp_path / "copy.db"
    assert host.run("backup", str(copy)).code == 0
    host.succeed("sync-whales")
    host.check_exact(books)
    return copy


@contextmanager
def a_reader(path: Path) -> Iterator[Callable[[], int]]:
    """A program that keeps the file open, and counts its trades when it is asked.

    A process of its own: this one reads the files, which takes away the locks of its own connections.
    """
    code = (
        "import sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1])\n"
        f"for _ in sys.stdin: print(connection.execute({COUNT!r}).fetchone()[0], flush=True)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def count() -> int:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield count


def check_old_or_new(host: Host, copy: Path, old: bytes, is_sound: bool) -> str:
    """The file is the old one or the new one, and the next restore succeeds whatever was left."""
    kept = list(host.folder.glob("*.before-restore-*Z"))
    if host.db.read_bytes() == old and not is_sound:
        state = "old"
    else:
        host.check_whole()
        state = {0: "new", 132: "old"}[host.rows(COUNT)[0][0]]
    if state == "new" and is_sound:
        (file,) = kept
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute(COUNT).fetchone() == (132,)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    elif state == "new":
        assert [file.read_bytes() for file in kept] == [old]
    assert host.run("restore", str(copy), "--force").code == 0
    host.check_whole()
    assert host.rows(COUNT) == [(0,)] and not list(host.folder.glob(".*.restoring"))
    return state


CALLS = ["pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "link", "unlink", "openat", "unlinkat", "fchmodat"]


@pytest.mark.parametrize(("end", "is_sound"), [("signal=KILL", True), ("signal=KILL", False), ("error=EIO", True)])
def test_ended_at_a_system_call(end: str, is_sound: bool, host: Host, copy: Path, strace: str, tmp_path: Path) -> None:
    """Killed, or refused by the disk, in a restore over a sound file and over a damaged one."""
    content = host.db.read_bytes() if is_sound else b"Dear diary, today I saw a whale.\n" * 100
    arguments = ["restore", str(copy), "--force"]
    states: Counter[str] = Counter()
    host.start_over(content)
    made = list(stretches(strace, host, arguments, CALLS, tmp_path / "trace", ".restoring", host.db.name))
    for stretch in made:
        for moment in stretch.moments(TIMES):
            host.start_over(content)
            ended = end_at(strace, host, arguments, stretch.call, moment, end)
            assert "Traceback" not in ended.err and "unexpected" not in ended.err, (stretch, moment, ended)
            state = check_old_or_new(host, copy, content, is_sound)
            if ended.code == 1:
                assert len(ended.lines()) == 1, ended
            states[f"{state}, {ended.code}"] += 1
    print(states)
    assert sum(states.values()) > 10 and {text[:3] for text in states} == {"old", "new"}


def test_while_everybody_has_the_file_open(host: Host, books: Books, exchange: Sandbox, copy: Path) -> None:
    """A job refuses it, by name; a follower and a plain reader go on with the new content; the next run catches up."""
    exchange.latency = 3
    job = host.start("sync-whales")
    wait_until(lambda: host.rows("SELECT 1 FROM sync_logs WHERE status = 'running'"))
    assert "restore: sync-whales is running: try again" in host.fail("restore", str(copy), code=75)
    assert job.wait().code == 0
    exchange.latency = 0

    out, err = host.folder / "followed", host.folder / "said"
    with open(out, "wb") as stdout, open(err, "wb") as stderr, a_reader(host.db) as count:
        follower = host.start("activity", "--follow", "--csv", "--limit", "1", stdout=stdout, stderr=stderr)
        wait_until(lambda: len(out.read_text().splitlines()) == 2)
        assert count() == 132
        ended = host.run("restore", str(copy))
        assert ended.code == 0 and ended.err.startswith(f"Restored {host.db}: 0 trades. The next sync-whales fetches")
        assert count() == 0
        wait_until(lambda: "the database was restored" in err.read_text())
        host.succeed("sync-whales")
        assert count() == 132
        wait_until(lambda: len(out.read_text().splitlines()) == 2 + 132)
        follower.send(2)
        follower.wait()
    host.check_exact(books)
    host.check_whole()


def test_a_follower_goes_on_with_another_file(host: Host, copy: Path) -> None:
    """Where a damaged file was replaced as a whole, it does not stay on the old one."""
    err = host.folder / "said"
    with open(err, "wb") as stderr:
        follower = host.start("activity", "--follow", stdout=subprocess.DEVNULL, stderr=stderr)
        wait_until(lambda: b"whalesync.db" in Path(f"/proc/{follower.pid}/maps").read_bytes())
        host.db.with_name("new").write_bytes(copy.read_bytes())
        host.db.with_name("new").replace(host.db)
        for end in ("-wal", "-shm"):
            host.beside(end).unlink(missing_ok=True)
        wait_until(lambda: "the database was restored" in err.read_text())
        follower.send(2)
        assert follower.wait().code == 130
