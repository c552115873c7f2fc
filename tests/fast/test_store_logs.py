"""The sync log and the rejected records."""

from __future__ import annotations

import json

from support.rows import HOUR, MINUTE, MOBY, NOW, OTHER, insert, whale

from whalesync.exchanges.base import CountedRecord, StoredEntry
from whalesync.records import RejectedRecord
from whalesync.store import rejected, sync_log
from whalesync.store.database import Database


def runs(db: Database, *statuses: str, kind: str = "whales") -> list[int]:
    """Add runs of one job, a minute apart; returns their ids."""
    return [
        insert(db, "sync_logs", type=kind, status=status, started_at=NOW + number * MINUTE)
        for number, status in enumerate(statuses)
    ]


def test_a_run_has_one_row_from_start_to_end(db: Database) -> None:
    """Its problems become one text."""
    row, dead = sync_log.start_run(db, "whales", NOW)
    assert (dead, sync_log.open_row(db, "whales"), sync_log.open_row(db, "markets")) == (0, row, None)
    sync_log.end_run(
        db, row, status="completed", ended_at=NOW + 5, items=7, errors=["one", "two \udcff"], error_count=3,
        exchanges={"opinion_trade": None, "polymarket": "down"},
    )  # fmt: skip
    (found,) = sync_log.last_runs(db, 10)
    assert tuple(found) == (row, "whales", "completed", NOW, NOW + 5, 7, "one; two ?", 3, found["exchanges"])
    assert json.loads(found["exchanges"]) == {"opinion_trade": None, "polymarket": "down"}
    assert sync_log.open_row(db, "whales") is None


def test_the_next_run_closes_the_rows_of_dead_ones(db: Database) -> None:
    """Of its own job; the row does not end before it started, should the clock have been set back."""
    (other,) = runs(db, "running", kind="markets")
    (dead,) = runs(db, "running")
    row, closed = sync_log.start_run(db, "whales", NOW - HOUR)
    assert closed == 1
    found = db.one("SELECT status, error, ended_at - started_at FROM sync_logs WHERE id = ?", (dead,))
    assert tuple(found) == ("failed", "was killed or the machine went down", 0)
    assert (sync_log.open_row(db, "whales"), sync_log.open_row(db, "markets")) == (row, other)


def test_runs_are_read_back_to_the_last_success(db: Database) -> None:
    """Of one job, the newest first; all of them if none was successful."""
    made = runs(db, "completed", "completed", "failed", "running")
    other = runs(db, "failed", kind="stats")
    assert [row["id"] for row in sync_log.runs_since_success(db, "whales")] == [made[3], made[2], made[1]]
    assert [row["id"] for row in sync_log.runs_since_success(db, "stats")] == other
    assert sync_log.runs_since_success(db, "markets") == []
    assert sync_log.last_good_start(db, "whales") == NOW + MINUTE
    assert sync_log.last_good_start(db, "stats") is None
    assert [row["id"] for row in sync_log.runs_of(db, "whales", 2)] == [made[3], made[2]]
    assert [row["id"] for row in sync_log.last_runs(db, 2)] == [other[0], made[3]]


def test_the_last_run_that_served_an_exchange(db: Database) -> None:
    """It may have failed for another; one that did not ask it says nothing, one from before schema 5 is as it ended."""
    outcomes = ['{"a": null, "b": "down"}', '{"a": "down", "b": null}', '{"a": null}', '{"a": "down"}']
    for number, (status, each) in enumerate(zip(["failed", "failed", "completed", "failed"], outcomes, strict=True)):
        insert(db, "sync_logs", type="whales", status=status, started_at=NOW + number, exchanges=each)
    assert [sync_log.last_good_start(db, "whales", each) for each in ("a", "b", "c")] == [NOW + 2, NOW + 1, None]
    (old,) = runs(db, "completed")
    assert [sync_log.last_good_start(db, "whales", each) for each in ("a", "b", "c")] == [NOW] * 3, old


def record(name: str, reason: str = "no price") -> RejectedRecord:
    """A record that cannot be read."""
    return RejectedRecord(reason, f'{{"{name}": 1}}')


def test_a_record_has_one_row_however_often_it_comes(db: Database) -> None:
    """Runs are counted, not the pages of a run; each source has its own."""
    first, second = runs(db, "completed", "completed", kind="markets")
    for run, now in ((first, NOW), (first, NOW + 1), (second, NOW + HOUR)):
        rejected.keep(db, "markets", [record("a", f"reason {run}")], run_id=run, now=now)
    rejected.keep(db, "elsewhere", [record("a")], run_id=second, now=NOW)
    columns = "source, seen_count, first_seen_at, last_seen_at, sync_log_id, reason, payload, whale_id"
    assert [tuple(row) for row in db.rows(f"SELECT {columns} FROM rejected_records ORDER BY id")] == [
        ("markets", 2, NOW, NOW + HOUR, second, f"reason {second}", '{"a": 1}', None),
        ("elsewhere", 1, NOW, NOW, second, "no price", '{"a": 1}', None),
    ]
    assert [tuple(each.values()) for each in rejected.counts(db)] == [
        ("elsewhere", 1, 1, NOW),
        ("markets", 1, 2, NOW + HOUR),
    ]


def test_records_of_a_wallet_count_as_entries_of_its_list(db: Database) -> None:
    """In their place, as often as they are listed; until a comparison finds them gone."""
    moby, other = whale(db, MOBY), whale(db, OTHER)
    (run,) = runs(db, "running")
    a, b = CountedRecord(record("a"), 1, NOW), CountedRecord(record("b"), 3, NOW - HOUR)
    rejected.keep_counted(db, moby, f"trades {MOBY}", [a, b], run_id=run, now=NOW)
    rejected.keep_counted(db, other, f"trades {OTHER}", [a], run_id=run, now=NOW)
    assert [rejected.newer(db, moby, at) for at in (NOW, NOW - 1, NOW - HOUR, NOW - HOUR - 1)] == [0, 1, 1, 4]
    expected = StoredEntry(2, b.record.fingerprint, NOW - HOUR, copies=3)
    assert rejected.between(db, moby, NOW - HOUR, NOW - 1) == [expected]
    assert rejected.find(db, moby, b.record.fingerprint) == expected
    assert rejected.find(db, other, b.record.fingerprint) is None
    rejected.recount(db, [(2, 0)])
    assert rejected.newer(db, moby, 0) == 1
    rejected.keep_counted(db, moby, f"trades {MOBY}", [CountedRecord(b.record, 2, NOW)], run_id=run, now=NOW)
    assert (rejected.newer(db, moby, 0), rejected.newer(db, moby, NOW - 1)) == (3, 3)
