"""Opinion.Trade: its paths, envelope, units and quirks, turned into records.

Facts are from the exchange's public reference ("Opinion Open API", docs.opinion.trade), its official
client (``opinion-api`` 0.4.0), ``ccxt.prediction.opinion`` (4.5.90) and recorded answers. Where they
disagree, both are accepted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from whalesync.errors import (
    ContradictoryList,
    KeyRefused,
    RateLimited,
    RequestRefused,
    ServerFault,
    UnreadableAnswer,
)
from whalesync.exchange.client import Client
from whalesync.records import BUY, PAGE_SIZE, SELL, BadRecord, Market, Page, Trade

KEY_HEADER = "apikey"

ALL_TYPES = 2  # binary and categorical; the default would leave the categorical ones out
BY_NEWEST = 1
WEB_PAGE = "https://app.opinion.trade/detail?topicId="

STATUSES = {1: "created", 2: "activated", 3: "resolving", 4: "resolved", 5: "failed", 6: "deleted"}
FILLED = 2
FILLED_NAMES = ("filled", "finished")

REFUSED_KEY_NUMBERS = (11001, 11002, 401)
LATEST_SECONDS = 253_402_300_799  # the year 9999; a time beyond is in another unit
MAX_TOTAL = 50_000_000
LARGEST_NUMBER = 1e15  # USD, shares: no one has more
MAX_PAYLOAD_CHARS = 65_536

Item = TypeVar("Item")


class OpinionTrade:
    """The exchange's answers as records. Each method is one request (with its retries) and may block.

    Raises (all methods): OutOfTime, and every ExchangeError but ExchangeChanged.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def now(self) -> int | None:
        """The exchange's own time in its latest answer, in milliseconds, if it said so. No request."""
        return self._client.latest_date

    def markets(self, number: int) -> Page[Market]:
        """Page ``number`` of all markets of every status, newest first, each followed by its children."""
        result = self._client.get(
            "/market", {"page": number, "limit": PAGE_SIZE, "marketType": ALL_TYPES, "sortBy": BY_NEWEST}
        )
        total, listed = _list_of(result)
        records: list[Market | BadRecord] = []
        for raw in listed:
            records += _family(raw)
        return Page(number, total, records, listed=len(listed))

    def price(self, token_id: str) -> float | None:
        """The latest price of a token, from 0 to 1; None if it never traded."""
        try:
            result = self._client.get("/token/latest-price", {"token_id": token_id})
        except RequestRefused:
            return None  # how the exchange says that it has no price
        raw = result.get("price") if isinstance(result, dict) else result
        try:
            price = _number({"price": raw}, "price")
        except _Bad as exc:
            raise UnreadableAnswer(f"a latest price that cannot be: {exc}", _dump(result)) from exc
        if price is not None and not 0 <= price <= 1:
            raise UnreadableAnswer(f"a latest price of {price}, not from 0 to 1", _dump(result))
        return price

    def liquidity(self, token_id: str) -> float | None:
        """USD resting in a token's order book: the sum of price x size, both sides; None if it has no book."""
        try:
            result = self._client.get("/token/orderbook", {"token_id": token_id})
        except RequestRefused:
            return None
        try:
            levels = [level for side in ("bids", "asks") for level in result[side] or []]
            return math.fsum(_required(level, "price") * _required(level, "size") for level in levels)
        except (_Bad, TypeError, KeyError, AttributeError) as exc:
            raise UnreadableAnswer("an order book that cannot be read", _dump(result)) from exc

    def trades(self, wallet: str, number: int) -> Page[Trade]:
        """Page ``number`` of a wallet's trades, newest first."""
        result = self._client.get(f"/trade/user/{wallet}", {"page": number, "limit": PAGE_SIZE})
        total, listed = _list_of(result)
        return Page(number, total, [_judge(raw, _trade, "createdAt") for raw in listed], listed=len(listed))


