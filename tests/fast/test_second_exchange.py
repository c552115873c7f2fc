"""The seam for exchanges: a second one is one module and one entry in the registry; nothing else knows of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.second_exchange import SecondExchange, Server

from whalesync.cli.main import run
from whalesync.errors import ExchangeError, JobFailed, SettingsError
from whalesync.exchanges import EXCHANGES
from whalesync.jobs import verify
from whalesync.jobs.dispatch import perform
from whalesync.jobs.run import Run, run_job
from whalesync.jobs.table import SYNC_MARKETS, SYNC_WHALES, VERIFY, Job
from whalesync.jobs.verify import chosen
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

    def run(self, job: Job) -> Run:
        return perform(job, Settings(self.db, values=self.values))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with open_database(self.db) as db:
            return [tuple(row) for row in db.rows(sql)]

    def stored(self) -> dict[str, Counter[str]]:
        """The transactions that are stored, by exchange."""
        stored: dict[str, Counter[str]] = {"opinion_trade": Counter(), "second": Counter()}
        for platform, tx_hash in self.query("SELECT platform, tx_hash FROM whale_activity"):
            stored[platform][tx_hash] += 1
        return stored

    def listed(self) -> dict[str, Counter[str]]:
        """The transactions that the exchanges list."""
        first = Counter(trade["txHash"] for trade in self.sandbox.books.trades(ADDRESS))
        return {"opinion_trade": first, "second": Counter(f["hash"] for f in self.second.fills[ADDRESS])}

    def market_platforms(self) -> set[str]:
        """The exchanges of which there are markets."""
        return {platform for (platform,) in self.query("SELECT platform FROM markets")}


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
    assert world.run(SYNC_MARKETS).items == 2
    world.run(SYNC_WHALES)
    assert world.stored() == world.listed()
    now = int(world.sandbox.books.clock())
    world.second.add_fill(ADDRESS, now + 1)
    world.sandbox.books.add_trade(ADDRESS, make_trade(txHash="0xnew", createdAt=now - 5))
    assert world.run(SYNC_WHALES).items == 2
    assert world.stored() == world.listed()
    before = len(world.second.requests)
    assert world.run(SYNC_WHALES).items == 0
    assert len(world.second.requests) - before == 1


def test_what_only_the_second_exchange_knows_is_stored(world: World) -> None:
    """Its label and token, and its market; it has a rate file of its own, and was not sent the first's key."""
    world.run(SYNC_WHALES)
    world.run(SYNC_MARKETS)
    rows = world.query(
        "SELECT DISTINCT a.outcome, a.outcome_label, a.token_id, m.platform, m.external_id, m.category"
        " FROM whale_activity AS a JOIN markets AS m ON m.id = a.market_id WHERE a.platform = 'second'"
    )
    assert rows == [(None, "Rain", "77", "second", "0xc0", "weather")]
    assert all("apikey" not in request.headers for request in world.second.requests)
    rates = {path.name for path in world.db.parent.glob("*.rate")}
    assert rates == {"whalesync.db.rate", "whalesync.db.second.rate"}


@pytest.mark.parametrize("job", [SYNC_WHALES, SYNC_MARKETS], ids=lambda job: job.command)
def test_the_second_exchange_being_down_does_not_touch_the_first(job: Job, world: World) -> None:
    """The first's part is stored, the run fails with the second's error; later all is made up for."""
    world.second.is_down = True
    with pytest.raises((ExchangeError, JobFailed), match="Second is down"):
        world.run(job)
    assert world.market_platforms() == {"opinion_trade"}
    assert job is SYNC_MARKETS or world.stored() == world.listed() | {"second": Counter()}
    world.second.is_down = False
    world.run(job)
    assert job is SYNC_MARKETS or world.stored() == world.listed()


@pytest.mark.parametrize("job", [SYNC_WHALES, SYNC_MARKETS], ids=lambda job: job.command)
def test_a_missing_key_of_the_first_exchange_does_not_touch_the_second(job: Job, world: World) -> None:
    """The second's part is stored; the exit code says that a setting is wrong."""
    del world.values["OPINION_TRADE_API_KEY"]
    with pytest.raises(SettingsError, match=r"OPINION_TRADE_API_KEY is not set\. Put .* into /.*env or") as caught:
        world.run(job)
    assert caught.value.exit_code == 2
    assert world.market_platforms() == {"second"}
    assert job is SYNC_MARKETS or world.stored() == world.listed() | {"opinion_trade": Counter()}


@pytest.mark.parametrize("failure", ["no key", "down"])
def test_verify_serves_one_exchange_where_the_other_cannot_be_asked(world: World, failure: str) -> None:
    """The other's wallet gets its verdict, and the run fails."""
    world.run(SYNC_WHALES)
    if failure == "no key":
        del world.values["OPINION_TRADE_API_KEY"]
    else:
        world.second.is_down = True
    with open_database(world.db) as db:
        verdicts = chosen(whales.tracked(db), whale_id=None, platform=None)

    def run_verify() -> None:
        with run_job(VERIFY, Settings(world.db, values=world.values)) as run:
            verify.run(run, verdicts, deep=False, repair=False)

    with pytest.raises((SettingsError, JobFailed)):
        run_verify()
    served = {"no key": "second", "down": "opinion_trade"}[failure]
    assert [each.whale.platform for each in verdicts if each.ok] == [served]


def test_verify_names_wallets_of_an_exchange_that_it_does_not_know(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Even if there are no others."""
    with open_database(world.db) as db:
        whales.remove(db, "opinion_trade", ADDRESS, 2)
    monkeypatch.delitem(EXCHANGES, "second")
    assert run(["verify", "--db", str(world.db), "--json"]) == 1
    (wallet,) = json.loads(capfd.readouterr().out)["wallets"]
    assert (wallet["platform"], wallet["faults"]) == ("second", ["this version does not know its exchange"])


def test_an_exchange_without_wallets_is_not_asked(world: World) -> None:
    """Unless it is the default one."""
    with open_database(world.db) as db:
        whales.remove(db, "second", ADDRESS, 2)
    world.run(SYNC_MARKETS)
    world.run(SYNC_WHALES)
    assert world.second.requests == []
