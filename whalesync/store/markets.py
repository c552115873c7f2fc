"""Markets, topics, their prices and liquidity (table ``markets``). A row is rewritten only where something changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from whalesync.exchanges.base import Key, StoredMarket, Tradable
from whalesync.records import ACTIVATED, ENDED, MARKET, RESOLVED, TOPIC, Market, Position, Trade
from whalesync.store import outcomes
from whalesync.store.database import Database, bindable
from whalesync.text import TOPIC_SEPARATOR

LONG_ID = 20  # characters of an id from which on its beginning names it
SHORTEST_PREFIX = 6

_KEY = ("kind", "external_id", "created_at")
_FIELDS = [field.name for field in fields(Market) if field.name not in (*_KEY, "provisional")]
_NOT_ALWAYS_GIVEN = ("parent_external_id", "volume", "volume_24h", "volume_7d", "liquidity")
_PRICES = ("yes_price", "no_price")

# A market that is called like its topic is not named twice.
_TITLE = f"coalesce(nullif(t.title, m.title) || '{TOPIC_SEPARATOR}', '') || m.title"
_WITH_TOPIC = (
    "FROM markets AS m LEFT JOIN markets AS t"
    " ON t.platform = m.platform AND t.kind = 'topic' AND t.external_id = m.parent_external_id"
)

MARKET_COLUMNS = (
    "id", "platform", "kind", "external_id", "parent_external_id", "title", "market_title", "category", "status",
    "yes_label", "no_label", "yes_token_id", "no_token_id", "yes_price", "no_price", "price_updated_at", "volume",
    "volume_24h", "volume_7d", "liquidity", "end_date", "resolved_at", "result", "url", "created_at", "updated_at",
)  # fmt: skip


_COLUMNS = ", ".join(f"{_TITLE} AS market_title" if name == "market_title" else f"m.{name}" for name in MARKET_COLUMNS)


def save(db: Database, platform: str, markets: Sequence[Market], now: int) -> int:
    """Insert or update markets; returns how many rows were written. Inside a write transaction.

    The time of a resolution that the exchange does not date is when it was first seen. A price belongs to its token:
    it goes with it. Volumes, prices and the parent that a response leaves out stay as they are known. Trades and
    positions stand on the side that their token has in the market (``outcomes``).
    """
    retokened = _with_other_tokens(db, platform, markets)
    unmoved = "excluded.yes_token_id IS yes_token_id"
    values = {name: f"excluded.{name}" for name in _FIELDS}
    values |= {name: f"coalesce(excluded.{name}, {name})" for name in _NOT_ALWAYS_GIVEN}
    values |= {name: f"coalesce(excluded.{name}, iif({unmoved}, {name}, NULL))" for name in _PRICES}
    values["price_updated_at"] = (
        f"iif({unmoved} AND coalesce(excluded.yes_price, yes_price) IS yes_price, price_updated_at,"
        " excluded.price_updated_at)"
    )
    # What was taken for deleted and is listed again was not.
    values["status"] = "iif(:provisional AND status <> 'deleted', status, :status)"
    values["resolved_at"] = "iif(:undated, coalesce(resolved_at, :resolved_at), :resolved_at)"
    changed = " OR ".join(f"{value} IS NOT {name}" for name, value in values.items())
    updates = ", ".join(f"{name} = {value}" for name, value in values.items())
    names = ["platform", *_KEY, *_FIELDS, "price_updated_at", "updated_at", "revision"]
    common = {"platform": platform, "updated_at": now, "revision": db.revision()}
    written = db.execute_many(
        f"INSERT INTO markets ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
        f" ON CONFLICT (platform, kind, external_id) DO UPDATE SET {updates},"
        # The moment of creation comes late for a market that was first met in a trade.
        " created_at = min(created_at, excluded.created_at), updated_at = excluded.updated_at,"
        f" revision = excluded.revision WHERE {changed}",
        [common | _values(market, now) for market in markets],
    )
    outcomes.correct(db, retokened, now)
    return written


def _values(market: Market, now: int) -> dict[str, Any]:
    """A market's columns; ``undated``: it is resolved, and the exchange does not say since when."""
    values = {name: getattr(market, name) for name in (*_KEY, *_FIELDS, "provisional")}
    undated = market.status == RESOLVED and not market.resolved_at
    return values | {
        "undated": undated,
        "resolved_at": now if undated else market.resolved_at,
        "created_at": market.created_at or now,
        "price_updated_at": None if market.yes_price is None else now,
    }


