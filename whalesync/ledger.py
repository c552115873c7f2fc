"""Why every trade is stored exactly once. Pure: values in, values out.

The exchange gives no trade id, no cursor, whole seconds, and pages that move while they are read. What it
does give is a ``total`` with every page. We assume of a wallet's list that

  (a) each answer shows one state of the list: the page is a slice of it, ``total`` is its length;
  (b) the list only grows (trades arrive at its head, or surface late further down);
  (c) it is sorted by time, newest first, and stays in one order as long as it does not change.

**Nothing twice.** By (b), two answers with the same total show the same state, so the slices of pages read
while the total stood still (a *segment*) lie beside each other without overlap, and a fill that a segment
shows n times exists at least n times. We store a fill for the n-th time only when one segment has shown it
n times: what we store of any fill never exceeds what exists. (``Walk.take`` ends a segment when the total
changes; ``fresh`` compares.)

**Nothing passed over.** A walk keeps a *frontier*: of the list as it was when the walk began, every fill newer
than that second has been compared. A segment may move the frontier only if it begins above it (at the head,
or with a record newer than it), so that it shows each second that it passes whole. When the total changes
between two pages, the walk goes back to where the second at the frontier begins, and the frontier never rises.

**Nothing lost.** For each wallet we keep a ledger in which every trade of the list has its place:

    total = held + rejected + pending + missing

``held`` were stored by us, or are older than the floor (the retention cut); ``rejected`` were unreadable and
set aside; ``pending`` are known to be missing and looked for at or below the frontier that is kept (with
``again``, then from the head once more); ``missing`` is what is left, and is looked for from the head. A wallet
is done when ``missing`` and ``pending`` are 0. Then as many are stored as exist, and none more often than it
exists: so it is all of them, exactly. Only at the floor may something unfound be called held: it lies below.

What the sum cannot tell is which records ``rejected`` stands for: one that has become readable may be found
in the place of a missing one. So as long as there may be unreadable records, the whole list is compared anew
now and then, down to the floor.

Where the exchange breaks (a) to (c) (pages that do not fit their total, are unsorted or repeat), the page is
refused with ContradictoryList and nothing of it is stored. A total that falls breaks (b): it is told, and the
whole list is compared anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from whalesync.errors import ContradictoryList
from whalesync.records import DAY_MS, PAGE_SIZE, BadRecord, Page, Trade

# How often the list may move before a walk gets on, until the wallet waits for its next run.
MAX_RETREATS = 40
LONGEST_RECHECK_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Ledger:
    """One wallet's account; see the module. Times are milliseconds since 1970 UTC.

    A negative ``pending`` says that the whole list is compared anew: nothing that is found makes it 0, only
    the floor does. ``below`` counts the trades at or below ``frontier`` when it was set: it says on which page
    to go on. ``again``: once at the floor, what is pending must be looked for from the head.
    ``floor``: older trades are not held (never fetched, or pruned). ``rejected_since`` and ``recheck_at``
    say since when there may be unreadable records, and when to compare all anew for their sake.
    """

    held: int = 0
    rejected: int = 0
    pending: int = 0
    frontier: int | None = None
    below: int | None = None
    again: int = 0
    floor: int | None = None
    rejected_since: int | None = None
    recheck_at: int | None = None

    @property
    def accounted(self) -> int:
        """How long the list was when the ledger last agreed with it."""
        return self.held + self.rejected + self.pending

    def missing(self, total: int) -> int:
        """Trades that nobody knows anything about yet; negative if the list shrank."""
        return total - self.accounted

    def found(self, stored: int, rejected: int, now: int) -> Ledger:
        """After a page read from the head: ``stored`` fills were new, ``rejected`` records were set aside."""
        more = replace(self, held=self.held + stored, rejected=self.rejected + rejected)
        if rejected and self.rejected_since is None:
            return replace(more, rejected_since=now, recheck_at=now)
        return more

    def dug(self, stored: int, rejected: int, now: int) -> Ledger:
        """After a page read at the frontier: what was found there is no longer pending.

        A trade that surfaced late can be met here before the total was seen to grow: then more is found than
        was pending, and the next look at the head brings the sum into agreement.
        """
        left = self.pending - stored - rejected
        more = self.found(stored, rejected, now)
        return replace(more, pending=left if self.pending < 0 else max(0, left))

    def without_surplus(self, total: int) -> Ledger:
        """Fills found beyond what was missing: pending ones, or records that were unreadable until now.

        Pending ones first: should it have been the other way round, comparing all anew puts it right.
        """
        surplus = max(0, -self.missing(total))
        met = surplus if self.pending < 0 else min(surplus, self.pending)
        readable = min(surplus - met, self.rejected)
        return replace(self, pending=self.pending - met, rejected=self.rejected - readable)

    def postponed(self, total: int, walk: Walk) -> Ledger:
        """What a walk from the head has not found yet is pending: from its frontier on, unless we dig deeper."""
        if self.pending < 0:
            more = replace(self, held=self.held + self.missing(total))
        else:
            more = replace(self, pending=self.pending + self.missing(total))
        if self.pending and self.frontier is not None and (walk.frontier or 0) > self.frontier:
            return replace(more, again=1)
        return replace(more, frontier=walk.frontier, below=walk.below, again=0)

    def recounting(self, total: int) -> Ledger:
        """Compare the whole list, unreadable records included, from the head down to the floor."""
        return replace(self, held=total + 1, rejected=0, pending=-1, frontier=None, below=None, again=0)

    def advanced(self, walk: Walk) -> Ledger:
        """The frontier after a page of a dig."""
        return replace(self, frontier=walk.frontier, below=walk.below)

    def settled(self, total: int, floor: int, now: int) -> Ledger:
        """A walk from the head has arrived at the floor: whatever it has not found lies below."""
        kept = max(floor, self.floor or 0)
        done = replace(
            self, held=total - self.rejected, pending=0, frontier=None, below=None, again=0, floor=kept
        )
        return done.rechecked(now) if self.pending < 0 else done

    def bottomed(self, floor: int, now: int) -> Ledger:
        """A dig has arrived at the floor: begin again at the head, or be done."""
        if self.again:
            return replace(self, frontier=None, below=None, again=0)
        return self.settled(self.accounted, floor, now)

    def recheck_due(self, now: int) -> bool:
        """Whether to compare all anew for the sake of unreadable records: soon, then less and less often."""
        if self.rejected_since is None or self.pending:
            return False
        # Further off than it is ever put: the clock has been set back.
        return not 0 <= (self.recheck_at or 0) - now <= LONGEST_RECHECK_MS

    def rechecked(self, now: int) -> Ledger:
        """All was compared. The next time: after as long as there have been unreadable records, a day at most."""
        if not self.rejected:
            return replace(self, rejected_since=None, recheck_at=None)
        since = min(self.rejected_since or now, now)
        return replace(self, rejected_since=since, recheck_at=now + min(now - since, LONGEST_RECHECK_MS))


class Walk:
    """One way down a wallet's list, page by page.

    Args:
        ledger: go on at its frontier; None, or without one: from the head.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.frontier: int | None = None
        self.below: int | None = None
        #: the number of the page to read next
        self.next = 1
        #: whether the end of the list has been read
        self.ended = False
        self._total: int | None = None  # of the running segment
        self._last_time: list[int] = []  # at the end of its last page, if any is known
        self._seam: list[Trade] = []  # the segment's fills of that time
        self._step_back = 1
        self._retreats = 0
        if ledger is not None and ledger.frontier is not None:
            self.frontier, self.below = ledger.frontier, ledger.below
            self.next = self._landing(ledger.accounted)

    def take(self, page: Page[Trade]) -> list[Trade] | None:
        """The fills to compare with what is held, or None if the list has moved: read page ``next``.

        The fills are those of the page, and before them those of the same second that this segment has
        shown already, so that copies are counted across the seam.

        Raises:
            ContradictoryList: the page breaks an assumption of the module.
        """
        check_length(page)
        moved = self._total is not None and page.total != self._total
        if moved:
            self._total, self._last_time, self._seam = None, [], []
        times = [record.timestamp for record in page.records if record.timestamp is not None]
        if self._total is None and not self._lands(page, times):
            self._retreat(page, moved)
            return None
        # Within a segment, the page must go on where the one before it ended.
        if any(newer < older for newer, older in pairwise([*self._last_time, *times])):
            raise ContradictoryList(f"page {page.number} is not sorted by time, newest first")

        fills = self._seam + page.good
        self._total, self.next, self._step_back = page.total, page.number + 1, 1
        if page.number * PAGE_SIZE >= page.total:
            self.ended, self.frontier, self.below = True, None, 0
        elif times:
            self._pass(page, times[-1])
        return fills

    def repeats(self, page: Page[Trade]) -> bool:
        """Whether the page shows again what stood before its seam: twins, or pages that repeat."""
        return page.total == self._total and not set(self._seam).isdisjoint(page.good)

    def at_floor(self, floor: int) -> bool:
        """Whether everything not older than ``floor`` has been read whole."""
        return self.ended or (self.frontier is not None and self.frontier < floor)

    def _pass(self, page: Page[Trade], last: int) -> None:
        """The page ends within the second ``last``: remember its fills, and move the frontier down to it."""
        at_seam = [trade for trade in page.good if trade.timestamp == last]
        self._seam = self._seam + at_seam if self._last_time == [last] else at_seam
        self._last_time = [last]
        if self.frontier is None or last < self.frontier:
            first = next(i for i, record in enumerate(page.records) if record.timestamp == last)
            self.frontier, self.below = last, page.total - (page.number - 1) * PAGE_SIZE - first
            self._retreats = 0

    def _lands(self, page: Page[Trade], times: list[int]) -> bool:
        """Whether a segment may begin with this page: it must begin above the second at the frontier."""
        return page.number == 1 or (bool(times) and self.frontier is not None and times[0] > self.frontier)

    def _retreat(self, page: Page[Trade], moved: bool) -> None:
        """No segment can begin with this page: try further up."""
        self._retreats += 1
        if self._retreats > MAX_RETREATS:
            raise ContradictoryList(f"the list has moved at each of {MAX_RETREATS} looks")
        if moved:
            self.next = max(1, min(self._landing(page.total), page.number - 1))
        else:
            self.next = max(1, page.number - self._step_back)
            self._step_back *= 2

    def _landing(self, total: int) -> int:
        """The page on which the last trade newer than the frontier stands, in a list of that length."""
        return max(0, total - (self.below or 0) - 1) // PAGE_SIZE + 1


