"""Markets with their topics, prices and order books."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from whalesync.errors import InvalidResponse
from whalesync.exchanges.opinion_trade.parsing import fields
from whalesync.records import (
    ACTIVATED,
    CREATED,
    DELETED,
    ENDED,
    FAILED,
    MARKET,
    RESOLVED,
    RESOLVING,
    TOPIC,
    Market,
    RejectedRecord,
)

WEB_PAGE = "https://app.opinion.trade/detail?topicId="

STATUSES = {1: CREATED, 2: ACTIVATED, 3: RESOLVING, 4: RESOLVED, 5: FAILED, 6: DELETED}
CATEGORICAL = 1


class MarketPage(NamedTuple):
    """A page of the list of markets. ``records`` has the children too; ``total`` and ``length`` do not count them."""

    total: int
    length: int
    records: list[Market | RejectedRecord]


class MarketDetail(NamedTuple):
    """A market by its id or slug: first the market itself, then the children of a topic.

    ``may_be_child``: it has no labels, as children have none; then ``slug`` leads to its topic.
    """

    records: list[Market | RejectedRecord]
    slug: str | None
    may_be_child: bool


def parse_markets(result: Any, limit: int) -> MarketPage:
    """A page of a list of markets, of at most ``limit`` entries, each followed by its children.

    Of a topic a list gives twice the volumes, not all children and sometimes another status: its volumes are left out,
    and its status is provisional unless it follows from a child.
    """
    total, entries = fields.list_of(result, limit)
    return MarketPage(total, len(entries), [record for raw in entries for record in _listed(_with_children(raw))])


def parse_detail(result: Any) -> MarketDetail:
    """A market by its id or slug. The status of a topic is the one that follows from its children, if one does."""
    raw = result.get("data") if isinstance(result, dict) else None
    if not isinstance(raw, dict):
        raise InvalidResponse("Opinion.Trade: the response is not a market")
    slug = raw.get("slug")
    first, *children = _with_children(raw)
    if isinstance(first, Market) and first.kind == TOPIC:
        first = replace(first, status=_status_of_topic(first.status, children))
    return MarketDetail(
        records=[first, *children],
        slug=slug if isinstance(slug, str) and slug.isprintable() and slug else None,
        may_be_child="labels" not in raw,
    )


def parse_price(result: Any) -> float | None:
    """The latest price of a token, from 0 to 1; None if it never traded.

    A token that never traded has an empty price, or (seen live) a price of 0.0 with a ``timestamp`` of 0.
    """
    quote = result if isinstance(result, dict) else {"price": result}
    try:
        price = fields.number(quote, "price")
    except fields.InvalidRecord as exc:
        raise InvalidResponse(f"Opinion.Trade: invalid latest price: {exc}") from exc
    if price is not None and not 0 <= price <= 1:
        raise InvalidResponse(f"Opinion.Trade: the latest price is {price}, not from 0 to 1")
    if price == 0 and quote.get("timestamp") in (None, 0, "", "0"):
        return None
    return price


def parse_liquidity(result: Any) -> float:
    """USD resting in an order book: the sum of price x size over both sides."""
    try:
        levels = [level for side in ("bids", "asks") for level in result[side] or []]
        return math.fsum(math.prod(_quantity(level, field) for field in ("price", "size")) for level in levels)
    except (fields.InvalidRecord, TypeError, KeyError, AttributeError) as exc:
        raise InvalidResponse("Opinion.Trade: invalid order book") from exc


def _quantity(level: Mapping[str, Any], field: str) -> float:
    return fields.given(fields.not_negative(level, field), field)


def web_page(root: str, *, is_topic: bool) -> str:
    """The address of the web page of a binary market, or of a topic and its children."""
    return f"{WEB_PAGE}{root}" + ("&type=multi" if is_topic else "")


def _listed(family: list[Market | RejectedRecord]) -> list[Market | RejectedRecord]:
    """A top-level market and its children, as far as a list can be believed."""
    first, *children = family
    if not isinstance(first, Market) or first.kind != TOPIC:
        return family
    activated = _has(children, ACTIVATED)
    status = ACTIVATED if activated else first.status
    topic = replace(first, status=status, volume=None, volume_24h=None, volume_7d=None, provisional=not activated)
    return [topic, *children]


def _status_of_topic(own: str, children: Sequence[Market | RejectedRecord]) -> str:
    """The status of a topic, all of whose children are given; ``own``: what the exchange calls it."""
    if _has(children, ACTIVATED):
        return ACTIVATED
    statuses = [child.status for child in children if isinstance(child, Market)]
    if len(statuses) < len(children):
        return own
    if RESOLVING in statuses:
        return RESOLVING
    return RESOLVED if RESOLVED in statuses and set(statuses) <= set(ENDED) else own


def _has(records: Sequence[Market | RejectedRecord], status: str) -> bool:
    return any(isinstance(record, Market) and record.status == status for record in records)


def _with_children(raw: Any) -> list[Market | RejectedRecord]:
    """A top-level market followed by its children; each is read or rejected by itself."""
    parent = fields.parse_or_reject(raw, lambda record: _market(record, None, None))
    children = raw.get("childMarkets") if isinstance(raw, dict) else None
    if not isinstance(children, list):
        return [parent]
    known = parent if isinstance(parent, Market) else None
    return [
        parent,
        *(fields.parse_or_reject(child, lambda record: _market(record, raw, known)) for child in children),
    ]


def _market(raw: Mapping[str, Any], root: Mapping[str, Any] | None, parent: Market | None) -> Market:
    """A market; ``root`` and ``parent`` are its topic, raw and (if it could be read) as a record."""
    identity = fields.identity(raw, "marketId")
    topic = root is None and (raw.get("marketType") == CATEGORICAL or bool(raw.get("childMarkets")))
    root_identity = identity if root is None else fields.identity(root, "marketId")
    yes, no, won = (fields.text(raw, field) for field in ("yesTokenId", "noTokenId", "resultTokenId"))
    yes, no, won = (None if token in ("", "0") else token for token in (yes, no, won))
    status = _status(raw)
    return Market(
        kind=TOPIC if topic else MARKET,
        external_id=identity,
        parent_external_id=None if root is None else root_identity,
        title=fields.text(raw, "marketTitle") or f"market {identity}",
        category=_category(raw) or (parent.category if parent else None) or "other",
        status=status,
        yes_label=fields.text(raw, "yesLabel"),
        no_label=fields.text(raw, "noLabel"),
        yes_token_id=yes,
        no_token_id=no,
        volume=fields.number(raw, "volume"),
        volume_24h=fields.number(raw, "volume24h"),
        volume_7d=fields.number(raw, "volume7d"),
        end_date=fields.time_ms(raw, "cutoffAt") or (parent.end_date if parent else None),
        resolved_at=fields.time_ms(raw, "resolvedAt"),
        # A token that is named before the market is resolved is a proposal, which can be disputed.
        result={yes: "yes", no: "no"}.get(won) if won is not None and status == RESOLVED else None,
        url=web_page(root_identity, is_topic=topic or root is not None),
        created_at=fields.time_ms(raw, "createdAt"),
    )


def _status(raw: Mapping[str, Any]) -> str:
    number, name = raw.get("status"), raw.get("statusEnum")
    if isinstance(number, int) and number in STATUSES:
        return STATUSES[number]
    if isinstance(name, str) and name.isalpha():
        return name.lower()
    raise fields.InvalidRecord(f"status is {number!r:.20}, which is not known")


def _category(raw: Mapping[str, Any]) -> str | None:
    match raw.get("labels"):
        case [str(first), *_]:
            return fields.text({"labels": first}, "labels")
    return None
