"""What the tables, views and columns of the file mean: for Datasette, and for the README."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whalesync.records import STATUSES


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view.

    Args:
        about: a sentence.
        columns: what each column means.
        sort_desc: the column by which it is sorted at first, the largest value first.
        facets: columns of few values, to narrow the rows down by.
        size: rows a page.
    """

    about: str
    columns: Mapping[str, str] = field(default_factory=dict)
    sort_desc: str | None = None
    facets: tuple[str, ...] = ()
    size: int = 50


#: meanings of columns that several tables have, in any table
_COMMON = {
    "whale_id": "our number of the whale, see whales",
    "whale_label": "its name on the watch list",
    "whale_address": "the wallet",
    "market_id": "our number of the market, see markets",
    "market_title": "the market's title, after that of its topic",
    "market_category": "the market's first label",
    "market_external_id": "the exchange's id of the market",
    "market_url": "the market's page",
    "platform": "the exchange",
    "outcome": "YES or NO",
    "outcome_label": "the outcome, as the exchange names it",
    "token_id": "the token of the outcome",
    "updated_at": "when the row last changed",
    "revision": "a number that grows over the whole file with every change of a row",
}

#: and those of a trade
_TRADE = _COMMON | {
    "id": "grows with each trade that is stored",
    "time": "when it was made, UTC",
    "timestamp": "when it was made",
    "action": "BUY, SELL, or what else the exchange says",
    "amount": "USD that were paid or received",
    "price": "USD a share, from 0 to 1",
    "shares": "how many",
    "fee": "USD",
    "profit": "USD that it has realized, by the exchange; of sales and merges",
    "tx_hash": "the transaction",
    "visible_at": "since when the tier sees it, UTC",
    "visible_to_pro_plus_at": "since when Pro Plus sees it",
    "visible_to_pro_at": "since when Pro sees it",
    "visible_to_free_at": "since when Free sees it",
}

#: and those of a position
_POSITION = _COMMON | {
    "state": "open; won, lost: the market is resolved; void: it ended without a result; closed: sold or merged",
    "shares": "how many are held, or were held to the end",
    "avg_price": "USD that were paid for a share",
    "price": "the latest price; 1 or 0 once it is won or lost",
    "value": "USD: the shares at the latest price",
    "cost": "USD that were paid for all of them",
    "unrealized_profit": "USD: the value less the cost; of open positions",
    "settled_profit": "USD: the shares at 1 or 0, less their cost; of won and lost positions",
    "realized_profit": "USD, by the exchange; of what was sold or merged",
    "gap": "why a figure is not certain",
}


def _of(meanings: Mapping[str, str], names: str) -> dict[str, str]:
    """The meanings of these columns, in this order."""
    return {name: meanings[name] for name in names.split()}


_ACTIVITY = _of(
    _TRADE,
    "id time whale_label market_title action outcome outcome_label amount price shares fee profit tx_hash whale_address"
    " market_category market_external_id market_url whale_id market_id platform timestamp",
)
_TIER = _ACTIVITY | _of(_TRADE, "visible_at")

