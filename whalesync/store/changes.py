"""What has changed in the file since a cursor: the rows that readers elsewhere follow, with their keys in full.

Rows name wallets and markets as the exchange does, since the numbers of one file mean nothing in another. A cursor is
the revision and the id of the last row that was read: a row that changes gets a larger revision, and comes again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from whalesync.store.database import Database

START = (-1, -1)
_EPOCH_2000 = 946_684_800_000  # ms
_NUL, _REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"

Row = tuple[Any, ...]
Cursor = tuple[int, int]


class Type(StrEnum):
    """What a column holds, named as PostgreSQL does. A moment is read as microseconds since 2000, as there."""

    TEXT = "text"
    FLOAT = "float8"
    INTEGER = "int8"
    MOMENT = "timestamptz"


class Column(NamedTuple):
    """A column that is read; ``sql``: what computes it, with ``r`` for the row."""

    name: str
    type: Type
    sql: str


@dataclass(frozen=True)
class Table:
    """A table that is followed.

    Args:
        name: of the table, here and elsewhere.
        columns: what is read of a row.
        source: FROM and what follows, with ``{rows}`` for the rows in question.
        key: the columns that name a row everywhere.
    """

    name: str
    columns: tuple[Column, ...]
    source: str
    key: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(column.name for column in self.columns)


def _moment(ms: str) -> str:
    """Microseconds since 2000 from milliseconds since 1970."""
    return f"({ms} - {_EPOCH_2000}) * 1000"


def _columns(names: str, type: Type = Type.TEXT, row: str = "r") -> tuple[Column, ...]:
    values = {name: f"{row}.{name}" for name in names.split()}
    return tuple(Column(name, type, _moment(value) if type is Type.MOMENT else value) for name, value in values.items())


MARKETS = Table(
    "markets",
    (
        *_columns("platform kind external_id parent_external_id title category status yes_label no_label"),
        *_columns("yes_token_id no_token_id result url"),
        *_columns("yes_price no_price volume volume_24h volume_7d liquidity", Type.FLOAT),
        *_columns("price_updated_at end_date resolved_at created_at updated_at", Type.MOMENT),
    ),
    "FROM {rows} AS r",
    ("platform", "kind", "external_id"),
)
WHALES = Table(
    "whales",
    (
        *_columns("platform address label"),
        *_columns("tracked trade_count buy_count sell_count won_count lost_count profit_complete", Type.INTEGER),
        *_columns("total_volume volume_24h volume_7d volume_30d realized_profit settled_profit", Type.FLOAT),
        *_columns("open_profit open_value win_rate", Type.FLOAT),
        *_columns("last_active_at created_at updated_at", Type.MOMENT),
    ),
    "FROM {rows} AS r",
    ("platform", "address"),
)
# Whatever refers to a wallet or market that somebody has deleted by hand is left out.
_WALLET_AND_MARKET = (
    Column("platform", Type.TEXT, "w.platform"),
    Column("address", Type.TEXT, "w.address"),
    Column("market_kind", Type.TEXT, "m.kind"),
    Column("market_external_id", Type.TEXT, "m.external_id"),
)
_JOINED = "FROM {rows} AS r CROSS JOIN whales AS w ON w.id = r.whale_id CROSS JOIN markets AS m ON m.id = r.market_id"
POSITIONS = Table(
    "positions",
    (
        *_WALLET_AND_MARKET,
        *_columns("token_id outcome outcome_label state gap"),
        *_columns("shares avg_price cost price value unrealized_profit settled_profit realized_profit", Type.FLOAT),
        *_columns("first_seen_at closed_at updated_at", Type.MOMENT),
    ),
    _JOINED,
    ("platform", "address", "market_kind", "market_external_id", "outcome", "outcome_label"),
)
# Two files may number the copies of equal fills in another order. What counts comes first, then the lower fee and
# profit; and all copies are as new as the newest of them, so that two views of them are never mixed.
_COPY = "row_number() OVER (equal ORDER BY r.superseded_at IS NOT NULL, r.fee, r.profit, r.copy)"
_OBSERVED = "coalesce(r.changed_at, r.stored_at, r.timestamp)"
ACTIVITY = Table(
    "whale_activity",
    (
        *_WALLET_AND_MARKET,
        *_columns("tx_hash action outcome outcome_label token_id"),
        *_columns("amount price shares fee profit", Type.FLOAT),
        *_columns("fill_key", Type.INTEGER),
        *_columns("timestamp stored_at superseded_at", Type.MOMENT),
        Column("copy", Type.INTEGER, _COPY),
        Column("observed_at", Type.MOMENT, _moment(f"max({_OBSERVED}) OVER equal")),
    ),
    f"{_JOINED} WINDOW equal AS (PARTITION BY r.whale_id, r.timestamp, r.fill_key)",
    ("platform", "address", "timestamp", "fill_key", "copy"),
)
# The same of fills that have no equals, as nearly all: four times as fast.
_LONE = replace(
    ACTIVITY,
    columns=(
        *ACTIVITY.columns[:-2],
        Column("copy", Type.INTEGER, "1"),
        Column("observed_at", Type.MOMENT, _moment(_OBSERVED)),
    ),
    source=_JOINED,
)
TABLES = (MARKETS, WHALES, POSITIONS, ACTIVITY)
"""In an order in which each row comes after what it refers to."""

# A range of (revision, id), in two parts: SQLite would go through all rows of the cursor's revision.
_CHANGED = """
SELECT revision, id FROM (
    SELECT revision, id FROM {table} WHERE revision = :revision AND id > :id AND :revision <= :until
    ORDER BY id LIMIT :limit
)
UNION ALL
SELECT revision, id FROM (
    SELECT revision, id FROM {table} WHERE revision > :revision AND revision <= :until
    ORDER BY revision, id LIMIT :limit
)
LIMIT :limit
"""
_CHANGED_ROWS = "(SELECT c.* FROM json_each(:ids) AS j CROSS JOIN {table} AS c ON c.id = j.value{where})"
_HAS_EQUALS = (
    "EXISTS (SELECT 1 FROM whale_activity AS o WHERE o.whale_id = c.whale_id AND o.timestamp = c.timestamp"
    " AND o.fill_key = c.fill_key AND o.id <> c.id)"
)
_LONE_ROWS = _CHANGED_ROWS.format(table="whale_activity", where=f" WHERE NOT {_HAS_EQUALS}")
_EQUAL_ROWS = f"""(
    SELECT a.* FROM (
        SELECT DISTINCT whale_id, timestamp, fill_key
        FROM {_CHANGED_ROWS.format(table="whale_activity", where=f" WHERE {_HAS_EQUALS}")}
    ) AS fill
    CROSS JOIN whale_activity AS a
        ON a.whale_id = fill.whale_id AND a.timestamp = fill.timestamp AND a.fill_key = fill.fill_key
)"""


class Changes(NamedTuple):
    """Rows that have changed, how many, and the cursor behind them. ``rows`` has all equal fills of a changed one."""

    rows: Sequence[Row]
    cursor: Cursor
    changed: int


def read(db: Database, table: Table, cursor: Cursor, limit: int, until: int | None = None) -> Changes:
    """The next rows behind a cursor, ``limit`` at most, in one short read; ``until``: of no later revision."""
    with db.read():
        bounds = {"revision": cursor[0], "id": cursor[1], "until": 2**62 if until is None else until, "limit": limit}
        found = db.rows(_CHANGED.format(table=table.name), bounds)
        if not found:
            return Changes((), cursor, 0)
        ids = {"ids": json.dumps([row["id"] for row in found])}
        if table is ACTIVITY:
            rows = [*each(db, _LONE, _LONE_ROWS, ids), *each(db, ACTIVITY, _EQUAL_ROWS, ids)]
        else:
            rows = list(each(db, table, _CHANGED_ROWS.format(table=table.name, where=""), ids))
        return Changes(rows, (found[-1]["revision"], found[-1]["id"]), len(found))


def each(db: Database, table: Table, rows: str, params: dict[str, Any]) -> Iterator[Row]:
    """The columns of ``rows`` (SQL of a subquery), one by one."""
    texts = [f"coalesce({column.sql}, '')" for column in table.columns if column.type is Type.TEXT]
    has_nul = f"instr({' || '.join(texts)}, char(0))"
    columns = ", ".join([*(column.sql for column in table.columns), has_nul])
    for row in db.each(f"SELECT {columns} {table.source.format(rows=rows)}", params):
        yield _without_nul(row[:-1]) if row[-1] else row[:-1]


def _without_nul(row: Row) -> Row:
    """The row without the character that PostgreSQL has no way to store."""
    return tuple(value.replace(_NUL, _REPLACEMENT) if isinstance(value, str) else value for value in row)


def revision(db: Database) -> int:
    """The revision of the last change of the file."""
    return db.fact("revision", 0) or 0
