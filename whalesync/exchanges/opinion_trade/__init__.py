"""Opinion.Trade: its settings, and the way to it. What makes requests is loaded on connecting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from whalesync.errors import SettingsError
from whalesync.exchanges.base import Candidate, TradeSource
from whalesync.exchanges.opinion_trade.exact import OpinionTrades
from whalesync.settings import Setting, Settings, base_url, default_env_file, is_loopback, whole_number

if TYPE_CHECKING:
    from whalesync.exchanges.opinion_trade.api import Api


def _key(text: str) -> str | None:
    key = text.strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("has characters that no key has. Copy it again")
    return key or None


API_KEY = Setting[str | None](
    "OPINION_TRADE_API_KEY",
    "the key of Opinion.Trade; the sync jobs need it",
    _key,
    None,
    "none",
    secret=True,
)
API_URL = Setting[str](
    "WHALESYNC_API_URL",
    "base address of Opinion.Trade; https, or http on loopback only",
    base_url,
    "https://openapi.opinion.trade/openapi",
)
WEB_URL = Setting[str](
    "WHALESYNC_OPINION_WEB_URL",
    "address of Opinion.Trade's site, which is not documented; for whales discover alone",
    base_url,
    "https://proxy.opinion.trade:8443/api/bsc/api/v2",
)
RATE_LIMIT = Setting[int](
    "WHALESYNC_RATE_LIMIT",
    "requests that may arrive at Opinion.Trade in any one second, from all processes",
    whole_number(1, 10_000),
    15,
)


class OpinionTrade:
    """The exchange (``whalesync.exchanges.base.Exchange``)."""

    name: str = "opinion_trade"
    title: str = "Opinion.Trade"
    no_trades_hint: str = (
        "Opinion.Trade lists no trades of it. If it is the address of a smart wallet (Safe), track its owner instead:"
        " the wallet that is used to log in"
    )
    lists_closed_positions: bool = False
    settings: Sequence[Setting[Any]] = (API_KEY, API_URL, WEB_URL, RATE_LIMIT)

    def __init__(self) -> None:
        self.trades: TradeSource = OpinionTrades()

    def check_settings(self, settings: Settings) -> None:
        """Check the key, the address and the rate.

        Raises:
            SettingsError: one of them is missing or wrong.
        """
        for setting in self.settings:
            settings.get(setting)
        if settings.get(API_KEY) is None:
            file = settings.env_file or default_env_file()
            raise SettingsError(f"{API_KEY.name} is not set. Put {API_KEY.name}=… into {file} or into the environment.")

    def requests_per_second(self, settings: Settings) -> float:
        """How many requests the exchange allows in a second."""
        return settings.get(RATE_LIMIT)

    def discover(
        self, settings: Settings, *, by: str, period: str, limit: int, log_step: Callable[[str], None]
    ) -> list[Candidate]:
        """Read the leaderboard of the site; see ``whalesync.exchanges.base.Exchange``."""
        from whalesync.exchanges.opinion_trade.leaderboard import read

        return read(settings.get(WEB_URL), by=by, period=period, limit=limit, log_step=log_step)

    @contextmanager
    def connect(
        self, settings: Settings, *, first_backoff: float, until: float, log_step: Callable[[str], None]
    ) -> Iterator[Api]:
        """Connect to the exchange; see ``whalesync.exchanges.base.Exchange``."""
        from whalesync.exchanges.http import Client
        from whalesync.exchanges.opinion_trade.api import KEY_HEADER, Api, unwrap
        from whalesync.exchanges.rate import RateLimit

        self.check_settings(settings)
        db = settings.db.resolve()  # one rate for all who use the file, also by a link
        url = settings.get(API_URL)
        client = Client(
            url,
            {KEY_HEADER: settings.get(API_KEY) or ""},
            RateLimit(db.with_name(db.name + ".rate"), settings.get(RATE_LIMIT)),
            unwrap,
            first_backoff=first_backoff,
            until=until,
            log_step=log_step,
            title=self.title,
            loopback=is_loopback(url),
        )
        with closing(client):
            yield Api(client)


OPINION_TRADE = OpinionTrade()
