"""Answers in the shapes that were recorded go in, records come out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whalesync.errors import ContradictoryList, RequestRefused, UnreadableAnswer
from whalesync.exchange.opinion import OpinionTrade
from whalesync.records import BadRecord, Market, Trade

MARKET: dict[str, Any] = {
    "marketId": 1018, "marketTitle": "Will ETH close above $5,000?", "slug": "eth", "status": 2,
    "statusEnum": "Activated", "marketType": 0, "childMarkets": None, "yesLabel": "YES", "noLabel": "NO",
    "rules": "…", "yesTokenId": "1" * 77, "noTokenId": "2" * 78, "conditionId": "ab", "resultTokenId": "",
    "volume": "37086630.111525000000000000", "volume24h": "12.5", "volume7d": "", "labels": ["Crypto", "ETH"],
    "labelIds": [3], "quoteToken": "0xABC", "chainId": "56", "questionId": "", "createdAt": 1_760_000_000,
    "cutoffAt": 0, "resolvedAt": 0, "rebate": {"maker": 1}, "coverUrl": "", "isResolvableByAI": True,
}  # fmt: skip
CHILD = {
    key: value
    for key, value in MARKET.items()
    if key not in ("marketType", "volume24h", "volume7d", "labels", "labelIds", "childMarkets")
} | {"marketId": 2019, "marketTitle": "Above 6,000"}
TRADE: dict[str, Any] = {
    "txHash": "0xAA", "marketId": 2019, "marketTitle": "Above 6,000", "rootMarketId": 1018,
    "rootMarketTitle": "ETH", "side": "Buy", "outcome": "YES", "outcomeSide": 1, "outcomeSideEnum": "Yes",
    "price": "0.65", "shares": "100.000000000000000000", "amount": "65.000000000000000001", "fee": "0",
    "profit": "-1.5", "quoteToken": "0xabc", "quoteTokenUsdPrice": "1", "usdAmount": "65000000000000000000",
    "status": 2, "statusEnum": "Finished", "chainId": "56", "createdAt": 1_760_000_001,
}  # fmt: skip


class Canned:
    """A client that has one result to give, after a trip through JSON."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.latest_date = 17

    def get(self, path: str, params: dict[str, Any]) -> Any:
        self.asked.append((path, params))
        if isinstance(self.result, Exception):
            raise self.result
        return json.loads(json.dumps(self.result))


def exchange(result: Any) -> OpinionTrade:
    return OpinionTrade(Canned(result))  # type: ignore[arg-type]  # a client as far as it is used


def markets(*raw: Any, total: int | None = None) -> list[Market | BadRecord]:
    return list(exchange({"total": len(raw) if total is None else total, "list": raw}).markets(1).records)


def market(**fields: Any) -> Market:
    (found,) = markets(MARKET | fields)
    assert isinstance(found, Market), found
    return found


def trade(**fields: Any) -> Trade | BadRecord:
    (found,) = exchange({"total": 1, "list": [TRADE | fields]}).trades("0xw", 1).records
    return found


def test_a_binary_market() -> None:
    """Every field in our units; unknown fields are ignored."""
    assert market() == Market(
        external_id="1018", parent_external_id=None, title="Will ETH close above $5,000?", category="Crypto",
        status="activated", yes_label="YES", no_label="NO", yes_token_id="1" * 77, no_token_id="2" * 78,
        volume=37086630.111525, volume_24h=12.5, volume_7d=None, end_date=None, resolved_at=None, result=None,
        url="https://app.opinion.trade/detail?topicId=1018", created_at=1_760_000_000_000,
    )  # fmt: skip


def test_a_categorical_market_and_its_children() -> None:
    """The parent has no tokens; a child takes its category and, without one of its own, its end from it."""
    parent, child, own = markets(
        MARKET | {"marketType": 1, "yesTokenId": "", "noTokenId": "0", "cutoffAt": 1_770_000_000,
                  "childMarkets": [CHILD, CHILD | {"marketId": 2020, "cutoffAt": 1_765_000_000, "labels": ["Own"]}]}
    )  # fmt: skip
    assert isinstance(parent, Market) and isinstance(child, Market) and isinstance(own, Market)
    assert (parent.yes_token_id, parent.no_token_id) == (None, None)
    assert (child.parent_external_id, child.category, child.end_date) == ("1018", "Crypto", 1_770_000_000_000)
    assert (child.volume_24h, child.volume_7d) == (None, None)
    assert (own.category, own.end_date) == ("Own", 1_765_000_000_000)
    assert {each.url for each in (parent, child, own)} == {
        "https://app.opinion.trade/detail?topicId=1018&type=multi"
    }


