"""What the exchange's answers mean, free of how it spells them.

Money is in USD and prices are probabilities from 0 to 1, both as floats; times are integers, milliseconds
since 1970 UTC. ``None`` means "not known", never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, TypeVar

PLATFORM = "opinion_trade"

BUY, SELL = "BUY", "SELL"

ACTIVATED = "activated"

DAY_MS = 24 * 3600 * 1000

#: how long after it was made a trade becomes visible to each tier
TIER_DELAYS_MS = {"pro-plus": 0, "pro": 30_000, "free": 15 * 60_000}

#: what the sync log calls the run of each command
JOB_TYPES = {
    "sync-markets": "markets",
    "sync-whales": "whales",
    "compute-stats": "stats",
    "cleanup": "cleanup",
}

PAGE_SIZE = 20  # the most entries that the exchange gives at once


@dataclass(frozen=True, slots=True)
class Market:
    """A market or the child of one; a categorical parent has no tokens of its own."""

    external_id: str
    parent_external_id: str | None
    title: str
    category: str
    status: str
    yes_label: str | None
    no_label: str | None
    yes_token_id: str | None
    no_token_id: str | None
    volume: float | None
    volume_24h: float | None
    volume_7d: float | None
    end_date: int | None
    resolved_at: int | None
    result: str | None
    url: str
    created_at: int | None


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of a wallet, as the exchange lists it. It has no id there."""

    tx_hash: str
    market_external_id: str
    root_external_id: str | None
    market_title: str
    action: str
    outcome: str | None
    amount: float
    price: float | None
    shares: float | None
    fee: float | None
    profit: float | None
    timestamp: int
    _fill_key: int | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def fill_key(self) -> int:
        """64 bits that tell fills apart by all that is settled when a fill happens.

        Fee, profit, titles and status are left out: should the exchange correct one of them later, the fill
        is still the same. Fills that agree in the rest share a key; how many there are is counted, never
        guessed, so even two different fills that met in one key would both be kept.
        """
        if self._fill_key is not None:  # comparing and storing both ask for it: a tenth of what storing costs
            return self._fill_key
        parts = (
            self.tx_hash.lower(),
            self.market_external_id,
            self.action,
            self.outcome,
            self.amount,
            self.price,
            self.shares,
            self.timestamp,
        )
        digest = blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "big", signed=True)
        object.__setattr__(self, "_fill_key", key)
        return key


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that was refused: why, and as it came (JSON). ``timestamp`` is its time if that could be read."""

    reason: str
    payload: str
    timestamp: int | None = None


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list. Pages count from 1.

    ``total`` counts the whole list when the page was made, ``listed`` the entries of this page; ``records``
    may be more, since the children of a market stand behind it.
    """

    number: int
    total: int
    records: Sequence[Item | BadRecord]
    listed: int

    @property
    def good(self) -> list[Item]:
        """The records that could be read, in the order they came."""
        return [record for record in self.records if not isinstance(record, BadRecord)]

    @property
    def bad(self) -> list[BadRecord]:
        """The records that were refused."""
        return [record for record in self.records if isinstance(record, BadRecord)]
