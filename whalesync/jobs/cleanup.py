"""``cleanup``: delete what is older than the retention, until none is left, without delaying other writers.

A wrong clock must not empty the tables. The exchanges' clocks correct the host's, and where they disagree, the slowest
counts: what is kept too long does no harm. Time counts only up to an hour after the latest moment that an exchange
vouches for, since a clock that has jumped ahead and a pause look alike; and a cut that leaves nothing known is refused.

The work is done in batches of a fixed size, with a pause after each. A writer that waits looks whether the lock is
free: ours every 2 ms; SQLite's busy handler after sleeps of 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, then 100 ms. After
100 ms a pause of 28 ms is therefore never missed, and after more one of half as long, up to 103 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from whalesync.errors import JobFailed
from whalesync.exchanges import EXCHANGES, asked_for
from whalesync.jobs.exchanges import clock_ahead, time_heard
from whalesync.jobs.run import Run
from whalesync.jobs.table import DAY, HOUR, SYNC_MARKETS, SYNC_WHALES
from whalesync.settings import RETENTION_DAYS
from whalesync.store import retention, sync_log, trades, whales
from whalesync.store.database import Database
from whalesync.store.trades import Stored

# 7,000 trades hold the lock for about 80 ms on 2 cores with SQLite 3.40. Most of that is the cost of the index pages
# that a batch touches, which smaller batches touch again.
BATCH_ROWS = 7_000
BATCH_PAGES = 2_000  # 8 MB of free space, 50 ms
SHORTEST_PAUSE, LONGEST_PAUSE = 0.028, 0.103  # seconds
SHORT_SECONDS, LONG_SECONDS = 0.01, 0.1  # that the lock was held: no pause, or a longer one
# A checkpoint holds the lock too. The larger the WAL, the less there is to do for each row, since the same pages stand
# in it again and again.
WAL_BYTES = 48 * 1024 * 1024
CHECKPOINT_PATIENCE = 0.02  # seconds that it waits for readers, holding the lock


def run(run: Run, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete trades, sync log rows, rejected records and deliveries past the retention; give the space back.

    Raises:
        JobFailed: the clock cannot be right; nothing was deleted.
    """
    db, batches = run.db, Batches(run, sleep)
    cut = safe_cut(run)
    retention.widen_cache(db)
    batches.delete(partial(delete_trades, db, cut, {}))
    rejected = retention.old_rejected_records(db, cut)
    for first in range(0, len(rejected), BATCH_ROWS):
        ids = rejected[first : first + BATCH_ROWS]
        batches.delete(partial(retention.delete_rejected_records, db, ids, cut))
    batches.delete(partial(retention.delete_sync_logs, db, cut, BATCH_ROWS))
    batches.delete(partial(retention.delete_deliveries, db, cut, BATCH_ROWS))
    free = retention.free_pages(db)
    while free:
        batches.write(partial(retention.give_back_pages, db, min(free, BATCH_PAGES)))
        before, free = free, retention.free_pages(db)
        run.report_progress(f"{free} free pages left to give back")
        if free >= before:
            break  # the file was made without auto_vacuum, or others free more than we give back
    run.summary = f"deleted {run.items:,} rows older than {_minute(cut)} UTC"


def safe_cut(run: Run) -> int:
    """The moment (ms) before which things are too old to be kept.

    Raises:
        JobFailed: no trade is younger than that, and no exchange was heard since.
    """
    keep = run.settings.get(RETENTION_DAYS) * DAY
    db, asked = run.db, [exchange.name for exchange in asked_for(whales.platforms(run.db))]
    now = run.now - max([0, *(clock_ahead(db, name) for name in asked)])
    # Without a time from any exchange the syncs count: what a wrong clock then deletes is fetched again later.
    moments = _known(time_heard(db, name) for name in asked) or _known(
        sync_log.last_good_start(db, job.type, name) for name in asked for job in (SYNC_MARKETS, SYNC_WHALES)
    )
    known = max(_known([*moments, retention.newest_trade(db)]), default=None)
    if known is None:
        return now - keep
    if now - keep > known:
        raise JobFailed(
            f"nothing was deleted: all that is known is older than the retention (newest: {_minute(known)} UTC), so the"
            " clock may be wrong. Check the clock of this host, or let sync-whales succeed once"
        )
    if now > known + DAY:
        run.record_problem(
            "clock",
            f"no exchange was heard since {_minute(known)} UTC, so what a later day would delete is kept",
        )
    return min(now, known + HOUR) - keep


def _known(moments: Iterable[int | None]) -> list[int]:
    return [moment for moment in moments if moment is not None]


def delete_trades(db: Database, cut: int, pruned: dict[int, str]) -> int:
    """Delete one batch of trades, and let the trade sources know the cut in the same transaction.

    A source that finds rows missing must know why, and a sync may have changed its state since the last batch:
    ``pruned`` has the states by wallet as the last batch left them.
    """
    for whale_id, platform, state in retention.states(db):
        if platform in EXCHANGES and pruned.get(whale_id) != state:
            pruned[whale_id] = EXCHANGES[platform].trades.prune(state, cut, Stored(db, whale_id))
            trades.save_state(db, whale_id, pruned[whale_id])
    return retention.delete_trades(db, cut, BATCH_ROWS)


class Batches:
    """Write transactions with a pause between them, in which other writers come in, and checkpoints."""

    def __init__(self, run: Run, sleep: Callable[[float], None]) -> None:
        self._run = run
        self._sleep = sleep
        self._wal_limit = WAL_BYTES

    def delete(self, step: Callable[[], int]) -> None:
        """Do a step that deletes about BATCH_ROWS rows until it deletes fewer; count them as the run's items."""
        deleted = BATCH_ROWS
        while deleted >= BATCH_ROWS:
            deleted = self.write(step)
            self._run.items += deleted
            self._run.report_progress(f"{self._run.items} rows deleted")

    def write(self, step: Callable[[], int]) -> int:
        """Do a step in one transaction, and pause."""
        db = self._run.db
        with db.write():
            begun = time.monotonic()
            count = step()
        self._pause(begun)
        if db.wal_bytes() > self._wal_limit:
            begun = time.monotonic()
            db.checkpoint(CHECKPOINT_PATIENCE)
            # What a long reader has kept in the WAL must not be tried again after every batch.
            self._wal_limit = db.wal_bytes() + WAL_BYTES
            self._pause(begun)
        return count

    def _pause(self, begun: float) -> None:
        held = time.monotonic() - begun
        if held > SHORT_SECONDS:
            self._sleep(SHORTEST_PAUSE if held < LONG_SECONDS else min(held / 2, LONGEST_PAUSE))


def _minute(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment / 1000))
