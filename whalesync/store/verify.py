"""Whether the stored trades are as they were written: each row against its own fill key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from whalesync.records import fill_key, fill_key_rule
from whalesync.store.database import Database


class ChangedRow(NamedTuple):
    """A row of ``whale_activity`` whose content is not what its fill key was computed from."""

    id: int
    fill_key: int | None
    copy: int


def changed_rows(db: Database, whale_id: int) -> Iterator[ChangedRow]:
    """The changed rows of a wallet among those that count, read one by one."""
    rows = db.each(
        "SELECT a.id, a.fill_key, a.copy, a.tx_hash, m.external_id, a.action, a.outcome, a.amount, a.price, a.shares,"
        " a.timestamp, a.token_id FROM whale_activity AS a LEFT JOIN markets AS m ON m.id = a.market_id"
        " WHERE a.whale_id = ? AND a.superseded_at IS NULL",
        (whale_id,),
    )
    for row_id, key, copy, *content in rows:
        if fill_key(*content, rule=fill_key_rule(key)) != key:
            yield ChangedRow(row_id, key, copy)


def newest_id(db: Database) -> int:
    """The largest id that a row of ``whale_activity`` ever had; what is added later has larger ones."""
    found: int | None = db.value("SELECT seq FROM sqlite_sequence WHERE name = 'whale_activity'")
    return found or 0


def ids_after(db: Database, row_id: int) -> list[int]:
    """The ids of the rows of ``whale_activity`` that were added after ``row_id``."""
    return [row[0] for row in db.rows("SELECT id FROM whale_activity WHERE id > ? ORDER BY id", (row_id,))]
