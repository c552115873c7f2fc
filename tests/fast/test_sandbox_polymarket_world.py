"""The seeded Polymarket is plausible, consistent, follows from its seed, and goes on."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal

import pytest
from support.clock import StillClock
from support.exchange import NOW

from whalesync.sandbox import Record, build_worlds
from whalesync.sandbox.polymarket import World, build_world

DAY = 86_400


@pytest.fixture
def world(clock: StillClock) -> World:
    """A world at a moment that stands still."""
    return build_world(7, clock=clock)


def every_row(world: World) -> list[Record]:
    """The rows of all whales."""
    return [row for whale in world.whales for row in world.books.activity(whale)]


def test_the_world_follows_from_its_seed_and_goes_on(world: World, clock: StillClock) -> None:
    """A world that is built a day later, with a day more of history, has the same past and the same day."""
    before = [len(world.books.rows(whale)) for whale in world.whales]
    clock.now += DAY
    rows = every_row(world)
    assert rows == every_row(build_world(7, clock=clock, days=31))
    assert len(rows) > sum(before) + 100


def test_it_has_rows_of_every_kind(world: World) -> None:
    """Thousands of rows in a wallet, identical ones in a transaction, late ones, unlabelled ones, combinations."""
    rows = every_row(world)
    assert {row["type"] for row in rows} >= {
        "TRADE",
        "SPLIT",
        "MERGE",
        "REDEEM",
        "CONVERSION",
        "REWARD",
        "MAKER_REBATE",
        "YIELD",
        "DEPOSIT",
        "WITHDRAWAL",
    }
    assert max(len(world.books.rows(whale)) for whale in world.whales) > 3000
    twins = Counter((row["transaction_hash"], row["token_id"], row["size"], row["price"]) for row in rows)
    assert sum(count > 1 for count in twins.values()) > 50
    assert any(row.get("is_combo") and row["condition_id"].startswith("0x03") for row in rows)
    assert {row["outcome"] for row in rows} >= {"Yes", "No", "Up", "Down", "Lakers"}
    late = [row for whale in world.whales for row in world.books.rows(whale) if row.visible_at - row.key[0] > 3600]
    assert 10 < len(late) < len(rows) / 50


def test_the_cash_of_each_trade_is_size_times_price_and_a_fee(world: World) -> None:
    """The fee is at most 1.75 % of the shares and some cents, and nothing for makers."""
    fees = Counter[bool]()
    for row in (row for row in every_row(world) if row["type"] == "TRADE"):
        size, price, usdc = (Decimal(str(row[name])) for name in ("size", "price", "usdc_size"))
        fee = round(usdc - size * price if row["side"] == "BUY" else size * price - usdc, 4)
        assert 0 <= fee <= size * Decimal("0.0176") + Decimal("0.1")
        fees[fee > 0] += 1
    assert min(fees.values()) > 500


def test_what_was_gained_is_the_cash_of_markets_that_were_left(world: World) -> None:
    """Where nothing is held any more, average cost and cash agree: redemptions pay what was held."""
    signs = {"SELL": 1, "MERGE": 1, "REDEEM": 1, "BUY": -1, "SPLIT": -1}
    checked = 0
    for whale in world.whales:
        gained, left, cash = (defaultdict[str, Decimal](Decimal) for _ in range(3))
        for holding in world.books.holdings(whale).values():
            gained[holding.condition] += holding.realized
            left[holding.condition] += holding.shares
        rows = [row for row in world.books.activity(whale) if row["condition_id"] and not row.get("is_combo")]
        converted = {row["event_slug"] for row in rows if row["type"] == "CONVERSION"}
        for row in rows:
            size = Decimal(str(row["size"])) * (Decimal(str(row["price"])) if row["type"] == "TRADE" else 1)
            if row["type"] in ("TRADE", *signs):
                cash[row["condition_id"]] += signs[row["side"] or row["type"]] * size
        closed = {row["condition_id"] for row in rows if row["event_slug"] not in converted} - {
            condition for condition, shares in left.items() if shares
        }
        for condition in closed:
            assert abs(gained[condition] - cash[condition]) < Decimal("0.0001")
        checked += len(closed)
    assert checked > 100


def test_markets_of_both_versions_open_close_and_pay(world: World) -> None:
    """Each closed one pays a dollar together; of the markets of an event with one winner, one wins."""
    markets = world.books.markets()
    assert {market.record["version"] for market in markets} == {"v1", "v2"}
    closed = [market for market in markets if market.closed_at <= NOW]
    assert len(closed) > 100 and len(markets) - len(closed) > 30
    assert all(sum(market.payouts) == 1 for market in markets)
    events: dict[str, list[Decimal]] = {}
    for market in markets:
        if market.record["negRisk"]:
            events.setdefault(market.record["events"][0]["id"], []).append(market.payouts[0])
    assert len(events) > 5 and all(sum(payouts) == 1 for payouts in events.values())


def test_both_worlds_share_a_clock_and_a_whale(clock: StillClock) -> None:
    """The first whale of each is the same wallet."""
    worlds = build_worlds(3, clock=clock, whales=2, days=3)
    ours, theirs = worlds.opinion_trade, worlds.polymarket
    assert ours.whales[0] == theirs.whales[0] and ours.whales[1] != theirs.whales[1]
    assert ours.books.clock() == theirs.books.clock() == NOW
    assert ours.books.trades(ours.whales[0]) and theirs.books.activity(ours.whales[0])
