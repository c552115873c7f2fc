"""Clients that others wrote for the real exchange parse the sandbox's responses without an error."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from whalesync.sandbox import Books, Sandbox, build_world

KEY = "sandbox-key"
NOW = 1_760_000_000.0

OFFICIAL = """
import json, sys
import opinion_api
from opinion_api.api.prediction_market_api import PredictionMarketApi

url, key, token = sys.argv[1:]
api = PredictionMarketApi(opinion_api.ApiClient(opinion_api.Configuration(host=url)))
markets, page = [], 1
while True:
    answer = api.openapi_market_get(apikey=key, page=page, limit=20, market_type=2)
    assert answer.errno == 0, answer
    markets += [market.to_dict() for market in answer.result.list]
    page += 1
    if len(markets) >= answer.result.total:
        break
price = api.openapi_token_latest_price_get(apikey=key, token_id=token)
assert price.errno == 0, price
print(json.dumps({"markets": markets, "price": price.result.to_dict()}))
"""

CCXT = """
import asyncio, json, sys
from ccxt.prediction import opinion

async def main(url, key, *wallets):
    exchange = opinion({"apiKey": key})
    exchange.urls["api"]["opinion"] = url
    trades = {}
    try:
        markets = await exchange.fetch_markets()
        for wallet in wallets:
            exchange.walletAddress = wallet
            trades[wallet] = [
                [t["id"], t["timestamp"], t["side"], t["price"], t["amount"], t["cost"], t["outcomeId"]]
                for t in await exchange.fetch_my_trades(params={"limit": 20})
            ]
    finally:
        await exchange.close()
    shown = [[m["id"], m["active"], m["resolved"], [o["outcomeId"] for o in m["outcomes"]]] for m in markets]
    print(json.dumps({"markets": shown, "trades": trades}))

asyncio.run(main(*sys.argv[1:]))
"""

# Slow: installs the foreign packages, some 60 MB, from PyPI.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def foreign_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of its own with the foreign clients, so that their dependencies do not mix with ours."""
    folder = tmp_path_factory.mktemp("foreign")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = ["opinion-api==0.4.0", "ccxt==4.5.90"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def run(python: Path, script: str, *arguments: str) -> Any:
    """What the script prints as JSON; its traceback is shown if it fails."""
    command = [str(python), "-c", script, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=sys.stderr, timeout=120, check=True)
    return json.loads(done.stdout)


def test_the_official_client_reads_every_market_and_a_price(foreign_python: Path) -> None:
    """`openapi_market_get` and `openapi_token_latest_price_get`, with the client's strict models."""
    books, whales = build_world(7, clock=lambda: NOW)
    token = books.market(books.trades(whales[0])[0]["marketId"])["yesTokenId"]
    with Sandbox(books, key=KEY, rate=None) as sandbox:
        # This client's paths begin with /openapi themselves.
        seen = run(foreign_python, OFFICIAL, sandbox.url.removesuffix("/openapi"), KEY, token)
    for ours, theirs in zip(books.markets(), seen["markets"], strict=True):
        # `isIncentivized` is the client's own invention, from a field the exchange need not send.
        fields = theirs.keys() - {"isIncentivized", "childMarkets"}
        assert {name: theirs[name] for name in fields} == {name: ours[name] for name in fields}
        assert {"marketId", "marketTitle", "status", "volume", "cutoffAt", "yesTokenId"} <= fields
        children = [child["yesTokenId"] for child in ours["childMarkets"] or ()]
        assert [child["yesTokenId"] for child in theirs.get("childMarkets") or ()] == children
    assert seen["price"]["tokenId"] == token
    assert 0 < float(seen["price"]["price"]) < 1
    assert isinstance(seen["price"]["timestamp"], int)


def test_ccxt_reads_every_market_and_the_last_trades(foreign_python: Path) -> None:
    """`fetch_markets` and `fetch_my_trades`; ccxt looks each trade's market up by itself, within the rate."""
    books, whales = build_world(7, clock=lambda: NOW)
    with Sandbox(books, key=KEY) as sandbox:
        seen = run(foreign_python, CCXT, sandbox.url, KEY, *whales)
        assert {request.status for request in sandbox.requests} == {200}
    tradable = [each for market in books.markets() for each in market["childMarkets"] or (market,)]
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
