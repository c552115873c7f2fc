"""What ``whales show`` asks of one whale. Superseded rows never count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from whalesync.records import BUY, DAY_MS, SELL
from whalesync.store import feed, whales
from whalesync.store.database import Database
from whalesync.store.feed import Row


@dataclass(frozen=True, slots=True)
class WinRate:
    """Of ``sells`` stored, ``known`` have a profit that the exchange gave, and ``won`` of those made money."""

    won: int
    known: int
    sells: int

    @property
    def share(self) -> float | None:
        """Won among known; None if nothing is known."""
        return self.won / self.known if self.known else None


@dataclass(frozen=True, slots=True)
class WhaleDetail:
    """One whale. ``row`` counts its whole known history; the rest is about the trades that are stored.

    ``days`` are UTC days, oldest first, today last, empty ones included: ``day``, ``buy``, ``sell`` (USD).
    ``markets`` are the most traded: ``external_id``, ``market_title``, ``category``, ``trades``, ``volume`` (USD).
    ``trades`` are the newest, as in the feed.
    """

    row: Row
    win_rate: WinRate
    days: list[Row]
    markets: list[Row]
    trades: list[Row]


def whale_detail(
    db: Database, whale_id: int, now: int, *, days: int = 30, top_markets: int = 5, last_trades: int = 10
) -> WhaleDetail:
    """A whale of the file as it is at ``now`` (ms)."""
    with db.read():
        return WhaleDetail(
            row=dict(db.one(f"SELECT {whales.COLUMNS} FROM whales WHERE id = ?", (whale_id,))),
            win_rate=_win_rate(db, whale_id),
            days=list(_days(db, whale_id, now, days)),
            markets=_most_traded(db, whale_id, top_markets),
            trades=feed.activity(db, "pro-plus", now, whale_id=whale_id, limit=last_trades),
        )


def _win_rate(db: Database, whale_id: int) -> WinRate:
    row = db.one(
        "SELECT count(*) FILTER (WHERE profit > 0), count(profit), count(*)"
        " FROM activity WHERE whale_id = ? AND action = ?",
        (whale_id, SELL),
    )
    return WinRate(*row)


def _days(db: Database, whale_id: int, now: int, days: int) -> Iterator[Row]:
    # One range of the index a day: grouping the whole span at once would sort it first.
    today = now // DAY_MS * DAY_MS
    for start in range(today - (days - 1) * DAY_MS, today + 1, DAY_MS):
        row = db.one(
            "SELECT date(:start / 1000, 'unixepoch') AS day,"
            " total(amount) FILTER (WHERE action = :buy) AS buy, total(amount) FILTER (WHERE action = :sell) AS sell"
            " FROM activity WHERE whale_id = :whale AND timestamp >= :start AND timestamp < :end",
            {"whale": whale_id, "start": start, "end": start + DAY_MS, "buy": BUY, "sell": SELL},
        )
        yield dict(row)


def _most_traded(db: Database, whale_id: int, limit: int) -> list[Row]:
    rows = db.rows(
        "SELECT market_external_id AS external_id, market_title, market_category AS category, count(*) AS trades,"
        " total(amount) AS volume FROM activity WHERE whale_id = ? AND action IN (?, ?)"
        " GROUP BY market_id ORDER BY volume DESC, market_id LIMIT ?",
        (whale_id, BUY, SELL, limit),
    )
    return [dict(row) for row in rows]
