"""The stand-in exchange answers as the real one was seen to: markets, tokens and trades, over HTTP."""

import itertools
import threading
from collections.abc import Iterator

import httpx
import pytest

from whalesync.sandbox import (
    Books,
    Record,
    Refused,
    Sandbox,
    make_categorical,
    make_child,
    make_market,
    make_trade,
)

NOW = 1_760_000_000.0
DAY = 86_400
WALLET = "0x" + "Ab" * 20


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(clock: Clock) -> Books:
    return Books(clock)


@pytest.fixture
def sandbox(books: Books) -> Iterator[Sandbox]:
    with Sandbox(books, key="right", rate=None) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers={"apikey": "right"}) as client:
        yield client


def ask(client: httpx.Client, path: str, **query: str | int) -> Record:
    """The whole envelope."""
    answer: Record = client.get(path, params=query).raise_for_status().json()
    return answer


def ids(envelope: Record) -> list[int]:
    return [market["marketId"] for market in envelope["result"]["list"]]


# Markets


def test_a_market_travels_field_for_field(books: Books, client: httpx.Client) -> None:
    """What is added is what is sent, odd and unknown fields included."""
    market = make_market(
        7, marketTitle="10–15s \ud83d", volume="37086630.111525000000000000", labels=None, new=[1]
    )
    books.add_market(market)
    assert ask(client, "/market") == {"errno": 0, "errmsg": "", "result": {"total": 1, "list": [market]}}
    assert ask(client, "/market/7")["result"] == {"data": market}


def test_the_list_gives_binary_markets_unless_asked_otherwise(books: Books, client: httpx.Client) -> None:
    """`marketType` is 0 by default; 1 is categorical, 2 is both; `total` does not count children."""
    books.add_market(make_market(1))
    books.add_market(make_categorical(2, [make_child(20), make_child(21)]))
    assert ids(ask(client, "/market")) == [1]
    assert ids(ask(client, "/market", marketType=1)) == [2]
    both = ask(client, "/market", marketType=2)
    assert (both["result"]["total"], ids(both)) == (2, [1, 2])


def test_children_and_parents_have_different_paths(books: Books, client: httpx.Client) -> None:
    """A child is found like a binary market, a parent under /market/categorical alone."""
    child = make_child(20)
    parent = make_categorical(2, [child])
    books.add_market(parent)
    assert ask(client, "/market/20")["result"] == {"data": child}
    assert ask(client, "/market/categorical/2")["result"] == {"data": parent}
    assert [ask(client, path)["errno"] for path in ("/market/2", "/market/categorical/20", "/market/9")] == [
        404
    ] * 3


def test_pages_cut_the_list_and_end_empty(books: Books, client: httpx.Client) -> None:
    """Ten to a page by default, twenty at most, and past the end nothing but the total."""
    for number in range(25):
        books.add_market(make_market(number))
    assert ids(ask(client, "/market")) == list(range(10))
    assert ids(ask(client, "/market", page=2, limit=20)) == list(range(20, 25))
    assert ask(client, "/market", page=3, limit=20)["result"] == {"total": 25, "list": []}


@pytest.mark.parametrize(
    "query", [{"limit": 21}, {"limit": 0}, {"limit": "x"}, {"page": 0}, {"page": "1.5"}, {"status": "open"}]
)
def test_bad_parameters_are_refused_by_number(client: httpx.Client, query: dict[str, str | int]) -> None:
    """Error number 400, under HTTP 200, without a result."""
    answer = ask(client, "/market", **query)
    assert (answer["errno"], answer["result"]) == (400, None)
    assert answer["errmsg"]


def test_the_list_is_filtered_by_status_and_sorted(books: Books, client: httpx.Client) -> None:
    """`status` looks at the top-level market; a market without a cut-off ends last."""
    books.add_market(make_market(1, volume="9.5", cutoffAt=0, createdAt=50))
    books.add_market(make_market(2, volume="100", cutoffAt=900, createdAt=70, status=4))
    books.add_market(make_market(3, volume="20", cutoffAt=800, createdAt=60))
    assert ids(ask(client, "/market", status="activated")) == [1, 3]
    assert ids(ask(client, "/market", status="resolved")) == [2]
    assert ids(ask(client, "/market", sortBy=1)) == [2, 3, 1]
    assert ids(ask(client, "/market", sortBy=2)) == [3, 2, 1]
    assert ids(ask(client, "/market", sortBy=3)) == [2, 3, 1]
    assert ids(ask(client, "/market", sortBy=4)) == [1, 3, 2]


