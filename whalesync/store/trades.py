"""The wallets' trades and how far each list has been read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from whalesync.ledger import Held, Ledger
from whalesync.records import PLATFORM, TIER_DELAYS_MS, Trade
from whalesync.store.database import Database

_COLUMNS = [field.name for field in fields(Ledger)]


def ledgers(db: Database) -> dict[int, Ledger]:
    """How far each wallet has been read, by whale id; a wallet never read has none."""
    rows = db.rows(f"SELECT whale_id, {', '.join(_COLUMNS)} FROM whale_cursors WHERE held IS NOT NULL")
    return {row[0]: Ledger(*tuple(row)[1:]) for row in rows}


def save_ledger(db: Database, whale_id: int, ledger: Ledger) -> None:
    """Keep a wallet's ledger; inside a write transaction. A floor that cleanup has raised meanwhile stays."""
    marks = ", ".join("?" for _ in _COLUMNS)
    updates = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "floor")
    db.execute(
        f"INSERT INTO whale_cursors (whale_id, {', '.join(_COLUMNS)}) VALUES (?, {marks})"
        f" ON CONFLICT (whale_id) DO UPDATE SET {updates},"
        " floor = nullif(max(coalesce(floor, 0), coalesce(excluded.floor, 0)), 0)",
        (whale_id, *(getattr(ledger, name) for name in _COLUMNS)),
    )


def floor(db: Database, whale_id: int) -> int:
    """The moment (milliseconds) before which a wallet's trades are not held; 0 if there is none."""
    return db.value("SELECT floor FROM whale_cursors WHERE whale_id = ?", (whale_id,)) or 0


def held_fills(db: Database, whale_id: int, seen: Sequence[Trade]) -> dict[int, list[Held]]:
    """The stored copies of a wallet's fills, by key, in the span of time that ``seen`` covers."""
    times = [trade.timestamp for trade in seen]
    held: dict[int, list[Held]] = {}
    for key, copy, fee, profit in db.rows(
        "SELECT fill_key, copy, fee, profit FROM whale_activity WHERE whale_id = ? AND timestamp BETWEEN ? AND ?",
        (whale_id, min(times), max(times)),
    ):
        held.setdefault(key, []).append(Held(copy, fee, profit))
    return held


def add_fills(
    db: Database, whale_id: int, fills: Iterable[tuple[Trade, int]], markets: dict[str, int]
) -> None:
    """Store fills, each with the number of its copy; inside a write transaction.

    ``markets`` maps the exchange's market ids to ours.
    """
    db.execute_many(
        "INSERT INTO whale_activity (whale_id, market_id, platform, tx_hash, action, outcome, amount, price,"
        " shares, fee, profit, timestamp, visible_to_pro_plus_at, visible_to_pro_at, visible_to_free_at,"
        " fill_key, copy) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                whale_id,
                markets[trade.market_external_id],
                PLATFORM,
                trade.tx_hash,
                trade.action,
                trade.outcome,
                trade.amount,
                trade.price,
                trade.shares,
                trade.fee,
                trade.profit,
                trade.timestamp,
                trade.timestamp,
                trade.timestamp + TIER_DELAYS_MS["pro"],
                trade.timestamp + TIER_DELAYS_MS["free"],
                trade.fill_key,
                copy,
            )
            for trade, copy in fills
        ),
    )
