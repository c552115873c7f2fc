"""Wallets that trade for ever, day by day, each day following from the seed and its date alone."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from .books import DAY, Feed
from .prices import Path, price
from .wire import Record, decimal18, digest, make_trade

OpenOn = Callable[[int], list["Traded"]]
"""The markets in which one can trade on a day, counted since 1970."""


@dataclass(frozen=True, slots=True)
class Traded:
    """A binary market or a child in which whales trade."""

    market: Record
    root: Record
    path: Path


def open_markets(traded: list[Traded]) -> OpenOn:
    """Whole days only; the wallets share the answers."""

    @lru_cache(maxsize=400)
    def open_on(day: int) -> list[Traded]:
        start, end = day * DAY, (day + 1) * DAY
        return [each for each in traded if each.market["createdAt"] <= start and end <= each.path.closes]

    return open_on


@dataclass(frozen=True, slots=True)
class Whale:
    """A wallet with habits: transactions a day, and dollars for a usual fill."""

    seed: str
    pace: float
    dollars: float

    def trades(self, open_on: OpenOn, first_day: int) -> Feed:
        """All its trades from a day (counted since 1970) on, without end."""
        for day in itertools.count(first_day):
            if markets := open_on(day):
                yield from self._day(day, markets)

    def _day(self, day: int, markets: list[Traded]) -> Feed:
        """A day's trades depend on nothing but the seed and the day."""
        rng = Random(f"{self.seed}/{day}")
        # Also below one a day: the fraction becomes a chance.
        count = int(self.pace * rng.uniform(0.5, 1.5) + rng.random())
        for second in sorted(rng.randrange(DAY) for _ in range(count)):
            at = day * DAY + second
            # Now and then several transactions in one second.
            for place in range(rng.choice((2, 3)) if rng.random() < 0.08 else 1):
                yield from self._transaction(rng, at, place, rng.choice(markets))

    def _transaction(self, rng: Random, at: int, place: int, traded: Traded) -> Feed:
        """One transaction: mostly one fill, sometimes several, sometimes twins, sometimes shown late."""
        shape = rng.random()
        fills = [self._fill(rng, at, place, traded) for _ in range(rng.randint(2, 4) if shape < 0.1 else 1)]
        if shape > 0.95:
            fills *= 2
        visible_at = at + rng.uniform(60, 900) if rng.random() < 0.05 else at
        for fill in fills:
            yield fill, visible_at

    def _fill(self, rng: Random, at: int, place: int, traded: Traded) -> Record:
        yes = rng.random() < 0.6
        side = rng.choices(("Buy", "Sell", "Merge", "Split"), (62, 34, 2, 2))[0]
        thousandths = traded.path.thousandths(at)
        # Sold is what was bought two days ago.
        gain = thousandths - traded.path.thousandths(at - 2 * DAY)
        if not yes:
            thousandths, gain = 1000 - thousandths, -gain
        if side in ("Merge", "Split"):
            # A YES and a NO for a dollar or back: no price is paid, and it is booked under YES.
            yes, thousandths, gain = True, 1000, 0
        hundredths = max(100, int(100_000 * self.dollars * rng.lognormvariate(0, 0.8) / thousandths))
        return make_trade(
            txHash="0x" + digest(self.seed, at, place),
            marketId=traded.market["marketId"],
            marketTitle=traded.market["marketTitle"],
            rootMarketId=traded.root["marketId"],
            rootMarketTitle=traded.root["marketTitle"],
            side=side,
            outcome=traded.market["yesLabel" if yes else "noLabel"],
            outcomeSide=1 if yes else 2,
            price="0" if side in ("Merge", "Split") else price(thousandths),
            shares=f"{hundredths / 100:.2f}",
            amount=decimal18(f"{thousandths * hundredths / 100_000:.5f}"),
            fee=f"{thousandths * hundredths / 10_000_000:.6f}",
            profit=f"{gain * hundredths / 100_000:.5f}" if side == "Sell" else "0",
            statusEnum=rng.choice(("Filled", "Finished")),
            createdAt=at,
        )
