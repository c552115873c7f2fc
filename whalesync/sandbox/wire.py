"""Records in the shape in which the exchange sends them: plain dicts with its own field names.

The `make_*` functions fill in what a caller does not name, so that a test names only the fields it is about. Money,
prices, shares and volumes are decimal strings; times are Unix seconds, 0 meaning none.
"""

import hashlib
import json
from decimal import Decimal
from typing import Any

Record = dict[str, Any]

CHAIN_ID = "56"
QUOTE_TOKEN = "0x55d398326f99059fF775485246999027B3197955"  # noqa: S105 - a coin, no secret
STATUSES = {1: "Created", 2: "Activated", 3: "Resolving", 4: "Resolved", 5: "Failed", 6: "Deleted"}
BINARY, CATEGORICAL = 0, 1

# An arbitrary fixed moment (14 November 2023), so that a record made without a time is the same in every run.
SOME_TIME = 1_700_000_000


def decimal18(value: Decimal | int | str) -> str:
    """Write a number as the exchange writes volumes and amounts: with 18 decimals."""
    return f"{Decimal(value):.18f}"


def digest(*parts: object) -> str:
    """64 hex digits that depend on the parts alone, for transaction hashes and condition ids."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def token_id(market_id: int, outcome: str) -> str:
    """The id of an outcome's token, up to 78 digits like the real ones; `outcome` is "yes" or "no"."""
    return str(int(digest("token", market_id, outcome), 16))


def make_child(market_id: int = 1, **fields: Any) -> Record:
    """A child of a categorical market: no type, no labels, no volume by period, and often no cut-off."""
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
    """A categorical market: its children have the tokens, and its volume is the sum of theirs."""
    return make_market(market_id) | {
        "marketType": CATEGORICAL,
        "childMarkets": children,
        "yesLabel": "",
        "noLabel": "",
        "yesTokenId": "",
        "noTokenId": "",
        "conditionId": "",
        "volume": decimal18(sum(Decimal(child["volume"]) for child in children)),
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
    return {"txHash": "0x" + digest("trade", json.dumps(trade, sort_keys=True, default=str)), **trade}
