"""The seam for exchanges: a second one is one module and one entry in the registry; nothing else knows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.second_exchange import SecondExchange, Server

from whalesync.errors import ExchangeError, JobFailed, SettingsError
from whalesync.exchanges import EXCHANGES
from whalesync.jobs import sync_markets, sync_whales
from whalesync.jobs.run import Run, run_job
from whalesync.jobs.table import SYNC_MARKETS, SYNC_WHALES, Job
from whalesync.sandbox import Books, Sandbox, make_market, make_trade
from whalesync.settings import Settings
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

ADDRESS = "0x" + 40 * "b"  # on both exchanges
KEY = "key-of-the-tests"


class World:
    """A file with one wallet on each of two exchanges, and the exchanges."""

    def __init__(self, folder: Path, sandbox: Sandbox, second: Server) -> None:
        self.db = folder / "whalesync.db"
        self.sandbox = sandbox
        self.second = second
        self.values = {
            "OPINION_TRADE_API_KEY": KEY,
            "WHALESYNC_API_URL": sandbox.url,
            "WHALESYNC_RATE_LIMIT": "1000",
            "SECOND_RATE_LIMIT": "500",
        }
        with open_database(self.db) as db:
            whales.add(db, [WatchEntry(ADDRESS), WatchEntry(ADDRESS, platform="second")], 1)

    def run(self, job: Job, work: Callable[[Run], None]) -> Run:
        with run_job(job, Settings(self.db, values=self.values)) as run:
            work(run)
        return run

    def sync_whales(self) -> Run:
        return self.run(SYNC_WHALES, sync_whales.run)

    def sync_markets(self) -> Run:
        return self.run(SYNC_MARKETS, sync_markets.run)

    def stored(self, platform: str) -> Counter[str]:
        """The transactions that are stored of an exchange."""
        with open_database(self.db) as db:
            rows = db.rows("SELECT tx_hash FROM whale_activity WHERE platform = ?", (platform,))
            return Counter(tx_hash for (tx_hash,) in rows)

    def listed(self, platform: str) -> Counter[str]:
        """The transactions that an exchange lists."""
        if platform == "second":
            return Counter(fill["hash"] for fill in self.second.fills[ADDRESS])
        return Counter(trade["txHash"] for trade in self.sandbox.books.trades(ADDRESS))

    def is_exact(self, platform: str) -> bool:
        return self.stored(platform) == self.listed(platform)


@pytest.fixture
def world(tmp_path: Path, books: Books, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """30 trades on the first exchange, 10 on the second, both with clocks that stand still."""
    now = int(books.clock())
    books.add_market(make_market(1))
    second = Server()
    second.markets = [{"condition": "0xc0", "question": "Rain?"}]
    for number in range(30):
        books.add_trade(ADDRESS, make_trade(txHash=f"0x{number}", createdAt=now - number * 60))
    for number in range(10):
        second.add_fill(ADDRESS, now - number * 60)
    monkeypatch.setitem(EXCHANGES, "second", SecondExchange(second))
    with Sandbox(books, key=KEY, rate=None) as sandbox:
        yield World(tmp_path, sandbox, second)


def test_both_exchanges_are_served_in_one_run(world: World) -> None:
    """History, new trades and a late one of either are stored once; an idle wallet costs one request."""
    assert world.sync_markets().items == 2
    world.sync_whales()
    assert world.is_exact("opinion_trade") and world.is_exact("second")
    now = int(world.sandbox.books.clock())
    world.second.add_fill(ADDRESS, now + 1)
    world.sandbox.books.add_trade(ADDRESS, make_trade(txHash="0xnew", createdAt=now - 5))
    assert world.sync_whales().items == 2
    assert world.is_exact("opinion_trade") and world.is_exact("second")
    before = len(world.second.requests)
    assert world.sync_whales().items == 0
    assert len(world.second.requests) - before == 1


def test_what_only_the_second_exchange_knows_is_stored(world: World) -> None:
    """Its label and token, and its market with a topic's place left empty; no key was sent."""
    world.sync_whales()
    world.sync_markets()
    with open_database(world.db) as db:
        row = db.one(
            "SELECT DISTINCT a.outcome, a.outcome_label, a.token_id, m.platform, m.external_id, m.category"
            " FROM whale_activity AS a JOIN markets AS m ON m.id = a.market_id WHERE a.platform = 'second'"
        )
    assert row is not None and tuple(row) == (None, "Rain", "77", "second", "0xc0", "weather")
    assert all("apikey" not in request.headers for request in world.second.requests)


def test_each_exchange_has_a_rate_of_its_own(world: World) -> None:
    """In a file of its own."""
    world.sync_whales()
    assert {path.name for path in world.db.parent.glob("*.rate")} == {
        "whalesync.db.rate",
        "whalesync.db.second.rate",
    }


@pytest.mark.parametrize("job", ["sync_whales", "sync_markets"])
def test_the_second_exchange_being_down_does_not_touch_the_first(job: str, world: World) -> None:
    """The first's part is stored, the run fails with the second's error; later all is made up for."""
    world.second.is_down = True
    with pytest.raises((ExchangeError, JobFailed), match="Second is down"):
        getattr(world, job)()
    with open_database(world.db) as db:
        assert db.value("SELECT count(*) FROM markets WHERE platform = 'opinion_trade'") == 1
    assert world.stored("second") == Counter()
    if job == "sync_whales":
        assert world.is_exact("opinion_trade")
    world.second.is_down = False
    getattr(world, job)()
    assert job == "sync_markets" or world.is_exact("second")


@pytest.mark.parametrize("job", ["sync_whales", "sync_markets"])
def test_a_missing_key_of_the_first_exchange_does_not_touch_the_second(job: str, world: World) -> None:
    """The second's part is stored; the exit code says that a setting is wrong."""
    del world.values["OPINION_TRADE_API_KEY"]
    with pytest.raises(SettingsError, match="OPINION_TRADE_API_KEY is not set") as caught:
        getattr(world, job)()
    assert caught.value.exit_code == 2
    with open_database(world.db) as db:
        assert db.value("SELECT count(*) FROM markets WHERE platform = 'second'") == 1
    assert job == "sync_markets" or world.is_exact("second")


def test_an_exchange_without_wallets_is_not_asked(world: World) -> None:
    """Unless it is the default one."""
    with open_database(world.db) as db:
        whales.remove(db, "second", ADDRESS, 2)
    world.sync_markets()
    world.sync_whales()
    assert world.second.requests == []
