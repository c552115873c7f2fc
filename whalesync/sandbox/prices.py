"""Prices that wander over time as a pure function of it, and the order books around them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .books import DAY, Books, LastTrade, Levels
from .wire import Record

# Somebody or other trades in every priced token about this often, in seconds.
TICK = 300


@dataclass(frozen=True, slots=True)
class Path:
    """The price of YES over time: it wanders, and nears the outcome when the end comes near."""

    base: float  # log odds
    waves: tuple[tuple[float, float, float], ...]  # amplitude in log odds, period in seconds, phase
    closes: float  # Unix seconds, infinity if never
    pull: float  # log odds towards the outcome, growing over the last three days

    def last_tick(self, at: float) -> float:
        """When the last trade up to `at` was made, in Unix seconds: none is made after the close."""
        return min(at, self.closes) // TICK * TICK

    def thousandths(self, at: float) -> int:
        """The price of YES at a Unix second, in thousandths of a dollar, 1 to 999."""
        at = self.last_tick(at)
        ending = max(0.0, 1 - (self.closes - at) / (3 * DAY))
        odds = self.base + ending * self.pull
        odds += sum(size * math.sin(at / period + phase) for size, period, phase in self.waves)
        return min(999, max(1, round(1000 / (1 + math.exp(-odds)))))


def wander(rng: Random, closes: float, base: float) -> Path:
    """A path with its own waves of about three weeks, four days and a third of a day."""
    waves = tuple(
        (rng.uniform(*size), days * DAY / (2 * math.pi) * rng.uniform(0.7, 1.3), rng.uniform(0, 6.3))
        for size, days in (((0.2, 0.8), 21), ((0.1, 0.4), 4), ((0.02, 0.1), 0.3))
    )
    return Path(base, waves, closes, pull=rng.choice((-6.0, 6.0)))


def quote(books: Books, market: Record, path: Path) -> None:
    """Give both tokens of a market prices and order books; a YES and a NO are worth a dollar together."""

    def yes(at: float) -> int:
        return path.thousandths(at)

    def no(at: float) -> int:
        return 1000 - path.thousandths(at)

    for token, thousandths in ((market["yesTokenId"], yes), (market["noTokenId"], no)):
        books.set_price_path(token, _last_trades(path, thousandths))
        books.set_book_path(token, _book(path, thousandths))


def _last_trades(path: Path, thousandths: Callable[[float], int]) -> Callable[[float], LastTrade]:
    def last_trade(at: float) -> LastTrade:
        at = path.last_tick(at)
        number = int(at // TICK)
        # The exchange was seen to write the side in either way.
        side = "BUY" if number % 2 else "sell-limit"
        return LastTrade(price(thousandths(at)), at, side, size=str(10 + number % 490))

    return last_trade


def _book(path: Path, thousandths: Callable[[float], int]) -> Callable[[float], tuple[Levels, Levels]]:
    def book(at: float) -> tuple[Levels, Levels]:
        if at >= path.closes:
            return (), ()
        middle = thousandths(at)
        levels = [(step, str(100 + 37 * step * (middle % 7 + 1))) for step in (1, 2, 4, 8, 15, 30)]
        bids = [(price(middle - step), size) for step, size in levels if middle - step > 0]
        asks = [(price(middle + step), size) for step, size in levels if middle + step < 1000]
        return bids, asks

    return book


def price(thousandths: int) -> str:
    """A price as the exchange writes it: 0.65, not 0.650."""
    return f"{thousandths / 1000:.3f}".rstrip("0")
