"""From Opinion.Trade's JSON to records: its fields, units and spellings.

Facts are from the exchange's public reference ("Opinion Open API", docs.opinion.trade), its official client
(``opinion-api`` 0.4.0), ``ccxt.prediction.opinion`` (4.5.90) and recorded responses. Where they disagree, both are
accepted. What is not a list, a price or an order book at all raises InvalidResponse or ContradictoryList.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from whalesync.errors import ContradictoryList, InvalidResponse
from whalesync.exchanges.base import Candidate
from whalesync.exchanges.opinion_trade.pages import TradePage
from whalesync.records import (
    ACTIVATED,
    BUY,
    ENDED,
    MARKET,
    RESOLVED,
    SELL,
    TOPIC,
    Market,
    Position,
    RejectedRecord,
    Trade,
)

WEB_PAGE = "https://app.opinion.trade/detail?topicId="

RESOLVING = "resolving"
STATUSES = {1: "created", 2: ACTIVATED, 3: RESOLVING, 4: RESOLVED, 5: "failed", 6: "deleted"}
FILLED = 2
FILLED_NAMES = ("filled", "finished")
CATEGORICAL = 1

LATEST_SECONDS = 253_402_300_799  # the year 9999; a larger time is in another unit
MAX_TOTAL = 50_000_000
LARGEST_NUMBER = 1e15  # USD, shares
MAX_PAYLOAD_CHARS = 65_536

Item = TypeVar("Item")

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


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


class PositionPage(NamedTuple):
    """A page of a wallet's positions; ``total`` is the length of the whole list."""

    total: int
    records: list[Position | RejectedRecord]


class InvalidRecord(Exception):
    """Why a record cannot be read."""


def parse_trades(result: Any, limit: int) -> TradePage:
    """A page of a wallet's trades, of at most ``limit`` entries."""
    total, entries = _list_of(result, limit)
    return TradePage(total=total, entries=[parse_or_reject(raw, _trade) for raw in entries])


def parse_markets(result: Any, limit: int) -> MarketPage:
    """A page of a list of markets, of at most ``limit`` entries, each followed by its children.

    Of a topic a list gives twice the volumes, not all children and sometimes another status: its volumes are left out,
    and its status is provisional unless it follows from a child.
    """
    total, entries = _list_of(result, limit)
    return MarketPage(total, len(entries), [record for raw in entries for record in _listed(with_children(raw))])


def parse_detail(result: Any) -> MarketDetail:
    """A market by its id or slug. The status of a topic is the one that follows from its children, if one does."""
    raw = result.get("data") if isinstance(result, dict) else None
    if not isinstance(raw, dict):
        raise InvalidResponse("Opinion.Trade: the response is not a market")
    slug = raw.get("slug")
    first, *children = with_children(raw)
    if isinstance(first, Market) and first.kind == TOPIC:
        first = replace(first, status=_status_of_topic(first.status, children))
    return MarketDetail(
        records=[first, *children],
        slug=slug if isinstance(slug, str) and slug.isprintable() and slug else None,
        may_be_child="labels" not in raw,
    )


def parse_positions(result: Any, limit: int) -> PositionPage:
    """A page of a wallet's positions, of at most ``limit`` entries."""
    total, entries = _list_of(result, limit)
    return PositionPage(total, [parse_or_reject(raw, _position) for raw in entries])


def parse_leaderboard(result: Any) -> list[Candidate]:
    """The wallets of the site's leaderboard, the best first."""
    rows = result.get("list") if isinstance(result, dict) else None
    if not isinstance(rows, list):
        raise InvalidResponse("there is no list in it")
    found = []
    for rank, row in enumerate(rows, start=1):
        address = row.get("walletAddress") if isinstance(row, dict) else None
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise InvalidResponse(f"walletAddress is {address!r:.60}")
        try:
            found.append(Candidate(rank, address.lower(), _text(row, "userName") or None, _number(row, "rankingValue")))
        except InvalidRecord as exc:
            raise InvalidResponse(str(exc)) from exc
    return found


def parse_price(result: Any) -> float | None:
    """The latest price of a token, from 0 to 1; None if it never traded.

    A token that never traded has an empty price, or (seen live) a price of 0.0 with a ``timestamp`` of 0.
    """
    fields = result if isinstance(result, dict) else {"price": result}
    try:
        price = _number(fields, "price")
    except InvalidRecord as exc:
        raise InvalidResponse(f"Opinion.Trade: invalid latest price: {exc}") from exc
    if price is not None and not 0 <= price <= 1:
        raise InvalidResponse(f"Opinion.Trade: the latest price is {price}, not from 0 to 1")
    if price == 0 and fields.get("timestamp") in (None, 0, "", "0"):
        return None
    return price


