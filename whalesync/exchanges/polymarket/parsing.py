"""From the JSON of Polymarket's activity to records: its fields, units and spellings.

Facts are from the public reference of the Data API v2 (docs.polymarket.com), the official client (``polymarket-client``
0.14.0) and its recorded responses. Numbers are JSON doubles of at most six decimals, prices of ten.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from whalesync.errors import ContradictoryList, InvalidResponse
from whalesync.exchanges.polymarket.pages import Entry, Page, Volume
from whalesync.records import BUY, SELL, TOKEN_FILL_KEY_RULE, RejectedRecord, Trade

TRADE = "TRADE"
OF_NO_MARKET = {
    "REWARD", "YIELD", "MAKER_REBATE", "TAKER_REBATE", "REFERRAL_REWARD", "DEPOSIT", "WITHDRAWAL", "TIP",
}  # fmt: skip
ACTIONS = re.compile(r"[A-Z][A-Z_]{0,30}")
OF_A_MARKET = {TRADE, "SPLIT", "MERGE", "REDEEM", "CONVERSION"}
OUTCOMES = {0: "YES", 1: "NO"}  # by the place of the token; 999: not labelled yet

CHANGING = {
    "title", "slug", "icon", "event_slug", "outcome", "outcome_index", "name", "pseudonym", "bio", "profile_image",
    "profile_image_optimized",
}  # fmt: skip

CHANGING_TEXTS = {"outcomePrices", "volume", "liquidity", "updatedAt"}  # of a market

LARGEST_PAGE = 1000
LATEST_SECONDS = 253_402_300_799  # the year 9999; a larger time is in another unit
LARGEST_NUMBER = 1e13  # USD, shares
MAX_PAYLOAD_CHARS = 65_536
FEE_DECIMALS = 5
PRICE_ERROR = 1e-10  # of a price of ten decimals

TOKEN = re.compile(r"[0-9]{1,80}")

_CONDITION = re.compile(r"0x(?:[0-9a-f]{62}|[0-9a-f]{64})")
_HASH = re.compile(r"0x[0-9a-f]{1,64}")

Item = TypeVar("Item")


class InvalidRecord(Exception):
    """Why a record cannot be read."""


def parse_list(body: Mapping[str, Any]) -> tuple[list[Any], str | None]:
    """The rows of a page, and the cursor of the next one; None after the last.

    Raises:
        ContradictoryList: it is not a page of a list.
    """
    rows, pagination = body.get("data"), body.get("pagination")
    if not isinstance(rows, list) or not isinstance(pagination, dict):
        raise ContradictoryList("Polymarket: the response is not a list with 'data' and 'pagination'")
    more, cursor = pagination.get("has_more"), pagination.get("next_cursor") or None
    if more is not (cursor is not None) or not isinstance(cursor, str | None):
        raise ContradictoryList("Polymarket: 'has_more' and 'next_cursor' contradict each other")
    if len(rows) > LARGEST_PAGE:
        raise ContradictoryList(f"Polymarket: a page of {len(rows)} rows, where {LARGEST_PAGE} were asked for")
    return rows, cursor


def seconds_of(rows: Sequence[Any], otherwise: int) -> list[int]:
    """The second of each row; where it cannot be read, that of the row above, else of the next, else ``otherwise``."""
    readable = [_second(row) for row in rows]
    second = next((each for each in readable if each is not None), otherwise)
    found = []
    for each in readable:
        second = second if each is None else each
        found.append(second)
    return found


def parse_page(rows: Sequence[Any], first: int, last: int, *, more: bool, at: int, healthy: bool) -> Page:
    """What the rows of a response, the newest first, show of the seconds from ``first`` to ``last``.

    ``more``: whether the response ends before the rows do, so that its oldest second may not be whole.

    Raises:
        ContradictoryList: the rows are not those that were asked for.
    """
    seconds = seconds_of(rows, min(last, at))
    if seconds != sorted(seconds, reverse=True) or (seconds and not first <= seconds[-1] <= seconds[0] <= last):
        raise ContradictoryList("Polymarket: the activity is not that of the seconds asked for, or not sorted by time")
    whole_from = seconds[-1] + 1 if more else first
    entries = [
        Entry(second, record)
        for second, row in zip(seconds, rows, strict=True)
        if second >= whole_from and (record := parse_row(row)) is not None
    ]
    return Page(first, last, whole_from, at, healthy, entries)


def parse_row(raw: Any) -> Trade | RejectedRecord | None:
    """A row of the activity, or why it cannot be read; None if it concerns no market."""
    kind = raw.get("type") if isinstance(raw, dict) else None
    if isinstance(kind, str) and (kind in OF_NO_MARKET or not (raw.get("condition_id") or kind in OF_A_MARKET)):
        return None
    try:
        if not isinstance(raw, dict):
            raise InvalidRecord(f"the record is {type(raw).__name__}, not an object")
        return _trade(raw)
    except InvalidRecord as exc:
        second = _second(raw)
        return RejectedRecord(str(exc), _dump(raw), None if second is None else second * 1000)


def parse_volume(body: Mapping[str, Any]) -> Volume:
    """What the exchange counts of some days."""
    fields = _inner(body)
    try:
        trades = fields.get("trade_count")
        if isinstance(trades, bool) or not isinstance(trades, int) or trades < 0:
            raise InvalidRecord(f"trade_count is {trades!r:.40}")
        return Volume(trades, number(fields, "volume"), number(fields, "volume_usdc"))
    except InvalidRecord as exc:
        raise InvalidResponse(f"Polymarket: invalid user volume: {exc}") from exc


def parse_lag(body: Mapping[str, Any]) -> tuple[float, float]:
    """How far the index is behind the chain, and how old that measurement is, in seconds; infinite if not said."""
    fields = _inner(body)
    serving = fields.get("serving")
    lag = serving.get("lag_seconds") if isinstance(serving, dict) else None
    return _seconds(lag), _seconds(fields.get("age_seconds"))


def market_id(condition: str) -> str:
    """A condition id as other hosts spell it: lower case, and 64 digits unless it is that of a combo."""
    condition = condition.lower()
    if len(condition) == 64 and condition[2:4] in ("01", "02"):
        condition += "00"
    return condition


def title_of(raw: Mapping[str, Any], condition: str) -> str:
    """The title of the market of a row or position."""
    return text(raw, "title") or text(raw, "slug") or f"market {condition[:12]}"


def outcome_of(raw: Mapping[str, Any]) -> str | None:
    """YES or NO, by the place of the token of a row or position; None: not labelled yet."""
    place = raw.get("outcome_index")
    return OUTCOMES.get(place) if isinstance(place, int) else None


def text(raw: Mapping[str, Any], field: str) -> str:
    """A text, empty where it is missing."""
    value = raw.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRecord(f"{field} is {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRecord(f"{field} has a lone surrogate, which is not text") from None
    return value


def number(raw: Mapping[str, Any], field: str, decimals: int = 6) -> float:
    """A number that is not negative, to so many decimals."""
    value = raw.get(field)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRecord(f"{field} is {type(value).__name__}, not a number")
    if not 0 <= value <= LARGEST_NUMBER:
        raise InvalidRecord(f"{field} is {value!r:.40}, out of range")
    return round(float(value), decimals)


def signed(raw: Mapping[str, Any], field: str) -> float:
    """A number to six decimals."""
    value = raw.get(field)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST_NUMBER:
        raise InvalidRecord(f"{field} is {value!r:.40}, not a number")
    return round(float(value), 6)


def parse_or_reject(raw: Any, parse: Callable[[Mapping[str, Any]], Item]) -> Item | RejectedRecord:
    """What ``parse`` makes of a record that shows how something is now, or why it cannot be read.

    Without its numbers, and texts that stand for numbers, a rejected one is the same the next time.
    """
    try:
        if not isinstance(raw, dict):
            raise InvalidRecord(f"the record is {type(raw).__name__}, not an object")
        return parse(raw)
    except InvalidRecord as exc:
        if isinstance(raw, dict):
            raw = {
                name: value
                for name, value in raw.items()
                if isinstance(value, (str, bool)) and name not in CHANGING_TEXTS
            }
        return RejectedRecord(str(exc), _dump(raw))


def _trade(raw: Mapping[str, Any]) -> Trade:
    kind, side = text(raw, "type"), text(raw, "side")
    if not ACTIONS.fullmatch(kind) or kind in (BUY, SELL):
        raise InvalidRecord(f"type is {kind!r:.40}")
    if kind == TRADE and side not in (BUY, SELL):
        raise InvalidRecord(f"side is {side!r:.40}, neither {BUY} nor {SELL}")
    tx_hash = _matching(raw, "transaction_hash", _HASH)
    condition = _matching(raw, "condition_id", _CONDITION)
    token = _matching(raw, "token_id", TOKEN) if kind == TRADE or text(raw, "token_id") else None
    second, amount = _second(raw), number(raw, "usdc_size")
    if second is None:
        raise InvalidRecord(f"timestamp is {raw.get('timestamp')!r:.40}, not a time in Unix seconds")
    price = shares = fee = None
    if kind == TRADE:
        price, shares = number(raw, "price", 10), number(raw, "size")
        fee = _fee(amount, price, shares)
    label = text(raw, "outcome") or None
    return Trade(
        tx_hash=tx_hash,
        market_external_id=market_id(condition),
        market_title=title_of(raw, condition),
        action=side if kind == TRADE else kind,
        outcome=outcome_of(raw) if token is not None else None,
        amount=amount,
        price=price,
        shares=shares,
        fee=fee,
        profit=None,
        timestamp=second * 1000,
        outcome_label=label if token is not None else None,
        token_id=token,
        fill_key_rule=TOKEN_FILL_KEY_RULE,
    )


def _fee(amount: float, price: float, shares: float) -> float:
    """What moved beside the price of the shares; what the rounding of the price may be is none."""
    difference = abs(amount - shares * price)
    return 0.0 if difference <= shares * PRICE_ERROR + 2e-6 else round(difference, FEE_DECIMALS)


def _matching(raw: Mapping[str, Any], field: str, pattern: re.Pattern[str]) -> str:
    value = text(raw, field).lower()
    if not pattern.fullmatch(value):
        raise InvalidRecord(f"{field} is {value!r:.80}")
    return value


def _second(raw: Any) -> int | None:
    value = raw.get("timestamp") if isinstance(raw, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LATEST_SECONDS:
        return None
    return value


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.inf


def _inner(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object, with or without the envelope that lists have."""
    data = body.get("data")
    return data if isinstance(data, dict) else body


def _dump(raw: Any) -> str:
    """A record as JSON again, without the fields that change from one response to the next."""
    if isinstance(raw, dict):
        raw = {name: value for name, value in raw.items() if name not in CHANGING}
    try:
        return json.dumps(raw)[:MAX_PAYLOAD_CHARS]
    except RecursionError:
        return "nested too deeply to show"
