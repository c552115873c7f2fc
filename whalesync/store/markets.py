"""Markets, their prices and liquidity. A row is rewritten only where something has changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from whalesync.records import ACTIVATED, PLATFORM, Market, Trade
from whalesync.store.database import Database

_FIELDS = [field.name for field in fields(Market) if field.name not in ("external_id", "created_at")]


@dataclass(frozen=True, slots=True)
class Tradable:
    """A market that can be traded now, with what the order of asking needs; times in milliseconds."""

    id: int
    external_id: str
    yes_token_id: str
    volume_24h: float
    price_left_out_since: int | None
    liquidity_left_out_since: int | None


def save(db: Database, markets: Sequence[Market], now: int) -> int:
    """Insert or update markets; returns how many rows were written. Inside a write transaction."""
    changed = " OR ".join(f"excluded.{name} IS NOT {name}" for name in _FIELDS)
    updates = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS)
    # The moment of creation comes late for a market that was first met in a trade.
    return db.execute_many(
        f"INSERT INTO markets (platform, external_id, created_at, updated_at, {', '.join(_FIELDS)})"
        f" VALUES (?, ?, ?, ?, {', '.join('?' for _ in _FIELDS)})"
        f" ON CONFLICT (platform, external_id) DO UPDATE SET {updates},"
        " created_at = min(created_at, excluded.created_at), updated_at = excluded.updated_at"
        f" WHERE {changed}",
        (
            (
                PLATFORM,
                market.external_id,
                market.created_at or now,
                now,
                *(getattr(market, name) for name in _FIELDS),
            )
            for market in markets
        ),
    )


def ids_for(db: Database, trades: Iterable[Trade], now: int, known: dict[str, int]) -> dict[str, int]:
    """Our ids of the markets that ``trades`` are in, added to ``known``; inside a write transaction.

    A market not seen yet gets a stub row from what the trade says, which the next market sync fills in.
    """
    for trade in trades:
        external_id = trade.market_external_id
        if external_id in known:
            continue
        find = "SELECT id FROM markets WHERE platform = ? AND external_id = ?"
        found = db.value(find, (PLATFORM, external_id))
        known[external_id] = found or db.insert(
            "INSERT INTO markets (platform, external_id, parent_external_id, title, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (PLATFORM, external_id, trade.root_external_id, trade.market_title, now, now),
        )
    return known


def tradable(db: Database) -> list[Tradable]:
    """Activated markets that have a YES token of their own; a child shares in its parent's 24 h volume."""
    return [
        Tradable(*row)
        for row in db.rows(
            "SELECT m.id, m.external_id, m.yes_token_id, coalesce(m.volume_24h, p.volume_24h, 0),"
            " m.price_left_out_since, m.liquidity_left_out_since"
            " FROM markets AS m LEFT JOIN markets AS p"
            " ON p.platform = m.platform AND p.external_id = m.parent_external_id"
            " WHERE m.status = ? AND m.yes_token_id IS NOT NULL",
            (ACTIVATED,),
        )
    ]


def save_price(db: Database, market_id: int, price: float, now: int) -> None:
    """Store the latest YES price of a market, if it is another than before."""
    with db.write():
        db.execute(
            "UPDATE markets SET price_updated_at = ?, yes_price = ?, no_price = ? WHERE id = ? AND yes_price IS NOT ?",
            # rounded to what the exchange gives, so that 1 - 0.65 is 0.35
            (now, price, round(1 - price, 12), market_id, price),
        )


def save_liquidity(db: Database, market_id: int, amount: float) -> None:
    """Store the USD resting in a market's book, if it is another amount than before."""
    with db.write():
        db.execute(
            "UPDATE markets SET liquidity = ? WHERE id = ? AND liquidity IS NOT ?",
            (amount, market_id, amount),
        )


def note_left_out(db: Database, what: str, asked: Iterable[int], left_out: Iterable[int], now: int) -> None:
    """Remember whose price or liquidity (``what``) a run had no time for; the next one begins with them."""
    column = {"price": "price_left_out_since", "liquidity": "liquidity_left_out_since"}[what]
    with db.write():
        db.execute_many(
            f"UPDATE markets SET {column} = NULL WHERE id = ? AND {column} IS NOT NULL", [(i,) for i in asked]
        )
        db.execute_many(
            f"UPDATE markets SET {column} = ? WHERE id = ? AND {column} IS NULL", [(now, i) for i in left_out]
        )
