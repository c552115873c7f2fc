"""A wallet's trades and positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from whalesync.exchanges.opinion_trade.pages import TradePage
from whalesync.exchanges.opinion_trade.parsing import fields
from whalesync.records import BUY, SELL, Position, RejectedRecord, Trade

FILLED = 2
FILLED_NAMES = ("filled", "finished")


class PositionPage(NamedTuple):
    """A page of a wallet's positions; ``total`` is the length of the whole list."""

    total: int
    records: list[Position | RejectedRecord]


def parse_trades(result: Any, limit: int) -> TradePage:
    """A page of a wallet's trades, of at most ``limit`` entries."""
    total, entries = fields.list_of(result, limit)
    return TradePage(total=total, entries=[fields.parse_or_reject(raw, _trade) for raw in entries])


def parse_positions(result: Any, limit: int) -> PositionPage:
    """A page of a wallet's positions, of at most ``limit`` entries."""
    total, entries = fields.list_of(result, limit)
    return PositionPage(total, [fields.parse_or_reject(raw, _position) for raw in entries])


def _trade(raw: Mapping[str, Any]) -> Trade:
    status, name = raw.get("status"), raw.get("statusEnum")
    filled = status == FILLED or (isinstance(name, str) and name.lower() in FILLED_NAMES)
    if not filled and (status, name) != (None, None):
        raise fields.InvalidRecord(f"status is {status!r:.20} ({name!r:.20}), not filled")
    action = fields.given(fields.text(raw, "side"), "side").upper()
    outcome = _outcome(raw)
    amount = fields.not_negative(raw, "amount")
    if action in (BUY, SELL):
        fields.given(amount, "amount")
        if outcome is None:
            raise fields.InvalidRecord(f"outcomeSide is {raw.get('outcomeSide')!r:.20}, neither 1 (yes) nor 2 (no)")
    market, parent = fields.identity(raw, "marketId"), _parent_id(raw)
    parent_title = fields.text(raw, "rootMarketTitle") or None
    return Trade(
        tx_hash=fields.given(fields.text(raw, "txHash"), "txHash"),
        market_external_id=market,
        market_title=fields.text(raw, "marketTitle") or parent_title or f"market {market}",
        action=action,
        outcome=outcome,
        amount=amount or 0.0,
        price=fields.not_negative(raw, "price"),
        shares=fields.not_negative(raw, "shares"),
        fee=fields.number(raw, "fee"),
        profit=fields.number(raw, "profit"),
        timestamp=fields.given(fields.time_ms(raw, "createdAt"), "createdAt"),
        parent_external_id=parent,
        parent_title=parent_title if parent else None,
        outcome_label=fields.text(raw, "outcome") or None,
    )


def _position(raw: Mapping[str, Any]) -> Position:
    outcome, market, parent = _outcome(raw), fields.identity(raw, "marketId"), _parent_id(raw)
    label = fields.text(raw, "outcome") or outcome
    if label is None:
        raise fields.InvalidRecord(f"outcomeSide is {raw.get('outcomeSide')!r:.20}, neither 1 (yes) nor 2 (no)")
    parent_title = fields.text(raw, "rootMarketTitle") or None
    average = fields.not_negative(raw, "avgEntryPrice")
    return Position(
        market_external_id=market,
        market_title=fields.text(raw, "marketTitle") or parent_title or f"market {market}",
        outcome=outcome,
        outcome_label=label,
        token_id=fields.text(raw, "tokenId") or None,
        shares=fields.given(fields.not_negative(raw, "sharesOwned"), "sharesOwned"),
        avg_price=average or None,  # what is held has cost something: 0 is one way to say that it is not known
        parent_external_id=parent,
        parent_title=parent_title if parent else None,
    )


def _outcome(raw: Mapping[str, Any]) -> str | None:
    side = raw.get("outcomeSide")
    if side in (1, "1"):
        return "YES"
    if side in (2, "2"):
        return "NO"
    for field in ("outcomeSideEnum", "outcome"):
        label = raw.get(field)
        if isinstance(label, str) and label.upper() in ("YES", "NO"):
            return label.upper()
    return None


def _parent_id(raw: Mapping[str, Any]) -> str | None:
    """The topic of a trade's market. A binary market has none: 0, nothing, or its own number."""
    if raw.get("rootMarketId") in (None, 0, "", "0"):
        return None
    parent = fields.identity(raw, "rootMarketId")
    return None if parent == fields.identity(raw, "marketId") else parent
