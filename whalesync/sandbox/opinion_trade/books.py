"""What the exchange holds, and how it answers each request.

Everything stays in the shape of the wire, so that a test can compare a client's database with what the exchange
itself holds, and nothing between the two could make the same mistake twice.
"""

import heapq
import itertools
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..values import Record
from .leaderboard import leaderboard
from .listing import listing, sort
from .queries import Query, Refused, integer, of_market, page
from .wire import BINARY, CATEGORICAL, RESOLVED, STATUSES, Position, decimal18, make_position, number

UNKNOWN_ID = 10200


class LastTrade(NamedTuple):
    """The last trade anybody made in a token: what the exchange calls its price."""

    price: str
    traded_at: float
    side: str = "BUY"
    size: str = "100"


Levels = Sequence[tuple[str, str]]
"""One side of an order book as (price, size) pairs of decimal strings."""
PricePath = Callable[[float], LastTrade | None]
"""The last trade up to a Unix second."""
BookPath = Callable[[float], tuple[Levels, Levels]]
"""Bids and asks at a Unix second."""
Feed = Iterator[tuple[Record, float]]
"""Trades in order of `createdAt`, each with the Unix second from which it shows in the wallet's list."""
Holdings = Callable[[Sequence[Record], float], Sequence[Record]]
"""Rows of positions, from the trades that show at a Unix second, newest first."""


class _Fill(NamedTuple):
    """A trade with what sorts it; `serial` keeps the order of arrival among equal seconds."""

    created_at: int
    serial: int
    visible_at: float
    trade: Record


class _Move(NamedTuple):
    """From a Unix second on, a wallet has this row of a token, or none."""

    at: float
    serial: int
    token_id: str
    row: Record | None


@dataclass
class _Account:
    fills: list[_Fill] = field(default_factory=list)
    feed: Feed = field(default_factory=lambda: iter(()))
    upcoming: tuple[Record, float] | None = None
    holdings: Holdings = lambda trades, at: ()
    moves: list[_Move] = field(default_factory=list)


_Key = tuple[int | None, int]
"""Topics (`marketType` 1) and tradeable markets are numbered apart, so a number may mean one of each."""


@dataclass
class _Market:
    """A binary market, a topic or a child, which exists from the Unix second `since` on."""

    record: Record
    listed: bool
    since: float
    topic: Record | None = None  # of a child

    @property
    def root(self) -> Record:
        return self.topic or self.record


