"""Storing what was fetched, page by page, against bare executemany with the same commits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from whalesync.ledger import Ledger, fresh
from whalesync.records import PAGE_SIZE, Market, Trade
from whalesync.store import markets, trades
from whalesync.store.database import open_database

from . import world
from .measure import Report, bare, turns

WHALES = 200


def ingest(report: Report, folder: Path, count: int) -> None:
    """New trades, and markets that have not changed."""
    pages = min(count // 100, 2_000)
    report.title(f"Storing {pages * PAGE_SIZE:,} new trades, {PAGE_SIZE} a commit, of bare executemany")
    number = 0

    def ours() -> float:
        nonlocal number
        number += 1
        db = world.make(folder / f"ours-{number}.db", 1, whales=WHALES, days=1)
        listed = list(_pages(pages, seed=5))
        with open_database(db) as database:
            known: dict[str, int] = {}
            ledger = Ledger()
            begun = time.perf_counter()
            for whale, page in listed:
                fills = fresh(page, trades.held_fills(database, whale, page))
                ledger = Ledger(held=ledger.held + len(fills))
                with database.write():
                    markets.ids_for(database, page, 1, known)
                    trades.add_fills(database, whale, fills, known)
                    trades.save_ledger(database, whale, ledger)
            return time.perf_counter() - begun

    def theirs() -> float:
        db = world.make(folder / f"bare-{number}.db", 1, whales=WHALES, days=1)
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

    own, raw = turns(3, ours, theirs)
    per_second = pages * PAGE_SIZE / own
    report.ratio(
        "rows a second", raw / own, f"{per_second:,.0f} of {pages * PAGE_SIZE / raw:,.0f}", least=0.5
    )

    with open_database(folder / "ours-1.db") as database:
        listed_markets = [_market(number) for number in range(2_000)]
        with database.write():
            markets.save(database, listed_markets, 1)
        database.checkpoint()
        with database.write():
            markets.save(database, listed_markets, 2)
        wal = database.wal_bytes()
    report.line("2,000 unchanged markets: bytes of WAL", f"{wal:,}", most=0, got=wal)


def _pages(count: int, seed: int) -> Iterator[tuple[int, list[Trade]]]:
    rng = Random(seed)
    for number in range(count):
        yield (
            rng.randrange(WHALES) + 1,
            [_trade(rng, 1_780_000_000 + number * 40 - i) for i in range(PAGE_SIZE)],
        )


def _trade(rng: Random, second: int) -> Trade:
    thousandths, hundredths = rng.randrange(1, 1000), rng.randrange(100, 1_000_000)
    return Trade(
        tx_hash="0x" + rng.randbytes(32).hex(),
        market_external_id=str(rng.randrange(2_000) + 1),
        root_external_id=None,
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
        whale, int(trade.market_external_id), "opinion_trade", trade.tx_hash, trade.action, trade.outcome,
        trade.amount, trade.price, trade.shares, trade.fee, trade.profit, at, at, at + 30_000, at + 900_000,
        trade.fill_key, 1,
    )  # fmt: skip


def _market(number: int) -> Market:
    return Market(
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
