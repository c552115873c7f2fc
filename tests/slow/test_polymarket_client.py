"""Polymarket's own client parses the sandbox's responses without an error, and reads what its books hold."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from support.foreign import install, run

from whalesync.sandbox import Polymarket, Record, Sandbox
from whalesync.sandbox.polymarket import Limits, World, build_world

NOW = 1_790_000_000.0

CLIENT = """
import dataclasses, json, sys
from polymarket import PublicClient
# The client takes no addresses: they are in the configuration of its environment.
from polymarket._internal.environment import get_environment_config, with_environment_config
from polymarket.environments import PRODUCTION

data, gamma, *wallets = sys.argv[1:]
config = dataclasses.replace(get_environment_config(PRODUCTION), data_url=data, gamma_url=gamma)
listing = {"version": ("v1", "v2"), "page_size": 100}

def plain(models):
    return [json.loads(model.model_dump_json()) for model in models]

with PublicClient(environment=with_environment_config(PRODUCTION, config=config)) as client:
    seen = {
        wallet: {
            "activity": plain(
                client.list_activity(user=wallet, sort_direction="ASC", full_history=True, page_size=200).iter_items()
            ),
            "trades": plain(
                client.list_trades(user=wallet, taker_only=False, full_history=True, page_size=500).iter_items()
            ),
            "positions": plain(
                position
                for status in ("OPEN", "CLOSED")
                for position in client.list_positions(
                    user=wallet, status=status, filter_amount=0, page_size=50
                ).iter_items()
            ),
            "volume": plain([client.get_user_volume(user=wallet, full_history=True)])[0],
            "value": plain([client.get_portfolio_value(user=wallet)])[0],
            "stats": plain([client.get_user_stats(user=wallet)])[0],
            "standing": plain([client.get_trader_leaderboard_standing(user=wallet, window="all")])[0],
        }
        for wallet in wallets
    }
    print(json.dumps({
        "wallets": seen,
        "markets": plain(
            market
            for closed in (False, True)
            for market in client.list_markets(
                closed=closed, order="id", ascending=True, include_tag=True, **listing
            ).iter_items()
        ),
        "events": plain(
            event for closed in (False, True) for event in client.list_events(closed=closed, **listing).iter_items()
        ),
        "leaderboard": plain(client.list_trader_leaderboard(window="all", page_size=2).iter_items()),
        "tokens": plain(client.get_token_references(
            asset_ids=[each["asset_id"] for each in seen[wallets[0]]["positions"]][:50]
        )),
    }))
"""

# Slow: installs the client and its dependencies from PyPI.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world() -> World:
    """A world at a moment that stands still."""
    return build_world(7, clock=lambda: NOW)


@pytest.fixture(scope="module")
def seen(world: World, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client reads of it, within the limits; every response is 200."""
    python = install(tmp_path_factory.mktemp("foreign"), "polymarket-client==0.14.0")
    with Sandbox(polymarket=Polymarket(world.books, limits=Limits())) as sandbox:
        found = run(python, CLIENT, sandbox.polymarket_data_url, sandbox.polymarket_gamma_url, *world.whales)
        assert {request.status for request in sandbox.requests} == {200}
        assert sandbox.counts()["data", "/v2/activity"] > 30 and sandbox.counts()["data", "/v2/positions"] > 15
    return found


def seconds(text: str) -> int:
    """A time of the client in Unix seconds."""
    return int(datetime.fromisoformat(text).timestamp())


def numbers(record: Record, names: Iterable[str]) -> list[Decimal]:
    """Some fields as numbers."""
    return [Decimal(str(record[name])) for name in names]


