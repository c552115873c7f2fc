"""What a stretch of the list changes in the file: new fills, copies, corrections, rows no longer listed. Pure."""

from __future__ import annotations

from whalesync.exchanges.base import (
    Batch,
    Correction,
    CountedRecord,
    NewFill,
    Pace,
    StoredEntry,
    StoredTrades,
)
from whalesync.exchanges.opinion_trade.pages import Entry, Slice
from whalesync.records import RejectedRecord, Trade


class Changes:
    """The changes of one reading, gathered in ``batch``, and how many entries count more or less because of them.

    Args:
        stored: what is stored of the wallet.
        cutoff: trades older than this (ms) are not stored.
    """

    def __init__(self, stored: StoredTrades, cutoff: int) -> None:
        self.batch = Batch(state="", pace=Pace.DONE)
        self._stored = stored
        self._cutoff = cutoff
        # Times of entries, and how many of them count from now on (+) or do not any more (-).
        self._steps: list[tuple[int, int]] = []

    def store(self, part: Slice, *, whole_seconds: bool) -> None:
        """Make the file hold what is shown; with ``whole_seconds``, nothing else in seconds that are shown whole."""
        shown = [entry for entry in part.entries if entry.time >= self._cutoff]
        times = [entry.time for entry in shown]
        if whole_seconds and part.boundaries:
            times += [max(part.boundaries[-1].time + 1, self._cutoff), part.whole_from]
        if not times:
            return
        rows: dict[int | bytes, list[StoredEntry]] = {}
        for row in self._stored.between(min(times), max(times)):
            rows.setdefault(row.key, []).append(row)
        equal: dict[int | bytes, list[Entry]] = {}
        for entry in shown:
            equal.setdefault(entry.key, []).append(entry)
        gone = [
            row
            for key, of_key in rows.items()
            if key not in equal
            for row in of_key
            if whole_seconds and part.shows_whole(row.timestamp)
        ]
        for key, entries in equal.items():
            whole = whole_seconds and part.shows_whole(entries[0].time)
            record = entries[0].record
            if isinstance(record, RejectedRecord):
                self._count_record(record, entries, whole, gone)
            else:
                fills = [entry.record for entry in entries if isinstance(entry.record, Trade)]
                self._store_fills(fills, rows.get(key, []), whole)
        for row in gone:
            self._drop(row)

    def brought(self, time: int | None = None) -> bool:
        """Whether something was listed that was not stored (of that ``time``)."""
        return any(step > 0 for at, step in self._steps if time is None or at == time)

    @property
    def net(self) -> int:
        """How many entries more are accounted for."""
        return sum(step for _, step in self._steps)

    def newer(self, time: int) -> int:
        """How many entries more are stored that are newer than ``time``."""
        return sum(step for at, step in self._steps if at > time)

    def older(self, time: int) -> int:
        """How many entries more are stored that are older than ``time``."""
        return sum(step for at, step in self._steps if at < time)

    def _store_fills(self, shown: list[Trade], rows: list[StoredEntry], whole: bool) -> None:
        """Equal fills: store, revive, correct and supersede copies, until as many are stored as are listed."""
        batch, time = self.batch, shown[0].timestamp
        if not rows and len(shown) == 1:  # as nearly always
            batch.new.append(NewFill(shown[0], 1))
            self._count(time, 1)
            return
        active = sorted((row for row in rows if not row.superseded), key=lambda row: row.copy)
        superseded = [row for row in rows if row.superseded]
        # Copies differ in fee and profit alone: pair those that agree, so that only the others are touched.
        unpaired = list(active)
        unknown: list[Trade] = []
        for trade in shown:
            paired = next((r for r in unpaired if (r.fee, r.profit) == (trade.fee, trade.profit)), None)
            if paired is None:
                unknown.append(trade)
            else:
                unpaired.remove(paired)
        missing = len(shown) - len(active)
        if missing >= 0 or whole:
            for row, trade in zip(unpaired, unknown[max(0, missing) :], strict=False):
                batch.corrected.append(Correction(row.id, trade.fee, trade.profit))
        if missing < 0 and whole:
            batch.superseded += [row.id for row in unpaired[len(unknown) :]]
            self._count(time, missing)
        if missing > 0:
            revived = superseded[:missing]
            batch.revived += [row.id for row in revived]
            copy = max((row.copy for row in rows), default=0)
            batch.new += [NewFill(trade, copy + i) for i, trade in enumerate(unknown[len(revived) : missing], start=1)]
            self._count(time, missing)

    def _count_record(self, record: RejectedRecord, entries: list[Entry], whole: bool, gone: list[StoredEntry]) -> None:
        """A record that cannot be read counts as often as it is listed, unless it stands for a stored fill.

        A fill that is ``gone`` where such a record has appeared is most probably that record: it stays, and counts.
        """
        row = self._stored.rejected(record.fingerprint)
        counted = 0 if row is None else row.copies
        copies = len(entries) if whole else max(len(entries), counted)
        for fill in [each for each in gone if isinstance(each.key, int) and not each.superseded]:
            if copies > counted and record.timestamp in (None, fill.timestamp):
                gone.remove(fill)
                copies -= 1
        place = row.timestamp if row is not None and counted else entries[0].time
        self.batch.rejected.append(CountedRecord(record, copies, place))
        self._count(place, copies - counted)

    def _drop(self, row: StoredEntry) -> None:
        """A stored row that is not listed any more."""
        if isinstance(row.key, bytes):
            if row.copies:
                self.batch.recounted.append((row.id, 0))
                self._count(row.timestamp, -row.copies)
        elif not row.superseded:
            self.batch.superseded.append(row.id)
            self._count(row.timestamp, -1)

    def _count(self, time: int, step: int) -> None:
        """Note that ``step`` entries of ``time`` count from now on."""
        if step:
            self._steps.append((time, step))
