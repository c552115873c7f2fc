"""What one reading of a wallet's list means for the file and for the state. Pure; see ``exact``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whalesync.exchanges.base import Batch, Pace, StoredTrades
from whalesync.exchanges.opinion_trade.changes import Changes
from whalesync.exchanges.opinion_trade.comparison import COMPARE_EVERY_MS, compare_if_due, go_on_comparing
from whalesync.exchanges.opinion_trade.pages import PageRequest, Slice, TradePage, page_sizes
from whalesync.exchanges.opinion_trade.state import Phase, State, dump_state
from whalesync.records import RejectedRecord, Trade
from whalesync.units import DAY, HOUR, MINUTE

FALL_LASTS_MS = 10 * MINUTE
COMPARED_LATELY_MS = HOUR
MANY_READS = 20  # in a row that bring nothing, and one for each page of the list: then the counts are doubted


class Interpretation:
    """The changes to the file, and the transitions of the state, in their order."""

    def __init__(self, largest_page: int, state: State, stored: StoredTrades, now: int, cutoff: int) -> None:
        self._largest = largest_page
        self._stored = stored
        self._now = now
        self._cutoff = cutoff
        self._urgent = False
        self._span = 0  # how much was read in several ways
        self.changes = Changes(stored, cutoff)
        if state.pruned_to is not None and cutoff < state.pruned_to:
            self.changes.batch.refetched_before = state.pruned_to
        if state.accounted is not None and cutoff < max(state.complete_to or 0, state.pruned_to or 0):
            # The retention was raised, or a wrong clock was set right.
            state = replace(state.without_search(), accounted=None, compared_above=None, known_from=None)
        self.state = state

    def batch(self) -> Batch:
        """The result."""
        batch, state = self.changes.batch, self.state
        batch.state = dump_state(state)
        if batch.problem is not None or state.fallen_since is not None:
            batch.pace = Pace.DONE
        elif state.phase is Phase.CURRENT:
            batch.pace = Pace.DONE if state.compared_above is None else Pace.IDLE
        else:
            batch.pace = Pace.NOW if self._urgent else Pace.LATER
        return batch

    def take_page(self, request: PageRequest, page: TradePage) -> None:
        """One page, which speaks for itself."""
        part = self._slice(request.first, page)
        fault = part.fault(request.limit)
        if fault is not None:
            self.changes.batch.problem = fault
        self._check_readable(part)
        if fault is not None or self._is_stale(part):
            self.changes.store(part, whole_seconds=False)
            self._account(self.state.listed)
            return
        self.changes.store(part, whole_seconds=True)
        self._conclude(part)

    def take_ways(self, requests: Sequence[PageRequest], responses: Sequence[TradePage]) -> None:
        """A stretch of the list, read with several page sizes: believed as a whole where all of them agree."""
        state, read = self.state, list(dict(zip(requests, responses, strict=True)).items())
        index, span = (state.next_index, state.span) if state.span else (state.compare_at, state.compare_span)
        self._span = span
        self.state = replace(state, span=0, compare_span=0)
        total = responses[0].total
        if any(page.total != state.listed for page in responses):
            if total >= state.listed or not self._is_stale(self._slice(requests[0].first, responses[0])):
                self.state = replace(self.state, listed=max(total, state.listed))
            return  # the list has moved, and the stretch with it: read on
        ways = []
        for limit in page_sizes(self._largest):
            pages = [(request, page) for request, page in read if request.limit == limit]
            ways.append((pages[0][0].first, [record for _, page in pages for record in page.entries]))
        first, end = max(first for first, _ in ways), min(first + len(records) for first, records in ways)
        shown = [records[first - start : end - start] for start, records in ways]
        part = self._slice(first, TradePage(total, shown[0]))
        if any(self._slice(first, TradePage(total, records)).fault(end - first) for records in shown):
            return
        if part.divides_at(index, index + span):
            for request, page in read:
                if request.first <= index and index + span <= request.first + request.limit:
                    # One page shows these seconds whole: which trades they hold needs no second reading.
                    whole = page.entries[index - request.first :][:span]
                    shown = [[*shown[0][: index - first], *whole, *shown[0][index - first + span :]]]
                    part = self._slice(first, TradePage(total, shown[0]))
                    if len(whole) < span or not part.divides_at(index, index + span):
                        return  # it shows another stretch: the list has moved, although it is as long as before
                    break
        if all(_keys(records) == _keys(shown[0]) for records in shown):
            self.changes.store(part, whole_seconds=True)
            self._conclude(part)
            return
        # What single pages show for certain has been stored when they were read.
        self.changes.batch.problem = (
            f"the {span} trades of one second stand in another order on each page, so equal ones among them cannot be"
            " counted; the next run tries again"
        )
        self._compare(part)

    def _slice(self, first: int, page: TradePage) -> Slice:
        head = first == 0 or self.state.complete_above is None
        otherwise = self._now if head else self.state.complete_above
        return Slice(first, page, cutoff=self._cutoff, otherwise=otherwise or 0)

    def _check_readable(self, part: Slice) -> None:
        """A page of unreadable records alone: the exchange has changed, and that must be seen."""
        records = [entry.record for entry in part.entries if isinstance(entry.record, RejectedRecord)]
        if not records or len(records) < len(part.entries):
            return
        if part.first == 0 or any(not self._stored.rejected(record.fingerprint) for record in records):
            self.changes.batch.exchange_changed = True
            self.changes.batch.problem = (
                f"no record of a page is readable ({records[0].reason}): the exchange has changed its format"
            )

    # Transitions, in their order

    def _is_stale(self, part: Slice) -> bool:
        """Whether the total has fallen, and not for long enough to be believed."""
        state, notes = self.state, self.changes.batch.notes
        if part.total >= state.listed:
            if state.fallen_since is not None:
                # What was taken away may have been made up for by arrivals: compare within a day.
                soon = self._now - COMPARE_EVERY_MS + DAY
                compared_at = state.compared_at and min(state.compared_at, soon)
                self.state = replace(state, fallen_since=None, compared_at=compared_at)
            return False
        if part.first and state.phase in (Phase.LOADING, Phase.CATCHING_UP):
            # Pages asked for at once may be answered in another order: only the head tells.
            self.state = replace(state, next_index=0, descending=False)
            return True
        if state.fallen_since is None or self._now < state.fallen_since:
            notes.append(
                f"its list holds {part.total} trades where {state.listed} were listed before; if this lasts,"
                " all of it is compared anew"
            )
            self.state = replace(state, fallen_since=self._now)
            return True
        # A wallet that has traded never lists nothing.
        if self._now - state.fallen_since < FALL_LASTS_MS or not part.total:
            return True
        notes.append(f"its list still holds {part.total} trades, not {state.listed}: comparing all of it anew")
        self.state = replace(state, listed=part.total).doubted()
        return False

    def _account(self, total: int) -> None:
        """Each entry stored since the list was complete is an arrival."""
        state = self.state
        accounted = None if state.accounted is None else state.accounted + self.changes.net
        # The clock may have been put back since, so that what arrives is older than what was counted as older.
        older = None if state.older is None else state.older + self.changes.older(state.older_than)
        self.state = replace(state, listed=max(total, state.listed), accounted=accounted, older=older)

    def _conclude(self, part: Slice) -> None:
        """What a sound, fresh slice says about the list above its last boundary."""
        self._account(part.total)
        missing = self._missing_above(part)
        if self.state.phase is not Phase.DOUBTFUL and (
            (missing or 0) < 0 or (self.state.accounted or 0) > self.state.listed
        ):
            self._doubt(part)
            return
        self._compare(part)
        if self.state.phase in (Phase.LOADING, Phase.CATCHING_UP):
            if part.reaches_cutoff and missing == 0:
                self._complete(part)
            else:
                self._search(part, missing)
        if self.state.phase is Phase.CURRENT:
            state = self.state.without_search()
            self.state = compare_if_due(state, now=self._now, has_rejected=self._stored.has_rejected())

    def _missing_above(self, part: Slice) -> int | None:
        """How many entries newer than the slice's last boundary are not stored; None where it has none."""
        if part.boundaries:
            last = part.boundaries[-1]
            return last.index - self._newer(last.time)
        if part.entries and part.entries[0].time < self._cutoff:
            # At most as many entries as stand above the slice are newer than the cutoff.
            return min(0, part.first - self._newer(self._cutoff - 1)) or None
        return None

    def _doubt(self, part: Slice) -> None:
        """More is stored than is listed."""
        if self.state.compared_at is not None and 0 <= self._now - self.state.compared_at < COMPARED_LATELY_MS:
            self.changes.batch.problem = (
                "its counts do not add up, although all of it was compared lately; the next run counts again"
            )
            self.state = replace(self.state.without_search(), accounted=None)
            return
        self.changes.batch.notes.append(
            f"more of its trades are stored than the {part.total} that are listed: comparing all of it anew"
        )
        self.state = self.state.doubted()

    def _complete(self, part: Slice) -> None:
        """Everything that is listed down to the cutoff is stored."""
        state, total = self.state.with_older(part, self._cutoff), part.total
        known_from = state.known_from
        if known_from is None:
            known_from = self._cutoff if state.older else 0
        compared_at = self._now if state.compared_at is None else state.compared_at
        self.state = replace(
            state,
            listed=total,
            accounted=total,
            complete_to=self._cutoff,
            known_from=known_from,
            pruned_to=None if state.pruned_to is None else min(state.pruned_to, self._cutoff),
            compared_at=compared_at,
        )

    def _search(self, part: Slice, missing: int | None) -> None:
        """Where to read next for what is listed and not stored."""
        state = self.state = replace(self.state, stored=self._newer(self._cutoff - 1))
        goes_on = bool(part.entries) and self.changes.brought(part.entries[-1].time)
        # More is stored further down: this is a gap, and what is missing in it is new.
        self._urgent = goes_on and missing == 0 and state.stored > part.end
        if part.first == 0 and not goes_on and state.next_index >= part.end:
            # The head brings nothing that changes the search, which goes on where it was.
            self.state = replace(state, next_index=min(state.next_index + self.changes.net, part.total - 1))
            return
        unproductive = 0 if self.changes.brought() else state.unproductive + 1
        if unproductive > MANY_READS + part.total // self._largest:
            self._doubt(part)
            return
        complete, gap, gap_index, span = state.complete_above, state.gap_above, state.gap_index, 0
        if self._span and not self.changes.brought():
            complete = None  # what was read in several ways holds nothing that is missing
        if missing is None:
            older = bool(part.entries) and part.entries[0].time < self._cutoff
            next_index = part.first - 1 if older else part.end
        elif missing == 0:
            last = part.boundaries[-1]
            in_one_second = complete == last.time and last.index < part.end
            complete = last.time if complete is None else min(complete, last.time)
            if gap is not None and gap >= complete:
                gap = None
            if goes_on or in_one_second:
                next_index = part.end
            elif gap is not None:
                next_index = self._between(complete, gap_index)
            else:
                next_index = max(state.stored, part.end)
        else:
            top = part.boundaries[0]
            if complete is not None and top.time >= complete:
                complete = None
            second = part.time_above(top)
            met_again = gap is not None and gap >= top.time and part.first <= gap_index <= part.end
            if gap is None or top.time >= gap:
                gap, gap_index = top.time, top.index
            if goes_on and not part.reaches_cutoff:
                next_index = part.end
            elif second is not None and (second == complete or met_again):
                # The pages between showed one second only, and none of them all of it.
                next_index = self._newer(second)
                span = max(0, top.index - next_index)
            else:
                next_index = self._between(complete, gap_index)
        self.state = replace(
            state,
            next_index=max(0, min(next_index, part.total - 1)),
            descending=goes_on,
            complete_above=complete,
            gap_above=gap,
            gap_index=gap_index,
            span=span,
            unproductive=unproductive,
        )

    def _between(self, complete: int | None, gap_index: int) -> int:
        """The index to read next, between where nothing is missing above and where something is."""
        if complete is None:
            return 0
        low = self._newer(complete)
        if gap_index - low < self._largest // 2:
            return low - 1
        return (low + gap_index) // 2

    def _newer(self, time: int) -> int:
        """How many entries newer than ``time`` are stored, with the changes of this reading."""
        return self._stored.newer(time) + self.changes.newer(time)

    def _compare(self, part: Slice) -> None:
        self.state = go_on_comparing(
            self.state, part, largest=self._largest, span=self._span, now=self._now, cutoff=self._cutoff
        )


def _keys(records: Sequence[Trade | RejectedRecord]) -> list[int | bytes]:
    return [record.fill_key if isinstance(record, Trade) else record.fingerprint for record in records]
