"""What is known of each position of a wallet. Pure.

An exchange that lists what is held, and no more, gives a snapshot of now. It tells what is held and at which average
price, but nothing of what was sold, and a position that was held to resolution leaves the list when it is claimed. The
trades tell what went in and out, but only as far back as they were stored. There both together say it (``judge``):

- What is listed is as the exchange lists it.
- A position that is no longer listed, in a market that has not ended, was sold, merged or moved away: CLOSED, when the
  trades say so too, or when it has been missing for UNLISTED_LASTS_MS, and the markets were read since.
- In a market that has ended, it was held to the end, with the shares last listed, unless the trades say that it was
  sold. One that was never listed has the shares that its trades leave.

A figure that neither source gives is None, and ``gap`` says why.

An exchange that goes on listing what is held no longer, with what was made of it, needs no trades (``as_listed``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from whalesync.records import Position
from whalesync.text import ago, counted, iso
from whalesync.units import DAY, MINUTE

UNLISTED_LASTS_MS = 10 * MINUTE
SETTLING_MS = 10 * MINUTE  # how long a list of positions may lag behind the trades
STALE_MS = DAY  # since when positions were last read
DUST_SHARES = 0.01
DUST_SHARE = 0.001  # of what went in; fees taken in shares leave such a remainder

MOVED = "shares came or went without a trade"
NO_COST = "what was paid for it is not known"
NO_PROFIT = "the exchange gives no profit for some of its sales"
EARLIER_TRADES = "its earlier trades are not stored"
UNCERTAIN = "whether it was sold before the end is not known"
NOT_LISTED = "not listed by the exchange"

#: how long before the end that is stored for a market its shares may be redeemed: it is seen a little later
END_SEEN_AFTER_MS = 2 * 60_000


@dataclass(frozen=True, slots=True)
class Flow:
    """What a wallet's trades did to one position; shares, and USD.

    In: bought, split. Out: sold, merged. ``cost_out``: what had been paid for what went out, that is the proceeds less
    the profit that the exchange gives. ``unknown``: how many of the trades lack a figure. ``undivided``: how many
    merges have one profit for both sides, which is halved here, although each side has its own cost. Times in ms.
    """

    shares_in: float
    cost_in: float
    shares_out: float
    cost_out: float
    realized_profit: float
    unknown: int
    last_at: int
    undivided: int = 0

    @property
    def left(self) -> float:
        """The shares that should be left."""
        return self.shares_in - self.shares_out

    @property
    def is_sold(self) -> bool:
        """Whether nothing is left."""
        return abs(self.left) <= self.tolerance

    @property
    def tolerance(self) -> float:
        """How many shares count for nothing."""
        return max(DUST_SHARES, DUST_SHARE * self.shares_in)

    @property
    def cost_left(self) -> float | None:
        """What was paid for the shares that should be left; None if it is not known."""
        return None if self.unknown or self.undivided else max(0.0, self.cost_in - self.cost_out)


@dataclass(frozen=True, slots=True)
class Holding:
    """What is known of one position. Times in ms.

    ``unlisted_since``: since when it is not listed with shares, and ``listed_at``: when it was for the last time.
    Both are None while it is. ``redeemed_profit``: what the exchange says was made with the shares that were held to
    the end; None until they are redeemed, and where it does not say.
    """

    shares: float | None
    cost: float | None
    realized_profit: float | None = None
    gap: str | None = None
    listed_at: int | None = None
    unlisted_since: int | None = None
    closed_at: int | None = None
    redeemed_profit: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to judge one position by, at ``now`` (ms).

    Args:
        listed: as the exchange lists it; None if it does not.
        listing_before: when the wallet's positions were last read whole, before this; None if never.
        before: what was known of it; None if nothing was.
        flow: what all of its stored trades did; None if it has none.
        whole_flow: no trade of the position is missing from ``flow``.
        ended_at: when its market ended; None if it has not.
        markets_read_at: when the markets were last read, so that ends before that are known; None if never.
    """

    now: int
    listed: Position | None
    listing_before: int | None
    before: Holding | None
    flow: Flow | None
    whole_flow: bool
    ended_at: int | None
    markets_read_at: int | None


