"""What the whales hold and held (table ``positions``), and what their trades did to it.

A position has two kinds of columns. The shares, their cost and when they were listed come from the exchange
(``save``); its state, its price and what follows from them are worked out from those and its market (``settle``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from whalesync.exchanges import EXCHANGES
from whalesync.positions import Flow, Holding, Unknowns
from whalesync.records import BUY, ENDED, MERGE, RESOLVED, SELL, SPLIT
from whalesync.store.database import Database
from whalesync.store.totals import progress_of

DECIDED = "(settled_profit IS NOT NULL OR (state = 'closed' AND realized_profit IS NOT NULL))"

OUTCOMES = ("YES", "NO")
BATCH_ROWS = 5_000  # hold the lock for about 0.1 s, so that other writers come in between

_ENDED = f"m.status IN {ENDED}"
_ENDED_AT = f"iif({_ENDED}, coalesce(m.resolved_at, m.updated_at), NULL)"

# Shares that come in or go out, one row for each trade and outcome. A split or merge moves both outcomes at half a
# dollar a share; it is listed in one row for each of them, or in one row for both, which then share its profit.
_PARTNER = (
    "EXISTS (SELECT 1 FROM whale_activity AS o WHERE o.whale_id = f.whale_id AND o.timestamp = f.timestamp"
    " AND o.tx_hash = f.tx_hash AND o.market_id = f.market_id AND o.action = f.action"
    " AND o.outcome IS NOT f.outcome AND o.superseded_at IS NULL)"
)
_MOVES = f"""
SELECT f.whale_id, f.market_id, f.outcome, f.outcome_label AS label, f.action = '{BUY}' AS is_in, f.shares,
    f.amount AS usd, f.profit, 0 AS is_undivided, f.timestamp
FROM whale_activity AS f
WHERE f.action IN ('{BUY}', '{SELL}') AND f.outcome IS NOT NULL AND f.superseded_at IS NULL AND {{which}}
UNION ALL
SELECT f.whale_id, f.market_id, side.outcome, iif(f.outcome = side.outcome, f.outcome_label, NULL),
    f.action = '{SPLIT}', f.shares, f.shares * 0.5, iif({_PARTNER}, f.profit, f.profit / 2),
    f.action = '{MERGE}' AND NOT {_PARTNER}, f.timestamp
FROM whale_activity AS f
JOIN (SELECT 'YES' AS outcome UNION ALL SELECT 'NO') AS side ON f.outcome = side.outcome OR NOT {_PARTNER}
WHERE f.action IN ('{SPLIT}', '{MERGE}') AND f.superseded_at IS NULL AND {{which}}
"""
_FLOWS = f"""
SELECT whale_id, market_id, outcome, max(label) AS label,
    total(shares) FILTER (WHERE is_in) AS shares_in,
    total(usd) FILTER (WHERE is_in) AS cost_in,
    total(shares) FILTER (WHERE NOT is_in) AS shares_out,
    total(usd - coalesce(profit, 0)) FILTER (WHERE NOT is_in) AS cost_out,
    total(profit) FILTER (WHERE NOT is_in) AS realized_profit,
    count(*) FILTER (WHERE shares IS NULL OR (NOT is_in AND profit IS NULL)) AS unknown,
    total(is_undivided) AS undivided,
    max(timestamp) AS last_at
FROM ({_MOVES})
GROUP BY whale_id, market_id, outcome
"""

# Somebody may have deleted a whale or a market by hand.
_REMOVED = (
    "f.timestamp <= :until AND +f.whale_id IN (SELECT id FROM whales) AND +f.market_id IN (SELECT id FROM markets)"
)
_SUMS = ("shares_in", "cost_in", "shares_out", "cost_out", "realized_profit", "unknown", "undivided")


class Key(NamedTuple):
    """What tells the positions of one whale apart: our id of the market, and the outcome, or else its label."""

    market_id: int
    outcome: str


class Kept(NamedTuple):
    """A stored position, its token where that is known, and when its market ended (ms; None: not yet).

    ``is_doubtful``: it is open, but not listed; or it was taken for closed after its market had ended.
    """

    id: int
    is_doubtful: bool
    holding: Holding
    token_id: str | None
    ended_at: int | None


class Traded(NamedTuple):
    """What trades did to a position, and its label in them."""

    label: str
    flow: Flow


class Listing(NamedTuple):
    """When a wallet's positions were last read whole (ms; None: never), and whether its trades have changed since."""

    listed_at: int | None
    trades_changed: bool


