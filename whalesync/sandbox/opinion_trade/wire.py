"""Records in the shape in which the exchange sends them: plain dicts with its own field names.

The `make_*` functions fill in what a caller does not name, so that a test names only the fields it is about. Money,
prices, shares and volumes are decimal strings; times are Unix seconds, 0 meaning none.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from ..values import Record, digest

CHAIN_ID = "56"
QUOTE_TOKEN = "0x55d398326f99059fF775485246999027B3197955"  # noqa: S105 - a coin, no secret
CREATED, ACTIVATED, RESOLVING, RESOLVED, FAILED, DELETED = range(1, 7)
STATUSES = {1: "Created", 2: "Activated", 3: "Resolving", 4: "Resolved", 5: "Failed", 6: "Deleted"}
CLAIMS = {0: "CanNotClaim", 1: "WaitClaim", 2: "Claiming", 3: "ClaimFailed", 4: "Claimed"}
BINARY, CATEGORICAL = 0, 1

# An arbitrary fixed moment (14 November 2023), so that a record made without a time is the same in every run.
SOME_TIME = 1_700_000_000


def decimal18(value: Decimal | int | str) -> str:
    """Write a number as the exchange writes volumes and amounts: with 18 decimals."""
    return f"{Decimal(value):.18f}"


def plain(value: Decimal) -> str:
    """Write a number without needless zeros: 51.3, not 51.300."""
    text = f"{value:.18f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def number(value: object) -> Decimal:
    """Read a number that the exchange writes; 0 if it is none, because a test may put anything into a record."""
    try:
        parsed = Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)
    return parsed if parsed.is_finite() else Decimal(0)


def token_id(market_id: int, outcome: str) -> str:
    """The id of an outcome's token, up to 78 digits like the real ones; `outcome` is "yes" or "no"."""
    return str(int(digest("token", market_id, outcome), 16))


def make_child(market_id: int = 1, **fields: Any) -> Record:
    """A child of a categorical market: no type, no labels, and often no cut-off.

    Its `volume24h` and `volume7d`, if given, are shown in its own detail alone.
    """
    status = fields.get("status", 2)
    return {
        "marketId": market_id,
        "marketTitle": f"Market {market_id}",
        "slug": f"market-{market_id}",
        "status": status,
        "statusEnum": STATUSES.get(status, str(status)),
        "yesLabel": "YES",
        "noLabel": "NO",
        "rules": "",
        "yesTokenId": token_id(market_id, "yes"),
        "noTokenId": token_id(market_id, "no"),
        "conditionId": digest("condition", market_id),
        "resultTokenId": "",
        "volume": decimal18(0),
        "quoteToken": QUOTE_TOKEN,
        "chainId": CHAIN_ID,
        "questionId": digest("question", market_id),
        "createdAt": SOME_TIME,
        "cutoffAt": 0,
        "resolvedAt": 0,
        "isResolvableByAI": False,
        "rebate": {"maker": 0.5},
        **fields,
    }


def make_market(market_id: int = 1, **fields: Any) -> Record:
    """A binary market, with fields that clients must ignore (`coverUrl`, `rebate`), as on the exchange."""
    return make_child(market_id) | {
        "marketType": BINARY,
        "childMarkets": None,
        "labels": ["Politics"],
        "labelIds": [1],
        "volume24h": decimal18(0),
        "volume7d": decimal18(0),
        "coverUrl": "",
        "statusEnum": STATUSES.get(fields.get("status", 2), ""),
        **fields,
    }


def make_categorical(market_id: int, children: list[Record], **fields: Any) -> Record:
    """A categorical market: its children have the tokens, and its volumes are the sums of theirs."""

    def total(name: str) -> str:
        return decimal18(sum((number(child.get(name)) for child in children), Decimal(0)))

    return make_market(market_id) | {
        "slug": f"topic-{market_id}",
        "marketType": CATEGORICAL,
        "childMarkets": children,
        "yesLabel": "",
        "noLabel": "",
        "yesTokenId": "",
        "noTokenId": "",
        "conditionId": "",
        "volume": total("volume"),
        "volume24h": total("volume24h"),
        "volume7d": total("volume7d"),
        "statusEnum": STATUSES.get(fields.get("status", 2), ""),
        **fields,
    }


