"""``whales discover``: the leaderboard of the exchange's site."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whalesync.errors import ExchangeChanged, NotServed
from whalesync.exchanges.base import Candidate
from whalesync.exchanges.opinion_trade.leaderboard import read
from whalesync.exchanges.polymarket import DATA_URL, GAMMA_URL, POLYMARKET
from whalesync.sandbox import Books, Handler, Request, Sandbox, make_trade
from whalesync.sandbox.polymarket import Polymarket, build_world
from whalesync.sandbox.server import Fault
from whalesync.settings import Settings

ONE, TWO = "0x" + "A1" * 20, "0x" + "b2" * 20
DAY = 86_400


@pytest.fixture
def site() -> Iterator[Sandbox]:
    """Two wallets: one has made more lately, the other has traded more."""
    books = Books()
    now = int(time.time())
    for wallet, amount, profit, age in ((ONE, "100", "30", 3600), (TWO, "500", "5", 3600), (TWO, "9", "400", 20 * DAY)):
        books.add_trade(wallet, make_trade(side="Sell", amount=amount, profit=profit, createdAt=now - age))
    with Sandbox(books) as sandbox:
        yield sandbox


def ask(site: Sandbox, by: str = "profit", period: str = "week", limit: int = 20) -> list[Candidate]:
    return read(site.web_url, by=by, period=period, limit=limit, log_step=lambda _: None, patience=3.0)


def test_wallets_are_ranked_by_profit_or_volume_over_a_period(site: Sandbox) -> None:
    """Addresses are in lower case, as everywhere."""
    assert [(each.rank, each.address, each.usd) for each in ask(site)] == [(1, ONE.lower(), 30.0), (2, TWO, 5.0)]
    assert [each.usd for each in ask(site, by="volume")] == [500.0, 100.0]
    assert [each.usd for each in ask(site, period="all")] == [405.0, 30.0]
    assert [each.rank for each in ask(site, limit=1)] == [1]


def test_no_key_is_sent_to_the_site(site: Sandbox) -> None:
    """Nothing is asked but the leaderboard."""
    ask(site)
    assert [(request.path, request.key) for request in site.requests] == [("/leaderboard", None)]


def replying(status: int, body: bytes) -> Fault:
    def fault(request: Request, handler: Handler) -> bool:
        handler.send(status, body)
        return True

    return fault


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"not found"),
        (401, b'{"errno": 401, "errmsg": "login"}'),
        (200, b"<html>"),
        (200, b'{"errno": 0, "result": {"rows": []}}'),
        (200, b'{"errno": 0, "result": {"list": [{"wallet": "0x12"}]}}'),
        (200, b'{"errno": 0, "result": {"list": [{"walletAddress": "0x' + b"a" * 40 + b'", "rankingValue": []}]}}'),
        (200, b'{"errno": 10000, "errmsg": "bad parameter"}'),
    ],
)
def test_a_site_that_has_changed_is_said_to_have_changed(site: Sandbox, status: int, body: bytes) -> None:
    """It is not documented: the message says so, and how to find wallets without it."""
    site.fault = replying(status, body)
    with pytest.raises(ExchangeChanged, match=r"which is not documented, has changed .*'whalesync whales add'"):
        ask(site)


def test_a_geoblock_is_not_called_a_change(site: Sandbox) -> None:
    """The site serves as few countries as the API."""
    site.fault = replying(403, b'{"errno": 10403, "errmsg": "geo"}')
    with pytest.raises(NotServed):
        ask(site)


def test_values_may_be_missing(site: Sandbox) -> None:
    """An empty figure is not known, not 0; neither is a name."""
    rows = [{"walletAddress": ONE, "userName": "", "rankingValue": ""}]
    site.fault = replying(200, json.dumps({"errno": 0, "result": {"list": rows}}).encode())
    assert ask(site) == [Candidate(1, ONE.lower(), None, None)]


def test_polymarket_is_asked_before_there_is_a_database(tmp_path: Path) -> None:
    """On a new host there is not even the folder in which the rates are kept beside it."""
    world = build_world(1, whales=2, days=2)
    with Sandbox(Books(), Polymarket(world.books)) as sandbox:
        values = {DATA_URL.name: sandbox.polymarket_data_url, GAMMA_URL.name: sandbox.polymarket_gamma_url}
        settings = Settings(tmp_path / "data" / "whalesync.db", values=values)
        found = POLYMARKET.discover(settings, by="profit", period="month", limit=9, log_step=lambda _: None)
    assert {each.address for each in found} == set(world.whales)
