"""A small world: one position, and everything that can happen to it.

What is worked out from looks at the exchange's list and from trades is compared with what was really held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from whalesync.positions import Evidence, Flow, Holding, judge
from whalesync.records import Position

MINUTE = 60_000
STEP = 6 * MINUTE  # so that a list of one step ago is younger than SETTLING_MS, and one of two steps ago is not

#: all that can happen in a step
EVENTS = ("buy", "sell half", "sell all", "end", "claim", "look", "stale look")


@dataclass
class World:
    """The truth: shares and their cost, what sales have made, whether the market has ended and the row is claimed.

    ``unseen``: the first so many trades are not stored, if they were made before the wallet was first looked at.
    """

    unseen: int = 0
    now: int = 1_790_000_000_000
    shares: float = 0.0
    cost: float = 0.0
    realized: float = 0.0
    ended_at: int | None = None
    claimed: bool = False
    missing: bool = False  # a trade is not stored
    trades: list[tuple[float, float, float]] = field(default_factory=list)  # shares in, cost in or out, profit
    last_at: int = 0
    shown: list[float] = field(default_factory=lambda: [0.0])  # what the list showed after each step
    looked_at: int | None = None
    known: Holding | None = None

    def step(self, event: str) -> None:
        """Let something happen."""
        self.now += STEP
        if self.ended_at is None and event == "buy":
            self.shares, self.cost = self.shares + 8, self.cost + 4
            self.trade(8, 4, 0)
        elif self.ended_at is None and event.startswith("sell") and self.shares:
            part = 0.5 if event == "sell half" else 1.0
            sold, paid = self.shares * part, self.cost * part
            self.shares, self.cost = self.shares - sold, self.cost - paid
            self.realized += 1
            self.trade(-sold, paid, 1)
        elif event == "end" and self.ended_at is None:
            self.ended_at = self.now
        elif event == "claim" and self.ended_at is not None:
            self.claimed = True
        self.shown.append(0.0 if self.claimed else self.shares)
        if event == "look":
            self.look(self.shown[-1])
        elif event == "stale look":
            # Of a trade that is not stored, only a list that is up to date could tell.
            self.look(self.shown[-1] if self.missing else self.shown[max(0, len(self.shown) - 3)])

    def trade(self, shares: float, cost: float, profit: float) -> None:
        if self.unseen and self.looked_at is None:
            self.unseen -= 1
            self.missing = True
        else:
            self.trades.append((shares, cost, profit))
            self.last_at = self.now

    def look(self, shown: float) -> None:
        """Read the list, which shows so many shares."""
        self.known = judge(
            Evidence(
                now=self.now,
                listed=Position("1", "Rain?", "YES", "YES", "7", shown, 0.5) if shown else None,
                listing_before=self.looked_at,
                before=self.known,
                flow=self.flow(),
                whole_flow=not self.missing,
                ended_at=self.ended_at,
                markets_read_at=self.now,
            )
        )
        self.looked_at = self.now

    def flow(self) -> Flow | None:
        if not self.trades:
            return None
        bought = [trade for trade in self.trades if trade[0] > 0]
        sold = [trade for trade in self.trades if trade[0] < 0]
        return Flow(
            shares_in=sum(trade[0] for trade in bought),
            cost_in=sum(trade[1] for trade in bought),
            shares_out=-sum(trade[0] for trade in sold),
            cost_out=sum(trade[1] for trade in sold),
            realized_profit=sum(trade[2] for trade in sold),
            unknown=0,
            last_at=self.last_at,
        )


def played(course: tuple[str, ...], unseen: int = 0) -> World:
    """Play a course, and look twice more when everything has come to rest."""
    world = World(unseen)
    for event in (*course, "claim", "pause", "look", "pause", "pause", "look"):
        world.step(event)
    return world


def courses(length: int) -> Iterator[tuple[str, ...]]:
    """All courses of so many steps."""
    return product(EVENTS, repeat=length)


def fault_when_all_is_known(course: tuple[str, ...]) -> str | None:
    """What is wrong where all trades are stored: shares, cost, profit, and that just what was sold is closed."""
    world = played(course)
    known = world.known
    if not world.trades:
        return None if known is None else f"{known} without a trade"
    if known is None:
        return "nothing is known"
    figures = (known.shares, known.cost, known.realized_profit or 0, known.gap)
    if figures != (world.shares, world.cost, world.realized, None):
        return f"{known} where {world.shares} shares for {world.cost} were held"
    if (known.closed_at is None) == (world.shares == 0):
        return f"{known} is closed, or open, where {world.shares} shares were held"
    return None


def fault_when_trades_are_missing(course: tuple[str, ...], unseen: int) -> str | None:
    """What is wrong where the first trades are not stored: shares and cost that are neither right nor in doubt."""
    world = played(course, unseen)
    known = world.known
    # What was closed before the end, or never listed, settles nothing.
    if known is None or known.closed_at is not None or known.gap is not None:
        return None
    if (known.shares, known.cost) != (world.shares, world.cost):
        return f"{known} where {world.shares} shares for {world.cost} were held"
    return None
