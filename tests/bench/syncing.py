"""The jobs against the stand-in exchange: the rate they make use of, and the memory they take."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from whalesync.sandbox import Books, Sandbox, build_world, make_market, make_trade
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

from . import world
from .measure import Report, environment

SPAWN = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
PACED, LIMIT, LATENCY = 13, 15, 0.08


def rate(report: Report, folder: Path, count: int) -> None:
    """Polling many wallets at a latency of 80 ms."""
    report.title(f"sync-whales at {LATENCY * 1000:.0f} ms latency, of {PACED} requests a second (limit {LIMIT})")
    wallets = 60 if count < 1_000_000 else 200
    books = build_world(3, whales=wallets, days=1, trades_per_day=3)
    with Sandbox(books.books, latency=LATENCY) as sandbox:
        db = watching(folder / "rate.db", books.whales)
        _sync(db, sandbox)
        sandbox.requests.clear()
        _sync(db, sandbox)
        arrivals = sorted(request.arrived for request in sandbox.requests)
        per_second = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        refused = sum(request.status == 429 for request in sandbox.requests)
        busiest = sandbox.busiest_second()
    report.ratio(f"{wallets} wallets, nothing new", per_second / PACED, f"{per_second:.1f} a second", least=0.95)
    report.line("the worst second", f"{busiest}", "requests", most=LIMIT, got=busiest)
    report.line("refused with 429", f"{refused}", "requests", most=0, got=refused)


def memory(report: Report, folder: Path, count: int) -> None:
    """A long history against a short one."""
    long = 8_000 if count < 1_000_000 else 20_000
    report.title(f"Memory of sync-whales for one wallet of {long:,} trades, of one with 2,000")
    peaks = []
    for trades in (2_000, long):
        now, books = int(time.time()), Books()
        books.add_market(make_market(1))
        for number in range(trades):
            trade = make_trade(marketId=1, createdAt=now - number * 60, txHash=f"0x{number:064x}")
            books.add_trade(world.address(1), trade)
        with Sandbox(books, rate=None) as sandbox:
            db = watching(folder / f"{trades}.db", [world.address(1)])
            peaks.append(_sync(db, sandbox, WHALESYNC_RATE_LIMIT="10000"))
        with open_database(db) as database:
            stored = database.value("SELECT count(*) FROM whale_activity")
        assert stored == trades, (stored, trades)
    report.ratio("peak memory", peaks[1] / peaks[0], f"{peaks[1] / 1024:.0f} of {peaks[0] / 1024:.0f} MB", most=1.15)


def watching(db: Path, addresses: list[str]) -> Path:
    """A file whose watch list has these wallets."""
    with open_database(db) as database:
        whales.add(database, [WatchEntry(address) for address in addresses], 1)
    return db


def _sync(db: Path, sandbox: Sandbox, **more: str) -> int:
    """Run sync-whales until all is fetched; returns its peak memory in KiB."""
    env = environment(
        db,
        OPINION_TRADE_API_KEY=sandbox.key,
        WHALESYNC_API_URL=sandbox.url,
        WHALESYNC_TIME_BUDGET="120",
        **more,
    )
    # By way of a small process: until it becomes another program, a child counts the memory of its parent.
    words = [sys.executable, "-c", SPAWN, sys.executable, "-m", "whalesync", "sync-whales"]
    done = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)
