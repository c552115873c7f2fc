"""Clients that others wrote for the real exchange parse the sandbox's responses without an error."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.foreign import install, run

from whalesync.sandbox import Books, Sandbox, build_world

KEY = "sandbox-key"
NOW = 1_760_000_000.0

OFFICIAL = """
import json, sys
import opinion_api
from opinion_api.api.prediction_market_api import PredictionMarketApi
from opinion_api.models.openapi_positions_get200_response import OpenapiPositionsGet200Response

url, key, token, topic, child, *positions = sys.argv[1:]
api = PredictionMarketApi(opinion_api.ApiClient(opinion_api.Configuration(host=url)))
markets, page = [], 1
while True:
    answer = api.openapi_market_get(apikey=key, page=page, limit=20, market_type=2)
    assert answer.errno == 0, answer
    markets += [market.to_dict() for market in answer.result.list]
    page += 1
    if len(markets) >= answer.result.total:
        break
series = api.openapi_market_get(apikey=key, limit=20, market_type=2, collection_type=1, status="activated")
details = [
    api.openapi_market_categorical_market_id_get(apikey=key, market_id=int(topic)).result.data.to_dict(),
    api.openapi_market_market_id_get(apikey=key, market_id=int(child)).result.data.to_dict(),
]
price = api.openapi_token_latest_price_get(apikey=key, token_id=token)
assert price.errno == 0, price
# This client asks for the positions of its own key alone, so a wallet's are read with the model of these.
rows = [OpenapiPositionsGet200Response.from_json(page).result for page in positions]
print(json.dumps({
    "markets": markets,
    "series": [market.market_id for market in series.result.list],
    "details": details,
    "price": price.result.to_dict(),
    "positions": [row.to_dict() for page in rows for row in page.list],
}))
"""

CCXT = """
import asyncio, json, sys
from ccxt.prediction import opinion

async def main(url, key, *wallets):
    exchange = opinion({"apiKey": key})
    exchange.urls["api"]["opinion"] = url
    trades, positions = {}, {}
    try:
        markets = await exchange.fetch_markets()
        for wallet in wallets:
            exchange.walletAddress = wallet
            trades[wallet] = [
                [t["id"], t["timestamp"], t["side"], t["price"], t["amount"], t["cost"], t["outcomeId"]]
                for t in await exchange.fetch_my_trades(params={"limit": 20})
            ]
            positions[wallet] = [
                [p["info"]["tokenId"], p["side"], p["contracts"], p["entryPrice"], p["unrealizedPnl"]]
                for p in await exchange.fetch_positions(params={"limit": 20})
            ]
    finally:
        await exchange.close()
    shown = [[m["id"], m["active"], m["resolved"], [o["outcomeId"] for o in m["outcomes"]]] for m in markets]
    print(json.dumps({"markets": shown, "trades": trades, "positions": positions}))

asyncio.run(main(*sys.argv[1:]))
"""

# Slow: installs the foreign packages, some 60 MB, from PyPI.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def foreign_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of its own with the foreign clients."""
    return install(tmp_path_factory.mktemp("foreign"), "opinion-api==0.4.0", "ccxt==4.5.90")


def in_default_list(books: Books) -> list[dict[str, Any]]:
    """The markets that a client sees without asking for a collection type: of a series the current one."""
    markets = books.markets()
    return [
        market
        for market in markets
        if "collection" not in market or market["collection"]["current"]["marketId"] == market["marketId"]
    ]


def as_listed(market: dict[str, Any]) -> dict[str, Any]:
    """A topic counts twice, has no question id, and is activated if a child of it is."""
    if market["marketType"] == 0:
        return market
    activated = {"status": 2, "statusEnum": "Activated"}
    traded = any(child["status"] == 2 for child in market["childMarkets"])
    volume = f"{2 * Decimal(market['volume']):.18f}"
    return market | {"volume": volume, "questionId": ""} | (activated if traded else {})


