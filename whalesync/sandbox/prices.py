"""Prices that move over time as a pure function of it."""

import math
from dataclasses import dataclass
from random import Random

from .values import DAY

TICK = 300  # seconds: how often each token with a price is traded by anybody


@dataclass(frozen=True, slots=True)
class Path:
    """The price of YES over time: a wave around `base` that nears the outcome in the last three days."""

    base: float  # thousandths of a dollar
    period: float  # of the wave, in seconds
    closes: float  # Unix seconds, infinity if never
    wins: bool

    def last_tick(self, at: float) -> float:
        """When the last trade up to `at` was made, in Unix seconds: none is made after the close."""
        return min(at, self.closes) // TICK * TICK

    def thousandths(self, at: float, yes: bool = True) -> int:
        """The price of YES or NO at a Unix second, in thousandths of a dollar, 1 to 999; together they are a dollar."""
        at = self.last_tick(at)
        ending = max(0.0, 1 - (self.closes - at) / (3 * DAY))
        wave = self.base * (1 + 0.3 * math.sin(at / self.period))
        price = min(999, max(1, round(wave + ending * (1000 * self.wins - wave))))
        return price if yes else 1000 - price


def some_path(rng: Random, base: float, closes: float, wins: bool) -> Path:
    """A path with a wave of hours to days."""
    return Path(base, DAY * rng.uniform(0.1, 2), closes, wins)
