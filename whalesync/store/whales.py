"""The watch list (table ``whales``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from whalesync.exchanges import DEFAULT_EXCHANGE, title_of
from whalesync.store.database import Database, bindable

COLUMNS = (
    "id", "platform", "address", "label", "tracked", "total_volume", "trade_count", "last_active_at", "volume_24h",
    "volume_7d", "volume_30d", "buy_count", "sell_count", "realized_profit", "settled_profit", "open_profit",
    "open_value", "won_count", "lost_count", "win_rate", "profit_complete", "created_at", "updated_at",
)  # fmt: skip

#: what a list of whales can be sorted by, and the column for each
ORDERS = {"volume": "total_volume", "profit": "realized_profit", "7d": "volume_7d", "active": "last_active_at"}

_SUMS = (
    "total_volume", "trade_count", "volume_24h", "volume_7d", "volume_30d", "buy_count", "sell_count",
    "realized_profit",
)  # fmt: skip
# A wallet that was never read, or whose trades were never counted, has zeros for what is not known.
_COUNTED = (
    "(w.last_active_at IS NOT NULL OR (NOT EXISTS (SELECT 1 FROM whale_activity AS a WHERE a.whale_id = w.id)"
    " AND EXISTS (SELECT 1 FROM whale_cursors AS c WHERE c.whale_id = w.id AND c.state IS NOT NULL)))"
)
_KNOWN = ", ".join(f"iif({_COUNTED}, {name}, NULL) AS {name}" if name in _SUMS else name for name in COLUMNS)


@dataclass(frozen=True, slots=True)
class Whale:
    """A wallet on the watch list; times in milliseconds. ``is_on_several``: so is its address on another exchange."""

    id: int
    platform: str
    address: str
    label: str | None
    last_trade_at: int | None
    left_out_since: int | None
    is_on_several: bool = False

    @property
    def name(self) -> str:
        """How it is called in messages."""
        label = f" ({self.label})" if self.label else ""
        exchange = f" of {title_of(self.platform)}" if self.is_on_several else ""
        return f"{self.address[:6]}…{self.address[-4:]}{label}{exchange}"


class WatchEntry(NamedTuple):
    """A wallet to watch. An empty label removes the present one, None keeps it.

    ``is_suggested``: the label is not the user's choice, and replaces none.
    """

    address: str
    label: str | None = None
    platform: str = DEFAULT_EXCHANGE
    is_suggested: bool = False


class Added(NamedTuple):
    """How many wallets are new on the watch list, got another label, or were there as they are."""

    new: int
    relabelled: int
    known: int


def tracked(db: Database) -> list[Whale]:
    """All wallets on the watch list, with what the order of polling needs."""
    return [
        Whale(*row)
        for row in db.rows(
            "SELECT w.id, w.platform, w.address, w.label,"
            " (SELECT max(timestamp) FROM whale_activity AS a WHERE a.whale_id = w.id), c.left_out_since,"
            " count(*) OVER (PARTITION BY w.address) > 1"
            " FROM whales AS w LEFT JOIN whale_cursors AS c ON c.whale_id = w.id WHERE w.tracked = 1"
        )
    ]


def platforms(db: Database) -> set[str]:
    """The exchanges that have wallets on the watch list."""
    return {row[0] for row in db.rows("SELECT DISTINCT platform FROM whales WHERE tracked")}


def record_left_out(db: Database, polled: Iterable[int], left_out: Iterable[int], now: int) -> None:
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


def add(db: Database, entries: Iterable[WatchEntry], now: int) -> Added:
    """Put wallets on the watch list."""
    new = relabelled = known = 0
    with db.write():
        for entry in entries:
            address, platform = bindable(entry.address), bindable(entry.platform)
            before = db.one("SELECT tracked, label FROM whales WHERE platform = ? AND address = ?", (platform, address))
            was_tracked, label = before or (False, None)
            wanted = label if entry.label is None else bindable(entry.label) or None
            if label and entry.is_suggested:
                wanted = label
            if was_tracked and label == wanted:
                known += 1
                continue
            db.execute(
                "INSERT INTO whales (platform, address, label, created_at, tracked_since, updated_at, revision)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (platform, address) DO UPDATE SET"
                " tracked_since = iif(tracked, tracked_since, excluded.tracked_since),"
                " tracked = 1, label = excluded.label, updated_at = excluded.updated_at, revision = excluded.revision",
                (platform, address, wanted, now, now, now, db.revision()),
            )
            if was_tracked:
                relabelled += 1
            else:
                new += 1
    return Added(new, relabelled, known)


def remove(db: Database, platform: str, address: str, now: int) -> bool:
    """Stop tracking a wallet; its history stays. False if it was not on the watch list."""
    with db.write():
        return bool(
            db.execute(
                "UPDATE whales SET tracked = 0, updated_at = ?, revision = ?"
                " WHERE platform = ? AND address = ? AND tracked",
                (now, db.revision(), bindable(platform), bindable(address)),
            )
        )


def addresses(db: Database, *, everyone: bool = False) -> list[sqlite3.Row]:
    """Id, platform, address and label of all wallets on the watch list, or of those that were on it too."""
    return db.rows("SELECT id, platform, address, label FROM whales WHERE tracked OR ? ORDER BY id", (everyone,))


def listed(
    db: Database, *, everyone: bool = False, by: str = "volume", platform: str | None = None
) -> list[dict[str, Any]]:
    """The watch list, the highest first ``by`` one of ``ORDERS``, those where it is not known last.

    With ``everyone`` also those no longer tracked. ``platform``: only wallets of this exchange.
    """
    rows = db.rows(
        f"SELECT * FROM (SELECT {_KNOWN} FROM whales AS w WHERE (tracked OR :everyone)"
        " AND platform = coalesce(:platform, platform))"
        f" ORDER BY {ORDERS[by]} DESC NULLS LAST, total_volume DESC NULLS LAST, address, platform",
        {"everyone": everyone, "platform": platform},
    )
    return [dict(row) for row in rows]


def one(db: Database, whale_id: int) -> dict[str, Any]:
    """A whale, with the same columns."""
    return dict(db.one(f"SELECT {_KNOWN} FROM whales AS w WHERE id = ?", (whale_id,)))