NEVER_LISTED = Listing(None, trades_changed=True)


class Entry(NamedTuple):
    """A position to store: what tells it apart, its label, its token, and what is known of it."""

    key: Key
    outcome_label: str
    token_id: str | None
    holding: Holding


def kept(db: Database, whale_id: int, *, only_held: bool = False) -> dict[Key, Kept]:
    """The stored positions of a whale, or those of them that are neither sold nor redeemed."""
    condition = "AND closed_at IS NULL AND redeemed_profit IS NULL" if only_held else ""
    found = {}
    for row in db.rows(
        "SELECT p.id, market_id, outcome, outcome_label,"
        " iif(closed_at IS NULL, unlisted_since IS NOT NULL AND state = 'open',"
        f" {_ENDED} AND coalesce(resolved_at, m.updated_at) <= closed_at),"
        f" token_id, {_ENDED_AT}, shares, cost, realized_profit, gap, listed_at, unlisted_since, closed_at,"
        " redeemed_profit FROM positions AS p JOIN markets AS m ON m.id = market_id"
        f" WHERE whale_id = ? {condition}",
        (whale_id,),
    ):
        row_id, market_id, outcome, label, is_doubtful, token_id, ended_at, *known = row
        holding = Holding(*known)
        found[Key(market_id, outcome or label)] = Kept(row_id, bool(is_doubtful), holding, token_id, ended_at)
    return found


def listings(db: Database, whale_id: int | None = None) -> dict[int, Listing]:
    """How each wallet's positions stand, or those of one, by whale id; wallets that were never read may be missing."""
    sql = "SELECT whale_id, positions_listed_at, trades_changed FROM whale_cursors"
    rows = db.rows(sql) if whale_id is None else db.rows(f"{sql} WHERE whale_id = ?", (whale_id,))
    return {owner: Listing(listed_at, bool(changed)) for owner, listed_at, changed in rows}


def flows(db: Database, whale_id: int) -> dict[Key, Traded]:
    """What all known trades of a whale did to each of its positions, those that cleanup has deleted included."""
    sums = ", ".join(f"round(sum({name}), 9)" for name in _SUMS if name != "undivided")
    rows = db.rows(
        f"SELECT market_id, outcome, max(label), {sums}, max(last_at), sum(undivided)"
        f" FROM (SELECT * FROM ({_FLOWS.format(which='f.whale_id = :whale')})"
        " UNION ALL SELECT * FROM removed_flows WHERE whale_id = :whale)"
        " WHERE market_id IN (SELECT id FROM markets) GROUP BY market_id, outcome",  # as in _REMOVED
        {"whale": whale_id},
    )
    return {
        Key(market_id, outcome): Traded(label or outcome, Flow(*figures))
        for market_id, outcome, label, *figures in rows
    }


class TradedToken(NamedTuple):
    """What a wallet has traded: a token, the side and label that its latest trade names, and when that was (ms)."""

    market_id: int
    token_id: str
    outcome: str | None
    label: str | None
    last_at: int


def traded_tokens(db: Database, whale_id: int) -> list[TradedToken]:
    """All tokens that the stored trades of a whale bought or sold."""
    rows = db.rows(
        "SELECT market_id, token_id, outcome, outcome_label, max(timestamp) FROM whale_activity"
        f" WHERE whale_id = ? AND action IN ('{BUY}', '{SELL}') AND token_id IS NOT NULL AND superseded_at IS NULL"
        " AND market_id IN (SELECT id FROM markets) GROUP BY market_id, token_id",  # as in _REMOVED
        (whale_id,),
    )
    return [TradedToken(*row) for row in rows]


def market_times(db: Database, market_ids: Iterable[int]) -> dict[int, tuple[int | None, int | None]]:
    """For each market when it was made and when it ended, in ms; None: not known, and not yet."""
    found = {}
    for market_id in set(market_ids):
        # The time of creation of a market that is known only from a trade is when it was first met.
        made_at, ended_at = db.one(
            f"SELECT iif(status IS NULL, NULL, created_at), {_ENDED_AT} FROM markets AS m WHERE id = ?",
            (market_id,),
        )
        found[market_id] = (made_at, ended_at)
    return found