class Books:
    """Markets, prices, order books and trades, as of the clock's now (Unix seconds).

    Threads may share it. Records are copied on their way in and on their way out.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._markets: dict[_Key, _Market] = {}
        self._tokens: dict[str, _Key] = {}
        self._changes: list[tuple[float, int, _Key, Record]] = []
        self._prices: dict[str, PricePath] = {}
        self._books: dict[str, BookPath] = {}
        self._accounts: dict[str, _Account] = {}
        self._serial = itertools.count()

    # Filling the books

    def add_market(self, market: Record, *, listed: bool = True, at: float = 0.0) -> None:
        """Add a binary market, or a topic with its children, or replace the one of the same kind and number.

        Nobody knows it before the Unix second `at`. Without `listed` it is in no list, but it is found by its number
        and slug.
        """
        market = _copy(market)
        with self._lock:
            if _key(market) in self._markets:
                self._remove(_key(market))
            self._enter(_Market(market, listed, at))
            for child in market.get("childMarkets") or ():
                self._enter(_Market(child, listed, at, topic=market))

    def remove_market(self, number: int, *, topic: bool = False) -> None:
        """Forget a market, or a topic with its children; raises KeyError if there is none."""
        with self._lock:
            self._remove((CATEGORICAL if topic else BINARY, number))

    def update_market(self, number: int, at: float = 0.0, *, topic: bool = False, **fields: Any) -> None:
        """Change fields of a market (or a topic) once the clock reaches `at`; `statusEnum` follows `status`.

        Raises KeyError if there is no such market.
        """
        key = (CATEGORICAL if topic else BINARY, number)
        if "status" in fields:
            fields.setdefault("statusEnum", STATUSES.get(fields["status"], ""))
        with self._lock:
            if key not in self._markets:
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

    def follow(self, wallet: str, feed: Feed, holdings: Holdings | None = None) -> None:
        """Let a wallet trade on its own, and its positions follow from its trades by `holdings`.

        An endless feed is read only as far as the clock has come.
        """
        with self._lock:
            account = self._accounts.setdefault(wallet.lower(), _Account())
            account.feed, account.upcoming = feed, next(feed, None)
            account.holdings = holdings or account.holdings

    def set_position(self, wallet: str, position: Record, at: float = 0.0) -> None:
        """Show a row in the wallet's positions from the Unix second `at` on, in place of the one of its token.

        What the row's maker did not give (see `make_position`) is shown as the market has it at that time: its
        titles, status and cut-off, whether it can be claimed, and its value at the token's latest price.
        """
        given = position.given if isinstance(position, Position) else position
        token: str = position["tokenId"]
        self._move(wallet, token, given | {"tokenId": token}, at)

    def drop_position(self, wallet: str, token_id: str, at: float = 0.0) -> None:
        """Show no row of a token from the Unix second `at` on."""
        self._move(wallet, token_id, None, at)

    # Reading them

    def markets(self, *, unlisted: bool = False) -> list[Record]:
        """The details of binary markets, and of topics with their children, newest first.

        Those that are in no list are left out unless `unlisted`.
        """
        with self._lock:
            return [_detail(market) for market in sort(self._roots(unlisted=unlisted))]

    def market(self, number: int) -> Record:
        """The detail of a binary market or a child; raises Refused if there is none."""
        with self._lock:
            market = self._find((BINARY, number))
            return _child_detail(market.record) if market.topic else _detail(market.record)

    def trades(self, wallet: str) -> list[Record]:
        """What the wallet's list shows now: newest first, of equal seconds the one added last first."""
        return [dict(trade) for trade in self._shown(wallet)]

    def positions(self, wallet: str) -> list[Record]:
        """What the wallet's list of positions shows now: the most shares first."""
        with self._lock:
            self._apply_changes()
            now, account = self.clock(), self._accounts.get(wallet.lower(), _Account())
            rows = {row["tokenId"]: row for row in account.holdings(self._shown(wallet), now)}
            for move in account.moves:
                if move.at <= now:
                    rows.pop(move.token_id, None)
                    if move.row is not None:
                        rows[move.token_id] = move.row
            shown = [dict(make_position(**(self._known_of(token) | row))) for token, row in rows.items()]
            return sorted(shown, key=lambda row: -number(row["sharesOwned"]))

    def latest_price(self, token_id: str) -> Record | None:
        """The last trade in a token, its `timestamp` in milliseconds; None if it never traded."""
        with self._lock:
            self._market_of(token_id)
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
            condition = self._market_of(token_id).record.get("conditionId", "")
            levels = self._books.get(token_id)
            bids, asks = levels(now) if levels else ((), ())
        return {
            "market": condition,
            "tokenId": token_id,
            "timestamp": int(now * 1000),
            "bids": _levels(bids, falling=True),
            "asks": _levels(asks, falling=False),
        }

    def answer(self, path: str, query: Query) -> Any:
        """The `result` of a request, by its path below the base address ("/market/7") and its parameters.

        Raises Refused. Parameters that are not named here are ignored, as on the exchange.
        """
        match path.split("/")[1:]:
            case ["market"]:
                with self._lock:
                    result = page(listing(map(_detail, self._roots()), query), query)
                return result | {"list": result["list"] or None}
            case ["market", "categorical", number]:
                with self._lock:
                    return {"data": _detail(self._find((CATEGORICAL, integer("marketId", number))).record)}
            case ["market", "slug", slug]:
                return {"data": self._by_slug(slug)}
            case ["market", number]:
                return {"data": self.market(integer("marketId", number))}
            case ["label"]:
                return self._labels()
            case ["token", "latest-price"]:
                token = _token(query)
                return self.latest_price(token) or _unpriced(token)
            case ["token", "orderbook"]:
                return self.order_book(_token(query))
            case ["trade", "user", wallet]:
                return page(of_market(self._shown(wallet), query), query)
            case ["positions", "user", wallet]:
                return page(of_market(self.positions(wallet), query), query)
        raise Refused(404, "no such path", status=404)

    def answer_web(self, path: str, query: Query) -> Any:
        """The `result` of a request to the front end's own API; raises Refused."""
        if path != "/leaderboard":
            raise Refused(404, "no such path", status=404)
        with self._lock:
            return leaderboard({wallet: self._shown(wallet) for wallet in self._accounts}, query, self.clock())

    # What has happened up to now

    def _apply_changes(self) -> None:
        now = self.clock()
        while self._changes and self._changes[0][0] <= now:
            _, _, key, fields = heapq.heappop(self._changes)
            if market := self._markets.get(key):
                market.record.update(fields)

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

    def _enter(self, market: _Market) -> None:
        self._markets[_key(market.record)] = market
        for name in ("yesTokenId", "noTokenId"):
            if token := market.record.get(name):
                self._tokens[token] = _key(market.record)

    def _remove(self, key: _Key) -> None:
        gone = self._markets.pop(key)
        for child in gone.record.get("childMarkets") or ():
            self._markets.pop(_key(child), None)
        if gone.topic:
            gone.topic["childMarkets"].remove(gone.record)

    def _find(self, key: _Key) -> _Market:
        self._apply_changes()
        market = self._markets.get(key)
        if market is None or market.since > self.clock():
            raise Refused(UNKNOWN_ID, "Topic ID does not exist")
        return market

    def _roots(self, *, unlisted: bool = False) -> list[Record]:
        """Binary markets and topics, in the order of adding."""
        self._apply_changes()
        now = self.clock()
        return [
            market.record
            for market in self._markets.values()
            if not market.topic and market.since <= now and (market.listed or unlisted)
        ]

    def _by_slug(self, slug: str) -> Record:
        """The detail of a binary market or topic; a child's slug leads to its topic."""
        with self._lock:
            for key, market in self._markets.items():
                if market.record.get("slug") == slug:
                    return _detail(self._find(key).root)
        raise Refused(UNKNOWN_ID, "Topic ID does not exist")

    def _labels(self) -> list[Record]:
        with self._lock:
            names = {
                number: name
                for market in self._roots()
                for number, name in zip(market.get("labelIds") or (), market.get("labels") or (), strict=False)
            }
        return [
            {"labelId": number, "labelName": names[number], "imageUrl": "", "imageMobileUrl": ""}
            for number in sorted(names)
        ]

    def _move(self, wallet: str, token_id: str, row: Record | None, at: float) -> None:
        with self._lock:
            account = self._accounts.setdefault(wallet.lower(), _Account())
            insort(account.moves, _Move(at, next(self._serial), token_id, row))

    def _market_of(self, token_id: str) -> _Market:
        market = self._markets.get(self._tokens.get(token_id, (None, 0)))
        if market is None:
            raise Refused(404, "token not found")
        return market

    def _known_of(self, token_id: str) -> Record:
        """What the books know of a token, in the fields of `make_position`."""
        try:
            market = self._market_of(token_id)
        except Refused:
            return {}
        record, root, last = market.record, market.root, self.latest_price(token_id)
        yes, won = record["yesTokenId"] == token_id, record.get("resultTokenId") == token_id
        return {
            "marketId": record["marketId"],
            "marketTitle": record["marketTitle"],
            "marketStatus": record["status"],
            "marketCutoffAt": record["cutoffAt"],
            "rootMarketId": root["marketId"],
            "rootMarketTitle": root["marketTitle"],
            "outcome": record["yesLabel" if yes else "noLabel"],
            "outcomeSide": 1 if yes else 2,
            "claimStatus": int(record["status"] == RESOLVED and won),
            "conditionId": record["conditionId"],
            "price": last["price"] if last else None,
        }


def _key(market: Record) -> _Key:
    return market.get("marketType", BINARY), market["marketId"]  # a child says no type


def _copy(market: Record) -> Record:
    children = market.get("childMarkets")
    return market | ({"childMarkets": [dict(child) for child in children]} if children else {})


def _detail(market: Record) -> Record:
    """A binary market or a topic by its number; its children are without what only their own details have."""
    detail = _copy(market)
    for child in detail.get("childMarkets") or ():
        for name in ("volume24h", "volume7d"):
            child.pop(name, None)
    return detail


def _child_detail(child: Record) -> Record:
    """A child by its own number: it looks like a binary market, but has no labels and does not name its topic."""
    return {
        "marketType": BINARY,
        "childMarkets": None,
        "volume24h": decimal18(0),
        "volume7d": decimal18(0),
        "thumbnailUrl": "",
        **child,
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
