"""``sync-markets`` over a real file. The exchange is the sandbox's books; its requests are made one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.market_day import MarketDay, hour_passes
from support.market_host import BUDGET, NOW, Host, reached

from whalesync.errors import (
    AuthenticationError,
    ExchangeChanged,
    JobFailed,
    OutOfTime,
    RequestRefused,
    ServerError,
)
from whalesync.jobs.exchanges import clock_ahead
from whalesync.jobs.run import Run
from whalesync.records import Trade
from whalesync.sandbox import Books, make_categorical, make_child, make_market
from whalesync.store.database import open_database
from whalesync.store.markets import ids_for

YEAR = 365 * 86_400


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose exchange lists nothing yet."""
    with reached(Host(tmp_path / "markets.db"), monkeypatch) as made:
        yield made


def fail(error: Exception, path: str = "/market", request: int | None = None) -> Callable[[str, int], None]:
    """Let each request for ``path`` fail, or one."""

    def before(asked: str, number: int) -> None:
        if asked == path and request in (None, number):
            raise error

    return before


def test_every_market_of_every_status_is_stored(host: Host) -> None:
    """45 binary markets of all six statuses, and a topic of a market's number with two children, over three pages."""
    for number in range(1, 46):
        host.books.add_market(make_market(number, status=number % 6 + 1))
    host.books.add_market(make_categorical(45, [make_child(101), make_child(102, cutoffAt=0)], labels=["Sport"]))
    assert host.sync().items == 48
    pages = [(params.get("collectionType"), params["page"]) for params in host.lists(status=None)]
    assert Counter(pages) == Counter([(2, 1), (2, 2), (2, 3), (1, 1), (None, 1), (None, 2), (None, 3)])
    status = host.stored("status")
    assert set(status) == {str(n) for n in [*range(1, 46), 101, 102]}
    assert set(status.values()) == {"created", "activated", "resolving", "resolved", "failed", "deleted"}
    (topic,) = host.rows("SELECT * FROM markets WHERE kind = 'topic'")
    assert (topic["external_id"], topic["yes_token_id"]) == ("45", None)
    child = host.stored("parent_external_id, category, end_date")["102"]
    assert child == ("45", "Sport", topic["end_date"])


def listing(numbers: range) -> Books:
    """Books with these markets, the highest number newest."""
    books = Books(lambda: NOW)
    for number in numbers:
        books.add_market(make_market(number, status=4, createdAt=NOW - 1000 + number))
    return books


@pytest.mark.parametrize("after", [range(1, 62), range(1, 60)], ids=["made", "deleted"])
@pytest.mark.parametrize("request_number", range(3, 11))
def test_a_list_that_changes_while_it_is_read_is_read_whole(after: range, request_number: int, host: Host) -> None:
    """A new market pushes others onto the next page, a deletion pulls them onto the last one: none is missed."""
    listed = range(1, 61)
    host.books = listing(listed)

    def change(path: str, request: int) -> None:
        nonlocal listed
        if request == request_number:
            listed = after
            host.books = listing(listed)

    host.before = change
    run = host.sync()
    assert {str(number) for number in listed} <= set(host.stored("status"))
    assert run.errors() == []


@pytest.mark.parametrize("lie", ["total too large", "page ignored"])
def test_a_list_without_end_leaves_time_for_prices(lie: str, host: Host) -> None:
    """It is left at an empty page, or when pages repeat; the sync log says what does not fit."""
    host.list_markets(30)
    host.seconds["/market"] = 1.0

    def answer(params: dict[str, Any]) -> Any:
        page = {**params, "page": 1} if lie == "page ignored" else params
        return {**host.honest("/market", page), "total": 26_800}

    host.answers["/market"] = answer
    run = host.sync()
    lists = Counter((params.get("status"), params.get("collectionType")) for params in host.lists())
    assert len(lists) == 5 and max(lists.values()) <= 12
    assert set(host.stored("yes_price").values()) == {0.5}
    assert any("listed, but the exchange counts 26800" in error for error in run.errors())


def test_a_total_that_is_too_small_hides_no_market(host: Host) -> None:
    """The list is read on while its pages are full; the sync log says what does not fit."""

    def shorten(page: dict[str, Any]) -> dict[str, Any]:
        return page | {"total": min(20, page["total"])}

    host.list_markets(50, status=4)
    host.answers["/market"] = lambda params: shorten(host.honest("/market", params))
    run = host.sync()
    assert len(host.stored("status")) == 50
    assert run.errors() == ["markets outside series and 1 more: 50 are listed, but the exchange counts 20"]


