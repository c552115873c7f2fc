"""A wallet's stored entries in memory: a trade source compares its list with them, and nothing is written."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from whalesync.exchanges.base import Batch, Correction, CountedRecord, NewFill, Pace, Rewrite, StoredEntry, Traded
from whalesync.records import BUY, SELL, Trade


class Difference(NamedTuple):
    """What makes a wallet's rows equal to the list that they were compared with.

    ``batch``: the changes. ``missing``: how many entries of the list are not stored. ``removed``: the stored ones that
    the list does not show, or not as often.
    """

    batch: Batch
    missing: int
    removed: frozenset[StoredEntry]


class Copy:
    """The entries of one wallet (``StoredTrades``), to which batches are applied.

    Entries that are added get negative ids.
    """

    def __init__(self, entries: Iterable[StoredEntry]) -> None:
        self._fills: dict[int, StoredEntry] = {}
        self._rejected: dict[bytes, StoredEntry] = {}
        for entry in entries:
            if isinstance(entry.key, bytes):
                self._rejected[entry.key] = entry
            else:
                self._fills[entry.id] = entry
        self._fills_before = dict(self._fills)
        self._rejected_before = dict(self._rejected)
        self._added: dict[int, Trade] = {}
        self._corrected: dict[int, Correction] = {}
        self._seen: dict[bytes, CountedRecord] = {}
        self._refetched_before: int | None = None
        # Newest first, as a list is read: what is added while history is loaded goes to the end.
        self._order = sorted((-entry.timestamp, entry.id) for entry in self._fills.values())
        self._superseded = sorted(-entry.timestamp for entry in self._fills.values() if entry.superseded)

    # StoredTrades

    def newer(self, timestamp: int) -> int:
        """How many entries that count are newer than ``timestamp`` (ms)."""
        fills = bisect_left(self._order, (-timestamp,)) - bisect_left(self._superseded, -timestamp)
        return fills + sum(row.copies for row in self._rejected.values() if row.timestamp > timestamp)

    def between(self, first: int, last: int) -> Sequence[StoredEntry]:
        """The entries from ``first`` to ``last`` (ms), both included, superseded ones too."""
        part = self._order[bisect_left(self._order, (-last,)) : bisect_left(self._order, (1 - first,))]
        rejected = [row for row in self._rejected.values() if first <= row.timestamp <= last]
        return [*(self._fills[row_id] for _, row_id in part), *rejected]

    def rejected(self, fingerprint: bytes) -> StoredEntry | None:
        """A rejected record, wherever it stands."""
        return self._rejected.get(fingerprint)

    def has_rejected(self) -> bool:
        """Whether any rejected record counts as an entry."""
        return any(row.copies for row in self._rejected.values())

    def count(self, first: int, before: int) -> int:
        """How many entries that count are from ``first`` (ms) up to, but not including, ``before``."""
        return self.newer(first - 1) - self.newer(before - 1)

    def traded(self, first: int, before: int) -> Traded:
        """The sums from ``first`` (ms) up to, but not including, ``before``."""
        entries = self.between(first, before - 1)
        fills = [row for row in entries if not row.superseded and row.action in (BUY, SELL)]
        return Traded(
            len(fills),
            sum(row.shares or 0.0 for row in fills),
            sum((row.shares or 0.0) * (row.price or 0.0) for row in fills),
            sum(row.copies for row in entries if isinstance(row.key, bytes)),
        )

    # Changes

    def apply(self, batch: Batch) -> None:
        """Change the copy as storing the batch would change the file; ``doubted`` rows are taken for removed."""
        for rewrite in batch.rewritten:
            row = self._fills[rewrite.id]
            self._order.remove((-row.timestamp, row.id))
            self._put(row.id, rewrite.fill)
        for new in batch.new:
            self._put(-1 - len(self._added), new)
        for counted in batch.rejected:
            key, before = counted.record.fingerprint, self._rejected.get(counted.record.fingerprint)
            row_id = before.id if before else -1 - len(self._rejected)
            self._seen[key] = counted
            self._rejected[key] = StoredEntry(row_id, key, counted.timestamp, copies=counted.copies)
        for row_id in batch.revived:
            self._supersede(row_id, False)
        for row_id in (*batch.superseded, *batch.doubted):
            self._supersede(row_id, True)
        for correction in batch.corrected:
            row = self._fills[correction.id]
            self._corrected[row.id] = correction
            self._fills[row.id] = row._replace(
                fee=correction.fee,
                profit=correction.profit,
                price=row.price if correction.price is None else correction.price,
                labelled=row.labelled or correction.outcome_label is not None,
            )
        for row_id, copies in batch.recounted:
            key = next(key for key, row in self._rejected.items() if row.id == row_id)
            self._rejected[key] = self._rejected[key]._replace(copies=copies)
        self._refetched_before = batch.refetched_before or self._refetched_before

    def _put(self, row_id: int, fill: NewFill) -> None:
        """A row that holds this fill, and counts."""
        trade = fill.trade
        self._added[row_id] = trade
        self._fills[row_id] = StoredEntry(
            row_id,
            trade.fill_key,
            trade.timestamp,
            fill.copy,
            fee=trade.fee,
            profit=trade.profit,
            action=trade.action,
            price=trade.price,
            shares=trade.shares,
            labelled=trade.outcome_label is not None,
        )
        insort(self._order, (-trade.timestamp, row_id))

    def _supersede(self, row_id: int, superseded: bool) -> None:
        row = self._fills[row_id]
        self._fills[row_id] = row._replace(superseded=superseded)
        if superseded:
            insort(self._superseded, -row.timestamp)
        else:
            del self._superseded[bisect_left(self._superseded, -row.timestamp)]

    def difference(self, state: str) -> Difference:
        """What makes the file into what this copy has become, with the state that speaks of it."""
        batch = Batch(state, Pace.DONE, refetched_before=self._refetched_before)
        listed, removed = 0, set()
        for row_id, row in self._fills.items():
            before = self._fills_before.get(row_id)
            if before is None:
                if not row.superseded:
                    batch.new.append(NewFill(replace(self._added[row_id], fee=row.fee, profit=row.profit), row.copy))
                continue
            if row.superseded and not before.superseded:
                batch.superseded.append(row_id)
                removed.add(before)
                continue
            if before.superseded and not row.superseded:
                batch.revived.append(row_id)
            if row_id in self._added:
                batch.rewritten.append(Rewrite(row_id, NewFill(self._added[row_id], row.copy)))
            elif row._replace(superseded=False) != before._replace(superseded=False):
                batch.corrected.append(self._corrected[row_id])
        for key, row in self._rejected.items():
            before = self._rejected_before.get(key)
            copies = before.copies if before else 0
            if before and (copies, before.timestamp) == (row.copies, row.timestamp):
                continue
            if key in self._seen:
                batch.rejected.append(CountedRecord(self._seen[key].record, row.copies, row.timestamp))
            else:
                batch.recounted.append((row.id, row.copies))
            listed += max(0, row.copies - copies)
            if before and row.copies < copies:
                removed.add(before)
        return Difference(batch, listed + len(batch.new) + len(batch.revived), frozenset(removed))