def _with_other_tokens(db: Database, platform: str, markets: Iterable[Market]) -> list[int]:
    """Our ids of the stored markets whose tokens were others, or not known."""
    found = (
        db.value(
            "SELECT id FROM markets WHERE platform = ? AND kind = ? AND external_id = ?"
            " AND (yes_token_id, no_token_id) IS NOT (?, ?)",
            (platform, *market.key, market.yes_token_id, market.no_token_id),
        )
        for market in markets
    )
    return [market_id for market_id in found if market_id is not None]


def ids_for(
    db: Database, platform: str, records: Iterable[Trade | Position], now: int, known: dict[str, int]
) -> dict[str, int]:
    """Our ids of the markets that trades or positions are in, added to ``known``; inside a write transaction.

    A market or topic not seen yet gets a stub row from what the record says, which the next market sync fills in.
    """
    for record in records:
        external_id = record.market_external_id
        if external_id in known:
            continue
        if record.parent_external_id is not None and record.parent_title:
            _id_or_stub(db, platform, TOPIC, record.parent_external_id, None, record.parent_title, now)
        known[external_id] = _id_or_stub(
            db, platform, MARKET, external_id, record.parent_external_id, record.market_title, now
        )
    return known


def tradable(db: Database, platform: str) -> list[Tradable]:
    """Activated markets that have a YES token; a child shares in its topic's 24 h volume."""
    return [
        Tradable(*row)
        for row in db.rows(
            "SELECT m.id, m.external_id, m.yes_token_id, coalesce(m.volume_24h, t.volume_24h, 0),"
            f" m.price_left_out_since, m.liquidity_left_out_since {_WITH_TOPIC}"
            " WHERE m.platform = ? AND m.kind = 'market' AND m.status = ? AND m.yes_token_id IS NOT NULL",
            (platform, ACTIVATED),
        )
    ]


def without_status(db: Database, platform: str, keys: Iterable[Key]) -> set[Key]:
    """Those among these markets that are not stored, or known from a trade alone."""
    known = "SELECT 1 FROM markets WHERE platform = ? AND kind = ? AND external_id = ? AND status IS NOT NULL"
    return {key for key in keys if db.value(known, (platform, *key)) is None}


_END_UNKNOWN = f"m.status IS NULL OR m.status NOT IN {ENDED}"
_STORED = (
    "SELECT m.id, m.kind, m.external_id, m.parent_external_id, m.status, m.category, m.end_date, m.url,"
    f" m.looked_up_at, t.looked_up_at, m.created_at {_WITH_TOPIC}"
    " WHERE m.platform = :platform AND"
)


def not_ended(db: Database, platform: str) -> list[StoredMarket]:
    """Markets and topics whose end is not known."""
    return [StoredMarket(*row) for row in db.rows(f"{_STORED} ({_END_UNKNOWN})", {"platform": platform})]


def topics_never_looked_up(db: Database, platform: str, limit: int) -> list[StoredMarket]:
    """Topics that have ended and were never looked up, newest first."""
    return [
        StoredMarket(*row)
        for row in db.rows(
            f"{_STORED} m.kind = 'topic' AND m.looked_up_at IS NULL AND NOT ({_END_UNKNOWN})"
            " ORDER BY m.created_at DESC LIMIT :limit",
            {"platform": platform, "limit": limit},
        )
    ]


def without_result(db: Database, platform: str, since: int, not_after: int, limit: int) -> list[StoredMarket]:
    """Markets resolved after ``since`` without a result, of which neither they nor their topics were looked up lately.

    Args:
        not_after: the latest time (ms) at which they may have been looked up.
    """
    return [
        StoredMarket(*row)
        for row in db.rows(
            f"{_STORED} m.kind = 'market' AND m.status = 'resolved' AND m.result IS NULL AND m.resolved_at > :since"
            " AND coalesce(m.looked_up_at, 0) <= :not_after AND coalesce(t.looked_up_at, 0) <= :not_after"
            " ORDER BY m.resolved_at DESC LIMIT :limit",
            {"platform": platform, "since": since, "not_after": not_after, "limit": limit},
        )
    ]