def unwrap(status: int, body: Any) -> Any:
    """The result inside the envelope, in either of its spellings, or the error that it tells of."""
    number: Any = status if status >= 400 else 0
    message = ""
    if isinstance(body, dict):
        stated = body.get("errno", body.get("code"))
        if stated is None and status == 200:
            raise UnreadableAnswer("an answer without the agreed envelope", _dump(body))
        if isinstance(stated, str) and stated.isascii() and stated.isdigit():
            stated = int(stated[:9])
        if stated is not None and not isinstance(stated, (int, str)):
            raise UnreadableAnswer("an answer whose error number is none", _dump(body))
        number = stated or number
        message = str(body.get("errmsg") or body.get("msg") or "")[:200]
    elif status == 200:
        raise UnreadableAnswer("an answer without the agreed envelope", _dump(body))
    if number == 0:
        return body.get("result")
    said = f"the exchange says {str(number)[:20]}" + (
        f" ({message})" if message.isprintable() and message else ""
    )
    if number in REFUSED_KEY_NUMBERS or status in (401, 403):
        raise KeyRefused(f"{said}: it does not accept the key; check OPINION_TRADE_API_KEY")
    if number == 429:
        raise RateLimited(said)
    if isinstance(number, int) and 500 <= number < 600:
        raise ServerFault(said)
    raise RequestRefused(said, number if isinstance(number, int) else status)


class _Bad(Exception):
    """Why a record cannot be read."""


def _list_of(result: Any) -> tuple[int, list[Any]]:
    """The ``total`` and the ``list`` of a result; the exchange says null for an empty list."""
    total = result.get("total") if isinstance(result, dict) else None
    listed = result.get("list") if isinstance(result, dict) else None
    listed = [] if listed is None else listed
    if not isinstance(listed, list) or isinstance(total, bool) or not isinstance(total, int):
        raise UnreadableAnswer("a list without 'total' and 'list'", _dump(result))
    if not 0 <= total <= MAX_TOTAL:
        raise ContradictoryList(f"a total of {str(total)[:20]} cannot be")
    if len(listed) > PAGE_SIZE:
        raise ContradictoryList(f"a page of {len(listed)} where at most {PAGE_SIZE} were asked for")
    return total, listed


def _judge(raw: Any, read: Callable[[Mapping[str, Any]], Item], time_field: str) -> Item | BadRecord:
    try:
        if not isinstance(raw, dict):
            raise _Bad(f"a record that is no object but {type(raw).__name__}")
        return read(raw)
    except RecursionError:
        return BadRecord("a record that is nested too deeply", _dump(raw))
    except _Bad as exc:
        timestamp = None
        if isinstance(raw, dict):
            with suppress(_Bad):
                timestamp = _time(raw, time_field)
        return BadRecord(str(exc), _dump(raw), timestamp)


def _trade(raw: Mapping[str, Any]) -> Trade:
    status, name = raw.get("status"), raw.get("statusEnum")
    settled = status == FILLED or (isinstance(name, str) and name.lower() in FILLED_NAMES)
    if not settled and (status, name) != (None, None):
        raise _Bad(f"status {status!r:.20} ({name!r:.20}) is not filled")
    action = _text(raw, "side")
    if not action:
        raise _Bad("side is missing")
    action = action.upper()
    outcome = _outcome(raw)
    traded = action in (BUY, SELL)
    if traded and outcome is None:
        raise _Bad(f"outcomeSide is {raw.get('outcomeSide')!r:.20}, neither 1 (yes) nor 2 (no)")
    amount = _number(raw, "amount")
    if amount is None and traded:
        raise _Bad("amount is missing")
    timestamp = _time(raw, "createdAt")
    if timestamp is None:
        raise _Bad("createdAt is missing")
    market, root = _id(raw, "marketId"), _id(raw, "rootMarketId", optional=True)
    tx_hash = _text(raw, "txHash")
    if not tx_hash:
        raise _Bad("txHash is missing")
    trade = Trade(
        tx_hash=tx_hash,
        market_external_id=market,
        root_external_id=root if root != market else None,
        market_title=_text(raw, "marketTitle") or _text(raw, "rootMarketTitle") or f"market {market}",
        action=action,
        outcome=outcome,
        amount=amount or 0.0,
        price=_number(raw, "price"),
        shares=_number(raw, "shares"),
        fee=_number(raw, "fee"),
        profit=_number(raw, "profit"),
        timestamp=timestamp,
    )
    for field in ("amount", "price", "shares"):
        if (getattr(trade, field) or 0) < 0:
            raise _Bad(f"{field} is negative")
    return trade


def _outcome(raw: Mapping[str, Any]) -> str | None:
    side = raw.get("outcomeSide")
    if side in (1, "1"):
        return "YES"
    if side in (2, "2"):
        return "NO"
    for field in ("outcomeSideEnum", "outcome"):
        label = raw.get(field)
        if isinstance(label, str) and label.upper() in ("YES", "NO"):
            return label.upper()
    return None


