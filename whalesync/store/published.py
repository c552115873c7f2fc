"""What the file has of what is published: all of it, row by row, for a comparison with the other side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from whalesync.records import DAY_MS
from whalesync.store.changes import ACTIVITY, Column, Row, Table, Type, each
from whalesync.store.database import Database

# With the newest revision of equal fills behind the other columns.
_WITH_REVISION = replace(
    ACTIVITY, columns=(*ACTIVITY.columns, Column("revision", Type.INTEGER, "max(r.revision) OVER equal"))
)


class Wallet(NamedTuple):
    """A wallet of the file."""

    id: int
    platform: str
    address: str
    label: str | None


def wallets(db: Database) -> list[Wallet]:
    """All wallets, on the watch list or not."""
    return [Wallet(*row) for row in db.rows("SELECT id, platform, address, label FROM whales ORDER BY id")]


def rows(db: Database, table: Table, until: int) -> Iterator[Row]:
    """The rows of a table that have not changed after a revision, one by one."""
    found = f"(SELECT * FROM {table.name} WHERE revision <= :until)"
    return each(db, table, found, {"until": until})


def trades(db: Database, wallet: Wallet, until: int) -> Iterator[Row]:
    """The trades of a wallet that have not changed after a revision, one by one."""
    found = "(SELECT * FROM whale_activity WHERE whale_id = :whale AND revision <= :until)"
    return each(db, ACTIVITY, found, {"whale": wallet.id, "until": until})


def trades_of_day(db: Database, wallet: Wallet, day: int, until: int) -> list[Row]:
    """The trades of a wallet on a day since 1970, without equal fills of which one has changed after ``until``."""
    found = "(SELECT * FROM whale_activity WHERE whale_id = :whale AND timestamp >= :first AND timestamp < :next)"
    span = {"whale": wallet.id, "first": day * DAY_MS, "next": (day + 1) * DAY_MS}
    return [row[:-1] for row in each(db, _WITH_REVISION, found, span) if row[-1] <= until]


def oldest_trade(db: Database) -> int | None:
    """The time of the oldest trade (ms); None without any."""
    oldest: int | None = db.value("SELECT min(timestamp) FROM whale_activity")
    return oldest
