"""The leaderboard of Opinion.Trade's site, for finding wallets worth watching.

The API of the site is not documented and has changed before (paths and fields are those that public clients use), so
nothing else depends on it. It needs no key, and gets none.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from whalesync.errors import AuthenticationError, ExchangeChanged, InvalidResponse, NotServed, RequestRefused
from whalesync.exchanges.base import Candidate
from whalesync.exchanges.http import Client
from whalesync.exchanges.opinion_trade.api import unwrap
from whalesync.exchanges.opinion_trade.parsing import fields
from whalesync.exchanges.rate import RateLimit
from whalesync.settings import is_loopback

LONGEST = 100
PERIODS = {"day": 1, "week": 7, "month": 30, "all": 0}  # in days; 0: since the beginning
CHAIN = "56"
PATIENCE = 30.0  # seconds

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def read(
    url: str, *, by: str, period: str, limit: int, log_step: Callable[[str], None], patience: float = PATIENCE
) -> list[Candidate]:
    """Read up to ``limit`` (at most LONGEST) wallets, ranked ``by`` profit or volume over a ``period`` of PERIODS.

    Raises:
        ExchangeChanged: what answers is not the leaderboard as it was.
        ExchangeError: it cannot be reached, or refuses.
    """
    query: dict[str, str | int] = {
        "dataType": by,
        "period": PERIODS[period],
        "chainId": CHAIN,
        "limit": min(limit, LONGEST),
    }
    with TemporaryDirectory() as folder:
        client = Client(
            url,
            {},
            RateLimit(Path(folder) / "rate", 1),
            unwrap,
            first_backoff=0.5,
            until=time.monotonic() + patience,
            log_step=log_step,
            title="Opinion.Trade's site",
            loopback=is_loopback(url),
        )
        with closing(client):
            try:
                return _candidates(client.get("/leaderboard", query))[:limit]
            except NotServed:
                raise
            except (InvalidResponse, RequestRefused, AuthenticationError) as exc:
                why = "it wants a login now" if isinstance(exc, AuthenticationError) else exc
                raise ExchangeChanged(
                    f"the leaderboard of Opinion.Trade's site, which is not documented, has changed ({why}). Look for"
                    " addresses on the site, and add them with 'whalesync whales add'."
                ) from exc


def _candidates(result: Any) -> list[Candidate]:
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
            name, value = fields.text(row, "userName") or None, fields.number(row, "rankingValue")
        except fields.InvalidRecord as exc:
            raise InvalidResponse(str(exc)) from exc
        found.append(Candidate(rank, address.lower(), name, value))
    return found
