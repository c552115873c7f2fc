"""The exchange's own books: what really happened, whatever a client made of it.

Everything stays in the shape of the wire, so that a test can compare a client's database with what the
exchange itself holds, and nothing between the two could make the same mistake twice.
"""

import heapq
import itertools
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .wire import BINARY, CATEGORICAL, STATUSES, Record

DAY = 86_400
PAGE_SIZE, LARGEST_PAGE = 10, 20
ALL_TYPES = 2
MOST_HISTORY_POINTS = 1_000


class Refused(Exception):
    """The exchange declines a request, with its error `number` under the HTTP `status`."""

    def __init__(self, number: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.number = number
        # What the exchange refuses was seen under HTTP 200.
        self.status = status


class LastTrade(NamedTuple):
    """The last trade anybody made in a token: what the exchange calls its price."""

    price: str
    traded_at: float
    side: str = "BUY"
    size: str = "100"


Levels = Sequence[tuple[str, str]]
"""One side of an order book as (price, size) pairs of decimal strings."""
PricePath = Callable[[float], LastTrade | None]
BookPath = Callable[[float], tuple[Levels, Levels]]
Feed = Iterator[tuple[Record, float]]
"""Trades in order of `createdAt`, each with the Unix second from which it shows in the wallet's list."""


class _Fill(NamedTuple):
    """A trade with what sorts it; `serial` keeps the order of arrival among equal seconds."""

    created_at: int
    serial: int
    visible_at: float
    trade: Record


@dataclass
class _Account:
    fills: list[_Fill] = field(default_factory=list)
    feed: Feed = field(default_factory=lambda: iter(()))
    upcoming: tuple[Record, float] | None = None


class Books:
    """Markets, prices, order books and trades, as they stand at the clock's now.

    Safe to use from many threads. Records are copied on their way in and on their way out.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._markets: dict[int, Record] = {}
        self._tops: dict[int, Record] = {}
        self._conditions: dict[str, str] = {}
        self._changes: list[tuple[float, int, int, Record]] = []
        self._prices: dict[str, list[tuple[float, PricePath]]] = {}
        self._books: dict[str, BookPath] = {}
        self._accounts: dict[str, _Account] = {}
        self._serial = itertools.count()

    # Filling the books

    def add_market(self, market: Record) -> None:
        """Add a top-level market with its children, or put it in the place of the one with the same id."""
        market = _copy(market)
        with self._lock:
            self._tops[market["marketId"]] = market
            for each in (market, *(market.get("childMarkets") or ())):
                self._markets[each["marketId"]] = each
                for token in (each.get("yesTokenId"), each.get("noTokenId")):
                    if token:
                        self._conditions[token] = each.get("conditionId", "")

    def update_market(self, market_id: int, at: float = 0.0, **fields: Any) -> None:
        """Change fields of a market or child once the clock reaches `at`; `statusEnum` follows `status`."""
        if "status" in fields:
            fields.setdefault("statusEnum", STATUSES.get(fields["status"], ""))
        with self._lock:
            if market_id not in self._markets:
                raise KeyError(market_id)
            heapq.heappush(self._changes, (at, next(self._serial), market_id, fields))

    def set_price(self, token_id: str, price: str | None) -> None:
        """Set the price from now on; None: as if the token had never traded."""
        now = self.clock()
        last = None if price is None else LastTrade(price, now)
        self.set_price_path(token_id, lambda at: last, since=now)

    def set_price_path(self, token_id: str, path: PricePath, since: float = 0.0) -> None:
        """Let the price follow `path`, which is asked for the last trade up to a Unix second."""
        with self._lock:
            self._prices.setdefault(token_id, []).append((since, path))

    def set_book(self, token_id: str, bids: Levels, asks: Levels) -> None:
        """Set an order book; the levels may come in any order."""
        self.set_book_path(token_id, lambda at: (bids, asks))

    def set_book_path(self, token_id: str, path: BookPath) -> None:
        """Let an order book follow `path`, which is asked for (bids, asks) at a Unix second."""
        with self._lock:
            self._books[token_id] = path

    def add_trade(self, wallet: str, trade: Record, visible_at: float = 0.0) -> None:
        """Add a trade, shown from the Unix second `visible_at` on: past `createdAt` makes a late fill."""
        with self._lock:
            account = self._accounts.setdefault(wallet.lower(), _Account())
            insort(account.fills, _Fill(trade["createdAt"], next(self._serial), visible_at, dict(trade)))

    def remove_trade(self, wallet: str, trade: Record) -> None:
        """Take away one trade equal to this one, so that the total shrinks; ValueError if there is none."""
        with self._lock:
            fills = self._caught_up(wallet)
            fills.pop([fill.trade for fill in fills].index(trade))

    def follow(self, wallet: str, feed: Feed) -> None:
        """Let a wallet trade on its own; an endless feed is read only as far as the clock has come."""
        with self._lock:
            account = self._accounts.setdefault(wallet.lower(), _Account())
            account.feed, account.upcoming = feed, next(feed, None)

    # Reading them

    def markets(self) -> list[Record]:
        """Every top-level market with its children, in the order of adding."""
        with self._lock:
            self._apply_changes()
            return [_copy(market) for market in self._tops.values()]

    def market(self, market_id: int) -> Record:
        """A binary market or a child."""
        with self._lock:
            self._apply_changes()
            found = self._markets.get(market_id)
            if found is None or found.get("marketType") == CATEGORICAL:
                raise Refused(404, "market not found")
            return _copy(found)

    def categorical(self, market_id: int) -> Record:
        """A categorical market with its children."""
        with self._lock:
            self._apply_changes()
            found = self._tops.get(market_id)
            if found is None or found.get("marketType") != CATEGORICAL:
                raise Refused(404, "categorical market not found")
            return _copy(found)

    def market_page(
        self,
        page: int = 1,
        limit: int = PAGE_SIZE,
        *,
        status: str | None = None,
        market_type: int = BINARY,
        sort_by: int = 0,
        chain_id: str | None = None,
    ) -> Record:
        """A page of top-level markets; a child is found with its parent, whose own status decides."""
        if status not in (None, "activated", "resolved"):
            raise Refused(400, "status must be activated or resolved")
        if market_type not in (BINARY, CATEGORICAL, ALL_TYPES):
            raise Refused(400, "marketType must be 0, 1 or 2")
        with self._lock:
            self._apply_changes()
            found = [
                market
                for market in self._tops.values()
                if market_type in (ALL_TYPES, market.get("marketType", BINARY))
                and status in (None, str(market.get("statusEnum")).lower())
                and chain_id in (None, market.get("chainId"))
            ]
            window = _page(_sorted(found, sort_by), page, limit)
            return {"total": len(found), "list": [_copy(market) for market in window]}

    def trades(self, wallet: str) -> list[Record]:
        """What the wallet's list shows now: newest first, of equal seconds the one added last first."""
        return [dict(trade) for trade in self._visible(wallet)]

    def trade_page(
        self,
        wallet: str,
        page: int = 1,
        limit: int = PAGE_SIZE,
        *,
        market_id: int | None = None,
        chain_id: str | None = None,
    ) -> Record:
        """A page of a wallet's trades; of a wallet nobody knows, an empty one."""
        found = [
            trade
            for trade in self._visible(wallet)
            if market_id in (None, trade.get("marketId")) and chain_id in (None, trade.get("chainId"))
        ]
        return {"total": len(found), "list": [dict(trade) for trade in _page(found, page, limit)]}

    def latest_price(self, token_id: str) -> Record | None:
        """The last trade in a token, its `timestamp` in milliseconds; None if it never traded."""
        with self._lock:
            self._condition(token_id)
            last = self._last_trade(token_id, self.clock())
        if last is None:
            return None
        return {
            "tokenId": token_id,
            "price": last.price,
            "side": last.side,
            "size": last.size,
            "timestamp": int(last.traded_at * 1000),
        }

    def order_book(self, token_id: str) -> Record:
        """Bids by price falling, asks rising; `timestamp` in milliseconds."""
        with self._lock:
            now = self.clock()
            condition = self._condition(token_id)
            path = self._books.get(token_id)
            bids, asks = path(now) if path else ((), ())
        return {
            "market": condition,
            "tokenId": token_id,
            "timestamp": int(now * 1000),
            "bids": _levels(bids, falling=True),
            "asks": _levels(asks, falling=False),
        }

    def price_history(
        self, token_id: str, interval: str = "1d", start_at: float | None = None, end_at: float | None = None
    ) -> Record:
        """Prices at whole hours or days, oldest first, times in seconds; intervals but "1h" mean a day."""
        step = 3600 if interval == "1h" else DAY
        with self._lock:
            self._condition(token_id)
            end = self.clock() if end_at is None else min(end_at, self.clock())
            start = end - 30 * step if start_at is None else start_at
            first = max(-(-start // step), end // step - MOST_HISTORY_POINTS + 1)
            moments = [int(number * step) for number in range(int(first), int(end // step) + 1)]
            lasts = [(at, self._last_trade(token_id, at)) for at in moments]
        return {"history": [{"t": at, "p": last.price} for at, last in lasts if last is not None]}

    def _visible(self, wallet: str) -> list[Record]:
        with self._lock:
            now = self.clock()
            return [fill.trade for fill in reversed(self._caught_up(wallet)) if fill.visible_at <= now]

    # Keeping up with the clock: the caller holds the lock

    def _apply_changes(self) -> None:
        now = self.clock()
        while self._changes and self._changes[0][0] <= now:
            _, _, market_id, fields = heapq.heappop(self._changes)
            self._markets[market_id].update(fields)

    def _caught_up(self, wallet: str) -> list[_Fill]:
        account = self._accounts.get(wallet.lower())
        if account is None:
            return []
        now = self.clock()
        while account.upcoming and account.upcoming[0]["createdAt"] <= now:
            self.add_trade(wallet, *account.upcoming)
            account.upcoming = next(account.feed, None)
        return account.fills

    def _last_trade(self, token_id: str, at: float) -> LastTrade | None:
        for since, path in reversed(self._prices.get(token_id, [])):
            if since <= at:
                return path(at)
        return None

    def _condition(self, token_id: str) -> str:
        if token_id not in self._conditions:
            raise Refused(404, "token not found")
        return self._conditions[token_id]


def _copy(market: Record) -> Record:
    children = market.get("childMarkets")
    return market | ({"childMarkets": [dict(child) for child in children]} if children else {})


def _page(records: Sequence[Record], page: int, limit: int) -> Sequence[Record]:
    if not 1 <= limit <= LARGEST_PAGE:
        raise Refused(400, f"limit must be between 1 and {LARGEST_PAGE}")
    if page < 1:
        raise Refused(400, "page must be at least 1")
    return records[(page - 1) * limit : page * limit]


def _sorted(markets: list[Record], sort_by: int) -> list[Record]:
    """Sort as the exchange's `sortBy` numbers say; 0, the default, leaves the order of adding."""
    match sort_by:
        case 0:
            return markets
        case 1:
            return sorted(markets, key=lambda market: -int(market["createdAt"]))
        case 2:
            # A market without a cut-off never ends: last, not first.
            return sorted(markets, key=lambda market: market["cutoffAt"] or float("inf"))
        case 3 | 4 | 5 | 6 | 7 | 8:
            name = ("volume", "volume24h", "volume7d")[(sort_by - 3) // 2]
            return sorted(markets, key=lambda market: float(market[name]), reverse=sort_by % 2 == 1)
    raise Refused(400, "sortBy must be between 0 and 8")


def _levels(levels: Iterable[tuple[str, str]], *, falling: bool) -> list[Record]:
    ordered = sorted(levels, key=lambda level: float(level[0]), reverse=falling)
    return [{"price": price, "size": size} for price, size in ordered]