def test_markets_that_are_no_longer_listed_are_said(host: Host) -> None:
    """A list that is empty all of a sudden does not pass for all being well; what is stored stays."""
    host.list_markets(30)
    host.sync()
    host.answers["/market"] = lambda params: {"total": 0, "list": None}
    errors = host.sync().errors()
    assert errors == ["markets: 30 of 30 stored markets that can be traded are no longer listed"]
    assert len(host.stored("status")) == 30


def test_unknown_prices_are_null(host: Host) -> None:
    """An empty price, and 0.0 at the time 0; a known price has 1 less it on the other side."""
    for number in (1, 2, 3):
        host.books.add_market(make_market(number))
    host.books.set_price(host.token(1), "0.65")
    host.books.set_book(host.token(1), [("0.6", "100")], [("0.7", "50"), ("0.8", "10")])
    never_traded = {"price": "0.0", "side": "", "size": "0", "timestamp": 0}
    host.answers["/token/latest-price"] = lambda params: (
        never_traded if params["token_id"] == host.token(2) else host.honest("/token/latest-price", params)
    )
    host.sync()
    prices = host.stored("yes_price, no_price, price_updated_at")
    assert prices["1"][:2] == (0.65, 0.35) and prices["1"][2] is not None
    assert prices["2"] == prices["3"] == (None, None, None)
    assert host.stored("liquidity")["1"] == pytest.approx(60 + 35 + 8)


@pytest.mark.parametrize("is_refused", [True, False])
def test_when_no_price_is_known_any_more_the_stored_ones_stay(is_refused: bool, host: Host) -> None:
    """Every request refused, or every price empty, is the exchange's fault and goes into the sync log."""
    host.list_markets(2)
    host.sync()
    host.answers["/token/latest-price"] = lambda params: {"price": ""}
    if is_refused:
        host.before = fail(RequestRefused("no"), "/token/latest-price")
    (error,) = host.sync().errors()
    assert error.startswith("price: not known for any of 2 markets")
    assert set(host.stored("yes_price").values()) == {0.5}


def test_a_page_that_fails_does_not_keep_the_others_from_being_stored(host: Host) -> None:
    """The sync log says which one is missing."""
    host.list_markets(60, status=4)

    def answer(params: dict[str, Any]) -> Any:
        if params["page"] == 2:
            raise ServerError("Opinion.Trade answered 500")
        return host.honest("/market", params)

    host.answers["/market"] = answer
    run = host.sync()
    assert run.items == 40
    assert run.errors() == [
        "page 2 of the markets outside series and 1 more: Opinion.Trade answered 500",
        "markets outside series and 1 more: 1 of 3 pages were not read",
    ]


@pytest.mark.parametrize(
    ("error", "message"),
    [(ServerError("answered 503"), "answered 503"), (AuthenticationError("rejected"), "rejected"),
     (OutOfTime(), "before the first page")],
)  # fmt: skip
def test_a_run_without_a_first_page_fails_with_its_error(error: Exception, message: str, host: Host) -> None:
    """After one request."""
    host.before = fail(error)
    with pytest.raises((type(error), JobFailed), match=message):
        host.sync()
    assert len(host.asked) == 1
    (row,) = host.rows("SELECT status, error FROM sync_logs")
    assert row["status"] == "failed" and message in row["error"]


def test_a_rejected_market_is_kept_and_the_others_stored(host: Host) -> None:
    """It is named in the sync log, and kept once however often it comes."""
    host.books.add_market(make_market(1))
    host.books.add_market(make_market(2, volume="a lot"))
    for _ in range(2):
        run = host.sync()
        assert run.items == 1
        assert any("a record was rejected: volume is 'a lot'" in error for error in run.errors())
    (kept,) = host.rows("SELECT source, reason, seen_count FROM rejected_records")
    assert (kept["source"], kept["seen_count"]) == ("markets", 2)


