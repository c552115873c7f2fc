"""A machine with one database and one exchange, for the tests with real processes.

The environment of each command is made from nothing, as under cron. After every command the key is looked for where
it must never be: in what was printed, in the files beside the database, in the process list.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.fills import Fill, listed, query, stored

from whalesync.sandbox import Books, make_market, make_trade
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

ROOT = Path(__file__).parents[2]
KEY = "the-Secret/Key+of_these.tests"
DAY = 86_400
RUN_MAIN = "from whalesync.__main__ import main\nmain()"


def wallet(number: int) -> str:
    """An address."""
    return f"0x{number:040x}"


def clock_ahead(seconds: float) -> str:
    """Python that sets the program's wall clock wrong."""
    return f"import time\nreal = time.time\ntime.time = lambda: real() + {seconds}"


def fill_books(wallets: int, trades: int, *, markets: int = 3) -> Books:
    """Books with wallets of so many trades each: shared seconds, identical fills, sells and merges among them."""
    now = time.time()
    books = Books()
    for market in range(1, markets + 1):
        books.add_market(make_market(market, createdAt=int(now) - 30 * DAY))
        books.set_price(make_market(market)["yesTokenId"], "0.5")
    for number in range(1, wallets + 1):
        for index in range(trades):
            trade = make_trade(
                marketId=1 + index % markets,
                side=("Buy", "Sell", "Merge")[index % 3],
                price=f"0.{1 + index % 9}",
                shares=str(10 + index // 2 * 2),
                createdAt=int(now) - 60 * (trades - index // 3 * 3),
            )
            books.add_trade(wallet(number), trade)
            if index % 10 == 9:
                books.add_trade(wallet(number), trade)  # two fills of one transaction that agree in every field
    return books


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    def lines(self) -> list[str]:
        """What cron would mail."""
        return self.err.splitlines()


@dataclass
class Running:
    """A command under way."""

    process: subprocess.Popen[bytes]
    begun: float
    host: Host
    ended: Ended | None = None

    @property
    def pid(self) -> int:
        """Its process number."""
        return self.process.pid

    def send(self, signum: int) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signum)

    def wait(self, timeout: float = 60) -> Ended:
        """Wait for its end; one that hangs is killed and fails the test."""
        if self.ended is None:
            try:
                out, err = self.process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                out, err = self.process.communicate()
                pytest.fail(f"still running after {timeout} s: {err.decode(errors='replace')}")
            seconds = time.monotonic() - self.begun
            texts = [(stream or b"").decode(errors="replace") for stream in (out, err)]
            self.ended = Ended(self.process.returncode, texts[0], texts[1], seconds)
            self.host.check_no_key(self.ended)
        return self.ended


@dataclass
class Host:
    """A machine with one database and one exchange to talk to. ``environ`` is added to each environment."""

    folder: Path
    url: str
    key: str | None = KEY
    environ: dict[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    @property
    def db(self) -> Path:
        """The database file."""
        return self.folder / "whalesync.db"

    def beside(self, ending: str) -> Path:
        """A file beside the database, such as its WAL."""
        return self.db.with_name(self.db.name + ending)

    def environment(self, **more: str) -> dict[str, str]:
        """As under cron: nothing but the path and our own variables."""
        given = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "WHALESYNC_DB": str(self.db),
            "WHALESYNC_API_URL": self.url,
            "WHALESYNC_ENV_FILE": str(self.folder / "no-env"),
            "WHALESYNC_RATE_LIMIT": "10000",
            **({"OPINION_TRADE_API_KEY": self.key} if self.key else {}),
            **self.environ,
            **more,
        }
        (self.folder / "no-env").touch()
        return given

    def start(
        self,
        *arguments: str,
        before: Sequence[str] = (),
        code_before: str | None = None,
        env: dict[str, str] | None = None,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        preexec_fn: Callable[[], Any] | None = None,
    ) -> Running:
        """Start the command: no terminal, no standard input, in a process group of its own.

        ``before``: the program to start it with, such as strace. ``code_before``: Python to run first. ``env``: added
        to the environment, and ``preexec_fn``: called in the new process.
        """
        program = ["-m", "whalesync"] if code_before is None else ["-c", f"{code_before}\n{RUN_MAIN}"]
        process = subprocess.Popen(
            [*before, sys.executable, *program, *arguments],
            env=self.environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=preexec_fn,
            start_new_session=True,
            cwd="/",
        )
        running = Running(process, time.monotonic(), self)
        with contextlib.suppress(OSError):  # it may be over already
            assert KEY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        self.started.append(running)
        return running

    def run(self, *arguments: str, timeout: float = 60, **options: Any) -> Ended:
        """Run the command to its end; options as for ``start``."""
        return self.start(*arguments, **options).wait(timeout)

    def succeed(self, *arguments: str, **options: Any) -> Ended:
        """Run the command, which must exit with 0 and print nothing."""
        ended = self.run(*arguments, **options)
        assert (ended.code, ended.out, ended.err) == (0, "", ""), ended
        return ended

    def fail(self, *arguments: str, code: int = 1, **options: Any) -> str:
        """Run the command, which must fail with one line on standard error; returns the line."""
        ended = self.run(*arguments, **options)
        assert (ended.code, ended.out, len(ended.lines())) == (code, "", 1), ended
        assert "Traceback" not in ended.err and "unexpected" not in ended.err, ended
        return ended.lines()[0]

    def succeed_or_fail(self, *arguments: str, **options: Any) -> Ended:
        """Run the command, which must exit with 0 and print nothing, or with 1 and one clear line."""
        ended = self.run(*arguments, **options)
        assert (ended.code, ended.out, len(ended.lines())) in ((0, "", 0), (1, "", 1)), ended
        assert "Traceback" not in ended.err and "unexpected" not in ended.err, ended
        return ended

    def watch(self, *addresses: str) -> None:
        """Put wallets on the watch list."""
        with open_database(self.db) as db:
            whales.add(db, [WatchEntry(address) for address in addresses], 1)

    def start_over(self, content: bytes | None = None) -> None:
        """Leave nothing in the folder but this database file, or none."""
        for file in self.folder.iterdir():
            file.unlink()
        if content is not None:
            self.db.write_bytes(content)

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """What a plain SQLite connection reads."""
        return query(self.db, sql, *params)

    def last_run(self) -> tuple[Any, ...]:
        """Status, item count, error and error count of the newest row in the sync log."""
        return self.rows("SELECT status, item_count, error, error_count FROM sync_logs ORDER BY id DESC LIMIT 1")[0]

    def stored(self, number: int) -> Counter[Fill]:
        """A wallet's stored trades."""
        return stored(self.db, wallet(number))

    def check_whole(self) -> None:
        """SQLite finds no fault in the file, nor in what its rows point to."""
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        assert self.rows("PRAGMA foreign_key_check") == []

    def check_exact(self, books: Books, wallets: int = 2) -> None:
        """Every trade of the books is stored, none twice, each as the exchange says."""
        for number in range(1, wallets + 1):
            assert self.stored(number) == listed(books.trades(wallet(number)))

    def check_no_key(self, ended: Ended) -> None:
        """The key is in no output and in no file, not even in a freed page or the WAL."""
        assert KEY not in ended.out and KEY not in ended.err
        for file in self.folder.iterdir():
            if file.is_file():
                assert KEY.encode() not in file.read_bytes(), file

    def end(self) -> None:
        """End what a failed test has left running."""
        for running in self.started:
            if running.process.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.process.communicate()


def wait_until(condition: Callable[[], object], timeout: float = 20) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.005)