def judge(seen: Evidence) -> Holding | None:
    """What is known of a position from now on; None if there is nothing to say of it yet."""
    flow = seen.flow
    realized = seen.before.realized_profit if seen.before else None
    if flow is not None and flow.shares_out:
        realized = flow.realized_profit
    elif flow is not None and seen.whole_flow:
        realized = None  # what was sold of it, the exchange has taken back
    if seen.listed is not None and seen.listed.shares > 0:
        return replace(_held(seen, seen.listed), realized_profit=realized)
    holding = _gone(seen) if seen.ended_at is None else _held_to_the_end(seen, seen.ended_at)
    return holding and replace(holding, realized_profit=realized)


def _held(seen: Evidence, listed: Position) -> Holding:
    """A position that is listed."""
    cost, flow = None, seen.flow if seen.whole_flow else None
    if listed.avg_price is not None:
        cost = listed.shares * listed.avg_price
    elif flow is not None and abs(flow.left - listed.shares) <= flow.tolerance:
        cost = flow.cost_left
    gap = NO_COST if cost is None else _gap_of(seen.flow)
    if flow is not None and flow.left < -flow.tolerance:
        gap = MOVED
    return Holding(listed.shares, cost, gap=gap)


def _not_listed(seen: Evidence) -> Holding:
    """What was known of a position that is not listed with shares, with the times that say so."""
    before = seen.before
    if before is None:
        return Holding(None, None, unlisted_since=seen.now)
    if before.unlisted_since is None:
        return replace(before, listed_at=seen.listing_before, unlisted_since=seen.now)
    return before


def _gone(seen: Evidence) -> Holding | None:
    """A position that is not listed, in a market that has not ended."""
    before, flow = seen.before, seen.flow
    sold = flow is not None and seen.whole_flow and flow.is_sold
    lagging = flow is not None and not sold and seen.now - flow.last_at < SETTLING_MS  # the list, behind its last trade
    if before is None and (flow is None or lagging or not (sold or _is_missing(seen, seen.listing_before))):
        return None
    known = _not_listed(seen)
    if lagging:
        return known
    if known.closed_at is not None:
        return replace(known, gap=_gap_of(flow)) if sold else known
    since = known.unlisted_since or seen.now
    if before is not None and not sold and not (seen.now - since >= UNLISTED_LASTS_MS and _is_missing(seen, since)):
        return known
    moved = flow is not None and seen.whole_flow and not sold
    closed_at = flow.last_at if flow is not None and (sold or before is None) else seen.now
    return replace(known, shares=0.0, cost=0.0, gap=MOVED if moved else _gap_of(flow), closed_at=closed_at)


def _is_missing(seen: Evidence, since: int | None) -> bool:
    """Whether a position that is not listed, and was not at ``since``, has left a market that is still open."""
    if since is None or (seen.flow is not None and seen.before is None and since < seen.flow.last_at):
        return False
    return seen.markets_read_at is not None and seen.markets_read_at >= since


def _held_to_the_end(seen: Evidence, ended_at: int) -> Holding | None:
    """A position that is not listed with shares, in a market that has ended."""
    flow, known = seen.flow, _not_listed(seen)
    if flow is None or not seen.whole_flow:
        return _as_last_listed(seen, known)
    if known.closed_at is not None and flow.last_at <= known.closed_at < ended_at:
        return replace(known, gap=_gap_of(flow)) if flow.is_sold else known
    if known.gap == MOVED and flow.last_at > (known.closed_at or flow.last_at):
        return replace(known, shares=None, cost=None, closed_at=None)  # how much of it is left, nobody can tell
    listed = known.shares if flow.last_at + SETTLING_MS <= (known.listed_at or 0) else None
    # A remainder that is listed was held to the end, however little it is of what went in.
    if listed and abs(flow.left - listed) <= max(DUST_SHARES, DUST_SHARE * listed):
        return known
    if flow.is_sold:
        return replace(known, shares=0.0, cost=0.0, gap=_gap_of(flow), closed_at=flow.last_at)
    if listed:
        return known
    if flow.left < 0:
        return replace(known, shares=None, cost=None, gap=MOVED, closed_at=None)
    gap = _gap_of(flow) or (NO_COST if flow.cost_left is None else None)
    return replace(known, shares=flow.left, cost=flow.cost_left, gap=gap, closed_at=None)