def test_a_page_of_rejected_markets_only_fails_the_run(host: Host) -> None:
    """The exchange has changed, and that must be seen; one market alone on a page is not enough if others are read."""
    host.books.add_market(make_market(1, status="open", statusEnum=7, collection={"current": {"marketId": 1}}))
    with pytest.raises(ExchangeChanged):
        host.sync()
    assert len(host.rows("SELECT * FROM rejected_records")) == 1
    host.books.add_market(make_market(2))
    assert any("a record was rejected" in error for error in host.sync().errors())
    host.books.add_market(make_market(3, status="open", statusEnum=7, collection={"current": {"marketId": 3}}))
    with pytest.raises(ExchangeChanged):
        host.sync()


@pytest.mark.parametrize("ahead", [0, YEAR])
def test_what_a_run_has_no_time_for_comes_first_in_the_next(ahead: int, host: Host) -> None:
    """The busiest is asked first, then whom there was no time for: also after a run with the clock ahead."""
    for number in (1, 2, 3):
        host.books.add_market(make_market(number, volume24h=str(number)))
        host.books.set_price(host.token(number), "0.5")
    host.seconds["/token/latest-price"] = BUDGET  # so that one price is all that a run has time for
    asked: list[str] = []
    for run_number in range(4):
        host.ahead = ahead if run_number == 0 else 0
        host.sync()
        asked += host.asked_for("/token/latest-price", "token_id")
    assert len(asked) == 4
    assert [host.token(number) for number in (3, 2)] == asked[:2]
    assert set(asked) == {host.token(number) for number in (1, 2, 3)}


@pytest.mark.parametrize(
    ("ahead", "remembered", "errors"),
    [
        (0, 0, []),
        (YEAR, YEAR * 1000, ["clock: 31536000 s ahead of Opinion.Trade's. Set the clock of this host."]),
    ],
)
def test_a_slow_exchange_is_not_taken_for_a_wrong_clock(
    ahead: int, remembered: int, errors: list[str], host: Host
) -> None:
    """Both clocks are compared at the same moment; how far the host's is ahead is remembered for cleanup."""
    host.list_markets(1)
    host.ahead = ahead
    host.seconds["/token/orderbook"] = 94.0
    assert host.sync().errors() == errors
    with open_database(host.db) as db:
        assert clock_ahead(db, "opinion_trade") == remembered


def test_every_row_agrees_with_the_books_of_the_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one number for two, in series, unlisted, early decided and deleted markets; changes come within two runs."""
    day = MarketDay(tmp_path / "day.db", open_topics=12, ended_topics=45, series=3, past=4, unlisted=2)
    with reached(day, monkeypatch):
        list(day.runs(2))
        assert day.differences() == {}
        for _ in range(3):
            hour_passes(day)
            list(day.runs(2))
            assert day.differences() == {}


def sync_later(host: Host, minutes: float = 5) -> Run:
    """Run the job again after some minutes."""
    host.elapsed += minutes * 60
    return host.sync()


def test_a_market_that_the_exchange_forgets_is_deleted(host: Host) -> None:
    """A binary market and a child; listed again, they are open again."""
    host.list_markets(8)
    host.books.add_market(make_categorical(3, [make_child(20), make_child(21)]))
    host.sync()
    host.books.remove_market(4)
    host.books.remove_market(21)
    for _ in range(2):
        sync_later(host)
    statuses = host.stored("status")
    assert {number for number, status in statuses.items() if status == "deleted"} == {"4", "21"}
    host.books.add_market(make_market(4))
    sync_later(host)
    assert host.stored("status")["4"] == "activated"


def test_many_markets_that_are_gone_at_once_are_not_believed(host: Host) -> None:
    """More than five and than a tenth: nothing is changed, every run says so, until the exchange knows them again."""
    host.list_markets(20)
    host.sync()
    books, host.books = host.books, Books(lambda: NOW)
    for number in range(1, 15):
        host.books.add_market(make_market(number))
        host.books.set_price(host.token(number), "0.5")
    for _ in range(2):
        (error,) = sync_later(host).errors()
        assert "does not know 6 of 20 stored markets" in error
        assert set(host.stored("status").values()) == {"activated"}
    host.books = books
    assert sync_later(host).errors() == []


def meet(host: Host, *fills: Trade) -> None:
    """Store the markets of trades as the trades know them."""
    with open_database(host.db) as db, db.write():
        ids_for(db, "opinion_trade", fills, NOW * 1000, {})


def traded(number: int, topic: int | None = None) -> Trade:
    """A trade in a market."""
    return Trade(
        "0x1", str(number), "as the trade says", "BUY", "YES", 1.0, 0.5, 2.0, None, None, NOW * 1000,
        parent_external_id=str(topic) if topic else None, parent_title="its topic" if topic else None,
    )  # fmt: skip


def test_a_market_that_nobody_knows_is_asked_for_every_hour(host: Host) -> None:
    """Its titles stay; its number is never taken for a topic's; once the exchange knows it, it is filled in."""
    host.books.add_market(make_categorical(7, [make_child(70)]))
    meet(host, traded(7))
    host.sync()
    asked = 0
    for _ in range(24):  # two hours
        asked += ("/market/7", {}) in host.asked
        sync_later(host)
    assert asked in (2, 3)
    assert host.stored("status, title")["7"] == (None, "as the trade says")
    host.books.add_market(make_market(7, marketTitle="as the exchange says"), listed=False)
    for _ in range(11):
        sync_later(host)
    assert host.stored("status, title")["7"] == ("activated", "as the exchange says")


