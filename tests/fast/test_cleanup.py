"""Cleanup: removes all that is past the retention, a little at a time, and nothing when the clock is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.history import NOW, History
from support.rows import insert

from whalesync.errors import JobFailed
from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.jobs import cleanup
from whalesync.jobs.exchanges import clock_ahead, compare_clocks, time_heard
from whalesync.jobs.run import Clock, run_job
from whalesync.jobs.table import DAY, HOUR, SYNC_WHALES
from whalesync.store import trades

OLD = NOW - 91 * DAY
SOURCE = EXCHANGES["opinion_trade"].trades


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.db.close()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 500 rows, with a pause even after the shortest."""
    monkeypatch.setattr(cleanup, "BATCH_ROWS", 500)
    monkeypatch.setattr(cleanup, "SHORT_SECONDS", 0)


def add_trades(history: History, at: int, count: int, tx_hash: str = "0x") -> None:
    with history.db.write():
        for number in range(count):
            history.trade(at=at + number, tx_hash=tx_hash)


def reject(history: History, last_seen_at: int, *, run: int | None = None, at: int | None = None) -> None:
    history.sql(
        "INSERT INTO rejected_records (sync_log_id, source, reason, payload, timestamp, first_seen_at, last_seen_at,"
        " fingerprint) VALUES (?, 'trades', 'bad', '{}', ?, 1, ?, randomblob(16))",
        *(run, at, last_seen_at),
    )


def times(history: History) -> list[int]:
    return [row[0] for row in history.table("SELECT timestamp FROM whale_activity ORDER BY timestamp")]


# What goes


@pytest.mark.usefixtures("small_batches")
def test_everything_past_the_retention_goes_in_one_run(history: History) -> None:
    """Trades, rejected records and runs, many batches of each; what is younger stays."""
    add_trades(history, OLD, 1_200)
    add_trades(history, NOW - 89 * DAY, 7)
    with history.db.write():
        for _ in range(1_100):
            reject(history, OLD)
            history.log("whales", OLD, "failed")
    reject(history, NOW - 89 * DAY)
    newest = history.log("whales", NOW)
    run = history.cleanup()
    assert [history.count(table) for table in ("whale_activity", "rejected_records")] == [7, 1]
    assert history.table("SELECT id FROM sync_logs") == [(1,), (newest,), (run.id,)]
    assert run.items == 1_200 + 1_100 + 1_100
    assert run.summary == "deleted 3,400 rows older than 2025-12-01 00:00 UTC"


def test_alerts_past_the_retention_go(history: History) -> None:
    """Those that are sent or given up; what is still to be sent stays."""
    with history.db.write():
        for number, (status, at) in enumerate(
            [("sent", OLD), ("failed", OLD), ("pending", OLD), ("sent", NOW - 89 * DAY)]
        ):
            insert(
                history.db, "alert_deliveries", id=f"msg_{number}", alert="big", target="https://example.com",
                status=status, trade_count=1, total_usd=1.0, created_at=at, give_up_at=at,
            )  # fmt: skip
    add_trades(history, NOW - 89 * DAY, 1)
    assert history.cleanup().items == 2
    assert history.table("SELECT id FROM alert_deliveries ORDER BY id") == [("msg_2",), ("msg_3",)]


