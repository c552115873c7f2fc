"""A process that was stopped while it holds a lock: the others end in time, with one clear line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machine import Host, wait_until

from whalesync.sandbox import Books, Handler, Request, Sandbox

# What makes the program less patient, so that the test is quick.
IMPATIENT = """
import whalesync.store.database as database, whalesync.exchange.pace as pace
database.BUSY_SECONDS, database.OPEN_SECONDS, pace.LOCK_PATIENCE = 1.5, 1.5, 1.5
"""

HOLD_WRITE = "import sqlite3; c = sqlite3.connect(file, isolation_level=None); c.execute('BEGIN IMMEDIATE')"
HOLD_READ = (
    "import sqlite3; c = sqlite3.connect(file, isolation_level=None); c.execute('BEGIN');"
    " c.execute('SELECT * FROM whales').fetchall()"
)
HOLD_FILE = "import fcntl; f = open(file, 'a'); fcntl.flock(f, fcntl.LOCK_EX)"


@contextmanager
def stopped_holder(code: str, file: str) -> Iterator[None]:
    """A process that has run ``code`` on ``file``, and was stopped."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"file = {file!r}\n{code}\nprint('held', flush=True)\nimport os, signal\n"
         "os.kill(os.getpid(), signal.SIGSTOP)"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_write_lock_held(host: Host, books: Books) -> None:
    """A stopped writer costs ten seconds and a clear line; afterwards all is made up for."""
    with stopped_holder(HOLD_WRITE, str(host.db)):
        ended = host.run("sync-whales")
    assert (ended.code, ended.out, len(ended.lines())) == (1, "", 1), ended
    assert str(host.db) in ended.err and "fuser" in ended.err
    assert 9.5 <= ended.seconds < 14
    host.succeed("sync-whales")
    host.check_exact(books, 2)


def test_write_lock_taken_in_the_middle_of_a_run(host: Host, exchange: Sandbox, books: Books) -> None:
    """All that a failing run still wants to write does not wait anew for each of it; the next run closes the row."""
    holding = stopped_holder(HOLD_WRITE, str(host.db))

    def take_it(request: Request, handler: Handler) -> bool:
        if not exchange.requests[1:]:
            holding.__enter__()
        return False

    exchange.fault = take_it
    try:
        ended = host.run("sync-whales", code_before=IMPATIENT)
    finally:
        holding.__exit__(None, None, None)
    exchange.fault = None
    assert (ended.code, len(ended.lines())) == (1, 1), ended
    assert "fuser" in ended.err
    assert ended.seconds < 1.5 + 2 * 1.0 + 2
    assert host.last_run()[0] == "running"
    host.succeed("sync-whales")
    host.check_exact(books, 2)
    assert [row[0] for row in host.rows("SELECT status FROM sync_logs")] == ["failed", "completed"]


def test_stopped_by_a_signal_while_waiting_for_the_write_lock(host: Host) -> None:
    """SIGTERM ends the waiting."""
    with stopped_holder(HOLD_WRITE, str(host.db)):
        running = host.start("sync-whales")
        wait_until((host.folder / "whalesync.db.sync-whales.lock").exists)
        time.sleep(0.3)
        begun = time.monotonic()
        running.send(signal.SIGTERM)
        ended = running.wait(timeout=20)
    assert (ended.code, ended.err) == (143, "")
    assert time.monotonic() - begun < 4


def test_reader_held(host: Host, books: Books) -> None:
    """A stopped reader holds up nobody; the WAL is emptied once it is gone."""
    with stopped_holder(HOLD_READ, str(host.db)):
        host.succeed("sync-whales")
        assert host.db.with_name("whalesync.db-wal").stat().st_size
    host.succeed("sync-whales")
    host.check_exact(books, 2)
    host.check_whole()


def test_rate_file_held(host: Host, books: Books) -> None:
    """A lock on the rate's file that is not given back fails the run with a clear line."""
    with stopped_holder(HOLD_FILE, str(host.db) + ".rate"):
        line = host.fail("sync-whales", code_before=IMPATIENT)
    assert "whalesync.db.rate" in line and "fuser" in line
    assert host.last_run()[0] == "failed"
    host.succeed("sync-whales")
    host.check_exact(books, 2)


def test_checkpoint_lock_held(host: Host, books: Books) -> None:
    """A checkpoint that cannot be made now is made by a later run."""
    with stopped_holder(HOLD_FILE, str(host.db) + ".checkpoint.lock"):
        host.succeed("sync-whales")
    host.check_exact(books, 2)


def test_open_lock_held(host: Host) -> None:
    """Whoever waits for a file to be made by a process that hangs ends with a clear line."""
    for file in host.folder.iterdir():
        file.unlink()
    with stopped_holder(HOLD_FILE, str(host.db) + ".open.lock"):
        line = host.fail("sync-whales", code_before=IMPATIENT)
    assert "whalesync.db.open.lock" in line and "fuser" in line
    assert not host.db.exists()
    host.succeed("sync-whales")


def test_job_lock_held(host: Host) -> None:
    """A run that was stopped is a run that is active: the next does nothing, in silence."""
    with stopped_holder(HOLD_FILE, str(host.db) + ".sync-whales.lock"):
        ended = host.run("sync-whales")
    assert (ended.code, ended.out, ended.err) == (75, "", "")
    assert host.rows("SELECT count(*) FROM sync_logs") == [(0,)]


@pytest.mark.parametrize("job", ["compute-stats", "cleanup", "sync-markets"])
def test_every_job_ends_in_time(job: str, host: Host) -> None:
    """The other jobs do as sync-whales does."""
    host.succeed("sync-whales")
    with stopped_holder(HOLD_WRITE, str(host.db)):
        line = host.fail(job, code_before=IMPATIENT, timeout=10)
    assert "fuser" in line
    host.succeed(job)
