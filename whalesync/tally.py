"""A whale's figures as exact sums. Pure: values in, values out.

Amounts are added up as the decimals that the exchange gave, not as binary fractions: adding a trade and taking
it away again leaves nothing behind, so figures that are kept up to date for years equal those of a
recomputation to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from typing import NamedTuple

from whalesync.records import BUY, SELL

DAY_MS = 24 * 3600 * 1000
WINDOWS_MS = (DAY_MS, 7 * DAY_MS, 30 * DAY_MS)

# Amounts are below 1e15 and have at most 18 decimals, or 17 digits: no sum ever needs more digits than this.
_EXACT = Context(prec=100)


class Row(NamedTuple):
    """What a stored trade brings to the figures."""

    id: int
    whale_id: int
    action: str
    amount: float
    profit: float | None
    timestamp: int


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

    def add(self, row: Row) -> None:
        """Count one more trade."""
        self.last_active = max(self.last_active or row.timestamp, row.timestamp)
        if row.action == BUY:
            self.buys += 1
        elif row.action == SELL:
            self.sells += 1
        else:
            return
        self.volume += Decimal(repr(row.amount))
        if row.profit is not None:
            self.profit += Decimal(repr(row.profit))


@dataclass
class Tally:
    """One whale: everything that was ever synced, what of it was pruned, and the rolling windows."""

    all: Sums = field(default_factory=Sums)
    pruned: Sums = field(default_factory=Sums)
    windows: list[Decimal] = field(default_factory=lambda: [Decimal(0) for _ in WINDOWS_MS])

    def add(self, row: Row, as_of: int) -> None:
        """Count a trade that is new to us; the windows end at ``as_of``."""
        self.all.add(row)
        self._shift(row, as_of, 1)

    def prune(self, row: Row, as_of: int) -> None:
        """A counted trade was removed by cleanup: the totals keep it, the windows only hold what is stored."""
        self.pruned.add(row)
        self._shift(row, as_of, -1)

    def _shift(self, row: Row, as_of: int, sign: int) -> None:
        if row.action in (BUY, SELL):
            amount = sign * Decimal(repr(row.amount))
            for i, width in enumerate(WINDOWS_MS):
                if row.timestamp >= as_of - width:
                    self.windows[i] += amount

    def leave(self, window: int, row: Row, sign: int) -> None:
        """A trade leaves a window as time goes on (``sign`` -1), or comes back into it (1)."""
        if row.action in (BUY, SELL):
            self.windows[window] += sign * Decimal(repr(row.amount))

    def with_pruned(self, pruned: Sums) -> Tally:
        """The same, with what was pruned in its totals: what a recomputation from the rows must add."""
        self.pruned = pruned
        self.all.volume += pruned.volume
        self.all.profit += pruned.profit
        self.all.buys += pruned.buys
        self.all.sells += pruned.sells
        times = [time for time in (self.all.last_active, pruned.last_active) if time is not None]
        self.all.last_active = max(times, default=None)
        return self

    def difference(self, kept: Tally) -> str:
        """In words, how ``kept`` differs from this."""
        pairs = {
            "volume": (kept.all.volume, self.all.volume),
            "profit": (kept.all.profit, self.all.profit),
            "buys": (kept.all.buys, self.all.buys),
            "sells": (kept.all.sells, self.all.sells),
            "last activity": (kept.all.last_active, self.all.last_active),
            "windows": (tuple(map(str, kept.windows)), tuple(map(str, self.windows))),
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