def save(db: Database, whale_id: int, platform: str, entries: Sequence[Entry], now: int) -> None:
    """Store positions of a whale, where something has changed; inside a write transaction. ``now`` in ms."""
    before = kept(db, whale_id) if entries else {}
    for entry in entries:
        known, holding = before.get(entry.key), entry.holding
        if known is not None and holding == known.holding:
            continue
        values = {
            "shares": holding.shares,
            "cost": holding.cost,
            "avg_price": holding.cost / holding.shares if holding.cost is not None and holding.shares else None,
            "realized_profit": holding.realized_profit,
            "gap": holding.gap,
            "listed_at": holding.listed_at,
            "unlisted_since": holding.unlisted_since,
            "closed_at": holding.closed_at,
            "redeemed_profit": holding.redeemed_profit,
            "updated_at": now,
            "revision": db.revision(),
        }
        if known is None:
            values |= {
                "whale_id": whale_id,
                "market_id": entry.key.market_id,
                "platform": platform,
                "token_id": entry.token_id,
                "outcome": entry.key.outcome if entry.key.outcome in OUTCOMES else None,
                "outcome_label": entry.outcome_label,
                "first_seen_at": now,
            }
            names = ", ".join(values)
            db.execute(f"INSERT INTO positions ({names}) VALUES ({', '.join(f':{name}' for name in values)})", values)
        else:
            updates = ", ".join(f"{name} = :{name}" for name in values)
            db.execute(f"UPDATE positions SET {updates} WHERE id = :id", values | {"id": known.id})


def record_listing(db: Database, whale_id: int, now: int, *, undecided: bool) -> None:
    """Remember that a wallet's positions were read whole and worked out; inside a write transaction.

    ``undecided``: of some trades nothing could be said yet, or they were stored meanwhile, so that they count as new at
    the next reading.
    """
    db.execute(
        "INSERT INTO whale_cursors (whale_id, positions_listed_at, trades_changed) VALUES (?, ?, ?)"
        " ON CONFLICT (whale_id) DO UPDATE SET positions_listed_at = excluded.positions_listed_at,"
        " trades_changed = excluded.trades_changed",
        (whale_id, now, undecided),
    )


# Exchanges that also list what is held no longer, as a parameter. The last price of a market is what it pays there.
LISTING_ALL = "(SELECT value FROM json_each(:listing_all))"

# Worked out from a position and its market. "won": 1 or 0; NULL unless the market has a result. "payout": of one share.
_WORKED_OUT = f"""
WITH facts AS (
    SELECT p.*, {_ENDED} AS ended,
        iif(m.status = '{RESOLVED}' AND m.result IS NOT NULL AND p.outcome IS NOT NULL, upper(m.result) = p.outcome,
            NULL) AS won,
        CASE p.outcome WHEN 'YES' THEN m.yes_price WHEN 'NO' THEN m.no_price END AS latest
    FROM positions AS p JOIN markets AS m ON m.id = p.market_id
    WHERE p.closed_at IS NULL OR p.state <> 'closed'
),
paid AS (
    SELECT *, coalesce(won, iif(ended AND platform IN {LISTING_ALL}, latest, NULL)) * 1.0 AS payout FROM facts
),
worked_out (id, state, price, value, unrealized_profit, settled_profit) AS (
    SELECT id, 'closed', NULL, NULL, NULL, NULL FROM paid WHERE closed_at IS NOT NULL
    UNION ALL
    SELECT id, CASE won WHEN 1 THEN 'won' WHEN 0 THEN 'lost' ELSE 'void' END, payout, NULL, NULL,
        coalesce(redeemed_profit, round(shares * payout - cost, 9))
    FROM paid WHERE closed_at IS NULL AND (won IS NOT NULL OR ended)
    UNION ALL
    SELECT id, 'open', latest, round(shares * latest, 9), round(shares * latest - cost, 9), NULL
    FROM paid WHERE closed_at IS NULL AND won IS NULL AND ended IS NOT 1
)
SELECT w.state, w.price, w.value, w.unrealized_profit, w.settled_profit, w.id
FROM worked_out AS w JOIN positions AS p USING (id)
WHERE (p.state, p.price, p.value, p.unrealized_profit, p.settled_profit)
    IS NOT (w.state, w.price, w.value, w.unrealized_profit, w.settled_profit)
"""