TABLES: Mapping[str, Table] = {
    "activity_pro_plus": Table("The trades that Pro Plus sees now, newest first.", _TIER, facets=("action",)),
    "activity_pro": Table("The trades that Pro sees now: 30 s after they were made, newest first.", _TIER),
    "activity_free": Table("The trades that Free sees now: 15 min after they were made, newest first.", _TIER),
    "holdings": Table(
        "Every position with its whale and market, in cents: open ones first, the most valuable of them first.",
        {
            "id": "as in positions",
            **_of(
                _POSITION,
                "whale_label market_title outcome outcome_label state shares avg_price price value cost"
                " unrealized_profit settled_profit realized_profit gap whale_address",
            ),
            "first_seen": "when it was first seen, UTC",
            "closed": "when it was closed, UTC",
            **_of(_POSITION, "market_category market_external_id"),
            "market_status": "as in markets",
            "market_result": "yes or no",
            **_of(_POSITION, "market_url whale_id market_id platform"),
        },
        facets=("state",),
    ),
    "whales": Table(
        "One row for each wallet that is or was on the watch list.",
        {
            "id": "our number",
            "platform": "the exchange",
            "address": "the wallet, in lower case",
            "label": "its name",
            "tracked": "1 while it is on the watch list, else 0",
            "total_volume": "USD bought and sold, over the whole known history; cleanup does not lower it",
            "trade_count": "buys and sells, likewise",
            "last_active_at": "when it last traded",
            "volume_24h": "USD bought and sold in the last 24 hours, as of the last sync or compute-stats",
            "volume_7d": "likewise, in 7 days",
            "volume_30d": "likewise, in 30 days",
            "buy_count": "buys, over the whole known history",
            "sell_count": "sells, likewise",
            "realized_profit": "USD: what the exchange says of sales and merges, over the whole known history",
            "created_at": "when it was put on the watch list",
            "updated_at": "when the row last changed",
            "revision": _COMMON["revision"],
            "settled_profit": "USD of positions that were held until their market was resolved",
            "open_profit": "USD of open positions at the latest prices",
            "open_value": "USD: the value of open positions at the latest prices",
            "won_count": "positions in resolved markets that won",
            "lost_count": "positions in resolved markets that lost",
            "win_rate": "the share of decided positions (settled, or sold) that made money; empty below 20 of them",
            "profit_complete": "1 if nothing is unknown of the profit, else 0: 'whalesync whales show' says what is",
            "tracked_since": "since when it is on the watch list without a break; empty: since it was first put there",
        },
        sort_desc="volume_7d",
        facets=("tracked",),
    ),
    "markets": Table(
        "One row for each market that can be traded, and one for each topic that groups several.",
        {
            "id": "our number",
            "platform": "the exchange",
            "kind": "market: can be traded; topic: the parent of several",
            "external_id": "the exchange's id; a topic and a market may have the same",
            "parent_external_id": "that of its topic",
            "title": "without that of its topic",
            "category": "its first label, else that of its topic, else other",
            "status": f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}; empty: known only from a trade",
            "yes_label": "the name of the first outcome",
            "no_label": "the name of the second outcome",
            "yes_token_id": "the token of the first outcome",
            "no_token_id": "the token of the second outcome",
            "yes_price": "the latest price of the first outcome's token",
            "no_price": "1 less that",
            "price_updated_at": "when that price was first seen",
            "volume": "USD",
            "volume_24h": "USD in 24 hours",
            "volume_7d": "USD in 7 days",
            "liquidity": "USD resting in the order book of the first outcome's token",
            "price_left_out_since": "since when runs have had no time to ask for its price",
            "liquidity_left_out_since": "since when runs have had no time to ask for its liquidity",
            "end_date": "when trading ends; that of its topic, if it has none",
            "resolved_at": "when it was resolved, by the exchange, or when first seen so",
            "result": "yes or no",
            "url": "its page",
            "created_at": "when it was made, by the exchange, or when first seen",
            "updated_at": "when the row last changed",
            "revision": _COMMON["revision"],
            "looked_up_at": "when the exchange was last asked for it by its id",
        },
        sort_desc="volume",
        facets=("status", "category", "kind"),
    ),
    "positions": Table(
        "One row for each outcome that a whale holds or held; holdings shows them with names.",
        {
            "id": "our number",
            **_of(
                _POSITION,
                "whale_id market_id platform token_id outcome outcome_label shares avg_price cost price value"
                " unrealized_profit state settled_profit realized_profit",
            ),
            "redeemed_profit": "USD that the exchange says was made with what was held to the end, once redeemed",
            **_of(_POSITION, "gap"),
            "first_seen_at": "when it was first seen",
            "listed_at": "when the exchange last listed it, if it does so no longer",
            "unlisted_since": "since when the exchange lists it no longer",
            "closed_at": "when it was closed",
            **_of(_POSITION, "updated_at revision"),
        },
        sort_desc="value",
        facets=("state",),
    ),
    "whale_activity": Table(
        "One row for each fill; the activity views show them with names.",
        {
            "id": "grows with each trade that is stored, and is never used again",
            **_of(
                _TRADE,
                "whale_id market_id platform tx_hash action outcome amount price shares fee profit timestamp"
                " visible_to_pro_plus_at visible_to_pro_at visible_to_free_at",
            ),
            "fill_key": "tells fills apart: a hash of what is final when a fill happens",
            "copy": "1, 2, … for fills that agree in everything",
            **_of(_TRADE, "outcome_label token_id"),
            "stored_at": "when it was stored",
            "superseded_at": "since when the exchange no longer lists it; such a row counts for nothing",
            **_of(_TRADE, "revision"),
            "changed_at": "when its content last changed after it was stored",
        },
        sort_desc="timestamp",
        facets=("action",),
    ),
    "sync_logs": Table(
        "One row for each run of a job.",
        {
            "id": "our number",
            "type": "markets, whales, positions, alerts, stats, cleanup or verify",
            "status": "running, completed or failed",
            "started_at": "when it began",
            "ended_at": "when it ended",
            "item_count": (
                "markets received, new trades, positions held, messages delivered, whales computed, rows deleted, "
                "rows repaired"
            ),
            "error": "what went wrong, also in a part of a completed run",
            "error_count": "how many problems there were",
            "exchanges": "how each exchange went, as JSON: its name, and null or why nothing could be done for it",
        },
        sort_desc="id",
        facets=("type", "status"),
    ),
    "rejected_records": Table(
        "One row for each distinct record that could not be read. One that becomes readable later is stored then.",
        {
            "id": "our number",
            "sync_log_id": "the last run that met it",
            "whale_id": "the whale in whose list it stands",
            "source": "the list",
            "reason": "why it could not be read",
            "payload": "the record, as it came",
            "timestamp": "its place in a wallet's list",
            "copies": "how often it is listed",
            "first_seen_at": "when a run first met it",
            "last_seen_at": "when a run last met it",
            "seen_count": "how many runs met it",
            "fingerprint": "a hash of the payload",
        },
        sort_desc="last_seen_at",
    ),
    "alert_deliveries": Table(
        "One row for each message of an alert rule to one target.",
        {
            "id": "that of the message; a webhook gets it each time it is sent",
            "alert": "the name of the rule",
            "target": "where it goes, without what may be secret",
            "target_number": "1, 2, … for targets of a rule that look alike",
            "status": "pending, sent or failed",
            "trade_count": "how many trades it is about",
            "total_usd": "USD of all of them",
            "attempts": "how often it was tried",
            "next_attempt_at": "when it is tried again, if it is",
            "sent_at": "when the target took it",
            "error": "why the target did not take it at the last attempt",
            "created_at": "when it was decided",
            "give_up_at": "until when it is tried",
            "hold_until": "until when the target asked to be left alone",
            "content": "the message, until it is sent",
        },
        sort_desc="created_at",
        facets=("status", "alert"),
    ),
}

