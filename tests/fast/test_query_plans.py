"""Every index earns its place, and no query walks through all trades."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.rows import MINUTE, MOBY, NOW, OTHER, SECOND, insert, market, plan, trade, whale

from whalesync.store import (
    alerts,
    changes,
    feed,
    market_detail,
    markets,
    positions,
    retention,
    stats,
    sync_log,
    totals,
    trades,
    verify,
    whale_detail,
    whales,
)
from whalesync.store.database import Database, open_database
from whalesync.store.markets import Named


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A file with two whales and 200 trades, half of them in each of two markets, and a rejected record."""
    with open_database(tmp_path / "whalesync.db") as made, made.write():
        wallets, places = [whale(made, MOBY), whale(made, OTHER)], [market(made, "1"), market(made, "2")]
        market(made, "9", kind="topic")
        for number in range(200):
            trade(made, wallets[number % 2], places[number // 2 % 2], NOW - number * SECOND)
        record = {"source": "trades", "reason": "no price", "payload": "{}", "fingerprint": b"1"}
        insert(made, "rejected_records", whale_id=1, first_seen_at=NOW, last_seen_at=NOW, **record)
        yield made


BY_WHALE, BY_TIME, BY_MARKET = (f"whale_activity_by_{name}" for name in ("whale", "time", "market"))
SUPERSEDED = "whale_activity_superseded"

QUERIES: dict[str, tuple[Callable[[Database], object], list[str]]] = {
    "what is stored of a wallet in a span": (
        lambda db: trades.Stored(db, 1).between(1, 9),
        [BY_WHALE, "rejected_records_by_whale"],
    ),
    "how much is stored of a wallet": (
        lambda db: trades.Stored(db, 1).newer(1),
        [BY_WHALE, SUPERSEDED, "rejected_records_by_whale"],
    ),
    "how much of a wallet cleanup deletes": (
        lambda db: trades.Stored(db, 1).count(1, 9),
        [BY_WHALE, SUPERSEDED, "rejected_records_by_whale"],
    ),
    "the rows of a wallet and their keys": (lambda db: list(verify.changed_rows(db, 1)), [BY_WHALE]),
    "the wallets in the order of their last trade": (whales.tracked, [BY_WHALE]),
    "one whale": (lambda db: whale_detail.whale_detail(db, 1, 5, days=1), [BY_WHALE]),
    "the children of a topic": (
        lambda db: markets.market_ids(db, Named(3, "opinion_trade", "topic", "9", "")), ["markets_by_parent"]
    ),
    "one market": (
        lambda db: market_detail.market_detail(db, Named(1, "opinion_trade", "market", "1", "")),
        [BY_MARKET, "positions_key (whale_id=? AND market_id=?"],
    ),
    "one topic": (
        lambda db: market_detail.market_detail(db, Named(3, "opinion_trade", "topic", "9", "")), [BY_MARKET]
    ),
    "the list of the whales": (whales.listed, [BY_WHALE]),
    "the markets that have not ended": (lambda db: markets.not_ended(db, "opinion_trade"), ["markets_not_ended"]),
    "the topics to look up": (
        lambda db: markets.topics_never_looked_up(db, "opinion_trade", 9), ["markets_never_looked_up"]
    ),
    "the results to come": (
        lambda db: markets.without_result(db, "opinion_trade", NOW, NOW, 9), ["markets_without_result"]
    ),
    "the newest trade": (retention.newest_trade, [BY_TIME]),
    "the oldest trades": (lambda db: retention.delete_trades(db, NOW, 100), [BY_TIME]),
    "the sums over the oldest trades": (lambda db: stats.add_removed_sums(db, NOW), [BY_TIME]),
    "what the oldest trades did": (lambda db: positions.add_removed_flows(db, NOW), [BY_TIME]),
    "what a wallet holds": (lambda db: positions.kept(db, 1), ["positions_key"]),
    "what a wallet's trades did": (lambda db: positions.flows(db, 1), [BY_WHALE]),
    "old runs": (lambda db: retention.delete_sync_logs(db, 5, 100), ["sync_logs_by_start", "sync_logs_by_type"]),
    "what met a deleted run": (
        lambda db: db.execute("DELETE FROM rejected_records WHERE sync_log_id = 1"), ["rejected_records_by_run"]
    ),
    "a run found open": (lambda db: sync_log.open_row(db, "whales"), ["sync_logs_by_type"]),
    "the runs of a job": (lambda db: sync_log.runs_since_success(db, "whales"), ["sync_logs_by_type"]),
    "the last good run of a job": (lambda db: sync_log.last_good_start(db, "whales"), ["sync_logs_by_type"]),
    "the last good run for an exchange": (
        lambda db: sync_log.last_good_start(db, "whales", "polymarket"), ["sync_logs_by_type"]
    ),
    "alerts to be sent": (alerts.pending, ["alert_deliveries_pending"]),
    "how busy a target is": (
        lambda db: alerts.load(db, NOW, NOW),
        ["alert_deliveries_pending", "alert_deliveries_created", "alert_deliveries_sent"],
    ),
    "old alerts": (lambda db: retention.delete_deliveries(db, NOW, 100), ["alert_deliveries_created"]),
    "what the alert rules have not seen": (
        lambda db: feed.new_fills(db, "pro", feed.Cursor(NOW, 5), NOW, since=NOW), [BY_TIME]
    ),
    "the markets that have changed": (lambda db: changes.read(db, changes.MARKETS, (1, 1), 9), ["markets_by_revision"]),
    "the positions that have changed": (
        lambda db: changes.read(db, changes.POSITIONS, (1, 1), 9), ["positions_by_revision"]
    ),
    "the trades that have changed, and their equals": (
        lambda db: changes.read(db, changes.ACTIVITY, (0, 190), 9), ["whale_activity_by_revision", BY_WHALE]
    ),
    "how many trades there are": (totals.totals, [SUPERSEDED]),
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_each_query_goes_by_its_index(db: Database, name: str) -> None:
    """A walk through all trades reads an index alone: 5 ms for a million."""
    ask, indexes = QUERIES[name]
    steps = plan(db, ask)
    assert [index for index in indexes if f"INDEX {index}" not in " ".join(steps)] == []
    walks = [step for step in steps if step.startswith(("SCAN whale_activity", "SCAN a "))]
    assert [step for step in walks if not any(name in step for name in ("COVERING", BY_TIME, SUPERSEDED))] == []


def test_every_index_has_its_query(db: Database) -> None:
    """An index that no query above needs costs space and time for nothing."""
    made = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql NOTNULL AND tbl_name NOT GLOB '_*'"
    needed = {index for _, indexes in QUERIES.values() for index in indexes if " " not in index}
    assert {row[0] for row in db.rows(made)} == needed


NARROWED: list[tuple[dict[str, Any], str]] = [
    ({}, BY_TIME),
    ({"whale_id": 1}, BY_WHALE),
    ({"market_ids": [1]}, BY_MARKET),
]


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("since", [None, NOW - MINUTE])
@pytest.mark.parametrize(("narrowed", "index"), NARROWED)
def test_a_page_of_the_feed_is_a_range_of_one_index(
    db: Database, analysed: bool, since: int | None, narrowed: dict[str, Any], index: str
) -> None:
    """No sort, with or without statistics about the tables; of one whale, the fills of one moment are put in order."""
    if analysed:
        db.execute("ANALYZE")
    steps = plan(db, lambda db: feed.activity(db, "free", NOW, since=since, limit=10, **narrowed))
    assert f"USING INDEX {index}" in steps[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize(("narrowed", "index"), NARROWED)
def test_a_search_for_large_trades_is_a_range_of_one_index(
    db: Database, analysed: bool, narrowed: dict[str, Any], index: str
) -> None:
    """Read one by one and not sorted first, so that it can end early; the rows found are looked up by their ids."""
    if analysed:
        db.execute("ANALYZE")
    steps = plan(db, lambda db: feed.large_trades(db, "free", NOW, min_usd=1.0, limit=10, **narrowed))
    assert f"USING INDEX {index}" in steps[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps
    assert "SEARCH a USING INTEGER PRIMARY KEY (rowid=?)" in steps


def test_a_follower_of_large_trades_reads_what_is_near(db: Database) -> None:
    """Ranges of the index of one whale, to both sides of what is new."""
    cursor = feed.Cursor(NOW - 3 * SECOND, 200)
    steps = plan(db, lambda db: feed.new_activity(db, "pro-plus", cursor, NOW, min_usd=1.0))
    for bounds in ("timestamp<?", "timestamp>? AND timestamp<?"):
        assert any(f"USING INDEX {BY_WHALE} (whale_id=? AND {bounds})" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN a")]


@pytest.mark.parametrize("order", ["", "ORDER BY timestamp DESC", "ORDER BY timestamp DESC, id DESC"])
def test_a_page_of_a_view_is_a_range_of_one_index(db: Database, order: str) -> None:
    """Whoever reads the file with another program pays no more."""
    steps = plan(db, lambda db: db.rows(f"SELECT * FROM activity_free {order} LIMIT 50"))
    assert f"USING INDEX {BY_TIME}" in steps[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


@pytest.mark.parametrize("narrowed", [narrowed for narrowed, _ in NARROWED])
def test_what_was_stored_late_is_found_by_its_id(db: Database, narrowed: dict[str, Any]) -> None:
    """Not by going through a whale's history."""
    cursor = feed.Cursor(NOW, 150)
    steps = plan(db, lambda db: feed.new_activity(db, "free", cursor, NOW + MINUTE, **narrowed))
    assert "SEARCH a USING INTEGER PRIMARY KEY (rowid>?)" in steps
    assert not [step for step in steps if step.startswith("SCAN a")]
