"""The feed: the trades that a tier sees (view ``activity``), newest first.

Every question is a range of one index that already lies in the order of time, so a page of the feed costs the same
whether the file holds a thousand trades or ten million. Superseded rows are not in the view.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, islice, pairwise
from typing import Any, NamedTuple

from whalesync import fold
from whalesync.fold import Fill
from whalesync.records import TIER_DELAYS_MS
from whalesync.store.database import Database
from whalesync.units import HOUR

Row = dict[str, Any]

#: as the views of the tiers have them, so that the feed reads alike wherever one asks
ACTIVITY_COLUMNS = (
    "id", "time", "whale_label", "market_title", "action", "outcome", "outcome_label", "amount", "price", "shares",
    "fee", "profit", "tx_hash", "whale_address", "market_category", "market_external_id", "market_url", "whale_id",
    "market_id", "platform", "timestamp", "visible_at",
)  # fmt: skip

MOST_READ = 100_000  # fills that a search for large trades looks at, at most: it takes a second
FAR_MS = HOUR  # between fills of a whale that are looked up one by one

_FILL = (
    "id, whale_id, market_id, action, coalesce(outcome, outcome_label) AS outcome, tx_hash, timestamp, amount, price,"
    " shares"
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a viewer has seen: what was visible at ``at`` (ms), among the rows up to ``last_id``."""

    at: int
    last_id: int


class LargeTrades(NamedTuple):
    """The fills of large trades, newest first.

    ``searched_from`` (ms): the search ended there, because it had read ``MOST_READ`` fills; None: it is complete.
    """

    rows: list[Row]
    searched_from: int | None


class _Narrowed(NamedTuple):
    """Of whom, where, and on which exchange; None: all."""

    whale_id: int | None
    market_ids: Sequence[int] | None
    platform: str | None


