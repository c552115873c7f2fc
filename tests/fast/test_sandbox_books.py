"""The simulated exchange answers as the real one was seen to: markets, tokens and trades."""

from __future__ import annotations

import pytest
from support.clock import StillClock
from support.exchange import NOW

from whalesync.sandbox import Books, Record, Refused, make_categorical, make_child, make_market, make_trade

WALLET = "0x" + "Ab" * 20


def ask(books: Books, path: str, **query: str | int) -> Record:
    """The result of a request that must have one."""
    result = books.answer(path, query)
    assert result is not None
    return result


def refused(books: Books, path: str, **query: str | int) -> int:
    """The error number of a request that must be refused."""
    with pytest.raises(Refused) as refusal:
        books.answer(path, query)
    return refusal.value.number


def numbers(page: Record) -> list[int]:
    """The markets of a page."""
    return [market["marketId"] for market in page["list"]]


def test_the_list_has_binary_markets_unless_asked_otherwise(books: Books) -> None:
    """`marketType` is 0 by default; 1 is categorical, 2 is both; `total` does not count children."""
    books.add_market(make_market(1))
    books.add_market(make_categorical(2, [make_child(20), make_child(21)]))
    assert numbers(ask(books, "/market")) == [1]
    assert numbers(ask(books, "/market", marketType=1)) == [2]
    both = ask(books, "/market", marketType=2)
    assert (both["total"], numbers(both)) == (2, [1, 2])


def test_topics_and_markets_are_numbered_apart(books: Books) -> None:
    """One number can mean a topic and a market; each has a path of its own, is unknown on the other, changes alone."""
    child = make_child(21)
    topic = make_categorical(20, [child])
    books.add_market(topic)
    books.add_market(make_market(20))
    assert ask(books, "/market", marketType=2)["total"] == 2
    assert ask(books, "/market/20")["data"] == make_market(20)
    assert ask(books, "/market/categorical/20")["data"] == topic
    assert ask(books, "/market/21")["data"] == child
    assert refused(books, "/market/categorical/21") == refused(books, "/market/22") == 10200
    books.update_market(20, topic=True, status=4)
    assert (books.market(20)["status"], ask(books, "/market/categorical/20")["data"]["status"]) == (2, 4)


def test_pages_end_empty(books: Books) -> None:
    """A page holds ten by default and twenty at most, newest first; past the end there is only the total."""
    for number in range(25):
        books.add_market(make_market(number, createdAt=NOW - number))
    assert numbers(ask(books, "/market")) == list(range(10))
    assert numbers(ask(books, "/market", page=2, limit=20)) == list(range(20, 25))
    assert ask(books, "/market", page=3, limit=20) == {"total": 25, "list": []}


@pytest.mark.parametrize(
    "query", [{"limit": 21}, {"limit": 0}, {"limit": "x"}, {"page": 0}, {"page": "1.5"}, {"marketType": 3}]
)
def test_bad_parameters_are_refused(books: Books, query: dict[str, str | int]) -> None:
    """Error number 400."""
    assert refused(books, "/market", **query) == 400


def test_a_change_waits_for_its_time(books: Books, clock: StillClock) -> None:
    """A scheduled change shows once the clock has reached it, in the child and in its topic's list."""
    books.add_market(make_categorical(2, [make_child(20)]))
    books.update_market(20, at=NOW + 10, status=4, resolvedAt=NOW + 10)
    assert books.market(20)["statusEnum"] == "Activated"
    clock.now += 10
    assert books.market(20)["statusEnum"] == "Resolved"
    assert [child["status"] for child in books.markets()[0]["childMarkets"]] == [4]


def test_a_price_carries_its_time_in_milliseconds(books: Books) -> None:
    """Prices are strings, and can be taken back."""
    token = make_market(7)["yesTokenId"]
    books.add_market(make_market(7))
    books.set_price(token, "0.65")
    result = ask(books, "/token/latest-price", token_id=token)
    assert (result["price"], result["tokenId"], result["timestamp"]) == ("0.65", token, NOW * 1000)
    books.set_price(token, None)
    assert books.latest_price(token) is None


