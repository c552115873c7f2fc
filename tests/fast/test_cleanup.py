"""Cleanup: removes all that is past retention, a little at a time, and nothing when the clock is wrong."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from whalesync.errors import JobFailed
from whalesync.jobs import turns
from whalesync.jobs.cleanup import cleanup
from whalesync.jobs.perform import perform
from whalesync.jobs.run import Clock, Run
from whalesync.jobs.turns import Turns
from whalesync.settings import Settings
from whalesync.store.database import Database, open_database

DAY, HOUR = 86_400_000, 3_600_000
NOW = 1_772_323_200_000  # 2026-03-01T00:00:00Z
OLD = NOW - 91 * DAY


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "whalesync.db") as database:
        database.execute("INSERT INTO whales (address, created_at, updated_at) VALUES ('0x1', 1, 1)")
        database.execute(
            "INSERT INTO markets (external_id, title, created_at, updated_at) VALUES ('1', 'Rain?', 1, 1)"
        )
        logged(database, "whales", NOW)
        yield database


def trades(db: Database, at: int, count: int = 1, payload: str = "0x") -> None:
    with db.write():
        db.execute_many(
            "INSERT INTO whale_activity (whale_id, market_id, tx_hash, action, amount, timestamp,"
            " visible_to_pro_plus_at, visible_to_pro_at, visible_to_free_at, copy)"
            " VALUES (1, 1, ?, 'BUY', 1.5, ?, 1, 1, 1, ?)",
            [(payload, at + number, number) for number in range(count)],
        )


def logged(db: Database, kind: str, at: int, status: str = "completed") -> int:
    return db.insert("INSERT INTO sync_logs (type, status, started_at) VALUES (?, ?, ?)", (kind, status, at))


def rejected(db: Database, at: int, count: int = 1, run: int | None = None) -> None:
    db.execute_many(
        "INSERT INTO rejected_records (sync_log_id, source, reason, payload, first_seen_at, last_seen_at,"
        " fingerprint) VALUES (?, 'trades', 'bad', ?, 1, ?, ?)",
        [(run, json.dumps(number), at, f"{at} {number}".encode()) for number in range(count)],
    )


def run(db: Database, now: int = NOW, **settings: Any) -> Run:
    return perform("cleanup", Settings(db=db.path, **settings), clock=Clock(now=lambda: now))


def count(db: Database, table: str) -> int:
    found: int = db.value(f"SELECT count(*) FROM {table}")
    return found


def test_everything_past_retention_goes_in_one_run(db: Database) -> None:
    """Trades, rejected records and runs, many batches of each; what is younger stays."""
    trades(db, OLD, 5_000)
    trades(db, NOW - 89 * DAY, 7)
    rejected(db, OLD, 600)
    rejected(db, NOW - 89 * DAY, 3)
    for _ in range(600):
        logged(db, "whales", OLD, "failed")
    done = run(db)
    assert count(db, "whale_activity") == 7
    assert count(db, "rejected_records") == 3
    assert [row[0] for row in db.rows("SELECT type FROM sync_logs ORDER BY id")] == [
        "whales",
        "whales",
        "cleanup",
    ]
    assert done.items == 5_000 + 600 + 599  # the last run of a job stays, however old


@pytest.mark.parametrize("days", [1, 30, 3650])
def test_retention_is_what_is_set(db: Database, days: int) -> None:
    """To the millisecond."""
    trades(db, NOW - days * DAY - 1)
    trades(db, NOW - days * DAY)
    run(db, retention_days=days)
    assert [row[0] for row in db.rows("SELECT timestamp FROM whale_activity")] == [NOW - days * DAY]


def test_the_last_run_and_the_last_good_run_of_each_job_stay(db: Database) -> None:
    """A job that stopped years ago is still known to have run, and since when it fails."""
    kept = []
    for kind in ("markets", "stats", "cleanup"):
        logged(db, kind, OLD)
        kept.append(logged(db, kind, OLD + 1))
        logged(db, kind, OLD + 2, "failed")
        kept.append(logged(db, kind, OLD + 3, "failed"))
    logged(db, "whales", NOW)
    run(db)
    left = {row[0] for row in db.rows("SELECT id FROM sync_logs WHERE started_at < ?", (NOW - DAY,))}
    assert left == set(kept[:-1])  # of cleanup, this very run is the last now


def test_a_run_that_goes_leaves_its_young_rejected_records(db: Database) -> None:
    """They only forget which run met them."""
    rejected(db, NOW, run=logged(db, "markets", OLD, "failed"))
    logged(db, "markets", OLD)
    logged(db, "markets", OLD, "failed")
    logged(db, "whales", NOW)
    run(db)
    assert [tuple(row) for row in db.rows("SELECT sync_log_id, payload FROM rejected_records")] == [
        (None, "0")
    ]


def test_space_goes_back_to_the_file_system(db: Database) -> None:
    """No free page is left, and the file is as small as what it holds."""
    trades(db, OLD, 3_000, payload="0x" + "f" * 1_000)
    db.checkpoint()
    before = db.path.stat().st_size
    run(db)
    assert db.value("PRAGMA freelist_count") == 0
    assert db.path.stat().st_size < before / 10
    assert db.wal_bytes() == 0


def test_what_was_deleted_by_hand_is_forgotten_with_the_rest(db: Database) -> None:
    """Below the retention cut nothing is synced again, so nobody has to know it again."""
    trades(db, OLD)
    trades(db, NOW - DAY)
    db.execute("DELETE FROM whale_activity")
    run(db)
    assert [row[0] for row in db.rows("SELECT timestamp FROM removed_activity")] == [NOW - DAY]


def test_only_what_others_delete_is_noted(db: Database) -> None:
    """What cleanup deletes is in the sums already; after it, the trigger is there as before."""
    trades(db, OLD, 10)
    trades(db, NOW)
    trigger = "SELECT sql FROM sqlite_schema WHERE type = 'trigger'"
    before = db.value(trigger)
    run(db)
    assert count(db, "removed_activity") == 0
    assert db.value(trigger) == before is not None
    db.execute("DELETE FROM whale_activity")
    assert count(db, "removed_activity") == 1


def test_a_clock_a_year_ahead_is_refused(db: Database) -> None:
    """Nothing known is younger than the cut: nothing goes, and the failure says what to look at."""
    trades(db, NOW - DAY)
    with pytest.raises(JobFailed, match=r"refused.*2026-02-28|refused.*2026-03-01"):
        run(db, NOW + 365 * DAY)
    assert count(db, "whale_activity") == 1
    assert db.value("SELECT status FROM sync_logs ORDER BY id DESC LIMIT 1") == "failed"


def test_a_clock_a_month_ahead_deletes_what_the_hour_after_the_last_sync_would(db: Database) -> None:
    """Nobody can tell it from a pause, so time counts only up to there; the log says so."""
    trades(db, NOW + HOUR - 90 * DAY)
    trades(db, NOW - 80 * DAY)
    trades(db, NOW + HOUR - 90 * DAY - 1)
    done = run(db, NOW + 30 * DAY)
    assert count(db, "whale_activity") == 2
    assert "the last good sync was on 2026-03-01" in done.errors()[0]


def test_a_clock_behind_deletes_less_and_never_more(db: Database) -> None:
    """It errs on the safe side by itself."""
    trades(db, OLD)
    run(db, NOW - 365 * DAY)
    assert count(db, "whale_activity") == 1


def test_the_exchanges_clock_corrects_ours(db: Database) -> None:
    """A sync that worked under a wrong clock has noticed how far it runs ahead."""
    trades(db, NOW - 80 * DAY)
    ahead = 30 * DAY
    logged(db, "whales", NOW + ahead)
    with db.write():
        db.remember("clock_ahead", ahead)
    run(db, NOW + ahead)
    assert count(db, "whale_activity") == 1


def test_a_clock_set_right_after_it_ran_behind_deletes_what_is_old(db: Database) -> None:
    """The last sync was in the year before by that clock, and now by the exchange's."""
    db.execute("DELETE FROM sync_logs")
    logged(db, "whales", NOW - 365 * DAY)
    with db.write():
        db.remember("clock_ahead", -365 * DAY)
    trades(db, OLD)
    trades(db, NOW)
    assert not run(db).errors()
    assert count(db, "whale_activity") == 1