def activity(
    db: Database,
    tier: str,
    now: int,
    *,
    whale_id: int | None = None,
    market_ids: Sequence[int] | None = None,
    platform: str | None = None,
    since: int | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The trades that ``tier`` sees at ``now`` (ms), newest first; of one moment, the last stored first.

    Args:
        tier: a key of ``TIER_DELAYS_MS``.
        market_ids: only trades in one of these markets.
        since: only trades made at this moment or later (ms).
        limit: at most so many.
    """
    times = {"now": now, "since": since or 0}
    narrowed = _Narrowed(whale_id, market_ids, platform)
    return list(map(dict, _visible(db, tier, _columns(tier), "timestamp >= :since", times, narrowed, limit)))


def large_trades(
    db: Database,
    tier: str,
    now: int,
    *,
    min_usd: float,
    whale_id: int | None = None,
    market_ids: Sequence[int] | None = None,
    platform: str | None = None,
    since: int | None = None,
    limit: int | None = None,
) -> LargeTrades:
    """The fills of trades (see ``whalesync.fold``) of which ``tier`` sees at least ``min_usd`` at ``now`` (ms).

    Goes back along the index until ``limit`` is filled. The other arguments are as for ``activity``. Ask within one
    ``db.read()``.
    """
    reached: int | None = None

    def limited(fills: Iterable[Fill]) -> Iterator[Fill]:
        nonlocal reached
        for place, fill in enumerate(fills):
            if place == MOST_READ:
                reached = fill.timestamp
                return
            yield fill

    narrowed = _Narrowed(whale_id, market_ids, platform)
    rows = _visible(db, tier, _FILL, "timestamp >= 0", {"now": now}, narrowed)
    fills = limited(Fill(*row) for row in rows)
    found = fold.newest_of_large_trades(fills, min_usd, since=since or 0, limit=limit)
    return LargeTrades(rows_of(db, tier, (fill.id for fill in found))[::-1], reached)


def cursor(db: Database, now: int) -> Cursor:
    """How far a viewer has seen who asks at ``now``; ask in the same ``db.read()`` as for the activity."""
    return Cursor(now, db.value("SELECT max(id) FROM whale_activity") or 0)


def new_activity(
    db: Database,
    tier: str,
    seen: Cursor,
    now: int,
    *,
    whale_id: int | None = None,
    market_ids: Sequence[int] | None = None,
    platform: str | None = None,
    min_usd: float | None = None,
) -> tuple[list[Row], Cursor]:
    """What ``tier`` sees at ``now`` and did not see at ``seen``, oldest first, and the cursor to ask with next.

    A trade is new to the viewer in one of two ways: its delay has run out since, or it was stored since, although
    it was made longer ago (a late sync, a wallet's history being loaded). After a clock was set back, a trade may be
    shown twice, but none is left out.

    With ``min_usd``, the fills of trades of at least so much: all of a trade's fills once it has grown so large, then
    each further one. Where a fill that is stored late changes which fills are one trade, one may be shown twice.
    """
    narrowed = _Narrowed(whale_id, market_ids, platform)
    seen_until = seen.at - TIER_DELAYS_MS[tier]
    times = {"now": now, "visible": seen_until, "last_id": seen.last_id}
    # The plus makes SQLite go by the primary key: few rows are new, while a whale may have a long history.
    stored_late = "+timestamp <= :visible AND id > :last_id"
    columns = _columns(tier) if min_usd is None else _FILL
    with db.read():
        new = list(_visible(db, tier, columns, "timestamp > :visible", times, narrowed))
        new += _visible(db, tier, columns, stored_late, times, narrowed, by_id="+")
        if min_usd is None:
            found = sorted(map(dict, new), key=_order)
        else:
            fills = runs(db, now - TIER_DELAYS_MS[tier], [Fill(*row) for row in new])
            known = [fill for fill in fills if fill.timestamp <= seen_until and fill.id <= seen.last_id]
            shown = set(fold.of_large_trades(known, min_usd))
            large = fold.of_large_trades(fills, min_usd)
            found = rows_of(db, tier, (each.id for each in large if each not in shown))
        reached = cursor(db, now)
    # Ids only grow, but a cleanup may have deleted the newest.
    return found, Cursor(now, max(seen.last_id, reached.last_id))


def new_fills(db: Database, tier: str, seen: Cursor, now: int, *, since: int) -> list[Fill]:
    """The fills that ``tier`` sees at ``now`` and did not see at ``seen`` (as for ``new_activity``), in any order.

    Only those made at ``since`` (ms) or later. After a clock was set back, all of these: it is not known which of them
    were visible before.
    """
    at = seen.at - TIER_DELAYS_MS[tier] if seen.at <= now else -1
    times = {"now": now, "visible": at, "last_id": seen.last_id, "since": since}
    everything = _Narrowed(None, None, None)
    visible_since = "timestamp > :visible AND timestamp >= :since"
    rows = list(_visible(db, tier, _FILL, visible_since, times, everything))
    stored_late = "+timestamp <= :visible AND +timestamp >= :since AND id > :last_id"
    rows += _visible(db, tier, _FILL, stored_late, times, everything, by_id="+")
    return [Fill(*row) for row in rows]


def fills(db: Database, ids: Iterable[int]) -> list[Fill]:
    """The fills with these ids, without those that are superseded."""
    rows = db.rows(f"SELECT {_FILL} FROM activity WHERE id IN (SELECT value FROM json_each(?))", (_json(ids),))
    return [Fill(*row) for row in rows]


def runs(db: Database, until: int, fills: Iterable[Fill]) -> set[Fill]:
    """The runs (see ``whalesync.fold``) that these fills are part of, as far as they were made by ``until`` (ms)."""
    found: set[Fill] = set()
    for whale_id, group in groupby(
        sorted(fills, key=lambda fill: (fill.whale_id, fill.timestamp)), lambda fill: fill.whale_id
    ):
        for near in _near(list(group)):
            keys, oldest, newest = {fill.key for fill in near}, near[0].timestamp, near[-1].timestamp
            back = _fills_of(db, whale_id, "timestamp <= :to ORDER BY timestamp DESC", newest)
            found.update(_connected(back, keys, oldest, -1))
            on = _fills_of(db, whale_id, f"timestamp > :to AND timestamp <= {until:d} ORDER BY timestamp", newest)
            found.update(_connected(on, keys, newest, 1))
    return found


def _near(fills: Sequence[Fill]) -> Iterator[Sequence[Fill]]:
    """Split fills, oldest first, where so much time lies between two that one would not read through it."""
    starts = [at for at in range(1, len(fills)) if fills[at].timestamp - fills[at - 1].timestamp > FAR_MS]
    for start, end in pairwise([0, *starts, len(fills)]):
        yield fills[start:end]


def _connected(fills: Iterator[Fill], keys: set[fold.TradeKey], reach: int, direction: int) -> Iterator[Fill]:
    """Those with these keys up to the first pause beyond ``reach`` (ms); ``direction`` is 1 or, back in time, -1."""
    for fill in fills:
        beyond = (fill.timestamp - reach) * direction
        if beyond > fold.SPAN_MS:
            return
        if fill.key in keys:
            yield fill
            reach = max(reach, fill.timestamp, key=lambda at: at * direction)


def _fills_of(db: Database, whale_id: int, condition: str, to: int) -> Iterator[Fill]:
    sql = f"SELECT {_FILL} FROM activity WHERE whale_id = :whale AND {condition}"
    return (Fill(*row) for row in db.each(sql, {"whale": whale_id, "to": to}))


def rows_of(db: Database, tier: str, ids: Iterable[int]) -> list[Row]:
    """The rows with these ids as ``tier`` sees them, oldest first, without those that are superseded."""
    sql = f"SELECT {_columns(tier)} FROM activity WHERE id IN (SELECT value FROM json_each(?))"
    return sorted(map(dict, db.rows(sql, (_json(ids),))), key=_order)


def _visible(
    db: Database,
    tier: str,
    columns: str,
    condition: str,
    params: dict[str, int],
    narrowed: _Narrowed,
    limit: int | None = None,
    by_id: str = "",
) -> Iterator[sqlite3.Row]:
    """Rows that ``tier`` sees at ``:now``, newest first, one by one; each market is a range of its own."""
    sql = f"SELECT {columns} FROM activity WHERE {condition} AND {_visible_at(tier)} <= :now"
    if narrowed.whale_id is not None:
        sql += f" AND {by_id}whale_id = :whale"
    if narrowed.platform is not None:
        sql += " AND platform = :platform"
    if narrowed.market_ids is not None:
        sql += f" AND {by_id}market_id = :market"
    # The plus keeps SQLite from going through everybody's trades because those are sorted by id too.
    ties = "id" if narrowed.whale_id is None else "+id"
    sql += f" ORDER BY {by_id}timestamp DESC, {ties} DESC LIMIT :limit"
    values = {
        **params,
        "whale": narrowed.whale_id,
        "platform": narrowed.platform,
        "limit": -1 if limit is None else limit,
    }
    markets = [None] if narrowed.market_ids is None else narrowed.market_ids
    ranges = [db.each(sql, values | {"market": market}) for market in markets]
    return islice(merge(*ranges, key=_order, reverse=True), limit)


def _json(ids: Iterable[int]) -> str:
    return json.dumps(list(ids))


def _columns(tier: str) -> str:
    columns = ", ".join(ACTIVITY_COLUMNS[:-1])
    return f"{columns}, strftime('%Y-%m-%dT%H:%M:%SZ', {_visible_at(tier)} / 1000, 'unixepoch') AS visible_at"


def _visible_at(tier: str) -> str:
    return f"visible_to_{tier.replace('-', '_')}_at"


def _order(row: sqlite3.Row | Row) -> tuple[int, int]:
    return row["timestamp"], row["id"]
