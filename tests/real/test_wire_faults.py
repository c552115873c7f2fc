"""The network and the exchange fail in every way: in time, said, nothing partial stored, and exact afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.faults import (
    BODIES,
    LISTS,
    PRICE,
    RECORDS,
    RETRY_AFTER,
    STATUSES,
    STREAMS,
    WIRE,
    Answer,
    never_ending,
    of_wallets,
    send,
)
from support.fills import Fill, listed
from support.host import DAY, KEY, Ended, Host, clock_ahead, fill_books, wallet

from whalesync.sandbox import Handler, Request, Sandbox

BUDGET = 3
GRACE = 5  # seconds a request that is under way may take beyond the budget


@dataclass
class Played:
    """What became of a run with faults, and of the one after it; lists are by wallet."""

    ended: Ended
    row: tuple[Any, ...]
    took: float  # seconds, by the sync log
    stored: list[Counter[Fill]]
    listed: list[Counter[Fill]]
    rejected: list[list[tuple[str, str]]]
    recovered: list[bool]  # by the next run

    def check(self) -> None:
        """What holds in every case."""
        assert self.ended.out == ""
        assert len(self.ended.lines()) == (self.ended.code == 1)
        assert self.row[0] == ("completed" if self.ended.code == 0 else "failed")
        assert "unexpected" not in self.ended.err and "unexpected" not in (self.row[2] or "")
        assert KEY not in str(self.row) and KEY not in str(self.rejected)
        assert self.took < BUDGET + GRACE
        assert all(stored <= true for stored, true in zip(self.stored, self.listed, strict=True))


def play(folder: Path, answers: Sequence[Answer], *, sound: bool = True, days: int = 0) -> Played:
    """Answer for each wallet wrongly, but for one more if ``sound``; then rightly, and all must come to be stored.

    ``days``: the number of runs after the next, each a day later, that this may take.
    """
    count = len(answers) + sound
    numbers = range(1, count + 1)
    books = fill_books(count, 60)
    with Sandbox(books, key=KEY, rate=None) as exchange:
        host = Host(folder, exchange.url, environ={"WHALESYNC_TIME_BUDGET": str(BUDGET)})
        try:
            host.watch(*map(wallet, numbers))
            exchange.fault = of_wallets(answers)
            ended = host.run("sync-whales")
            ((began, over),) = host.rows("SELECT started_at, ended_at FROM sync_logs")
            rejected = "SELECT reason, payload FROM rejected_records JOIN whales AS w ON w.id = whale_id"
            played = Played(
                ended,
                host.last_run(),
                (over - began) / 1000,
                [host.stored(n) for n in numbers],
                [listed(books.trades(wallet(n))) for n in numbers],
                [host.rows(f"{rejected} WHERE address = ?", wallet(n)) for n in numbers],
                [],
            )
            exchange.fault = None
            # What a Retry-After has put off, it has put off for the next run too.
            host.beside(".rate").unlink(missing_ok=True)
            host.environ.clear()
            host.succeed("sync-whales")
            played.recovered = [host.stored(n) == true for n, true in zip(numbers, played.listed, strict=True)]
            for _ in range(days):
                host.succeed("sync-whales", code_before=clock_ahead(DAY + 60))
            host.check_exact(books, count)
            host.check_whole()
            played.check()
            return played
        finally:
            host.end()


@pytest.mark.parametrize(
    "answers",
    [*([answer] for answer in RETRY_AFTER.values()), *(list(each.values()) for each in (STATUSES, STREAMS, BODIES))],
    ids=[*RETRY_AFTER, "status", "stream", "body"],
)
def test_some_wallets_fail(answers: list[Answer], tmp_path: Path) -> None:
    """Another wallet is read; the log says what failed; nothing of a bad response is stored."""
    played = play(tmp_path, answers)
    _, _, error, error_count = played.row
    assert error_count >= len(answers) and error
    waits = answers[0] in RETRY_AFTER.values()  # what it puts off for one wallet, it may put off for the other too
    assert played.ended.code == 0 or waits
    assert played.stored[:-1] == [Counter()] * len(answers)
    assert all(played.recovered)
    # With responses that are waited for, the budget may end before the history is read.
    assert played.stored[-1] == played.listed[-1] or (played.stored[-1] and played.took > BUDGET - 1) or waits


def test_a_list_contradicts_itself(tmp_path: Path) -> None:
    """The log says so, and the other wallet is read."""
    played = play(tmp_path, list(LISTS.values()), days=2)
    assert played.ended.code == 0
    assert played.row[3] >= len(LISTS)
    assert played.stored[-1] == played.listed[-1]


def test_some_records_are_bad(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """They are kept as they came with a reason; all others are stored; once they are good, they are stored too."""
    played = play(tmp_path, list(RECORDS.values()), days=6)
    assert played.ended.code == 0
    assert played.stored[-1] == played.listed[-1]
    for number, name in enumerate(RECORDS):
        with subtests.test(name):
            rejected = played.rejected[number]
            assert rejected and all(reason and payload for reason, payload in rejected)
            assert (played.listed[number] - played.stored[number]).total() == len(rejected)


@pytest.mark.parametrize("name", ["429, Retry-After 1000000000", "500", "reset", "HTML", "silence"])
def test_everything_fails(name: str, tmp_path: Path) -> None:
    """The run fails in time, with one line and a failed row, and has stored nothing."""
    played = play(tmp_path, [WIRE[name]] * 2, sound=False)
    assert played.ended.code == 1 and all(played.recovered)
    assert played.stored == [Counter()] * 2


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/openapi", "https://no-such-exchange.invalid/openapi"],
    ids=["refused", "no name"],
)
def test_no_network(url: str, host: Host) -> None:
    """Without a connection, or a name, the run fails in time and says so in one line."""
    host.url = url
    host.fail("sync-whales", env={"WHALESYNC_TIME_BUDGET": str(BUDGET)}, timeout=BUDGET + 20)
    assert host.last_run()[0] == "failed"


def test_a_look_up_that_hangs(host: Host) -> None:
    """A look-up of a name obeys no time-out, and yet does not hold up the end of the run."""
    hang = "import socket, time\nsocket.getaddrinfo = lambda *_, **__: time.sleep(60)"
    host.url = "https://slow.example/openapi"
    line = host.fail("sync-whales", code_before=hang, env={"WHALESYNC_TIME_BUDGET": "1"}, timeout=25)
    assert "name" in line
    assert host.last_run()[0] == "failed"


def test_a_list_that_never_ends(host: Host, exchange: Sandbox) -> None:
    """The time budget ends it: what came is stored, each trade once, and the run has not failed."""
    exchange.fault = of_wallets([never_ending])
    host.succeed("sync-whales", env={"WHALESYNC_TIME_BUDGET": "1"}, timeout=20)
    stored = host.stored(1)
    assert len(stored) > 100 and set(stored.values()) == {1}


@pytest.mark.parametrize("job", ["sync-markets", "sync-whales"])
def test_a_rejected_key(job: str, host: Host, exchange: Sandbox) -> None:
    """The job fails at once: a request or two, one line, a failed row."""
    host.key = "another-key"
    exchange.latency = 0.05
    line = host.fail(job, env={"WHALESYNC_RATE_LIMIT": "15"})
    assert "OPINION_TRADE_API_KEY" in line and "another-key" not in line
    assert len(exchange.requests) <= 2
    assert host.last_run()[0] == "failed"


def bad_tokens(answers: Iterable[Answer]) -> Callable[[Request, Handler], bool]:
    """The fault that answers the first requests for a token so."""
    left = iter(answers)

    def fault(request: Request, handler: Handler) -> bool:
        answer = next(left, None) if request.path.startswith("/token/") else None
        if answer is not None:
            answer(request, handler)
        return answer is not None

    return fault


def test_prices_of_every_bad_kind(host: Host, exchange: Sandbox) -> None:
    """A price or a book that cannot be read is in the log and not stored; the job goes on, and later stores it."""
    names = ("HTML", "a price of NaN", "nested 100,000 deep", "gzip bomb", "an array")
    exchange.fault = bad_tokens((WIRE | PRICE)[name] for name in names)
    host.succeed("sync-markets")
    status, items, error, error_count = host.last_run()
    assert (status, items, error_count) == ("completed", 3, 5), error
    host.succeed("sync-markets")
    assert host.last_run() == ("completed", 3, None, 0)
    assert set(host.rows("SELECT yes_price FROM markets")) == {(0.5,)}


def test_a_retry_after_of_a_month_is_not_waited_for(host: Host, exchange: Sandbox) -> None:
    """A Retry-After beyond the time budget ends the run at once."""
    exchange.fault = of_wallets([send(429, b"", {"Retry-After": "2592000"})] * 2)
    host.fail("sync-whales", timeout=30)  # of a budget of 50
