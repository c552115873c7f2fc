"""The seeded world is believable, agrees with itself, follows from its seed, and goes on."""

import json
import time
from collections import Counter
from decimal import Decimal

import pytest

from whalesync.sandbox import (
    Record,
    World,
    build_world,
)

NOW = 1_760_000_000.0
DAY = 86_400
WALLET = "0x" + "Ab" * 20


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(7, clock=Clock())


def every_trade(world: World) -> list[Record]:
    return [trade for whale in world.whales for trade in world.books.trades(whale)]


def test_the_world_follows_from_its_seed() -> None:
    """The same seed gives the same markets and trades, another seed others."""
    first, again, other = (build_world(seed, clock=Clock()) for seed in (1, 1, 2))
    assert (first.whales, first.books.markets(), every_trade(first)) == (
        again.whales,
        again.books.markets(),
        every_trade(again),
    )
    assert not set(first.whales) & set(other.whales)


def test_the_world_has_markets_of_every_kind(world: World) -> None:
    """Every status, several categories, no labels at all, no end, an announced parent of traded children."""
    markets = world.books.markets()
    binary = [market for market in markets if market["marketType"] == 0]
    parents = [market for market in markets if market["marketType"] == 1]
    assert {market["status"] for market in binary} == {1, 2, 3, 4, 5, 6}
    assert len({label for market in markets for label in market.get("labels") or ()}) >= 5
    assert any("labels" not in market for market in binary)
    assert any(market.get("labels", ()) is None for market in binary)
    assert any(market["cutoffAt"] == 0 for market in binary)
    assert any(
        parent["statusEnum"] == "Created"
        and {child["statusEnum"] for child in parent["childMarkets"]} == {"Activated"}
        for parent in parents
    )
    children = [child for parent in parents for child in parent["childMarkets"]]
    assert not any({"labels", "marketType", "volume24h"} & child.keys() for child in children)
    for parent in parents:
        assert Decimal(parent["volume"]) == sum(Decimal(child["volume"]) for child in parent["childMarkets"])
    identifiers = [market["marketId"] for market in (*markets, *children)]
    assert len(set(identifiers)) == len(identifiers)
    for market in (*markets, *children):
        assert (market["statusEnum"] == "Resolved") == (market["resolvedAt"] > 0)


def test_prices_agree_with_each_other_and_with_the_books(world: World) -> None:
    """A YES and a NO are worth a dollar, the best bid is below the price and the best ask above it."""
    priced = unpriced = 0
    for market in world.books.markets():
        for each in market["childMarkets"] or (market,):
            yes, no = (world.books.latest_price(each[token]) for token in ("yesTokenId", "noTokenId"))
            if yes is None or no is None:
                unpriced += 1
                assert yes is no
                assert each["volume"] == "0"
                continue
            priced += 1
            assert Decimal(yes["price"]) + Decimal(no["price"]) == 1
            book = world.books.order_book(each["yesTokenId"])
            if each["statusEnum"] == "Resolved":
                assert (book["bids"], book["asks"]) == ([], [])
            for bid, ask in zip(book["bids"], book["asks"], strict=False):
                assert Decimal(bid["price"]) < Decimal(yes["price"]) < Decimal(ask["price"])
    assert priced > unpriced > 0


def test_trades_agree_with_markets_and_prices(world: World) -> None:
    """Each names a market of ours and its parent, was made while it was open, at the price of that second."""
    roots = {
        each["marketId"]: (each, market)
        for market in world.books.markets()
        for each in market["childMarkets"] or (market,)
    }
    for trade in every_trade(world):
        market, root = roots[trade["marketId"]]
        assert (trade["rootMarketId"], trade["rootMarketTitle"]) == (root["marketId"], root["marketTitle"])
        assert market["createdAt"] <= trade["createdAt"]
        assert not root["cutoffAt"] or trade["createdAt"] < root["cutoffAt"]
        if trade["side"] in ("Buy", "Sell"):
            assert Decimal(trade["amount"]) == Decimal(trade["price"]) * Decimal(trade["shares"])
            token = market["yesTokenId" if trade["outcomeSide"] == 1 else "noTokenId"]
            last = world.books._last_trade(token, trade["createdAt"])
            assert last is not None
            assert last.price == trade["price"]


def test_wallets_show_everything_a_client_must_survive(world: World) -> None:
    """Twins, transactions of several fills, several of these in one second, all sides, both status names."""
    trades = every_trade(world)
    assert len(trades) > 500
    assert {trade["side"] for trade in trades} == {"Buy", "Sell", "Merge", "Split"}
    assert {trade["statusEnum"] for trade in trades} == {"Filled", "Finished"}
    whole = Counter(json.dumps(trade, sort_keys=True) for trade in trades)
    assert max(whole.values()) == 2
    fills = Counter(trade["txHash"] for trade in {json.dumps(t): t for t in trades}.values())
    assert max(fills.values()) > 1
    seconds: dict[int, set[str]] = {}
    for trade in world.books.trades(world.whales[0]):
        seconds.setdefault(trade["createdAt"], set()).add(trade["txHash"])
    assert max(map(len, seconds.values())) > 1
    oldest = min(trade["createdAt"] for trade in trades)
    assert NOW - 31 * DAY <= oldest < NOW - 29 * DAY


def test_wallets_go_on_trading_as_the_clock_moves() -> None:
    """Nothing seen changes or goes away; new trades come, some late, and none from the future."""
    clock = Clock()
    world = build_world(7, clock=clock)
    whale = world.whales[0]
    before = world.books.trades(whale)
    late = 0
    for _ in range(2 * 24 * 60):
        clock.now += 60
        after = world.books.trades(whale)
        if after != before:
            fresh = Counter(map(json.dumps, after)) - Counter(map(json.dumps, before))
            assert len(after) == len(before) + fresh.total()
            seconds = [json.loads(trade)["createdAt"] for trade in fresh]
            assert max(seconds) <= clock.now
            late += min(seconds) < clock.now - 60
        before = after
    assert late > 0
    assert before == build_world(7, clock=Clock(clock.now), days=32).books.trades(whale)


def test_a_world_lives_for_years() -> None:
    """Markets end and resolve, wallets still trade, and only the past is held."""
    clock = Clock()
    world = build_world(7, clock=clock, whales=1, trades_per_day=2)
    clock.now += 3 * 365 * DAY
    assert world.books.trades(world.whales[0])[0]["createdAt"] > clock.now - 7 * DAY
    resolved = [market for market in world.books.markets() if market["statusEnum"] == "Resolved"]
    assert all(market["cutoffAt"] <= market["resolvedAt"] <= clock.now for market in resolved)
    assert len(resolved) > 30


def test_worlds_without_markets_or_trades_are_quiet() -> None:
    """They end no search and show no trade."""
    for sizes in ({"binary": 0, "categorical": 0}, {"trades_per_day": 0}):
        world = build_world(7, clock=Clock(), **sizes)
        assert every_trade(world) == []


def test_the_demo_s_world_is_built_at_once() -> None:
    """Well under 0.2 s: nobody waits for the stand-in."""
    start = time.perf_counter()
    build_world(7)
    assert time.perf_counter() - start < 0.2
