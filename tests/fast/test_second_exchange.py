"""The seam for exchanges: a second one is one module and one entry in the registry; nothing else knows of it."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.second_exchange import SecondExchange, Server

from whalesync.cli.main import run
from whalesync.errors import ExchangeError, JobFailed, SettingsError, StoreError
from whalesync.exchanges import EXCHANGES, http
from whalesync.jobs import verify
from whalesync.jobs.dispatch import perform
from whalesync.jobs.exchanges import clock_ahead, fact_of, time_heard
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import CLEANUP, SYNC_MARKETS, SYNC_POSITIONS, SYNC_WHALES, VERIFY, Job
from whalesync.jobs.verify import chosen
from whalesync.sandbox import Books, Sandbox, make_market, make_trade
from whalesync.settings import Settings
from whalesync.store import positions, whales
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

    def run(self, job: Job, *, ahead: int = 0) -> Run:
        """Run a job; the host's clock is ``ahead`` of that of the first exchange, which stands still, by seconds."""
        clock = Clock(now=lambda: int((self.sandbox.books.clock() + ahead) * 1000))
        return perform(job, Settings(self.db, values=self.values), clock=clock)

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
    second = Server(books.clock)
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


# How a run records how each exchange went


def outcomes(world: World, kind: str = "whales") -> list[dict[str, str | None] | None]:
    """How each exchange went, of each run of a job, oldest first."""
    rows = world.query(f"SELECT exchanges FROM sync_logs WHERE type = '{kind}' ORDER BY id")
    return [None if each is None else json.loads(each) for (each,) in rows]


JOBS_THAT_ASK = (SYNC_MARKETS, SYNC_WHALES, SYNC_POSITIONS)


@pytest.mark.parametrize("job", JOBS_THAT_ASK, ids=lambda job: job.command)
def test_a_run_records_how_each_exchange_went(job: Job, world: World) -> None:
    """None for the one that was served, the reason for the other; a missing key is one, too."""
    world.run(job)
    world.second.is_down = True
    with pytest.raises((ExchangeError, JobFailed)):
        world.run(job)
    world.second.is_down = False
    key = world.values.pop("OPINION_TRADE_API_KEY")
    with pytest.raises(SettingsError):
        world.run(job)
    world.values["OPINION_TRADE_API_KEY"] = key
    world.run(job)
    good, down, no_key, again = [each or {} for each in outcomes(world, job.type)]
    assert good == again == {"opinion_trade": None, "second": None}
    assert down["opinion_trade"] is None and (down["second"] or "").endswith("Second is down")
    assert no_key["second"] is None and (no_key["opinion_trade"] or "").startswith("OPINION_TRADE_API_KEY is not set")


def test_problems_of_an_address_on_both_exchanges_are_told_apart(world: World) -> None:
    """By the exchange, where the address alone does not tell."""
    world.second.is_down = True
    with pytest.raises(JobFailed, match=r"^0xbbbb…bbbb of Second: Second is down$"):
        world.run(SYNC_WHALES)
    with open_database(world.db) as db:
        whales.remove(db, "opinion_trade", ADDRESS, 2)
    with pytest.raises(JobFailed, match=r"^0xbbbb…bbbb: Second is down\b"):
        world.run(SYNC_WHALES)


@pytest.mark.parametrize("job", JOBS_THAT_ASK, ids=lambda job: job.command)
def test_both_failures_are_said_where_both_fail(job: Job, world: World) -> None:
    """The first in the line that cron mails, the other as its note; each once in the sync log. The exit code is 2."""
    world.second.is_down = True
    del world.values["OPINION_TRADE_API_KEY"]
    with pytest.raises(SettingsError) as caught:
        world.run(job)
    (note,) = caught.value.__notes__
    assert note.startswith("also: ") and note.endswith("Second is down")
    ((error,),) = world.query("SELECT error FROM sync_logs")
    assert error.count("Second is down") == error.count("OPINION_TRADE_API_KEY is not set") == 1


def test_what_ends_a_whole_run_is_recorded_for_every_exchange_that_did_not_fail_before(world: World) -> None:
    """Nothing is known to be done for it. Without an exchange that was asked, nothing is recorded."""
    exchanges = [EXCHANGES[name] for name in ("opinion_trade", "second")]

    def fail_whole(ask: bool) -> None:
        with run_job(SYNC_WHALES, Settings(world.db, values=world.values)) as run:
            if ask:
                assert all(run.can_ask(each) for each in exchanges)
                run.record_nothing_done(exchanges[1], JobFailed("Second is down"))
            raise StoreError("no space left")

    for ask in (True, False):
        with pytest.raises(StoreError):
            fail_whole(ask)
    assert outcomes(world) == [{"opinion_trade": "no space left", "second": "Second is down"}, None]


def test_the_mailed_streak_is_that_of_the_exchange_that_failed(world: World) -> None:
    """Two failures of the first, then one of the second: the latter is a first failure."""
    key = world.values.pop("OPINION_TRADE_API_KEY")
    notes = []
    for _ in range(2):
        with pytest.raises(SettingsError) as caught:
            world.run(SYNC_WHALES)
        notes.append(getattr(caught.value, "__notes__", []))
    world.values["OPINION_TRADE_API_KEY"] = key
    world.second.is_down = True
    for _ in range(2):
        with pytest.raises(JobFailed) as failed:
            world.run(SYNC_WHALES)
        notes.append(getattr(failed.value, "__notes__", []))
    assert [len(each) for each in notes] == [0, 1, 0, 1]
    assert notes[1][0].startswith("failed 2 times in a row") and notes[3][0].startswith("failed 2 times in a row")


