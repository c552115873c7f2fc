"""Wallets that trade without end; each day follows from the seed and its date alone."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from .books import DAY, Feed
from .prices import Path, price
from .wire import Record, decimal18, digest, make_trade


@dataclass(frozen=True, slots=True)
class Traded:
    """A binary market or a child in which whales trade; `root` is its topic, or itself."""

    market: Record
    root: Record
    path: Path


OpenOn = Callable[[int], list[Traded]]
"""The markets in which one can trade on a whole day, counted since 1970."""


def open_markets(traded: list[Traded]) -> OpenOn:
    """The function that says which markets are open on a day; its answers are cached."""

    @lru_cache(maxsize=400)
    def open_on(day: int) -> list[Traded]:
        start, end = day * DAY, (day + 1) * DAY
        return [each for each in traded if each.market["createdAt"] <= start and end <= each.path.closes]

    return open_on


@dataclass(frozen=True, slots=True)
class Whale:
    """A wallet: transactions a day, and dollars of a usual fill."""

    seed: str
    pace: float
    dollars: float

    def trades(self, open_on: OpenOn, first_day: int) -> Feed:
        """All its trades from a day (counted since 1970) on, without end."""
        for day in itertools.count(first_day):
            if markets := open_on(day):
                yield from self._day(day, markets)

    def _day(self, day: int, markets: list[Traded]) -> Feed:
        rng = Random(f"{self.seed}/{day}")
        # Also below one a day: the fraction becomes a chance.
        count = int(self.pace * rng.uniform(0.5, 1.5) + rng.random())
        for second in sorted(rng.randrange(DAY) for _ in range(count)):
            at = day * DAY + second
            # Sometimes several transactions in one second.
            for place in range(rng.choice((2, 3)) if rng.random() < 0.08 else 1):
                yield from self._transaction(rng, at, place, rng.choice(markets))

    def _transaction(self, rng: Random, at: int, place: int, traded: Traded) -> Feed:
        """One transaction: mostly one fill, sometimes several, sometimes identical ones, sometimes shown late."""
        shape = rng.random()
        fills = [self._fill(rng, at, place, traded) for _ in range(rng.randint(2, 4) if shape < 0.1 else 1)]
        if shape > 0.95:
            fills *= 2
        visible_at = at + rng.uniform(60, 900) if rng.random() < 0.05 else at
        for fill in fills:
            yield fill, visible_at

    def _fill(self, rng: Random, at: int, place: int, traded: Traded) -> Record:
        side = rng.choices(("Buy", "Sell", "Merge", "Split"), (62, 34, 2, 2))[0]
        # A Merge or Split is of a YES and a NO for a dollar: there is no price, and it is booked under YES.
        pair = side in ("Merge", "Split")
        yes = pair or rng.random() < 0.6
        thousandths = 1000 if pair else traded.path.thousandths(at, yes)
        # What is sold was bought two days before.
        gain = thousandths - traded.path.thousandths(at - 2 * DAY, yes) if side == "Sell" else 0
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
            price="0" if pair else price(thousandths),
            shares=f"{hundredths / 100:.2f}",
            amount=decimal18(f"{thousandths * hundredths / 100_000:.5f}"),
            fee=f"{thousandths * hundredths / 10_000_000:.6f}",
            profit=f"{gain * hundredths / 100_000:.5f}",
            statusEnum=rng.choice(("Filled", "Finished")),
            createdAt=at,
        )
