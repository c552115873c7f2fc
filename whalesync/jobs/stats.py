"""``compute-stats``: per-whale figures, kept up to date at the cost of what is new.

State: the sums in ``whale_tallies`` cover every trade up to the id ``stats_last_id``, and their windows end at
the moment ``stats_as_of``. A run takes out what others have deleted, adds the trades that came since, then moves
the windows to now by taking away what leaves them. Cleanup keeps the same state right for what it removes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from whalesync.jobs.run import Run
from whalesync.jobs.turns import MOST, Turns
from whalesync.store import stats
from whalesync.store.database import Database
from whalesync.tally import WINDOWS_MS, Part, Tally, exact


def compute_stats(run: Run, *, full: bool = False, sleep: Callable[[float], None] = time.sleep) -> None:
    """Bring every whale's figures up to date; ``full`` compares them with a recomputation from scratch."""
    turns = Turns(run.db, sleep)
    new = catch_up(run.db, run.now, turns)
    move_windows(run.db, run.now, turns)
    wrong = compare_in_full(run) if full else 0
    run.items = run.db.value("SELECT count(*) FROM whales")
    run.summary = f"{run.items} whales, {new} new trades"
    if full:
        run.summary += (
            f"; recomputed from scratch: {wrong} whales repaired" if wrong else "; all sums confirmed"
        )


def catch_up(db: Database, now: int, turns: Turns) -> int:
    """Settle what others have deleted and count the trades that are new; returns how many were new."""
    new = 0
    with exact():
        while True:
            with turns.turn() as limit:
                if _settle(db, now, limit):
                    continue
                counted = _count(db, now, limit)
            new += counted
            if counted < limit:
                return new


def move_windows(db: Database, now: int, turns: Turns) -> None:
    """Move the windows to ``now``; a clock that was set back moves them back."""
    with exact():
        reached: int | None = None
        while reached != now:
            with turns.turn() as limit:
                if not _settle(db, now, limit):
                    reached = _move(db, now, limit)


def state(db: Database, now: int) -> tuple[int, int]:
    """The last id counted, and the moment at which the windows end."""
    return db.fact("stats_last_id") or 0, db.fact("stats_as_of") or now


def _settle(db: Database, now: int, limit: int) -> bool:
    """Up to ``limit`` trades that others have deleted: the totals keep them, the windows do not. False if none."""
    up_to = stats.removed(db, limit)
    if up_to is None:
        return False
    last_id, as_of = state(db, now)
    where = f"state = {stats.DELETED} AND id <= ?"
    counted = stats.sums(db, as_of, where, (min(up_to, last_id),), table=stats.REMOVED)
    unknown = stats.sums(db, as_of, f"{where} AND id > ?", (up_to, last_id), table=stats.REMOVED)
    _apply(db, now, [(counted, Tally.prune), (unknown, Tally.prune_uncounted)])
    stats.settle(db, up_to)
    return True


def _count(db: Database, now: int, limit: int) -> int:
    """Count up to ``limit`` trades that are new; returns how many there were."""
    last_id, as_of = state(db, now)
    up_to, count = stats.last_of(db, last_id, limit)
    if count:
        if stats.find_again(db, last_id, up_to):
            back = stats.sums(db, as_of, f"state = {stats.BACK}", (), table=stats.REMOVED)
            _apply(db, now, [(back, Tally.restore)])
            stats.forget_back(db)
        new = stats.sums(db, as_of, "id > ? AND id <= ?", (last_id, up_to))
        _apply(db, now, [(new, Tally.count)])
        db.remember("stats_last_id", up_to)
        db.remember("stats_as_of", as_of)
    return count


