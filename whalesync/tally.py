"""A whale's figures as exact sums. Pure: values in, values out.

Amounts are added up as the decimals that the exchange gave, not as binary fractions: adding a trade and taking
it away again leaves nothing behind, so figures that are kept up to date for years equal those of a
recomputation to the last digit.

The totals cover all that was ever synced: a trade that is no longer stored, whether cleanup or somebody's own
SQL has deleted it, stays in them. The windows hold only what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext

from whalesync.records import DAY_MS

WINDOWS_MS = (DAY_MS, 7 * DAY_MS, 30 * DAY_MS)

# Amounts are below 1e15 and have at most 18 decimals, or 17 digits: no sum ever needs more digits than this.
_EXACT = Context(prec=100)


@contextmanager
def exact() -> Iterator[None]:
    """Sums inside are exact."""
    with localcontext(_EXACT):
        yield


@dataclass
class Sums:
    """Sums over some trades. Only BUY and SELL count towards volume, profit and the counts."""

    volume: Decimal = Decimal(0)
    profit: Decimal = Decimal(0)
    buys: int = 0
    sells: int = 0
    last_active: int | None = None

    def add(self, more: Sums) -> None:
        """Count more trades."""
        self.volume += more.volume
        self.profit += more.profit
        self.buys += more.buys
        self.sells += more.sells
        times = [time for time in (self.last_active, more.last_active) if time is not None]
        self.last_active = max(times, default=None)

    def take(self, less: Sums) -> None:
        """Take away trades that were counted. The last activity stays: they did happen."""
        self.volume -= less.volume
        self.profit -= less.profit
        self.buys -= less.buys
        self.sells -= less.sells


def _none() -> list[Decimal]:
    return [Decimal(0) for _ in WINDOWS_MS]


@dataclass
class Part:
    """Some trades of one whale: their sums, and the volume of those that lie in each window."""

    sums: Sums = field(default_factory=Sums)
    windows: list[Decimal] = field(default_factory=_none)


@dataclass
class Tally:
    """One whale: everything that was ever synced, what of it is no longer stored, and the rolling windows."""

    all: Sums = field(default_factory=Sums)
    pruned: Sums = field(default_factory=Sums)
    windows: list[Decimal] = field(default_factory=_none)

    def count(self, part: Part) -> None:
        """Trades that are new to us."""
        self.all.add(part.sums)
        self.shift(part, 1)

    def prune(self, part: Part) -> None:
        """Counted trades were deleted: the totals keep them, the windows do not."""
        self.pruned.add(part.sums)
        self.shift(part, -1)

    def prune_uncounted(self, part: Part) -> None:
        """Trades were deleted before they were ever counted: they were synced, so the totals have them."""
        self.all.add(part.sums)
        self.pruned.add(part.sums)

    def restore(self, part: Part) -> None:
        """Deleted trades have been synced once more and will be counted as new: not twice in the totals."""
        self.all.take(part.sums)
        self.pruned.take(part.sums)

    def put_back(self, part: Part) -> None:
        """Deleted trades are stored again as if nothing had happened."""
        self.pruned.take(part.sums)
        self.shift(part, 1)

    def shift(self, part: Part, sign: int) -> None:
        """Trades come into the windows (``sign`` 1) or leave them (-1)."""
        self.windows = [now + sign * more for now, more in zip(self.windows, part.windows, strict=True)]

    def with_pruned(self, pruned: Sums) -> Tally:
        """The same, with what is no longer stored in its totals: what a recomputation from the rows must add."""
        self.pruned = pruned
        self.all.add(pruned)
        return self

    def difference(self, kept: Tally) -> str:
        """In words, how ``kept`` differs from this."""
        pairs: dict[str, tuple[object, object]] = {
            "volume": (_plain(kept.all.volume), _plain(self.all.volume)),
            "profit": (_plain(kept.all.profit), _plain(self.all.profit)),
            "buys": (kept.all.buys, self.all.buys),
            "sells": (kept.all.sells, self.all.sells),
            "last activity": (kept.all.last_active, self.all.last_active),
            "windows": (_plain(*kept.windows), _plain(*self.windows)),
        }
        return ", ".join(f"{name} {had} instead of {is_}" for name, (had, is_) in pairs.items() if had != is_)

    def repair(self, kept: Tally, right: Tally) -> None:
        """Correct by as much as ``kept`` differed from ``right``."""
        self.all.volume += right.all.volume - kept.all.volume
        self.all.profit += right.all.profit - kept.all.profit
        self.all.buys += right.all.buys - kept.all.buys
        self.all.sells += right.all.sells - kept.all.sells
        if self.all.last_active == kept.all.last_active:
            self.all.last_active = right.all.last_active
        self.windows = [
            now + (is_ - had) for now, had, is_ in zip(self.windows, kept.windows, right.windows, strict=True)
        ]


def _plain(*numbers: Decimal) -> str:
    return " / ".join(f"{number.normalize():f}" for number in numbers)
