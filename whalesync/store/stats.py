"""The whales' figures, computed from the rows, and the sums of what cleanup has deleted (table ``removed_sums``).

Figures of trades are sums over a whale's rows that are not superseded, plus its removed sums; the windows hold only
what is stored. Only BUY and SELL count, except for the last activity and for the profit. Figures of what is held are
sums over its positions; so is the realized profit where the exchange lists it with them (``lists_closed_positions``).

Sums are floating point, rounded to a millionth of a dollar so that the order of adding up does not show.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from whalesync.records import BUY, DAY_MS, MERGE, SELL
from whalesync.store import positions
from whalesync.store.database import Database

FEWEST_DECIDED = 20  # positions, below which a win rate says nothing

_COUNTS = f"action IN ('{BUY}', '{SELL}')"
_REALIZES = f"action IN ('{SELL}', '{MERGE}')"

_OF_TRADES = (
    "total_volume, trade_count, last_active_at, volume_24h, volume_7d, volume_30d, buy_count, sell_count,"
    " realized_profit"
)
_TRADES = """
WITH stored AS (
    SELECT whale_id, count(*) FILTER (WHERE {counts}) AS trades, count(*) FILTER (WHERE action = '{buy}') AS buys,
        sum(amount) FILTER (WHERE {counts}) AS volume,
        sum(profit) FILTER (WHERE {realizes}) AS profit,
        sum(amount) FILTER (WHERE timestamp >= :day AND {counts}) AS day,
        sum(amount) FILTER (WHERE timestamp >= :week AND {counts}) AS week,
        sum(amount) FILTER (WHERE timestamp >= :month AND {counts}) AS month
    FROM whale_activity
    WHERE action IN ('{buy}', '{sell}', '{merge}') AND superseded_at IS NULL {of_whales}
    GROUP BY {whale}
),
removed AS (
    SELECT whale_id, sum(buys) AS buys, sum(sells) AS sells, sum(volume) AS volume, sum(profit) AS profit,
        max(last_active_at) AS last_active_at
    FROM removed_sums
    GROUP BY whale_id
),
parts AS (
    SELECT w.id, w.platform, s.day, s.week, s.month,
        coalesce(s.volume, 0) + coalesce(r.volume, 0) AS volume,
        coalesce(s.profit, 0) + coalesce(r.profit, 0) AS profit,
        coalesce(s.buys, 0) + coalesce(r.buys, 0) AS buys,
        coalesce(s.trades - s.buys, 0) + coalesce(r.sells, 0) AS sells,
        (
            SELECT timestamp FROM whale_activity
            WHERE whale_id = w.id AND superseded_at IS NULL
            ORDER BY timestamp DESC LIMIT 1
        ) AS stored_at,
        r.last_active_at AS removed_at
    FROM whales AS w
    LEFT JOIN stored AS s ON s.whale_id = w.id
    LEFT JOIN removed AS r ON r.whale_id = w.id
    WHERE :whales IS NULL OR w.id IN (SELECT value FROM json_each(:whales))
),
computed ({figures}, id) AS (
    SELECT round(volume, 6), buys + sells, max(coalesce(stored_at, removed_at), coalesce(removed_at, stored_at)),
        round(coalesce(day, 0), 6), round(coalesce(week, 0), 6), round(coalesce(month, 0), 6), buys, sells,
        round(iif(platform IN {listing_all}, {listed_profit}, profit), 6), id
    FROM parts
)
SELECT * FROM computed AS c
WHERE ({figures}) IS NOT (SELECT {figures} FROM whales AS w WHERE w.id = c.id)
"""
_LISTED_PROFIT = "(SELECT total(realized_profit) FROM positions WHERE whale_id = {whale})"
_TERMS = {
    "counts": _COUNTS, "realizes": _REALIZES, "buy": BUY, "sell": SELL, "merge": MERGE, "figures": _OF_TRADES,
    "listing_all": positions.LISTING_ALL, "listed_profit": _LISTED_PROFIT.format(whale="parts.id"),
}  # fmt: skip
# The plus in GROUP BY keeps SQLite from following the index by whale: 1.9 s instead of 0.6 s over a million rows.
_TRADES_OF_ALL = _TRADES.format(**_TERMS, of_whales="", whale="+whale_id")
_TRADES_OF_SOME = _TRADES.format(
    **_TERMS, of_whales="AND whale_id IN (SELECT value FROM json_each(:whales))", whale="whale_id"
)

_OF_POSITIONS = "settled_profit, open_profit, open_value, won_count, lost_count, win_rate, profit_complete"
# A sum of which no part is known is not known; one that has no parts is 0. A position is decided when its market has a
# result, or when it was sold; its profit is all that it has brought.
_POSITIONS = f"""
WITH sums AS (
    SELECT whale_id,
        iif(count(*) FILTER (WHERE state IN ('won', 'lost') OR settled_profit IS NOT NULL), sum(settled_profit), 0)
            AS settled,
        iif(count(*) FILTER (WHERE state = 'open'), sum(unrealized_profit), 0) AS unrealized,
        iif(count(*) FILTER (WHERE state = 'open'), sum(value) FILTER (WHERE state = 'open'), 0) AS value,
        count(*) FILTER (WHERE state = 'won') AS won,
        count(*) FILTER (WHERE state = 'lost') AS lost,
        iif(
            count(*) FILTER (WHERE {positions.DECIDED}) >= {FEWEST_DECIDED},
            avg(coalesce(settled_profit, 0) + coalesce(realized_profit, 0) > 0) FILTER (WHERE {positions.DECIDED}),
            NULL
        ) AS win_rate
    FROM positions
    GROUP BY whale_id
),
parts AS (
    SELECT w.id, c.positions_listed_at IS NOT NULL AS listed, s.*
    FROM whales AS w
    LEFT JOIN whale_cursors AS c ON c.whale_id = w.id
    LEFT JOIN sums AS s ON s.whale_id = w.id
),
computed ({_OF_POSITIONS}, id) AS (
    SELECT iif(listed, round(iif(whale_id, settled, 0), 6), NULL),
        iif(listed, round(iif(whale_id, unrealized, 0), 6), NULL),
        iif(listed, round(iif(whale_id, value, 0), 6), NULL),
        iif(listed, coalesce(won, 0), NULL),
        iif(listed, coalesce(lost, 0), NULL),
        iif(listed, round(win_rate, 6), NULL),
        id IN (SELECT value FROM json_each(:complete)),
        id
    FROM parts
)
SELECT * FROM computed AS c
WHERE ({_OF_POSITIONS}) IS NOT (SELECT {_OF_POSITIONS} FROM whales AS w WHERE w.id = c.id)
"""

_REALIZED = f"""
SELECT round({_LISTED_PROFIT.format(whale="w.id")}, 6) AS realized, id FROM whales AS w
WHERE platform IN {positions.LISTING_ALL} AND realized IS NOT realized_profit
"""


def update_trades(db: Database, now: int, whale_ids: Iterable[int] | None = None) -> int:
    """Bring the figures of trades up to date, of all whales or of some; returns how many whales changed.

    The windows end at ``now`` (ms). The figures are computed in one statement, and so in one read transaction, which
    blocks no writer.
    """
    starts = {name: now - days * DAY_MS for name, days in (("day", 1), ("week", 7), ("month", 30))}
    values = starts | {"listing_all": positions.listing_all()}
    if whale_ids is None:
        changed = db.rows(_TRADES_OF_ALL, values | {"whales": None})
    else:
        changed = db.rows(_TRADES_OF_SOME, values | {"whales": json.dumps(sorted(whale_ids))})
    return _save(db, _OF_TRADES, changed, now)


def update_positions(db: Database, now: int) -> int:
    """Bring positions in line with the markets, and the whales' figures in line with their positions.

    Returns how many whales changed. ``now`` in ms.
    """
    positions.settle(db, now)
    complete = [whale_id for whale_id, unknown in positions.unknowns(db).items() if not unknown.reasons(now)]
    changed = db.rows(_POSITIONS, {"complete": json.dumps(complete)})
    realized = db.rows(_REALIZED, {"listing_all": positions.listing_all()})
    _save(db, _OF_POSITIONS, changed, now)
    _save(db, "realized_profit", realized, now)
    return len({row["id"] for row in (*changed, *realized)})


def _save(db: Database, figures: str, changed: Sequence[Sequence[Any]], now: int) -> int:
    """Store figures, each row followed by the whale's id."""
    if changed:
        marks = ", ".join("?" for _ in figures.split(","))
        with db.write():
            db.execute_many(
                f"UPDATE whales SET ({figures}, updated_at, revision) = ({marks}, {now:d}, {db.revision():d})"
                " WHERE id = ?",
                changed,
            )
    return len(changed)