def parse_liquidity(result: Any) -> float:
    """USD resting in an order book: the sum of price x size over both sides."""
    try:
        levels = [level for side in ("bids", "asks") for level in result[side] or []]
        return math.fsum(
            _given(_not_negative(level, "price"), "price") * _given(_not_negative(level, "size"), "size")
            for level in levels
        )
    except (InvalidRecord, TypeError, KeyError, AttributeError) as exc:
        raise InvalidResponse("Opinion.Trade: invalid order book") from exc


def parse_or_reject(raw: Any, parse: Callable[[Mapping[str, Any]], Item]) -> Item | RejectedRecord:
    """The record that ``parse`` makes of ``raw``, or why there is none."""
    try:
        if not isinstance(raw, dict):
            raise InvalidRecord(f"the record is {type(raw).__name__}, not an object")
        return parse(raw)
    except RecursionError:
        return RejectedRecord("the record is nested too deeply", _dump(raw))
    except InvalidRecord as exc:
        timestamp = None
        if isinstance(raw, dict):
            with suppress(InvalidRecord):
                timestamp = _time(raw, "createdAt")
        return RejectedRecord(str(exc), _dump(raw), timestamp)


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


def with_children(raw: Any) -> list[Market | RejectedRecord]:
    """A top-level market followed by its children; each is read or rejected by itself."""
    parent = parse_or_reject(raw, lambda record: _market(record, None, None))
    children = raw.get("childMarkets") if isinstance(raw, dict) else None
    if not isinstance(children, list):
        return [parent]
    known = parent if isinstance(parent, Market) else None
    return [
        parent,
        *(parse_or_reject(child, lambda record: _market(record, raw, known)) for child in children),
    ]


def _list_of(result: Any, limit: int) -> tuple[int, list[Any]]:
    """The ``total`` and the ``list`` of a result; an empty list may be null."""
    total = result.get("total") if isinstance(result, dict) else None
    entries = result.get("list") if isinstance(result, dict) else None
    entries = [] if entries is None else entries
    if not isinstance(entries, list) or isinstance(total, bool) or not isinstance(total, int):
        raise InvalidResponse("Opinion.Trade: the response is not a list with 'total' and 'list'")
    if not 0 <= total <= MAX_TOTAL:
        raise ContradictoryList(f"Opinion.Trade: a list with a total of {str(total)[:20]}")
    if len(entries) > limit:
        raise ContradictoryList(
            f"Opinion.Trade: a page of {len(entries)} entries, where at most {limit} were requested"
        )
    return total, entries


def _trade(raw: Mapping[str, Any]) -> Trade:
    status, name = raw.get("status"), raw.get("statusEnum")
    filled = status == FILLED or (isinstance(name, str) and name.lower() in FILLED_NAMES)
    if not filled and (status, name) != (None, None):
        raise InvalidRecord(f"status is {status!r:.20} ({name!r:.20}), not filled")
    action = _given(_text(raw, "side"), "side").upper()
    outcome = _outcome(raw)
    amount = _not_negative(raw, "amount")
    if action in (BUY, SELL):
        _given(amount, "amount")
        if outcome is None:
            raise InvalidRecord(f"outcomeSide is {raw.get('outcomeSide')!r:.20}, neither 1 (yes) nor 2 (no)")
    market, parent = _id(raw, "marketId"), _parent_id(raw)
    parent_title = _text(raw, "rootMarketTitle") or None
    return Trade(
        tx_hash=_given(_text(raw, "txHash"), "txHash"),
        market_external_id=market,
        market_title=_text(raw, "marketTitle") or parent_title or f"market {market}",
        action=action,
        outcome=outcome,
        amount=amount or 0.0,
        price=_not_negative(raw, "price"),
        shares=_not_negative(raw, "shares"),
        fee=_number(raw, "fee"),
        profit=_number(raw, "profit"),
        timestamp=_given(_time(raw, "createdAt"), "createdAt"),
        parent_external_id=parent,
        parent_title=parent_title if parent else None,
        outcome_label=_text(raw, "outcome") or None,
    )


def _position(raw: Mapping[str, Any]) -> Position:
    outcome, market, parent = _outcome(raw), _id(raw, "marketId"), _parent_id(raw)
    label = _text(raw, "outcome") or outcome
    if label is None:
        raise InvalidRecord(f"outcomeSide is {raw.get('outcomeSide')!r:.20}, neither 1 (yes) nor 2 (no)")
    parent_title = _text(raw, "rootMarketTitle") or None
    average = _not_negative(raw, "avgEntryPrice")
    return Position(
        market_external_id=market,
        market_title=_text(raw, "marketTitle") or parent_title or f"market {market}",
        outcome=outcome,
        outcome_label=label,
        token_id=_text(raw, "tokenId") or None,
        shares=_given(_not_negative(raw, "sharesOwned"), "sharesOwned"),
        avg_price=average or None,  # what is held has cost something: 0 is one way to say that it is not known
        parent_external_id=parent,
        parent_title=parent_title if parent else None,
    )


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


