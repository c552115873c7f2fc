"""The exact sync of one wallet's trades: what to read next, and what a response means. Pure.

The exchange lists a wallet's trades newest first, on pages, and says with each page how long the list is
(``total``). Trades have no id and no cursor, times are whole seconds, equal fills are real, pages shift while they
are read, and a trade can surface late, far down. We assume:

  (a) A response shows one state of the list: the page is a slice of it, ``total`` is its length.
  (b) The list only grows. (What breaks this is noticed, see "When the list breaks its rules".)
  (c) It is sorted by time. Trades of one second may stand in any order, even in another one on each page.

**Nothing twice.** The n-th copy of a fill is stored only when one response shows it n times. So what is stored is a
part of what is listed.

**Counting.** Where a response shows two neighbours of different times, the second newer than the first of index i in
the list, exactly i entries are newer than that second. This is a *boundary*. If as many are stored that are newer,
then by "nothing twice" every one of them is stored: whatever happened before, between requests, or to the list. If
fewer are stored, that many are missing further up. So a single response tells, for everything above it, whether it is
complete, and no position has to be remembered: a bisection finds a late trade among thousands of pages in a dozen
requests, and the page on which a backfill goes on is the one behind as many entries as are stored.

**Nothing lost.** A wallet is CURRENT when a boundary at the retention cutoff (or the end of the list) counts nothing
missing; the length of the list then is ``accounted`` for. Each fill stored after that is an arrival and adds one. As
long as ``accounted`` equals ``total``, nothing has arrived that is not stored: one request says so. Otherwise the
wallet is CATCHING_UP until the two are equal again, or a boundary at the cutoff counts nothing missing.

**Seconds shown whole.** Between two boundaries a response shows everything that is listed in those seconds. There the
file is made equal to the list, in both directions: a stored row that is not listed is superseded, a changed fee or
profit is corrected. A *comparison* reads the whole list in this way: once for a file whose rows are not trusted, and
for every wallet now and then, because a removal and an arrival of equal number leave ``total`` as it was.

**A second that no page shows whole** is read with three page sizes while ``total`` stands still. Only if all of them
show the same trades in the same order is it believed how often each occurs: the exchange then keeps one order, which
(c) does not promise. Otherwise what one page shows for certain is stored, and the next run tries again. This is the
one place where "nothing twice" rests on evidence that is not proof.

**When the list breaks its rules.** A total that falls may come from a replica that lags behind: nothing is concluded
from such a response until the fall has lasted for FALL_LASTS_MS. After that, and when more is stored than is listed,
the counts mean nothing: the wallet is DOUBTFUL until it has been compared whole. What a page shows is stored also where
the page does not fit its own total or is not sorted, but nothing is concluded from it.

**Records that cannot be read** are entries like all others: they are kept, and counted in their place. Equal ones in
different places, none of which has a readable time, are one record to us, and keep a wallet from being CURRENT.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from whalesync.exchanges.base import Account, Batch, Pace, Progress, StoredTrades
from whalesync.exchanges.opinion_trade.changes import Changes
from whalesync.exchanges.opinion_trade.pages import (
    AFTER_ALL,
    BEFORE_ALL,
    LARGEST_PAGE,
    PageRequest,
    Slice,
    TradePage,
)
from whalesync.records import DAY_MS, RejectedRecord, Trade

AHEAD = 4  # pages asked for at once where a long stretch is missing
FALL_LASTS_MS = 10 * 60_000
COMPARE_EVERY_MS = 7 * DAY_MS
COMPARED_LATELY_MS = 3_600_000
MANY_READS = 20  # in a row that bring nothing, and one for each page of the list: then the counts are doubted


class Phase(StrEnum):
    """How a wallet stands."""

    LOADING = "loading"  # what is listed has never been stored whole, down to the retention cutoff
    CURRENT = "current"  # all of it is stored
    CATCHING_UP = "catching up"  # more has arrived since than has been stored
    DOUBTFUL = "doubtful"  # more may be stored than is listed: to be compared whole


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one wallet. Times in ms; an index counts entries from the head of the list.

    ``listed``: the length of the list. ``accounted``: how much of it is accounted for, None before it was ever
    complete, down to ``complete_to``. ``known_from``: everything since then is or was stored, 0 if nothing is older.
    ``pruned_to``: what is older has been deleted by cleanup. ``older``: how many listed entries are older than
    ``older_than``, so that they and the stored ones from there on make up the list; None until a complete list has been
    seen to that end. ``stored``: how many entries were stored when the search last went on. ``fallen_since``: since
    when the total has been below ``listed``.

    The search for what is missing: ``next_index`` is read next. ``descending``: the last page ended with new
    fills. ``complete_above`` and ``gap_above`` (a boundary of index ``gap_index``): where nothing was missing
    above, and where something was; it is between them. ``span``: how many entries from ``next_index`` on
    are to be read in several ways. ``unproductive``: pages in a row that brought nothing.

    The comparison: every second newer than ``compared_above`` has been compared, None if none is running;
    ``compare_at`` and ``compare_span`` are its ``next_index`` and ``span``. ``compared_at``: when the last one ended.
    ``rejected_since``: since when there have been records that cannot be read.
    """

    listed: int = 0
    accounted: int | None = None
    complete_to: int | None = None
    known_from: int | None = None
    pruned_to: int | None = None
    older: int | None = None
    older_than: int = 0
    stored: int = 0
    fallen_since: int | None = None
    next_index: int = 0
    descending: bool = False
    complete_above: int | None = None
    gap_above: int | None = None
    gap_index: int = 0
    span: int = 0
    unproductive: int = 0
    compared_above: int | None = None
    compare_at: int = 0
    compare_span: int = 0
    compared_at: int | None = None
    rejected_since: int | None = None

    @property
    def phase(self) -> Phase:
        """The state's name."""
        if self.accounted is None:
            return Phase.LOADING if self.compared_above is None else Phase.DOUBTFUL
        return Phase.CURRENT if self.accounted == self.listed else Phase.CATCHING_UP

    def without_search(self) -> State:
        """The state without a search."""
        return replace(
            self,
            next_index=0,
            descending=False,
            complete_above=None,
            gap_above=None,
            gap_index=0,
            span=0,
            unproductive=0,
        )

    def comparing(self) -> State:
        """A comparison begins at the head."""
        return replace(self, compared_above=AFTER_ALL, compare_at=0, compare_span=0)

    def doubted(self) -> State:
        """All is to be compared before anything is counted again."""
        return replace(self.without_search().comparing(), accounted=None, fallen_since=None)


