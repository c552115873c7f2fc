"""``cleanup``: prunes what is older than the retention, until none is left, without holding up anybody.

A wrong clock must not empty the table. The exchange's own time corrects ours; a cut that no trade and no sync
is younger than is refused; and time counts only up to an hour after the last good sync, since nobody can tell a
clock that has jumped ahead from a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from whalesync.errors import JobFailed
from whalesync.jobs.run import Run
from whalesync.jobs.stats import catch_up, prune_sums
from whalesync.jobs.turns import Turns
from whalesync.records import DAY_MS
from whalesync.store import prune

HOUR_MS = 3600 * 1000
MOST_PAGES = 1_000  # of free space given back in one turn: 4 MB, 25 ms


def cleanup(run: Run, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete trades, sync log rows and rejected records past the retention; give the space back.

    Raises:
        JobFailed: the clock cannot be right; nothing was deleted.
    """
    db, turns = run.db, Turns(run.db, sleep)
    cut = safe_cut(run, prune.youngest(db))
    prune.widen_cache(db)
    # First the sums: they must know what is being removed.
    catch_up(db, run.now, turns)
    with db.write():
        prune.raise_floors(db, cut)
    _trades(run, turns, cut)
    _rejected(run, turns, cut)
    kept = prune.last_runs(db)
    _all(run, turns, lambda limit: prune.sync_logs(db, cut, kept, limit))
    _all(run, turns, lambda limit: prune.removed_trades(db, cut, limit), counted=False)
    _give_back(run, turns)
    run.summary = f"{run.items} rows older than {_minute(cut)} UTC deleted"


def safe_cut(run: Run, youngest: prune.Youngest) -> int:
    """The moment (ms) before which things are too old to be kept.

    Raises:
        JobFailed: no trade and no sync is younger than that.
    """
    retention = run.settings.retention_days * DAY_MS
    ahead = run.db.fact("clock_ahead") or 0  # of the exchange's, as the last sync has found it
    now = run.now - max(0, ahead)
    sync = None if youngest.sync is None else youngest.sync - ahead
    known = [moment for moment in (youngest.trade, sync) if moment is not None]
    if known and now - retention > max(known):
        raise JobFailed(
            f"refused to delete everything up to {_day(now - retention)}: nothing known is younger than "
            f"{_day(max(known))}; check the clock, or let sync-whales succeed once"
        )
    if sync is None or now <= sync + HOUR_MS:
        return now - retention
    if now > sync + DAY_MS:
        run.note("clock", f"the last good sync was on {_day(sync)}, so what a later day would delete is kept")
    return sync + HOUR_MS - retention


def _trades(run: Run, turns: Turns, cut: int) -> None:
    done = False
    while not done:
        with turns.turn() as limit:
            end = prune.oldest(run.db, cut, limit)
            if end is None:
                return
            # The first half is what the index is searched by.
            where, params = "timestamp <= ? AND (timestamp, id) <= (?, ?)", (end[0], *end)
            prune_sums(run.db, run.now, where, params)
            deleted = prune.trades(run.db, where, params)
        run.items += deleted
        run.progress(f"{run.items} rows deleted")
        done = deleted < limit


def _rejected(run: Run, turns: Turns, cut: int) -> None:
    after = 0
    while ids := prune.old_rejected(run.db, cut, after, turns.rows):
        with turns.turn():
            deleted = prune.rejected_records(run.db, ids, cut)
        run.items += deleted
        after = ids[-1]


def _all(run: Run, turns: Turns, delete: Callable[[int], int], *, counted: bool = True) -> None:
    deleted = limit = 1
    while deleted >= limit:
        with turns.turn() as limit:
            deleted = delete(limit)
        run.items += deleted if counted else 0


def _give_back(run: Run, turns: Turns) -> None:
    left = prune.free_pages(run.db)
    while left:
        with turns.turn() as limit:
            prune.give_back(run.db, min(limit, left, MOST_PAGES))
        before, left = left, prune.free_pages(run.db)
        run.progress(f"{left} free pages left to give back")
        if left >= before:
            return  # the file was made without auto_vacuum, or others free more than we give back


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment / 1000))


def _minute(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment / 1000))
