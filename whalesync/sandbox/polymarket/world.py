"""A seeded, plausible Polymarket: markets of every kind, and whales that have traded and go on trading.

Everything follows from the seed and the time alone, week by week and day by day, so a world that is built again
tomorrow continues where today's stopped.
"""

import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from ..values import DAY
from .books import Books
from .catalogue import fill, open_markets
from .whales import Whale

DAYS_AHEAD = 120
HEAVY = 10  # times as many transactions as others have


class World(NamedTuple):
    """The books, and the addresses of the wallets worth watching, in lower case."""

    books: Books
    whales: list[str]


def build_world(
    seed: int,
    *,
    clock: Callable[[], float] = time.time,
    whales: int = 5,
    days: int = 30,
    trades_per_day: float = 12,
    stalls: bool = False,
) -> World:
    """Build a world of `whales` wallets with `days` of history; its markets last for four months to come.

    A wallet makes `trades_per_day` transactions on average, the second of every four ten times as many; its rows are
    made when first asked for, as far as the clock has come. The first has the address of the first whale of
    Opinion.Trade's world of the same seed. With `stalls` the index stands still for some minutes on every third day.
    """
    books = Books(clock)
    today = int(clock() // DAY)
    first_day = today - days
    listed = fill(books, seed, first_day, today + DAYS_AHEAD)
    open_on = open_markets(listed)
    addresses = []
    for number in range(whales):
        name = f"{seed}/whale/{number}" if number == 0 else f"{seed}/polymarket whale/{number}"
        rng = Random(name)
        address = f"0x{rng.getrandbits(160):040x}"
        pace = trades_per_day * rng.uniform(0.5, 1.5) * (HEAVY if number % 4 == 1 else 1)
        whale = Whale(f"{seed}/{address}", pace, 10 ** rng.uniform(1.7, 4.0), rng.uniform(0.3, 0.9))
        books.follow(address, whale.feed(open_on, first_day))
        addresses.append(address)
    for day in range(first_day, today + DAYS_AHEAD) if stalls else ():
        rng = Random(f"{seed}/stall/{day}")
        if rng.random() < 1 / 3:
            since = day * DAY + rng.uniform(0, DAY)
            books.stall(since, since + rng.uniform(130, 900))
    return World(books, addresses)
