"""What the tests with real processes share: a stand-in exchange, an environment made from nothing, the command.

After every run the key is looked for where it must never be: in what was printed, in the files beside the
database, in the process list.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from whalesync.sandbox import Books, make_market, make_trade
from whalesync.store import whales
from whalesync.store.database import open_database

ROOT = Path(__file__).parents[2]
KEY = "the-Secret/Key+of_these.tests"
DAY = 86_400


def wallet(number: int) -> str:
    """An address."""
    return f"0x{number:040x}"


def fill_books(wallets: int, trades: int, *, markets: int = 3, now: float | None = None) -> Books:
    """Books with wallets of so many trades each: shared seconds, twins, sells and merges among them."""
    now = time.time() if now is None else now
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
                books.add_trade(wallet(number), trade)  # a twin: two fills of one transaction, alike in all
    return books


@dataclass
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str
    seconds: float

    def lines(self) -> list[str]:
        """What cron would mail."""
        return self.err.splitlines()


@dataclass
class Running:
    """A run under way."""

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
            self.ended = Ended(
                self.process.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"),
                time.monotonic() - self.begun,
            )  # fmt: skip
            self.host.look_for_the_key(self.ended)
        return self.ended


@dataclass
class Host:
    """A machine with one database and one exchange to talk to."""

    folder: Path
    url: str
    key: str | None = KEY
    environ: dict[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    @property
    def db(self) -> Path:
        """The database file."""
        return self.folder / "whalesync.db"

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
        **options: Any,
    ) -> Running:
        """Start the command: no terminal, closed standard input, in a process group of its own.

        ``before``: the program to start it with, such as strace. ``code_before``: Python to run first.
        """
        program = ["-m", "whalesync"]
        if code_before is not None:
            program = ["-c", f"{code_before}\nfrom whalesync.__main__ import main\nmain()"]
        process = subprocess.Popen(
            [*before, sys.executable, *program, *arguments],
            **{
                "env": self.environment(**(env or {})), "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE, "start_new_session": True, "cwd": "/", **options,
            },
        )  # fmt: skip
        running = Running(process, time.monotonic(), self)
        with contextlib.suppress(OSError):  # it may be over already
            assert KEY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        self.started.append(running)
        return running

    def run(self, *arguments: str, timeout: float = 60, **options: Any) -> Ended:
        """Run the command to its end."""
        return self.start(*arguments, **options).wait(timeout)

    def succeed(self, *arguments: str, **options: Any) -> Ended:
        """Run the command, which must end well and say nothing."""
        ended = self.run(*arguments, **options)
        assert (ended.code, ended.out, ended.err) == (0, "", ""), ended
        return ended

    def fail(self, *arguments: str, code: int = 1, **options: Any) -> str:
        """Run the command, which must fail with one line on standard error; returns the line."""
        ended = self.run(*arguments, **options)
        assert (ended.code, ended.out, len(ended.lines())) == (code, "", 1), ended
        assert "Traceback" not in ended.err
        return ended.lines()[0]

    def watch(self, *addresses: str) -> None:
        """Put wallets on the watch list."""
        with open_database(self.db) as db:
            whales.add(db, [(address, None) for address in addresses], 1)

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """What a plain SQLite connection reads."""
        with contextlib.closing(sqlite3.connect(self.db)) as connection:
            return connection.execute(sql, params).fetchall()

    def last_run(self) -> tuple[Any, ...]:
        """Status, item count, error and error count of the newest row in the sync log."""
        return self.rows(
            "SELECT status, item_count, error, error_count FROM sync_logs ORDER BY id DESC LIMIT 1"
        )[0]

    def check_whole(self) -> None:
        """SQLite finds no fault in the file, nor in what its rows point to."""
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        assert self.rows("PRAGMA foreign_key_check") == []

    def check_exact(self, books: Books, wallets: int) -> None:
        """Every trade of the books is stored, none twice, each as the exchange says."""
        for number in range(1, wallets + 1):
            assert self.stored(number) == shown(books, number)

    def stored(self, number: int) -> Counter[tuple[Any, ...]]:
        """A wallet's stored trades."""
        return Counter(
            self.rows(
                "SELECT tx_hash, m.external_id, action, outcome, amount, price, shares, fee, profit, timestamp"
                " FROM whale_activity JOIN markets AS m ON m.id = market_id"
                " JOIN whales AS w ON w.id = whale_id WHERE w.address = ?",
                wallet(number),
            )
        )

    def look_for_the_key(self, ended: Ended) -> None:
        """It stands in no output and in no file, not even in a freed page or the WAL."""
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


def shown(books: Books, number: int) -> Counter[tuple[Any, ...]]:
    """A wallet's trades in the exchange's own books, in the units that we store."""
    return Counter(
        (
            trade["txHash"],
            str(trade["marketId"]),
            trade["side"].upper(),
            {1: "YES", 2: "NO"}[trade["outcomeSide"]],
            *(float(trade[name]) for name in ("amount", "price", "shares", "fee", "profit")),
            trade["createdAt"] * 1000,
        )
        for trade in books.trades(wallet(number))
    )


def envelope(result: Any) -> bytes:
    """A result as the exchange wraps it."""
    return json.dumps({"errno": 0, "errmsg": "", "result": result}).encode()


def wait_until(condition: Any, timeout: float = 20) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
