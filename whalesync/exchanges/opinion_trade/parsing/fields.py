"""The fields of a record, each checked when it is read, and the envelope of a list."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from whalesync.errors import ContradictoryList, InvalidResponse
from whalesync.records import RejectedRecord

LATEST_SECONDS = 253_402_300_799  # the year 9999; a larger time is in another unit
MAX_TOTAL = 50_000_000
LARGEST_NUMBER = 1e15  # USD, shares
MAX_PAYLOAD_CHARS = 65_536

Item = TypeVar("Item")


class InvalidRecord(Exception):
    """Why a record cannot be read."""


def list_of(result: Any, limit: int) -> tuple[int, list[Any]]:
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
                timestamp = time_ms(raw, "createdAt")
        return RejectedRecord(str(exc), _dump(raw), timestamp)


def text(raw: Mapping[str, Any], field: str) -> str | None:
    """Text that can be stored; None where it is missing."""
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


def identity(raw: Mapping[str, Any], field: str) -> str:
    """The number of a market or topic, of up to 78 digits."""
    return str(_whole(raw, field, 10**78, "the number of a market"))


def _whole(raw: Mapping[str, Any], field: str, largest: int, what: str) -> int:
    value = raw.get(field)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:80])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= largest:
        raise InvalidRecord(f"{field} is {value!r:.40}, not {what}")
    return value


def number(raw: Mapping[str, Any], field: str) -> float | None:
    """A decimal string (up to 18 decimals) or a JSON number; None where it is empty or missing."""
    value = raw.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidRecord(f"{field} is {type(value).__name__}, not a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        found = math.nan
    if not abs(found) <= LARGEST_NUMBER or (isinstance(value, str) and "_" in value):
        raise InvalidRecord(f"{field} is {value!r:.40}, not a number")
    return found


def not_negative(raw: Mapping[str, Any], field: str) -> float | None:
    """As ``number``, of what is never below 0."""
    value = number(raw, field)
    if value is not None and value < 0:
        raise InvalidRecord(f"{field} is negative")
    return value


def given(value: Item | None, field: str) -> Item:
    """The value of a field that no record lacks."""
    if value is None or value == "":
        raise InvalidRecord(f"{field} is missing")
    return value


def time_ms(raw: Mapping[str, Any], field: str) -> int | None:
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
