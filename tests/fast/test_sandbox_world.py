"""The seeded world is plausible, consistent, follows from its seed, and goes on."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal

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
    return [(each, market) for market in world.books.markets() for each in market["childMarkets"] or (market,)]


def test_the_world_follows_from_its_seed(world: World, clock: StillClock) -> None:
    """The same seed gives the same markets and trades."""
    again = build_world(7, clock=clock)
    assert (world.whales, world.books.markets()) == (again.whales, again.books.markets())
    assert every_trade(world) == every_trade(again)


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
    for market, _ in tradable(world):
        assert (market["statusEnum"] == "Resolved") == (market["resolvedAt"] > 0)


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
