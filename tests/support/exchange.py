"""Opinion.Trade in memory: a few lists of trades behind the ``get`` of a client.

The lists hold records as the exchange sends them and are read through the real adapter, so everything from the wire to
the file is the program's own. Time stands still unless a test moves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from support.fills import Fill, listed

from whalesync.sandbox import make_trade

NOW = 1_790_000_000  # Unix seconds
WALLETS = [f"0x{number:040x}" for number in range(1, 31)]


class Asked(NamedTuple):
    """A request for a page of a wallet's trades."""

    wallet: str
    number: int
    limit: int


@dataclass(eq=False)
class Row:
    """A record in a wallet's list; while it is spoiled, the exchange shows it with these fields instead."""

    record: dict[str, Any]
    spoiled: dict[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> dict[str, Any]:
        """The record as it is sent."""
        return self.record | self.spoiled


class Exchange:
    """The lists of trades, newest first, and the requests that were made.

    ``before`` is called with the number of each request before it is answered: to let trades arrive, or to raise.
    ``lie`` may answer something else: it is given the request and the honest result. Neither does anything by default.
    """

    def __init__(self) -> None:
        self.lists: dict[str, list[Row]] = {wallet: [] for wallet in WALLETS}
        self.now = NOW
        self.asked: list[Asked] = []
        self.before: Callable[[int], None] = lambda number: None
        self.lie: Callable[[Asked, dict[str, Any]], dict[str, Any]] = lambda asked, honest: honest
        self._serial = 0

    def get(self, path: str, params: dict[str, Any]) -> Any:
        """The result of one request."""
        asked = Asked(path.removeprefix("/trade/user/"), params["page"], params["limit"])
        assert 1 <= asked.limit <= 20 and asked.number >= 1, asked
        self.asked.append(asked)
        self.before(len(self.asked))
        rows = self.lists[asked.wallet]
        window = rows[(asked.number - 1) * asked.limit : asked.number * asked.limit]
        return self.lie(asked, {"total": len(rows), "list": [row.shown for row in window]})

    @property
    def latest_date(self) -> int | None:
        """The exchange's own time, in milliseconds."""
        return self.now * 1000

    def add(self, wallet: str = WALLETS[0], at: int | None = None, depth: int = 0, **fields: Any) -> Row:
        """Add a trade of the second ``at`` (now), ``depth`` places below the newest of its second."""
        at = self.now if at is None else at
        if not fields.get("txHash"):
            self._serial += 1
            fields["txHash"] = f"0x{self._serial:064x}"
        row = Row(make_trade(createdAt=at, **fields))
        rows = self.lists[wallet]
        place = next((i for i, other in enumerate(rows) if other.record["createdAt"] <= at), len(rows))
        while depth and place < len(rows) and rows[place].record["createdAt"] == at:
            place, depth = place + 1, depth - 1
        rows.insert(place, row)
        return row

    def add_many(
        self,
        wallet: str = WALLETS[0],
        count: int = 1,
        *,
        step: int = 1,
        until: int | None = None,
        **fields: Any,
    ) -> None:
        """Add ``count`` trades, ``step`` seconds apart, the newest at ``until`` (now)."""
        last = self.now if until is None else until
        for i in range(count):
            self.add(wallet, last - step * (count - 1 - i), **fields)

    def fills(self, wallet: str = WALLETS[0], *, since: int = 0, readable: bool = False) -> Counter[Fill]:
        """What the exchange has of a wallet, from ``since`` (ms) on; ``readable``: without what is spoiled now."""
        rows = [row for row in self.lists[wallet] if not (readable and row.spoiled)]
        return listed((row.record for row in rows), since=since)
