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

**Nothing lost.** For each wallet we keep a ledger in which every trade of the list has its place:

    total = held + rejected + pending + missing

``held`` were stored by us, or are older than the floor (the retention cut); ``rejected`` were unreadable and
set aside; ``pending`` are known to be missing and looked for at or below the *frontier*; ``missing`` is what
is left, and is looked for from the head. A wallet is done when ``missing`` and ``pending`` are 0. Then as many
are stored as exist, and none more often than it exists: so it is all of them, exactly.

What has not been found when a walk arrives at the floor lies below it, because a walk passes a second only
when it has read it whole within one segment (``Walk.frontier``): when the total changes between two pages,
it goes back to where the second at the seam begins. Reading on never skips: by (b) trades only move down.

Where the exchange breaks (a) to (c) (pages that do not fit their total, are unsorted or repeat), the page is
refused with ContradictoryList and nothing of it is stored. A total that falls breaks (b): it is told, and the
whole list is compared anew down to the floor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from whalesync.errors import ContradictoryList
from whalesync.records import PAGE_SIZE, BadRecord, Page, Trade

# How often the list may move under one seam before the wallet waits for its next run.
MAX_RETREATS = 40
LONGEST_RECHECK_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Ledger:
    """One wallet's account; see the module. Times are milliseconds since 1970 UTC.

    ``below`` counts the trades at or below ``frontier`` when it was set: it says on which page to go on.
    ``floor``: older trades are not held (never fetched, or pruned). ``rejected_since`` and ``recheck_at``
    say since when there are unreadable records, and when to look whether they have become readable.
    """

    held: int = 0
    rejected: int = 0
    pending: int = 0
    frontier: int | None = None
    below: int | None = None
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

    def found(self, stored: int, rejected: int = 0) -> Ledger:
        """After a page read from the head: ``stored`` fills were new, ``rejected`` records were set aside."""
        return replace(self, held=self.held + stored, rejected=self.rejected + rejected)

    def dug(self, stored: int, rejected: int = 0) -> Ledger:
        """After a page read at the frontier: what was found there is no longer pending.

        A trade that surfaced late can be met here before the total was seen to grow: then more is found than
        was pending, and the next look at the head brings the sum into agreement.
        """
        left = self.pending - stored - rejected
        return replace(self.found(stored, rejected), pending=left if self.pending < 0 else max(0, left))

    def without_surplus(self, total: int) -> Ledger:
        """Fills found beyond what was missing: records that were unreadable until now, or pending ones."""
        surplus = max(0, -self.missing(total))
        if self.pending < 0:
            return replace(self, pending=self.pending - surplus)
        readable = min(surplus, self.rejected)
        met = min(surplus - readable, self.pending)
        return replace(self, rejected=self.rejected - readable, pending=self.pending - met)

    def postponed(self, total: int, walk: Walk) -> Ledger:
        """What a walk from the head has not found yet is pending from its frontier on."""
        pending = self.pending + self.missing(total)
        if self.pending < 0:
            return self.recounting(total)
        return replace(self, pending=pending, frontier=walk.frontier, below=walk.below)

    def recounting(self, total: int) -> Ledger:
        """The list broke its own rules: compare all of it, from the head down to the floor.

        A negative ``pending`` says so: nothing that is found makes it 0, only the floor does.
        """
        return replace(self, held=total - self.rejected + 1, pending=-1, frontier=None, below=None)

    def rechecking(self) -> Ledger:
        """Look for the unreadable records again, from the head: some may have become readable."""
        return replace(self, rejected=0, pending=self.rejected, frontier=None, below=None)

    def advanced(self, walk: Walk) -> Ledger:
        """The frontier after a page of a dig."""
        return replace(self, frontier=walk.frontier, below=walk.below)

    def settled(self, total: int, floor: int) -> Ledger:
        """A walk has arrived at the floor: whatever it has not found lies below."""
        kept = max(floor, self.floor or 0)
        return replace(self, held=total - self.rejected, pending=0, floor=kept, frontier=None, below=None)

    def recheck_due(self, now: int) -> bool:
        """Whether to look again for records that were unreadable: in the next run, then less and less often."""
        return self.rejected > 0 and self.pending == 0 and now > (self.recheck_at or 0)

    def rechecked(self, now: int) -> Ledger:
        """When to look the next time: after as long as there have been unreadable records, a day at most."""
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
        self._seam: list[Trade] = []  # fills of the frontier's second, in this segment
        self._last: Page[Trade] | None = None
        self._last_time: list[int] = []  # the time at the end of that page, if it is known
        self._step_back = 1
        self._retreats = 0
        if ledger is not None and ledger.frontier is not None:
            self.frontier, self.below = ledger.frontier, ledger.below
            self._land_before(ledger.accounted - (ledger.below or 0))

    def take(self, page: Page[Trade]) -> list[Trade] | None:
        """The fills to compare with what is held, or None if the list has moved: read page ``next``.

        The fills are those of the page, and before them those of the same second that this segment has
        shown already, so that copies are counted across the seam.

        Raises:
            ContradictoryList: the page breaks an assumption of the module.
        """
        check_length(page)
        if self._total is not None and page.total != self._total:
            self._retreat()
            return None
        times = [record.timestamp for record in page.records if record.timestamp is not None]
        if self._total is None and not self._landed(page):
            return None
        # Within a segment, the page must go on where the one before it ended.
        if any(newer < older for newer, older in pairwise([*self._last_time, *times])):
            raise ContradictoryList(f"page {page.number} is not sorted by time, newest first")

        seam = self._seam
        self._total, self._last, self._last_time, self.next = page.total, page, times[-1:], page.number + 1
        self._retreats, self._step_back = 0, 1
        if page.number * PAGE_SIZE >= page.total:
            self.ended, self.frontier, self.below, self._seam = True, None, 0, []
            return seam + page.good
        last = times[-1]
        at_seam = [trade for trade in page.good if trade.timestamp == last]
        if seam and seam[0].timestamp == last:
            self._seam = seam + at_seam
        else:
            first = next(i for i, record in enumerate(page.records) if record.timestamp == last)
            self.frontier, self.below, self._seam = (
                last,
                page.total - (page.number - 1) * PAGE_SIZE - first,
                at_seam,
            )
        return seam + page.good

    def repeats(self, page: Page[Trade]) -> bool:
        """Whether the page says just what the one before it said: twins, or an exchange that ignores ``page``."""
        last = self._last
        return (
            last is not None
            and last.number + 1 == page.number
            and last.total == page.total
            and page.listed == PAGE_SIZE
            and list(last.records) == list(page.records)
        )

    def at_floor(self, floor: int) -> bool:
        """Whether everything not older than ``floor`` has been read whole."""
        return self.ended or (self.frontier is not None and self.frontier < floor)

    def _landed(self, page: Page[Trade]) -> bool:
        """Whether a segment may begin with this page: it must begin above the second at the frontier."""
        first = page.records[0].timestamp if page.records else None
        if page.number == 1 or self.frontier is None or (first is not None and first > self.frontier):
            return True
        self.next = max(1, page.number - self._step_back)
        self._step_back *= 2
        return False

    def _retreat(self) -> None:
        """The list has moved: begin a new segment where the second at the seam begins."""
        self._retreats += 1
        if self._retreats > MAX_RETREATS:
            raise ContradictoryList(f"the list has moved at each of {MAX_RETREATS} looks")
        above = (self._total or 0) - (self.below or 0)
        self._total, self._last, self._last_time, self._seam = None, None, [], []
        self._land_before(above)

    def _land_before(self, above: int) -> None:
        """Read next the page on which the last of the ``above`` trades that are newer than the frontier stands."""
        self.next = max(0, above - 1) // PAGE_SIZE + 1


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
