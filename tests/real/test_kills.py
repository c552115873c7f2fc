"""Killed at a system call, killed at any moment, stopped by a signal: the file is whole, the next run completes."""

from __future__ import annotations

import random
import shutil
import signal
import time

import pytest
from machine import Ended, Host, Running, wait_until, wallet
from machine import shown as shown_by

from whalesync.sandbox import Books, Sandbox

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="needs strace")


def run_killed(host: Host, call: str, number: int) -> Ended:
    """A sync that is killed at its ``number``-th system call of this kind, if it makes so many."""
    assert STRACE is not None
    return host.run(
        "sync-whales",
        # Without --seccomp-bpf: it would count wrongly.
        before=[STRACE, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                "-e", f"inject={call}:signal=KILL:when={number}"],
    )  # fmt: skip


def check_after_kill(host: Host, books: Books, *, watch: bool = False) -> None:
    """What holds after a kill, whenever it came; and what the next run makes of it."""
    if host.db.exists():
        host.check_whole()
        if host.rows("SELECT 1 FROM sqlite_schema WHERE name = 'whale_activity'"):
            for number in (1, 2):
                assert host.stored(number) <= shown_by(books, number)
    if watch:
        host.watch(wallet(1), wallet(2))
    host.succeed("sync-whales")
    host.check_whole()
    host.check_exact(books, 2)
    *before, last = host.rows("SELECT status, ended_at, error FROM sync_logs ORDER BY id")
    assert last[0] == "completed"
    for status, ended_at, error in before:
        assert ended_at is not None
        assert status == "completed" or (status == "failed" and ("killed" in error or "SIG" in error))


def start_over(host: Host, content: bytes | None) -> None:
    """Leave nothing in the folder but this database file, or none."""
    for file in host.folder.iterdir():
        file.unlink()
    if content is not None:
        host.db.write_bytes(content)


def start_and_wait(host: Host, exchange: Sandbox, rng: random.Random, round: int) -> Running:
    """A sync that has been under way for a random time: from when it takes its lock, or its first request, on.

    Earlier it is Python that is being loaded, which says what it likes about a signal.
    """
    exchange.latency = 0.06
    exchange.requests.clear()
    running = host.start("sync-whales")
    if round % 3:
        wait_until(lambda: exchange.requests)
        time.sleep(rng.uniform(0, 0.2))
    else:
        wait_until((host.folder / "whalesync.db.sync-whales.lock").exists)
        time.sleep(rng.uniform(0, 0.1))
    return running


@needs_strace
@pytest.mark.parametrize(
    ("call", "first", "step"),
    [("pwrite64", 1, 27), ("fdatasync", 1, 1), ("ftruncate", 1, 1), ("unlink", 1, 1), ("openat", 320, 23)],
)
def test_killed_in_a_sync(call: str, first: int, step: int, host: Host, books: Books) -> None:
    """A sync killed at the Nth call, for N all over the run: whole, and exact after the next."""
    content = host.db.read_bytes()
    killed = 0
    for number in range(first, 10_000, step):
        start_over(host, content)
        if run_killed(host, call, number).code == 0:
            break
        killed += 1
        check_after_kill(host, books)
    assert killed
    print(f"{call}: killed {killed} times, the last at number {number - step}")


@needs_strace
@pytest.mark.parametrize(
    ("call", "step"), [("pwrite64", 9), ("fdatasync", 2), ("ftruncate", 1), ("unlink", 2)]
)
def test_killed_while_making_the_file(call: str, step: int, host: Host, books: Books) -> None:
    """A first run killed at the Nth call, for N all over the making of the file: the next run makes it."""
    killed = 0
    for number in range(1, 10_000, step):
        start_over(host, None)
        if run_killed(host, call, number).code == 0:
            break
        killed += 1
        check_after_kill(host, books, watch=True)
    assert killed
    print(f"{call}: killed {killed} times, the last at number {number - step}")


def test_killed_at_random_moments(host: Host, books: Books, exchange: Sandbox) -> None:
    """kill -9 at any moment of a run: whole, and exact after the next."""
    content = host.db.read_bytes()
    rng = random.Random(1)
    killed = 0
    for round in range(9):
        start_over(host, content)
        running = start_and_wait(host, exchange, rng, round)
        running.send(signal.SIGKILL)
        killed += running.wait().code == -signal.SIGKILL
        exchange.latency = 0
        check_after_kill(host, books)
    assert killed
    print(f"killed {killed} times")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stopped_at_random_moments(
    signum: signal.Signals, host: Host, books: Books, exchange: Sandbox
) -> None:
    """SIGTERM or SIGINT at any moment: 143 or 130 and a failed row, or done; in silence; exact after the next."""
    content = host.db.read_bytes()
    rng = random.Random(signum)
    stopped = 0
    for round in range(9):
        start_over(host, content)
        running = start_and_wait(host, exchange, rng, round)
        running.send(signum)
        ended = running.wait(timeout=10)
        assert ended.out == ""
        # Before and after the run itself, it is the system or Python that ends the process.
        assert ended.code in (0, 128 + signum, -signum)
        runs = host.rows("SELECT status, error FROM sync_logs") if ended.code != -signum else []
        if ended.code == 128 + signum:
            stopped += bool(runs)
            assert len(ended.lines()) <= 1, ended
            assert [run for run in runs if run != ("failed", f"stopped by {signum.name}")] == []
        elif ended.code == 0:
            assert ended.err == ""
            assert runs == [("completed", None)]
        exchange.latency = 0
        check_after_kill(host, books)
    assert stopped
    print(f"stopped {stopped} times")


def test_signals_again_and_again(host: Host, books: Books, exchange: Sandbox) -> None:
    """A second and a third signal do not disturb the closing of the row."""
    exchange.latency = 0.2
    running = host.start("sync-whales")
    wait_until(lambda: exchange.requests)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        running.send(signum)
    ended = running.wait(timeout=10)
    assert (ended.code in (130, 143), ended.out, ended.err) == (True, "", ""), ended
    assert host.last_run()[0] == "failed"
    exchange.latency = 0
    check_after_kill(host, books)


def test_stopped_while_an_answer_is_awaited(host: Host, exchange: Sandbox) -> None:
    """SIGTERM does not wait for an answer that is long in coming."""
    exchange.latency = 30
    running = host.start("sync-whales")
    wait_until(lambda: exchange.requests)
    running.send(signal.SIGTERM)
    ended = running.wait(timeout=5)
    assert (ended.code, ended.err) == (143, "")
    assert host.last_run()[:3] == ("failed", 0, "stopped by SIGTERM")
