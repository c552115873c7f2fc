"""``compute-stats``: per-whale figures, kept up to date at the cost of what is new.

State: the sums in ``whale_tallies`` cover every trade up to the id ``stats_last_id``, and their windows end at
the moment ``stats_as_of``. A run adds the trades that came since, then moves the windows to now by taking away
what leaves them. Cleanup keeps the same state right for what it removes.
"""

from __future__ import annotations

from whalesync.jobs.run import Run
from whalesync.store import stats
from whalesync.store.database import Database
from whalesync.tally import WINDOWS_MS, Row, Tally, exact

ROWS_AT_ONCE = 5_000  # about 30 ms of the write lock
HOUR_MS = 3600 * 1000


def compute_stats(run: Run, *, full: bool = False) -> None:
    """Bring every whale's figures up to date; ``full`` compares them with a recomputation from scratch."""
    with exact():
        new = catch_up(run.db, run.now)
        wrong = compare_in_full(run) if full else 0
    run.items = run.db.value("SELECT count(*) FROM whales")
    run.summary = f"{run.items} whales, {new} new trades"
    if full:
        run.summary += (
            f"; recomputed from scratch: {wrong} whales repaired" if wrong else "; all sums confirmed"
        )


def catch_up(db: Database, now: int) -> int:
    """Count the trades that are new and move the windows to ``now``; returns how many were new."""
    new = 0
    while True:
        with db.write():
            last_id, as_of = state(db, now)
            rows = stats.rows_after(db, last_id, ROWS_AT_ONCE)
            if rows:
                changed = stats.tallies(db, {row.whale_id for row in rows})
                for row in rows:
                    changed[row.whale_id].add(row, as_of)
                stats.save(db, changed, now)
                db.remember("stats_last_id", rows[-1].id)
                db.remember("stats_as_of", as_of)
            new += len(rows)
        if len(rows) < ROWS_AT_ONCE:
            break
    while _move_windows(db, now) != now:
        pass
    return new


def state(db: Database, now: int) -> tuple[int, int]:
    """The last id counted, and the moment at which the windows end."""
    return db.fact("stats_last_id") or 0, db.fact("stats_as_of") or now


def _move_windows(db: Database, now: int) -> int:
    """Move the windows an hour on, or to ``now`` if that is nearer; returns where they end.

    Hour by hour, so that catching up after a long pause never holds the write lock for long. A clock that
    was set back moves them back.
    """
    with db.write():
        last_id, as_of = state(db, now)
        target = min(now, as_of + HOUR_MS) if now >= as_of else max(now, as_of - HOUR_MS)
        sign = -1 if target >= as_of else 1
        moved: dict[int, Tally] = {}
        for i, width in enumerate(WINDOWS_MS):
            rows = stats.rows_between(db, min(as_of, target) - width, max(as_of, target) - width, last_id)
            moved |= stats.tallies(db, {row.whale_id for row in rows} - moved.keys())
            for row in rows:
                moved[row.whale_id].leave(i, row, sign)
        stats.save(db, moved, now)
        db.remember("stats_as_of", target)
    return target


def compare_in_full(run: Run) -> int:
    """Recompute all sums from the rows and from what was pruned; repair and report what differs."""
    db = run.db
    with db.read():
        last_id, as_of = state(db, run.now)
        kept = stats.tallies(db)
        right = {i: Tally() for i in kept}
        row_id = 0
        while rows := [row for row in stats.rows_after(db, row_id, ROWS_AT_ONCE) if row.id <= last_id]:
            row_id = rows[-1].id
            for row in rows:
                right[row.whale_id].add(row, as_of)
    wrong = {i for i, tally in kept.items() if right[i].with_pruned(tally.pruned) != tally}
    # What differs is added to the sums as they are by now: others may have written meanwhile.
    with db.write():
        present = stats.tallies(db, wrong)
        for i in wrong:
            run.note(f"whale {i}", f"its sums were wrong: {right[i].difference(kept[i])}; repaired")
            present[i].repair(kept[i], right[i])
        stats.save(db, present, run.now)
    return len(wrong)


def forget(db: Database, rows: list[Row], now: int) -> None:
    """Trades that are being removed: count those that never were, keep all in the totals. In the transaction."""
    with exact():
        last_id, as_of = state(db, now)
        changed = stats.tallies(db, {row.whale_id for row in rows})
        for row in rows:
            if row.id > last_id:
                changed[row.whale_id].add(row, as_of)
            changed[row.whale_id].prune(row, as_of)
        stats.save(db, changed, now)
