"""The exchanges: one package and one entry here for each."""

from __future__ import annotations

from whalesync.exchanges.base import Exchange
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.settings import SETTINGS, Settings

EXCHANGES: dict[str, Exchange] = {exchange.name: exchange for exchange in (OPINION_TRADE,)}
"""By name, in the order in which they are served."""

DEFAULT_EXCHANGE = OPINION_TRADE.name


def secrets_of(settings: Settings) -> list[str]:
    """Return the values of all secret settings, those of every exchange included."""
    declared = [*SETTINGS, *(setting for exchange in EXCHANGES.values() for setting in exchange.settings)]
    return [text for each in declared if each.secret and (text := settings.values.get(each.name, "").strip())]
