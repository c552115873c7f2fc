"""``compute-stats``: the whales' figures, computed anew from the rows."""

from __future__ import annotations

from whalesync.jobs.run import Run
from whalesync.store import positions, stats


def run(run: Run) -> None:
    """Bring every whale's figures up to date; the rolling windows end at the start of the run."""
    positions.settle(run.db, run.now)
    complete = [whale_id for whale_id, unknown in positions.unknowns(run.db).items() if not unknown.reasons()]
    changed = stats.changed_figures(run.db, run.now, complete)
    if changed:
        with run.db.write():
            stats.save_figures(run.db, changed, run.now)
    run.items = stats.whale_count(run.db)
    run.summary = f"{run.items} whales, {len(changed)} changed"