def test_a_token_that_never_traded_has_no_price_in_several_ways(books: Books) -> None:
    """A refusal, null, an empty or missing price, or "0.0" of the year 1970: each token always in the same way."""

    def way(token: str) -> str:
        try:
            result = books.answer("/token/latest-price", {"token_id": token})
        except Refused as refusal:
            return f"error {refusal.number}"
        return repr(result and (result["price"], result["timestamp"]))

    for number in range(40):
        books.add_market(make_market(number))
    tokens = [market["yesTokenId"] for market in books.markets()]
    ways = [way(token) for token in tokens]
    assert set(ways) == {"error 404", "('', 0)", "(None, 0)", "('0.0', 0)", "None"}
    assert [way(token) for token in tokens] == ways


def test_an_order_book_is_sorted_from_the_middle_outwards(books: Books) -> None:
    """Bids fall and asks rise, by number and not by text; a side may be empty."""
    market = make_market(7)
    books.add_market(market)
    books.set_book(market["yesTokenId"], [("0.9", "1"), ("0.91", "2"), ("0.100", "3")], [])
    result = ask(books, "/token/orderbook", token_id=market["yesTokenId"])
    assert result["market"] == market["conditionId"]
    assert [level["price"] for level in result["bids"]] == ["0.91", "0.9", "0.100"]
    assert result["asks"] == []


def test_trades_come_newest_first_whatever_the_order_of_adding(books: Books) -> None:
    """Sorted by `createdAt`; of equal seconds, the one added last comes first. A wallet's case does not matter."""
    for shares, second in (("1", 50), ("2", 70), ("3", 50), ("4", 60)):
        books.add_trade(WALLET, make_trade(shares=shares, createdAt=second))
    result = ask(books, f"/trade/user/{WALLET.upper().replace('X', 'x')}")
    assert [trade["shares"] for trade in result["list"]] == ["2", "4", "3", "1"]
    assert result["list"] == books.trades(WALLET.lower())


def test_pages_of_trades_are_of_any_size_to_twenty(books: Books) -> None:
    """Every `limit` from 1 to 20 cuts the same list; an unknown wallet has an empty one."""
    for second in range(30):
        books.add_trade(WALLET, make_trade(createdAt=second))
    for limit in range(1, 21):
        pages = [ask(books, f"/trade/user/{WALLET}", page=page, limit=limit) for page in range(1, 31)]
        assert [trade for page in pages for trade in page["list"]] == books.trades(WALLET)
        assert {page["total"] for page in pages} == {30}
    assert refused(books, f"/trade/user/{WALLET}", limit=21) == 400
    assert ask(books, "/trade/user/0x0") == {"total": 0, "list": []}


def test_a_late_fill_appears_below_newer_trades(books: Books, clock: StillClock) -> None:
    """It is neither listed nor counted before its time, and then stands in its place by `createdAt`."""
    books.add_trade(WALLET, make_trade(createdAt=NOW - 5))
    books.add_trade(WALLET, make_trade(createdAt=NOW - 50), visible_at=NOW + 60)
    assert ask(books, f"/trade/user/{WALLET}")["total"] == 1
    clock.now += 60
    assert [trade["createdAt"] for trade in books.trades(WALLET)] == [NOW - 5, NOW - 50]


def test_made_trades_are_consistent() -> None:
    """What follows from the given fields is computed; equal calls make identical fills of one transaction."""
    trade = make_trade(price="0.035", shares="1000", outcomeSide=2)
    assert trade["amount"] == "35.000000000000000000"
    assert trade["usdAmount"] == "35000000000000000000"
    assert (trade["outcome"], trade["outcomeSideEnum"]) == ("NO", "No")
    assert trade == make_trade(price="0.035", shares="1000", outcomeSide=2)
    assert trade["txHash"] != make_trade(price="0.036", shares="1000", outcomeSide=2)["txHash"]


def test_callers_cannot_change_the_books_by_accident(books: Books) -> None:
    """Records are copied in and out, children too."""
    market, trade = make_categorical(2, [make_child(20)]), make_trade()
    books.add_market(market)
    books.add_trade(WALLET, trade)
    page = ask(books, f"/trade/user/{WALLET}")["list"]
    for record in (market["childMarkets"][0], trade, page[0], books.markets()[0]["childMarkets"][0]):
        record["chainId"] = "changed"
    assert [books.market(20)["chainId"], books.trades(WALLET)[0]["chainId"]] == ["56", "56"]
