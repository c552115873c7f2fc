"""The simulated exchange answers as the real one was seen to: markets, tokens and trades."""

from __future__ import annotations

import pytest
from support.clock import StillClock
from support.exchange import NOW

from whalesync.sandbox import (
    Books,
    Record,
    Refused,
    make_categorical,
    make_child,
    make_market,
    make_position,
    make_trade,
)

WALLET = "0x" + "Ab" * 20
DAY = 86_400


def ask(books: Books, path: str, **query: str | int) -> Record:
    """The result of a request that must have one."""
    result: Record | None = books.answer(path, query)
    assert result is not None
    return result


def refused(books: Books, path: str, **query: str | int) -> int:
    """The error number of a request that must be refused."""
    with pytest.raises(Refused) as refusal:
        books.answer(path, query)
    return refusal.value.number


def numbers(page: Record) -> list[int]:
    """The markets of a page."""
    return [market["marketId"] for market in page["list"] or ()]


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
    assert ask(books, "/market/21")["data"].items() >= child.items()
    assert refused(books, "/market/categorical/21") == refused(books, "/market/22") == 10200
    books.update_market(20, topic=True, status=4)
    assert (books.market(20)["status"], ask(books, "/market/categorical/20")["data"]["status"]) == (2, 4)


def test_pages_end_empty(books: Books) -> None:
    """A page holds ten by default and twenty at most, newest first; past the end there is only the total."""
    for number in range(25):
        books.add_market(make_market(number, createdAt=NOW - number))
    assert numbers(ask(books, "/market")) == list(range(10))
    assert numbers(ask(books, "/market", page=2, limit=20)) == list(range(20, 25))
    assert ask(books, "/market", page=3, limit=20) == {"total": 25, "list": None}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 21},
        {"limit": 0},
        {"limit": "x"},
        {"page": 0},
        {"page": "1.5"},
        {"marketType": 3},
        {"collectionType": 3},
        {"sortBy": 9},
        {"status": "created"},
    ],
)
def test_bad_parameters_are_refused(books: Books, query: dict[str, str | int]) -> None:
    """Error number 400."""
    assert refused(books, "/market", **query) == 400


def in_series(number: int, current: int, *following: int) -> Record:
    """A market of a series, while `current` runs."""
    names = {"title": "BTC weekly", "symbol": "BTC", "frequency": "weekly"}
    entries = [{"marketId": each} for each in following]
    return make_market(number, collection={**names, "current": {"marketId": current}, "next": entries})


def test_only_the_current_market_of_a_series_is_listed_by_default(books: Books, clock: StillClock) -> None:
    """`collectionType` 1 lists all of the series and nothing else, 2 nothing of it; the next one follows."""
    books.add_market(make_market(1))
    for number in (2, 3, 4):
        books.add_market(in_series(number, 3, 4))
        books.update_market(number, at=NOW + 10, collection=in_series(number, 4)["collection"])
    listed = [numbers(ask(books, "/market", **query)) for query in ({}, {"collectionType": 0})]
    assert listed == [[1, 3], [1, 3]]
    assert numbers(ask(books, "/market", collectionType=1)) == [2, 3, 4]
    assert numbers(ask(books, "/market", collectionType=2)) == [1]
    clock.now += 10
    assert numbers(ask(books, "/market")) == [1, 4]


def test_markets_are_sorted_as_asked(books: Books) -> None:
    """`sortBy`: newest first, soonest end (none last), and each volume falling and rising, by number and not text."""
    books.add_market(make_market(1, createdAt=1, cutoffAt=0, volume="9", volume24h="10", volume7d="0"))
    books.add_market(make_market(2, createdAt=2, cutoffAt=7, volume="10", volume24h="1", volume7d="3"))
    books.add_market(make_market(3, createdAt=3, cutoffAt=5, volume="1", volume24h="9", volume7d="20"))
    orders = {by: numbers(ask(books, "/market", sortBy=by)) for by in range(9)}
    assert orders == {
        0: [3, 2, 1],
        1: [3, 2, 1],
        2: [3, 2, 1],
        3: [2, 1, 3],
        4: [3, 1, 2],
        5: [1, 3, 2],
        6: [2, 3, 1],
        7: [3, 2, 1],
        8: [1, 2, 3],
    }


