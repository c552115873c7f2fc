"""The seeded world is plausible, consistent, follows from its seed, and goes on."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import pytest
from support.clock import StillClock
from support.exchange import NOW

from whalesync.sandbox import Record, World, build_world

DAY = 86_400


@pytest.fixture
def world(clock: StillClock) -> World:
    """A world at a moment that stands still."""
    return build_world(7, clock=clock)


def every_trade(world: World) -> list[Record]:
    """The trades of all whales."""
    return [trade for whale in world.whales for trade in world.books.trades(whale)]


def tradable(world: World) -> list[tuple[Record, Record]]:
    """Each market that can be traded, with its topic, or itself if it has none."""
    roots = world.books.markets(unlisted=True)
    return [(each, root) for root in roots for each in root["childMarkets"] or (root,)]


def sides(wallet: list[Record]) -> defaultdict[tuple[int, int], list[Record]]:
    """The trades of each outcome, oldest first."""
    found = defaultdict(list)
    for trade in reversed(wallet):
        found[trade["marketId"], trade["outcomeSide"]].append(trade)
    return found


def test_a_longer_span_has_no_less_volume(world: World) -> None:
    """24 hours, 7 days, and in all: of each market, as its own detail has them."""
    for listed, _ in tradable(world):
        market = world.books.market(listed["marketId"])
        spans = [float(market[name]) for name in ("volume24h", "volume7d", "volume")]
        assert spans == sorted(spans)


def test_the_world_follows_from_its_seed(world: World, clock: StillClock) -> None:
    """The same seed gives the same markets and trades."""
    again = build_world(7, clock=clock)
    assert (world.whales, world.books.markets()) == (again.whales, again.books.markets())
    assert every_trade(world) == every_trade(again)


def test_a_shorter_history_is_the_end_of_a_longer_one(world: World, clock: StillClock) -> None:
    """A day follows from the seed and its date; only sales of what was bought before the first day are missing."""
    recent = build_world(7, clock=clock, days=10)
    since = (NOW // DAY - 10 + 2) * DAY
    ends = [[trade for trade in every_trade(each) if trade["createdAt"] >= since] for each in (world, recent)]
    assert len(ends[0]) > 100 and ends[0] == ends[1]


def test_the_world_has_markets_of_every_kind(world: World) -> None:
    """Every status, several categories, no labels at all, no end, a topic that is "Created" while it is traded."""
    markets = world.books.markets()
    binary = [market for market in markets if market["marketType"] == 0]
    topics = [market for market in markets if market["marketType"] == 1]
    assert {market["status"] for market in binary} == {1, 2, 3, 4, 5, 6}
    assert len({label for market in markets for label in market.get("labels") or ()}) >= 5
    assert any("labels" not in market for market in binary)
    assert any(market.get("labels", ()) is None for market in binary)
    assert any(market["cutoffAt"] == 0 for market in binary)
    assert any(
        topic["statusEnum"] == "Created" and {child["status"] for child in topic["childMarkets"]} == {2}
        for topic in topics
    )
    for topic in topics:
        assert Decimal(topic["volume"]) == sum(Decimal(child["volume"]) for child in topic["childMarkets"])
        # The result of a topic is on its children.
        assert (topic["resultTokenId"], topic["resolvedAt"]) == ("", 0)
    assert any({child["status"] for child in topic["childMarkets"]} > {4} for topic in topics)
    resolved = [market for market, _ in tradable(world) if market["statusEnum"] == "Resolved"]
    assert {market["resolvedAt"] > 0 for market in resolved} == {True, False}
    assert all(market["resolvedAt"] == 0 for market, _ in tradable(world) if market["statusEnum"] != "Resolved")


def test_a_series_has_a_current_market_past_and_coming_ones(world: World, clock: StillClock) -> None:
    """The current one is open now and the next ones are named; a week later the next is current."""
    for _ in range(2):
        series: defaultdict[str, list[Record]] = defaultdict(list)
        for market in world.books.markets():
            if "collection" in market:
                series[market["collection"]["symbol"]].append(market)
        assert len(series) == 2
        for members in series.values():
            (state,) = {json.dumps(market["collection"], sort_keys=True) for market in members}
            current, following = json.loads(state)["current"], json.loads(state)["next"]
            assert current["startTime"] <= clock.now < current["endTime"] == following[0]["startTime"]
            status = {market["marketId"]: market["status"] for market in members}
            assert {number for number, each in status.items() if each == 2} == {current["marketId"]}
            assert [status[entry["marketId"]] for entry in following] == [1, 1]
            assert Counter(status.values()).total() > 5
        clock.now += 7 * DAY


def test_whales_trade_in_markets_of_every_kind(world: World) -> None:
    """Also in past markets of a series and in what no list has: a binary market and a topic."""
    traded = {trade["marketId"]: trade["rootMarketId"] for trade in every_trade(world)}
    listed = {market["marketId"] for root in world.books.markets() for market in root["childMarkets"] or (root,)}
    unlisted = {number: root for number, root in traded.items() if number not in listed}
    assert {number == root for number, root in unlisted.items()} == {True, False}
    markets = [market for market, _ in tradable(world) if market["marketId"] in traded]
    assert {"Activated", "Resolved", "Failed"} <= {market["statusEnum"] for market in markets if "collection" in market}


def test_every_sale_is_of_a_lot_bought_a_day_or_two_before(world: World) -> None:
    """Its `profit` is the amount less what the lot cost; what is left is the position, at its own average cost."""
    sales = 0
    for whale in world.whales:
        left = {}
        for side, trades in sides(world.books.trades(whale)).items():
            lots: list[list[Any]] = []  # bought at, price, shares left
            for trade in trades:
                price, shares, at = Decimal(trade["price"]), Decimal(trade["shares"]), trade["createdAt"]
                if trade["side"] in ("Buy", "Split"):
                    assert Decimal(trade["profit"]) == 0
                    lots.append([at, price, shares])
                    continue
                cost = Decimal(trade["amount"]) - Decimal(trade["profit"])
                lot = next(
                    lot
                    for lot in lots
                    if DAY <= at - lot[0] <= 2 * DAY and lot[2] >= shares and lot[1] * shares == cost
                )
                lot[2] -= shares
                sales += 1
            held = sum(lot[2] for lot in lots)
            if held:
                left[side] = (held, sum(lot[1] * lot[2] for lot in lots) / held)
        for row in world.books.positions(whale):
            shares, entry = left.pop((row["marketId"], row["outcomeSide"]))
            assert Decimal(row["sharesOwned"]) == shares
            assert abs(Decimal(row["avgEntryPrice"]) - entry) < Decimal("1e-17")
        # Only what has won and is claimed is missing.
        for number, outcome in left:
            market = world.books.market(number)
            assert market["resultTokenId"] == market["yesTokenId" if outcome == 1 else "noTokenId"]
    assert sales > 100


def test_a_wallet_never_sells_what_it_does_not_have(world: World) -> None:
    """Bought and split, less sold and merged, is never below 0; sold out, the profits are proceeds less cost."""
    sold_out = 0
    for whale in world.whales:
        for trades in sides(world.books.trades(whale)).values():
            shares = cost = proceeds = profit = Decimal(0)
            for trade in trades:
                if trade["side"] in ("Buy", "Split"):
                    shares += Decimal(trade["shares"])
                    cost += Decimal(trade["amount"])
                else:
                    shares -= Decimal(trade["shares"])
                    proceeds += Decimal(trade["amount"])
                profit += Decimal(trade["profit"])
                assert shares >= 0
            if not shares:
                sold_out += 1
                assert profit == proceeds - cost
    assert sold_out > 10


def test_a_split_or_merge_is_a_row_for_each_outcome(world: World) -> None:
    """Both with the same hash, at a price of 0.5; some merge what was bought on both sides."""
    rows: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for trade in every_trade(world):
        if trade["side"] in ("Split", "Merge"):
            assert trade["price"] == "0.5" and Decimal(trade["amount"]) == Decimal(trade["shares"]) / 2
            rows[trade["txHash"], trade["side"]].append(trade)
    for pair in rows.values():
        yes, no = ([each["shares"] for each in pair if each["outcomeSide"] == side] for side in (1, 2))
        assert yes == no
    profits = [Decimal(each["profit"]) for (_, side), pair in rows.items() if side == "Merge" for each in pair]
    assert any(profits) and not all(profits)


def test_a_winning_position_is_claimed_and_a_losing_one_stays(world: World, clock: StillClock) -> None:
    """It can be claimed for some hours after its market is resolved, and then its row vanishes."""
    whale = world.whales[0]
    since: dict[str, float] = {}
    waited = []
    for _ in range(12 * 24):
        clock.now += 3600
        rows = {row["tokenId"]: row for row in world.books.positions(whale)}
        for token in since.keys() - rows.keys():
            waited.append(clock.now - since.pop(token))
        for token, row in rows.items():
            if row["marketStatus"] == 4:
                assert row["claimStatus"] == int(world.books.market(row["marketId"])["resultTokenId"] == token)
            if row["claimStatus"]:
                since.setdefault(token, clock.now)
    assert waited and 3600 <= min(waited) <= max(waited) <= 12 * 3600
    assert any(row["marketStatus"] == 4 and not row["claimStatus"] for row in rows.values())


def test_whales_hold_void_positions(world: World) -> None:
    """In a market that failed, and in one that is resolved without a result."""
    held = [world.books.market(row["marketId"]) for whale in world.whales for row in world.books.positions(whale)]
    assert {4, 5} <= {market["status"] for market in held if market["resultTokenId"] == ""}


def test_topics_share_numbers_with_markets(world: World) -> None:
    """Numbers are unique among what can be traded, and among topics, but not between them."""
    numbers = [market["marketId"] for market, _ in tradable(world)]
    topics = [market["marketId"] for market in world.books.markets() if market["marketType"] == 1]
    assert len(set(numbers)) == len(numbers) and len(set(topics)) == len(topics)
    assert set(numbers) & set(topics)


def test_prices_agree_with_each_other_and_with_the_books(world: World) -> None:
    """A YES and a NO are worth a dollar, the best bid is below the price and the best ask above it."""
    priced = unpriced = 0
    for market, _ in tradable(world):
        yes, no = (world.books.latest_price(market[token]) for token in ("yesTokenId", "noTokenId"))
        if yes is None or no is None:
            unpriced += 1
            assert yes is no and market["volume"] == "0"
            continue
        priced += 1
        assert Decimal(yes["price"]) + Decimal(no["price"]) == 1
        book = world.books.order_book(market["yesTokenId"])
        for bid, ask in zip(book["bids"], book["asks"], strict=False):
            assert Decimal(bid["price"]) < Decimal(yes["price"]) < Decimal(ask["price"])
    assert priced > unpriced > 0


def test_trades_agree_with_markets_and_prices(world: World, clock: StillClock) -> None:
    """Each names its market and topic, was made while the market was open, at the price of that second."""
    markets = {market["marketId"]: (market, topic) for market, topic in tradable(world)}
    for trade in every_trade(world):
        market, topic = markets[trade["marketId"]]
        assert (trade["rootMarketId"], trade["rootMarketTitle"]) == (topic["marketId"], topic["marketTitle"])
        assert market["createdAt"] <= trade["createdAt"]
        assert not topic["cutoffAt"] or trade["createdAt"] < topic["cutoffAt"]
        if trade["side"] in ("Buy", "Sell"):
            assert Decimal(trade["amount"]) == Decimal(trade["price"]) * Decimal(trade["shares"])
            clock.now = trade["createdAt"]
            last = world.books.latest_price(market["yesTokenId" if trade["outcomeSide"] == 1 else "noTokenId"])
            assert last is not None and last["price"] == trade["price"]


def test_wallets_show_everything_a_client_must_survive(world: World) -> None:
    """Identical fills, transactions of several fills, several of these in one second, all sides and status names."""
    trades = every_trade(world)
    assert len(trades) > 500
    assert {trade["side"] for trade in trades} == {"Buy", "Sell", "Merge", "Split"}
    assert {trade["statusEnum"] for trade in trades} == {"Filled", "Finished"}
    copies = Counter(json.dumps(trade, sort_keys=True) for trade in trades)
    assert max(copies.values()) == 2
    assert max(Counter(json.loads(trade)["txHash"] for trade in copies).values()) > 1
    seconds: defaultdict[int, set[str]] = defaultdict(set)
    for trade in world.books.trades(world.whales[0]):
        seconds[trade["createdAt"]].add(trade["txHash"])
    assert max(map(len, seconds.values())) > 1
    oldest = min(trade["createdAt"] for trade in trades)
    assert NOW - 31 * DAY <= oldest < NOW - 29 * DAY


def test_wallets_go_on_trading_as_the_clock_moves(world: World, clock: StillClock) -> None:
    """Nothing seen changes or goes away; new trades come, some late, and none from the future."""
    whale = world.whales[0]
    before = world.books.trades(whale)
    late = 0
    for _ in range(24 * 60):
        clock.now += 120
        after = world.books.trades(whale)
        if after != before:
            new = Counter(map(json.dumps, after)) - Counter(map(json.dumps, before))
            assert len(after) == len(before) + new.total()
            seconds = [json.loads(trade)["createdAt"] for trade in new]
            assert max(seconds) <= clock.now
            late += min(seconds) < clock.now - 120
        before = after
    assert late > 0
    rebuilt = build_world(7, clock=clock, days=32)
    assert rebuilt.books.trades(whale) == before