def test_children_are_judged_for_themselves() -> None:
    """A bad child does not take its parent along, nor a bad parent its children."""
    good, bad = markets(MARKET | {"childMarkets": [CHILD | {"marketId": "x"}]})
    assert isinstance(good, Market) and isinstance(bad, BadRecord)
    bad, orphan = markets(MARKET | {"status": "?", "statusEnum": "?!", "childMarkets": [CHILD]})
    assert isinstance(bad, BadRecord) and isinstance(orphan, Market)
    assert orphan.category == "other"


@pytest.mark.parametrize("labels", [None, [], [None], [7], "Crypto", [""], {"a": 1}])
def test_no_label(labels: Any) -> None:
    """Is the category `other`."""
    assert market(labels=labels).category == "other"


@pytest.mark.parametrize(
    ("won", "result"),
    [("1" * 77, "yes"), ("2" * 78, "no"), ("", None), ("0", None), (None, None), ("3", None)],
)
def test_result(won: Any, result: str | None) -> None:
    """It is the side whose token has won."""
    assert market(resultTokenId=won, status=4, resolvedAt=1_760_000_002).result == result


@pytest.mark.parametrize(
    ("number", "name", "status"),
    [(1, "x", "created"), (6, "", "deleted"), (9, "Paused", "paused"), ("2", "Activated", "activated")],
)
def test_status(number: Any, name: str, status: str) -> None:
    """By number; one that is not known by its name."""
    assert market(status=number, statusEnum=name).status == status


def test_a_trade() -> None:
    """The amount is the one in USD; the market is the child."""
    assert trade() == Trade(
        tx_hash="0xAA", market_external_id="2019", root_external_id="1018", market_title="Above 6,000",
        action="BUY", outcome="YES", amount=65.0, price=0.65, shares=100.0, fee=0.0, profit=-1.5,
        timestamp=1_760_000_001_000,
    )  # fmt: skip


def test_a_binary_market_has_no_root() -> None:
    """Its trades name it as its own; 0 and nothing mean the same."""
    for root in (2019, 0, None, ""):
        found = trade(rootMarketId=root)
        assert isinstance(found, Trade) and found.root_external_id is None


@pytest.mark.parametrize(
    ("side", "action"),
    [("BUY", "BUY"), ("Sell", "SELL"), ("Merge", "MERGE"), ("split", "SPLIT"), ("New", "NEW")],
)
def test_side(side: str, action: str) -> None:
    """Whatever the exchange says, in upper case; what is no trade needs neither outcome nor amount."""
    found = trade(side=side)
    assert isinstance(found, Trade) and found.action == action
    bare = trade(side=side, outcomeSide=0, outcomeSideEnum="", outcome="", amount="")
    assert isinstance(bare, BadRecord if action in ("BUY", "SELL") else Trade)


JUNK = [
    True,
    [],
    [1],
    {},
    {"a": 1},
    "\ud800",
    "1_0",
    "0x10",
    "NaN",
    "Infinity",
    "1e999",
    "x" * 100_000,
    10**400,
]


@pytest.mark.parametrize("field", sorted(TRADE))
def test_wrong_types_in_every_field_of_a_trade(field: str) -> None:
    """Each is either refused with a reason that names it, or of no account."""
    for value in [*JUNK, float("nan"), float("inf"), -5, 1e300, None]:
        found = trade(**{field: value})
        if isinstance(found, BadRecord):
            assert found.reason and len(found.reason) < 200
            assert len(found.payload) <= 65_536
        else:
            for number in (found.amount, found.price, found.shares, found.fee, found.profit):
                assert number is None or abs(number) <= 1e15
            for text in (found.tx_hash, found.market_title, found.action, found.outcome or ""):
                text.encode()
            assert 0 < found.timestamp < 10**15


