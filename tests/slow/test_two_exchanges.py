"""Wallets of two exchanges in one file: a minute of polls within the limits of both, and a long history beside them."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from support.host import KEY, Host, clock_ahead, fill_books, wallet

from whalesync.sandbox import Handler, Polymarket, Request, Sandbox, build_worlds
from whalesync.sandbox.polymarket import Books, Limits, make_activity, make_market
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

WINDOW = 10.0  # seconds over which Polymarket counts
LOADING = {"WHALESYNC_POLYMARKET_RATE_LIMIT": "2000"}
ROWS = 100_000
# Not ru_maxrss, which begins with what the parent had.
KEEP_PEAK = """
import atexit, os, pathlib
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: pathlib.Path(os.environ["PEAK_FILE"]).write_text(status.read_text()))
"""


def polymarket_books(wallets: int, rows: int) -> Books:
    """Books with wallets of so many trades each, of the last days."""
    now, books = int(time.time()), Books(time.time)
    books.add_market(make_market(1))
    for number in range(1, wallets + 1):
        for index in range(rows):
            books.add(wallet(number), make_activity(timestamp=now - 3_600 - 60 * index, size=10 + index, price=0.4))
    return books


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the database alone."""
    path = tmp_path / "db"
    path.mkdir()
    return path


def watch(host: Host, opinion: int, polymarket: int) -> None:
    """Put so many wallets of each exchange on the watch list."""
    entries = [WatchEntry(wallet(number), f"o{number}") for number in range(1, opinion + 1)]
    entries += [WatchEntry(wallet(number), f"p{number}", "polymarket") for number in range(1, polymarket + 1)]
    with open_database(host.db) as db:
        whales.add(db, entries, 1)


def load(host: Host, most: int = 20) -> None:
    """Let every wallet be read whole, as fast as the simulated exchanges answer."""
    for _ in range(most):
        host.succeed("sync-whales", env=LOADING, timeout=120)
        if '"loading": 0' in host.run("status", "--json").out:
            return
    pytest.fail("wallets are still loading")


@pytest.mark.slow
@pytest.mark.parametrize(("opinion", "polymarket"), [(500, 500), (600, 850)])
def test_a_minute_of_both(folder: Path, capsys: pytest.CaptureFixture[str], opinion: int, polymarket: int) -> None:
    """Idle wallets of both are all polled in one run, at the rates of both, and neither exchange refuses anything."""
    books = Polymarket(polymarket_books(polymarket, 2))
    with Sandbox(fill_books(opinion, 2), key=KEY, rate=None, polymarket=books, latency=0.05) as sandbox:
        host = Host(
            folder,
            sandbox.url,
            environ={
                "WHALESYNC_POLYMARKET_DATA_URL": sandbox.polymarket_data_url,
                "WHALESYNC_POLYMARKET_GAMMA_URL": sandbox.polymarket_gamma_url,
            },
        )
        watch(host, opinion, polymarket)
        load(host)
        time.sleep(1)
        sandbox.requests.clear()
        sandbox.rate, books.limits = 15, Limits()
        ended = host.succeed("sync-whales", env={"WHALESYNC_RATE_LIMIT": "15"}, timeout=120)
        arrived = {
            service: [each.arrived for each in sandbox.requests if each.service == service]
            for service in ("api", "data")
        }
        refused = Counter(request.status for request in sandbox.requests if request.status >= 400)
        left_out = host.rows(
            "SELECT w.platform, count(*) FROM whales AS w LEFT JOIN whale_cursors AS c ON c.whale_id = w.id"
            " WHERE c.left_out_since IS NOT NULL GROUP BY 1"
        )
    rates = {service: (len(times) - 1) / (max(times) - min(times)) for service, times in arrived.items()}
    busiest = max(sum(at <= each < at + WINDOW for each in arrived["data"]) for at in arrived["data"])
    with capsys.disabled():
        print(
            f"\n{opinion} + {polymarket} wallets in {ended.seconds:.1f} s: {len(arrived['api'])} and"
            f" {len(arrived['data'])} requests, {rates['api']:.1f} and {rates['data']:.1f} a second; at most {busiest}"
            f" in ten seconds at Polymarket; left out {left_out}; refused {dict(refused)}"
        )
    assert (left_out, refused) == ([], Counter())
    assert busiest <= 200


