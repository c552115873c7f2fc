"""Gamma: markets and events. Its parameters follow other rules than those of the Data API."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..values import Record, digest
from .books import Books, Market
from .queries import Problem
from .wire import plain

PAGE, LARGEST_PAGE = 20, 100
LONGEST_LIST = 100
SORTS = (
    "id",
    "slug",
    "question",
    "startDate",
    "endDate",
    "createdAt",
    "closedTime",
    "volume",
    "volumeNum",
    "volume24hr",
    "volume1wk",
    "volume1mo",
    "liquidity",
    "liquidityNum",
)
AS_TEXT = ("volume", "liquidity", "slug", "question", "startDate", "endDate", "createdAt", "closedTime")
"""Sorted as text: the first two although they are numbers."""

Pairs = Sequence[tuple[str, str]]


class GammaApi:
    """Answers by the path below the base address ("/markets/keyset"), with the whole document; raises Problem.

    `closing_gap`: seconds for which a market that was just closed is in neither list. `knows_v2`: whether markets of
    version 2 are listed at all; where they are not, the parameter is ignored.
    """

    def __init__(self, books: Books, *, closing_gap: float = 120.0, knows_v2: bool = True) -> None:
        self._books = books
        self.closing_gap = closing_gap
        self.knows_v2 = knows_v2

    def answer(self, path: str, pairs: Iterable[tuple[str, str]]) -> Any:
        """The document of a request."""
        pairs = list(pairs)
        with self._books.lock:
            match path.split("/")[1:]:
                case ["markets", "keyset"]:
                    return self._page("markets", self._markets(pairs), pairs)
                case ["markets"]:
                    _, limit = _limits(pairs)
                    return self._markets(pairs)[:limit]
                case ["markets", "slug", slug]:
                    return self._one(lambda record: record["slug"] == slug, pairs)
                case ["markets", number]:
                    return self._one(lambda record: record["id"] == number, pairs)
                case ["events", "keyset"]:
                    return self._page("events", self._events(pairs), pairs)
                case ["events"]:
                    _, limit = _limits(pairs)
                    return self._events(pairs)[:limit]
                case ["events", "slug", slug]:
                    return self._one_event(lambda record: record["slug"] == slug)
                case ["events", number]:
                    return self._one_event(lambda record: record["id"] == number)
        raise Problem(404, "not found", code="not_found")

    def as_sent(self, market: Market, *, tags: bool = True) -> Record:
        """A market as it is now, with its prices."""
        prices = self._books.prices(market)
        record = {name: value for name, value in market.record.items() if tags or name != "tags"}
        if not prices:
            return record
        bid, ask = max(plain(prices[0] - 0.001), 0.0), min(plain(prices[0] + 0.001), 1.0)
        quotes = {"bestBid": bid, "bestAsk": ask, "lastTradePrice": prices[0], "spread": plain(ask - bid)}
        texts = [f"{price:.6f}".rstrip("0").rstrip(".") for price in prices]
        return {"outcomePrices": json.dumps(texts), **quotes, **record}

    def _markets(self, pairs: Pairs) -> list[Record]:
        tags = _last(pairs, "include_tag") == "true"
        wanted = [market for market in self._books.markets() if self._is_asked_for(market, pairs)]
        return _sorted([self.as_sent(market, tags=tags) for market in wanted], pairs)

    def _is_asked_for(self, market: Market, pairs: Pairs) -> bool:
        record, now = market.record, self._books.clock()
        if not self._in_list(market, now, _last(pairs, "closed") == "true") or not self._in_version(record, pairs):
            return False
        values: dict[str, list[str]] = {
            "id": [record["id"]],
            "slug": [record["slug"]],
            "condition_ids": [record["conditionId"]],
            "clob_token_ids": json.loads(record.get("clobTokenIds") or "[]"),
            "position_ids": record.get("positionIds") or [],
            "question_ids": [record["questionID"]],
            "tag_id": [tag["id"] for tag in record["tags"]],
            "uma_resolution_status": [record.get("umaResolutionStatus", "")],
            "resolution_status": [record.get("resolutionStatus", "")],
        }
        for name, having in values.items():
            # A list is the key repeated: one value with commas is one value, and a key with brackets is another key.
            asked = [value for given, value in pairs if given == name]
            if len(asked) > LONGEST_LIST:
                raise _invalid(f"{name} accepts at most {LONGEST_LIST} values")
            if asked and not set(asked) & set(having):
                return False
        return all(_in_bounds(record, name, bound, value) for name, bound, value in _bounds(pairs))

    def _in_list(self, market: Market, now: float, closed: bool) -> bool:
        if market.closed_at == float("inf"):
            return bool(market.record["closed"]) == closed
        return now >= market.closed_at + self.closing_gap if closed else now < market.closed_at

    def _in_version(self, record: Record, pairs: Pairs) -> bool:
        if not self.knows_v2:
            return bool(record["version"] == "v1")
        versions = [value for name, value in pairs if name == "version"] or ["v1"]
        if unknown := set(versions) - {"v1", "v2"}:
            raise _invalid(f"invalid version: {min(unknown)}")
        return record["version"] in versions

    def _events(self, pairs: Pairs) -> list[Record]:
        closed = _last(pairs, "closed")
        found: dict[str, Record] = {}
        for market in self._books.markets():
            if not self._in_version(market.record, pairs):
                continue
            for event in market.record.get("events") or ():
                whole = found.setdefault(event["id"], {**event, "version": market.record["version"], "markets": []})
                whole["tags"] = market.record["tags"]
                whole["markets"].append({**self.as_sent(market, tags=False), "events": []})
        for event in found.values():
            event["closed"] = all(market["closed"] for market in event["markets"])
            event["active"], event["archived"] = True, False
            event["negRisk"] = any(market["negRisk"] for market in event["markets"])
            event["volume"] = plain(sum(market["volumeNum"] for market in event["markets"]))
        wanted = [
            event
            for event in found.values()
            if (not closed or event["closed"] == (closed == "true"))
            and all(
                event[name] in asked
                for name in ("id", "slug")
                if (asked := [value for given, value in pairs if given == name])
            )
        ]
        return sorted(wanted, key=lambda event: int(event["id"]))

    def _one(self, wanted: Callable[[Record], bool], pairs: Pairs) -> Record:
        tags = _last(pairs, "include_tag") == "true"
        for market in self._books.markets():
            if wanted(market.record) and (self.knows_v2 or market.record["version"] == "v1"):
                return self.as_sent(market, tags=tags)
        raise Problem(404, "id not found", code="not_found")

    def _one_event(self, wanted: Callable[[Record], bool]) -> Record:
        for event in self._events([("version", "v1"), ("version", "v2")]):
            if wanted(event):
                return event
        raise Problem(404, "id not found", code="not_found")

    def _page(self, name: str, records: list[Record], pairs: Pairs) -> Record:
        # A parameter called `cursor` is ignored, and so yields the first page for ever.
        skipped, limit = _limits(pairs)
        page: Record = {name: records[skipped : skipped + limit]}
        if len(records) > skipped + limit:
            last = records[skipped + limit - 1]["id"]
            position = json.dumps({"o": skipped + limit, "id": last}).encode()
            page["next_cursor"] = base64.urlsafe_b64encode(position).decode()
        return page


def _limits(pairs: Pairs) -> tuple[int, int]:
    """Where a page begins, and how long it is: more than is allowed is cut down without an error."""
    if any(name == "offset" for name, _ in pairs):
        raise _invalid("offset is not supported: use after_cursor")
    limit = _last(pairs, "limit") or str(PAGE)
    if not limit.isdigit():
        raise _invalid("limit must be a non-negative integer")
    skipped = 0
    if cursor := _last(pairs, "after_cursor"):
        try:
            skipped = int(json.loads(base64.urlsafe_b64decode(cursor))["o"])
        except (ValueError, KeyError, TypeError):
            raise _invalid("invalid after_cursor") from None
    return skipped, min(int(limit), LARGEST_PAGE)


def _sorted(records: list[Record], pairs: Pairs) -> list[Record]:
    names = [name.strip() for name in (_last(pairs, "order") or "").split(",") if name.strip()]
    if unknown := set(names) - set(SORTS):
        raise _invalid(f"order fields are not valid: {min(unknown)}")
    # Without an order there is none to rely on.
    records = sorted(records, key=lambda record: digest("unordered", record["id"]))
    for name in reversed(names):
        records.sort(key=lambda record: _sort_key(record, name), reverse=_last(pairs, "ascending") != "true")
    return records


def _sort_key(record: Record, name: str) -> Any:
    value = record.get(name)
    if name in AS_TEXT:
        return str(value or "")
    return float(value or 0)


def _bounds(pairs: Pairs) -> list[tuple[str, str, str]]:
    """The bounds that are asked for: the field, min or max, and the value."""
    fields = {
        "volume_num": "volumeNum",
        "liquidity_num": "liquidityNum",
        "start_date": "startDate",
        "end_date": "endDate",
    }
    matches = ((re.fullmatch(r"(\w+)_(min|max)", name), value) for name, value in pairs)
    return [(fields[match[1]], match[2], value) for match, value in matches if match and match[1] in fields]


def _in_bounds(record: Record, name: str, bound: str, text: str) -> bool:
    """Whether a field lies within a bound: of numbers, or of times, whose texts sort alike."""
    if not name.endswith("Num"):
        value = record.get(name) or ""
        return bool(value) and (value >= text if bound == "min" else value <= text)
    try:
        limit = float(text)
    except ValueError:
        raise _invalid(f"{name} must be a number") from None
    number = float(record.get(name) or 0)
    return number >= limit if bound == "min" else number <= limit


def _last(pairs: Pairs, name: str) -> str | None:
    return next((value for given, value in reversed(pairs) if given == name), None)


def _invalid(message: str) -> Problem:
    return Problem(422, message, code="validation error")
