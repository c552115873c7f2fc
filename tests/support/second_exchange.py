"""A second exchange, to prove the seam: it needs no key, pages by cursor and has no total.

All that the package asks of an exchange is in this module: its server, its JSON, its settings, its trade source.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from email.utils import formatdate
from typing import Any

import httpx

from whalesync.errors import RequestRefused
from whalesync.exchanges.base import (
    Account,
    Batch,
    Candidate,
    Catalog,
    Holdings,
    NewFill,
    Pace,
    Progress,
    StoredTrades,
    Task,
)
from whalesync.exchanges.http import Client
from whalesync.exchanges.rate import RateLimit
from whalesync.records import MARKET, Market, Position, Trade
from whalesync.settings import Setting, Settings, base_url, whole_number

PAGE = 3

URL = Setting[str]("SECOND_URL", "its address", base_url, "https://second.example")
RATE = Setting[int]("SECOND_RATE_LIMIT", "requests per second", whole_number(1, 10_000), 50)


class Server(httpx.BaseTransport):
    """The other side: fills of wallets, newest first, holdings, markets.

    ``is_down`` lets every request fail; what it says of the time is ``ahead`` of ``clock`` by seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.fills: dict[str, list[dict[str, Any]]] = {}
        self.markets: list[dict[str, Any]] = []
        self.holdings: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[httpx.Request] = []
        self.is_down = False
        self.ahead = 0.0

    def add_fill(self, wallet: str, at: int) -> None:
        """Add a fill of the second ``at``; the list stays sorted, and a late one takes its place."""
        fills = self.fills.setdefault(wallet, [])
        fills.append({"hash": f"{wallet}-{at}", "condition": "0xc0", "question": "Rain?", "usd": 5.0, "at": at})
        fills.sort(key=lambda fill: -int(fill["at"]))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.is_down:
            return httpx.Response(400, content=iter([b'{"error": "maintenance"}']))
        query = request.url.params
        if request.url.path == "/markets":
            body: dict[str, Any] = {"data": self.markets}
        elif request.url.path == "/holdings":
            body = {"data": self.holdings.get(query["user"], [])}
        else:
            before = int(query.get("cursor", "9" * 12))
            rest = [fill for fill in self.fills.get(query["user"], []) if fill["at"] < before]
            body = {"data": rest[:PAGE], "next": str(rest[PAGE - 1]["at"]) if len(rest) > PAGE else None}
        date = formatdate(self.clock() + self.ahead, usegmt=True)
        return httpx.Response(200, headers={"Date": date}, content=iter([json.dumps(body).encode()]))


Cursor = str | None  # a request: the page behind a cursor, the newest one without
Page = tuple[list[Trade], Cursor]  # a response: fills, newest first, and the cursor of the next page


class CursorTrades:
    """The trade source. Its state: the cursors behind which history is still to be read."""

    def poll(self, state: str | None) -> Sequence[Cursor]:
        return [None]

    def next(self, state: str, stored: StoredTrades) -> Sequence[Sequence[Cursor]]:
        return [[cursor] for cursor in json.loads(state)[:1]]

    def take(
        self,
        state: str | None,
        requests: Sequence[Cursor],
        responses: Sequence[Page],
        stored: StoredTrades,
        *,
        now: int,
        cutoff: int,
    ) -> Batch:
        (cursor,), ((trades, following),) = requests, responses
        cursors = [each for each in json.loads(state or "[]") if each != cursor]
        new = [
            trade
            for trade in trades
            if trade.timestamp >= cutoff
            and trade.fill_key not in {e.key for e in stored.between(trade.timestamp, trade.timestamp)}
        ]
        if following is not None and new == trades:
            cursors.insert(0, following)
        pace = Pace.DONE if not cursors else Pace.NOW if cursor is None else Pace.LATER
        return Batch(json.dumps(cursors), pace, new=[NewFill(trade, 1) for trade in new])

    def prune(self, state: str, cutoff: int, stored: StoredTrades) -> str:
        return state

    def progress(self, state: str | None) -> Progress:
        complete = state is not None and not json.loads(state)
        return Progress("current" if complete else "loading", complete)

    def audit(self, state: str | None, answered: Mapping[Cursor, Page], stored: StoredTrades) -> Sequence[Cursor]:
        return () if answered else self.poll(state)

    def account(
        self, state: str | None, requests: Sequence[Cursor], responses: Sequence[Page], stored: StoredTrades
    ) -> Account:
        loading = None if self.progress(state).complete else "loading"
        return Account(None, stored.newer(-1), problem=loading)

    def recheck(self, state: str | None) -> str | None:
        return None if state is None else "[]"