def whale_count(db: Database) -> int:
    """How many whales there are."""
    count: int = db.value("SELECT count(*) FROM whales")
    return count


def add_removed_sums(db: Database, until: int) -> None:
    """Add the sums of all trades up to ``until`` (ms) to the removed sums of their whales and UTC days.

    Inside the write transaction that deletes these trades.
    """
    db.execute(
        "INSERT INTO removed_sums (whale_id, day, volume, profit, buys, sells, last_active_at)"
        f" SELECT whale_id, timestamp / {DAY_MS} * {DAY_MS} AS day, total(amount) FILTER (WHERE {_COUNTS}),"
        f" total(profit) FILTER (WHERE {_REALIZES}), count(*) FILTER (WHERE action = '{BUY}'),"
        f" count(*) FILTER (WHERE action = '{SELL}'), max(timestamp)"
        " FROM whale_activity WHERE timestamp <= ? AND superseded_at IS NULL"
        " AND +whale_id IN (SELECT id FROM whales)"  # somebody may have deleted one by hand
        " GROUP BY +whale_id, day"
        " ON CONFLICT DO UPDATE SET volume = volume + excluded.volume, profit = profit + excluded.profit,"
        " buys = buys + excluded.buys, sells = sells + excluded.sells,"
        " last_active_at = max(last_active_at, excluded.last_active_at)",
        (until,),
    )


def drop_removed_days(db: Database, whale_id: int, days: Iterable[int]) -> None:
    """Forget the removed sums of a whale's UTC days (each by its first ms), because their trades are stored again.

    Inside the write transaction that stores them.
    """
    db.execute_many("DELETE FROM removed_sums WHERE whale_id = ? AND day = ?", [(whale_id, day) for day in days])
