"""What ``whales show`` asks of one whale. Superseded rows never count."""

from __future__ import annotations

from dataclasses import dataclass

from whalesync.records import BUY, SELL
from whalesync.store import feed, positions, totals, trades, whales
from whalesync.store.database import Database
from whalesync.store.feed import Row
from whalesync.units import DAY


@dataclass(frozen=True, slots=True)
class WhaleDetail:
    """One whale. ``row`` counts its whole known history; the rest is about what is stored.

    ``listed`` is how many trades the exchange lists, None if that is not known. ``unknown``: why the profit is not
    complete, in words. ``positions`` are those that are open, the most valuable first, ``decided`` how many were
    settled or sold, and with what result is known.

    ``days`` are UTC days, oldest first, today last, empty ones included: ``day``, ``buy``, ``sell`` (USD).
    ``markets`` are the most traded: ``external_id``, ``market_title``, ``category``, ``url``, ``trades`` (fills),
    ``volume`` (USD).
    ``trades`` are the newest, as in the feed.
    """

    row: Row
    listed: int | None
    unknown: list[str]
    decided: int
    positions: list[Row]
    days: list[Row]
    markets: list[Row]
    trades: list[Row]


def whale_detail(
    db: Database, whale_id: int, now: int, *, days: int = 30, top_markets: int = 5, last_trades: int = 10
) -> WhaleDetail:
    """A whale of the file as it is at ``now`` (ms)."""
    with db.read():
        row = whales.one(db, whale_id)
        return WhaleDetail(
            row=row,
            listed=totals.progress_of(row["platform"], trades.state(db, whale_id)).listed,
            unknown=positions.unknowns(db, whale_id)[whale_id].reasons(now),
            decided=positions.decided(db, whale_id),
            positions=positions.held(db, whale_id),
            days=[_day(db, whale_id, now - ago * DAY) for ago in reversed(range(days))],
            markets=_by_market(db, whale_id, top_markets),
            trades=feed.activity(db, "pro-plus", now, whale_id=whale_id, limit=last_trades),
        )


def _by_market(db: Database, whale_id: int, limit: int) -> list[Row]:
    """The buys and sells in each market, the most traded first: one pass, since they may lie all over the file."""
    rows = db.rows(
        "WITH traded AS ("
        "SELECT max(id) AS last_id, count(*) AS trades, total(amount) AS volume"
        " FROM whale_activity WHERE whale_id = :whale AND action IN (:buy, :sell) AND superseded_at IS NULL"
        " GROUP BY market_id)"
        " SELECT market_external_id AS external_id, market_title, market_category AS category,"
        " market_url AS url, trades, volume"
        " FROM traded JOIN activity ON id = last_id ORDER BY volume DESC, market_id LIMIT :limit",
        {"whale": whale_id, "buy": BUY, "sell": SELL, "limit": limit},
    )
    return [dict(row) for row in rows]


def _day(db: Database, whale_id: int, moment: int) -> Row:
    """The volume of the UTC day of ``moment`` (ms). One range of the index; grouping all days would sort them first."""
    start = moment // DAY * DAY
    row = db.one(
        "SELECT date(:start / 1000, 'unixepoch') AS day,"
        " total(amount) FILTER (WHERE action = :buy) AS buy, total(amount) FILTER (WHERE action = :sell) AS sell"
        " FROM whale_activity"
        " WHERE whale_id = :whale AND timestamp >= :start AND timestamp < :end AND superseded_at IS NULL",
        {"whale": whale_id, "start": start, "end": start + DAY, "buy": BUY, "sell": SELL},
    )
    return dict(row)