def record_looked_up(db: Database, platform: str, keys: Iterable[Key], now: int) -> None:
    """Remember when markets were last asked for by their id; inside a write transaction."""
    db.execute_many(
        "UPDATE markets SET looked_up_at = ? WHERE platform = ? AND kind = ? AND external_id = ?",
        [(now, platform, *key) for key in keys],
    )


def mark_deleted(db: Database, ids: Iterable[int], now: int) -> None:
    """Give markets the status ``deleted``; inside a write transaction."""
    revision = db.revision()
    db.execute_many(
        "UPDATE markets SET status = 'deleted', updated_at = ?, revision = ? WHERE id = ?",
        [(now, revision, i) for i in ids],
    )


def end_topics(db: Database, platform: str, now: int) -> int:
    """Give topics the status ``resolved`` whose stored markets have all ended; returns how many have got it.

    Inside a write transaction.
    """
    return db.execute(
        "UPDATE markets SET status = :resolved, resolved_at = (SELECT max(resolved_at) FROM markets AS m"
        " WHERE m.parent_external_id = markets.external_id AND m.platform = :platform AND m.kind = 'market'),"
        " updated_at = :now, revision = :revision"
        f" WHERE platform = :platform AND kind = 'topic' AND (status IS NULL OR status NOT IN {ENDED})"
        # An unknown status is NULL here, and NULL is not 0: such a topic has not ended.
        f" AND (SELECT min(coalesce(m.status IN {ENDED}, 0)) FROM markets AS m"
        " WHERE m.parent_external_id = markets.external_id AND m.platform = :platform AND m.kind = 'market')",
        {"platform": platform, "resolved": RESOLVED, "now": now, "revision": db.revision()},
    )


def save_price(db: Database, market_id: int, yes_price: float | None, now: int) -> None:
    """Store the latest YES price of a market, if it is another than before; None: it has none."""
    # rounded to what exchanges give, so that 1 - 0.65 is 0.35
    no_price = None if yes_price is None else round(1 - yes_price, 12)
    with db.write():
        db.execute(
            "UPDATE markets SET price_updated_at = ?, yes_price = ?, no_price = ?, updated_at = ?, revision = ?"
            " WHERE id = ? AND yes_price IS NOT ?",
            (
                None if yes_price is None else now, yes_price, no_price, now, db.revision(), market_id, yes_price,
            ),
        )  # fmt: skip


def save_liquidity(db: Database, market_id: int, usd: float, now: int) -> None:
    """Store the USD resting in a market's book, if it is another amount than before."""
    with db.write():
        db.execute(
            "UPDATE markets SET liquidity = ?, updated_at = ?, revision = ? WHERE id = ? AND liquidity IS NOT ?",
            (usd, now, db.revision(), market_id, usd),
        )


def record_left_out(db: Database, what: str, asked: Iterable[int], left_out: Iterable[int], now: int) -> None:
    """Remember whose price or liquidity (``what``) a run had no time for; the next one begins with them."""
    column = {"price": "price_left_out_since", "liquidity": "liquidity_left_out_since"}[what]
    with db.write():
        db.execute_many(
            f"UPDATE markets SET {column} = NULL WHERE id = ? AND {column} IS NOT NULL", [(i,) for i in asked]
        )
        db.execute_many(
            # never later than now, should the clock have been set back
            f"UPDATE markets SET {column} = ? WHERE id = ? AND ({column} IS NULL OR {column} > ?)",
            [(now, i, now) for i in left_out],
        )


class Named(NamedTuple):
    """A market or topic that somebody names; ``title`` has that of its topic before it."""

    id: int
    platform: str
    kind: str
    external_id: str
    title: str


_BY_ID = (
    "m.kind = 'market' AND m.external_id = :text",
    "m.kind = 'topic' AND m.external_id = :text",
    "length(:text) >= :some AND length(m.external_id) > :long"
    " AND substr(lower(m.external_id), 1, length(:text)) = lower(:text)",
)
_BY_TITLE = (
    f"m.kind = 'market' AND casefold(:text) IN (casefold(m.title), casefold({_TITLE}))",
    "m.kind = 'topic' AND casefold(m.title) = casefold(:text)",
)


def named_by_id(db: Database, text: str, platform: str | None = None) -> list[Named]:
    """As ``named``, by the exchange's id or the beginning of a long one alone."""
    return _first_found(db, _BY_ID, bindable(text).strip(), platform)


