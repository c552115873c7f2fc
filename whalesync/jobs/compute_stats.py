"""``compute-stats``: the whales' figures, computed anew from the rows.

What a sync changes is brought up to date by the sync itself; here the rolling windows move on, and whatever was changed
by hand or left by a run that was killed is set right.
"""

from __future__ import annotations

from whalesync.jobs.run import Run
from whalesync.store import stats


def run(run: Run) -> None:
    """Bring every whale's figures up to date; the rolling windows end at the start of the run."""
    changed = max(stats.update_trades(run.db, run.now), stats.update_positions(run.db, run.now))
    run.items = stats.whale_count(run.db)
    run.summary = f"{run.items} whales, {changed} changed"
