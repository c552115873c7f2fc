"""Opinion.Trade's endpoints: paths, parameters, the envelope and its error numbers. Facts: see ``parsing``."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from whalesync.errors import (
    AuthenticationError,
    InvalidResponse,
    NotServed,
    RateLimited,
    RequestRefused,
    ServerError,
    UnknownMarket,
)
from whalesync.exchanges.base import Catalog, Holdings
from whalesync.exchanges.http import Client
from whalesync.exchanges.opinion_trade import markets, positions
from whalesync.exchanges.opinion_trade.lists import ListQuery
from whalesync.exchanges.opinion_trade.pages import LARGEST_PAGE, PageRequest, TradePage
from whalesync.exchanges.opinion_trade.parsing.markets import (
    MarketDetail,
    MarketPage,
    parse_detail,
    parse_liquidity,
    parse_markets,
    parse_price,
)
from whalesync.exchanges.opinion_trade.parsing.wallets import PositionPage, parse_positions, parse_trades
from whalesync.records import ACTIVATED

KEY_HEADER = "apikey"

ALL_TYPES = 2  # binary and categorical; the default would leave out the categorical ones
BY_NEWEST = 1

AUTHENTICATION_NUMBERS = (11001, 11002, 401)
TRADING_NOT_ENABLED = 10014
GEOBLOCKED = 10403
UNKNOWN_MARKET = 10200
NOBODY = "0x" + 40 * "0"


class Api:
    """The connection (``whalesync.exchanges.base.Connection``). Each ``fetch_*`` is one request, with its retries.

    Raises (every ``fetch_*``): OutOfTime, and every ExchangeError but ExchangeChanged.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def fetch_trades(self, wallet: str, request: PageRequest) -> TradePage:
        """A page of a wallet's trades, newest first."""
        result = self._client.get(f"/trade/user/{wallet}", {"page": request.number, "limit": request.limit})
        return parse_trades(result, request.limit)

    def count_trades(self, wallet: str) -> int:
        """How many trades the exchange lists of a wallet."""
        return self.fetch_trades(wallet, PageRequest(limit=1, number=1)).total

    def fetch_markets(self, query: ListQuery, number: int) -> MarketPage:
        """Page ``number`` (from 1) of a list of markets, newest first."""
        params: dict[str, Any] = {"page": number, "limit": LARGEST_PAGE, "marketType": ALL_TYPES, "sortBy": BY_NEWEST}
        if query.collection is not None:
            params["collectionType"] = query.collection
        if query.only_open:
            params["status"] = ACTIVATED
        return parse_markets(self._client.get("/market", params), LARGEST_PAGE)

    def fetch_market(self, external_id: str) -> MarketDetail:
        """A binary market or a child. Raises UnknownMarket, as the next two."""
        return parse_detail(self._client.get(f"/market/{external_id}", {}))

    def fetch_topic(self, external_id: str) -> MarketDetail:
        """A topic with all its children."""
        return parse_detail(self._client.get(f"/market/categorical/{external_id}", {}))

    def fetch_by_slug(self, slug: str) -> MarketDetail:
        """A binary market or a topic; the slug of a child leads to its topic."""
        return parse_detail(self._client.get(f"/market/slug/{quote(slug, safe='')}", {}))

    def fetch_price(self, token_id: str) -> float | None:
        """The latest price of a token, from 0 to 1; None if it never traded. Some of those are refused instead."""
        return parse_price(self._client.get("/token/latest-price", {"token_id": token_id}))

    def fetch_liquidity(self, token_id: str) -> float:
        """USD resting in a token's order book, on both sides. A token without a book is refused."""
        return parse_liquidity(self._client.get("/token/orderbook", {"token_id": token_id}))

    def fetch_positions(self, wallet: str, number: int) -> PositionPage:
        """Page ``number`` (from 1) of what a wallet holds, the most shares first."""
        result = self._client.get(f"/positions/user/{wallet}", {"page": number, "limit": LARGEST_PAGE})
        return parse_positions(result, LARGEST_PAGE)

    def list_positions(self, wallet: str) -> Holdings:
        """Read all pages of a wallet's positions; see ``positions``."""
        return positions.read_all(lambda number: self.fetch_positions(wallet, number))

    def list_closed_positions(self, wallet: str, since: int) -> Holdings:
        """None: they leave the list, sooner or later."""
        return Holdings([], [], complete=True, requests=0)

    def exchange_time(self) -> int | None:
        """The exchange's own clock now (ms), as its latest response gave it; None if none did. No request."""
        return self._client.latest_date

    def trouble(self) -> str | None:
        """Nothing: the exchange does not say."""
        return None

    def sync_markets(self, catalog: Catalog) -> str:
        """Bring the markets up to date; see ``markets``."""
        return markets.MarketSync(self, catalog).run()

    def check(self) -> None:
        """Make one request that needs the key."""
        self.count_trades(NOBODY)


def unwrap(status: int, body: Any) -> Any:
    """The result inside the envelope, in either of its spellings, or the error in it.

    Raises:
        ExchangeError: the exchange refuses the request, or the envelope is not one.
    """
    number: Any = status if status >= 400 else 0
    message = ""
    if isinstance(body, dict):
        stated = body.get("errno", body.get("code"))
        if isinstance(stated, str) and stated.isascii() and stated.isdigit():
            stated = int(stated[:9])
        if (stated is None and status == 200) or not isinstance(stated, (int, str, type(None))):
            raise InvalidResponse("Opinion.Trade: the response has no error number")
        number = stated or number
        message = str(body.get("errmsg") or body.get("msg") or "")[:200]
    elif status == 200:
        raise InvalidResponse("Opinion.Trade: the response is not the agreed envelope")
    if number == 0:
        return body.get("result")
    reason = f"{str(number)[:20]} {message if message.isprintable() else ''}".rstrip()
    if number == UNKNOWN_MARKET:
        raise UnknownMarket(f"Opinion.Trade knows no such market ({reason})")
    if number == GEOBLOCKED:
        raise NotServed(f"Opinion.Trade does not serve the country of this host ({reason}). Run it elsewhere.")
    if number == TRADING_NOT_ENABLED:
        raise AuthenticationError(
            f"Opinion.Trade serves no account without a trading wallet ({reason}). Enable trading once on its site,"
            " with the account of the key."
        )
    if number in AUTHENTICATION_NUMBERS or status in (401, 403):
        raise AuthenticationError(f"Opinion.Trade rejected the API key ({reason}). Check OPINION_TRADE_API_KEY.")
    if number == 429:
        raise RateLimited(f"Opinion.Trade answered {reason} (too many requests)")
    if isinstance(number, int) and 500 <= number < 600:
        raise ServerError(f"Opinion.Trade answered {reason} (server error)")
    raise RequestRefused(f"Opinion.Trade refused the request ({reason})")
