"""Writing the difference between a wallet's stored trades and the exchange's list."""

from __future__ import annotations

from collections.abc import Iterable

from whalesync.exchanges.base import Batch, NewFill, Rewrite, TradeSource
from whalesync.jobs.run import Run
from whalesync.jobs.verdict import Verdict, Walk
from whalesync.store import trades, verify
from whalesync.store.verify import ChangedRow
from whalesync.text import counted, id_ranges


def match_changed(
    new: Iterable[NewFill], changed: Iterable[ChangedRow]
) -> tuple[list[Rewrite], list[NewFill], list[ChangedRow]]:
    """Which changed rows are to hold which missing fills again; the other fills, and the other rows.

    A row keeps the number of its copy where it can, so that no two rows claim the same one.
    """
    fills = list(new)
    rewritten: list[Rewrite] = []
    left = list(changed)
    for same_copy in (True, False):
        free: dict[tuple[int, int], list[NewFill]] = {}
        for fill in fills:
            free.setdefault((fill.trade.fill_key, fill.copy if same_copy else 0), []).append(fill)
        unmatched = []
        for row in left:
            found = free.get((row.fill_key or 0, row.copy if same_copy else 0))
            if found:
                rewritten.append(Rewrite(row.id, found.pop()))
            else:
                unmatched.append(row)
        left, fills = unmatched, [fill for same in free.values() for fill in same]
    return rewritten, fills, left


def write_difference(
    run: Run, source: TradeSource, verdict: Verdict, walk: Walk, batch: Batch, *, remove: bool
) -> None:
    """Store the batch of a walk's difference in one transaction; with ``remove``, also what takes rows away.

    The verdict then says what was changed, or why nothing was.
    """
    db, whale = run.db, verdict.whale
    if remove:
        batch.superseded += [row.id for row in walk.unlisted]
    elif walk.removed:
        # What was found is not certain enough to take rows away: the sync is to compare all of it by itself.
        batch.superseded, batch.recounted = [], []
        batch.state = source.recheck(batch.state) or batch.state
    with db.write():
        if trades.state(db, whale.id) != walk.begun:
            verdict.problem = "it was not repaired, because cleanup has deleted rows of it meanwhile: try again"
            return
        newest = verify.newest_id(db)
        trades.store(db, whale, batch, {}, run_id=run.id, now=run.now)
        added = verify.ids_after(db, newest)
    changes = [
        (added, "added"),
        (batch.revived, "listed again"),
        ([each.id for each in batch.rewritten], "rewritten"),
        ([each.id for each in batch.corrected], "corrected"),
        (batch.superseded, "superseded"),
    ]
    run.items += sum(len(ids) for ids, _ in changes)
    said = [f"{counted(len(ids), 'row')} {what} ({id_ranges(ids)})" for ids, what in changes if ids]
    if recounted := len(batch.rejected) + len(batch.recounted):
        run.items += recounted
        said.append(f"{counted(recounted, 'unreadable record')} counted anew")
    verdict.repaired = ", ".join(said)
    if walk.removed and not remove:
        verdict.problem = "rows were left that one of two walks did not show, or a list of another length"
        return
    verdict.accounted = verdict.listed
    verdict.missing, verdict.arrived, verdict.extra, verdict.corrected, verdict.changed = 0, 0, [], [], []
    verdict.records, verdict.problem = 0, None