def _as_last_listed(seen: Evidence, known: Holding) -> Holding | None:
    """A position of which not all trades are known, in a market that has ended."""
    if seen.before is None:
        return None if seen.flow is None else replace(known, gap=EARLIER_TRADES)
    traded_since = seen.flow is not None and seen.flow.last_at + SETTLING_MS > (known.listed_at or 0)
    return replace(known, gap=UNCERTAIN) if known.shares and traded_since else known


def _gap_of(flow: Flow | None) -> str | None:
    return NO_PROFIT if flow is not None and flow.unknown else None


def as_listed(listed: Position | None, before: Holding | None, ended_at: int | None, now: int) -> Holding | None:
    """What is known of a position where the exchange also lists those that are held no longer.

    What the exchange has realized of a position includes the payout once it is redeemed. What was realized before that
    is what was listed while it was held; the rest was made with the shares that were held to the end.

    Args:
        listed: as the exchange lists it; None if it does not, or was not asked. Its ``closed_at`` may be 0: not known.
        before: what was known of it; None if nothing was.
        ended_at: when its market ended (ms); None if it has not.
        now: ms.

    Returns:
        None if nothing is known of it.
    """
    if listed is None:
        if before is None or before.redeemed_profit is not None:
            return before
        if before.closed_at is None:
            return replace(before, gap=before.gap or NOT_LISTED, unlisted_since=before.unlisted_since or now)
        realized, closed_at = before.realized_profit, before.closed_at
    elif listed.closed_at is None:
        gap = NO_COST if listed.cost is None else NO_PROFIT if listed.realized_profit is None else None
        return Holding(listed.shares, listed.cost, listed.realized_profit, gap)
    else:
        realized, closed_at = listed.realized_profit, listed.closed_at or (before and before.closed_at) or now
    gap = NO_PROFIT if realized is None else None
    if ended_at is None or closed_at < ended_at - END_SEEN_AFTER_MS:
        return Holding(0.0, 0.0, realized, gap, closed_at=closed_at)
    if before is None or before.closed_at is not None:
        return Holding(None, None, None, gap, redeemed_profit=realized)
    profit = None if realized is None else realized - (before.realized_profit or 0.0)
    return Holding(before.shares, before.cost, before.realized_profit, gap, redeemed_profit=profit)


@dataclass(frozen=True, slots=True)
class Unknowns:
    """What is not known of a whale's profit. Times in ms.

    Args:
        trades_complete: every listed trade is stored, back to ``known_from``; 0: back to the first one.
        listed_at: when its positions were last read whole; None: never.
        void: positions in markets that ended without a result.
        unpriced: open positions without a price.
        gaps: positions that lack something else, by what that is.
    """

    trades_complete: bool
    known_from: int | None
    listed_at: int | None
    void: int = 0
    unpriced: int = 0
    gaps: Mapping[str, int] = field(default_factory=dict)

    def reasons(self, now: int) -> list[str]:
        """Why the profit is not complete at ``now`` (ms), in words; none if it is."""
        found = []
        if self.listed_at is None:
            found.append("its positions have not been read yet")
        elif now - self.listed_at > STALE_MS:
            found.append(f"its positions were last read {ago(self.listed_at, now)}")
        if not self.trades_complete:
            found.append("not all of its trades are stored yet")
        elif self.known_from != 0:
            found.append(f"its trades before {iso(self.known_from)[:10]} are not stored")
        if self.void:
            found.append(f"{counted(self.void, 'position')} in a market that ended without a result")
        if self.unpriced:
            found.append(f"{counted(self.unpriced, 'open position')} without a price")
        return [*found, *(f"{counted(number, 'position')}: {gap}" for gap, number in self.gaps.items())]
