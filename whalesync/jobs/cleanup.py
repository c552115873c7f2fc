"""``cleanup``: prunes what is older than the retention, until none is left, without holding up anybody.

A wrong clock must not empty the table: the exchange's own time corrects ours, and a cut that no trade and no
sync is younger than is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from whalesync.errors import JobFailed
from whalesync.jobs.run import Run
from whalesync.jobs.stats import forget
from whalesync.store import prune, stats

DAY_MS = 24 * 3600 * 1000
ROWS_AT_ONCE = 1_000
PAUSE_SHARE = 0.5  # of the time a batch took, for other writers
WAL_BYTES = 4 * 1024 * 1024  # beyond this the WAL is emptied between two batches


def cleanup(run: Run, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete trades, sync log rows and rejected records past the retention; give the space back.

    Raises:
        JobFailed: the clock cannot be right; nothing was deleted.
    """
    cut = run.now - max(0, run.db.fact("clock_ahead") or 0) - run.settings.retention_days * DAY_MS
    check_cut(cut, prune.youngest(run.db), run.now)
    with run.db.write():
        prune.raise_floors(run.db, cut)
    for delete in (_trades, _rejected, _logs):
        while True:
            begun = time.monotonic()
            with run.db.write():
                deleted = delete(run, cut)
            run.items += deleted
            if deleted < ROWS_AT_ONCE:
                break
            sleep((time.monotonic() - begun) * PAUSE_SHARE)
            if run.db.wal_bytes() > WAL_BYTES:
                run.db.checkpoint()
    while prune.give_back(run.db):
        sleep(0.005)
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(cut / 1000))
    run.summary = f"{run.items} rows older than {day} UTC deleted"


def check_cut(cut: int, youngest: prune.Youngest, now: int) -> None:
    """Refuse a cut that can only come of a wrong clock.

    Raises:
        JobFailed: no trade and no sync is younger than the cut, or the last sync is far from now.
    """
    known = [moment for moment in youngest if moment is not None]
    if known and cut > max(known):
        raise JobFailed(
            f"refused to delete everything up to {_day(cut)}: nothing known is younger than {_day(max(known))}; "
            "check the clock, or let sync-whales succeed once"
        )
    if youngest.sync is not None and abs(now - youngest.sync) > DAY_MS:
        raise JobFailed(
            f"refused to delete anything: the clock says {_day(now)}, the last good sync was on "
            f"{_day(youngest.sync)}; check the clock, or let sync-whales succeed once"
        )


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment / 1000))


def _trades(run: Run, cut: int) -> int:
    rows = stats.delete_older(run.db, cut, ROWS_AT_ONCE)
    if rows:
        forget(run.db, rows, run.now)
    return len(rows)


def _rejected(run: Run, cut: int) -> int:
    return prune.rejected_records(run.db, cut, ROWS_AT_ONCE)


def _logs(run: Run, cut: int) -> int:
    return prune.sync_logs(run.db, cut, ROWS_AT_ONCE)