@pytest.mark.parametrize("named", [None, 7, 8], ids=["no topic", "its topic", "a topic that is not known"])
def test_an_unlisted_child_is_found_with_its_topic(named: int | None, host: Host) -> None:
    """By the topic that its trade names, or else by its slug."""
    topic = make_categorical(7, [make_child(70, status=4)], labels=["Sport"])
    host.books.add_market(topic, listed=False)
    meet(host, traded(70, named))
    host.sync()
    assert host.stored("status, parent_external_id, category")["70"] == ("resolved", "7", "Sport")


def test_a_child_whose_topic_cannot_be_found_is_stored_without_it(host: Host) -> None:
    """Where slugs lead nowhere, what its own detail says is stored."""
    host.books.add_market(make_categorical(7, [make_child(70, status=4, slug="")]), listed=False)
    meet(host, traded(70))
    host.sync()
    assert host.stored("status, parent_external_id, category")["70"] == ("resolved", None, "other")


def test_a_list_is_read_whole_when_its_growth_is_not_explained(host: Host) -> None:
    """A market that is made known late stands far down; it is stored by the first run an hour after the last walk."""
    host.books = listing(range(2, 101))
    host.sync()
    sync_later(host)
    assert len(host.lists(status=None)) == 3
    host.books = listing(range(1, 101))
    sync_later(host, 60)
    assert "1" in host.stored("status")
    sync_later(host, 60)
    assert len(host.lists(status=None)) == 3


def test_a_list_that_is_too_long_for_one_run_is_read_in_several(host: Host) -> None:
    """Each goes on where there was no more time; then the list is left alone for a day."""
    host.books = listing(range(1, 201))
    host.seconds["/market"] = 12.0  # about ten pages in half the time of a run
    runs = 0
    while len(host.stored("status") if runs else ()) < 200:
        sync_later(host)
        runs += 1
    assert 1 < runs <= 4
    for _ in range(4):
        sync_later(host)
    assert len(host.lists(status=None)) == 3
    sync_later(host, 24 * 60)
    assert len(host.lists(status=None)) > 3


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"data": make_market(3, marketTitle="not it")}, "Opinion.Trade answered with the market 3"),
        ({"data": make_categorical(4, [make_child(40)])}, "Opinion.Trade answered with the topic 4"),
        ({"data": None}, "Opinion.Trade: the response is not a market"),
        (ServerError("answered 500"), "answered 500"),
    ],
    ids=["a market", "another topic", "nothing", "a failure"],
)
def test_a_look_up_that_fails_changes_nothing(answer: Any, problem: str, host: Host) -> None:
    """It goes into the sync log, the rest of the run goes on, and the next run asks again."""
    host.list_markets(3)
    host.books.add_market(make_categorical(3, [make_child(30)], volume="7"))

    def respond(params: dict[str, Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    host.answers["/market/categorical/3"] = respond
    assert host.sync().errors() == [f"topic 3: {problem}"]
    assert host.stored("title")["3"] == "Market 3" and "40" not in host.stored("title")
    assert host.stored("yes_price")["3"] == 0.5
    del host.answers["/market/categorical/3"]
    assert sync_later(host).errors() == []
    assert [row["volume"] for row in host.rows("SELECT volume FROM markets WHERE kind = 'topic'")] == [7.0]