def test_a_change_waits_for_its_time(books: Books, clock: Clock) -> None:
    """A scheduled change shows once the clock has reached it, in the child and in its parent's list."""
    books.add_market(make_categorical(2, [make_child(20)]))
    books.update_market(20, at=NOW + 10, status=4, resolvedAt=int(NOW) + 10)
    assert books.market(20)["statusEnum"] == "Activated"
    clock.now += 10
    assert books.market(20)["statusEnum"] == "Resolved"
    assert [child["status"] for child in books.markets()[0]["childMarkets"]] == [4]


# Tokens


def test_a_price_carries_its_time_in_milliseconds(books: Books, client: httpx.Client) -> None:
    """Prices are strings; `timestamp` under /token is in milliseconds."""
    market = make_market(7)
    books.add_market(market)
    books.set_price(market["yesTokenId"], "0.65")
    result = ask(client, "/token/latest-price", token_id=market["yesTokenId"])["result"]
    assert (result["price"], result["tokenId"], result["timestamp"]) == (
        "0.65",
        market["yesTokenId"],
        1_760_000_000_000,
    )


def test_a_token_that_never_traded_has_no_price_in_several_ways(books: Books, client: httpx.Client) -> None:
    """An error number, an empty string or null: each token always in its own way, and never a number."""

    def way(token: str) -> str:
        answer = ask(client, "/token/latest-price", token_id=token)
        if answer["errno"]:
            return f"error {answer['errno']}"
        return repr(answer["result"] and answer["result"]["price"])

    for number in range(40):
        books.add_market(make_market(number))
    tokens = [market["yesTokenId"] for market in books.markets()]
    ways = [way(token) for token in tokens]
    assert set(ways) == {"error 404", "''", "None"}
    assert [way(token) for token in tokens] == ways


def test_a_price_can_be_taken_back(books: Books) -> None:
    """None makes the price unknown again."""
    market = make_market(7)
    books.add_market(market)
    books.set_price(market["noTokenId"], "0.1")
    books.set_price(market["noTokenId"], None)
    assert books.latest_price(market["noTokenId"]) is None


def test_an_order_book_is_sorted_from_the_middle_outwards(books: Books, client: httpx.Client) -> None:
    """Bids fall, asks rise, by number and not by text; a side may be empty."""
    market = make_market(7)
    books.add_market(market)
    books.set_book(market["yesTokenId"], [("0.9", "1"), ("0.91", "2"), ("0.100", "3")], [])
    result = ask(client, "/token/orderbook", token_id=market["yesTokenId"])["result"]
    assert result["market"] == market["conditionId"]
    assert [level["price"] for level in result["bids"]] == ["0.91", "0.9", "0.100"]
    assert result["asks"] == []


def test_price_history_knows_hours_and_days(books: Books, clock: Clock, client: httpx.Client) -> None:
    """Points stand at whole hours, or whole days for any other interval, and none before the first price."""
    market = make_market(7)
    token = market["yesTokenId"]
    books.add_market(market)
    clock.now = 100 * DAY + 10
    books.set_price(token, "0.2")
    clock.now = 101 * DAY + 3600 + 10
    books.set_price(token, "0.3")
    clock.now += 3600
    start = 101 * DAY
    hours = ask(client, "/token/price-history", token_id=token, interval="1h", start_at=start)["result"][
        "history"
    ]
    assert hours == [
        {"t": start, "p": "0.2"},
        {"t": start + 3600, "p": "0.2"},
        {"t": start + 7200, "p": "0.3"},
    ]
    days = ask(client, "/token/price-history", token_id=token, interval="1m")["result"]["history"]
    assert days == [{"t": start, "p": "0.2"}]


def test_unknown_tokens_are_told_apart_from_missing_ones(client: httpx.Client) -> None:
    """Unknown is 404, forgotten is 400."""
    assert ask(client, "/token/orderbook", token_id="12")["errno"] == 404
    assert ask(client, "/token/orderbook")["errno"] == 400


# Trades


