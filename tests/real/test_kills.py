"""Killed at a system call or at any moment, stopped by a signal: the file is whole, and the next run completes."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.fills import listed
from support.host import Host, Running, wait_until, wallet
from support.kills import KILLS, end_at, stretches

from whalesync.sandbox import Books, Sandbox


def check_after_kill(host: Host, books: Books, *, watch: bool = False) -> None:
    """What holds after a kill, whenever it came, and what the next run makes of it."""
    if host.db.exists():
        host.check_whole()
        if host.rows("SELECT 1 FROM sqlite_schema WHERE name = 'sync_logs'"):
            for number in (1, 2):
                assert host.stored(number) <= listed(books.trades(wallet(number)))
    if watch:
        host.watch(wallet(1), wallet(2))
    host.succeed("sync-whales")
    host.check_whole()
    host.check_exact(books)
    *before, last = host.rows("SELECT status, ended_at, error FROM sync_logs ORDER BY id")
    assert last[0] == "completed"
    for status, ended_at, error in before:
        assert ended_at is not None
        assert status == "completed" or (status == "failed" and ("killed" in error or "SIG" in error))


def kill_at_each(
    strace: str, host: Host, calls: list[str], content: bytes | None, trace: Path, check: Callable[[], None]
) -> None:
    """Kill runs, each at another call of these kinds, spread over the run; ``content``: of the file before each."""
    host.start_over(content)
    killed = survived = 0
    for stretch in list(stretches(strace, host, ["sync-whales"], calls, trace, host.db.name)):
        for moment in stretch.moments():
            host.start_over(content)
            if end_at(strace, host, ["sync-whales"], stretch.call, moment).code:
                killed += 1
            else:
                survived += 1
            check()
    print(f"killed {killed} times")
    assert killed
    assert survived <= len(calls)  # the last call of a kind may be one that not every run makes


CALLS = ["pwrite64", "fdatasync", "ftruncate", "unlink", "openat"]


def test_killed_in_a_sync(host: Host, books: Books, strace: str, tmp_path: Path) -> None:
    """A sync killed at the Nth call, for N all over the run: whole, and exact after the next."""
    content = host.db.read_bytes()
    kill_at_each(strace, host, CALLS, content, tmp_path / "trace", lambda: check_after_kill(host, books))


def test_killed_while_creating_the_file(host: Host, books: Books, strace: str, tmp_path: Path) -> None:
    """A first run killed at the Nth call, for N all over the creation of the file: the next run creates it."""
    check = partial(check_after_kill, host, books, watch=True)
    kill_at_each(strace, host, CALLS[:4], None, tmp_path / "trace", check)


def start_and_wait(host: Host, exchange: Sandbox, rng: random.Random, number: int) -> Running:
    """A sync that has been under way for a random time: since it took its lock, or since its first request.

    Earlier Python itself is being loaded, which says what it likes about a signal.
    """
    exchange.latency = 0.06
    exchange.requests.clear()
    running = host.start("sync-whales")
    wait_until((lambda: exchange.requests) if number % 3 else host.beside(".sync-whales.lock").exists)
    time.sleep(rng.uniform(0, 0.2 if number % 3 else 0.1))
    return running


@pytest.fixture
def runs(host: Host, exchange: Sandbox) -> Iterator[Running]:
    """One sync after the other, each on a file without trades, and each at a random moment of its run."""
    content = host.db.read_bytes()
    rng = random.Random(1)

    def start_each() -> Iterator[Running]:
        for number in range(KILLS):
            host.start_over(content)
            yield start_and_wait(host, exchange, rng, number)

    return start_each()


def test_killed_at_random_moments(host: Host, books: Books, exchange: Sandbox, runs: Iterator[Running]) -> None:
    """kill -9 at any moment of a run: whole, and exact after the next."""
    killed = 0
    for running in runs:
        running.send(signal.SIGKILL)
        killed += running.wait().code == -signal.SIGKILL
        exchange.latency = 0
        check_after_kill(host, books)
    assert killed


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stopped_at_random_moments(
    signum: signal.Signals, host: Host, books: Books, exchange: Sandbox, runs: Iterator[Running]
) -> None:
    """SIGTERM or SIGINT at any moment: 143 or 130 and a failed row, or done; silent; exact after the next."""
    stopped, failed, done = 0, ("failed", f"stopped by {signum.name}"), ("completed", None)
    for running in runs:
        running.send(signum)
        ended = running.wait(timeout=20)
        assert ended.out == ""
        # Before and after the run itself, the system or Python ends the process.
        assert ended.code in (0, 128 + signum, -signum)
        logged = host.rows("SELECT status, error FROM sync_logs") if ended.code != -signum else []
        if ended.code == 128 + signum:
            stopped += logged == [failed]
            assert len(ended.lines()) <= 1, ended
            assert logged in ([], [failed], [done])  # done: stopped when the run was over, but not the process
        elif ended.code == 0:
            assert (ended.err, logged) == ("", [done])
        exchange.latency = 0
        check_after_kill(host, books)
    assert stopped


def test_signals_again_and_again(host: Host, books: Books, exchange: Sandbox) -> None:
    """A second and a third signal do not disturb the closing of the row."""
    exchange.latency = 0.2
    running = host.start("sync-whales")
    wait_until(lambda: exchange.requests)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        running.send(signum)
    ended = running.wait(timeout=20)
    assert (ended.code in (130, 143), ended.out, ended.err) == (True, "", ""), ended
    assert host.last_run()[0] == "failed"
    exchange.latency = 0
    check_after_kill(host, books)


def test_stopped_while_a_response_is_awaited(host: Host, exchange: Sandbox) -> None:
    """SIGTERM does not wait for a response that takes 30 s."""
    exchange.latency = 30
    running = host.start("sync-whales")
    wait_until(lambda: exchange.requests)
    running.send(signal.SIGTERM)
    ended = running.wait(timeout=20)
    assert (ended.code, ended.err) == (143, "")
    assert host.last_run()[:3] == ("failed", 0, "stopped by SIGTERM")