def test_the_official_client_reads_every_market_and_a_price(foreign_python: Path) -> None:
    """Lists, details, a price and positions, with the client's strict models."""
    books, whales = build_world(7, clock=lambda: NOW)
    token = books.market(books.trades(whales[0])[0]["marketId"])["yesTokenId"]
    topic = next(market for market in books.markets() if market["marketType"] == 1)
    child = books.market(topic["childMarkets"][0]["marketId"])
    numbers = (str(market["marketId"]) for market in (topic, child))
    with Sandbox(books, key=KEY, rate=None) as sandbox:
        pages = (sandbox.wrap(books.answer(f"/positions/user/{whale}", {"limit": 20})).decode() for whale in whales)
        # This client's paths begin with /openapi themselves.
        url = sandbox.url.removesuffix("/openapi")
        seen = run(foreign_python, OFFICIAL, url, KEY, token, *numbers, *pages)
    for ours, theirs in zip(map(as_listed, in_default_list(books)), seen["markets"], strict=True):
        # `isIncentivized` is the client's own invention, from a field the exchange need not send.
        fields = theirs.keys() - {"isIncentivized", "childMarkets"}
        assert {name: theirs[name] for name in fields} == {name: ours[name] for name in fields}
        assert {"marketId", "marketTitle", "status", "volume", "cutoffAt", "yesTokenId"} <= fields
        children = [child["yesTokenId"] for child in ours["childMarkets"] or ()]
        assert [child["yesTokenId"] for child in theirs.get("childMarkets") or ()] == children
    assert len(seen["series"]) == 2 and set(seen["series"]) < {market["marketId"] for market in books.markets()}
    for ours, theirs in zip((topic, child), seen["details"], strict=True):
        assert [theirs[name] for name in ("marketId", "status", "volume", "questionId", "conditionId")] == [
            ours[name] for name in ("marketId", "status", "volume", "questionId", "conditionId")
        ]
    assert seen["price"]["tokenId"] == token
    assert 0 < float(seen["price"]["price"]) < 1
    assert isinstance(seen["price"]["timestamp"], int)
    assert seen["positions"] == [row for whale in whales for row in books.positions(whale)[:20]]


def test_ccxt_reads_every_market_and_the_last_trades(foreign_python: Path) -> None:
    """Also the largest positions; ccxt looks each trade's market up by itself, within the rate."""
    books, whales = build_world(7, clock=lambda: NOW)
    with Sandbox(books, key=KEY) as sandbox:
        seen = run(foreign_python, CCXT, sandbox.url, KEY, *whales)
        assert {request.status for request in sandbox.requests} == {200}
    tradable = [each for market in in_default_list(books) for each in market["childMarkets"] or (market,)]
    assert seen["markets"] == [
        [
            str(market["marketId"]),
            market["statusEnum"] == "Activated",
            market["statusEnum"] == "Resolved",
            [market["yesTokenId"], market["noTokenId"]],
        ]
        for market in tradable
    ]
    for wallet in whales:
        expected = [as_ccxt_shows(books, trade) for trade in books.trades(wallet)[:20]]
        assert sorted(seen["trades"][wallet]) == sorted(expected)
        money = ("sharesOwned", "avgEntryPrice", "unrealizedPnl")
        assert seen["positions"][wallet] == [
            [row["tokenId"], row["outcomeSideEnum"].lower(), *(float(row[name]) for name in money)]
            for row in books.positions(wallet)[:20]
        ]


def as_ccxt_shows(books: Books, trade: dict[str, Any]) -> list[Any]:
    """The time in milliseconds, numbers as floats, and the token looked up in the market."""
    market = books.market(trade["marketId"])
    return [
        trade["txHash"],
        trade["createdAt"] * 1000,
        trade["side"].lower(),
        float(trade["price"]),
        float(trade["shares"]),
        float(trade["amount"]),
        market["yesTokenId" if trade["outcomeSide"] == 1 else "noTokenId"],
    ]
