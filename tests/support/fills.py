"""A wallet's trades as both sides know them: in the exchange's records, and in the file, read with plain sqlite3."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple


class Fill(NamedTuple):
    """Everything that is stored of a trade; two of them are equal if all of it is. Time in ms."""

    tx_hash: str
    market: str
    action: str
    outcome: str | None
    amount: float
    price: float
    shares: float
    fee: float
    profit: float
    timestamp: int


SELECT_FILLS = (
    "SELECT a.id, w.address, a.superseded_at IS NULL, a.tx_hash, m.external_id, a.action, a.outcome, a.amount, a.price,"
    " a.shares, a.fee, a.profit, a.timestamp FROM whale_activity AS a JOIN markets AS m ON m.id = a.market_id"
    " JOIN whales AS w ON w.id = a.whale_id"
)


class StoredRow(NamedTuple):
    """A row of ``whale_activity``; one that is superseded does not count."""

    id: int
    wallet: str
    counts: bool
    fill: Fill


def as_fill(record: dict[str, Any]) -> Fill:
    """A trade of the exchange, read without our adapter, which may be wrong."""
    return Fill(
        record["txHash"],
        str(record["marketId"]),
        record["side"].upper(),
        {1: "YES", 2: "NO"}.get(record["outcomeSide"]),
        float(record["amount"]),
        float(record["price"]),
        float(record["shares"]),
        float(record["fee"]),
        float(record["profit"]),
        record["createdAt"] * 1000,
    )


def listed(records: Iterable[dict[str, Any]], *, since: int = 0) -> Counter[Fill]:
    """The trades of a wallet's list that are not older than ``since`` (ms)."""
    fills = Counter(map(as_fill, records))
    return Counter({fill: count for fill, count in fills.items() if fill.timestamp >= since})


def query(file: Path, sql: str, *params: object) -> list[tuple[Any, ...]]:
    """Rows of a database file."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql, params).fetchall()


def stored_rows(file: Path) -> list[StoredRow]:
    """All stored trades, in the order in which they came."""
    rows = query(file, f"{SELECT_FILLS} ORDER BY a.id")
    return [StoredRow(row[0], row[1], bool(row[2]), Fill(*row[3:])) for row in rows]


def stored(file: Path, wallet: str) -> Counter[Fill]:
    """A wallet's stored trades that count."""
    sql = f"{SELECT_FILLS} WHERE a.superseded_at IS NULL AND w.address = ?"
    return Counter(Fill(*row[3:]) for row in query(file, sql, wallet))