def test_status_tells_the_exchanges_of_a_job_apart(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As text, JSON and metrics; --check fails."""
    monkeypatch.setattr("whalesync.cli.show.now_ms", lambda: int(world.sandbox.books.clock() * 1000) + 5_000)
    world.run(SYNC_WHALES)
    world.second.is_down = True
    with pytest.raises(JobFailed):
        world.run(SYNC_WHALES)
    command = ["status", "--db", str(world.db)]
    assert run([*command, "--check"]) == 1
    lines = capfd.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith("sync-whales ")]
    assert [row[1:3] for row in rows] == [["Opinion.Trade", "good"], ["Second", "failing"]]
    (line,) = (line for line in lines if line.startswith("! sync-whales"))
    assert line.startswith("! sync-whales for Second: failed ")
    run([*command, "--json"])
    document = json.loads(capfd.readouterr().out)
    parts = document["jobs"]["sync-whales"]["exchanges"]
    assert {name: part["ok"] for name, part in parts.items()} == {"opinion_trade": True, "second": False}
    assert document["runs"][0]["exchanges"]["opinion_trade"] is None
    run([*command, "--metrics"])
    metrics = capfd.readouterr().out.splitlines()
    for exchange, ok, failures in (("opinion_trade", 1, 0), ("second", 0, 1)):
        labels = f'{{command="sync-whales",exchange="{exchange}"}}'
        assert f"whalesync_job_exchange_ok{labels} {ok}" in metrics
        assert f"whalesync_job_exchange_consecutive_failures{labels} {failures}" in metrics


def test_one_exchange_is_down_for_an_hour(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each run fails for it alone and stores what is new on the other; status says since when."""
    start, now = int(world.sandbox.books.clock()), 0
    for exchange in (world.sandbox.books, world.second):
        monkeypatch.setattr(exchange, "clock", lambda: float(now))
    monkeypatch.setattr("whalesync.cli.show.now_ms", lambda: (now + 10) * 1000)

    def health() -> dict[str, tuple[str, int, int | None]]:
        run(["status", "--db", str(world.db), "--json"])
        parts = json.loads(capfd.readouterr().out)["jobs"]["sync-whales"]["exchanges"]
        return {name: (part["state"], part["failures"], part["failing_since"]) for name, part in parts.items()}

    now = start
    world.run(SYNC_WHALES)
    world.second.is_down = True
    for now in range(start + 60, start + 3_660, 60):
        world.second.add_fill(ADDRESS, now - 5)
        world.sandbox.books.add_trade(ADDRESS, make_trade(txHash=f"0x{now}", createdAt=now - 5))
        with pytest.raises(JobFailed, match="Second is down"):
            world.run(SYNC_WHALES)
        assert world.stored()["opinion_trade"] == world.listed()["opinion_trade"]
    assert health() == {"opinion_trade": ("good", 0, None), "second": ("failing", 60, (start + 60) * 1000)}
    world.second.is_down = False
    world.run(SYNC_WHALES)
    assert world.stored() == world.listed()
    assert health() == dict.fromkeys(("opinion_trade", "second"), ("good", 0, None))


# Clocks and time


def test_each_exchange_has_its_own_clock(world: World) -> None:
    """One that is wrong by a month is reported, and changes nothing of what is stored of the other's wallets."""
    month = 30 * 86_400
    world.second.ahead = -month
    for job in JOBS_THAT_ASK:
        clocks = [error for error in world.run(job).errors() if error.startswith("clock")]
        assert [error.partition(" s ")[2] for error in clocks] == ["ahead of Second's. Set the clock of this host."]
    assert world.stored()["opinion_trade"] == world.listed()["opinion_trade"]
    with open_database(world.db) as db:
        assert clock_ahead(db, "opinion_trade") == 0
        heard = [time_heard(db, each) or 0 for each in ("opinion_trade", "second")]
        listed_at = positions.listings(db)[1].listed_at or 0
        expected = ((clock_ahead(db, "second"), month), (heard[0] - heard[1], month), (listed_at - heard[0], 0))
        assert all(abs(found / 1000 - seconds) < 60 for found, seconds in expected)


@pytest.mark.parametrize("wrong", ["second", "opinion_trade"])
def test_a_clock_that_agrees_with_a_wrong_one_deletes_nothing(wrong: str, world: World) -> None:
    """The host and one exchange are a year ahead, the other exchange is right: cleanup believes the latter."""
    world.run(SYNC_WHALES)
    year = 365 * 86_400
    with open_database(world.db) as db, db.write():
        now = time_heard(db, "opinion_trade") or 0
        right = {"second": "opinion_trade", "opinion_trade": "second"}[wrong]
        facts = {wrong: (0, now + year * 1000), right: (year * 1000, now)}
        for name, (ahead, heard) in facts.items():
            db.remember(fact_of(name, "clock_ahead"), ahead)
            db.remember(fact_of(name, "exchange_time"), heard)
    before = world.stored()
    world.run(CLEANUP, ahead=year)
    assert world.stored() == before


def test_an_exchange_that_hangs_leaves_the_other_its_share_of_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first does not answer until its half has passed; the markets of the second are stored all the same."""
    monkeypatch.setattr(http, "GRACE_SECONDS", 0.1)  # of the 4 s that a request under way may take longer
    world.values["WHALESYNC_TIME_BUDGET"] = "3"
    with socket.socket() as deaf:  # accepts connections, and never answers
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(64)
        world.values["WHALESYNC_API_URL"] = f"http://127.0.0.1:{deaf.getsockname()[1]}/openapi"
        begun = time.monotonic()
        with pytest.raises((ExchangeError, JobFailed)):
            world.run(SYNC_MARKETS)
        took = time.monotonic() - begun
    assert world.market_platforms() == {"second"}
    assert 1.5 <= took < 2.5
    assert [each and each["second"] for each in outcomes(world, "markets")] == [None]