def test_a_status_hides_the_children_that_do_not_have_it(books: Books) -> None:
    """A resolved child of an open topic is in neither list; only the unfiltered list and the detail have it."""
    books.add_market(make_categorical(1, [make_child(10), make_child(11, status=4)]))
    books.add_market(make_categorical(2, [make_child(20, status=3), make_child(21, status=4)], status=4))
    books.add_market(make_market(3, status=3))

    def children(**query: str | int) -> dict[int, list[int]]:
        found = ask(books, "/market", marketType=2, **query)["list"]
        return {each["marketId"]: [child["marketId"] for child in each["childMarkets"] or ()] for each in found}

    assert children() == {1: [10, 11], 2: [20, 21], 3: []}
    assert children(status="activated") == {1: [10]}
    assert children(status="resolved") == {2: [21]}
    assert [child["marketId"] for child in ask(books, "/market/categorical/1")["data"]["childMarkets"]] == [10, 11]


def test_a_topic_counts_twice_in_the_list(books: Books) -> None:
    """Its volumes in the detail are the sums of its children's; those of a binary market agree."""
    children = [make_child(n, volume="1.5", volume24h="1", volume7d="1.25") for n in (20, 21)]
    books.add_market(make_categorical(2, children))
    books.add_market(make_market(1, volume="7"))
    names = ("volume", "volume24h", "volume7d")
    in_list = ask(books, "/market", marketType=2)["list"]
    detail = ask(books, "/market/categorical/2")["data"]
    assert [float(in_list[0][name]) for name in names] == [6, 4, 5]
    assert [float(detail[name]) for name in names] == [3, 2, 2.5]
    assert in_list[1]["volume"] == ask(books, "/market/1")["data"]["volume"] == "7"


def test_a_traded_topic_is_activated_in_the_list_and_created_in_its_detail(books: Books) -> None:
    """A topic without an activated child is Created in both."""
    books.add_market(make_categorical(1, [make_child(10, status=4), make_child(11)], status=1))
    books.add_market(make_categorical(2, [make_child(20, status=1)], status=1))
    in_list = ask(books, "/market", marketType=1)["list"]
    assert [(topic["status"], topic["statusEnum"]) for topic in in_list] == [(2, "Activated"), (1, "Created")]
    assert ask(books, "/market/categorical/1")["data"]["statusEnum"] == "Created"
    assert numbers(ask(books, "/market", marketType=1, status="activated")) == [1]


def test_the_list_lacks_some_ids_of_topics(books: Books) -> None:
    """A topic's `questionId` and its children's `conditionId` are empty there, and filled in the detail."""
    books.add_market(make_categorical(1, [make_child(10)]))
    (listed,), detail = ask(books, "/market", marketType=1)["list"], ask(books, "/market/categorical/1")["data"]
    assert (listed["questionId"], listed["childMarkets"][0]["conditionId"]) == ("", "")
    assert detail["questionId"] and detail["childMarkets"][0]["conditionId"]


def test_a_child_by_its_number_looks_like_a_binary_market(books: Books) -> None:
    """With volumes by period that its topic does not show, without labels, cut-off and topic."""
    books.add_market(make_categorical(1, [make_child(10, volume24h="3")], cutoffAt=NOW))
    child = ask(books, "/market/10")["data"]
    assert (child["marketType"], child["childMarkets"], child["volume24h"], child["cutoffAt"]) == (0, None, "3", 0)
    assert child.keys() >= {"volume7d", "slug", "thumbnailUrl"}
    assert not child.keys() & {"labels", "labelIds", "rootMarketId", "parentId"}
    (within,) = ask(books, "/market/categorical/1")["data"]["childMarkets"]
    assert not within.keys() & {"marketType", "childMarkets", "volume24h", "volume7d", "labels"}


def test_a_child_s_slug_leads_to_its_topic(books: Books) -> None:
    """A binary market's and a topic's lead to themselves; an unknown one is refused as an unknown number is."""
    books.add_market(make_categorical(1, [make_child(10)], slug="the-topic"))
    books.add_market(make_market(2, slug="rain"))
    topic = ask(books, "/market/categorical/1")
    assert ask(books, "/market/slug/market-10") == ask(books, "/market/slug/the-topic") == topic
    assert ask(books, "/market/slug/rain") == ask(books, "/market/2")
    assert refused(books, "/market/slug/snow") == 10200


