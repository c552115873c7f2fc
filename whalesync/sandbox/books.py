"""What the exchange holds, and how it answers each request.

Everything stays in the shape of the wire, so that a test can compare a client's database with what the exchange
itself holds, and nothing between the two could make the same mistake twice.
"""

import heapq
import itertools
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .wire import BINARY, CATEGORICAL, STATUSES, Record

DAY = 86_400
PAGE_SIZE, LARGEST_PAGE = 10, 20
ALL_TYPES = 2
UNKNOWN_ID = 10200


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


Query = Mapping[str, str | int]
Levels = Sequence[tuple[str, str]]
"""One side of an order book as (price, size) pairs of decimal strings."""
PricePath = Callable[[float], LastTrade | None]
"""The last trade up to a Unix second."""
BookPath = Callable[[float], tuple[Levels, Levels]]
"""Bids and asks at a Unix second."""
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


_Key = tuple[int | None, int]
"""Topics (`marketType` 1) and tradeable markets are numbered apart, so a number may mean one of each."""


class Books:
    """Markets, prices, order books and trades, as of the clock's now (Unix seconds).

    Threads may share it. Records are copied on their way in and on their way out.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._listed: dict[_Key, Record] = {}
        self._records: dict[_Key, Record] = {}
        self._conditions: dict[str, str] = {}
        self._changes: list[tuple[float, int, _Key, Record]] = []
        self._prices: dict[str, PricePath] = {}
        self._books: dict[str, BookPath] = {}
        self._accounts: dict[str, _Account] = {}
        self._serial = itertools.count()

    # Filling the books

    def add_market(self, market: Record) -> None:
        """Add a binary market, or a topic with its children, or replace the one of the same kind and number."""
        market = _copy(market)
        with self._lock:
            self._listed[_key(market)] = market
            for each in (market, *(market.get("childMarkets") or ())):
                self._records[_key(each)] = each
                for token in (each.get("yesTokenId"), each.get("noTokenId")):
                    if token:
                        self._conditions[token] = each.get("conditionId", "")

    def update_market(self, number: int, at: float = 0.0, *, topic: bool = False, **fields: Any) -> None:
        """Change fields of a market (or a topic) once the clock reaches `at`; `statusEnum` follows `status`.

        Raises KeyError if there is no such market.
        """
        key = (CATEGORICAL if topic else BINARY, number)
        if "status" in fields:
            fields.setdefault("statusEnum", STATUSES.get(fields["status"], ""))
        with self._lock:
            if key not in self._records:
                raise KeyError(number)
            heapq.heappush(self._changes, (at, next(self._serial), key, fields))

    def set_price(self, token_id: str, price: str | PricePath | None) -> None:
        """Set the price from now on, or let it follow a path; None: as if the token had never traded."""
        last = LastTrade(price, self.clock()) if isinstance(price, str) else None
        with self._lock:
            self._prices[token_id] = price if callable(price) else lambda at: last

    def set_book(self, token_id: str, bids: Levels, asks: Levels) -> None:
        """Set an order book; the levels may come in any order."""
        self.set_book_path(token_id, lambda at: (bids, asks))

    def set_book_path(self, token_id: str, path: BookPath) -> None:
        """Let an order book follow a path."""
        with self._lock:
            self._books[token_id] = path

    def add_trade(self, wallet: str, trade: Record, visible_at: float = 0.0) -> None:
        """Add a trade, shown from the Unix second `visible_at` on: past `createdAt` makes a late fill."""
        with self._lock:
            account = self._accounts.setdefault(wallet.lower(), _Account())
            insort(account.fills, _Fill(trade["createdAt"], next(self._serial), visible_at, dict(trade)))

    def follow(self, wallet: str, feed: Feed) -> None:
        """Let a wallet trade on its own; an endless feed is read only as far as the clock has come."""
        with self._lock:
            account = self._accounts.setdefault(wallet.lower(), _Account())
            account.feed, account.upcoming = feed, next(feed, None)

    # Reading them

    def markets(self) -> list[Record]:
        """Binary markets, and topics with their children, as the exchange lists them: newest first."""
        with self._lock:
            self._apply_changes()
            newest_first = sorted(self._listed.values(), key=lambda market: -int(market["createdAt"]))
            return [_copy(market) for market in newest_first]

    def market(self, number: int) -> Record:
        """A binary market or a child; raises Refused if there is none."""
        return self._record((BINARY, number))

    def trades(self, wallet: str) -> list[Record]:
        """What the wallet's list shows now: newest first, of equal seconds the one added last first."""
        return [dict(trade) for trade in self._shown(wallet)]

    def latest_price(self, token_id: str) -> Record | None:
        """The last trade in a token, its `timestamp` in milliseconds; None if it never traded."""
        with self._lock:
            self._condition(token_id)
            path = self._prices.get(token_id)
            last = path(self.clock()) if path else None
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
            levels = self._books.get(token_id)
            bids, asks = levels(now) if levels else ((), ())
        return {
            "market": condition,
            "tokenId": token_id,
            "timestamp": int(now * 1000),
            "bids": _levels(bids, falling=True),
            "asks": _levels(asks, falling=False),
        }

    def answer(self, path: str, query: Query) -> Record | None:
        """The `result` of a request, by its path below the base address ("/market/7") and its parameters.

        Raises Refused. Parameters that are not named here are ignored, as on the exchange.
        """
        match path.split("/")[1:]:
            case ["market"]:
                kind = _number(query, "marketType", BINARY)
                if kind not in (BINARY, CATEGORICAL, ALL_TYPES):
                    raise Refused(400, "marketType must be 0, 1 or 2")
                found = [market for market in self.markets() if kind in (ALL_TYPES, market.get("marketType"))]
                return _page(found, query)
            case ["market", "categorical", number]:
                return {"data": self._record((CATEGORICAL, _integer("marketId", number)))}
            case ["market", number]:
                return {"data": self.market(_integer("marketId", number))}
            case ["token", "latest-price"]:
                token = _token(query)
                return self.latest_price(token) or _unpriced(token)
            case ["token", "orderbook"]:
                return self.order_book(_token(query))
            case ["trade", "user", wallet]:
                return _page(self._shown(wallet), query)
        raise Refused(404, "no such path", status=404)

    # What has happened up to now

    def _apply_changes(self) -> None:
        now = self.clock()
        while self._changes and self._changes[0][0] <= now:
            _, _, key, fields = heapq.heappop(self._changes)
            self._records[key].update(fields)

    def _caught_up(self, wallet: str) -> list[_Fill]:
        account = self._accounts.get(wallet.lower())
        if account is None:
            return []
        now = self.clock()
        while account.upcoming and account.upcoming[0]["createdAt"] <= now:
            self.add_trade(wallet, *account.upcoming)
            account.upcoming = next(account.feed, None)
        return account.fills

    def _shown(self, wallet: str) -> list[Record]:
        with self._lock:
            now = self.clock()
            return [fill.trade for fill in reversed(self._caught_up(wallet)) if fill.visible_at <= now]

    def _record(self, key: _Key) -> Record:
        with self._lock:
            self._apply_changes()
            if key not in self._records:
                raise Refused(UNKNOWN_ID, "Topic ID does not exist")
            return _copy(self._records[key])

    def _condition(self, token_id: str) -> str:
        if token_id not in self._conditions:
            raise Refused(404, "token not found")
        return self._conditions[token_id]


