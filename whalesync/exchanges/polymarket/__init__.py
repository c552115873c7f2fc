"""Polymarket: its settings, and the way to it. It needs no key. What makes requests is loaded on connecting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from whalesync.exchanges.base import Candidate, TradeSource
from whalesync.exchanges.polymarket.exact import PolymarketTrades
from whalesync.settings import Setting, Settings, base_url, whole_number

if TYPE_CHECKING:
    from whalesync.exchanges.polymarket.api import Api
    from whalesync.exchanges.polymarket.clients import Clients

DATA_URL = Setting[str](
    "WHALESYNC_POLYMARKET_DATA_URL",
    "base address of Polymarket's Data API; https, or http on loopback only",
    base_url,
    "https://data-api.polymarket.com/v2",
)
GAMMA_URL = Setting[str](
    "WHALESYNC_POLYMARKET_GAMMA_URL",
    "base address of Polymarket's market data (Gamma); https, or http on loopback only",
    base_url,
    "https://gamma-api.polymarket.com",
)
RATE_LIMIT = Setting[int](
    "WHALESYNC_POLYMARKET_RATE_LIMIT",
    "requests a second for Polymarket's trades, and as many for positions, from all processes of this user",
    whole_number(1, 10_000),
    18,
)

DISCOVER_SECONDS = 30.0


class Polymarket:
    """The exchange (``whalesync.exchanges.base.Exchange``)."""

    name: str = "polymarket"
    title: str = "Polymarket"
    no_trades_hint: str = (
        "Polymarket lists no trades of it. If it is the address that signs, track its proxy wallet instead: the"
        " address that the profile page on polymarket.com shows"
    )
    lists_closed_positions: bool = True
    settings: Sequence[Setting[Any]] = (DATA_URL, GAMMA_URL, RATE_LIMIT)

    def __init__(self) -> None:
        self.trades: TradeSource = PolymarketTrades()

    def check_settings(self, settings: Settings) -> None:
        """Check the addresses and the rate.

        Raises:
            SettingsError: one of them is wrong.
        """
        for setting in self.settings:
            settings.get(setting)

    def requests_per_second(self, settings: Settings) -> float:
        """How many requests for trades the exchange allows in a second."""
        return settings.get(RATE_LIMIT)

    def discover(
        self, settings: Settings, *, by: str, period: str, limit: int, log_step: Callable[[str], None]
    ) -> list[Candidate]:
        """Read the public leaderboard; see ``whalesync.exchanges.base.Exchange``."""
        until = time.monotonic() + DISCOVER_SECONDS
        with self.connect(settings, first_backoff=0.5, until=until, log_step=log_step) as connection:
            return connection.fetch_leaderboard(by=by, period=period, limit=limit)

    @contextmanager
    def connect(
        self, settings: Settings, *, first_backoff: float, until: float, log_step: Callable[[str], None]
    ) -> Iterator[Api]:
        """Connect to the exchange; see ``whalesync.exchanges.base.Exchange``."""
        from whalesync.exchanges.polymarket.api import Api

        with self.clients(settings, first_backoff=first_backoff, until=until, log_step=log_step) as clients:
            yield Api(clients, log_step)

    @contextmanager
    def clients(
        self, settings: Settings, *, first_backoff: float, until: float, log_step: Callable[[str], None]
    ) -> Iterator[Clients]:
        """The HTTP clients alone, for those who make other requests than the jobs do; parameters as for ``connect``."""
        from whalesync.exchanges.polymarket.clients import Clients

        self.check_settings(settings)
        clients = Clients(
            settings.get(DATA_URL),
            settings.get(GAMMA_URL),
            settings.get(RATE_LIMIT),
            settings.db,
            title=self.title,
            first_backoff=first_backoff,
            until=until,
            log_step=log_step,
        )
        with closing(clients):
            yield clients


POLYMARKET = Polymarket()