def test_a_clock_that_was_wrong_once_does_not_stop_cleanup_for_ever(db: Database) -> None:
    """Runs dated in the future do not count: the last good sync does."""
    logged(db, "whales", NOW + 365 * DAY)
    logged(db, "whales", NOW)
    trades(db, OLD)
    assert not run(db).errors()
    assert count(db, "whale_activity") == 0


def test_a_file_without_a_sync_is_cleaned_by_its_newest_trade(db: Database) -> None:
    """A cut that leaves none of the trades is refused."""
    db.execute("DELETE FROM sync_logs")
    trades(db, OLD)
    with pytest.raises(JobFailed, match="refused"):
        run(db)
    trades(db, NOW - DAY)
    run(db)
    assert count(db, "whale_activity") == 1


def test_other_writers_find_the_lock_free_between_any_two_batches(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every pause a plain sqlite3 connection that does not wait at all can write."""
    for name, value in {"HOLD_SECONDS": 0.0, "FIRST": 100, "FEWEST": 100}.items():
        monkeypatch.setattr(turns, name, value)
    trades(db, OLD, 1_000)
    trades(db, NOW)
    other = sqlite3.connect(db.path, timeout=0, isolation_level=None)
    pauses: list[int] = []

    def pause(seconds: float) -> None:
        assert seconds > 0.025  # SQLite's own waiters look every 25 ms
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE markets SET volume = coalesce(volume, 0) + 1")
        other.execute("COMMIT")
        pauses.append(other.execute("SELECT count(*) FROM whale_activity").fetchone()[0])

    cleanup(Run(db, Settings(db=db.path), "cleanup", 0, NOW, print, print), sleep=pause)
    other.close()
    assert [left for left in (901, 801, 501, 1) if left in pauses] == [901, 801, 501, 1]


class Pretence:
    """A file whose write transactions take as long as told."""

    def __init__(self, took: list[float]) -> None:
        self.took, self.clock, self.wal, self.checkpoints = took, 0.0, 0, 0

    @contextmanager
    def write(self) -> Iterator[None]:
        yield
        self.clock += self.took.pop(0)

    def wal_bytes(self) -> int:
        return self.wal

    def checkpoint(self, patience: float) -> None:
        self.checkpoints += 1


def spend(
    took: list[float], monkeypatch: pytest.MonkeyPatch, wal: int = 0
) -> tuple[list[int], list[float], Pretence]:
    """The rows that turns were given, and the pauses."""
    file, pauses, rows = Pretence(list(took)), [], []
    file.wal = wal
    monkeypatch.setattr(time, "monotonic", lambda: file.clock)
    each = Turns(file, pauses.append)  # type: ignore[arg-type]  # as far as turns use a database
    for _ in took:
        with each.turn() as limit:
            # Time passes inside.
            file.clock += 0
            rows.append(limit)
            file.clock += file.took[0]
            file.took[0] = 0.0
    return [*rows, each.rows], pauses, file


def test_batches_grow_and_shrink_with_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick turns double the next one up to a bound; a slow one cuts it in proportion."""
    rows, _, _ = spend([0.001] * 5 + [0.9, 0.9], monkeypatch)
    assert rows == [2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 2_000, 250]


def test_a_long_turn_is_followed_by_a_long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited for over a tenth of a second looks only every 50 ms."""
    _, pauses, _ = spend([0.05, 0.2], monkeypatch)
    assert pauses == [turns.PAUSE_SECONDS, turns.LONG_PAUSE_SECONDS]


def test_short_turns_pause_only_once_they_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary run of a few milliseconds does not sleep."""
    _, pauses, _ = spend([0.002] * 4, monkeypatch)
    assert pauses == []
    _, pauses, _ = spend([0.01] * 4, monkeypatch)
    assert len(pauses) == 1


def test_the_wal_is_emptied_once_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not again after every turn, if a reader keeps it from being emptied."""
    _, _, file = spend([0.001] * 5, monkeypatch, wal=turns.WAL_BYTES + 1)
    assert file.checkpoints == 1
    _, _, file = spend([0.001] * 5, monkeypatch, wal=turns.WAL_BYTES)
    assert file.checkpoints == 0
