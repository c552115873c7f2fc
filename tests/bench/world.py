"""Seeded files of any size, filled past whalesync: what is measured must not have made its own ground."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from whalesync.store.database import open_database

from .measure import bare

DAY = 86_400_000
COLUMNS = (
    "whale_id, market_id, platform, tx_hash, action, outcome, amount, price, shares, fee, profit, timestamp,"
    " visible_to_pro_plus_at, visible_to_pro_at, visible_to_free_at, fill_key, copy, stored_at, revision"
)
INSERT = (
    f"INSERT INTO whale_activity ({COLUMNS}) VALUES ({', '.join('?' for _ in COLUMNS.split(','))})"
    " ON CONFLICT DO NOTHING"
)
PLATFORM = "opinion_trade"


def address(number: int) -> str:
    """The address of whale ``number``, counted from 1."""
    return f"0x{number:040x}"


def rows(count: int, *, whales: int, markets: int, days: float, seed: int = 1) -> Iterator[tuple[Any, ...]]:
    """Trades of the last ``days``, oldest first, in whole seconds, for whales and markets from 1 on."""
    rng = Random(seed)
    now = int(time.time()) * 1000
    start = now - int(days * DAY)
    for number in range(count):
        at = start + (now - start) * number // count // 1000 * 1000
        thousandths, hundredths = rng.randrange(1, 1000), rng.randrange(100, 1_000_000)
        yield (
            rng.randrange(whales) + 1,
            rng.randrange(markets) + 1,
            PLATFORM,
            "0x" + rng.randbytes(32).hex(),
            "BUY" if rng.random() < 0.6 else "SELL",
            "YES" if rng.random() < 0.6 else "NO",
            thousandths * hundredths / 100_000,
            thousandths / 1000,
            hundredths / 100,
            thousandths * hundredths / 10_000_000,
            rng.randrange(-1_000_000, 1_000_000) / 100_000,
            at,
            at,
            at + 30_000,
            at + 900_000,
            rng.getrandbits(64) - 2**63,
            1,
            at,
            1,
        )


def make(db: Path, count: int, *, whales: int = 600, markets: int = 2_000, days: float) -> Path:
    """A file with ``count`` trades, and a sync that has just been."""
    open_database(db).close()
    now = int(time.time() * 1000)
    connection = bare(db)
    connection.execute("BEGIN")
    connection.executemany(
        f"INSERT INTO whales (id, platform, address, created_at, updated_at) VALUES (?, '{PLATFORM}', ?, ?, ?)",
        [(number, address(number), now, now) for number in range(1, whales + 1)],
    )
    connection.executemany(
        "INSERT INTO markets (id, platform, kind, external_id, title, created_at, updated_at)"
        f" VALUES (?, '{PLATFORM}', 'market', ?, ?, ?, ?)",
        [(number, str(number), f"Market {number}", now, now) for number in range(1, markets + 1)],
    )
    connection.execute(
        "INSERT INTO sync_logs (type, status, started_at, ended_at) VALUES ('whales', 'completed', ?, ?)",
        (now, now),
    )
    connection.execute("INSERT INTO facts (name, value) VALUES ('opinion_trade exchange_time', ?)", (now,))
    connection.executemany(INSERT, rows(count, whales=whales, markets=markets, days=days))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return db


def add(db: Path, count: int, seed: int) -> None:
    """A few trades more, most of them of today, some late."""
    connection = bare(db)
    connection.execute("BEGIN")
    connection.executemany(INSERT, rows(count, whales=600, markets=1_000, days=2, seed=seed))
    connection.execute("COMMIT")
    connection.close()
