"""The exact sync of one wallet's trades: its rules, and what to read next; ``interpretation`` is what a response means.

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

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from whalesync.exchanges.base import Account, Batch, Progress, StoredTrades
from whalesync.exchanges.opinion_trade.interpretation import Interpretation
from whalesync.exchanges.opinion_trade.pages import (
    BEFORE_ALL,
    LARGEST_PAGE,
    PageRequest,
    Slice,
    TradePage,
    page_sizes,
)
from whalesync.exchanges.opinion_trade.state import UNREAD, Phase, State, dump_state, parse_state
from whalesync.records import RejectedRecord, Trade
from whalesync.units import DAY

AHEAD = 4  # pages asked for at once where a long stretch is missing


class OpinionTrades:
    """The trade source of Opinion.Trade (``whalesync.exchanges.base.TradeSource``).

    Args:
        largest_page: the most entries that a page may have.
        day: the length of a day in ms; removed sums are kept by day, so days are fetched again whole.
    """

    def __init__(self, largest_page: int = LARGEST_PAGE, day: int = DAY) -> None:
        self._largest = largest_page
        self._day = day

    # What to read

    def poll(self, state: str | None) -> Sequence[PageRequest]:
        """The head of the list."""
        return (PageRequest(self._largest, 1),)

    def next(self, state: str, stored: StoredTrades) -> Sequence[Sequence[PageRequest]]:
        """The readings to make next; each is taken by itself."""
        known = parse_state(state)
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
        known = parse_state(state) if state is not None else _first_state(stored)
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
        known = parse_state(state)
        if known.older is not None and known.older_than < cutoff:
            older = known.older + stored.count(known.older_than, cutoff)
            known = replace(known, older=older, older_than=cutoff)
        return dump_state(replace(known, pruned_to=max(known.pruned_to or cutoff, cutoff)))

    def progress(self, state: str | None) -> Progress:
        """How far the wallet has been read."""
        if state is None:
            return Progress(Phase.LOADING, complete=False)
        known = parse_state(state)
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
        known = UNREAD if state is None else parse_state(state)
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
        return None if state is None else dump_state(replace(parse_state(state).doubted(), compared_at=None))


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