def test_trades_come_newest_first_whatever_the_order_of_adding(books: Books, client: httpx.Client) -> None:
    """Sorted by `createdAt`; of equal seconds, the one added last first. The wallet's case is no matter."""
    for shares, second in (("1", 50), ("2", 70), ("3", 50), ("4", 60)):
        books.add_trade(WALLET, make_trade(shares=shares, createdAt=second))
    result = ask(client, f"/trade/user/{WALLET.upper().replace('X', 'x')}")["result"]
    assert [trade["shares"] for trade in result["list"]] == ["2", "4", "3", "1"]
    assert result["list"] == books.trades(WALLET.lower())


def test_trade_pages_and_market_filter(books: Books, client: httpx.Client) -> None:
    """`total` counts what the filter lets through, and a page at most twenty."""
    for second in range(30):
        books.add_trade(WALLET, make_trade(marketId=1 + second % 3, createdAt=second))
    page = ask(client, f"/trade/user/{WALLET}", page=2, limit=20)["result"]
    assert (page["total"], [trade["createdAt"] for trade in page["list"]]) == (30, list(range(9, -1, -1)))
    filtered = ask(client, f"/trade/user/{WALLET}", marketId=3)["result"]
    assert (filtered["total"], {trade["marketId"] for trade in filtered["list"]}) == (10, {3})
    assert ask(client, f"/trade/user/{WALLET}", limit=21)["errno"] == 400


def test_twin_fills_are_both_kept(books: Books) -> None:
    """Two fills of one transaction may agree in every field; one can be removed without the other."""
    twin = make_trade(shares="5")
    books.add_trade(WALLET, twin)
    books.add_trade(WALLET, make_trade(shares="5"))
    assert books.trades(WALLET) == [twin, twin]
    books.remove_trade(WALLET, twin)
    assert books.trades(WALLET) == [twin]


def test_a_late_fill_appears_below_newer_trades(books: Books, clock: Clock) -> None:
    """It is neither listed nor counted before its time, and then takes its place by `createdAt`."""
    books.add_trade(WALLET, make_trade(createdAt=int(NOW) - 5))
    books.add_trade(WALLET, make_trade(createdAt=int(NOW) - 50), visible_at=NOW + 60)
    assert books.trade_page(WALLET)["total"] == 1
    clock.now += 60
    assert [trade["createdAt"] for trade in books.trades(WALLET)] == [int(NOW) - 5, int(NOW) - 50]


def test_an_unknown_wallet_has_an_empty_list(client: httpx.Client) -> None:
    """As a smart wallet's address does on the exchange: no error."""
    assert ask(client, f"/trade/user/{WALLET}")["result"] == {"total": 0, "list": []}


def test_made_trades_agree_with_themselves() -> None:
    """What follows from the given fields is computed: amount, base units, the side's names."""
    trade = make_trade(price="0.035", shares="1000", outcomeSide=2)
    assert trade["amount"] == "35.000000000000000000"
    assert trade["usdAmount"] == "35000000000000000000"
    assert (trade["outcome"], trade["outcomeSideEnum"]) == ("NO", "No")
    assert trade["txHash"] != make_trade(price="0.036", shares="1000", outcomeSide=2)["txHash"]


def test_callers_cannot_change_the_books_by_accident(books: Books) -> None:
    """Records are copied in and out, children too."""
    market, trade = make_categorical(2, [make_child(20)]), make_trade()
    books.add_market(market)
    books.add_trade(WALLET, trade)
    for record in (
        market["childMarkets"][0],
        trade,
        books.trades(WALLET)[0],
        books.markets()[0]["childMarkets"][0],
    ):
        record["chainId"] = "spoilt"
    assert [books.market(20)["chainId"], books.trades(WALLET)[0]["chainId"]] == ["56", "56"]


def test_a_page_never_tears_while_others_write(books: Books) -> None:
    """Many threads may read and write: `total` and the list are of one moment."""
    numbers = itertools.count()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            books.add_trade(WALLET, make_trade(createdAt=next(numbers)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            result = books.trade_page(WALLET, limit=1)
            assert [trade["createdAt"] for trade in result["list"]] == [result["total"] - 1][
                : result["total"]
            ]
    finally:
        stop.set()
        writer.join()


def test_mistakes_in_a_test_s_own_setup_are_loud(books: Books) -> None:
    """A change of a market that is not there, and the removal of a trade that is not there."""
    with pytest.raises(KeyError):
        books.update_market(7, status=4)
    with pytest.raises(ValueError, match="not in list"):
        books.remove_trade(WALLET, make_trade())
    with pytest.raises(Refused):
        books.latest_price("1")
