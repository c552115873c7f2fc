"""Fold fills into trades: one order of a person is listed as many fills.

The rule: fills of one whale in one market, outcome and action are one trade if they are of one transaction, or if they
were made within a minute (``SPAN_MS``) of the trade's first fill.

A trade's first fill depends on the fills before it, so a trade is known for certain only together with its *run*: the
fills of one whale, market, outcome and action that follow each other without a pause of more than a minute. After such
a pause a fill begins a trade, whatever came before; the fills of one transaction are of one block, so no pause parts
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum
from typing import NamedTuple

from whalesync.units import MINUTE

SPAN_MS = MINUTE

TradeKey = tuple[int, int, str, str | None]


class Fill(NamedTuple):
    """What decides to which trade a fill belongs. ``outcome`` is YES or NO, else the outcome's label.

    ``timestamp`` in ms, ``amount`` in USD. ``price`` and ``shares`` are for what a trade paid on average.
    """

    id: int
    whale_id: int
    market_id: int
    action: str
    outcome: str | None
    tx_hash: str
    timestamp: int
    amount: float
    price: float | None = None
    shares: float | None = None

    @property
    def key(self) -> TradeKey:
        """What all fills of one trade have in common."""
        return self.whale_id, self.market_id, self.action, self.outcome

    @property
    def order(self) -> tuple[int, int]:
        """Its place in time; of one moment, in the order of storing."""
        return self.timestamp, self.id


def trades(fills: Iterable[Fill]) -> list[list[Fill]]:
    """Fold fills, given in any order, into trades: the earliest trade first, and within it the earliest fill."""
    found: list[list[Fill]] = []
    latest: dict[TradeKey, list[Fill]] = {}
    by_transaction: dict[tuple[TradeKey, str], list[Fill]] = {}
    for fill in sorted(fills, key=lambda fill: fill.order):
        key, transaction = fill.key, fill.tx_hash.lower()
        trade = by_transaction.get((key, transaction))
        if trade is None:
            trade = latest.get(key)
            if trade is None or fill.timestamp - trade[0].timestamp > SPAN_MS:
                trade = latest[key] = []
                found.append(trade)
        trade.append(fill)
        if transaction:
            by_transaction[key, transaction] = trade
    return found


def usd(trade: Iterable[Fill]) -> float:
    """Return the amount of a trade, to a millionth of a dollar."""
    return round(fsum(fill.amount for fill in trade), 6)


def average_price(trade: Iterable[Fill]) -> float | None:
    """Return what a share cost on average; None if no fill tells its price."""
    known = [(fill.price, fill.shares) for fill in trade if fill.price is not None]
    shares = fsum(shares or 0.0 for _, shares in known)
    if shares > 0:
        return fsum(price * (shares or 0.0) for price, shares in known) / shares
    return fsum(price for price, _ in known) / len(known) if known else None


def of_large_trades(fills: Iterable[Fill], min_usd: float) -> list[Fill]:
    """Return the fills of the trades of at least ``min_usd``."""
    return [fill for trade in trades(fills) if usd(trade) >= min_usd for fill in trade]


def newest_of_large_trades(
    fills: Iterable[Fill], min_usd: float, *, since: int = 0, limit: int | None = None
) -> list[Fill]:
    """Return the newest fills of the trades of at least ``min_usd``, newest first.

    Args:
        fills: newest first. They are read only as far back as the answer needs.
        since: only fills made at this moment or later (ms); earlier ones count towards the size of their trade.
        limit: at most so many.
    """
    runs: dict[TradeKey, list[Fill]] = {}  # those that may go on; the one whose last fill was read longest ago is first
    found: list[Fill] = []
    for fill in fills:
        before = len(runs)
        while runs and (run := next(iter(runs.values())))[-1].timestamp - fill.timestamp > SPAN_MS:
            del runs[run[0].key]
            found += [each for each in of_large_trades(run, min_usd) if each.timestamp >= since]
        if len(runs) < before and limit is not None and len(found) >= limit:
            found = _newest(found, limit)
            if all(run[0].order < found[-1].order for run in runs.values()):
                break
        key = fill.key
        if fill.timestamp >= since or key in runs:
            run = runs.pop(key, [])
            run.append(fill)
            runs[key] = run
        elif not runs:
            break
    for run in runs.values():
        found += of_large_trades(run, min_usd)
    return _newest([fill for fill in found if fill.timestamp >= since], limit)


def _newest(fills: Iterable[Fill], limit: int | None) -> list[Fill]:
    return sorted(fills, key=lambda fill: fill.order, reverse=True)[:limit]
