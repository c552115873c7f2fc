"""The exact sync of one wallet's activity: what to read next, and what a response means. Pure.

The exchange lists a wallet's rows by block time, of any seconds that are asked for. A row has no id, equal rows are
real, and a row can appear late, at its place in the chain. There is no total; of a UTC day that has ended, it says how
many TRADE rows there are, and their sums.

**A page is a proof.** The connection returns whole seconds only, the newest first, so every response proves: "in the
seconds from ``whole_from`` to ``last``, these are the rows that the exchange showed at one moment". No cursor is kept
from one request to the next, so none can go stale; pages can be stored one by one, in any order and again.

**Nothing twice.** Rows are compared by a key of what is final on the chain: transaction, action, market, token, shares,
money. Of each key as many copies are stored as one response shows in its seconds. So a response that comes again, one
that is a little old (the exchange's cache), or a run that is killed between two pages adds nothing that was never
shown. A transaction that is mined again shows the same keys in another second near by: the stored rows move there.

**Nothing lost.** What is still to be read is data: ``todo`` holds spans of seconds, each with its reason, and it is
stored together with the rows of a page. The three watermarks only say where spans begin:

  - ``read_from``: each second from there on has been read, or is in ``todo``.
  - ``poll_from``: each second before it has been read at least ``overlap`` after it, or is in ``todo``. Polls read all
    that is newer. So a row that appears within that time is found by the next poll.
  - ``sweep_from``: the same with ``late``. What is newer is swept every hour. So a row that appears within a day is
    found within an hour after it, however long the host was down meanwhile.

While the exchange's index lags behind the chain (a page is not ``healthy``), rows are stored, but nothing is concluded
from what is not there: ``poll_from`` stays within ``late``, and spans stay in ``todo`` except for history, whose end is
swept later.

**Counted.** The trades of each closed day are counted: after a backfill all days, then the last 30 every day, and all
of them again when everything has been compared. A span of days that differs is halved, a day that differs is read
again, and if it still differs, it is reported and kept in ``unequal``; nothing is adjusted.

**Never deleted in silence.** A stored row that a healthy page should show and does not is ``missed``. Its seconds are
read again, together with those of others within a day, and after three such pages, ``miss_again`` apart, it is
superseded and reported; shown again, it counts again. Everything is compared once a month.

Assumptions, and what happens where one does not hold:

  A1 The fields of the key never change. Else both forms count until the old one is superseded, half an hour later.
  A2 All rows of a transaction have one block time. Else equal rows count in one of its seconds only; the count of the
     day differs, and that is reported.
  A3 A page shows one moment, ``has_more`` is exact, and a cursor goes on where its page ended. Else rows of the second
     in question are missing until a sweep, a count or a comparison shows them.
  A4 A row appears within ``late``, or is a TRADE, which the count of its day finds. Else it is found by the monthly
     comparison.
  A5 The counts of closed days are those of the TRADE rows. Else days are reported although nothing is missing.
  A6 A row that three pages do not show is gone. Else it is revived when it is shown again.
  A7 Numbers are printed alike every time. Else as A1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from whalesync.exchanges.base import Account, Batch, Pace, Progress, StoredTrades, Traded
from whalesync.exchanges.polymarket.changes import Changes
from whalesync.exchanges.polymarket.pages import ActivityRequest, CountRequest, Page, Volume, Work
from whalesync.records import RejectedRecord

ORDER = {work: number for number, work in enumerate(Work)}
HISTORY = (Work.CATCH_UP, Work.BACKFILL)  # goes on while the index lags: a sweep reads the end of it again
COUNTS = (Work.COUNT, Work.COUNT_AGAIN)
MISSES = 3
DAYS_COUNTED = 30
UNREADABLE_PAGE = 20  # rows, none of which can be read: the exchange has changed its format


class Pacing(NamedTuple):
    """Lengths of time, in seconds: of real ones unless a test says otherwise; see the module's text.

    ``sweep_every``: between two sweeps. ``closed_after``: how long after its end a day is counted.
    """

    overlap: int = 600
    late: int = 25 * 3600
    sweep_every: int = 3600
    miss_again: int = 600
    compare_every: int = 30 * 86_400
    day: int = 86_400
    closed_after: int = 6 * 3600


class Phase(StrEnum):
    """How a wallet stands."""

    LOADING = "loading"  # history is missing, or was never counted
    CATCHING_UP = "catching up"  # new rows are missing
    DIFFERENT = "counts differ"  # all that is shown is stored; of some days the exchange counts another number
    CURRENT = "current"


class Span(NamedTuple):
    """Seconds that are to be read or, as whole days, counted; both included."""

    work: Work
    first: int
    last: int


class Missed(NamedTuple):
    """A stored row that was not shown: its second, how often, and when last (seconds)."""

    id: int
    second: int
    times: int
    at: int


class State(NamedTuple):
    """What is known of one wallet; times in seconds unless said otherwise. The watermarks: see the module's text.

    ``known_from`` (ms): everything since then is or was stored, 0 if nothing is older; None until history was read and
    counted. ``counted_from`` and ``counted_to``: the first day that was to be counted, and the one after the last.
    ``compared_at``: when everything was last compared (ms). ``pruned_to``: what is older has been deleted by cleanup.
    """

    read_from: int = 0
    poll_from: int = 0
    sweep_from: int = 0
    todo: tuple[Span, ...] = ()
    missed: tuple[Missed, ...] = ()
    unequal: tuple[int, ...] = ()
    counted_from: int = 0
    counted_to: int = 0
    known_from: int | None = None
    compared_at: int | None = None
    pruned_to: int | None = None

    @property
    def phase(self) -> Phase:
        """The state's name."""
        if self.known_from is None:
            return Phase.LOADING
        if self.has(Work.CATCH_UP):
            return Phase.CATCHING_UP
        return Phase.DIFFERENT if self.unequal else Phase.CURRENT

    def has(self, work: Work) -> bool:
        """Whether such work is left."""
        return any(span.work is work for span in self.todo)

    def adding(self, *spans: Span) -> State:
        """The state with spans to read; one that overlaps others of its kind is joined with them."""
        todo = list(self.todo)
        for work, first, last in spans:
            if first > last:
                continue
            joined = [each for each in todo if each.work is work and each.first <= last and first <= each.last]
            first, last = min([first, *(e.first for e in joined)]), max([last, *(e.last for e in joined)])
            todo = [*(each for each in todo if each not in joined), Span(work, first, last)]
        return self._replace(todo=tuple(todo))

    def without(self, work: Work, first: int, last: int) -> State:
        """The state after these seconds have been read."""
        todo = []
        for each in self.todo:
            if each.work is not work:
                todo.append(each)
                continue
            left = Span(work, each.first, min(each.last, first - 1)), Span(work, max(each.first, last + 1), each.last)
            todo += [span for span in left if span.first <= span.last]
        return self._replace(todo=tuple(todo))

    def from_on(self, oldest: int, day: int) -> State:
        """The state after everything before the second ``oldest`` has become too old.

        What is not read any more because of that is to be read again if it is wanted after all.
        """
        todo = []
        for span in self.todo:
            first = max(span.first, -(-oldest // day) * day if span.work in COUNTS else oldest)
            if span.work is Work.OLDER or first <= span.last:
                todo.append(span if span.work is Work.OLDER else span._replace(first=first))
        leaves_out = min(self.poll_from, self.sweep_from) < oldest or tuple(todo) != self.todo
        return self._replace(
            read_from=max(self.read_from, oldest) if leaves_out else self.read_from,
            poll_from=max(self.poll_from, oldest),
            sweep_from=max(self.sweep_from, oldest),
            todo=tuple(todo),
            missed=tuple(each for each in self.missed if each.second >= oldest),
            unequal=tuple(each for each in self.unequal if each * day >= oldest),
        )

    def comparing(self) -> State:
        """Everything is to be compared with what is listed; what is newer, each poll compares."""
        return self.adding(Span(Work.COMPARE, self.read_from, self.poll_from - 1))._replace(compared_at=None)

    def closed_days(self, day: int) -> Span:
        """All days of which everything is stored, and that have been counted since they ended, or are to be."""
        return Span(Work.COUNT, max(-(-self.read_from // day), self.counted_from) * day, self.counted_to * day - 1)


class PolymarketTrades:
    """The trade source of Polymarket (``whalesync.exchanges.base.TradeSource``)."""

    def __init__(self, pacing: Pacing | None = None) -> None:
        self._pacing = pacing or Pacing()

    # What to read

    def poll(self, state: str | None) -> Sequence[ActivityRequest]:
        """All that is new, with an overlap."""
        return (ActivityRequest(Work.POLL, None if state is None else _parse(state).poll_from, None),)

    def next(self, state: str, stored: StoredTrades) -> Sequence[Sequence[ActivityRequest | CountRequest]]:
        """What comes first of the work that is left, the newest seconds first."""
        todo = sorted(_parse(state).todo, key=lambda span: (ORDER[span.work], -span.last))
        return [(self._request(span),) for span in todo[:1]]

    def _request(self, span: Span) -> ActivityRequest | CountRequest:
        if span.work in COUNTS:
            return CountRequest(span.work, span.first // self._pacing.day, span.last // self._pacing.day)
        return ActivityRequest(*span)

    # What it means

    def take(
        self,
        state: str | None,
        requests: Sequence[ActivityRequest | CountRequest],
        responses: Sequence[Page | Volume],
        stored: StoredTrades,
        *,
        now: int,
        cutoff: int,
    ) -> Batch:
        """What one response means for the file and for the state; each reading is one request."""
        (request,), (response,) = requests, responses
        known = None if state is None else _parse(state)
        oldest = self._oldest(cutoff, None if known is None else known.pruned_to)
        step = Step(self._pacing, known, stored, now, oldest)
        step.take(request, response)
        return step.batch()

    def _oldest(self, cutoff: int, pruned_to: int | None) -> int:
        """From which second on rows are stored: the retention cutoff, but of what was pruned whole days only.

        Not the first second of all, so that there is one to ask for what is older.
        """
        oldest, day = max(2, -(-cutoff // 1000)), self._pacing.day
        if pruned_to is None or oldest >= pruned_to:
            return oldest
        return min(pruned_to, -(-oldest // day) * day)

    # What others ask

    def prune(self, state: str, cutoff: int, stored: StoredTrades) -> str:
        """The state after everything older than ``cutoff`` has been deleted."""
        known, oldest = _parse(state), -(-cutoff // 1000)
        pruned_to = max(known.pruned_to or oldest, oldest)
        known = known.from_on(oldest, self._pacing.day)
        return _dump(known._replace(read_from=max(known.read_from, oldest), pruned_to=pruned_to))

    def progress(self, state: str | None) -> Progress:
        """How far the wallet has been read."""
        if state is None:
            return Progress(Phase.LOADING, complete=False)
        known = _parse(state)
        complete = known.phase in (Phase.CURRENT, Phase.DIFFERENT)
        return Progress(known.phase, complete, compared_at=known.compared_at, known_from=known.known_from)

    def audit(
        self, state: str | None, answered: Mapping[CountRequest, Volume], stored: StoredTrades
    ) -> Sequence[CountRequest]:
        """All closed days at once; then halves of what differs, down to single days."""
        days = None if state is None else _parse(state).closed_days(self._pacing.day)
        if days is None or days.first > days.last:
            return ()
        wanted = [CountRequest(Work.COUNT, days.first // self._pacing.day, days.last // self._pacing.day)]
        for request, volume in answered.items():
            if not agree(volume, self._traded(request, stored)):
                wanted += [CountRequest(request.work, *half) for half in halves(request.first_day, request.last_day)]
        return [request for request in wanted if request not in answered]

    def account(
        self,
        state: str | None,
        requests: Sequence[ActivityRequest | CountRequest],
        responses: Sequence[Page | Volume],
        stored: StoredTrades,
    ) -> Account:
        """Whether the file holds what is counted of closed days; of a poll, how much has arrived."""
        if state is None:
            return Account(None, None, problem="it has not been read yet")
        known = _parse(state)
        problem = None if known.known_from is not None else "loading"
        if known.has(Work.CATCH_UP):
            problem = "catching up"
        listed = accounted = None
        arrived, differing = 0, list[int]()
        for request, response in zip(requests, responses, strict=True):
            if isinstance(response, Page):
                reach = self._pacing.overlap * 1000
                arrived = len(Changes(response, stored, oldest=known.read_from * 1000, reach=reach).batch.new)
                problem = problem or (None if response.healthy else "the exchange's index lags behind the chain")
            if not isinstance(request, CountRequest) or not isinstance(response, Volume):
                continue
            counted = self._traded(request, stored)
            if listed is None:  # the first is that of all days
                listed, accounted = response.trades, counted.fills + counted.rejected
            if request.first_day == request.last_day and not agree(response, counted):
                differing.append(request.first_day)
        if differing:
            days = ", ".join(map(_date, differing[:3])) + (f" and {len(differing) - 3} more" if differing[3:] else "")
            problem = problem or f"the exchange counts other trades of {days} than are stored"
        return Account(listed, accounted, arrived, problem)

    def recheck(self, state: str | None) -> str | None:
        """The state in which everything is to be compared with what is listed; None if it was never read."""
        if state is None:
            return None
        known = _parse(state)
        return _dump(known.comparing())

    def _traded(self, request: CountRequest, stored: StoredTrades) -> Traded:
        day = self._pacing.day * 1000
        return stored.traded(request.first_day * day, (request.last_day + 1) * day)


class Step:
    """What one response means: the changes to the file, and the transitions of the state, in their order."""

    def __init__(self, pacing: Pacing, state: State | None, stored: StoredTrades, now: int, oldest: int) -> None:
        self._pacing = pacing
        self._stored = stored
        self._now = now
        self._oldest = oldest
        self._is_first = state is None
        self._batch = Batch(state="", pace=Pace.DONE)
        self._lags = False
        self.state = (state or State()).from_on(oldest, pacing.day)

    def batch(self) -> Batch:
        """The result."""
        batch, state = self._batch, self.state
        batch.state = _dump(state)
        left = {span.work for span in state.todo}
        if batch.problem is not None or not left or (self._lags and not left & set(HISTORY)):
            batch.pace = Pace.DONE
        elif Work.CATCH_UP in left:
            batch.pace = Pace.NOW
        else:
            batch.pace = Pace.IDLE if left == {Work.COMPARE} else Pace.LATER
        return batch

    def take(self, request: ActivityRequest | CountRequest, response: Page | Volume) -> None:
        """One response."""
        if isinstance(request, CountRequest) and isinstance(response, Volume):
            self._take_volume(request, response)
        elif isinstance(request, ActivityRequest) and isinstance(response, Page):
            self._take_page(request, response)

    def _take_page(self, request: ActivityRequest, page: Page) -> None:
        """Rows: they are stored in any case; what else they mean depends on why they were asked for."""
        self._lags = not page.healthy
        reach = self._pacing.overlap * 1000
        changes = Changes(page, self._stored, oldest=self._oldest * 1000, reach=reach)
        self._batch = changes.batch
        if self.state.pruned_to is not None and self._oldest < self.state.pruned_to:
            self._batch.refetched_before = self.state.pruned_to * 1000
        self._judge_missed(page, [(row.id, row.timestamp // 1000) for row in changes.missed])
        self._check_readable(page)
        if request.work is Work.POLL:
            self._begin(page)
            self._take_poll(page)
        elif page.healthy or request.work in HISTORY:
            self.state = self.state.without(request.work, page.whole_from, page.last)
            if request.work is Work.RECOUNT and page.is_whole:
                self._add_days(Work.COUNT_AGAIN, page.last // self._pacing.day, page.last // self._pacing.day)
            if request.work is Work.OLDER:
                self._take_older(page)
        self._complete()

    def _take_volume(self, request: CountRequest, volume: Volume) -> None:
        """What the exchange counts of some days, against what is stored of them."""
        day, first, last = self._pacing.day, request.first_day, request.last_day
        counted = self._stored.traded(first * day * 1000, (last + 1) * day * 1000)
        self.state = self.state.without(request.work, first * day, (last + 1) * day - 1)
        if agree(volume, counted):
            unequal = tuple(each for each in self.state.unequal if not first <= each <= last)
            self.state = self.state._replace(unequal=unequal)
        elif first < last:
            for half in halves(first, last):
                self._add_days(Work.COUNT, *half)
        elif request.work is Work.COUNT:
            self._add_days(Work.RECOUNT, first, last)
        elif first not in self.state.unequal:
            self.state = self.state._replace(unequal=(*self.state.unequal, first))
            self._batch.notes.append(
                f"the exchange counts {volume.trades:,} trades of {_date(first)}, and {counted.fills:,} are stored,"
                " although all that it lists was read again"
            )

    # Transitions, in their order

    def _begin(self, page: Page) -> None:
        """A wallet that was never read, or history that was not wanted before."""
        oldest, state = self._oldest, self.state
        if self._is_first:
            sweep_from = page.at - self._pacing.late if page.healthy else oldest
            state = State(read_from=page.first, poll_from=page.first, sweep_from=max(sweep_from, oldest))
        if oldest < state.read_from:
            state = state.adding(Span(Work.BACKFILL, oldest, state.read_from - 1))
            state = state._replace(read_from=oldest, known_from=None, compared_at=None)
        self.state = state

    def _take_poll(self, page: Page) -> None:
        """What is left of a poll, and all work that is due."""
        pacing, state, at = self._pacing, self.state, page.at
        if not page.is_whole:
            state = state.adding(Span(Work.CATCH_UP, page.first, page.whole_from - 1))
        if at < state.poll_from:  # a clock was ahead when this was set: what was read too early is read again
            state = state._replace(poll_from=max(at - pacing.overlap, state.read_from), sweep_from=state.read_from)
        elif page.healthy and (not page.is_whole or at - state.poll_from >= pacing.overlap + pacing.sweep_every):
            state = state._replace(poll_from=max(at - pacing.overlap, state.poll_from))
        elif not page.healthy and at - state.poll_from >= pacing.late + pacing.sweep_every:
            # However long the index lags, a poll reads about a day; the rest waits for the next sweep.
            state = state.adding(Span(Work.SWEEP, state.poll_from, at - pacing.late - 1))
            state = state._replace(poll_from=at - pacing.late)
        if at - state.sweep_from >= pacing.late + pacing.sweep_every:
            state = state.adding(Span(Work.SWEEP, state.sweep_from, page.first - 1))
            state = state._replace(sweep_from=at - pacing.late)
        if page.healthy:
            due = sorted(each.second for each in state.missed if at - each.at >= pacing.miss_again)
            for first, last in stretches(due, pacing.day):
                # With what is around them, where they may have been mined again.
                state = state.adding(Span(Work.MISSED, first - pacing.overlap, last + pacing.overlap))
        self.state = state
        closed = (at - pacing.closed_after) // pacing.day
        if closed > state.counted_to:
            self.state = state._replace(counted_from=-(-self._oldest // pacing.day), counted_to=closed)
            if state.known_from is not None:
                self._add_days(Work.COUNT, closed - DAYS_COUNTED, closed - 1)
        if state.compared_at is not None and abs(self._now - state.compared_at) >= pacing.compare_every * 1000:
            self.state = self.state.comparing()

    def _complete(self) -> None:
        """All that is listed has been read, or compared: then it is counted."""
        state = self.state
        if state.compared_at is not None or state.has(Work.BACKFILL) or state.has(Work.COMPARE):
            return
        days = state.closed_days(self._pacing.day)
        state = state.adding(days)._replace(compared_at=self._now)
        if state.known_from is None:
            state = state.adding(Span(Work.OLDER, 1, state.read_from - 1))
        self.state = state

    def _take_older(self, page: Page) -> None:
        """Whether anything is older than what is stored."""
        nothing = page.is_whole and not page.entries
        todo = tuple(span for span in self.state.todo if span.work is not Work.OLDER)
        self.state = self.state._replace(todo=todo, known_from=0 if nothing else self.state.read_from * 1000)

    def _judge_missed(self, page: Page, missed: Iterable[tuple[int, int]]) -> None:
        """Stored rows that are not shown: superseded after some pages that agree, while the index keeps up."""
        before = {each.id: each for each in self.state.missed}
        kept = [each for each in self.state.missed if not page.whole_from <= each.second <= page.last]
        for row_id, second in missed:
            known = before.get(row_id)
            if page.healthy and known is None:
                known = Missed(row_id, second, 1, page.at)
            elif page.healthy and known is not None and abs(page.at - known.at) >= self._pacing.miss_again:
                known = Missed(row_id, second, known.times + 1, page.at)
            if known is not None and known.times >= MISSES:
                self._batch.superseded.append(row_id)
            elif known is not None:
                kept.append(known)
                self._batch.doubted.append(row_id)
        self.state = self.state._replace(missed=tuple(kept))

    def _check_readable(self, page: Page) -> None:
        """A page of unreadable rows alone: the exchange has changed its format, and that must be seen."""
        records = [entry.record for entry in page.entries]
        rejected = [record for record in records if isinstance(record, RejectedRecord)]
        if len(records) == len(rejected) >= UNREADABLE_PAGE:
            self._batch.exchange_changed = True
            self._batch.problem = (
                f"no row of a page is readable ({rejected[0].reason}): the exchange has changed its format"
            )

    def _add_days(self, work: Work, first: int, last: int) -> None:
        """Add whole days, as far as all of each day is stored."""
        day = self._pacing.day
        earliest = -(-max(self.state.read_from, self._oldest) // day)
        self.state = self.state.adding(Span(work, max(first, earliest) * day, (last + 1) * day - 1))


def agree(volume: Volume, stored: Traded) -> bool:
    """Whether what the exchange counts of some days is what is stored; of rejected records the sums are not known."""
    if stored.rejected:
        return stored.fills <= volume.trades <= stored.fills + stored.rejected
    return (
        volume.trades == stored.fills
        and math.isclose(volume.shares, stored.shares, rel_tol=1e-9, abs_tol=1e-4)
        and math.isclose(volume.usd, stored.usd, rel_tol=1e-9, abs_tol=1e-4)
    )


def halves(first: int, last: int) -> Sequence[tuple[int, int]]:
    """Two parts of the days from ``first`` to ``last``; none of a single day."""
    middle = (first + last) // 2
    return [(first, middle), (middle + 1, last)] if first < last else []


def stretches(seconds: Iterable[int], gap: int) -> list[tuple[int, int]]:
    """The first and the last of the sorted seconds between which none is further than ``gap`` from the one before."""
    found: list[tuple[int, int]] = []
    for second in seconds:
        if found and second - found[-1][1] <= gap:
            found[-1] = found[-1][0], second
        else:
            found.append((second, second))
    return found


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


@lru_cache
def _parse(state: str) -> State:
    fields = json.loads(state)
    fields["todo"] = tuple(Span(Work(work), first, last) for work, first, last in fields.get("todo", ()))
    fields["missed"] = tuple(Missed(*each) for each in fields.get("missed", ()))
    fields["unequal"] = tuple(fields.get("unequal", ()))
    return State(**fields)


def _dump(state: State) -> str:
    """The fields that differ from a new state's."""
    return json.dumps({name: value for name, value in state._asdict().items() if value != State._field_defaults[name]})
