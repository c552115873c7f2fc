"""What a month is simulated with: one clock for both sides, and the faults between them."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from whalesync.sandbox import Books, Handler, Request, make_trade

RETRY_AFTER = 1e-3  # seconds that a 429 asks for: waited for, but not noticed
SECONDS_A_REQUEST = 0.2  # by which the time goes on while a request is answered
MOST_GROWTH = 3  # of a list while one run reads it; without a bound, reading a long list would make it longer

FAULTS = (
    "429",
    "5xx",
    "reset",
    "no answer",
    "truncated",
    "html under 200",
    "wrong total",
    "unreadable record",
)
OUTAGES = {"5xx": ("5xx",), "reset": ("reset", "no answer"), "html": ("html under 200",)}


@dataclass
class Moment:
    """The simulated time: the exchange's in Unix seconds, and how far the host's clock is ahead of it."""

    now: float
    ahead: float = 0.0

    def exchange(self) -> float:
        """The clock of the exchange's books, in Unix seconds."""
        return self.now

    def host(self) -> int:
        """The host's clock, in milliseconds."""
        return int((self.now + self.ahead) * 1000)


class Weather:
    """The sandbox's fault: asked before each response what goes wrong with it, if anything.

    A list whose total is wrong must not grow in the same run, nor the other way round: a response that agrees by chance
    with one of another state of the list is beyond what any client can see.
    """

    def __init__(self, seed: int, moment: Moment, books: Books, wal: Path, latest: float) -> None:
        self.moment = moment
        self.books = books
        self.latest = latest  # how many seconds late a trade may surface
        self.share = 0.0  # of responses with a fault
        self.outage: str | None = None
        self.calm = True
        self.kill: subprocess.Popen[bytes] | None = None
        self.stop_at: int | None = None  # the request of this run that meets a SIGTERM
        self.requests = 0
        self.arrived_while_read = 0
        self.largest_wal = 0
        self.faults: Counter[str] = Counter()
        self._wal = wal
        self._rng = Random(seed)
        self._lock = threading.Lock()
        self._in_run = 0
        self._lied = False
        self._grown = 0

    def begin_run(self) -> None:
        """A new run begins: it may meet wrong totals or a list that grows, not both."""
        self._in_run = 0
        self._lied = False
        self._grown = 0

    def __call__(self, request: Request, handler: Handler) -> bool:
        with self._lock:
            kind = self._what(request)
        return kind is not None and FAULT_MAKERS[kind](self, request, handler)

    def _what(self, request: Request) -> str | None:
        self.requests += 1
        self._in_run += 1
        if self._wal.exists():
            self.largest_wal = max(self.largest_wal, self._wal.stat().st_size)
        if self.calm:
            return None
        wallet = request.path.removeprefix("/trade/user/")
        of_wallet = wallet != request.path
        if not self._lied:
            self.moment.now += SECONDS_A_REQUEST
            seam = of_wallet and int(request.query["page"]) > 1 and self._grown < MOST_GROWTH
            if seam and self._rng.random() < 0.2:
                self._grown += 1
                self._surface(wallet)
        kind = None
        if self.kill is not None:
            kind = "kill -9" if self._rng.random() < 0.4 else None
        elif self.stop_at == self._in_run:
            kind = "SIGTERM"
        elif self.outage:
            kind = self._rng.choice(OUTAGES[self.outage])
        elif self._rng.random() < self.share:
            kind = self._rng.choice(FAULTS)
            if (kind == "wrong total" and self._grown) or (kind == "unreadable record" and not of_wallet):
                kind = "5xx"
            self._lied = self._lied or kind == "wrong total"
        if kind:
            self.faults[kind] += 1
        return kind

    def _surface(self, wallet: str) -> None:
        """Add a trade of now, or an older one that shows late, while the list is being read; sometimes twice."""
        late = self._rng.choice((0.0, 0.0, 600.0, self.latest))
        trade = make_trade(
            marketId=1_001,
            createdAt=int(self.moment.now - self._rng.uniform(0, late)),
            shares=f"{self._rng.randint(1_000, 9_999_999) / 100:.2f}",
        )
        for _ in range(self._rng.choice((1, 1, 1, 2))):
            self.books.add_trade(wallet, trade)
            self.arrived_while_read += 1


def _send(status: int, body: bytes, headers: dict[str, str] | None = None) -> Callable[..., bool]:
    def answer(weather: Weather, request: Request, handler: Handler) -> bool:
        handler.send(status, body, headers)
        return True

    return answer


def _reset(weather: Weather, request: Request, handler: Handler) -> bool:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    return True


def _no_answer(weather: Weather, request: Request, handler: Handler) -> bool:
    handler.send_raw(b"")
    return True


def _truncated(weather: Weather, request: Request, handler: Handler) -> bool:
    sandbox = handler.server.sandbox
    body = sandbox.wrap(sandbox.answer(request))
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    handler.send_raw(head.encode() + body[: len(body) // 2])
    return True


def _changed(change: Callable[[dict[str, Any]], None]) -> Callable[..., bool]:
    """The right response with one change; where there is no list, the right one."""

    def answer(weather: Weather, request: Request, handler: Handler) -> bool:
        sandbox = handler.server.sandbox
        if request.path != "/market" and not request.path.startswith("/trade/user/"):
            return False
        result = sandbox.answer(request)
        assert result is not None
        change(result)
        handler.send(200, sandbox.wrap(result))
        return True

    return answer


def _wrong_total(result: dict[str, Any]) -> None:
    # By one, or by far more; which of these follows from the list, so that nothing here is random.
    result["total"] = max(0, result["total"] + (1, -1, 3, 40, -25)[result["total"] % 5])


def _unreadable_record(result: dict[str, Any]) -> None:
    if result["list"]:
        result["list"][len(result["list"]) // 2]["amount"] = "n/a"


def _kill(weather: Weather, request: Request, handler: Handler) -> bool:
    """Send the right response, and then kill the process that asked for it, wherever it is by then."""
    sandbox = handler.server.sandbox
    handler.send(200, sandbox.wrap(sandbox.answer(request)))
    time.sleep(weather._rng.uniform(0, 0.008))
    victim = weather.kill
    if victim is not None:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(victim.pid, signal.SIGKILL)
    return True


def _terminate(weather: Weather, request: Request, handler: Handler) -> bool:
    os.kill(os.getpid(), signal.SIGTERM)
    return False


FAULT_MAKERS: dict[str, Callable[[Weather, Request, Handler], bool]] = {
    "429": _send(429, b'{"errno": 429, "errmsg": "Too many requests"}', {"Retry-After": str(RETRY_AFTER)}),
    "5xx": _send(502, b"<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"}),
    "reset": _reset,
    "no answer": _no_answer,
    "truncated": _truncated,
    "html under 200": _send(200, b"<html>Be right back</html>", {"Content-Type": "text/html"}),
    "wrong total": _changed(_wrong_total),
    "unreadable record": _changed(_unreadable_record),
    "kill -9": _kill,
    "SIGTERM": _terminate,
}
