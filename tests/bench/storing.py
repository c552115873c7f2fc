"""Storing what was fetched, page by page, against bare executemany with the same commits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import count as count_from
from pathlib import Path
from random import Random

from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.opinion_trade.pages import LARGEST_PAGE, TradePage
from whalesync.records import MARKET, Market, Trade
from whalesync.store import markets, trades, whales
from whalesync.store.database import open_database

from . import world
from .measure import Report, bare, turns

WHALES = 200
FIRST_SECOND = 1_780_000_000


def ingest(report: Report, folder: Path, count: int) -> None:
    """New trades, and markets that have not changed."""
    pages = min(count // 100, 2_000)
    total = pages * LARGEST_PAGE
    report.title(f"Comparing and storing {total:,} new trades, {LARGEST_PAGE} a commit, of bare executemany")
    numbers = count_from(1)
    own, raw = turns(3, partial(_ours, folder, pages, numbers), partial(_theirs, folder, pages, numbers))
    report.ratio("rows a second", raw / own, f"{total / own:,.0f} of {total / raw:,.0f}", least=0.5)

    with open_database(folder / "1.db") as database:
        listed = [_market(number) for number in range(2_000)]
        with database.write():
            markets.save(database, world.PLATFORM, listed, 1)
        database.checkpoint()
        with database.write():
            markets.save(database, world.PLATFORM, listed, 2)
        wal = database.wal_bytes()
    report.line("2,000 unchanged markets: bytes of WAL", f"{wal:,}", most=0, got=wal)


def _ours(folder: Path, pages: int, numbers: Iterator[int]) -> float:
    """What the job does with each response: the source compares it with what is stored, the store keeps the batch."""
    db = world.make(folder / f"{next(numbers)}.db", 0, whales=WHALES, days=1)
    source = EXCHANGES[world.PLATFORM].trades
    request = source.poll(None)
    known_markets: dict[str, int] = {}
    totals = dict.fromkeys(range(1, WHALES + 1), 0)
    listed = list(_pages(pages, seed=5))
    with open_database(db) as database:
        tracked = {whale.id: whale for whale in whales.tracked(database)}
        begun = time.perf_counter()
        for whale_id, page in listed:
            totals[whale_id] += len(page)
            with database.write():
                batch = source.take(
                    trades.state(database, whale_id),
                    request,
                    [TradePage(totals[whale_id], page)],
                    trades.Stored(database, whale_id),
                    now=page[0].timestamp,
                    cutoff=0,
                )
                trades.store(database, tracked[whale_id], batch, known_markets, run_id=1, now=page[0].timestamp)
        took = time.perf_counter() - begun
        stored = database.value("SELECT count(*) FROM whale_activity")
    assert stored == pages * LARGEST_PAGE, stored
    return took


def _theirs(folder: Path, pages: int, numbers: Iterator[int]) -> float:
    db = world.make(folder / f"{next(numbers)}.db", 0, whales=WHALES, days=1)
    listed = [[_row(whale, trade) for trade in page] for whale, page in _pages(pages, seed=5)]
    connection = bare(db)
    begun = time.perf_counter()
    for page in listed:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(world.INSERT, page)
        connection.execute("COMMIT")
    took = time.perf_counter() - begun
    connection.close()
    return took


def _pages(count: int, seed: int) -> Iterator[tuple[int, list[Trade]]]:
    """A whale, and the newest page of its list, newest first, each page newer than those before."""
    rng = Random(seed)
    for number in range(count):
        newest = FIRST_SECOND + (number + 1) * LARGEST_PAGE
        yield rng.randrange(WHALES) + 1, [_trade(rng, newest - i) for i in range(LARGEST_PAGE)]


def _trade(rng: Random, second: int) -> Trade:
    thousandths, hundredths = rng.randrange(1, 1000), rng.randrange(100, 1_000_000)
    return Trade(
        tx_hash="0x" + rng.randbytes(32).hex(),
        market_external_id=str(rng.randrange(2_000) + 1),
        market_title="Will it rain?",
        action="BUY",
        outcome="YES",
        amount=thousandths * hundredths / 100_000,
        price=thousandths / 1000,
        shares=hundredths / 100,
        fee=0.01,
        profit=None,
        timestamp=second * 1000,
    )


def _row(whale: int, trade: Trade) -> tuple[object, ...]:
    at = trade.timestamp
    return (
        whale, int(trade.market_external_id), world.PLATFORM, trade.tx_hash, trade.action, trade.outcome,
        trade.amount, trade.price, trade.shares, trade.fee, trade.profit, at, at, at + 30_000, at + 900_000,
        trade.fill_key, 1, at, 1,
    )  # fmt: skip


def _market(number: int) -> Market:
    return Market(
        kind=MARKET,
        external_id=f"m{number}",
        parent_external_id=None,
        title=f"Will it rain on day {number}?",
        category="Weather",
        status="activated",
        yes_label="Yes",
        no_label="No",
        yes_token_id=str(number),
        no_token_id=str(-number),
        volume=1.5 * number,
        volume_24h=0.25,
        volume_7d=None,
        end_date=None,
        resolved_at=None,
        result=None,
        url="https://example.com",
        created_at=1,
    )
