"""The market job over a real file, with an exchange that is a list and requests that run in this thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from whalesync.errors import ExchangeChanged, JobFailed, KeyRefused, ServerFault
from whalesync.exchange.opinion import OpinionTrade
from whalesync.jobs.crew import Crew
from whalesync.jobs.markets import MarketSync
from whalesync.jobs.run import Run, run_job
from whalesync.sandbox import Books, make_categorical, make_child, make_market
from whalesync.sandbox.books import Refused
from whalesync.settings import Settings
from whalesync.store.database import open_database

NOW = 1_790_000_000


class Wire:
    """Answers requests from the exchange's own books; counts them; can be told to do something before one."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.paths: list[str] = []
        self.before: Callable[[str, int], None] = lambda path, number: None
        self.latest_date: int | None = NOW * 1000

    def get(self, path: str, params: dict[str, Any]) -> Any:
        """The result of one request."""
        self.paths.append(path)
        self.before(path, len(self.paths))
        if path == "/market":
            return self.books.market_page(
                params["page"], params["limit"], market_type=params["marketType"], sort_by=params["sortBy"]
            )
        try:
            look = self.books.latest_price if path == "/token/latest-price" else self.books.order_book
            return look(params["token_id"])
        except Refused as exc:
            from whalesync.errors import RequestRefused

            raise RequestRefused(exc.message, exc.number) from exc


@pytest.fixture
def books() -> Books:
    """Books at a moment that stands still."""
    return Books(lambda: NOW)


@pytest.fixture
def sync(tmp_path: Path, books: Books) -> Callable[..., Run]:
    """Runs the job once."""

    def once(wire: Wire | None = None, seconds: float = 30.0) -> Run:
        settings = Settings(db=tmp_path / "markets.db")
        with run_job("sync-markets", settings) as run:
            crew = Crew(time.monotonic() + seconds, in_flight=1)
            MarketSync(run, OpinionTrade(wire or Wire(books)), crew).work()  # type: ignore[arg-type]  # a client as far as it is used
        return run

    return once


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """What a query finds in the file."""

    def query(sql: str) -> list[dict[str, Any]]:
        with open_database(tmp_path / "markets.db") as db:
            return [dict(row) for row in db.rows(sql)]

    return query


def test_every_market_of_every_status_is_stored(sync: Any, rows: Any, books: Books) -> None:
    """45 binary markets of all six statuses and a categorical one with two children: 48 rows, three pages."""
    for number in range(1, 46):
        books.add_market(make_market(number, status=number % 6 + 1))
    books.add_market(make_categorical(100, [make_child(101), make_child(102, cutoffAt=0)], labels=["Sport"]))
    wire = Wire(books)
    assert sync(wire).items == 48
    assert wire.paths.count("/market") == 3
    stored = {row["external_id"]: row for row in rows("SELECT * FROM markets")}
    assert set(stored) == {str(n) for n in [*range(1, 46), 100, 101, 102]}
    assert {row["status"] for row in stored.values()} == {
        "created",
        "activated",
        "resolving",
        "resolved",
        "failed",
        "deleted",
    }
    child, parent = stored["102"], stored["100"]
    assert (child["category"], child["end_date"]) == ("Sport", parent["end_date"])
    assert (child["parent_external_id"], parent["yes_token_id"]) == ("100", None)


def test_a_market_made_while_the_list_is_read_is_found(sync: Any, rows: Any, books: Books) -> None:
    """It comes first in the list and pushes the last one onto another page: both are stored all the same."""
    for number in range(1, 41):
        books.add_market(make_market(number, createdAt=NOW - 1000 + number))
    wire = Wire(books)

    def arrive(path: str, request: int) -> None:
        if request == 2:
            books.add_market(make_market(99, createdAt=NOW))

    wire.before = arrive
    run = sync(wire)
    assert run.items == 41 and run.errors() == []
    assert {row["external_id"] for row in rows("SELECT external_id FROM markets")} == {
        str(n) for n in [*range(1, 41), 99]
    }