class SecondApi:
    """The connection."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def fetch_trades(self, wallet: str, request: Cursor) -> Page:
        body = self._client.get("/fills", {"user": wallet} | ({"cursor": request} if request else {}))
        return [_trade(raw) for raw in body["data"]], body["next"]

    def count_trades(self, wallet: str) -> int:
        return len(self._client.get("/fills", {"user": wallet})["data"])

    def list_positions(self, wallet: str) -> Holdings:
        rows = self._client.get("/holdings", {"user": wallet})["data"]
        return Holdings([_position(raw) for raw in rows], [], complete=True, requests=1)

    def list_closed_positions(self, wallet: str, since: int) -> Holdings:
        return Holdings([], [], complete=True, requests=0)

    def exchange_time(self) -> int | None:
        return self._client.latest_date

    def trouble(self) -> str | None:
        return None

    def sync_markets(self, catalog: Catalog) -> str:
        def markets() -> Task:
            (body,) = yield [lambda: self._client.get("/markets", {})]
            catalog.save([_market(raw) for raw in body["data"]])

        catalog.run([markets()])
        return "all markets"

    def check(self) -> None:
        self._client.get("/markets", {})


def _trade(raw: dict[str, Any]) -> Trade:
    return Trade(
        tx_hash=raw["hash"], market_external_id=raw["condition"], market_title=raw["question"], action="BUY",
        outcome=None, amount=raw["usd"], price=None, shares=None, fee=None, profit=None, timestamp=raw["at"] * 1000,
        outcome_label="Rain", token_id="77",
    )  # fmt: skip


def _position(raw: dict[str, Any]) -> Position:
    return Position(
        market_external_id=raw["condition"], market_title=raw["question"], outcome=None, outcome_label="Rain",
        token_id="77", shares=raw["shares"], avg_price=raw["paid"],
    )  # fmt: skip


def _market(raw: dict[str, Any]) -> Market:
    return Market(
        kind=MARKET, external_id=raw["condition"], parent_external_id=None, title=raw["question"], category="weather",
        status="activated", yes_label="Rain", no_label="Sun", yes_token_id=None, no_token_id=None, volume=None,
        volume_24h=None, volume_7d=None, end_date=None, resolved_at=None, result=None,
        url=f"https://second.example/{raw['condition']}", created_at=None,
    )  # fmt: skip


def _unwrap(status: int, body: Any) -> Any:
    if status >= 400:
        raise RequestRefused("Second is down")
    return body


class SecondExchange:
    """The entry for the registry."""

    name: str = "second"
    title: str = "Second"
    no_trades_hint: str = "Second lists no trades of it"
    lists_closed_positions: bool = False
    settings: Sequence[Setting[Any]] = (URL, RATE)

    def __init__(self, server: Server) -> None:
        self.trades = CursorTrades()
        self._server = server

    def check_settings(self, settings: Settings) -> None:
        settings.get(URL)
        settings.get(RATE)

    def requests_per_second(self, settings: Settings) -> float:
        return settings.get(RATE)

    def discover(
        self, settings: Settings, *, by: str, period: str, limit: int, log_step: Callable[[str], None]
    ) -> list[Candidate]:
        return []

    @contextmanager
    def connect(
        self, settings: Settings, *, first_backoff: float, until: float, log_step: Callable[[str], None]
    ) -> Iterator[SecondApi]:
        rate = RateLimit(settings.db.with_name(f"{settings.db.name}.second.rate"), settings.get(RATE))
        client = Client(
            settings.get(URL), {}, rate, _unwrap, first_backoff=first_backoff, until=until, log_step=log_step,
            title=self.title, transport=self._server,
        )  # fmt: skip
        with closing(client):
            yield SecondApi(client)
