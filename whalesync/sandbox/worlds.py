"""The worlds of both exchanges, as of one clock."""

import time
from collections.abc import Callable
from typing import NamedTuple

from . import polymarket
from .opinion_trade.world import World, build_world


class Worlds(NamedTuple):
    """Each exchange's books and whales; the first whale of both is the same wallet."""

    opinion_trade: World
    polymarket: polymarket.World


def build_worlds(
    seed: int,
    *,
    clock: Callable[[], float] = time.time,
    binary: int = 40,
    categorical: int = 8,
    whales: int = 5,
    days: int = 30,
    trades_per_day: float = 12,
    stalls: bool = False,
) -> Worlds:
    """Build both worlds with `whales` wallets each; the parameters are those of each world's own function."""
    return Worlds(
        build_world(
            seed,
            clock=clock,
            binary=binary,
            categorical=categorical,
            whales=whales,
            days=days,
            trades_per_day=trades_per_day,
        ),
        polymarket.build_world(
            seed, clock=clock, whales=whales, days=days, trades_per_day=trades_per_day, stalls=stalls
        ),
    )