def settle(db: Database, now: int) -> int:
    """Bring states, prices and profits in line with the markets; returns how many positions changed. ``now`` in ms."""
    changed = db.rows(_WORKED_OUT, {"listing_all": listing_all()})
    for first in range(0, len(changed), BATCH_ROWS):
        with db.write():
            db.execute_many(
                "UPDATE positions SET (state, price, value, unrealized_profit, settled_profit, updated_at, revision)"
                f" = (?, ?, ?, ?, ?, {now:d}, {db.revision():d}) WHERE id = ?",
                changed[first : first + BATCH_ROWS],
            )
    return len(changed)


def listing_all() -> str:
    """The exchanges that also list positions which are held no longer, as JSON."""
    return json.dumps([exchange.name for exchange in EXCHANGES.values() if exchange.lists_closed_positions])


def add_removed_flows(db: Database, until: int) -> None:
    """Keep what all trades up to ``until`` (ms) did to the positions; inside the transaction that deletes them."""
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    db.execute(
        "INSERT INTO removed_flows (whale_id, market_id, outcome, label, shares_in, cost_in, shares_out,"
        f" cost_out, realized_profit, unknown, undivided, last_at) {_FLOWS.format(which=_REMOVED)}"
        f" ON CONFLICT DO UPDATE SET {sums}, last_at = max(last_at, excluded.last_at)",
        {"until": until},
    )


def drop_removed_flows(db: Database, whale_id: int) -> None:
    """Forget them, because the whale's trades are fetched again; inside the transaction that stores them."""
    db.execute("DELETE FROM removed_flows WHERE whale_id = ?", (whale_id,))


def unknowns(db: Database, whale_id: int | None = None) -> dict[int, Unknowns]:
    """What is not known of the profit of each whale, or of one, by its id."""
    one = {"whale": whale_id}
    gaps: dict[int, dict[str, int]] = {}
    for owner, gap, count in db.rows(
        "SELECT whale_id, gap, count(*) FROM positions WHERE gap IS NOT NULL AND (:whale IS NULL OR whale_id = :whale)"
        " GROUP BY whale_id, gap ORDER BY 3 DESC, 2",
        one,
    ):
        gaps.setdefault(owner, {})[gap] = count
    rows = db.rows(
        "SELECT w.id, w.platform, c.state, c.positions_listed_at,"
        " count(*) FILTER (WHERE p.state = 'void' AND p.settled_profit IS NULL),"
        " count(*) FILTER (WHERE p.state = 'open' AND p.price IS NULL)"
        " FROM whales AS w LEFT JOIN whale_cursors AS c ON c.whale_id = w.id"
        " LEFT JOIN positions AS p ON p.whale_id = w.id"
        " WHERE :whale IS NULL OR w.id = :whale GROUP BY w.id",
        one,
    )
    found = {}
    for owner, platform, state, listed_at, void, unpriced in rows:
        exchange, progress = EXCHANGES.get(platform), progress_of(platform, state)
        trades_known = (progress.complete, progress.known_from)
        if exchange is not None and exchange.lists_closed_positions:
            trades_known = (True, 0)  # the profit does not follow from them
        found[owner] = Unknowns(*trades_known, listed_at, void, unpriced, gaps.get(owner, {}))
    return found


def decided(db: Database, whale_id: int) -> int:
    """How many positions of a whale have ended with a known result, or were sold."""
    count: int = db.value(f"SELECT count(*) FROM positions WHERE whale_id = ? AND {DECIDED}", (whale_id,))
    return count


def held(db: Database, whale_id: int, *, limit: int | None = None) -> list[dict[str, Any]]:
    """A whale's open positions, the most valuable first, then those whose value is not known."""
    rows = db.rows(
        "SELECT * FROM holdings WHERE whale_id = ? AND state = 'open' ORDER BY value DESC NULLS LAST, cost DESC, id"
        " LIMIT ?",
        (whale_id, -1 if limit is None else limit),
    )
    return [dict(row) for row in rows]
