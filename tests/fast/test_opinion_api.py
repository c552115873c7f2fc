"""Opinion.Trade's endpoints over HTTP, with the stand-in exchange on the other side, and its settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whalesync.errors import AuthenticationError, RequestRefused, SettingsError
from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.base import Connection
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.exchanges.opinion_trade.api import Api
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


def settings(folder: Path, url: str, **values: str) -> Settings:
    return Settings(
        db=folder / "whalesync.db", values={"WHALESYNC_API_URL": url, "OPINION_TRADE_API_KEY": KEY, **values}
    )


@pytest.fixture
def api(tmp_path: Path, sandbox: Sandbox) -> Iterator[Api]:
    with OPINION_TRADE.connect(
        settings(tmp_path, sandbox.url, WHALESYNC_RATE_LIMIT="10000"),
        first_backoff=0.01,
        until=time.monotonic() + 30,
        log_step=lambda _: None,
    ) as connection:
        yield connection


def test_it_is_registered_as_the_seam_describes() -> None:
    """The registry has it under its own name, and it is what an Exchange and a Connection must be."""
    assert EXCHANGES["opinion_trade"] is OPINION_TRADE
    assert OPINION_TRADE.title == "Opinion.Trade"
    assert [setting.name for setting in OPINION_TRADE.settings] == [
        "OPINION_TRADE_API_KEY", "WHALESYNC_API_URL", "WHALESYNC_RATE_LIMIT",
    ]  # fmt: skip


def test_pages_of_trades_have_the_size_that_was_requested(api: Api, sandbox: Sandbox) -> None:
    """Newest first; the path has the wallet, the query the page."""
    page = api.fetch_trades(WALLET, PageRequest(limit=3, number=2))
    assert page.total == 7
    assert [each.tx_hash for each in page.entries if isinstance(each, Trade)] == ["0x4", "0x3", "0x2"]
    assert sandbox.requests[-1].path == f"/trade/user/{WALLET}"
    assert sandbox.requests[-1].query == {"page": "2", "limit": "3"}


def test_markets_are_listed_of_every_type_and_newest_first(api: Api, sandbox: Sandbox) -> None:
    """So that the pages that were read stay as they are."""
    page = api.fetch_markets(2)
    assert (page.total, page.length, len(page.records)) == (23, 3, 3)
    assert sandbox.requests[-1].query == {"page": "2", "limit": "20", "marketType": "2", "sortBy": "1"}


def test_price_and_liquidity_of_a_token(api: Api, sandbox: Sandbox) -> None:
    """One request each; a token that is unknown is refused, not taken for one without a price."""
    token = sandbox.books.market(1)["yesTokenId"]
    sandbox.books.set_price(token, "0.65")
    sandbox.books.set_book(token, [("0.6", "100")], [("0.7", "50"), ("0.8", "10")])
    assert api.fetch_price(token) == 0.65
    assert api.fetch_liquidity(token) == pytest.approx(60 + 35 + 8)
    with pytest.raises(RequestRefused):
        api.fetch_liquidity("999")


def test_the_exchange_s_clock_comes_with_its_responses(api: Connection) -> None:
    """It costs no request of its own."""
    assert api.exchange_time() is None
    api.check()
    now = api.exchange_time()
    assert now is not None and abs(now - time.time() * 1000) < 5_000


def test_a_check_is_one_request_that_needs_the_key(api: Api, sandbox: Sandbox) -> None:
    """A rejected key raises AuthenticationError, which says what to check."""
    api.check()
    assert len(sandbox.requests) == 1 and sandbox.requests[0].path.startswith("/trade/user/0x0000")
    sandbox.key = "another"
    with pytest.raises(
        AuthenticationError, match=r"rejected the API key \(.*11002.*\)\. Check OPINION_TRADE_API_KEY"
    ):
        api.check()


def test_a_missing_key_is_said_with_the_file_to_put_it_in(tmp_path: Path) -> None:
    """Before anything is sent."""
    wanting = Settings(db=tmp_path / "db", env_file=tmp_path / "env", values={"OPINION_TRADE_API_KEY": "  "})
    with pytest.raises(SettingsError, match=r"OPINION_TRADE_API_KEY is not set\. Put .* into .*env or"):
        OPINION_TRADE.check_settings(wanting)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OPINION_TRADE_API_KEY", "k\u00e9y", "has characters that no key has"),
        ("WHALESYNC_API_URL", "http://example.com/openapi", "https"),
        ("WHALESYNC_API_URL", "https://user:pw@example.com", "plain address"),
        ("WHALESYNC_RATE_LIMIT", "0", "whole number"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, message: str, tmp_path: Path) -> None:
    """With what it must be; the key itself is not quoted."""
    with pytest.raises(SettingsError, match=f"{name}.*{message}") as caught:
        OPINION_TRADE.check_settings(settings(tmp_path, "https://example.com", **{name: value}))
    assert "\u00e9" not in str(caught.value)


def test_old_and_new_processes_share_the_rate_file(tmp_path: Path, sandbox: Sandbox, api: Api) -> None:
    """It is named after the database file, and found through a link to it too."""
    api.check()
    assert (tmp_path / "whalesync.db.rate").stat().st_size == 8
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "link.db").symlink_to(tmp_path / "whalesync.db")
    through = Settings(db=linked / "link.db", values=settings(tmp_path, sandbox.url).values)
    with OPINION_TRADE.connect(
        through, first_backoff=0.01, until=time.monotonic() + 30, log_step=lambda _: None
    ):
        assert sorted(path.name for path in linked.iterdir()) == ["link.db"]