def _family(raw: Any) -> list[Market | BadRecord]:
    """A top-level market followed by its children; each is judged for itself."""
    parent = _judge(raw, lambda record: _market(record, None, None), "createdAt")
    children = raw.get("childMarkets") if isinstance(raw, dict) else None
    if not isinstance(children, list):
        return [parent]
    known = parent if isinstance(parent, Market) else None
    return [
        parent,
        *(_judge(child, lambda record: _market(record, raw, known), "createdAt") for child in children),
    ]


def _market(raw: Mapping[str, Any], root: Mapping[str, Any] | None, parent: Market | None) -> Market:
    identity = _id(raw, "marketId")
    yes, no, won = (_text(raw, field) for field in ("yesTokenId", "noTokenId", "resultTokenId"))
    yes, no, won = (None if token in ("", "0") else token for token in (yes, no, won))
    root_identity = identity if root is None else _id(root, "marketId")
    many = root is not None or raw.get("marketType") == 1
    return Market(
        external_id=identity,
        parent_external_id=None if root is None else root_identity,
        title=_text(raw, "marketTitle") or f"market {identity}",
        category=_category(raw) or (parent.category if parent else None) or "other",
        status=_status(raw),
        yes_label=_text(raw, "yesLabel"),
        no_label=_text(raw, "noLabel"),
        yes_token_id=yes,
        no_token_id=no,
        volume=_number(raw, "volume"),
        volume_24h=_number(raw, "volume24h"),
        volume_7d=_number(raw, "volume7d"),
        end_date=_time(raw, "cutoffAt") or (parent.end_date if parent else None),
        resolved_at=_time(raw, "resolvedAt"),
        result=None if won is None else {yes: "yes", no: "no"}.get(won),
        url=f"{WEB_PAGE}{root_identity}" + ("&type=multi" if many else ""),
        created_at=_time(raw, "createdAt"),
    )


def _status(raw: Mapping[str, Any]) -> str:
    number, name = raw.get("status"), raw.get("statusEnum")
    if isinstance(number, int) and number in STATUSES:
        return STATUSES[number]
    if isinstance(name, str) and name.isalpha():
        return name.lower()
    raise _Bad(f"status is {number!r:.20}, which is none that is known")


def _category(raw: Mapping[str, Any]) -> str | None:
    labels = raw.get("labels")
    first = labels[0] if isinstance(labels, list) and labels else None
    return (_text({"labels": first}, "labels") or None) if isinstance(first, str) else None


def _text(raw: Mapping[str, Any], field: str) -> str | None:
    value = raw.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Bad(f"{field} is {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Bad(f"{field} holds a lone surrogate, which is no text") from None
    return value


def _id(raw: Mapping[str, Any], field: str, *, optional: bool = False) -> str:
    value = raw.get(field)
    if optional and value in (None, 0, "", "0"):
        return _id(raw, "marketId")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:80])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**78:
        raise _Bad(f"{field} is {value!r:.40}, not a market's number")
    return str(value)


def _number(raw: Mapping[str, Any], field: str) -> float | None:
    """A decimal string (up to 18 decimals) or a JSON number; None where the exchange says nothing."""
    value = raw.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _Bad(f"{field} is {type(value).__name__}, not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST_NUMBER or (isinstance(value, str) and "_" in value):
        raise _Bad(f"{field} is {value!r:.40}, not a number")
    return number


def _required(raw: Mapping[str, Any], field: str) -> float:
    number = _number(raw, field)
    if number is None or number < 0:
        raise _Bad(f"{field} is missing or negative")
    return number


def _time(raw: Mapping[str, Any], field: str) -> int | None:
    """Unix seconds as milliseconds; None where the exchange says 0 or nothing."""
    value = raw.get(field)
    if value in (None, 0, "", "0"):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LATEST_SECONDS:
        raise _Bad(f"{field} is {value!r:.40}, not a time in Unix seconds")
    return value * 1000


def _dump(raw: Any) -> str:
    """A record as JSON again; escapes keep even what is no text."""
    try:
        return json.dumps(raw)[:MAX_PAYLOAD_CHARS]
    except RecursionError:
        return "nested too deeply to show"