def test_unknown_prices_stay_unknown(sync: Any, rows: Any, books: Books) -> None:
    """A token that never traded has NULL prices, not 0.5; one with a price has 1 less it on the other side."""
    for number in (1, 2):
        books.add_market(make_market(number))
    books.set_price(books.market(1)["yesTokenId"], "0.65")
    books.set_book(books.market(1)["yesTokenId"], [("0.6", "100")], [("0.7", "50"), ("0.8", "10")])
    sync()
    first, second = rows("SELECT yes_price, no_price, price_updated_at, liquidity FROM markets ORDER BY id")
    assert (first["yes_price"], first["no_price"]) == (0.65, 0.35)
    assert first["liquidity"] == pytest.approx(60 + 35 + 8)
    assert (second["yes_price"], second["no_price"], second["price_updated_at"]) == (None, None, None)


def test_an_unchanged_market_writes_nothing(sync: Any, rows: Any, books: Books) -> None:
    """A second run over the same markets leaves every row as it is, and writes only a changed price."""
    for number in range(1, 6):
        books.add_market(make_market(number))
        books.set_price(books.market(number)["yesTokenId"], "0.5")
    sync()
    before = rows("SELECT * FROM markets")
    sync()
    assert rows("SELECT * FROM markets") == before
    books.set_price(books.market(3)["yesTokenId"], "0.9")
    sync()
    changed = [
        new["external_id"]
        for old, new in zip(before, rows("SELECT * FROM markets"), strict=True)
        if old != new
    ]
    assert changed == ["3"]


def test_one_page_that_fails_fails_alone(sync: Any, rows: Any, books: Books) -> None:
    """The other pages are stored, and the sync log says which one is missing."""
    for number in range(1, 61):
        books.add_market(make_market(number, status=4))
    wire = Wire(books)

    def fail(path: str, request: int) -> None:
        if request == 2:
            raise ServerFault("the exchange says 500")

    wire.before = fail
    run = sync(wire)
    assert run.items == 40 and run.error_count == 2
    assert any("page 2 of the markets" in error for error in run.errors())


def test_without_a_first_page_the_run_has_failed(sync: Any, rows: Any, books: Books) -> None:
    """Nothing could be read: the run says why."""
    wire = Wire(books)

    def fail(path: str, request: int) -> None:
        raise ServerFault("the exchange says 503")

    wire.before = fail
    with pytest.raises(JobFailed, match="503"):
        sync(wire)
    assert [row["status"] for row in rows("SELECT status FROM sync_logs")] == ["failed"]


def test_a_refused_key_ends_the_run_at_once(sync: Any, books: Books) -> None:
    """No second request is made with it."""
    wire = Wire(books)

    def refuse(path: str, request: int) -> None:
        raise KeyRefused("no")

    wire.before = refuse
    with pytest.raises(KeyRefused):
        sync(wire)
    assert len(wire.paths) == 1


def test_a_bad_market_is_set_aside_and_the_others_stored(sync: Any, rows: Any, books: Books) -> None:
    """It is named in the sync log, and kept once however often it comes."""
    books.add_market(make_market(1))
    books.add_market(make_market(2, volume="a lot"))
    for _ in range(2):
        run = sync()
        assert run.items == 1 and "volume is 'a lot'" in run.errors()[0]
    (kept,) = rows("SELECT source, reason, seen_count FROM rejected_records")
    assert (kept["source"], kept["seen_count"]) == ("markets", 2)


def test_a_page_of_bad_markets_alone_fails_the_run(sync: Any, rows: Any, books: Books) -> None:
    """The exchange has changed, and that must be seen."""
    books.add_market(make_market(1, status="open", statusEnum=7))
    with pytest.raises(ExchangeChanged):
        sync()
    assert len(rows("SELECT * FROM rejected_records")) == 1


def test_what_a_run_has_no_time_for_comes_first_in_the_next(sync: Any, rows: Any, books: Books) -> None:
    """The busiest is asked first; what was left out is remembered."""
    for number in range(1, 5):
        books.add_market(make_market(number, volume24h=str(number)))
    wire = Wire(books)

    def slow(path: str, request: int) -> None:
        if path == "/token/latest-price":
            time.sleep(0.3)

    wire.before = slow
    sync(wire, seconds=0.4)
    left_out = rows("SELECT external_id FROM markets WHERE price_left_out_since IS NOT NULL ORDER BY id")
    assert [row["external_id"] for row in left_out] == ["1", "2", "3"][: len(left_out)] and left_out
    sync()
    assert rows("SELECT 1 FROM markets WHERE price_left_out_since IS NOT NULL") == []