def _move(db: Database, now: int, limit: int) -> int:
    """Move the windows towards ``now``, past up to ``limit`` trades in each; returns where they end."""
    last_id, as_of = state(db, now)
    target = stats.step(db, as_of, now, limit)
    if target == as_of:
        return as_of
    sign = -1 if target > as_of else 1
    passed: list[tuple[dict[int, Part], Callable[[Tally, Part], None]]] = []
    for i, width in enumerate(WINDOWS_MS):
        parts = stats.sums(
            db,
            0,
            "timestamp >= ? AND timestamp < ? AND +id <= ?",
            (min(as_of, target) - width, max(as_of, target) - width, last_id),
        )
        for part in parts.values():
            part.windows = [part.sums.volume * (each == i) for each in range(len(WINDOWS_MS))]
        passed.append((parts, lambda tally, part: tally.shift(part, sign)))
    _apply(db, now, passed)
    db.remember("stats_as_of", target)
    return target


def _apply(
    db: Database, now: int, changes: Sequence[tuple[Mapping[int, Part], Callable[[Tally, Part], None]]]
) -> None:
    """Change the tallies of the whales concerned; trades of a whale that somebody has deleted are passed over."""
    changed = stats.tallies(db, sorted({whale_id for parts, _ in changes for whale_id in parts}))
    for parts, change in changes:
        for whale_id, part in parts.items():
            if whale_id in changed:
                change(changed[whale_id], part)
    stats.save(db, changed, now)


def prune_sums(db: Database, now: int, where: str, params: tuple[int, ...]) -> None:
    """Keep the sums right for stored trades that are about to be deleted; in the same transaction."""
    with exact():
        last_id, as_of = state(db, now)
        if stats.prune_whole(db, as_of, last_id, where, params):
            return
        counted = stats.sums(db, as_of, f"{where} AND +id <= ?", (*params, last_id))
        unknown = stats.sums(db, as_of, f"{where} AND +id > ?", (*params, last_id))
        _apply(db, now, [(counted, Tally.prune), (unknown, Tally.prune_uncounted)])


def compare_in_full(run: Run) -> int:
    """Recompute all sums from the rows and from what was pruned; repair and report what differs."""
    db = run.db
    with exact():
        _take_back(db, run.now)
        with db.read():
            last_id, as_of = state(db, run.now)
            kept, shown = stats.tallies(db), stats.shown(db)
            right = {i: Tally() for i in kept}
            # What others have deleted since the last look is in the sums as if it were still stored.
            deleted = f"state = {stats.DELETED} AND id <= ?"
            _add(right, stats.sums(db, as_of, deleted, (last_id,), table=stats.REMOVED))
            row_id = 0
            while row_id < last_id:
                up_to = min(stats.last_of(db, row_id, MOST)[0], last_id)
                if up_to == row_id:
                    break
                _add(right, stats.sums(db, as_of, "id > ? AND id <= ?", (row_id, up_to)))
                row_id = up_to
        for i, tally in kept.items():
            right[i].with_pruned(tally.pruned)
        wrong = [i for i, tally in kept.items() if right[i] != tally or stats.figures(tally) != shown[i]]
        # What differs is added to the sums as they are by now: others may have written meanwhile.
        with db.write():
            present = stats.tallies(db, wrong)
            for i in wrong:
                run.note(f"whale {i}", f"{_fault(right[i], kept[i])}; repaired")
                if i in present:
                    present[i].repair(kept[i], right[i])
            stats.save(db, present, run.now)
    return len(wrong)


def _fault(right: Tally, kept: Tally) -> str:
    if right == kept:
        return "its figures were not those of its sums"
    return f"its sums were wrong: {right.difference(kept)}"


def _add(tallies: dict[int, Tally], parts: Mapping[int, Part]) -> None:
    for whale_id, part in parts.items():
        if whale_id in tallies:
            tallies[whale_id].count(part)


def _take_back(db: Database, now: int) -> None:
    """Deleted trades that somebody has put back under their old ids are stored, and in the windows, again."""
    while ids := stats.put_back(db, MOST):
        with db.write():
            _, as_of = state(db, now)
            stats.mark_back(db, ids)
            back = stats.sums(db, as_of, f"state = {stats.BACK}", (), table=stats.REMOVED)
            _apply(db, now, [(back, Tally.put_back)])
            stats.forget_back(db)
