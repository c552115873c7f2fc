"""A process that was stopped while it holds a lock: the others end in time, with one clear line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.host import Host, wait_until

from whalesync.sandbox import Books, Handler, Request, Sandbox

# Makes the program less patient, so that the test is quick.
IMPATIENT = """
import whalesync.store.database as database, whalesync.exchanges.rate as rate
database.BUSY_SECONDS, database.OPEN_SECONDS, rate.LOCK_PATIENCE = 1.5, 1.5, 1.5
"""

HOLD_WRITE = "import sqlite3; c = sqlite3.connect(file, isolation_level=None); c.execute('BEGIN IMMEDIATE')"
HOLD_READ = (
    "import sqlite3; c = sqlite3.connect(file, isolation_level=None); c.execute('BEGIN');"
    " c.execute('SELECT * FROM whales').fetchall()"
)
HOLD_FILE = "import fcntl; f = open(file, 'a'); fcntl.flock(f, fcntl.LOCK_EX)"


@contextmanager
def stopped_holder(code: str, file: Path) -> Iterator[None]:
    """A process that has run ``code`` on ``file``, and was stopped."""
    stop = "print('held', flush=True)\nimport os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    command = [sys.executable, "-c", f"file = {str(file)!r}\n{code}\n{stop}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_write_lock_held(host: Host, books: Books) -> None:
    """A stopped writer costs ten seconds and a clear line; the next run catches up."""
    with stopped_holder(HOLD_WRITE, host.db):
        line = host.fail("sync-whales", timeout=30)
    assert str(host.db) in line and "fuser" in line
    host.succeed("sync-whales")
    host.check_exact(books)


def test_write_lock_taken_in_the_middle_of_a_run(host: Host, exchange: Sandbox, books: Books) -> None:
    """The failing run does not wait anew for each of its last writes; the next run closes its row."""
    with ExitStack() as holding:

        def take_it(request: Request, handler: Handler) -> bool:
            if not exchange.requests[1:]:
                holding.enter_context(stopped_holder(HOLD_WRITE, host.db))
            return False

        exchange.fault = take_it
        line = host.fail("sync-whales", code_before=IMPATIENT, timeout=15)
    exchange.fault = None
    assert "fuser" in line
    assert host.last_run()[0] == "running"
    host.succeed("sync-whales")
    host.check_exact(books)
    assert host.rows("SELECT status FROM sync_logs") == [("failed",), ("completed",)]


def test_stopped_by_a_signal_while_waiting_for_the_write_lock(host: Host) -> None:
    """SIGTERM ends the waiting."""
    with stopped_holder(HOLD_WRITE, host.db):
        running = host.start("sync-whales")
        wait_until(host.beside(".sync-whales.lock").exists)
        time.sleep(0.3)
        running.send(signal.SIGTERM)
        ended = running.wait(timeout=9)  # it would wait for ten seconds
    assert (ended.code, ended.err) == (143, "")


def test_reader_held(host: Host, books: Books) -> None:
    """A stopped reader does not hold up the sync; the WAL stays until it is gone."""
    with stopped_holder(HOLD_READ, host.db):
        host.succeed("sync-whales")
        assert host.beside("-wal").stat().st_size
    host.succeed("sync-whales")
    host.check_exact(books)
    host.check_whole()


def test_rate_file_held(host: Host, books: Books) -> None:
    """A lock on the rate's file that is not given back fails the run with a clear line."""
    with stopped_holder(HOLD_FILE, host.beside(".rate")):
        line = host.fail("sync-whales", code_before=IMPATIENT)
    assert host.beside(".rate").name in line and "fuser" in line
    assert host.last_run()[0] == "failed"
    host.succeed("sync-whales")
    host.check_exact(books)


def test_checkpoint_lock_held(host: Host, books: Books) -> None:
    """A checkpoint that cannot be made now is left to a later run."""
    with stopped_holder(HOLD_FILE, host.beside(".checkpoint.lock")):
        host.succeed("sync-whales")
    host.check_exact(books)


def test_open_lock_held(host: Host) -> None:
    """Whoever waits for a file that a stopped process creates ends with a clear line."""
    host.start_over()
    with stopped_holder(HOLD_FILE, host.beside(".open.lock")):
        line = host.fail("sync-whales", code_before=IMPATIENT)
    assert host.beside(".open.lock").name in line and "fuser" in line
    assert not host.db.exists()
    host.succeed("sync-whales")


def test_job_lock_held(host: Host) -> None:
    """A run that was stopped is a run that is active: the next does nothing, and prints nothing."""
    with stopped_holder(HOLD_FILE, host.beside(".sync-whales.lock")):
        ended = host.run("sync-whales")
    assert (ended.code, ended.out, ended.err) == (75, "", "")
    assert host.rows("SELECT count(*) FROM sync_logs") == [(0,)]


@pytest.mark.parametrize("job", ["compute-stats", "cleanup", "sync-markets"])
def test_every_job_ends_in_time(job: str, host: Host) -> None:
    """The other jobs do as sync-whales does."""
    host.succeed("sync-whales")
    with stopped_holder(HOLD_WRITE, host.db):
        line = host.fail(job, code_before=IMPATIENT, timeout=20)
    assert "fuser" in line
    host.succeed(job)