def _key(market: Record) -> _Key:
    return market.get("marketType", BINARY), market["marketId"]  # a child says no type


def _copy(market: Record) -> Record:
    children = market.get("childMarkets")
    return market | ({"childMarkets": [dict(child) for child in children]} if children else {})


def _page(records: Sequence[Record], query: Query) -> Record:
    number, limit = _number(query, "page", 1), _number(query, "limit", PAGE_SIZE)
    if not 1 <= limit <= LARGEST_PAGE:
        raise Refused(400, f"limit must be between 1 and {LARGEST_PAGE}")
    if number < 1:
        raise Refused(400, "page must be at least 1")
    return {
        "total": len(records),
        "list": [dict(record) for record in records[(number - 1) * limit : number * limit]],
    }


def _levels(levels: Iterable[tuple[str, str]], *, falling: bool) -> list[Record]:
    ordered = sorted(levels, key=lambda level: float(level[0]), reverse=falling)
    return [{"price": price, "size": size} for price, size in ordered]


def _unpriced(token_id: str) -> Record | None:
    """The answer for a token that never traded, in one of the ways seen on the exchange: each token in its own."""
    unpriced = {"tokenId": token_id, "side": "", "size": "0", "timestamp": 0}
    match sum(map(ord, token_id)) % 5:
        case 0:
            raise Refused(404, "no trade found for this token")
        case 1:
            return {**unpriced, "price": ""}
        case 2:
            return {**unpriced, "price": None}
        case 3:
            return {**unpriced, "price": "0.0"}
    return None


def _token(query: Query) -> str:
    if not query.get("token_id"):
        raise Refused(400, "token_id is required")
    return str(query["token_id"])


def _number(query: Query, name: str, default: int) -> int:
    return _integer(name, str(query[name])) if name in query else default


def _integer(name: str, text: str) -> int:
    # Digits alone: int() would also take " 7", "+7" and "1_000".
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused(400, f"{name} must be a whole number")
    return int(text)
