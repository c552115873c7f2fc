"""What ``markets show`` asks of one market or topic. Superseded rows never count, nor whales no longer tracked."""

from __future__ import annotations

import json
from dataclasses import dataclass

from whalesync.records import BUY, SELL, TOPIC
from whalesync.store import markets
from whalesync.store.database import Database
from whalesync.store.feed import Row
from whalesync.store.markets import Named


@dataclass(frozen=True, slots=True)
class MarketDetail:
    """One market, or a topic with its children.

    ``row`` and ``children`` have ``markets.MARKET_COLUMNS``, the children with the highest YES price first.
    ``positions`` are rows of the view ``holdings``: open ones first, the most valuable of them first.
    ``traders`` say what each whale traded of each outcome, the last to trade first: ``whale_address``, ``whale_label``,
    ``market_external_id``, ``market_title``, ``market_url``, ``outcome``, ``outcome_label``, ``trades`` (fills),
    ``bought`` and ``sold`` (USD), ``first_trade_at`` and ``last_trade_at`` (ms).
    """

    row: Row
    children: list[Row]
    positions: list[Row]
    traders: list[Row]


def market_detail(db: Database, named: Named) -> MarketDetail:
    """A market or topic of the file, and the watched whales in it."""
    with db.read():
        ids = markets.market_ids(db, named)
        return MarketDetail(
            row=markets.one(db, named.id),
            children=sorted((markets.one(db, each) for each in ids), key=_price, reverse=True)
            if named.kind == TOPIC
            else [],
            positions=_positions(db, ids),
            traders=_traders(db, ids),
        )


def _price(row: Row) -> float:
    return -1.0 if row["yes_price"] is None else row["yes_price"]


def _positions(db: Database, market_ids: list[int]) -> list[Row]:
    rows = db.rows(
        "SELECT * FROM holdings WHERE market_id IN (SELECT value FROM json_each(?))"
        " AND whale_id IN (SELECT id FROM whales WHERE tracked)"
        " ORDER BY state <> 'open', value DESC NULLS LAST, cost DESC NULLS LAST, id",
        (json.dumps(market_ids),),
    )
    return [dict(row) for row in rows]


def _traders(db: Database, market_ids: list[int]) -> list[Row]:
    rows = db.rows(
        "WITH traded AS ("
        "SELECT max(id) AS last_id, count(*) AS trades, min(timestamp) AS first_trade_at,"
        " max(timestamp) AS last_trade_at, total(amount) FILTER (WHERE action = :buy) AS bought,"
        " total(amount) FILTER (WHERE action = :sell) AS sold"
        " FROM whale_activity WHERE market_id IN (SELECT value FROM json_each(:ids))"
        " AND action IN (:buy, :sell) AND superseded_at IS NULL"
        " GROUP BY market_id, whale_id, coalesce(outcome, outcome_label))"
        " SELECT whale_address, whale_label, market_external_id, market_title, market_url, outcome, outcome_label,"
        " trades, bought, sold, first_trade_at, last_trade_at"
        " FROM traded CROSS JOIN activity ON activity.id = last_id"
        " WHERE whale_id IN (SELECT id FROM whales WHERE tracked) ORDER BY last_trade_at DESC, last_id DESC",
        {"ids": json.dumps(market_ids), "buy": BUY, "sell": SELL},
    )
    return [dict(row) for row in rows]