@pytest.mark.slow
def test_a_long_history_keeps_nobody_waiting(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While 100,000 rows of one wallet are loaded, every run polls the others; as many requests as pages, and a few."""
    others, whale = 400, wallet(9_999)
    exchange = polymarket_books(others, 2)
    now = int(time.time())
    for index in range(ROWS):
        exchange.add(whale, make_activity(timestamp=now - 3_600 - 50 * index, size=1 + index, price=0.4))
    books = Polymarket(exchange)
    with Sandbox(fill_books(1, 1), key=KEY, rate=None, polymarket=books) as sandbox:
        host = Host(
            folder,
            sandbox.url,
            environ={
                "WHALESYNC_POLYMARKET_DATA_URL": sandbox.polymarket_data_url,
                "WHALESYNC_POLYMARKET_GAMMA_URL": sandbox.polymarket_gamma_url,
            },
        )
        watch(host, 1, others)
        load(host)
        with open_database(host.db) as db:
            whales.add(db, [WatchEntry(whale, "long", "polymarket")], 1)
        figures = []
        while True:
            sandbox.requests.clear()
            environ = {"WHALESYNC_TIME_BUDGET": "30", "PEAK_FILE": str(tmp_path / "status")}
            ended = host.succeed("sync-whales", timeout=120, env=environ, code_before=KEEP_PEAK)
            polled = {each.query["user"] for each in sandbox.requests if each.path == "/v2/activity"} - {whale}
            ours = sum(each.query.get("user") == whale for each in sandbox.requests)
            (stored,) = host.rows(
                "SELECT count(*) FROM whale_activity AS a JOIN whales AS w ON w.id = a.whale_id WHERE w.label = 'long'"
            )[0]
            lines = (tmp_path / "status").read_text().splitlines()
            (peak,) = (int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
            figures.append((round(ended.seconds, 1), len(polled), ours, stored, peak))
            if stored == ROWS or len(figures) > 30:
                break
    with capsys.disabled():
        print(f"\nby run: seconds, others polled, requests for the long one, rows stored, peak MB: {figures}")
    assert figures[-1][3] == ROWS
    assert all(polled == others for _, polled, *_ in figures)


@pytest.mark.slow
def test_an_hour_without_one_of_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wallet on both: each run fails for the one that is down alone, stores the other's trades, and catches up."""
    passed = [0]

    def down(request: Request, handler: Handler) -> bool:
        if request.service == "api":
            handler.send(503, b"")
        return request.service == "api"

    worlds = build_worlds(3, clock=lambda: time.time() + passed[0], whales=1, days=3, trades_per_day=400)
    whale, exchange = worlds.polymarket.whales[0], Polymarket(worlds.polymarket.books)
    assert worlds.opinion_trade.whales == [whale]
    with Sandbox(worlds.opinion_trade.books, exchange, key=KEY, rate=None) as sandbox:
        host = Host(
            folder,
            sandbox.url,
            environ={
                "WHALESYNC_POLYMARKET_DATA_URL": sandbox.polymarket_data_url,
                "WHALESYNC_POLYMARKET_GAMMA_URL": sandbox.polymarket_gamma_url,
            },
        )
        with open_database(host.db) as db:
            whales.add(db, [WatchEntry(whale, "both", each) for each in ("opinion_trade", "polymarket")], 1)
        load(host)

        def stored() -> dict[str, int]:
            return dict(host.rows("SELECT platform, count(*) FROM whale_activity GROUP BY 1"))

        seen, sandbox.fault = [stored()], down
        for minute in range(5, 65, 5):
            passed[0] = minute * 60
            line = host.fail("sync-whales", code_before=clock_ahead(passed[0]))
            seen.append(stored())
        health = host.run("status", code_before=clock_ahead(passed[0]), env={"COLUMNS": "150"}).out
        sandbox.fault = None
        host.succeed("sync-whales", code_before=clock_ahead(passed[0]))
        seen.append(stored())
        listed = len(worlds.opinion_trade.books.trades(whale))
    with capsys.disabled():
        print(
            f"\nstored: {seen[0]}, after an hour {seen[-2]}, when it was back {seen[-1]}; each run said:"
            f" {line}\n{health}"
        )
    assert "Opinion.Trade" in line and "Polymarket" not in line
    assert seen[-2]["opinion_trade"] == seen[0]["opinion_trade"] < seen[-1]["opinion_trade"] == listed
    assert seen[-2]["polymarket"] > seen[0]["polymarket"]
    assert sum(before["polymarket"] < after["polymarket"] for before, after in pairwise(seen)) > 6
