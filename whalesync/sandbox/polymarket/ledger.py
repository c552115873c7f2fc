"""What a wallet holds and has gained, by average cost, from the rows of its activity."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from ..values import Record

ZERO = Decimal(0)
HALF = Decimal("0.5")


class Move(NamedTuple):
    """Shares of a token that come, or go if negative, at a price in USD a share."""

    token: str
    shares: Decimal
    price: Decimal
    fee: Decimal = ZERO


@dataclass
class Holding:
    """One token's shares, what they cost without fees, and what was gained by those that went (USD)."""

    token: str
    condition: str
    shares: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Decimal = ZERO
    bought: Decimal = ZERO
    realized: Decimal = ZERO
    first_at: int = 0
    last_at: int = 0
    gains: list[tuple[int, Decimal]] = field(default_factory=list)

    def apply(self, move: Move, at: int) -> None:
        """Take a move of the Unix second `at` into account; more than is held does not go."""
        self.first_at, self.last_at = self.first_at or at, at
        if move.shares >= 0:
            self.shares += move.shares
            self.bought += move.shares
            self.cost += move.shares * move.price
            self.fees += move.fee
            return
        gone = min(-move.shares, self.shares)
        if not gone:
            return
        part = gone / self.shares
        gain = gone * move.price - self.cost * part
        self.cost -= self.cost * part
        self.fees -= self.fees * part
        self.shares -= gone
        self.realized += gain
        self.gains.append((at, gain))


Tokens = Callable[[str], tuple[str, ...]]
"""The tokens of a condition, in the order of its outcomes; none if it is unknown."""
Payouts = Callable[[str], tuple[Decimal, ...]]
"""What a share of each outcome of a resolved condition pays (USD)."""


def number(value: object) -> Decimal:
    """A number of a record, exactly as it is printed."""
    return Decimal(str(value))


def moves_of(record: Record, tokens: Tokens, payouts: Payouts, held: dict[str, Holding]) -> list[Move]:
    """What a row moves. A conversion moves nothing by itself: whoever adds it says what it moves."""
    condition, size = record["condition_id"], number(record["size"])
    match record["type"]:
        case "TRADE":
            price = number(record["price"])
            fee = abs(number(record["usdc_size"]) - size * price)
            return [Move(record["token_id"], size if record["side"] == "BUY" else -size, price, fee)]
        case "SPLIT":
            return [Move(token, size, HALF) for token in tokens(condition)]
        case "MERGE":
            return [Move(token, -size, HALF) for token in tokens(condition)]
        case "REDEEM":
            return [
                Move(token, -held[token].shares, payout)
                for token, payout in zip(tokens(condition), payouts(condition), strict=False)
                if token in held
            ]
    return []


def holdings(
    rows: Iterable[tuple[Record, tuple[Move, ...] | None]], tokens: Tokens, payouts: Payouts
) -> dict[str, Holding]:
    """What is held of each token that was ever held, from the rows in the order of the chain.

    Each row has its moves, or None if they follow from what it says.
    """
    held: dict[str, Holding] = {}
    for record, given in rows:
        moves = moves_of(record, tokens, payouts, held) if given is None else given
        for move in moves:
            holding = held.setdefault(move.token, Holding(move.token, record["condition_id"]))
            holding.apply(move, record["timestamp"])
    return held