@pytest.mark.parametrize("field", sorted(MARKET))
def test_wrong_types_in_every_field_of_a_market(field: str) -> None:
    """As with a trade."""
    for value in [*JUNK, float("nan"), float("inf"), -5, 1e300, None]:
        for found in markets(MARKET | {field: value}):
            if isinstance(found, BadRecord):
                assert found.reason and len(found.reason) < 200
            else:
                for name in found.__slots__:
                    each = getattr(found, name)
                    assert each is None or isinstance(each, (str, int, float))
                    assert not isinstance(each, float) or abs(each) <= 1e15
                    assert not isinstance(each, int) or 0 < each < 10**15
                    str(each).encode()


@pytest.mark.parametrize("raw", [None, 7, "text", [], True])
def test_a_record_that_is_no_object(raw: Any) -> None:
    """It is refused and kept; the others are read."""
    bad, good = exchange({"total": 2, "list": [raw, TRADE]}).trades("0xw", 1).records
    assert isinstance(bad, BadRecord) and json.loads(bad.payload) == raw
    assert isinstance(good, Trade)


@pytest.mark.parametrize(
    "result",
    [None, [], 7, {}, {"list": []}, {"total": "1", "list": []}, {"total": True, "list": []},
     {"total": 1, "list": {}}, {"total": 1, "list": "x"}, {"total": 1.0, "list": []}],
)  # fmt: skip
def test_a_list_that_is_none(result: Any) -> None:
    """The page is refused, with what came."""
    with pytest.raises(UnreadableAnswer):
        exchange(result).trades("0xw", 1)


@pytest.mark.parametrize(
    "result", [{"total": -1, "list": []}, {"total": 10**18, "list": []}, {"total": 21, "list": [TRADE] * 21}]
)
def test_a_list_that_cannot_be(result: Any) -> None:
    """A total below 0 or beyond all measure, a page of more than was asked for."""
    with pytest.raises(ContradictoryList):
        exchange(result).trades("0xw", 1)


@pytest.mark.parametrize(
    ("result", "price"),
    [({"price": "0.65", "side": "buy-limit"}, 0.65), ({"price": ""}, None), ({"price": None}, None), (None, None),
     ({}, None), (RequestRefused("none", 404), None), ({"price": "0"}, 0.0), ({"price": 1}, 1.0)],
)  # fmt: skip
def test_price(result: Any, price: float | None) -> None:
    """Unknown is None, in every way in which the exchange says so."""
    assert exchange(result).price("1") == price


@pytest.mark.parametrize("price", ["NaN", "1.01", "-0.1", [], {}, True, "high", "1e999"])
def test_a_price_that_cannot_be(price: Any) -> None:
    """It is refused."""
    with pytest.raises(UnreadableAnswer):
        exchange({"price": price}).price("1")


def test_liquidity() -> None:
    """Price times size, both sides; a side may be empty or null."""
    book = {"bids": [{"price": "0.5", "size": "100"}], "asks": None}
    assert exchange(book).liquidity("1") == 50.0
    assert exchange({"bids": [], "asks": []}).liquidity("1") == 0.0
    assert exchange(RequestRefused("none", 404)).liquidity("1") is None


@pytest.mark.parametrize(
    "book",
    [None, [], {}, {"bids": []}, {"bids": 7, "asks": []}, {"bids": [7], "asks": []}, {"bids": [{}], "asks": []},
     {"bids": [{"price": "0.5", "size": "-1"}], "asks": []}, {"bids": "ab", "asks": []}],
)  # fmt: skip
def test_a_book_that_is_none(book: Any) -> None:
    """It is refused."""
    with pytest.raises(UnreadableAnswer):
        exchange(book).liquidity("1")


def test_what_is_asked_for() -> None:
    """Paths and parameters as the exchange has them."""
    client = Canned({"total": 0, "list": None})
    opinion = OpinionTrade(client)  # type: ignore[arg-type]  # a client as far as it is used
    assert list(opinion.markets(3).records) == [] == list(opinion.trades("0xw", 2).records)
    assert client.asked == [
        ("/market", {"page": 3, "limit": 20, "marketType": 2, "sortBy": 1}),
        ("/trade/user/0xw", {"page": 2, "limit": 20}),
    ]
    assert opinion.now() == 17