def make_trade(**fields: Any) -> Record:
    """A filled trade; what is not given follows from what is: the amount is price times shares.

    The transaction hash is a digest of the other fields, so two equal calls make identical fills of one transaction,
    and any difference makes another transaction.
    """
    market_id = fields.get("marketId", 1)
    title = fields.get("marketTitle", f"Market {market_id}")
    yes = fields.get("outcomeSide", 1) == 1
    price, shares = fields.get("price", "0.5"), fields.get("shares", "100")
    # Computed only if needed: a test may send a price that is not a number.
    amount = fields["amount"] if "amount" in fields else decimal18(Decimal(price) * Decimal(shares))
    trade = {
        "marketId": market_id,
        "marketTitle": title,
        "rootMarketId": market_id,
        "rootMarketTitle": title,
        "side": "Buy",
        "outcome": "YES" if yes else "NO",
        "outcomeSide": 1 if yes else 2,
        "outcomeSideEnum": "Yes" if yes else "No",
        "price": price,
        "shares": shares,
        "amount": amount,
        "fee": "0",
        "profit": "0",
        "quoteToken": QUOTE_TOKEN,
        "quoteTokenUsdPrice": "1",
        # Base units of 18 decimals, unlike every other sum here: the exchange is like that.
        "usdAmount": amount.replace(".", "").lstrip("0") if isinstance(amount, str) else "0",
        "status": 2,
        "statusEnum": "Filled",
        "chainId": CHAIN_ID,
        "createdAt": SOME_TIME,
        **fields,
    }
    if "txHash" in fields:
        return trade
    return {"txHash": "0x" + digest("trade", json.dumps(trade, sort_keys=True, default=str)), **trade}


class Position(dict[str, Any]):
    """A row of a wallet's positions; `given` is what its maker named, the rest was made up to fit."""

    def __init__(self, fields: Record, given: Record) -> None:
        super().__init__(fields)
        self.given = given


def make_position(*, price: str | None = None, **fields: Any) -> Position:
    """A position; what is not given follows from what is: the value is shares times `price`.

    `price` (of a share, now) is the entry price unless given. Books show what is not given as their market has it.
    """
    market_id = fields.get("marketId", 1)
    title = fields.get("marketTitle", f"Market {market_id}")
    side = fields.get("outcomeSide", 1)
    status, claim = fields.get("marketStatus", ACTIVATED), fields.get("claimStatus", 0)
    shares, entry = fields.get("sharesOwned", "100"), fields.get("avgEntryPrice", "0.5")
    cost = number(shares) * number(entry)
    value = fields.get("currentValueInQuoteToken", plain(number(shares) * number(entry if price is None else price)))
    gain = fields.get("unrealizedPnl", plain(number(value) - cost))
    position = {
        "marketId": market_id,
        "marketTitle": title,
        "marketStatus": status,
        "marketStatusEnum": STATUSES.get(status, ""),
        "marketCutoffAt": 0,
        "rootMarketId": market_id,
        "rootMarketTitle": title,
        "outcome": "YES" if side == 1 else "NO",
        "outcomeSide": side,
        "outcomeSideEnum": "Yes" if side == 1 else "No",
        "sharesOwned": shares,
        "sharesFrozen": "0",
        "avgEntryPrice": entry,
        "currentValueInQuoteToken": value,
        "unrealizedPnl": gain,
        # A fraction, though its name says percent.
        "unrealizedPnlPercent": plain(round(number(gain) / cost, 4)) if cost else "0",
        "dailyPnlChange": "0",
        "dailyPnlChangePercent": "0",
        "claimStatus": claim,
        "claimStatusEnum": CLAIMS.get(claim, ""),
        "tokenId": token_id(market_id, "yes" if side == 1 else "no"),
        "conditionId": digest("condition", market_id),
        "quoteToken": QUOTE_TOKEN,
        **fields,
    }
    return Position(position, fields if price is None else {"price": price, **fields})
