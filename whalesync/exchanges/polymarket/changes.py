"""What a page changes in the file: new fills, copies, corrections, moved rows, and stored rows not shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whalesync.exchanges.base import Batch, Correction, CountedRecord, NewFill, Pace, Rewrite, StoredEntry, StoredTrades
from whalesync.exchanges.polymarket.pages import Page
from whalesync.records import RejectedRecord, Trade
from whalesync.text import counted


@dataclass(slots=True)
class Shown:
    """What a page shows of one fill key, and what is stored of it, in these seconds and near them."""

    trades: list[Trade]
    rows: list[StoredEntry]


class Changes:
    """The changes of one page, gathered in ``batch``.

    Args:
        page: compared with what is stored.
        stored: what is stored of the wallet.
        oldest: the first second (in ms) of which rows are stored.
        reach: how far a transaction that is mined again may move (ms).

    ``missed``: the rows that the page would show if they were still listed. Where it shows a record that cannot be
    read, a row that seems to be missing is most probably that record.
    """

    def __init__(self, page: Page, stored: StoredTrades, *, oldest: int, reach: int) -> None:
        self.batch = Batch(state="", pace=Pace.DONE)
        self.missed: list[StoredEntry] = []
        self._stored = stored
        self._first = max(page.whole_from * 1000, oldest)
        self._last = page.last * 1000
        self._near = [*stored.between(self._first - reach, self._last + reach)]
        entries = [entry for entry in page.entries if entry.second * 1000 >= oldest]
        self._unread = {entry.second * 1000 for entry in entries if isinstance(entry.record, RejectedRecord)}
        self._compare_fills([entry.record for entry in entries if isinstance(entry.record, Trade)])
        self._compare_records(
            [(entry.record, entry.second * 1000) for entry in entries if isinstance(entry.record, RejectedRecord)]
        )

    def _compare_fills(self, trades: Sequence[Trade]) -> None:
        of_key: dict[int, Shown] = {}
        for trade in trades:
            of_key.setdefault(trade.fill_key, Shown([], [])).trades.append(trade)
        for row in self._near:
            if isinstance(row.key, int):
                of_key.setdefault(row.key, Shown([], [])).rows.append(row)
        for each in of_key.values():
            self._compare_equal(each.trades, each.rows)
        if moved := len(self.batch.rewritten):
            self.batch.notes.append(f"the transactions of {counted(moved, 'trade')} were mined again in another second")

    def _compare_equal(self, trades: list[Trade], rows: list[StoredEntry]) -> None:
        """Fills of one key, which differ in time at most: as many are to be stored as are shown."""
        active = sorted((row for row in rows if not row.superseded), key=lambda row: row.copy)
        unknown: list[Trade] = []
        for trade in trades:
            row = next((row for row in active if row.timestamp == trade.timestamp), None)
            if row is None:
                unknown.append(trade)
            else:
                active.remove(row)
                self._correct(row, trade)
        copies = {row.copy for row in rows}
        for trade in unknown:
            if active:
                # All rows of a transaction are in one block, so the stored one has moved here.
                row = active.pop()
                others = {other.copy for other in rows if other.id != row.id}
                copy = row.copy if row.copy not in others else max(copies) + 1
                self.batch.rewritten.append(Rewrite(row.id, NewFill(trade, copy)))
            elif gone := next((row for row in rows if row.superseded and row.timestamp == trade.timestamp), None):
                rows.remove(gone)
                self.batch.revived.append(gone.id)
                continue
            else:
                copy = max(copies, default=0) + 1
                self.batch.new.append(NewFill(trade, copy))
            copies.add(copy)
        self.missed += [row for row in active if self._is_covered(row) and row.timestamp not in self._unread]

    def _correct(self, row: StoredEntry, trade: Trade) -> None:
        """What may become known or change after a fill."""
        label = None if row.labelled else trade.outcome_label
        if label is not None or (row.fee, row.price) != (trade.fee, trade.price):
            outcome = None if label is None else trade.outcome
            self.batch.corrected.append(Correction(row.id, trade.fee, row.profit, trade.price, outcome, label))

    def _compare_records(self, shown: Sequence[tuple[RejectedRecord, int]]) -> None:
        """Records that cannot be read count as often as they are shown."""
        of_print: dict[bytes, list[tuple[RejectedRecord, int]]] = {}
        for record, time in shown:
            of_print.setdefault(record.fingerprint, []).append((record, time))
        for fingerprint, records in of_print.items():
            row = self._stored.rejected(fingerprint)
            elsewhere = row.copies if row is not None and not self._is_covered(row) else 0
            copies = max(len(records), elsewhere)
            self.batch.rejected.append(CountedRecord(records[0][0], copies, records[0][1]))
        self.batch.recounted += [
            (row.id, 0)
            for row in self._near
            if isinstance(row.key, bytes) and row.key not in of_print and row.copies and self._is_covered(row)
        ]

    def _is_covered(self, row: StoredEntry) -> bool:
        """Whether the page shows all of its second."""
        return self._first <= row.timestamp <= self._last