def _parent_id(raw: Mapping[str, Any]) -> str | None:
    """The topic of a trade's market. A binary market has none: 0, nothing, or its own number."""
    if raw.get("rootMarketId") in (None, 0, "", "0"):
        return None
    parent = _id(raw, "rootMarketId")
    return None if parent == _id(raw, "marketId") else parent


def _market(raw: Mapping[str, Any], root: Mapping[str, Any] | None, parent: Market | None) -> Market:
    """A market; ``root`` and ``parent`` are its topic, raw and (if it could be read) as a record."""
    identity = _id(raw, "marketId")
    topic = root is None and (raw.get("marketType") == CATEGORICAL or bool(raw.get("childMarkets")))
    root_identity = identity if root is None else _id(root, "marketId")
    yes, no, won = (_text(raw, field) for field in ("yesTokenId", "noTokenId", "resultTokenId"))
    yes, no, won = (None if token in ("", "0") else token for token in (yes, no, won))
    status = _status(raw)
    return Market(
        kind=TOPIC if topic else MARKET,
        external_id=identity,
        parent_external_id=None if root is None else root_identity,
        title=_text(raw, "marketTitle") or f"market {identity}",
        category=_category(raw) or (parent.category if parent else None) or "other",
        status=status,
        yes_label=_text(raw, "yesLabel"),
        no_label=_text(raw, "noLabel"),
        yes_token_id=yes,
        no_token_id=no,
        volume=_number(raw, "volume"),
        volume_24h=_number(raw, "volume24h"),
        volume_7d=_number(raw, "volume7d"),
        end_date=_time(raw, "cutoffAt") or (parent.end_date if parent else None),
        resolved_at=_time(raw, "resolvedAt"),
        # A token that is named before the market is resolved is a proposal, which can be disputed.
        result={yes: "yes", no: "no"}.get(won) if won is not None and status == RESOLVED else None,
        url=web_page(root_identity, is_topic=topic or root is not None),
        created_at=_time(raw, "createdAt"),
    )


def web_page(root: str, *, is_topic: bool) -> str:
    """The address of the web page of a binary market, or of a topic and its children."""
    return f"{WEB_PAGE}{root}" + ("&type=multi" if is_topic else "")


def _status(raw: Mapping[str, Any]) -> str:
    number, name = raw.get("status"), raw.get("statusEnum")
    if isinstance(number, int) and number in STATUSES:
        return STATUSES[number]
    if isinstance(name, str) and name.isalpha():
        return name.lower()
    raise InvalidRecord(f"status is {number!r:.20}, which is not known")


def _category(raw: Mapping[str, Any]) -> str | None:
    match raw.get("labels"):
        case [str(first), *_]:
            return _text({"labels": first}, "labels")
    return None


def _text(raw: Mapping[str, Any], field: str) -> str | None:
    value = raw.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRecord(f"{field} is {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRecord(f"{field} has a lone surrogate, which is not text") from None
    return value


def _id(raw: Mapping[str, Any], field: str) -> str:
    return str(_whole(raw, field, 10**78, "the number of a market"))


def _whole(raw: Mapping[str, Any], field: str, largest: int, what: str) -> int:
    value = raw.get(field)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:80])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= largest:
        raise InvalidRecord(f"{field} is {value!r:.40}, not {what}")
    return value


def _number(raw: Mapping[str, Any], field: str) -> float | None:
    """A decimal string (up to 18 decimals) or a JSON number; None where it is empty or missing."""
    value = raw.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidRecord(f"{field} is {type(value).__name__}, not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST_NUMBER or (isinstance(value, str) and "_" in value):
        raise InvalidRecord(f"{field} is {value!r:.40}, not a number")
    return number


def _not_negative(raw: Mapping[str, Any], field: str) -> float | None:
    number = _number(raw, field)
    if number is not None and number < 0:
        raise InvalidRecord(f"{field} is negative")
    return number


def _given(value: Item | None, field: str) -> Item:
    if value is None or value == "":
        raise InvalidRecord(f"{field} is missing")
    return value


def _time(raw: Mapping[str, Any], field: str) -> int | None:
    """Unix seconds as milliseconds; None for 0 or nothing."""
    if raw.get(field) in (None, 0, "", "0"):
        return None
    return _whole(raw, field, LATEST_SECONDS, "a time in Unix seconds") * 1000


def _dump(raw: Any) -> str:
    """A record as JSON again; its escapes keep what is not text."""
    try:
        return json.dumps(raw)[:MAX_PAYLOAD_CHARS]
    except RecursionError:
        return "nested too deeply to show"