def check_length(page: Page[Trade]) -> None:
    """Refuse a page that is not the slice which its own total makes it.

    Raises:
        ContradictoryList: it has more or fewer entries.
    """
    expected = max(0, min(PAGE_SIZE, page.total - (page.number - 1) * PAGE_SIZE))
    if page.listed != expected:
        raise ContradictoryList(
            f"page {page.number} holds {page.listed} trades where its own total of {page.total} makes it {expected}"
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A stored copy of a fill, as far as it takes part in comparing."""

    copy: int
    fee: float | None
    profit: float | None


def fresh(seen: Sequence[Trade], held: Mapping[int, Sequence[Held]]) -> list[tuple[Trade, int]]:
    """The fills of ``seen`` that are not held yet, each with the number of its copy (from 1).

    ``held`` maps a fill's key to its stored copies. Of fills that share a key, those whose fee and profit are
    not stored yet come first.
    """
    new: list[tuple[Trade, int]] = []
    by_key: dict[int, list[Trade]] = {}
    for trade in seen:
        by_key.setdefault(trade.fill_key, []).append(trade)
    for key, copies in by_key.items():
        stored = held.get(key, ())
        more = len(copies) - len(stored)
        if more <= 0:
            continue
        if stored:
            known = Counter((copy.fee, copy.profit) for copy in stored)
            unknown: list[Trade] = []
            rest: list[Trade] = []
            for trade in copies:
                mark = (trade.fee, trade.profit)
                (rest if known[mark] > 0 else unknown).append(trade)
                known[mark] -= 1
            copies = unknown + rest
        number = max((copy.copy for copy in stored), default=0)
        new += [(trade, number + i) for i, trade in enumerate(copies[:more], start=1)]
    return new


def all_bad(page: Page[Trade]) -> BadRecord | None:
    """The first record of a page of which every record is bad."""
    bad = page.bad
    return bad[0] if bad and not page.good else None
