"""The exchanges: one package and one entry here for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from whalesync.exchanges.base import Exchange
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.exchanges.polymarket import POLYMARKET
from whalesync.settings import SETTINGS, Setting, Settings

EXCHANGES: dict[str, Exchange] = {exchange.name: exchange for exchange in (OPINION_TRADE, POLYMARKET)}
"""By name, in the order in which they are served."""

DEFAULT_EXCHANGE = OPINION_TRADE.name


def title_of(name: str) -> str:
    """Return what an exchange is called; its name, if a newer version stored it."""
    return EXCHANGES[name].title if name in EXCHANGES else name


def key_of(exchange: Exchange) -> Setting[Any] | None:
    """Return the setting of an exchange's key, if it needs one."""
    return next((setting for setting in exchange.settings if setting.secret), None)


def asked_for(platforms: Iterable[str]) -> list[Exchange]:
    """Return the exchanges that are asked when the watch list has wallets of these; for an empty one, the default."""
    watched = set(platforms) or {DEFAULT_EXCHANGE}
    return [exchange for name, exchange in EXCHANGES.items() if name in watched]


def all_settings() -> list[Setting[Any]]:
    """Return the settings of the program, then those of each exchange."""
    return [*SETTINGS, *(setting for exchange in EXCHANGES.values() for setting in exchange.settings)]


def secrets_of(settings: Settings) -> list[str]:
    """Return the values of all secret settings, those of every exchange included."""
    return [text for each in all_settings() if each.secret and (text := settings.values.get(each.name, "").strip())]
