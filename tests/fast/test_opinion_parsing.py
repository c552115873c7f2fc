"""JSON in the shapes that were recorded goes in, records come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from whalesync.errors import ContradictoryList, InvalidResponse
from whalesync.exchanges.opinion_trade.parsing.markets import parse_detail, parse_liquidity, parse_markets, parse_price
from whalesync.exchanges.opinion_trade.parsing.wallets import parse_trades
from whalesync.records import Market, RejectedRecord, Trade

Raw = dict[str, Any]

MARKET: Raw = {
    "marketId": 1018, "marketTitle": "Will ETH close above $5,000?", "slug": "eth", "status": 2,
    "statusEnum": "Activated", "marketType": 0, "childMarkets": None, "yesLabel": "YES", "noLabel": "NO",
    "rules": "…", "yesTokenId": "1" * 77, "noTokenId": "2" * 78, "conditionId": "ab", "resultTokenId": "",
    "volume": "37086630.111525000000000000", "volume24h": "12.5", "volume7d": "", "labels": ["Crypto", "ETH"],
    "labelIds": [3], "quoteToken": "0xABC", "chainId": "56", "questionId": "", "createdAt": 1_760_000_000,
    "cutoffAt": 0, "resolvedAt": 0, "rebate": {"maker": 1}, "coverUrl": "", "isResolvableByAI": True,
}  # fmt: skip
CHILD: Raw = {
    key: value
    for key, value in MARKET.items()
    if key not in ("marketType", "volume24h", "volume7d", "labels", "labelIds", "childMarkets")
} | {"marketId": 2019, "marketTitle": "Above 6,000"}
TRADE: Raw = {
    "txHash": "0xAA", "marketId": 2019, "marketTitle": "Above 6,000", "rootMarketId": 1018,
    "rootMarketTitle": "ETH", "side": "Buy", "outcome": "Above", "outcomeSide": 1, "outcomeSideEnum": "Yes",
    "price": "0.65", "shares": "100.000000000000000000", "amount": "65.000000000000000001", "fee": "0",
    "profit": "-1.5", "quoteToken": "0xabc", "quoteTokenUsdPrice": "1", "usdAmount": "65000000000000000000",
    "status": 2, "statusEnum": "Finished", "chainId": "56", "createdAt": 1_760_000_001,
}  # fmt: skip


def as_sent(*records: Any) -> Any:
    """A list of records after a trip through JSON."""
    return json.loads(json.dumps({"total": len(records), "list": records}))


def markets(*records: Any) -> list[Market | RejectedRecord]:
    return parse_markets(as_sent(*records), 20).records


def read_market(**fields: Any) -> Market:
    (found,) = markets(MARKET | fields)
    assert isinstance(found, Market), found
    return found


def entry(**fields: Any) -> Trade | RejectedRecord:
    (found,) = parse_trades(as_sent(TRADE | fields), 20).entries
    return found


def read_trade(**fields: Any) -> Trade:
    found = entry(**fields)
    assert isinstance(found, Trade), found
    return found


def test_every_field_of_a_binary_market() -> None:
    """In our units; unknown fields are ignored."""
    assert read_market() == Market(
        kind="market", external_id="1018", parent_external_id=None, title="Will ETH close above $5,000?",
        category="Crypto", status="activated", yes_label="YES", no_label="NO", yes_token_id="1" * 77,
        no_token_id="2" * 78, volume=37086630.111525, volume_24h=12.5, volume_7d=None, end_date=None,
        resolved_at=None, result=None, url="https://app.opinion.trade/detail?topicId=1018",
        created_at=1_760_000_000_000,
    )  # fmt: skip


def test_a_topic_and_its_children() -> None:
    """The topic has no tokens; a child takes its category and, without an end of its own, its end from it."""
    topic, child, own = markets(
        MARKET | {"marketType": 1, "yesTokenId": "", "noTokenId": "0", "cutoffAt": 1_770_000_000,
                  "childMarkets": [CHILD, CHILD | {"marketId": 2020, "cutoffAt": 1_765_000_000, "labels": ["Own"]}]}
    )  # fmt: skip
    assert isinstance(topic, Market) and isinstance(child, Market) and isinstance(own, Market)
    assert [each.kind for each in (topic, child, own)] == ["topic", "market", "market"]
    assert (topic.yes_token_id, topic.no_token_id) == (None, None)
    assert (child.parent_external_id, child.category, child.end_date) == ("1018", "Crypto", 1_770_000_000_000)
    assert (child.volume_24h, child.volume_7d) == (None, None)
    assert (own.category, own.end_date) == ("Own", 1_765_000_000_000)
    assert {each.url for each in (topic, child, own)} == {"https://app.opinion.trade/detail?topicId=1018&type=multi"}


def test_topic_and_child_are_read_or_rejected_each_by_itself() -> None:
    """A bad child does not take its topic along, nor a bad topic its children."""
    good, bad = markets(MARKET | {"childMarkets": [CHILD | {"marketId": "x"}]})
    assert isinstance(good, Market) and isinstance(bad, RejectedRecord)
    bad, orphan = markets(MARKET | {"status": "?", "statusEnum": "?!", "childMarkets": [CHILD]})
    assert isinstance(bad, RejectedRecord) and isinstance(orphan, Market)
    assert orphan.category == "other"


def topic_of(*statuses: int | str, own: int = 2) -> Raw:
    """A topic with children of these statuses."""
    children = [
        CHILD | {"marketId": 1 + number, "status": status, "statusEnum": ""} for number, status in enumerate(statuses)
    ]
    return MARKET | {"marketType": 1, "status": own, "childMarkets": children}


def test_a_list_gives_a_topic_without_volumes() -> None:
    """They are twice those of the detail; its children have their own."""
    topic, child = markets(topic_of(4))
    assert isinstance(topic, Market) and isinstance(child, Market)
    assert (topic.volume, topic.volume_24h, topic.volume_7d) == (None, None, None)
    assert child.volume == 37086630.111525
    detailed, _ = parse_detail({"data": topic_of(4)}).records
    assert isinstance(detailed, Market)
    assert (detailed.volume, detailed.volume_24h) == (37086630.111525, 12.5)


@pytest.mark.parametrize(
    ("own", "children", "listed", "detailed"),
    [
        (1, [2, 1], "activated", "activated"),
        (4, [2, 4], "activated", "activated"),
        (2, [3, 4], "activated?", "resolving"),
        (2, [4, 4], "activated?", "resolved"),
        (2, [4, 6, 5], "activated?", "resolved"),
        (2, [5, 6], "activated?", "activated"),
        (1, [1, 4], "created?", "created"),
        (4, [], "resolved?", "resolved"),
        (2, [4, "?"], "activated?", "activated"),
    ],
)
def test_the_status_of_a_topic_follows_from_its_children(
    own: int, children: list[int | str], listed: str, detailed: str
) -> None:
    """In a list it is provisional (?) unless a child is activated; an unreadable child proves nothing."""
    raw = topic_of(*children, own=own)
    for topic, status in ((markets(raw)[0], listed), (parse_detail({"data": raw}).records[0], detailed)):
        assert isinstance(topic, Market)
        assert topic.status + "?" * topic.provisional == status


def test_a_detail_without_labels_may_be_a_child() -> None:
    """A binary market has them; the slug leads to the topic."""
    binary, child = parse_detail({"data": MARKET}), parse_detail({"data": CHILD | {"marketType": 0}})
    assert (binary.may_be_child, child.may_be_child, child.slug) == (False, True, "eth")
    assert parse_detail({"data": MARKET | {"slug": "\ud800"}}).slug is None


@pytest.mark.parametrize("result", [None, [], 7, {}, {"data": None}, {"data": []}])
def test_a_detail_that_is_no_market_is_invalid(result: Any) -> None:
    """Rather than taken for an unknown market."""
    with pytest.raises(InvalidResponse, match="not a market"):
        parse_detail(result)


@pytest.mark.parametrize("labels", [None, [], [None], [7], "Crypto", [""], {"a": 1}])
def test_a_market_without_a_label_is_in_other(labels: Any) -> None:
    """However the label is missing."""
    assert read_market(labels=labels).category == "other"


@pytest.mark.parametrize(
    ("status", "won", "result"),
    [(4, "1" * 77, "yes"), (4, "2" * 78, "no"), (4, "", None), (4, "0", None), (4, None, None), (4, "3", None),
     (2, "1" * 77, None), (3, "1" * 77, None), (5, "1" * 77, None)],
)  # fmt: skip
def test_the_result_is_the_side_whose_token_has_won(status: int, won: Any, result: str | None) -> None:
    """None where no known token is named, or before the market is resolved: the token is then a proposal."""
    assert read_market(resultTokenId=won, status=status).result == result


@pytest.mark.parametrize(
    ("number", "name", "status"),
    [(1, "x", "created"), (6, "", "deleted"), (9, "Paused", "paused"), ("2", "Activated", "activated")],
)
def test_a_status_is_read_by_number_else_by_name(number: Any, name: str, status: str) -> None:
    """So that a new one is stored, not rejected."""
    assert read_market(status=number, statusEnum=name).status == status


def test_every_field_of_a_trade() -> None:
    """The amount is the one in USD; the market is the child, the topic its parent."""
    assert read_trade() == Trade(
        tx_hash="0xAA", market_external_id="2019", market_title="Above 6,000", action="BUY", outcome="YES",
        amount=65.0, price=0.65, shares=100.0, fee=0.0, profit=-1.5, timestamp=1_760_000_001_000,
        parent_external_id="1018", parent_title="ETH", outcome_label="Above", token_id=None,
    )  # fmt: skip


@pytest.mark.parametrize("root", [2019, "2019", 0, None, ""])
def test_a_trade_in_a_binary_market_has_no_topic(root: Any) -> None:
    """The market itself, 0 and nothing mean the same."""
    trade = read_trade(rootMarketId=root)
    assert (trade.parent_external_id, trade.parent_title) == (None, None)


@pytest.mark.parametrize(
    ("side", "action"),
    [("BUY", "BUY"), ("Sell", "SELL"), ("Merge", "MERGE"), ("split", "SPLIT"), ("New", "NEW")],
)
def test_a_side_is_stored_whatever_it_is(side: str, action: str) -> None:
    """In upper case; only a purchase or a sale needs an outcome and an amount."""
    assert read_trade(side=side).action == action
    bare = entry(side=side, outcomeSide=0, outcomeSideEnum="", outcome="", amount="")
    assert isinstance(bare, RejectedRecord if action in ("BUY", "SELL") else Trade)


EMPTY: list[Raw] = [dict.fromkeys(("price", "fee", "profit"), value) for value in ("", None, "0", "0.000")]


@pytest.mark.parametrize("figures", [*EMPTY, {}])
def test_an_empty_figure_is_unknown_and_a_zero_is_zero(figures: Raw) -> None:
    """Both make the same fill key, since the exchange spells nothing in several ways."""
    raw = {key: value for key, value in TRADE.items() if key not in ("price", "fee", "profit")}
    (found,) = parse_trades(as_sent(raw | figures), 20).entries
    assert isinstance(found, Trade)
    expected = 0.0 if figures.get("price") else None
    assert (found.price, found.fee, found.profit) == (expected, expected, expected)
    assert found.fill_key == read_trade(price="0", fee="", profit=None).fill_key


JUNK: list[Any] = [
    True, [], [1], {}, {"a": 1}, "\ud800", "1_0", "0x10", "NaN", "Infinity", "1e999", "x" * 100_000, 10**400,
    float("nan"), float("inf"), -5, 1e300, None,
]  # fmt: skip


@pytest.mark.parametrize("field", sorted(TRADE | MARKET))
def test_wrong_types_in_every_field(field: str) -> None:
    """A record is either rejected with a reason, or the field does not matter."""
    for value in JUNK:
        for found in [entry(**{field: value}), *markets(MARKET | {field: value})]:
            if isinstance(found, RejectedRecord):
                assert found.reason and len(found.reason) < 200
                assert 0 < len(found.payload) <= 65_536
                continue
            for name in found.__dataclass_fields__.keys() - {"provisional"}:
                each = getattr(found, name)
                assert each is None or isinstance(each, (str, int, float))
                assert not isinstance(each, float) or abs(each) <= 1e15
                assert not isinstance(each, int) or 0 < each < 10**15
                str(each).encode()


def test_a_page_keeps_the_order_of_its_entries() -> None:
    """A rejected record stands in its place, with its time where that can be read, and as it came."""
    bad: list[Any] = [TRADE | {"createdAt": "today"}, TRADE | {"amount": "a lot"}, None, 7, "text", []]
    page = parse_trades(as_sent(TRADE, *bad, TRADE), 20)
    assert page.total == 8
    assert [isinstance(each, Trade) for each in page.entries] == [True, *[False] * 6, True]
    rejected = [each for each in page.entries if isinstance(each, RejectedRecord)]
    assert [each.timestamp for each in rejected] == [None, 1_760_000_001_000, None, None, None, None]
    assert [json.loads(each.payload) for each in rejected] == bad


@pytest.mark.parametrize(
    "result",
    [None, [], 7, {}, {"list": []}, {"total": "1", "list": []}, {"total": True, "list": []},
     {"total": 1, "list": {}}, {"total": 1, "list": "x"}, {"total": 1.0, "list": []}],
)  # fmt: skip
def test_a_result_without_total_and_list_is_invalid(result: Any) -> None:
    """The page is refused, of trades and of markets."""
    for parse in (parse_trades, parse_markets):
        with pytest.raises(InvalidResponse, match="total"):
            parse(result, 20)


@pytest.mark.parametrize(
    ("result", "reason"),
    [({"total": -1, "list": []}, "total of -1"), ({"total": 10**18, "list": []}, "total of 1000"),
     ({"total": 9, "list": [TRADE] * 6}, "page of 6 entries, where at most 5")],
)  # fmt: skip
def test_a_list_that_contradicts_itself_is_refused(result: Raw, reason: str) -> None:
    """An impossible total, or a page longer than the limit; the message names it."""
    for parse in (parse_trades, parse_markets):
        with pytest.raises(ContradictoryList, match=reason):
            parse(result, 5)


@pytest.mark.parametrize(
    ("result", "price"),
    [({"price": "0.65", "side": "buy-limit"}, 0.65), ({"price": ""}, None), ({"price": None}, None), (None, None),
     ({}, None), ({"price": 1}, 1.0), ({"price": "0.0", "side": "", "size": "0", "timestamp": 0}, None),
     ({"price": "0"}, None), ({"price": "0", "timestamp": 1_760_000_000_000}, 0.0)],
)  # fmt: skip
def test_a_token_that_never_traded_has_no_price(result: Any, price: float | None) -> None:
    """In every way in which the exchange says so, "0.0" at the time 0 among them."""
    assert parse_price(result) == price


@pytest.mark.parametrize("price", ["NaN", "1.01", "-0.1", [], {}, True, "high", "1e999"])
def test_an_impossible_price_is_refused(price: Any) -> None:
    """Prices are from 0 to 1."""
    with pytest.raises(InvalidResponse, match="price"):
        parse_price({"price": price})


def test_liquidity_is_price_times_size_of_both_sides() -> None:
    """A side may be empty or null."""
    assert parse_liquidity({"bids": [{"price": "0.5", "size": "100"}], "asks": None}) == 50.0
    assert parse_liquidity({"bids": [], "asks": [{"price": "0.9", "size": "10"}]}) == 9.0
    assert parse_liquidity({"bids": [], "asks": []}) == 0.0


@pytest.mark.parametrize(
    "book",
    [None, [], {}, {"bids": []}, {"bids": 7, "asks": []}, {"bids": [7], "asks": []}, {"bids": [{}], "asks": []},
     {"bids": [{"price": "0.5", "size": "-1"}], "asks": []}, {"bids": "ab", "asks": []}],
)  # fmt: skip
def test_an_invalid_order_book_is_refused(book: Mapping[str, Any]) -> None:
    """Rather than counted as empty."""
    with pytest.raises(InvalidResponse, match="order book"):
        parse_liquidity(book)
