"""The feed: the trades that a tier sees (view ``activity``), newest first.

Every question is a range of one index that already lies in the order of time, so a page of the feed costs the same
whether the file holds a thousand trades or ten million. Superseded rows are not in the view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whalesync.records import TIER_DELAYS_MS
from whalesync.store.database import Database

Row = dict[str, Any]

#: as the views of the tiers have them, so that the feed reads alike wherever one asks
ACTIVITY_COLUMNS = (
    "id", "time", "whale_label", "market_title", "action", "outcome", "outcome_label", "amount", "price", "shares",
    "fee", "profit", "tx_hash", "whale_address", "market_category", "market_external_id", "market_url", "whale_id",
    "market_id", "platform", "timestamp", "visible_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a viewer has seen: what was visible at ``at`` (ms), among the rows up to ``last_id``."""

    at: int
    last_id: int


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
    return _visible(db, tier, "timestamp >= :since", times, whale_id, market_ids, platform, limit)


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
) -> tuple[list[Row], Cursor]:
    """What ``tier`` sees at ``now`` and did not see at ``seen``, oldest first, and the cursor to ask with next.

    A trade is new to the viewer in one of two ways: its delay has run out since, or it was stored since, although
    it was made longer ago (a late sync, a wallet's history being loaded). After a clock was set back, a trade may be
    shown twice, but none is left out.
    """
    narrowed = (whale_id, market_ids, platform)
    times = {"now": now, "visible": seen.at - TIER_DELAYS_MS[tier], "last_id": seen.last_id}
    # The plus makes SQLite go by the primary key: few rows are new, while a whale may have a long history.
    stored_late = "+timestamp <= :visible AND id > :last_id"
    with db.read():
        found = _visible(db, tier, "timestamp > :visible", times, *narrowed)
        found += _visible(db, tier, stored_late, times, *narrowed, by_id="+")
        reached = cursor(db, now)
    # Ids only grow, but a cleanup may have deleted the newest.
    return sorted(found, key=_order), Cursor(now, max(seen.last_id, reached.last_id))


def _visible(
    db: Database,
    tier: str,
    condition: str,
    params: dict[str, int],
    whale_id: int | None,
    market_ids: Sequence[int] | None,
    platform: str | None,
    limit: int | None = None,
    by_id: str = "",
) -> list[Row]:
    """Rows that ``tier`` sees at ``:now``, newest first; each market is a range of its own."""
    visible_at = f"visible_to_{tier.replace('-', '_')}_at"
    columns = ", ".join(ACTIVITY_COLUMNS[:-1])
    sql = (
        f"SELECT {columns}, strftime('%Y-%m-%dT%H:%M:%SZ', {visible_at} / 1000, 'unixepoch') AS visible_at"
        f" FROM activity WHERE {condition} AND {visible_at} <= :now"
    )
    if whale_id is not None:
        sql += f" AND {by_id}whale_id = :whale"
    if platform is not None:
        sql += " AND platform = :platform"
    if market_ids is not None:
        sql += f" AND {by_id}market_id = :market"
    # The plus keeps SQLite from going through everybody's trades because those are sorted by id too.
    ties = "id" if whale_id is None else "+id"
    sql += f" ORDER BY {by_id}timestamp DESC, {ties} DESC LIMIT :limit"
    values = params | {"whale": whale_id, "platform": platform, "limit": -1 if limit is None else limit}
    found: list[Row] = []
    for market in [None] if market_ids is None else market_ids:
        found += map(dict, db.rows(sql, values | {"market": market}))
    return sorted(found, key=_order, reverse=True)[:limit]


def _order(row: Row) -> tuple[int, int]:
    return row["timestamp"], row["id"]
