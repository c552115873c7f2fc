"""From Gamma's JSON to records: a market, and its event as its topic.

Facts are from the public reference of Gamma (docs.polymarket.com), the official client (``polymarket-client`` 0.14.0)
and recorded responses. Lists are JSON inside of strings, or plain JSON; both are accepted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from whalesync.errors import InvalidResponse
from whalesync.exchanges.polymarket.parsing import TOKEN, InvalidRecord, market_id, parse_or_reject, text
from whalesync.records import ACTIVATED, MARKET, RESOLVED, TOPIC, Market, RejectedRecord

WEB_PAGE = "https://polymarket.com/event"

CREATED, RESOLVING = "created", "resolving"
BEING_RESOLVED = ("proposed", "disputed")  # while it is still open
HAS_RESULT = ("resolved", "settled")

#: how far from 0 or 1 the price of an outcome may be that has won or lost; the least price of an open market is 0.0005
NEARLY = 1e-4

#: tags by which people look for markets; the others are narrower, or say how a market is shown
CATEGORIES = frozenset({
    "politics", "elections", "geopolitics", "world", "sports", "esports", "crypto", "finance", "economy", "business",
    "earnings", "tech", "science", "climate-science", "weather", "culture", "pop-culture", "mentions",
})  # fmt: skip

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)  # what is earlier stands for "none"

_CONDITION = re.compile(r"0x[0-9a-f]{64}")


class MarketPage(NamedTuple):
    """A page of markets, each with its topic; a topic comes once. ``next_cursor``: None on the last page."""

    records: list[Market | RejectedRecord]
    next_cursor: str | None

    @property
    def markets(self) -> list[Market]:
        """The readable ones among the records, topics included."""
        return [record for record in self.records if isinstance(record, Market)]


def is_listed(external_id: str) -> bool:
    """Whether Gamma can list a market of this condition id; combos are not markets there."""
    return _CONDITION.fullmatch(external_id) is not None


def parse_markets(body: Mapping[str, Any]) -> MarketPage:
    """A page of a list of markets.

    Raises:
        InvalidResponse: it is not one.
    """
    rows, cursor = body.get("markets"), body.get("next_cursor")
    if not isinstance(rows, list) or not isinstance(cursor, str | None):
        raise InvalidResponse("Polymarket: the response is not a page of markets")
    topics: dict[str, Market | RejectedRecord] = {}
    markets: list[Market | RejectedRecord] = []
    for row in rows:
        market = parse_or_reject(row, _market)
        markets.append(market)
        if isinstance(market, Market) and market.parent_external_id is not None:
            topics[market.parent_external_id] = parse_or_reject(row, partial(_topic, market.category))
    return MarketPage([*topics.values(), *markets], cursor or None)


def _market(raw: Mapping[str, Any]) -> Market:
    identity = market_id(text(raw, "conditionId"))
    if not is_listed(identity):
        raise InvalidRecord(f"conditionId is {identity!r:.80}")
    event, slug = _event(raw), text(raw, "slug")
    labels = [*_list_in(raw, "outcomes"), None, None]
    tokens = [*_tokens(raw), None, None]
    prices = _prices(raw)
    status, result = _state(raw, prices)
    return Market(
        kind=MARKET,
        external_id=identity,
        parent_external_id=_event_id(event),
        title=(text(raw, "groupItemTitle") if event else "") or text(raw, "question") or slug or f"market {identity}",
        category=text(raw, "category") or _category(raw) or "other",
        status=status,
        yes_label=labels[0],
        no_label=labels[1],
        yes_token_id=tokens[0],
        no_token_id=tokens[1],
        volume=_amount(raw, "volumeNum", "volume"),
        volume_24h=_amount(raw, "volume24hr"),
        volume_7d=_amount(raw, "volume1wk"),
        end_date=_time(raw, "endDate", "endDateIso") or _time(event, "endDate"),
        resolved_at=_time(raw, "closedTime") if status == RESOLVED else None,
        result=result,
        url=_web_page(text(event, "slug"), slug),
        created_at=_time(raw, "createdAt", "startDate"),
        yes_price=prices[0] if prices else None,
        no_price=prices[1] if prices else None,
        liquidity=_amount(raw, "liquidityNum", "liquidity"),
    )


def _topic(category: str, raw: Mapping[str, Any]) -> Market:
    """The event of a market."""
    event = _event(raw)
    identity, slug = _event_id(event), text(event, "slug")
    ended = event.get("closed") is True
    return Market(
        kind=TOPIC,
        external_id=str(identity),
        parent_external_id=None,
        title=text(event, "title") or slug or f"event {identity}",
        category=category,
        status=RESOLVED if ended else ACTIVATED,
        yes_label=None,
        no_label=None,
        yes_token_id=None,
        no_token_id=None,
        volume=_amount(event, "volume"),
        volume_24h=_amount(event, "volume24hr"),
        volume_7d=_amount(event, "volume1wk"),
        end_date=_time(event, "endDate"),
        resolved_at=_time(event, "closedTime") if ended else None,
        result=None,
        url=_web_page(slug, slug),
        created_at=_time(event, "createdAt", "startDate"),
        liquidity=_amount(event, "liquidity"),
    )


def _state(raw: Mapping[str, Any], prices: Sequence[float] | None) -> tuple[str, str | None]:
    """The status of a market, and its result: it has ended when it is closed and pays what its prices say.

    A market that is closed and pays something else than 1 and 0, half to each say, has no result.
    """
    closed, stage = raw.get("closed"), text(raw, "resolutionStatus") or text(raw, "umaResolutionStatus")
    if not isinstance(closed, bool):
        raise InvalidRecord(f"closed is {closed!r:.20}, neither true nor false")
    if not closed:
        if stage in BEING_RESOLVED or stage in HAS_RESULT:
            return RESOLVING, None
        return (CREATED if raw.get("active") is False else ACTIVATED), None
    if prices is None:
        return RESOLVING, None
    yes, no = prices
    if max(abs(yes - 1), no) <= NEARLY:
        return RESOLVED, "yes"
    if max(yes, abs(no - 1)) <= NEARLY:
        return RESOLVED, "no"
    is_half = max(abs(yes - 0.5), abs(no - 0.5)) <= NEARLY
    return (RESOLVED if stage in HAS_RESULT or (is_half and not stage) else RESOLVING), None


def _prices(raw: Mapping[str, Any]) -> tuple[float, float] | None:
    """The prices of the first two outcomes; None where they are not given."""
    found = _list_in(raw, "outcomePrices")
    with suppress(ValueError):
        prices = [float(price) for price in found]
        if len(prices) >= 2 and all(0 <= price <= 1 for price in prices):
            return round(prices[0], 10), round(prices[1], 10)
    return None


def _tokens(raw: Mapping[str, Any]) -> list[str]:
    """The token of each outcome. Markets of version 2 call them positions."""
    names = ("positionIds", "clobTokenIds") if raw.get("version") == "v2" else ("clobTokenIds", "positionIds")
    tokens = next((found for name in names if (found := _list_in(raw, name))), [])
    if bad := [token for token in tokens if not TOKEN.fullmatch(token)]:
        raise InvalidRecord(f"a token is {bad[0]!r:.80}")
    return tokens


def _list_in(raw: Mapping[str, Any], field: str) -> list[str]:
    """A list of texts, which may be JSON inside of a string; empty where it is missing."""
    value = raw.get(field)
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except ValueError:
            raise InvalidRecord(f"{field} is {value!r:.60}, not a list") from None
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise InvalidRecord(f"{field} is {type(value).__name__}, not a list")
    return [text({field: each if isinstance(each, str) else str(each)}, field) for each in value]


def _event(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event that a market belongs to; empty if it has none."""
    match raw.get("events"):
        case [dict() as event, *_] if _event_id(event):
            return event
    return {}


