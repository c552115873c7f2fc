"""Datasette's metadata: titles, meanings, and queries to begin with.

The format is that of Datasette 0.65 (docs.datasette.io/en/stable/metadata.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whalesync.views.metadata import INTERNAL, TABLES, Table

TITLE = "whalesync"
ABOUT = (
    "Every trade of the whales that are watched on prediction exchanges. Money is in USD, prices are from 0 to 1. Times"
    " whose names end in _at, and timestamp, are milliseconds since 1970 UTC. An empty cell means: not known."
)

QUERIES: Mapping[str, tuple[str, str]] = {
    "top_whales": (
        "The top whales of this week",
        """\
SELECT coalesce(label, address) AS whale, volume_7d, total_volume, realized_profit
FROM whales ORDER BY volume_7d DESC LIMIT 10;""",
    ),
    "largest_markets": (
        "The open markets with the highest volume, and their prices",
        """\
SELECT market.external_id, topic.title AS topic, market.title, market.yes_price, market.no_price,
  round(market.volume, 2) AS volume, market.liquidity, market.category
FROM markets AS market LEFT JOIN markets AS topic ON topic.platform = market.platform
  AND topic.kind = 'topic' AND topic.external_id = market.parent_external_id
WHERE market.kind = 'market' AND market.status = 'activated' ORDER BY market.volume DESC LIMIT 20;""",
    ),
    "last_market": (
        "What the whales do in one market (here the one traded last)",
        """\
SELECT whale_label, outcome, action, count(*) AS fills, sum(amount) AS usd
FROM activity_pro_plus
WHERE market_id = (SELECT market_id FROM whale_activity ORDER BY timestamp DESC LIMIT 1)
GROUP BY whale_address, outcome, action ORDER BY usd DESC;""",
    ),
    "transactions": (
        "The fills of one transaction together, the latest transactions first",
        """\
SELECT tx_hash, datetime(timestamp / 1000, 'unixepoch') AS time, count(*) AS fills, sum(amount) AS usd
FROM activity
WHERE timestamp > (SELECT max(timestamp) - 86400000 FROM whale_activity)
GROUP BY tx_hash ORDER BY timestamp DESC LIMIT 20;""",
    ),
    "free_feed": (
        "The feed of a tier",
        """\
SELECT time, whale_label, action, outcome, amount, price, market_title FROM activity_free LIMIT 50;""",
    ),
    "open_positions": (
        "Who holds what",
        """\
SELECT whale_label, market_title, outcome, shares, avg_price, price, value, unrealized_profit
FROM holdings WHERE state = 'open' LIMIT 20;""",
    ),
    "profit": (
        "Who profits, and how",
        """\
SELECT coalesce(label, address) AS whale, realized_profit, settled_profit, open_profit, win_rate, profit_complete
FROM whales ORDER BY realized_profit + settled_profit DESC LIMIT 20;""",
    ),
    "failed_runs": (
        "The runs that failed, or failed in a part",
        """\
SELECT datetime(started_at / 1000, 'unixepoch') AS started, type, status, error_count, error
FROM sync_logs WHERE error IS NOT NULL ORDER BY id DESC LIMIT 20;""",
    ),
}
"""By name: title and SQL."""


# Datasette lists the columns' meanings above the rows, one below the other, which fills the first screen.
_STYLE = "<style>dl.column-descriptions {columns: 20em; font-size: 0.8rem; max-height: 11em; overflow: auto}</style>"


def metadata(database: str) -> dict[str, Any]:
    """The metadata for a file; ``database`` is its name without the ending, as Datasette calls it."""
    tables = {name: _shown(table) for name, table in TABLES.items()}
    tables |= {name: {**_shown(table), "hidden": True} for name, table in INTERNAL.items()}
    tables["_sqlite_migrations"] = {"hidden": True}
    queries = {name: {"title": title, "sql": sql} for name, (title, sql) in QUERIES.items()}
    return {
        "title": TITLE,
        "description": ABOUT,
        "databases": {database: {"description": ABOUT, "tables": tables, "queries": queries}},
    }


def _shown(table: Table) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "description_html": table.about + _STYLE,
        "columns": dict(table.columns),
        "size": table.size,
    }
    if table.sort_desc:
        shown["sort_desc"] = table.sort_desc
    if table.facets:
        shown["facets"] = list(table.facets)
    return shown
