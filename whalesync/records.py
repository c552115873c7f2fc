"""What exchanges tell us, free of how each of them spells it.

Money is in USD and prices are probabilities from 0 to 1, both as floats; times are integers, milliseconds
since 1970 UTC. ``None`` means "not known", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from whalesync.units import DAY, MINUTE, SECOND

BUY, SELL = "BUY", "SELL"
SPLIT, MERGE = "SPLIT", "MERGE"

#: the statuses of a market that this version knows, in the order in which one passes through them
STATUSES = CREATED, ACTIVATED, RESOLVING, RESOLVED, FAILED, DELETED = (
    "created", "activated", "resolving", "resolved", "failed", "deleted",
)  # fmt: skip

#: those of markets that have ended
ENDED = (RESOLVED, FAILED, DELETED)

#: the two kinds of rows in ``markets``: what can be traded, and the parent of several such
KINDS = MARKET, TOPIC = "market", "topic"

DAY_MS = DAY

#: how long after it was made a trade becomes visible to each tier, in milliseconds
TIER_DELAYS_MS = {"pro-plus": 0, "pro": 30 * SECOND, "free": 15 * MINUTE}

#: the rule by which ``Trade.fill_key`` is computed stands in its lowest bits
FILL_KEY_RULE = 2
TOKEN_FILL_KEY_RULE = 3
FILL_KEY_RULE_BITS = 4
FILL_KEY_RULE_MASK = (1 << FILL_KEY_RULE_BITS) - 1

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Market:
    """A tradeable market, or a topic: the parent of several, which has no tokens of its own.

    ``provisional``: the exchange does not vouch for the status here; one that is already known counts more. Prices and
    liquidity are None where they are not given with the market; both prices are given, or neither.
    """

    kind: str
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
    provisional: bool = False
    yes_price: float | None = None
    no_price: float | None = None
    liquidity: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the other markets of its exchange."""
        return self.kind, self.external_id


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of a wallet, as its exchange lists it. Exchanges give fills no id.

    ``parent_external_id`` and ``parent_title`` name the topic of the market, if it has one. ``fill_key_rule``: what of
    it is final when the fill happens; see ``fill_key``.
    """

    tx_hash: str
    market_external_id: str
    market_title: str
    action: str
    outcome: str | None
    amount: float
    price: float | None
    shares: float | None
    fee: float | None
    profit: float | None
    timestamp: int
    parent_external_id: str | None = None
    parent_title: str | None = None
    outcome_label: str | None = None
    token_id: str | None = None
    fill_key_rule: int = FILL_KEY_RULE
    _fill_key: int | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def fill_key(self) -> int:
        """64 bits that tell fills apart; see ``fill_key``. Computed once."""
        if self._fill_key is None:  # comparing and storing both ask for it: a tenth of what storing costs
            key = fill_key(
                self.tx_hash,
                self.market_external_id,
                self.action,
                self.outcome,
                self.amount,
                self.price,
                self.shares,
                self.timestamp,
                self.token_id,
                rule=self.fill_key_rule,
            )
            object.__setattr__(self, "_fill_key", key)
            return key
        return self._fill_key


def fill_key(
    tx_hash: str,
    market_external_id: str,
    action: str,
    outcome: str | None,
    amount: float,
    price: float | None,
    shares: float | None,
    timestamp: int,
    token_id: str | None = None,
    *,
    rule: int = FILL_KEY_RULE,
) -> int:
    """Compute the 64 bits (signed) by which a fill is recognised: 60 of a hash, 4 for the rule.

    Everything that is final when a fill happens takes part. Fee, profit and titles do not, because an exchange
    may correct them later. An empty figure and a zero are the same, because exchanges spell nothing in several
    ways. Fills that agree in all of this share a key; how many of them there are is counted.

    By TOKEN_FILL_KEY_RULE the token takes the place of the outcome, which may become known later; the price is left
    out, which is a ratio, and the time, which changes where a transaction is mined again. Figures are in millionths.
    """
    parts: tuple[object, ...]
    if rule == TOKEN_FILL_KEY_RULE:
        micro = round((amount or 0.0) * MICRO), round((shares or 0.0) * MICRO)
        parts = (tx_hash.lower(), market_external_id, action, token_id, *micro)
    else:
        parts = (
            tx_hash.lower(),
            market_external_id,
            action,
            outcome,
            amount or 0.0,
            price or 0.0,
            shares or 0.0,
            timestamp,
        )
    digest = blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big", signed=True) >> FILL_KEY_RULE_BITS << FILL_KEY_RULE_BITS) | rule


def fill_key_rule(key: int | None) -> int:
    """The rule by which a fill key was computed."""
    return FILL_KEY_RULE if key is None else key & FILL_KEY_RULE_MASK


@dataclass(frozen=True, slots=True)
class Position:
    """What a wallet holds of one outcome, as its exchange lists it.

    ``shares`` may be 0 in a row that the exchange keeps listing; ``avg_price`` is what was paid for a share on average.
    ``cost``: what was paid for all of them, where the exchange says it; an average is rounded.
    ``realized_profit``: what was made of all that went out of it, None where the exchange does not say.
    ``closed_at`` (ms): since when it is held no longer, None while it is.
    """

    market_external_id: str
    market_title: str
    outcome: str | None
    outcome_label: str
    token_id: str | None
    shares: float
    avg_price: float | None
    parent_external_id: str | None = None
    parent_title: str | None = None
    cost: float | None = None
    realized_profit: float | None = None
    closed_at: int | None = None


class RejectedRecord(NamedTuple):
    """A record that cannot be read: why, and as it came (JSON). ``timestamp`` (ms) is its time if that is readable."""

    reason: str
    payload: str
    timestamp: int | None = None

    @property
    def fingerprint(self) -> bytes:
        """16 bytes by which the record is recognised when it comes again."""
        return blake2b(self.payload.encode("utf-8", "surrogatepass"), digest_size=16).digest()
