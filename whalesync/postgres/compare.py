"""What the server has of a source, as digests that the file's own can be compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from whalesync.postgres import digest
from whalesync.postgres.connection import SCHEMA_SECONDS, transaction
from whalesync.postgres.server import Server, Source
from whalesync.store.changes import ACTIVITY, MARKETS, POSITIONS, WHALES, Row, Table

Key = tuple[object, ...]

_MICROSECONDS = "(extract(epoch FROM {}) * 1000000)::bigint - 946684800000000"
_SIDE = "coalesce(outcome, outcome_label)"  # of a position
_DAY = "floor(extract(epoch FROM r.timestamp) / 86400)::bigint"


class RowDigest(NamedTuple):
    """The digest of a row's content, and when that was observed (microseconds since 2000)."""

    digest: int
    observed: int


class DaySum(NamedTuple):
    """How many trades a wallet has on a day, and the sum of their digests."""

    trades: int
    digests: int


@dataclass(frozen=True)
class Compared:
    """How a table is compared.

    Args:
        table: as it is read from the file.
        key: what a row is found by; _SIDE stands for two columns.
        age: the column that says when the row was observed.
        source: where its rows are on the server.
    """

    table: Table
    key: tuple[str, ...]
    age: str
    source: str

    @property
    def content(self) -> list[str]:
        """The columns that are compared."""
        left_out = {*self.key, self.age, "platform", "address", "stored_at"}
        return [name for name in self.table.names if name not in left_out]

    def key_of(self, row: Row) -> Key:
        """The key of a row of the file."""
        values = dict(zip(self.table.names, row, strict=True))
        values[_SIDE] = values.get("outcome") or values.get("outcome_label")
        return tuple(values[name] for name in self.key)

    def age_of(self, row: Row) -> int:
        """When a row of the file was observed (microseconds since 2000)."""
        observed: int = row[self.table.names.index(self.age)]
        return observed


_OF_THE_SOURCE = " JOIN whalesync.whales AS l ON l.id = r.whale_id AND l.source_id = %(source)s"
COMPARED_MARKETS = Compared(MARKETS, MARKETS.key, "updated_at", "whalesync.markets AS r")
COMPARED_WHALES = Compared(
    WHALES, WHALES.key, "updated_at", "(SELECT * FROM whalesync.whales WHERE source_id = %(source)s) AS r"
)
COMPARED_POSITIONS = Compared(
    POSITIONS,
    ("platform", "address", "market_kind", "market_external_id", _SIDE),
    "updated_at",
    "(SELECT r.*, l.address, m.kind AS market_kind, m.external_id AS market_external_id FROM whalesync.positions AS r"
    f"{_OF_THE_SOURCE} JOIN whalesync.markets AS m ON m.id = r.market_id) AS r",
)
COMPARED_TRADES = Compared(
    ACTIVITY,
    ("timestamp", "fill_key", "copy"),
    "observed_at",
    "(SELECT r.*, m.kind AS market_kind, m.external_id AS market_external_id FROM whalesync.whale_activity AS r"
    " LEFT JOIN whalesync.markets AS m ON m.id = r.market_id) AS r",
)
WHOLE = (COMPARED_MARKETS, COMPARED_WHALES, COMPARED_POSITIONS)
"""The tables that are compared row by row."""

_OF_TRADE = (*COMPARED_TRADES.content, *COMPARED_TRADES.key)
_DIGEST_OF_TRADE = digest.sql(ACTIVITY, _OF_TRADE, "r.")


def digest_of_trade() -> digest.Digest:
    """What computes the digest of a trade of the file, its key included."""
    return digest.of(ACTIVITY, _OF_TRADE)


def day_sums(server: Server, source: Source, since: int) -> Mapping[tuple[str, str], Mapping[int, DaySum]]:
    """The sums of the source's wallets, by platform and address and by day since 1970, from ``since`` (ms) on."""
    found: dict[tuple[str, str], dict[int, DaySum]] = {}
    with transaction(server.connection, SCHEMA_SECONDS):
        rows = server.connection.execute(
            f"SELECT l.platform, l.address, {_DAY}, count(*), sum({_DIGEST_OF_TRADE})"
            f" FROM {COMPARED_TRADES.source} JOIN whalesync.whales AS l ON l.id = r.whale_id AND l.source_id = %s"
            " WHERE r.timestamp >= to_timestamp(%s) GROUP BY 1, 2, 3",
            [source.id, since // 1000],
        )
        for platform, address, day, trades, digests in rows:
            found.setdefault((platform, address), {})[day] = DaySum(trades, int(digests))
    return found


def trades_of_day(server: Server, platform: str, address: str, day: int) -> dict[Key, RowDigest]:
    """What the server has of a wallet on a day since 1970."""
    with transaction(server.connection):
        rows = server.connection.execute(
            f"SELECT {_MICROSECONDS.format('r.timestamp')}, r.fill_key, r.copy::bigint, {_DIGEST_OF_TRADE},"
            f" {_MICROSECONDS.format('r.observed_at')} FROM {COMPARED_TRADES.source}"
            " WHERE r.whale_id = (SELECT id FROM whalesync.wallets WHERE platform = %s AND address = %s)"
            " AND r.timestamp >= to_timestamp(%s) AND r.timestamp < to_timestamp(%s)",
            [platform, address, day * 86_400, (day + 1) * 86_400],
        )
        return {tuple(key): RowDigest(number, observed) for *key, number, observed in rows}


def rows(server: Server, source: Source, compared: Compared) -> Iterator[tuple[Key, RowDigest]]:
    """What the server has of a table."""
    sql = (
        f"SELECT {', '.join(compared.key)}, {digest.sql(compared.table, compared.content, 'r.')},"
        f" {_MICROSECONDS.format(f'r.{compared.age}')} FROM {compared.source}"
    )
    with transaction(server.connection, SCHEMA_SECONDS), server.connection.cursor("compared") as cursor:
        for *key, number, observed in cursor.execute(sql, {"source": source.id}):
            yield tuple(key), RowDigest(number, observed)
