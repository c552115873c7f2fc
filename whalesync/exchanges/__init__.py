"""The exchanges: one package and one entry here for each."""

from __future__ import annotations

from whalesync.exchanges.base import Exchange
from whalesync.exchanges.opinion_trade import OPINION_TRADE

EXCHANGES: dict[str, Exchange] = {exchange.name: exchange for exchange in (OPINION_TRADE,)}
"""By name, in the order in which they are served."""

DEFAULT_EXCHANGE = OPINION_TRADE.name
