"""Every index earns its place: which query goes by it. (The feed's queries are in test_feed.)"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from whalesync.ledger import Ledger
from whalesync.records import Trade
from whalesync.store import feed, log, prune, stats, trades, whales
from whalesync.store.database import Database, open_database

TRADE = Trade("0x", "1", None, "Rain?", "BUY", "YES", 1.0, 0.5, 2.0, None, None, 5)


class Explaining(Database):
    """A database that notes how each statement would be done."""

    plan: str = ""

    def _note(self, sql: str, params: Any) -> None:
        if sql.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")):
            found = self.connection.execute("EXPLAIN QUERY PLAN " + sql, params).fetchall()
            self.plan += "\n".join(row["detail"] for row in found) + "\n"

    def rows(self, sql: str, params: Any = ()) -> list[sqlite3.Row]:
        self._note(sql, params)
        return super().rows(sql, params)

    def one(self, sql: str, params: Any = ()) -> Any:
        self._note(sql, params)
        return super().one(sql, params)

    def execute(self, sql: str, params: Any = ()) -> int:
        self._note(sql, params)
        return super().execute(sql, params)

    def execute_many(self, sql: str, rows: Any) -> int:
        rows = list(rows)
        if rows:
            self._note(sql, rows[0])
        return super().execute_many(sql, rows)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Explaining]:
    with open_database(tmp_path / "whalesync.db") as database:
        database.execute("INSERT INTO whales (id, address, created_at, updated_at) VALUES (1, '0x1', 1, 1)")
        database.execute("INSERT INTO removed_activity VALUES (1, 1, 7, 'BUY', 1, NULL, 5, 1)")
        yield Explaining(database.path, database.connection)


BY_ID, BY_TIME = "INTEGER PRIMARY KEY", "whale_activity_by_time"
OLD = "timestamp <= ? AND (timestamp, id) <= (?, ?)"

QUERIES: dict[str, tuple[Callable[[Explaining], object], list[str]]] = {
    "what is held of a wallet in a span": (
        lambda db: trades.held_fills(db, 1, [TRADE]),
        ["whale_activity USING INDEX whale_activity_by_whale (whale_id=? AND timestamp>? AND timestamp<?)"],
    ),
    "how far a wallet was read": (
        lambda db: trades.save_ledger(db, 1, Ledger()),
        [],
    ),
    "the wallets in the order of their last trade": (
        whales.tracked,
        ["SEARCH a USING COVERING INDEX whale_activity_by_whale (whale_id=?)"],
    ),
    "what came since the last count": (
        lambda db: stats.last_of(db, 5, 100),
        [f"whale_activity USING {BY_ID} (rowid>?)"],
    ),
    "the sums over what came": (
        lambda db: stats.sums(db, 0, "id > ? AND id <= ?", (1, 9)),
        [f"whale_activity USING {BY_ID} (rowid>? AND rowid<?)"],
    ),
    "how far the windows can move": (
        lambda db: (stats.step(db, 5, 9, 100), stats.step(db, 9, 5, 100)),
        [f"whale_activity USING COVERING INDEX {BY_TIME} (timestamp>? AND timestamp<?)"],
    ),
    "the sums over what leaves a window": (
        lambda db: stats.sums(db, 0, "timestamp >= ? AND timestamp < ? AND +id <= ?", (1, 9, 9)),
        [f"whale_activity USING INDEX {BY_TIME} (timestamp>? AND timestamp<?)"],
    ),
    "what others have deleted": (
        lambda db: stats.removed(db, 100),
        ["removed_activity USING COVERING INDEX removed_activity_by_state (state=?)"],
    ),
    "deleted trades that came again": (
        lambda db: stats.find_again(db, 1, 9),
        [
            f"SEARCH a USING {BY_ID} (rowid>? AND rowid<?)",
            "SEARCH r USING COVERING INDEX removed_activity_by_fill (whale_id=? AND fill_key=?)",
        ],
    ),
    "deleted trades that were put back": (
        lambda db: stats.put_back(db, 100),
        [
            "SEARCH r USING COVERING INDEX removed_activity_by_state (state=?)",
            f"SEARCH a USING {BY_ID} (rowid=?)",
        ],
    ),
    "the youngest trade and sync": (
        prune.youngest,
        [
            f"SEARCH whale_activity USING COVERING INDEX {BY_TIME}",
            "sync_logs USING INDEX sync_logs_by_type (type=?)",
        ],
    ),
    "the oldest trades": (
        lambda db: prune.oldest(db, 5, 100),
        [f"SEARCH whale_activity USING COVERING INDEX {BY_TIME} (timestamp<?)"],
    ),
    "the sums over the oldest trades": (
        lambda db: (stats.prune_whole(db, 99, 9, OLD, (5, 5, 1)), stats.sums(db, 99, OLD, (5, 5, 1))),
        [f"whale_activity USING INDEX {BY_TIME} (timestamp<?)"],
    ),
    "deleting the oldest trades": (
        lambda db: prune.trades(db, OLD, (5, 5, 1)),
        [f"whale_activity USING COVERING INDEX {BY_TIME} (timestamp<?)"],
    ),
    "forgetting deleted trades": (
        lambda db: prune.removed_trades(db, 5, 100),
        ["removed_activity USING INDEX removed_activity_by_time (timestamp<?)"],
    ),
    "deleting old runs": (
        lambda db: prune.sync_logs(db, 5, [1], 100),
        ["sync_logs USING COVERING INDEX sync_logs_by_start (started_at<?)"],
    ),
    "the runs that stay": (
        prune.last_runs,
        ["sync_logs_by_type (type=?)"],
    ),
    "when a job failed first": (
        lambda db: log.failing_since(db, "whales"),
        ["sync_logs_by_type (type=? AND id>?)", "sync_logs_by_type (type=?)"],
    ),
    "the last good run of a job": (
        lambda db: log.last_good_start(db, "whales"),
        ["sync_logs_by_type (type=?)"],
    ),
    "a record set aside": (
        lambda db: log.look_again(db, "trades 0x1"),
        ["rejected_records USING INDEX sqlite_autoindex_rejected_records_1 (source=?)"],
    ),
    "how much the file holds": (
        feed.totals,
        [f"SCAN whale_activity USING COVERING INDEX {BY_TIME}"],  # 5 ms for a million
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_each_query_goes_by_its_index(db: Explaining, name: str) -> None:
    """The plan names the index; and but for the one count, none walks the whole of the trades."""
    ask, expected = QUERIES[name]
    with db.write():
        ask(db)
    for step in expected:
        assert step in db.plan, db.plan
    if not any("SCAN" in step for step in expected):
        assert "SCAN whale_activity" not in db.plan
        assert "SCAN a\n" not in db.plan
        assert "SCAN removed_activity\n" not in db.plan


def test_every_index_has_its_query(db: Explaining, tmp_path: Path) -> None:
    """An index that no plan here or in the feed names costs room and time for nothing."""
    for ask, _ in QUERIES.values():
        with db.write():
            ask(db)
    feed.activity(db, "pro-plus", 10, market="1")
    db.execute("INSERT INTO markets (external_id, title, created_at, updated_at) VALUES ('1', 'Rain?', 1, 1)")
    feed.activity(db, "pro-plus", 10, market="1")
    made = {
        row[0]
        for row in db.connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name NOT LIKE '\\_%'"
            " ESCAPE '\\'"
        )
    }
    assert len(made) > 8
    assert {name for name in made if name not in db.plan} == set()
