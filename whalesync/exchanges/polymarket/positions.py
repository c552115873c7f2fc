"""A wallet's positions on Polymarket: what it holds, and what it holds no longer.

What is held includes what has ended and is not redeemed yet, with the tenth of a share that is left out by default, and
what belongs to archived markets. It is read in the order of the last event of each position: one that changes while
pages are read moves to the end, so none is missed. What is held no longer is served in the order of its profit, which
changes only where something is traded again.

The profit that the exchange realizes is by average cost, without the fees of purchases. Combos are not among positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from whalesync.errors import ContradictoryList
from whalesync.exchanges.base import Holdings
from whalesync.exchanges.http import Params
from whalesync.exchanges.polymarket.parsing import (
    LARGEST_PAGE,
    LATEST_SECONDS,
    InvalidRecord,
    market_id,
    number,
    outcome_of,
    parse_list,
    parse_or_reject,
    signed,
    text,
    title_of,
)
from whalesync.records import Position, RejectedRecord

PATH = "/positions"
MOST_PAGES = 1_000

CLOSED = "CLOSED"

Get = Callable[[str, Params], Any]
"""``whalesync.exchanges.http.Client.get`` for positions."""


def read_held(get: Get, wallet: str) -> Holdings:
    """Read what a wallet holds; raises what ``get`` raises, and ContradictoryList."""
    held: dict[str, str | int] = {"status": "OPEN", "filter_amount": 0, "include_archived": "true"}
    return _read(get, wallet, {**held, "sort_by": "TIMESTAMP", "sort_direction": "ASC"})


def read_closed(get: Get, wallet: str, since: int) -> Holdings:
    """Read what a wallet holds no longer, and that something happened to since then (ms); 0: all. Raises likewise."""
    return _read(get, wallet, {"status": CLOSED, **({"start": since // 1000} if since else {})})


def _read(get: Get, wallet: str, query: Mapping[str, str | int]) -> Holdings:
    found: dict[object, Position] = {}
    rejected: dict[bytes, RejectedRecord] = {}
    cursors: set[str | None] = {None}
    cursor = None
    requests = 0
    while cursor is not None or not requests:
        rows, cursor = parse_list(get(PATH, _page(query, wallet, cursor)))
        requests += 1
        for record in (parse_or_reject(row, _position) for row in rows):
            if isinstance(record, Position):
                found[record.token_id] = record
            else:
                rejected[record.fingerprint] = record
        if cursor in cursors - {None} or requests == MOST_PAGES:
            raise ContradictoryList("Polymarket: the list of positions does not end")
        cursors.add(cursor)
    return Holdings(list(found.values()), list(rejected.values()), complete=not rejected, requests=requests)


def _page(query: Mapping[str, str | int], wallet: str, cursor: str | None) -> Params:
    return {"user": wallet, **query, **({"limit": LARGEST_PAGE} if cursor is None else {"cursor": cursor})}


def _position(raw: Mapping[str, Any]) -> Position:
    condition, token = text(raw, "condition_id"), text(raw, "token_id")
    if not condition or not token:
        raise InvalidRecord("the record has no condition_id or token_id")
    shares = number(raw, "current_size")
    is_closed = text(raw, "status") == CLOSED or not shares
    return Position(
        market_external_id=market_id(condition),
        market_title=title_of(raw, condition),
        outcome=outcome_of(raw),
        outcome_label=text(raw, "outcome") or token,
        token_id=token,
        shares=0.0 if is_closed else shares,
        avg_price=number(raw, "avg_price", 10),
        cost=number(raw, "entry_cost_usdc"),
        realized_profit=signed(raw, "realized_pnl"),
        closed_at=_milliseconds(raw, "last_event_at") if is_closed else None,
    )


def _milliseconds(raw: Mapping[str, Any], field: str) -> int:
    """A time in Unix seconds as ms; 0 is how the exchange says that it is not known."""
    value = raw.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LATEST_SECONDS:
        raise InvalidRecord(f"{field} is {value!r:.40}, not a time in Unix seconds")
    return value * 1000
