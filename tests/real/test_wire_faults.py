"""The network and the exchange fail in every way: in time, told, nothing partial stored, and exact afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults import LIST, PRICE, RECORD, WIRE, Answer, never_ending, of_wallet, says
from machine import KEY, Ended, Host, fill_books, shown, wallet

from whalesync.sandbox import Handler, Request, Sandbox

BUDGET = 3.0
GRACE = 4.0  # how long a request that is under way may take beyond the budget
STARTING = 4.0  # for many processes at once, to start and to end


@dataclass
class Seen:
    """What became of a run with a fault, and of the one after it."""

    ended: Ended
    row: tuple[Any, ...]
    stored: list[Any]
    shown: list[Any]
    rejected: list[tuple[str, str]]
    requests: int
    after: Ended
    stored_after: list[Any]


def play(folder: Path, answer: Answer, number: int | None) -> Seen:
    """Two wallets, one of them (or both) answered wrongly; then the fault is mended."""
    folder.mkdir()
    books = fill_books(2, 60)
    with Sandbox(books, key=KEY, rate=None) as exchange:
        host = Host(folder, exchange.url, environ={"WHALESYNC_TIME_BUDGET": f"{BUDGET:.0f}"})
        try:
            host.watch(wallet(1), wallet(2))
            exchange.fault = of_wallet(answer, number)
            ended = host.run("sync-whales")
            stored = [host.stored(1), host.stored(2)]
            row = host.last_run()
            rejected = host.rows("SELECT reason, payload FROM rejected_records")
            requests = len(exchange.requests)
            exchange.fault = None
            # What a Retry-After has put off, it has put off for the next run too.
            host.db.with_name(host.db.name + ".rate").unlink(missing_ok=True)
            after = host.run("sync-whales", env={"WHALESYNC_TIME_BUDGET": "20"})
            if (after.code, after.err) == (0, "") and host.stored(1) != shown(books, 1):
                after = host.run("sync-whales")  # what the run before has found to be missing
            host.check_whole()
            return Seen(
                ended, row, stored, [shown(books, 1), shown(books, 2)], rejected, requests, after,
                [host.stored(1), host.stored(2)],
            )  # fmt: skip
        finally:
            host.end()


Cases = dict[tuple[str, int | None], Future[Seen]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    """All cases, played eight at a time."""
    folder = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(8) as pool:
        cases: Cases = {}
        for name, answer in (WIRE | LIST | RECORD).items():
            cases[name, 1] = pool.submit(play, folder / f"{len(cases)}", answer, 1)
        for name in ("429, Retry-After 10^9", "500", "reset", "HTML", "silence", "gzip bomb", "redirect"):
            cases[name, None] = pool.submit(play, folder / f"{len(cases)}", WIRE[name], None)
        yield cases


def check_in_time_and_mended(case: Seen) -> None:
    """What holds in every case."""
    assert case.ended.out == ""
    assert case.ended.seconds < BUDGET + GRACE + STARTING, case.ended
    assert "unexpected" not in case.ended.err and "unexpected" not in (case.row[2] or ""), case
    assert KEY not in (case.row[2] or "")
    for stored, true in zip(case.stored, case.shown, strict=True):
        assert stored <= true
    assert (case.after.code, case.after.err) == (0, ""), case.after
    assert case.stored_after == case.shown


@pytest.mark.parametrize("name", [*WIRE, *LIST])
def test_one_wallet_fails(name: str, seen: Cases) -> None:
    """The other wallet is read; the log says what failed; nothing of a bad page is stored."""
    case = seen[name, 1].result()
    check_in_time_and_mended(case)
    status, _, error, error_count = case.row
    assert (case.ended.code, len(case.ended.lines()), status) == (0, 0, "completed") or (
        # What the exchange puts off for one wallet, it may put off before the other is asked for.
        "Retry-After" in name and (case.ended.code, len(case.ended.lines()), status) == (1, 1, "failed")
    )
    assert error_count >= 1 and error is not None
    if name in WIRE:
        assert case.stored[0] == {}
        if "Retry-After" not in name:
            # An answer that is waited for keeps the depths of the other list waiting too, in so short a budget.
            assert case.stored[1] == case.shown[1] or case.ended.seconds > BUDGET
            assert case.stored[1]


@pytest.mark.parametrize("name", RECORD)
def test_one_record_is_bad(name: str, seen: Cases) -> None:
    """It is refused with its reason and kept as it came; all others are stored; later it is found."""
    case = seen[name, 1].result()
    check_in_time_and_mended(case)
    assert (case.ended.code, case.ended.err) == (0, "")
    assert case.row[0] == "completed" and "set aside" in case.row[2]
    assert case.stored[1] == case.shown[1]
    assert case.rejected and all(reason and payload for reason, payload in case.rejected)
    assert sum((case.shown[0] - case.stored[0]).values()) == len(case.rejected)
    assert KEY not in str(case.rejected)


@pytest.mark.parametrize(
    "name", ["429, Retry-After 10^9", "500", "reset", "HTML", "silence", "gzip bomb", "redirect"]
)
def test_everything_fails(name: str, seen: Cases) -> None:
    """The run fails in time, with one line and a failed row, and has stored nothing."""
    case = seen[name, None].result()
    check_in_time_and_mended(case)
    assert case.ended.code == 1
    assert len(case.ended.lines()) == 1, case.ended
    assert case.row[0] == "failed"
    assert case.stored == [{}, {}]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1:9/openapi", "refused"),
        ("https://no-such-exchange.invalid/openapi", "cannot be"),
    ],
)
def test_no_network(url: str, word: str, host: Host) -> None:
    """Without a connection, or a name, the run fails in time and says so in one line."""
    host.url = url
    ended = host.run("sync-whales", env={"WHALESYNC_TIME_BUDGET": f"{BUDGET:.0f}"})
    assert (ended.code, len(ended.lines())) == (1, 1), ended
    assert word in ended.err and "unexpected" not in ended.err
    assert ended.seconds < BUDGET + 8
    assert host.last_run()[0] == "failed"


def test_name_look_up_that_hangs(host: Host) -> None:
    """A look-up that obeys no time-out does not hold up the end of the run."""
    hang = "import socket, time\nsocket.getaddrinfo = lambda *_, **__: time.sleep(60)"
    host.url = "https://slow.example/openapi"
    ended = host.run("sync-whales", code_before=hang, env={"WHALESYNC_TIME_BUDGET": "1"})
    assert (ended.code, len(ended.lines())) == (1, 1), ended
    assert "name cannot be looked up" in ended.err
    assert ended.seconds < 1 + 6 + 3
    assert host.last_run()[0] == "failed"


def test_list_that_never_ends(host: Host, exchange: Sandbox) -> None:
    """The budget ends it: what came is stored, each trade once, and the run has not failed."""
    exchange.fault = of_wallet(never_ending, 1)
    ended = host.succeed("sync-whales", env={"WHALESYNC_TIME_BUDGET": "3"})
    assert ended.seconds < BUDGET + GRACE + 1
    stored = host.stored(1)
    assert len(stored) > 100 and set(stored.values()) == {1}


@pytest.mark.parametrize("job", ["sync-markets", "sync-whales"])
def test_refused_key(job: str, host: Host, exchange: Sandbox) -> None:
    """It fails at once: a request or two, one line, a failed row."""
    host.key = "another-key"
    exchange.latency = 0.05
    line = host.fail(job, env={"WHALESYNC_RATE_LIMIT": "15"})
    assert "OPINION_TRADE_API_KEY" in line and "another-key" not in line
    assert len(exchange.requests) <= 2
    assert host.last_run()[0] == "failed"


def test_markets_of_every_bad_kind(host: Host, exchange: Sandbox) -> None:
    """A price, a book and a market that cannot be read are told and kept out; the job goes on."""
    answers = iter(
        (WIRE | PRICE)[name]
        for name in ("HTML", "a price of NaN", "nested 100,000 deep", "gzip bomb", "an array")
    )

    def fault(request: Request, handler: Handler) -> bool:
        answer = next(answers, None) if request.path.startswith("/token/") else None
        if answer is not None:
            answer(request, handler)
        return answer is not None

    exchange.fault = fault
    host.succeed("sync-markets")
    status, items, error, error_count = host.last_run()
    assert (status, items, error_count) == ("completed", 3, 5), error
    host.succeed("sync-markets")
    assert host.last_run() == ("completed", 3, None, 0)
    assert {row[0] for row in host.rows("SELECT yes_price FROM markets")} == {0.5}


def test_a_month_of_waiting_is_not_waited(host: Host, exchange: Sandbox) -> None:
    """A Retry-After beyond the budget ends the run at once; it does not sleep until then."""
    exchange.fault = of_wallet(says(429, b"", {"Retry-After": "2592000"}), None)
    begun = time.monotonic()
    host.fail("sync-whales")
    assert time.monotonic() - begun < 5