def test_it_reads_every_row_of_activity_in_the_order_of_the_chain(world: World, seen: Any) -> None:
    """Each of its kinds; also trades by their own listing, newest first."""
    kinds = set()
    for wallet in world.whales:
        rows, theirs = world.books.activity(wallet), seen["wallets"][wallet]["activity"]
        kinds |= {row["type"] for row in rows}
        for ours, read in zip(rows, theirs, strict=True):
            assert (read["type"], seconds(read["timestamp"]), read["transaction_hash"]) == (
                ours["type"],
                ours["timestamp"],
                ours["transaction_hash"],
            )
            assert numbers(read, ["amount"]) == numbers(ours, ["usdc_size"])
            if ours["condition_id"]:
                assert read["condition_id"] == ours["condition_id"]
            if ours["type"] == "TRADE":
                assert (read["side"], read["outcome"]) == (ours["side"], ours["outcome"] or None)
                assert numbers(read, ["shares", "price"]) == numbers(ours, ["size", "price"])
                assert read["position_id" if ours.get("is_combo") else "asset_id"] == ours["token_id"]
        trades = [row["transaction_hash"] for row in reversed(rows) if row["type"] == "TRADE"]
        assert [trade["transaction_hash"] for trade in seen["wallets"][wallet]["trades"]] == trades
    assert len(kinds) == 13  # all but TIP, which must be named


def test_it_reads_positions_and_volumes(world: World, seen: Any) -> None:
    """Open and closed together are all that was ever held; sums and ranks are those of the books."""
    realized = {}
    for wallet in world.whales:
        read, books = seen["wallets"][wallet], world.books
        held = {each.token: each for each in books.holdings(wallet).values() if not each.condition.startswith("0x03")}
        assert {each["asset_id"] for each in read["positions"]} == set(held) and len(read["positions"]) == len(held)
        for each in read["positions"]:
            ours = held[each["asset_id"]]
            theirs = numbers(each, ["current_size", "entry_cost_usdc", "realized_pnl", "total_size"])
            assert theirs == [round(value, 6) for value in (ours.shares, ours.cost, ours.realized, ours.bought)]
        shares, usdc, trades = books.volume(wallet)
        assert numbers(read["volume"], ["volume", "volume_usdc", "trade_count"]) == [shares, round(usdc, 6), trades]
        value = sum((Decimal(each["current_value"]) for each in read["positions"]), Decimal(0))
        assert abs(Decimal(read["value"]["value"]) - value) < Decimal("0.001")
        assert read["stats"]["all_time_pnl"]["trade_count"] <= trades
        realized[wallet] = sum(each.realized for each in books.holdings(wallet).values())
        assert abs(Decimal(read["standing"]["pnl"]) - realized[wallet]) < Decimal("0.000001")
    ranked = sorted(realized, key=lambda wallet: -realized[wallet])
    assert [each["wallet"] for each in seen["leaderboard"]] == ranked
    assert [seen["wallets"][wallet]["standing"]["pnl_rank"] for wallet in ranked] == [1, 2, 3, 4, 5]


def test_it_reads_markets_events_and_tokens(world: World, seen: Any) -> None:
    """Both versions, open and closed, with labels, tokens, prices and results; each market is in one event."""
    ours = {market.record["id"]: market for market in world.books.markets()}
    assert {market["id"] for market in seen["markets"]} == set(ours) and len(seen["markets"]) == len(ours)
    for read in seen["markets"]:
        market = ours[read["id"]]
        sides = [read["outcomes"]["yes"], read["outcomes"]["no"]]
        token = "token_id" if read["version"] == "v1" else "position_id"
        assert [side["label"] for side in sides] == market.outcomes
        assert [side[token] for side in sides] == market.tokens
        assert [float(side["price"]) for side in sides] == world.books.prices(market)
        assert (read["condition_id"], read["state"]["closed"]) == (
            market.record["conditionId"],
            market.closed_at <= NOW,
        )
        assert read["tags"][0]["label"] == market.record["tags"][0]["label"]
    assert {market["version"] for market in seen["markets"]} == {"v1", "v2"}
    in_events = [market["id"] for event in seen["events"] for market in event["markets"]]
    assert sorted(in_events) == sorted(ours)
    for token in seen["tokens"]:
        found = world.books.of_token(token["asset_id"])
        assert found is not None
        market, index = found
        assert (token["outcome_index"], token["outcome"]) == (index, market.outcomes[index])
        assert (token["condition_id"], token["resolved"]) == (market.record["conditionId"], market.closed_at <= NOW)
