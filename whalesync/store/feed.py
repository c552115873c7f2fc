"""What people ask of the file: the feed as a tier sees it, markets, whales, and the facts behind ``status``.

Rows are plain dicts with the column names of the tables and views. All of it only reads.

Every question about activity is a range of one index that already lies in the wanted order, so a page of the
feed costs the same whether the file holds a thousand trades or ten million.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whalesync.records import BUY, DAY_MS, PLATFORM, SELL, TIER_DELAYS_MS
from whalesync.store.database import Database

Row = dict[str, Any]

_ISO = "strftime('%Y-%m-%dT%H:%M:%SZ', ({}) / 1000, 'unixepoch')"

# As the views name them, so that the feed reads alike wherever one looks.
_ACTIVITY = {
    "id": "a.id",
    "time": _ISO.format("a.timestamp"),
    "whale_address": "w.address",
    "whale_label": "w.label",
    "market_title": "m.title",
    "action": "a.action",
    "outcome": "a.outcome",
    "amount": "a.amount",
    "price": "a.price",
    "shares": "a.shares",
    "fee": "a.fee",
    "profit": "a.profit",
    "tx_hash": "a.tx_hash",
    "market_category": "m.category",
    "market_external_id": "m.external_id",
    "market_url": "m.url",
    "whale_id": "a.whale_id",
    "market_id": "a.market_id",
    "platform": "a.platform",
    "timestamp": "a.timestamp",
    "visible_at": _ISO.format("a.timestamp + :delay"),
}
ACTIVITY_COLUMNS = tuple(_ACTIVITY)

_MARKET = (
    "id, platform, external_id, parent_external_id, title, category, status, yes_label, no_label, yes_token_id,"
    " no_token_id, yes_price, no_price, price_updated_at, volume, volume_24h, volume_7d, liquidity, end_date,"
    " resolved_at, result, url, created_at, updated_at"
)
MARKET_COLUMNS = tuple(_MARKET.split(", "))

_WHALE = (
    "id, platform, address, label, tracked, total_volume, trade_count, last_active_at, volume_24h, volume_7d,"
    " volume_30d, buy_count, sell_count, realized_profit, created_at, updated_at"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a viewer has seen: what was visible at ``at`` (ms), among the rows up to ``last_id``."""

    at: int
    last_id: int


@dataclass(frozen=True, slots=True)
class WinRate:
    """Of ``sells`` stored, ``known`` have a profit that the exchange told, and ``won`` of those made money."""

    won: int
    known: int
    sells: int

    @property
    def share(self) -> float | None:
        """Won among known; None if nothing is known."""
        return self.won / self.known if self.known else None


@dataclass(frozen=True, slots=True)
class WhaleDetail:
    """One whale. ``row`` counts its whole known history; the rest speaks of the trades that are stored.

    ``days`` are UTC days, oldest first, today last, empty ones included: ``day``, ``buy``, ``sell`` (USD).
    ``markets`` are the most traded: ``external_id``, ``title``, ``category``, ``trades``, ``volume``.
    """

    row: Row
    win_rate: WinRate
    days: list[Row]
    markets: list[Row]
    trades: list[Row]


@dataclass(frozen=True, slots=True)
class Totals:
    """How much the file holds.

    ``filling`` counts the tracked wallets whose list is not wholly read yet, ``pending`` the trades that are known
    to be missing in those.
    """

    trades: int
    markets: int
    tracked: int
    filling: int
    pending: int