def test_labels_are_those_of_the_listed_markets(books: Books) -> None:
    """`/label` names each once, and `labelId` selects the markets that have it."""
    for number, labels in ((1, ["Politics"]), (2, ["Sports", "Politics"]), (3, None)):
        books.add_market(
            make_market(number, labels=labels, labelIds=[{"Politics": 1, "Sports": 3}[x] for x in labels or ()])
        )
    labels = books.answer("/label", {})
    assert [(label["labelId"], label["labelName"]) for label in labels] == [(1, "Politics"), (3, "Sports")]
    assert numbers(ask(books, "/market", labelId=3)) == [2]


def test_an_unlisted_market_is_found_by_number_and_slug_alone(books: Books) -> None:
    """It is in no list, whatever is asked for."""
    books.add_market(make_market(1), listed=False)
    books.add_market(make_categorical(2, [make_child(20)]), listed=False)
    for query in ({}, {"status": "activated"}, {"collectionType": 1}, {"collectionType": 2}):
        assert ask(books, "/market", marketType=2, **query) == {"total": 0, "list": None}
    for path in ("/market/1", "/market/20", "/market/categorical/2", "/market/slug/market-20"):
        assert ask(books, path)["data"]
    assert books.markets() == []
    assert [market["marketId"] for market in books.markets(unlisted=True)] == [1, 2]


def test_a_removed_market_is_unknown(books: Books) -> None:
    """A topic goes with its children, a child leaves its topic, and a market of the same number stays."""
    books.add_market(make_categorical(1, [make_child(10), make_child(11)]))
    books.add_market(make_market(1))
    books.remove_market(10)
    assert refused(books, "/market/10") == 10200
    assert [child["marketId"] for child in ask(books, "/market/categorical/1")["data"]["childMarkets"]] == [11]
    books.remove_market(1, topic=True)
    assert refused(books, "/market/categorical/1") == refused(books, "/market/11") == 10200
    assert refused(books, "/token/orderbook", token_id=make_child(11)["yesTokenId"]) == 404
    assert numbers(ask(books, "/market", marketType=2)) == [1]
    with pytest.raises(KeyError):
        books.remove_market(10)


def test_a_market_may_be_added_for_later(books: Books, clock: StillClock) -> None:
    """Nobody knows it before its time."""
    books.add_market(make_market(1), at=NOW + 10)
    assert (refused(books, "/market/1"), refused(books, "/market/slug/market-1")) == (10200, 10200)
    assert books.markets() == []
    clock.now += 10
    assert numbers(ask(books, "/market")) == [1]


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


def test_a_wallet_s_list_can_be_limited_to_a_market(books: Books) -> None:
    """By `marketId`; `total` counts that market alone."""
    for number in (1, 2, 2):
        books.add_trade(WALLET, make_trade(marketId=number))
    assert ask(books, f"/trade/user/{WALLET}", marketId=2)["total"] == 2


def test_positions_are_sorted_by_size(books: Books) -> None:
    """Most shares first, by number and not by text; a page has ten by default and twenty at most."""
    for number in range(12):
        books.set_position(WALLET, make_position(marketId=number, sharesOwned=str(number * 7)))
    path = f"/positions/user/{WALLET.lower()}"
    first, second = ask(books, path), ask(books, path, page=2)
    assert [first["total"], len(first["list"]), len(second["list"])] == [12, 10, 2]
    assert [row["marketId"] for row in first["list"] + second["list"]] == list(range(11, -1, -1))
    assert refused(books, path, limit=21) == 400
    assert ask(books, path, marketId=3)["list"][0]["sharesOwned"] == "21"
    assert ask(books, "/positions/user/0x0") == {"total": 0, "list": []}


def test_a_position_is_set_and_dropped_at_its_time(books: Books, clock: StillClock) -> None:
    """There is one row of each token; nothing of it shows before its time."""
    row = make_position(sharesOwned="10")
    token = row["tokenId"]
    books.set_position(WALLET, row)
    books.set_position(WALLET, make_position(sharesOwned="4"), at=NOW + 10)
    books.drop_position(WALLET, token, at=NOW + 20)
    shares = []
    for now in (NOW, NOW + 10, NOW + 20, NOW):
        clock.now = now
        shares.append([each["sharesOwned"] for each in books.positions(WALLET)])
    assert shares == [["10"], ["4"], [], ["10"]]


