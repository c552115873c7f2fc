"""The watch list."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from whalesync.records import PLATFORM
from whalesync.store.database import Database


@dataclass(frozen=True, slots=True)
class Whale:
    """A wallet on the watch list; times in milliseconds."""

    id: int
    address: str
    label: str | None
    last_trade_at: int | None
    left_out_since: int | None

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"{self.address[:6]}…{self.address[-4:]}" + (f" ({self.label})" if self.label else "")


def tracked(db: Database) -> list[Whale]:
    """All wallets on the watch list, with what the order of polling needs."""
    return [
        Whale(*row)
        for row in db.rows(
            "SELECT w.id, w.address, w.label,"
            " (SELECT max(timestamp) FROM whale_activity AS a WHERE a.whale_id = w.id), c.left_out_since"
            " FROM whales AS w LEFT JOIN whale_cursors AS c ON c.whale_id = w.id WHERE w.tracked = 1"
        )
    ]


def note_left_out(db: Database, polled: Iterable[int], left_out: Iterable[int], now: int) -> None:
    """Remember which wallets a run had no time for, so that the next one begins with them."""
    with db.write():
        db.execute_many(
            "UPDATE whale_cursors SET left_out_since = NULL WHERE whale_id = ? AND left_out_since IS NOT NULL",
            [(whale_id,) for whale_id in polled],
        )
        db.execute_many(
            "INSERT INTO whale_cursors (whale_id, left_out_since) VALUES (?, ?)"
            " ON CONFLICT (whale_id) DO UPDATE SET"
            # never later than now, should the clock have been set back
            " left_out_since = min(coalesce(left_out_since, excluded.left_out_since), excluded.left_out_since)",
            [(whale_id, now) for whale_id in left_out],
        )


def add(db: Database, entries: Iterable[tuple[str, str | None]], now: int) -> tuple[int, int]:
    """Put wallets (address, label) on the watch list; returns how many are new and how many were on it.

    A label that is given replaces the old one; None keeps it.
    """
    new = known = 0
    with db.write():
        for address, label in entries:
            before = db.one(
                "SELECT tracked FROM whales WHERE platform = ? AND address = ?", (PLATFORM, address)
            )
            db.execute(
                "INSERT INTO whales (platform, address, label, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (platform, address) DO UPDATE SET tracked = 1, label = coalesce(excluded.label, label),"
                " updated_at = excluded.updated_at"
                " WHERE NOT tracked OR excluded.label IS NOT NULL AND excluded.label IS NOT label",
                (PLATFORM, address, label, now, now),
            )
            if before is not None and before[0]:
                known += 1
            else:
                new += 1
    return new, known


def remove(db: Database, address: str, now: int) -> bool:
    """Stop tracking a wallet; its history stays. False if it was not on the watch list."""
    with db.write():
        return bool(
            db.execute(
                "UPDATE whales SET tracked = 0, updated_at = ? WHERE platform = ? AND address = ? AND tracked",
                (now, PLATFORM, address),
            )
        )


def addresses(db: Database, *, everyone: bool = False) -> list[sqlite3.Row]:
    """Addresses and labels of all wallets on the watch list, or with ``everyone`` of those that were on it too."""
    return db.rows("SELECT address, label FROM whales WHERE tracked OR ? ORDER BY id", (everyone,))