def named(db: Database, text: str, platform: str | None = None) -> list[Named]:
    """The markets and topics that a text may mean. The first of these rules that finds any decides.

    An exchange's id, of a market before that of a topic; the beginning of a long id; a whole title, likewise; words
    that a title contains, of its topic or its own, in any case and order. A topic whose title has all words stands for
    its children.
    """
    wanted = bindable(text).strip().removesuffix("…").removesuffix("...")
    if not wanted:
        return []
    if found := _first_found(db, (*_BY_ID, *_BY_TITLE), wanted, platform):
        return found
    # as many as a title may have; SQLite takes no more than 1,000
    words = {f"word{place}": word for place, word in enumerate(wanted.casefold().split()[:100])}
    every = " AND ".join(f"instr(casefold({{0}}), :{name}) > 0" for name in words)
    # Of a topic that has all words, the children have them too, and are not named one by one.
    condition = f"({every.format(_TITLE)}) AND (t.id IS NULL OR NOT ({every.format('t.title')}))"
    return _named(db, condition, words | {"platform": platform})


def _first_found(db: Database, conditions: Iterable[str], text: str, platform: str | None) -> list[Named]:
    values = {"text": text, "platform": platform, "long": LONG_ID, "some": SHORTEST_PREFIX}
    return next((found for condition in conditions if (found := _named(db, condition, values))), [])


def market_ids(db: Database, found: Named) -> list[int]:
    """Our ids of the markets that a market or topic stands for: itself, or the children."""
    if found.kind == MARKET:
        return [found.id]
    rows = db.rows(
        "SELECT id FROM markets WHERE parent_external_id = ? AND platform = ? AND kind = 'market' ORDER BY id",
        (found.external_id, found.platform),
    )
    return [row[0] for row in rows]


def listed(
    db: Database,
    *,
    search: str | None = None,
    category: str | None = None,
    status: str | None = None,
    kind: str = MARKET,
    platform: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Markets whose title, with their topic's, holds ``search`` (any case, any script), the biggest volume first."""
    rows = db.rows(
        f"SELECT {_COLUMNS} {_WITH_TOPIC}"
        " WHERE m.kind = :kind AND (:platform IS NULL OR m.platform = :platform)"
        " AND (:search IS NULL OR instr(casefold(market_title), :search) > 0)"
        " AND (:category IS NULL OR casefold(m.category) = :category)"
        " AND (:status IS NULL OR m.status = :status)"
        " ORDER BY m.volume DESC NULLS LAST, m.id LIMIT :limit",
        {
            "kind": kind,
            "platform": platform,
            "search": _folded(search),
            "category": _folded(category),
            "status": _folded(status),
            "limit": -1 if limit is None else limit,
        },
    )
    return [dict(row) for row in rows]


def one(db: Database, market_id: int) -> dict[str, Any]:
    """A market or topic, with the columns of the market table."""
    return dict(db.one(f"SELECT {_COLUMNS} {_WITH_TOPIC} WHERE m.id = ?", (market_id,)))


def _named(db: Database, condition: str, values: dict[str, Any]) -> list[Named]:
    rows = db.rows(
        f"SELECT m.id, m.platform, m.kind, m.external_id, {_TITLE} {_WITH_TOPIC}"
        f" WHERE ({condition}) AND (:platform IS NULL OR m.platform = :platform)"
        f" ORDER BY m.status IS NOT '{ACTIVATED}', m.volume DESC NULLS LAST, m.id",
        values,
    )
    return [Named(*row) for row in rows]


def categories(db: Database) -> list[str]:
    """Every category that a market has, in alphabetical order."""
    return [row[0] for row in db.rows("SELECT DISTINCT category FROM markets WHERE category IS NOT NULL ORDER BY 1")]


def _id_or_stub(
    db: Database, platform: str, kind: str, external_id: str, parent: str | None, title: str, now: int
) -> int:
    found: int | None = db.value(
        "SELECT id FROM markets WHERE platform = ? AND kind = ? AND external_id = ?",
        (platform, kind, external_id),
    )
    return found or db.insert(
        "INSERT INTO markets (platform, kind, external_id, parent_external_id, title, created_at, updated_at, revision)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (platform, kind, external_id, parent, title, now, now, db.revision()),
    )


def _folded(text: str | None) -> str | None:
    return None if text is None else bindable(text).casefold()