UNREAD = State()
FIELDS = tuple(field.name for field in fields(State))


class OpinionTrades:
    """The trade source of Opinion.Trade (``whalesync.exchanges.base.TradeSource``).

    Args:
        largest_page: the most entries that a page may have.
        day: the length of a day in ms; removed sums are kept by day, so days are fetched again whole.
    """

    def __init__(self, largest_page: int = LARGEST_PAGE, day: int = DAY_MS) -> None:
        self._largest = largest_page
        self._day = day

    # What to read

    def poll(self, state: str | None) -> Sequence[PageRequest]:
        """The head of the list."""
        return (PageRequest(self._largest, 1),)

    def next(self, state: str, stored: StoredTrades) -> Sequence[Sequence[PageRequest]]:
        """The readings to make next; each is taken by itself."""
        known = _parse(state)
        if known.fallen_since is not None:
            return []
        if known.phase in (Phase.LOADING, Phase.CATCHING_UP):
            if known.span:
                return [self._in_ways(known.next_index, known.span)]
            if known.descending:
                return self._pages_from(known)
            return [(self._window(known.next_index),)]
        if known.compared_above is None:
            return []
        if known.compare_span:
            return [self._in_ways(known.compare_at, known.compare_span)]
        return [(self._window(known.compare_at),)]

    def _pages_from(self, known: State) -> Sequence[Sequence[PageRequest]]:
        """As many pages at once as may be missing."""
        missing = known.listed - (known.stored if known.accounted is None else known.accounted)
        count = max(1, min(AHEAD, -(-missing // self._largest)))
        number = known.next_index // self._largest + 1
        return [(PageRequest(self._largest, number + i),) for i in range(count)]

    def _window(self, index: int) -> PageRequest:
        """The page that shows most of the list from ``index`` on."""
        limits = range(self._largest // 2 + 1, self._largest + 1)
        limit = max(limits, key=lambda limit: (limit - index % limit, limit))
        return PageRequest(limit, index // limit + 1)

    def _in_ways(self, index: int, span: int) -> Sequence[PageRequest]:
        """Pages of several sizes that cover ``span`` entries from ``index`` on, and one more on each side.

        And the one page that shows all of these entries, if there is such a page.
        """
        pages = []
        for limit in page_sizes(self._largest):
            first, last = max(0, index - 1) // limit, (index + span) // limit
            pages += [PageRequest(limit, number + 1) for number in range(first, last + 1)]
        for limit in range(self._largest, span - 1, -1):
            if index % limit + span <= limit:
                return [*pages, PageRequest(limit, index // limit + 1)]
        return pages

    # What it means

    def take(
        self,
        state: str | None,
        requests: Sequence[PageRequest],
        responses: Sequence[TradePage],
        stored: StoredTrades,
        *,
        now: int,
        cutoff: int,
    ) -> Batch:
        """What one reading means for the file and for the state."""
        known = _parse(state) if state is not None else _first_state(stored)
        reading = Interpretation(self._largest, known, stored, now, self._oldest(cutoff, known.pruned_to))
        if len(requests) == 1:
            reading.take_page(requests[0], responses[0])
        else:
            reading.take_ways(requests, responses)
        return reading.batch()

    def _oldest(self, cutoff: int, pruned_to: int | None) -> int:
        """From when on trades are stored: the retention cutoff, but of what was pruned whole days only."""
        if pruned_to is None or cutoff >= pruned_to:
            return cutoff
        return min(pruned_to, -(-cutoff // self._day) * self._day)

    # What others ask

    def prune(self, state: str, cutoff: int, stored: StoredTrades) -> str:
        """The state after everything older than ``cutoff`` has been deleted; ``stored`` is as it was before."""
        known = _parse(state)
        if known.older is not None and known.older_than < cutoff:
            older = known.older + stored.count(known.older_than, cutoff)
            known = replace(known, older=older, older_than=cutoff)
        return _dump(replace(known, pruned_to=max(known.pruned_to or cutoff, cutoff)))

    def progress(self, state: str | None) -> Progress:
        """How far the wallet has been read."""
        if state is None:
            return Progress(Phase.LOADING, complete=False)
        known = _parse(state)
        return Progress(
            known.phase,
            complete=known.phase is Phase.CURRENT,
            listed=known.listed,
            accounted=known.stored if known.accounted is None else known.accounted,
            compared_at=known.compared_at,
            known_from=_known_from(known),
        )

    def audit(
        self, state: str | None, answered: Mapping[PageRequest, TradePage], stored: StoredTrades
    ) -> Sequence[PageRequest]:
        """The head of the list, whose total is accounted for."""
        return () if answered else self.poll(state)

    def account(
        self, state: str | None, requests: Sequence[PageRequest], responses: Sequence[TradePage], stored: StoredTrades
    ) -> Account:
        """Whether the file accounts for the total of the list's head, and holds what the head shows."""
        (request,), (page,) = requests, responses
        known = UNREAD if state is None else _parse(state)
        if known.accounted is None or known.older is None:
            accounted = stored.newer(BEFORE_ALL)
        else:
            accounted = known.older + stored.newer(known.older_than - 1)
        is_known = known.accounted is None or known.older is not None
        arrived = 0 if state is None else page.total - known.listed
        problem: str | None = None
        if fault := Slice(request.first, page, cutoff=BEFORE_ALL, otherwise=0).fault(request.limit):
            problem = fault
        elif state is None:
            problem = "it has not been read yet" if page.total or accounted else None
        elif arrived < 0:
            problem = f"its list holds {page.total:,} trades where {known.listed:,} were listed before"
        elif known.phase is Phase.LOADING:
            problem = f"loading: {accounted:,} of {page.total:,}"
        elif known.phase is Phase.DOUBTFUL:
            problem = "its counts did not add up: all of it is being compared"
        elif known.older is None:
            problem = "how many of its trades are older than the stored ones is known after the next whole comparison"
        elif known.phase is Phase.CATCHING_UP:
            problem = f"catching up: {accounted:,} of {page.total:,}"
        elif accounted < known.listed:
            problem = f"{known.listed - accounted:,} fewer are stored than were listed at the last sync"
        elif accounted > known.listed:
            problem = f"{accounted - known.listed:,} more are stored than were listed at the last sync"
        elif _not_stored(page.entries, known.older_than, stored) > arrived:
            problem = "its newest page shows trades that are not stored, although its total has not grown by as many"
        return Account(page.total, accounted if is_known else None, max(0, arrived), problem)

    def recheck(self, state: str | None) -> str | None:
        """The state in which everything is to be compared with the list; None if it was never read."""
        return None if state is None else _dump(replace(_parse(state).doubted(), compared_at=None))


class Interpretation:
    """What one reading means: the changes to the file, and the transitions of the state, in their order."""

    def __init__(self, largest_page: int, state: State, stored: StoredTrades, now: int, cutoff: int) -> None:
        self._largest = largest_page
        self._before = state
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
        batch.state = _dump(state)
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
                soon = self._now - COMPARE_EVERY_MS + DAY_MS
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
            self.state = self.state.without_search()
            if self._comparison_is_due():
                self.state = self.state.comparing()

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
        self._count_older(part)
        state, total, known_from = self.state, part.total, self.state.known_from
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

    def _count_older(self, part: Slice) -> None:
        """A slice that reaches the cutoff shows how many entries are older."""
        self.state = replace(self.state, older=part.total - part.boundaries[-1].index, older_than=self._cutoff)

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
        """A running comparison goes on below, if the slice joins what has been compared."""
        state = self.state
        above, at = state.compared_above, state.compare_at
        if above is None:
            return
        if not (part.first <= at < part.end or at >= part.total):
            return  # not a page that was read for the comparison
        if not part.boundaries:
            self.state = replace(state, compare_span=self._longer_span())
            return
        last = part.boundaries[-1]
        if part.boundaries[0].index > 0 and part.boundaries[0].time < above:
            # The list has become shorter further up.
            self.state = replace(state, compare_at=max(0, part.first - self._largest))
        elif part.reaches_cutoff:
            self._count_older(part)
            self.state = replace(self.state, compared_above=None, compare_at=0, compared_at=self._now)
        elif last.index - 1 > at or last.time < above:
            self.state = replace(state, compared_above=min(above, last.time), compare_at=max(0, last.index - 1))
        else:
            self.state = replace(state, compare_span=self._longer_span())

    def _longer_span(self) -> int:
        """One second fills the page, or more: how much of the list to read in several ways."""
        return min(max(2 * self._largest, 2 * self._span), max(1, self.state.listed - self.state.compare_at))

    def _comparison_is_due(self) -> bool:
        """Now and then; while records cannot be read, soon, and then less and less often, up to once a day."""
        state = self.state
        if state.compared_above is not None:
            return False
        rejected_since = (state.rejected_since or self._now) if self._stored.has_rejected() else None
        self.state = replace(state, rejected_since=rejected_since)
        every = COMPARE_EVERY_MS if rejected_since is None else min(abs(self._now - rejected_since), DAY_MS)
        unknown = state.compared_at is None or state.older is None  # of a version that did not count the older ones
        return unknown or abs(self._now - (state.compared_at or 0)) >= max(every, 1)


def page_sizes(largest: int) -> Sequence[int]:
    """The page sizes with which a stretch is read that no page shows whole: seams and page numbers differ."""
    return tuple(dict.fromkeys((largest, largest - 1, largest * 2 // 3)))


def _keys(records: Sequence[Trade | RejectedRecord]) -> list[int | bytes]:
    return [record.fill_key if isinstance(record, Trade) else record.fingerprint for record in records]


def _known_from(state: State) -> int | None:
    """Since when everything is or was stored; states of earlier versions do not say, but cannot go further back."""
    if state.known_from is not None or state.accounted is None:
        return state.known_from
    return max(state.complete_to or 0, state.pruned_to or 0)


def _not_stored(shown: Iterable[Trade | RejectedRecord], since: int, stored: StoredTrades) -> int:
    """How many of the trades from ``since`` (ms) on are not stored, equal ones counted."""
    trades = [record for record in shown if isinstance(record, Trade) and record.timestamp >= since]
    if not trades:
        return 0
    times = [trade.timestamp for trade in trades]
    rows: Counter[int | bytes] = Counter(
        row.key for row in stored.between(min(times), max(times)) if not row.superseded
    )
    return (Counter[int | bytes](trade.fill_key for trade in trades) - rows).total()


def _first_state(stored: StoredTrades) -> State:
    """A wallet without a state; rows that are there all the same were stored by rules that are not trusted."""
    count = stored.newer(BEFORE_ALL)
    return State(listed=count).doubted() if count else State()


def _parse(state: str) -> State:
    return State(**json.loads(state))


def _dump(state: State) -> str:
    """The fields that differ from a new state's."""
    kept = {name: value for name in FIELDS if (value := getattr(state, name)) != getattr(UNREAD, name)}
    return json.dumps(kept)