def test_what_goes_is_summed_up_by_whale_and_utc_day(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over batches and over runs; superseded rows go without a trace."""
    monkeypatch.setattr(cleanup, "BATCH_ROWS", 2)
    midnight = NOW - 100 * DAY
    history.trade(amount=1.0, profit=0.5, at=midnight)
    history.trade(amount=2.0, profit=-1.5, action="SELL", at=midnight + DAY - 1)
    history.trade(amount=4.0, at=midnight + DAY)
    history.trade(amount=8.0, at=midnight - 1)
    history.trade(2, amount=16.0, action="SPLIT", at=midnight)
    history.supersede(history.trade(amount=32.0, at=midnight))
    history.cleanup()
    history.trade(amount=64.0, at=midnight + 1)
    history.cleanup()
    assert times(history) == []
    columns = "whale_id, day, volume, profit, buys, sells, last_active_at"
    assert history.table(f"SELECT {columns} FROM removed_sums ORDER BY whale_id, day") == [
        (1, midnight - DAY, 8.0, 0.0, 1, 0, midnight - 1),
        (1, midnight, 67.0, -1.5, 2, 1, midnight + DAY - 1),
        (1, midnight + DAY, 4.0, 0.0, 1, 0, midnight + DAY),
        (2, midnight, 0.0, 0.0, 0, 0, midnight),
    ]


def test_the_last_run_and_the_last_good_run_of_each_type_stay(history: History) -> None:
    """A job that stopped years ago is still known to have run, and since when it fails."""
    kept = set()
    for kind in ("markets", "stats", "of a newer version"):
        history.log(kind, OLD)
        kept.add(history.log(kind, OLD + 1))
        history.log(kind, OLD + 2, "failed")
        kept.add(history.log(kind, OLD + 3, "failed"))
    history.cleanup()
    left = history.table("SELECT id FROM sync_logs WHERE started_at < ?", NOW - DAY)
    assert {row[0] for row in left} == kept


def test_a_rejected_record_stays_as_long_as_its_place_in_the_list(history: History) -> None:
    """The sync counts it, although a wrong clock says that it was seen long ago; a run that goes is forgotten."""
    reject(history, OLD, at=OLD)
    reject(history, OLD, at=NOW - DAY, run=history.log("markets", OLD, "failed"))
    history.log("markets", OLD)
    history.log("markets", OLD, "failed")
    history.cleanup()
    assert history.table("SELECT timestamp, sync_log_id FROM rejected_records") == [(NOW - DAY, None)]


def test_space_goes_back_to_the_file_system(history: History) -> None:
    """No free page is left, and the file is as small as what it holds."""
    add_trades(history, OLD, 3_000, tx_hash="0x" + "f" * 1_000)
    history.db.checkpoint()
    before = history.db.path.stat().st_size
    history.cleanup()
    assert history.db.value("PRAGMA freelist_count") == 0
    assert history.db.path.stat().st_size < before / 10
    assert history.db.wal_bytes() == 0


# How it goes


@pytest.mark.usefixtures("small_batches")
def test_trade_sources_know_the_cut_before_anything_is_deleted(history: History) -> None:
    """A source that finds rows missing must know why; a wallet that was never read has nothing to know."""
    state = SOURCE.prune("{}", NOW - 200 * DAY, trades.Stored(history.db, 1))
    history.sql("INSERT INTO whale_cursors (whale_id, state) VALUES (1, ?), (2, NULL)", state)
    add_trades(history, OLD, 600)
    seen: list[tuple[int, str | None, str | None]] = []

    def look(seconds: float) -> None:
        known = trades.states(history.db)
        seen.append((history.count("whale_activity"), known[1], known[2]))

    history.cleanup(look)
    assert seen[0] == (100, SOURCE.prune(state, NOW - 90 * DAY, trades.Stored(history.db, 1)), None)


def test_a_wallet_of_an_exchange_that_this_version_does_not_know(history: History) -> None:
    """Its state stays as it is; what is old is deleted."""
    history.sql("UPDATE whales SET platform = 'other' WHERE id = 2")
    history.sql("INSERT INTO whale_cursors (whale_id, state) VALUES (2, 'opaque')")
    add_trades(history, OLD, 1)
    history.cleanup()
    assert (history.count("whale_activity"), trades.state(history.db, 2)) == (0, "opaque")


@pytest.mark.usefixtures("small_batches")
def test_other_writers_find_the_lock_free_between_any_two_batches(history: History) -> None:
    """At every pause a plain sqlite3 connection that does not wait at all can write."""
    add_trades(history, OLD, 2_000)
    history.trade()
    other = sqlite3.connect(history.db.path, timeout=0, isolation_level=None)
    left: list[int] = []

    def pause(seconds: float) -> None:
        assert seconds > 0.025  # SQLite's own waiters look every 25 ms
        other.execute("UPDATE markets SET volume = coalesce(volume, 0) + 1")
        left.append(other.execute("SELECT count(*) FROM whale_activity").fetchone()[0])

    history.cleanup(pause)
    other.close()
    assert left[:4] == [1_501, 1_001, 501, 1]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("reading", [False, True])
def test_the_wal_is_emptied_when_it_is_large(history: History, monkeypatch: pytest.MonkeyPatch, reading: bool) -> None:
    """Unless a reader keeps it from being emptied, which does not stop the work."""
    monkeypatch.setattr(cleanup, "WAL_BYTES", 100_000)
    add_trades(history, OLD, 2_000)
    history.db.checkpoint()
    reader = sqlite3.connect(history.db.path, isolation_level=None)
    if reading:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM whale_activity").fetchone()
    sizes: list[int] = []
    history.cleanup(lambda seconds: sizes.append(history.db.wal_bytes()))
    reader.close()
    assert (0 in sizes) is not reading
    assert times(history) == []


# Wrong clocks


def test_a_clock_a_year_ahead_is_refused(history: History) -> None:
    """Nothing known is younger than the cut; a sync under the same clock, confirmed by no exchange, proves nothing."""
    history.trade(at=NOW - DAY)
    history.now += 365 * DAY
    history.log("whales", history.now)
    with pytest.raises(JobFailed, match=r"nothing was deleted.*newest: 2026-03-01 00:00 UTC.*Check the clock"):
        history.cleanup()
    assert times(history) == [NOW - DAY]
    assert history.table("SELECT status FROM sync_logs ORDER BY id DESC LIMIT 1") == [("failed",)]


def test_a_clock_a_month_ahead_deletes_what_the_next_hour_would(history: History) -> None:
    """Nobody can tell it from a pause, so time counts only up to there; the sync log says so."""
    for at in (NOW + HOUR - 90 * DAY - 1, NOW + HOUR - 90 * DAY, NOW - 80 * DAY):
        history.trade(at=at)
    history.now += 30 * DAY
    run = history.cleanup()
    assert times(history) == [NOW + HOUR - 90 * DAY, NOW - 80 * DAY]
    assert run.errors() == [
        "clock: no exchange was heard since 2026-03-01 00:00 UTC, so what a later day would delete is kept"
    ]


@pytest.mark.parametrize(
    ("host", "noticed", "left"),
    [
        (-365 * DAY, None, [OLD, NOW - 80 * DAY, NOW]),  # less is deleted, never more
        (30 * DAY, 30 * DAY, [NOW - 80 * DAY, NOW]),  # a sync has noticed that the clock is ahead
        (
            0,
            -365 * DAY,
            [NOW - 80 * DAY, NOW],
        ),  # the clock was behind in the last sync, and has been set right
    ],
)
def test_a_clock_that_is_or_was_wrong_deletes_no_young_trade(
    history: History, host: int, noticed: int | None, left: list[int]
) -> None:
    """Whether the host's clock is wrong now or was so in the last sync, which noticed how far it ran ahead."""
    for at in (OLD, NOW - 80 * DAY, NOW):
        history.trade(at=at)
    if noticed is not None:
        history.log("whales", NOW + noticed)
        with history.db.write():
            history.db.remember("opinion_trade clock_ahead", noticed)
    history.now += host
    assert history.cleanup().errors() == []
    assert times(history) == left


def test_a_file_without_a_sync_is_cleaned_by_its_newest_trade(history: History) -> None:
    """A cut that leaves none of the trades is refused."""
    history.sql("DELETE FROM facts WHERE name = 'opinion_trade exchange_time'")
    history.sql("DELETE FROM sync_logs")
    history.trade(at=OLD)
    with pytest.raises(JobFailed, match="nothing was deleted"):
        history.cleanup()
    history.trade(at=NOW - DAY)
    history.cleanup()
    assert times(history) == [NOW - DAY]


def test_an_exchange_that_never_told_its_time(history: History) -> None:
    """The last good sync is evidence enough: old trades go, also where there are no younger ones."""
    history.sql("DELETE FROM facts WHERE name = 'opinion_trade exchange_time'")
    history.sql(
        "INSERT INTO sync_logs (type, status, started_at, ended_at) VALUES ('whales', 'completed', ?, ?)",
        NOW - HOUR,
        NOW - HOUR,
    )
    history.trade(at=OLD)
    history.cleanup()
    assert times(history) == []


def test_a_sync_remembers_when_the_exchange_was_heard(history: History) -> None:
    """What the exchange said last, not furthest in the future, counts; a response without a time says nothing."""
    history.now += 365 * DAY
    with run_job(SYNC_WHALES, history.settings, clock=Clock(now=lambda: history.now)) as run:
        for exchange_time in (NOW + 365 * DAY, NOW + HOUR, None):
            connection: Any = SimpleNamespace(exchange_time=lambda at=exchange_time: at)
            compare_clocks(run, OPINION_TRADE, connection)
    assert time_heard(history.db, "opinion_trade") == NOW + HOUR
    assert clock_ahead(history.db, "opinion_trade") == 365 * DAY - HOUR
