"""Prices that move over time as a pure function of it, and the order books around them."""

import math
from dataclasses import dataclass
from random import Random

from .books import DAY, Books, LastTrade, Levels
from .wire import Record

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


def quote(books: Books, market: Record, path: Path) -> None:
    """Give both tokens of a market prices and order books."""
    for token, yes in ((market["yesTokenId"], True), (market["noTokenId"], False)):
        _quote(books, token, path, yes)


def _quote(books: Books, token_id: str, path: Path, yes: bool) -> None:
    def last_trade(at: float) -> LastTrade:
        at = path.last_tick(at)
        number = int(at // TICK)
        # The exchange was seen to write the side in either way.
        side = "BUY" if number % 2 else "sell-limit"
        return LastTrade(price(path.thousandths(at, yes)), at, side, size=str(10 + number % 490))

    def book(at: float) -> tuple[Levels, Levels]:
        if at >= path.closes:
            return (), ()
        middle = path.thousandths(at, yes)
        steps = (1, 2, 4, 8, 15, 30)
        bids = [(price(middle - step), str(100 * step)) for step in steps if middle - step > 0]
        asks = [(price(middle + step), str(150 * step)) for step in steps if middle + step < 1000]
        return bids, asks

    books.set_price(token_id, last_trade)
    books.set_book_path(token_id, book)


def price(thousandths: int) -> str:
    """A price as the exchange writes it: 0.65, not 0.650."""
    return f"{thousandths / 1000:.3f}".rstrip("0")
