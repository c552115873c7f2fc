"""Opinion.Trade's endpoints over HTTP, with the stand-in exchange on the other side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from whalesync.errors import AuthenticationError
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.exchanges.opinion_trade.api import Api
from whalesync.exchanges.opinion_trade.lists import ListQuery
from whalesync.exchanges.opinion_trade.pages import PageRequest
from whalesync.records import Trade
from whalesync.sandbox import Books, Sandbox, make_market, make_trade
from whalesync.settings import Settings

KEY = "key-of-the-tests"
WALLET = "0x" + 40 * "a"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    books = Books()
    for number in range(1, 24):
        books.add_market(make_market(number))
    for number in range(1, 8):
        books.add_trade(WALLET, make_trade(txHash=f"0x{number}", createdAt=1_760_000_000 + number))
    with Sandbox(books, key=KEY, rate=None) as running:
        yield running


def connect(db: Path, sandbox: Sandbox) -> AbstractContextManager[Api]:
    values = {"WHALESYNC_API_URL": sandbox.url, "OPINION_TRADE_API_KEY": KEY, "WHALESYNC_RATE_LIMIT": "10000"}
    until = time.monotonic() + 30
    return OPINION_TRADE.connect(
        Settings(db=db, values=values), first_backoff=0.01, until=until, log_step=lambda _: None
    )


@pytest.fixture
def api(tmp_path: Path, sandbox: Sandbox) -> Iterator[Api]:
    with connect(tmp_path / "whalesync.db", sandbox) as connection:
        yield connection


def test_pages_of_trades_have_the_size_that_was_requested(api: Api, sandbox: Sandbox) -> None:
    """Newest first; the path has the wallet, the query the page."""
    page = api.fetch_trades(WALLET, PageRequest(limit=3, number=2))
    assert page.total == 7
    assert [each.tx_hash for each in page.entries if isinstance(each, Trade)] == ["0x4", "0x3", "0x2"]
    assert sandbox.requests[-1].path == f"/trade/user/{WALLET}"
    assert sandbox.requests[-1].query == {"page": "2", "limit": "3"}


def test_markets_are_listed_of_every_type_and_newest_first(api: Api, sandbox: Sandbox) -> None:
    """So that the pages that were read stay as they are."""
    page = api.fetch_markets(ListQuery(None), 2)
    assert (page.total, page.length, len(page.records)) == (23, 3, 3)
    assert sandbox.requests[-1].query == {"page": "2", "limit": "20", "marketType": "2", "sortBy": "1"}
    assert api.fetch_markets(ListQuery(1, only_open=True), 1).total == 0
    assert sandbox.requests[-1].query.items() >= {"collectionType": "1", "status": "activated"}.items()


def test_a_check_is_one_request_that_needs_the_key(api: Api, sandbox: Sandbox) -> None:
    """It brings the exchange's clock along; a rejected key raises AuthenticationError, which says what to check."""
    assert api.exchange_time() is None
    api.check()
    now = api.exchange_time()
    assert now is not None and abs(now - time.time() * 1000) < 5_000
    assert len(sandbox.requests) == 1 and sandbox.requests[0].path.startswith("/trade/user/0x0000")
    sandbox.key = "another"
    with pytest.raises(AuthenticationError, match=r"rejected the API key \(.*11002.*\)\. Check OPINION_TRADE_API_KEY"):
        api.check()


def test_old_and_new_processes_share_the_rate_file(tmp_path: Path, sandbox: Sandbox, api: Api) -> None:
    """It is named after the database file, and found through a link to it too."""
    api.check()
    assert (tmp_path / "whalesync.db.rate").stat().st_size == 8
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "link.db").symlink_to(tmp_path / "whalesync.db")
    with connect(linked / "link.db", sandbox):
        assert sorted(path.name for path in linked.iterdir()) == ["link.db"]