def test_made_positions_are_consistent() -> None:
    """The fields and spelling of the exchange; the value is shares times price, the gain a fraction of the cost."""
    row = make_position(marketId=5342, sharesOwned="120.5", avgEntryPrice="0.4", price="0.425")
    money = ("currentValueInQuoteToken", "unrealizedPnl", "unrealizedPnlPercent")
    assert [row[name] for name in money] == ["51.2125", "3.0125", "0.0625"]
    names = "marketStatusEnum", "outcome", "outcomeSideEnum", "claimStatusEnum"
    assert [row[name] for name in names] == ["Activated", "YES", "Yes", "CanNotClaim"]
    assert row["tokenId"] == make_market(5342)["yesTokenId"]
    assert " ".join(row) == (
        "marketId marketTitle marketStatus marketStatusEnum marketCutoffAt rootMarketId rootMarketTitle outcome"
        " outcomeSide outcomeSideEnum sharesOwned sharesFrozen avgEntryPrice currentValueInQuoteToken unrealizedPnl"
        " unrealizedPnlPercent dailyPnlChange dailyPnlChangePercent claimStatus claimStatusEnum tokenId conditionId"
        " quoteToken"
    )


def test_what_a_position_does_not_say_follows_its_market(books: Books) -> None:
    """Its titles, status, value and whether it can be claimed; what it does say is shown as it is."""
    child = make_child(20, marketTitle="Up")
    books.add_market(make_categorical(2, [child], marketTitle="Gold?"))
    books.set_position(WALLET, make_position(marketId=20, sharesOwned="10"))
    no = make_position(marketId=20, outcomeSide=2, sharesOwned="9", currentValueInQuoteToken="5", marketStatus=2)
    books.set_position(WALLET, no)
    books.set_price(child["yesTokenId"], "0.75")
    books.update_market(20, status=4, resultTokenId=child["yesTokenId"])
    won, fixed = books.positions(WALLET)
    assert (won["rootMarketId"], won["rootMarketTitle"], won["marketTitle"]) == (2, "Gold?", "Up")
    assert (won["marketStatusEnum"], won["claimStatusEnum"]) == ("Resolved", "WaitClaim")
    assert (won["currentValueInQuoteToken"], won["unrealizedPnl"]) == ("7.5", "2.5")
    assert (fixed["marketStatus"], fixed["claimStatus"], fixed["outcome"]) == (2, 0, "NO")
    assert (fixed["currentValueInQuoteToken"], fixed["unrealizedPnl"]) == ("5", "0.5")


def test_the_leaderboard_ranks_the_wallets(books: Books) -> None:
    """By volume, profit or points of the period; a wallet without a trade in it is last, with an empty value."""
    rich, lucky, idle = (f"0x{number:040x}" for number in range(3))
    books.add_trade(rich, make_trade(amount="900", profit="-5", createdAt=NOW - 2 * DAY))
    books.add_trade(lucky, make_trade(amount="200", profit="30", createdAt=NOW - 10))
    books.add_trade(lucky, make_trade(amount="100", createdAt=NOW - 20))
    books.add_trade(idle, make_trade(amount="5000", createdAt=NOW - 40 * DAY))

    def ranked(kind: str, period: int) -> list[tuple[str, str]]:
        rows = books.answer_web("/leaderboard", {"dataType": kind, "period": period, "chainId": 56, "limit": 100})[
            "list"
        ]
        assert [row["id"] for row in rows] == [1, 2, 3]
        return [(row["walletAddress"], row["rankingValue"]) for row in rows]

    assert ranked("volume", 30) == [(rich, "900"), (lucky, "300"), (idle, "")]
    assert ranked("volume", 1) == [(lucky, "300"), (rich, ""), (idle, "")]
    assert ranked("profit", 7) == [(lucky, "30"), (rich, "-5"), (idle, "")]
    assert ranked("points", 0) == [(idle, "50"), (rich, "9"), (lucky, "3")]


@pytest.mark.parametrize(
    "query", [{"dataType": "luck"}, {"period": 2}, {"dataType": "points", "period": 1}, {"limit": 101}]
)
def test_the_leaderboard_refuses_what_it_does_not_know(books: Books, query: dict[str, str | int]) -> None:
    """Error number 10000."""
    with pytest.raises(Refused) as refusal:
        books.answer_web("/leaderboard", query)
    assert refusal.value.number == 10000


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
