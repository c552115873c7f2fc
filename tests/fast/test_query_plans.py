"""Every index earns its place: which query goes by it. (The feed's queries are in test_feed.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.rows import Explained, explained, market, trade, whale

from whalesync.store import (
    feed,
    markets,
    retention,
    stats,
    sync_log,
    totals,
    trades,
    whale_detail,
    whales,
)
from whalesync.store.database import open_database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Explained]:
    """A file with one trade."""
    path = tmp_path / "whalesync.db"
    with open_database(path) as made:
        trade(made, whale(made), market(made), 1)
    with explained(path) as found:
        yield found


BY_WHALE, BY_TIME, BY_MARKET = (f"whale_activity_by_{name}" for name in ("whale", "time", "market"))

QUERIES: dict[str, tuple[Callable[[Explained], object], list[str]]] = {
    "what is stored of a wallet in a span": (
        lambda db: trades.Stored(db, 1).between(1, 9),
        [BY_WHALE, "rejected_records_by_whale"],
    ),
    "how much is stored of a wallet": (
        lambda db: trades.Stored(db, 1).newer(1),
        [BY_WHALE, "whale_activity_superseded", "rejected_records_by_whale"],
    ),
    "the wallets in the order of their last trade": (whales.tracked, [BY_WHALE]),
    "one whale": (lambda db: whale_detail.whale_detail(db, 1, 5, days=1), [BY_WHALE]),
    "the feed": (lambda db: feed.activity(db, "free", 5, limit=1), [BY_TIME]),
    "the feed of a market": (lambda db: feed.activity(db, "free", 5, market_ids=[1], limit=1), [BY_MARKET]),
    "the children of a topic": (lambda db: markets.market_ids(db, "9", "opinion_trade"), ["markets_by_parent"]),
    "the newest trade": (retention.newest_trade, [BY_TIME]),
    "the oldest trades": (lambda db: retention.delete_trades(db, 5, 100), [BY_TIME]),
    "the sums over the oldest trades": (lambda db: stats.add_removed_sums(db, 5, 1), [BY_TIME]),
    "old runs": (lambda db: retention.delete_sync_logs(db, 5, 100), ["sync_logs_by_start", "sync_logs_by_type"]),
    "a run found open": (lambda db: sync_log.open_row(db, "whales"), ["sync_logs_by_type"]),
    "the runs of a job": (lambda db: sync_log.runs_since_success(db, "whales"), ["sync_logs_by_type"]),
    "when a job failed first": (lambda db: sync_log.failing_streak(db, "whales"), ["sync_logs_by_type"]),
    "the last good run of a job": (lambda db: sync_log.last_good_start(db, "whales"), ["sync_logs_by_type"]),
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_each_query_goes_by_its_index(db: Explained, name: str) -> None:
    """None of them walks through all trades."""
    ask, indexes = QUERIES[name]
    with db.write():
        ask(db)
    assert [index for index in indexes if not db.uses(index)] == []
    walks = [step for step in db.plan if step.startswith(("SCAN whale_activity", "SCAN a"))]
    assert [step for step in walks if BY_TIME not in step] == []


def test_counting_all_trades_reads_an_index_alone(db: Explained) -> None:
    """5 ms for a million."""
    totals.totals(db)
    assert "SCAN whale_activity" not in db.plan
    assert db.uses("whale_activity_superseded")


def test_deleting_a_run_finds_its_rejected_records_by_an_index(db: Explained) -> None:
    """SQLite sets their reference to NULL without a walk through the table."""
    db.explain("DELETE FROM rejected_records WHERE sync_log_id = 1")
    assert db.uses("rejected_records_by_run")


def test_every_index_has_its_query(db: Explained) -> None:
    """An index that no plan here names costs space and time for nothing."""
    for ask, _ in QUERIES.values():
        with db.write():
            ask(db)
    totals.totals(db)
    db.explain("DELETE FROM rejected_records WHERE sync_log_id = 1")
    made = {
        row[0]
        for row in db.rows(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name NOT LIKE '\\_%'"
            " ESCAPE '\\'"
        )
    }
    assert len(made) > 7
    assert {name for name in made if not db.uses(name)} == set()
