"""The sums behind the whales' figures, and the rows they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from whalesync.store.database import Database
from whalesync.tally import WINDOWS_MS, Part, Sums, Tally

STORED, REMOVED = "whale_activity", "removed_activity"
DELETED, SETTLED, BACK = 0, 1, 2  # states of a removed trade; schema.py says what they mean

_COLUMNS = (
    "volume, profit, buys, sells, last_active, pruned_volume, pruned_profit, pruned_buys, pruned_sells,"
    " pruned_last_active, window_24h, window_7d, window_30d"
)

_FIGURES = (
    "total_volume, trade_count, last_active_at, volume_24h, volume_7d, volume_30d, buy_count, sell_count,"
    " realized_profit"
)

# SQLite itself adds up amounts below a million of up to 8 decimals, as whole numbers of 1e-8: three times quicker
# than rows that are fetched and added up as Decimal. It takes an amount only if dividing gives back the very same
# float; of numbers with up to 15 digits there is but one for a float, the one that repr() prints, so the sum is
# exact. The rest goes the long way, through Decimal. 90,000 such numbers fit into 64 bits.
_UNIT = Decimal("1e-8")
_WHOLE = (
    "CASE WHEN CAST(round({0} * 1e8) AS INTEGER) / 1e8 = {0}"
    " AND CAST(round({0} * 1e8) AS INTEGER) BETWEEN -99999999999999 AND 99999999999999"
    " THEN CAST(round({0} * 1e8) AS INTEGER) END"
)
_ROWS = (
    "(SELECT whale_id, action, timestamp, amount, profit, action IN ('BUY', 'SELL') AS counts,"
    f" {_WHOLE.format('amount')} AS whole_amount, {_WHOLE.format('profit')} AS whole_profit"
    " FROM {table} WHERE {where})"
)
_ODD = "counts AND (whole_amount IS NULL OR (whole_profit IS NULL AND profit IS NOT NULL))"
_SUMS = (
    "SELECT whale_id, count(*) FILTER (WHERE action = 'BUY'), count(*) FILTER (WHERE action = 'SELL'),"
    f" max(timestamp), max({_ODD}),"
    " sum(whole_profit) FILTER (WHERE counts), sum(whole_amount) FILTER (WHERE counts), "
    + ", ".join("sum(whole_amount) FILTER (WHERE counts AND timestamp >= ?)" for _ in WINDOWS_MS)
    # The plus keeps SQLite from walking the whole index by whale for the sake of the order.
    + " FROM {rows} GROUP BY +whale_id"
)


def sums(
    db: Database, as_of: int, where: str, params: tuple[int, ...], *, table: str = STORED
) -> dict[int, Part]:
    """The sums over the trades that ``where`` speaks of (at most 90,000), by whale; the windows end at ``as_of``."""
    rows = _ROWS.format(table=table, where=where)
    since = [as_of - width for width in WINDOWS_MS]
    parts: dict[int, Part] = {}
    odd = 0
    for whale_id, buys, sells, last_active, is_odd, profit, *volumes in db.rows(
        _SUMS.format(rows=rows), (*since, *params)
    ):
        volume, *windows = [(whole or 0) * _UNIT for whole in volumes]
        parts[whale_id] = Part(Sums(volume, (profit or 0) * _UNIT, buys, sells, last_active), windows)
        odd = odd or is_odd
    if odd:
        names = "whale_id, timestamp, amount, whole_amount, profit, whole_profit"
        for whale_id, timestamp, amount, whole_amount, profit, whole_profit in db.rows(
            f"SELECT {names} FROM {rows} WHERE {_ODD}", params
        ):
            part = parts[whale_id]
            if whole_profit is None and profit is not None:
                part.sums.profit += Decimal(repr(profit))
            if whole_amount is None:
                volume = Decimal(repr(amount))
                part.sums.volume += volume
                part.windows = [
                    sum_ + volume * (timestamp >= moment)
                    for sum_, moment in zip(part.windows, since, strict=True)
                ]
    return parts


def prune_whole(db: Database, as_of: int, last_id: int, where: str, params: tuple[int, ...]) -> bool:
    """Add the trades that ``where`` speaks of to what is no longer stored; inside a write transaction.

    False, and nothing done, if that is not all there is to do for them: not every one is counted yet, lies before
    all windows and can be summed up by SQLite itself.
    """
    rows = _ROWS.format(table=STORED, where=where)
    latest, odd = db.one(f"SELECT max(timestamp), max({_ODD}) FROM {rows}", params)
    uncounted = db.value(f"SELECT 1 FROM {STORED} WHERE {where} AND +id > ? LIMIT 1", (*params, last_id))
    if odd or uncounted or latest is None or latest >= as_of - max(WINDOWS_MS):
        return False
    names = ("whole_volume", "whole_profit", "buys", "sells")
    db.execute(
        f"INSERT INTO whale_tallies (whale_id, {', '.join(f'pruned_{name}' for name in names)}, pruned_last_active)"
        " SELECT whale_id, coalesce(sum(whole_amount) FILTER (WHERE counts), 0),"
        " coalesce(sum(whole_profit) FILTER (WHERE counts), 0),"
        " count(*) FILTER (WHERE action = 'BUY'), count(*) FILTER (WHERE action = 'SELL'), max(timestamp)"
        f" FROM {rows} WHERE TRUE GROUP BY +whale_id HAVING whale_id IN (SELECT id FROM whales)"
        " ON CONFLICT (whale_id) DO UPDATE SET"
        + ",".join(f" pruned_{name} = pruned_{name} + excluded.pruned_{name}" for name in names)
        + ", pruned_last_active = max(coalesce(pruned_last_active, 0), excluded.pruned_last_active)",
        params,
    )
    return True


def last_of(db: Database, after: int, limit: int) -> tuple[int, int]:
    """Of the ``limit`` trades that came after the id ``after``: the last id, and how many they are."""
    row = db.one(
        "SELECT max(id), count(*) FROM (SELECT id FROM whale_activity WHERE id > ? ORDER BY id LIMIT ?)",
        (after, limit),
    )
    return row[0] or after, row[1]


def step(db: Database, as_of: int, goal: int, limit: int) -> int:
    """How far on the way from ``as_of`` to ``goal`` at most ``limit`` trades leave or enter each window."""
    for width in WINDOWS_MS:
        edge, end = as_of - width, goal - width
        if goal > as_of:
            found = db.value(
                "SELECT timestamp FROM whale_activity WHERE timestamp >= ? AND timestamp < ?"
                " ORDER BY timestamp LIMIT 1 OFFSET ?",
                (edge, end, limit),
            )
            goal = goal if found is None else max(found, edge + 1) + width
        else:
            found = db.value(
                "SELECT timestamp FROM whale_activity WHERE timestamp >= ? AND timestamp < ?"
                " ORDER BY timestamp DESC LIMIT 1 OFFSET ?",
                (end, edge, limit),
            )
            goal = goal if found is None else min(found + 1, edge - 1) + width
    return goal


def removed(db: Database, limit: int) -> int | None:
    """The last id of up to ``limit`` trades that were deleted by others since the last look; None without any."""
    found: int | None = db.value(
        "SELECT max(id) FROM (SELECT id FROM removed_activity WHERE state = ? ORDER BY id LIMIT ?)",
        (DELETED, limit),
    )
    return found


def settle(db: Database, up_to: int) -> None:
    """Removed trades up to the id ``up_to`` are in the sums as such; inside a write transaction."""
    db.execute("UPDATE removed_activity SET state = ? WHERE state = ? AND id <= ?", (SETTLED, DELETED, up_to))


def find_again(db: Database, after: int, up_to: int) -> bool:
    """Mark removed trades that were synced once more, under ids up to ``up_to``; inside a write transaction."""
    if db.value("SELECT 1 FROM removed_activity LIMIT 1") is None:
        return False
    again = db.rows(
        "SELECT whale_id, fill_key, count(*) FROM whale_activity AS a WHERE id > ? AND id <= ? AND EXISTS"
        " (SELECT 1 FROM removed_activity AS r WHERE r.whale_id = a.whale_id AND r.fill_key = a.fill_key)"
        " GROUP BY +whale_id, fill_key",
        (after, up_to),
    )
    db.execute_many(
        "UPDATE removed_activity SET state = ? WHERE id IN"
        " (SELECT id FROM removed_activity WHERE whale_id = ? AND fill_key = ? AND state = ? LIMIT ?)",
        [(BACK, whale_id, key, SETTLED, count) for whale_id, key, count in again],
    )
    return bool(again)


def put_back(db: Database, limit: int) -> list[int]:
    """Up to ``limit`` removed trades that somebody has put back under their old ids."""
    found = db.rows(
        "SELECT id FROM removed_activity AS r WHERE state = ? AND EXISTS"
        " (SELECT 1 FROM whale_activity AS a WHERE a.id = r.id) LIMIT ?",
        (SETTLED, limit),
    )
    return [row[0] for row in found]


def mark_back(db: Database, ids: Iterable[int]) -> None:
    """Mark removed trades as back; inside a write transaction."""
    db.execute_many("UPDATE removed_activity SET state = ? WHERE id = ?", [(BACK, i) for i in ids])


def forget_back(db: Database) -> None:
    """Trades that are back are no longer removed; inside a write transaction."""
    db.execute("DELETE FROM removed_activity WHERE state = ?", (BACK,))


def tallies(db: Database, whale_ids: Iterable[int] | None = None) -> dict[int, Tally]:
    """The sums of all whales, or of some; a whale that was never counted has empty ones, one that is gone none."""
    names = ", ".join(f"t.{name}" for name in _COLUMNS.split(", "))
    sql = (
        f"SELECT w.id, {names}, pruned_whole_volume, pruned_whole_profit"
        " FROM whales AS w LEFT JOIN whale_tallies AS t ON t.whale_id = w.id"
    )
    if whale_ids is None:
        rows = db.rows(sql)
    else:
        rows = [row for i in whale_ids for row in db.rows(sql + " WHERE w.id = ?", (i,))]
    return {
        row[0]: Tally()
        if row[1] is None
        else Tally(
            Sums(Decimal(row[1]), Decimal(row[2]), *row[3:6]),
            Sums(Decimal(row[6]) + row[14] * _UNIT, Decimal(row[7]) + row[15] * _UNIT, *row[8:11]),
            [Decimal(text) for text in row[11:14]],
        )
        for row in rows
    }


def save(db: Database, changed: Mapping[int, Tally], now: int) -> None:
    """Keep sums, and the figures that come of them; inside a write transaction."""
    names = _COLUMNS.split(", ")
    db.execute_many(
        f"INSERT INTO whale_tallies (whale_id, {_COLUMNS}) VALUES (?, {', '.join('?' for _ in names)})"
        " ON CONFLICT (whale_id) DO UPDATE SET pruned_whole_volume = 0, pruned_whole_profit = 0, "
        + ", ".join(f"{name} = excluded.{name}" for name in names),
        [
            (i, *_texts(tally.all), *_texts(tally.pruned), *(f"{window:f}" for window in tally.windows))
            for i, tally in changed.items()
        ],
    )
    db.execute_many(
        f"UPDATE whales SET {', '.join(f'{name} = ?' for name in _FIGURES.split(', '))}, updated_at = ? WHERE id = ?",
        [(*figures(tally), now, i) for i, tally in changed.items()],
    )


def shown(db: Database) -> dict[int, tuple[float | int | None, ...]]:
    """The figures as they stand in ``whales``."""
    return {row[0]: tuple(row)[1:] for row in db.rows(f"SELECT id, {_FIGURES} FROM whales")}


def figures(tally: Tally) -> tuple[float | int | None, ...]:
    """A whale's figures, in the order of the columns."""
    every = tally.all
    return (
        float(every.volume),
        every.buys + every.sells,
        every.last_active,
        *map(float, tally.windows),
        every.buys,
        every.sells,
        float(every.profit),
    )


def _texts(sums: Sums) -> tuple[str, str, int, int, int | None]:
    return f"{sums.volume:f}", f"{sums.profit:f}", sums.buys, sums.sells, sums.last_active