def _event_id(event: Mapping[str, Any]) -> str | None:
    identity = event.get("id")
    return str(identity) if isinstance(identity, (str, int)) and str(identity).isalnum() else None


def _category(raw: Mapping[str, Any]) -> str | None:
    """The label of the first tag that people look for; else of the first."""
    tags = raw.get("tags")
    tags = [tag for tag in tags if isinstance(tag, dict) and tag.get("label")] if isinstance(tags, list) else []
    known = [tag for tag in tags if tag.get("slug") in CATEGORIES]
    return text(next(iter([*known, *tags]), {}), "label") or None


def _web_page(event: str, market: str) -> str:
    path = [event or market, market] if market not in ("", event) and event else [event or market]
    return "/".join([WEB_PAGE, *path])


def _amount(raw: Mapping[str, Any], *fields: str) -> float | None:
    """USD, by the first of the fields that is given: a number, or one as text."""
    for field in fields:
        value = raw.get(field)
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            with suppress(ValueError, OverflowError):
                number = float(value)
                if math.isfinite(number):
                    return round(number, 6)
    return None


def _time(raw: Mapping[str, Any], *fields: str) -> int | None:
    """A time in ms by the first of the fields that can be read: ISO 8601 in all its forms, UTC unless it says else.

    A date is less than what makes a record worth keeping: one that cannot be read is None.
    """
    for field in fields:
        value = raw.get(field)
        with suppress(ValueError, OverflowError):
            if isinstance(value, str):
                moment = datetime.fromisoformat(value.strip())
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                if moment >= EARLIEST:
                    return int(moment.timestamp() * 1000)
    return None