def activity(
    db: Database,
    tier: str,
    now: int,
    *,
    whale: str | None = None,
    market: str | None = None,
    since: int | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The trades that ``tier`` sees at ``now``, newest first.

    Args:
        tier: a key of ``TIER_DELAYS_MS``.
        whale: an address.
        market: an external id; that of a parent stands for its children too.
        since: only trades made at this moment or later (ms).
    """
    delay = TIER_DELAYS_MS[tier]
    params = {"delay": delay, "newest": now - delay, "since": since, "limit": -1 if limit is None else limit}
    visible = "a.timestamp <= :newest" + ("" if since is None else " AND a.timestamp >= :since")
    found: list[Row] = []
    for scope, scope_params in _scopes(db, whale, market):
        rows = db.rows(
            _activity_sql(where=f"{scope} AND {visible}") + " ORDER BY a.timestamp DESC LIMIT :limit",
            params | scope_params,
        )
        found += map(dict, rows)
    # The indexes leave trades of one moment in their own order; people get the last stored first.
    found.sort(key=_order, reverse=True)
    return found[:limit]


def mark(db: Database, now: int) -> Mark:
    """How far a viewer has seen who asks at ``now``; ask in the same ``db.read()`` as for the activity."""
    return Mark(now, db.value("SELECT max(id) FROM whale_activity") or 0)


def news(
    db: Database, tier: str, seen: Mark, now: int, *, whale: str | None = None, market: str | None = None
) -> tuple[list[Row], Mark]:
    """What ``tier`` sees at ``now`` and did not see at ``seen``, oldest first, and the mark to ask with next.

    A trade is new to the viewer in one of two ways: its delay has run out since, or it was stored since,
    although it was made longer ago (a late sync, a wallet's history being filled in). After a clock was put
    back, a trade may be shown twice, but none is left out.
    """
    delay = TIER_DELAYS_MS[tier]
    params = {"delay": delay, "last_id": seen.last_id, "newest": min(seen.at, now) - delay}
    with db.read():
        found = activity(db, tier, now, whale=whale, market=market, since=seen.at - delay + 1)
        for scope, scope_params in _scopes(db, whale, market):
            # NOT INDEXED leaves the primary key: few rows are new, while a whale may have a long history.
            late = _activity_sql("NOT INDEXED", f"{scope} AND a.id > :last_id AND a.timestamp <= :newest")
            found += map(dict, db.rows(late, params | scope_params))
        reached = mark(db, now)
    # Ids only grow, but a cleanup may have removed the newest.
    return sorted(found, key=_order), Mark(now, max(seen.last_id, reached.last_id))


def markets(
    db: Database,
    *,
    search: str | None = None,
    category: str | None = None,
    status: str | None = None,
    limit: int | None = None,
) -> list[Row]:
    """Markets whose title holds ``search`` (any case, any script), the biggest volume first."""
    # LIKE folds ASCII only, and would take % and _ for wildcards.
    db.connection.create_function("casefold", 1, str.casefold, deterministic=True)
    rows = db.rows(
        f"SELECT {_MARKET} FROM markets"
        " WHERE (:search IS NULL OR instr(casefold(title), :search) > 0)"
        " AND (:category IS NULL OR casefold(category) = :category)"
        " AND (:status IS NULL OR status = :status)"
        " ORDER BY volume DESC NULLS LAST, id LIMIT :limit",
        {
            "search": _folded(search),
            "category": _folded(category),
            "status": _folded(status),
            "limit": -1 if limit is None else limit,
        },
    )
    return [dict(row) for row in rows]


def whales(db: Database, *, everyone: bool = False) -> list[Row]:
    """The watch list, the biggest volume first; with ``everyone`` also those no longer tracked."""
    rows = db.rows(
        f"SELECT {_WHALE} FROM whales WHERE tracked OR :everyone ORDER BY total_volume DESC, address",
        {"everyone": everyone},
    )
    return [dict(row) for row in rows]


def whale(
    db: Database, address: str, now: int, *, days: int = 30, top_markets: int = 5, last_trades: int = 10
) -> WhaleDetail | None:
    """One whale as ``now`` sees it; None if the address was never watched."""
    with db.read():
        row = db.one(
            f"SELECT {_WHALE} FROM whales WHERE platform = ? AND address = ?",
            (PLATFORM, _bindable(address).lower()),
        )
        if row is None:
            return None
        return WhaleDetail(
            row=dict(row),
            win_rate=_win_rate(db, row["id"]),
            days=list(_days(db, row["id"], now, days)),
            markets=_most_traded(db, row["id"], top_markets),
            trades=activity(db, "pro-plus", now, whale=address, limit=last_trades),
        )


def totals(db: Database) -> Totals:
    """How much the file holds."""
    row = db.one(
        "SELECT (SELECT count(*) FROM whale_activity), (SELECT count(*) FROM markets), count(*),"
        # A list that is counted anew has a pending of -1: its number is not known.
        " count(*) FILTER (WHERE c.held IS NULL OR c.pending <> 0), coalesce(sum(max(c.pending, 0)), 0)"
        " FROM whales AS w LEFT JOIN whale_cursors AS c ON c.whale_id = w.id WHERE w.tracked"
    )
    return Totals(*row)


def rejected_counts(db: Database) -> list[Row]:
    """Refused records by source: ``source``, ``records``, ``seen`` (how often they came), ``last_seen_at``."""
    rows = db.rows(
        "SELECT source, count(*) AS records, sum(seen_count) AS seen, max(last_seen_at) AS last_seen_at"
        " FROM rejected_records GROUP BY source ORDER BY source"
    )
    return [dict(row) for row in rows]


def runs_since_success(db: Database, job_type: str) -> list[Row]:
    """The runs of one job, newest first, back to its last completed one: all that its health depends on."""
    rows = db.rows(
        "SELECT * FROM sync_logs WHERE type = :type AND id >= coalesce("
        "(SELECT id FROM sync_logs WHERE type = :type AND status = 'completed' ORDER BY id DESC LIMIT 1), 0)"
        " ORDER BY id DESC",
        {"type": job_type},
    )
    return [dict(row) for row in rows]


def _activity_sql(hint: str = "", where: str = "") -> str:
    columns = ", ".join(f"{expression} AS {name}" for name, expression in _ACTIVITY.items())
    # CROSS JOIN keeps the order of the tables: begun with whales, the rows would have to be sorted.
    return (
        f"SELECT {columns} FROM whale_activity AS a {hint}"
        " CROSS JOIN whales AS w ON w.id = a.whale_id"
        f" CROSS JOIN markets AS m ON m.id = a.market_id WHERE {where}"
    )


def _scopes(db: Database, whale: str | None, market: str | None) -> Iterator[tuple[str, Row]]:
    """The conditions that narrow the feed, one for each range of an index; none if nothing can match."""
    params: Row = {}
    scope = "TRUE"
    if whale is not None:
        params["whale"] = db.value(
            "SELECT id FROM whales WHERE platform = ? AND address = ?", (PLATFORM, _bindable(whale).lower())
        )
        if params["whale"] is None:
            return
        scope = "a.whale_id = :whale"
    if market is None:
        yield scope, params
        return
    ids = db.rows(
        "SELECT id FROM markets WHERE platform = :platform AND external_id = :market UNION ALL"
        " SELECT id FROM markets WHERE platform = :platform AND parent_external_id = :market"
        " AND external_id <> :market",
        {"platform": PLATFORM, "market": _bindable(market)},
    )
    for row in ids:
        yield f"{scope} AND a.market_id = :market", params | {"market": row["id"]}


def _order(row: Row) -> tuple[int, int]:
    return row["timestamp"], row["id"]


def _win_rate(db: Database, whale_id: int) -> WinRate:
    row = db.one(
        "SELECT count(*) FILTER (WHERE profit > 0), count(profit), count(*)"
        " FROM whale_activity WHERE whale_id = ? AND action = ?",
        (whale_id, SELL),
    )
    return WinRate(*row)


def _days(db: Database, whale_id: int, now: int, days: int) -> Iterator[Row]:
    # One range of the index a day: grouping the whole window at once would sort it first.
    today = now // DAY_MS * DAY_MS
    for start in range(today - (days - 1) * DAY_MS, today + 1, DAY_MS):
        row = db.one(
            "SELECT date(:start / 1000, 'unixepoch') AS day,"
            " total(amount) FILTER (WHERE action = :buy) AS buy, total(amount) FILTER (WHERE action = :sell) AS sell"
            " FROM whale_activity WHERE whale_id = :whale AND timestamp >= :start AND timestamp < :end",
            {"whale": whale_id, "start": start, "end": start + DAY_MS, "buy": BUY, "sell": SELL},
        )
        yield dict(row)


def _most_traded(db: Database, whale_id: int, limit: int) -> list[Row]:
    rows = db.rows(
        "SELECT m.external_id, m.title, m.category, count(*) AS trades, total(a.amount) AS volume"
        " FROM whale_activity AS a CROSS JOIN markets AS m ON m.id = a.market_id"
        " WHERE a.whale_id = ? AND a.action IN (?, ?) GROUP BY a.market_id ORDER BY volume DESC, m.id LIMIT ?",
        (whale_id, BUY, SELL, limit),
    )
    return [dict(row) for row in rows]


def _bindable(text: str) -> str:
    """Text from a command line as SQLite takes it: bytes that are no UTF-8 arrive as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _folded(text: str | None) -> str | None:
    return None if text is None else _bindable(text).casefold()