INTERNAL: Mapping[str, Table] = {
    "activity": Table(
        "Every trade that counts: what the activity views are made from.",
        {
            **_ACTIVITY,
            **_of(_TRADE, "visible_to_pro_plus_at visible_to_pro_at visible_to_free_at"),
        },
    ),
    "whale_cursors": Table(
        "How far each wallet's lists have been read.",
        {
            "whale_id": _COMMON["whale_id"],
            "state": "of the sync of its trades",
            "left_out_since": "since when runs have had no time for it",
            "trades_changed": "1 if its trades have changed since its positions were last worked out",
            "positions_listed_at": "when its positions were last read whole",
        },
    ),
    "removed_sums": Table(
        "What cleanup has deleted, by whale and UTC day, so that totals do not fall.",
        {
            "whale_id": _COMMON["whale_id"],
            "day": "its first millisecond",
            "volume": "USD",
            "profit": "USD",
            "buys": "how many",
            "sells": "how many",
            "last_active_at": "the last trade",
        },
    ),
    "removed_flows": Table(
        "What the trades that cleanup has deleted did to each position.",
        {
            "whale_id": _COMMON["whale_id"],
            "market_id": _COMMON["market_id"],
            "outcome": _COMMON["outcome"],
            "label": "the outcome, as the exchange names it",
            "shares_in": "bought or split",
            "cost_in": "USD that were paid for them",
            "shares_out": "sold or merged",
            "cost_out": "USD that had been paid for those",
            "realized_profit": "USD, by the exchange",
            "unknown": "trades that lack a figure",
            "undivided": "merges with one profit for both sides",
            "last_at": "the last trade",
        },
    ),
    "alert_states": Table(
        "What each alert rule remembers.",
        {
            "alert": "the name of the rule",
            "selection": "a hash of what decides which trades it tells of",
            "since": "when it was first seen like this",
            "state": "what it holds back",
        },
    ),
    "alert_fills": Table(
        "The fills that a rule never tells of again.",
        {"alert": "the name of the rule", "fill_id": "see whale_activity", "timestamp": "when it was made"},
    ),
    "facts": Table("A few numbers, such as when the file was made.", {"name": "which", "value": "the number"}),
}
"""Not for reading: hidden in Datasette."""
