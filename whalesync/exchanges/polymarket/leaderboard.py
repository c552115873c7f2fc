"""The public leaderboard of Polymarket, for finding wallets worth watching."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from whalesync.errors import InvalidResponse
from whalesync.exchanges.base import Candidate
from whalesync.exchanges.http import Params
from whalesync.exchanges.polymarket.parsing import LARGEST_PAGE, InvalidRecord, parse_list, signed, text

PATH = "/leaderboard"
RANKED_BY = {"profit": "PNL", "volume": "VOLUME"}

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def read(get: Callable[[str, Params], Any], *, by: str, period: str, limit: int) -> list[Candidate]:
    """Read up to ``limit`` (at most LARGEST_PAGE) wallets, ranked ``by`` profit or volume over a ``period``.

    The volume is in shares. Raises what ``get`` raises, and InvalidResponse.
    """
    query: Params = {"time_period": period, "sort_by": RANKED_BY[by], "limit": min(limit, LARGEST_PAGE)}
    rows, _ = parse_list(get(PATH, query))
    try:
        return [_candidate(row, by) for row in rows][:limit]
    except InvalidRecord as exc:
        raise InvalidResponse(f"Polymarket: invalid leaderboard: {exc}") from exc


def _candidate(row: Any, by: str) -> Candidate:
    if not isinstance(row, Mapping) or not isinstance(row.get("rank"), int):
        raise InvalidRecord("a row has no rank")
    address, name = text(row, "user_id").lower(), text(row, "user_name")
    if not _ADDRESS.fullmatch(address):
        raise InvalidRecord(f"user_id is {address!r:.60}")
    name = "" if name.lower().startswith(address) else name  # what is shown for a wallet without a name
    if by == "profit":
        return Candidate(row["rank"], address, name or None, signed(row, "pnl"))
    return Candidate(row["rank"], address, name or None, None, shares=signed(row, "volume"))
