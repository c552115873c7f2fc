"""The network and the exchange fail in every way: in time, said, nothing partial stored, and exact afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
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
    of_wallet,
    send,
)
from support.fills import Fill, listed
from support.host import DAY, KEY, Ended, Host, clock_ahead, fill_books, wallet

from whalesync.sandbox import Handler, Request, Sandbox

BUDGET = 3
GRACE = 5  # seconds a request that is under way may take beyond the budget
AT_ONCE = 6


@dataclass
class Played:
    """What became of a run with a fault, and of the one after it."""

    name: str
    ended: Ended
    row: tuple[Any, ...]
    took: float  # seconds, by the sync log
    stored: list[Counter[Fill]]
    listed: list[Counter[Fill]]
    rejected: list[tuple[str, str]]
    recovered: bool = False  # by the next run

    def check(self) -> None:
        """What holds in every case."""
        assert self.ended.out == ""
        assert len(self.ended.lines()) == (self.ended.code == 1)
        assert self.row[0] == ("completed" if self.ended.code == 0 else "failed")
        assert "unexpected" not in self.ended.err and "unexpected" not in (self.row[2] or "")
        assert KEY not in str(self.row) and KEY not in str(self.rejected)
        assert self.took < BUDGET + GRACE
        assert all(stored <= true for stored, true in zip(self.stored, self.listed, strict=True))


def play(folder: Path, name: str, answer: Answer, number: int | None) -> Played:
    """Answer for one of two wallets (or both) wrongly; then rightly, after which everything must be stored."""
    folder.mkdir()
    books = fill_books(2, 60)
    with Sandbox(books, key=KEY, rate=None) as exchange:
        host = Host(folder, exchange.url, environ={"WHALESYNC_TIME_BUDGET": str(BUDGET)})
        try:
            host.watch(wallet(1), wallet(2))
            exchange.fault = of_wallet(answer, number)
            ended = host.run("sync-whales")
            ((began, over),) = host.rows("SELECT started_at, ended_at FROM sync_logs")
            played = Played(
                name,
                ended,
                host.last_run(),
                (over - began) / 1000,
                [host.stored(1), host.stored(2)],
                [listed(books.trades(wallet(n))) for n in (1, 2)],
                host.rows("SELECT reason, payload FROM rejected_records"),
            )
            exchange.fault = None
            # What a Retry-After has put off, it has put off for the next run too.
            host.beside(".rate").unlink(missing_ok=True)
            host.environ.clear()
            host.succeed("sync-whales")
            played.recovered = host.stored(1) == played.listed[0]
            for _ in range(2):
                # A day later it looks whether what could not be read can be read now.
                host.succeed("sync-whales", code_before=clock_ahead(DAY + 60))
            host.check_exact(books)
            host.check_whole()
            return played
        finally:
            host.end()


@pytest.fixture
def play_all(tmp_path: Path, subtests: pytest.Subtests) -> Callable[..., None]:
    """Plays many cases, some at a time, and checks each."""

    def play_all(answers: dict[str, Answer], number: int | None, check: Callable[[Played], None]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            cases = {
                name: pool.submit(play, tmp_path / str(place), name, answer, number)
                for place, (name, answer) in enumerate(answers.items())
            }
            for name, case in cases.items():
                with subtests.test(name):
                    played = case.result()
                    played.check()
                    check(played)

    return play_all


def check_one_wallet_failed(case: Played) -> None:
    """The run completes, and its log says what failed."""
    _, _, error, error_count = case.row
    assert case.ended.code == 0 or case.name in RETRY_AFTER
    assert error_count >= 1 and error


def check_nothing_of_it_is_stored(case: Played) -> None:
    """The other wallet is stored, as far as there was time, and this one by the next run."""
    check_one_wallet_failed(case)
    assert case.recovered
    assert case.stored[0] == Counter()
    if case.name not in RETRY_AFTER:
        assert case.stored[1]
        # A response that is waited for keeps the other's history waiting too, with so short a budget.
        assert case.stored[1] == case.listed[1] or case.took > BUDGET - 1


@pytest.mark.parametrize("answers", [RETRY_AFTER, STATUSES, STREAMS, BODIES], ids=["429", "status", "stream", "body"])
def test_one_wallet_fails(answers: dict[str, Answer], play_all: Callable[..., None]) -> None:
    """The other wallet is read; the log says what failed; nothing of a bad response is stored."""
    play_all(answers, 1, check_nothing_of_it_is_stored)


def test_a_list_contradicts_itself(play_all: Callable[..., None]) -> None:
    """The log says so, and the other wallet is read."""
    play_all(LISTS, 1, check_one_wallet_failed)


def test_some_records_are_bad(play_all: Callable[..., None]) -> None:
    """They are kept as they came with a reason; all others are stored; once they are good, they are stored too."""

    def check(case: Played) -> None:
        assert case.ended.code == 0 and case.row[3] >= 1
        assert case.stored[1] == case.listed[1]
        assert case.rejected and all(reason and payload for reason, payload in case.rejected)
        assert (case.listed[0] - case.stored[0]).total() == len(case.rejected)

    play_all(RECORDS, 1, check)


def test_everything_fails(play_all: Callable[..., None]) -> None:
    """The run fails in time, with one line and a failed row, and has stored nothing."""

    def check(case: Played) -> None:
        assert case.ended.code == 1 and case.recovered
        assert case.stored == [Counter(), Counter()]

    names = ("429, Retry-After 1000000000", "500", "reset", "HTML", "silence", "gzip bomb", "redirect")
    play_all({name: WIRE[name] for name in names}, None, check)


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
    exchange.fault = of_wallet(never_ending, 1)
    host.succeed("sync-whales", env={"WHALESYNC_TIME_BUDGET": str(BUDGET)}, timeout=BUDGET + 20)
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
    exchange.fault = of_wallet(send(429, b"", {"Retry-After": "2592000"}), None)
    host.fail("sync-whales", timeout=30)  # of a budget of 50
