"""Records in the shape in which Polymarket sends them.

The `make_*` functions fill in what a caller does not name, so that a test names only the fields it is about. Sizes are
shares, sums are USD, both with up to 6 decimals; times of the Data API are Unix seconds, those of Gamma are texts.
"""

import json
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ..values import Record, digest

TYPES = (
    "TRADE",
    "SPLIT",
    "MERGE",
    "REDEEM",
    "CONVERSION",
    "MIGRATION",
    "REWARD",
    "YIELD",
    "MAKER_REBATE",
    "TAKER_REBATE",
    "REFERRAL_REWARD",
    "DEPOSIT",
    "WITHDRAWAL",
    "TIP",
)
"""Every kind of activity row."""
OF_MARKETS = ("TRADE", "SPLIT", "MERGE", "REDEEM", "CONVERSION")
"""The kinds that name a market."""
UNLABELLED = 999
"""The outcome index of a row whose token has not been looked up yet."""

# An arbitrary fixed moment (14 November 2023), so that a record made without a time is the same in every run.
SOME_TIME = 1_700_000_000


def token_id(number: int, index: int) -> str:
    """The id of an outcome's token, up to 78 digits like the real ones."""
    return str(int(digest("polymarket token", number, index), 16))


def condition_id(number: int, version: str = "v1") -> str:
    """A market's condition as Gamma writes it: 64 hex digits; those of V2 begin with 01 and end with 00."""
    hexdigits = digest("polymarket condition", number)
    return f"0x{hexdigits}" if version == "v1" else f"0x01{hexdigits[:60]}00"


def combo_id(number: int) -> str:
    """The condition of a combination of markets: 62 hex digits, of which Gamma knows nothing."""
    return f"0x03{digest('combo', number)[:60]}"


def as_activity_names_it(condition: str) -> str:
    """A condition as the Data API writes it: that of a V2 market lacks the last byte."""
    is_v2 = len(condition) == 66 and condition.startswith(("0x01", "0x02")) and condition.endswith("00")
    return condition[:-2] if is_v2 else condition


def plain(value: Decimal | float, places: int = 6) -> float:
    """A number as the exchange sends it: a double of up to 6 decimals."""
    return float(f"{value:.{places}f}")


def iso(at: float) -> str:
    """A Unix second as Gamma writes it: 2026-09-28T17:46:27Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def odd_time(at: float) -> str:
    """A Unix second as Gamma writes the time of closing: 2026-09-28 17:46:27+00."""
    return time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(at))


def make_activity(
    type: str = "TRADE",
    *,
    market: int = 1,
    index: int = 0,
    version: str = "v1",
    size: float = 100.0,
    price: float = 0.5,
    fee: float = 0.0,
    **fields: Any,
) -> Record:
    """A row of a wallet's activity, with what the chain says; books add what the market says.

    `usdc_size` is size times price, plus the fee of a purchase or less that of a sale; without a price it is the size.
    The transaction hash is a digest of the other fields, so two equal calls make identical rows of one transaction,
    and any difference makes another transaction.
    """
    traded, named = type == "TRADE", type in OF_MARKETS
    side = fields.get("side", "BUY" if traded else "")
    notional = size * price if traded else size
    record = {
        "timestamp": SOME_TIME,
        "type": type,
        "condition_id": as_activity_names_it(condition_id(market, version)) if named else "",
        "token_id": token_id(market, index) if traded else "",
        "side": side,
        "size": size,
        "usdc_size": plain(notional + (fee if side == "BUY" else -fee)),
        "price": price if traded else 0,
        **fields,
    }
    if "transaction_hash" in fields:
        return record
    return {"transaction_hash": "0x" + digest("activity", json.dumps(record, sort_keys=True, default=str)), **record}


def make_event(number: int = 1, **fields: Any) -> Record:
    """An event, to which markets belong, as a market names it."""
    return {"id": str(number), "slug": f"event-{number}", "title": f"Event {number}", **fields}


def make_market(
    number: int = 1,
    *,
    version: str = "v1",
    outcomes: Sequence[str] = ("Yes", "No"),
    event: Record | None = None,
    tags: Sequence[str] = (),
    volume: float = 0.0,
    **fields: Any,
) -> Record:
    """A market as Gamma lists it, with fields that clients must ignore.

    Lists are JSON within strings, but for the `positionIds` of a V2 market. `events` and `tags` are kept whole; Gamma
    shows the tags only if it is asked for them.
    """
    tokens = [token_id(number, index) for index in range(len(outcomes))]
    of_version = (
        {"clobTokenIds": json.dumps(tokens), "umaResolutionStatus": "", "questionID": f"0x{digest('question', number)}"}
        if version == "v1"
        else {"positionIds": tokens, "resolutionStatus": "active", "questionID": ""}
    )
    return {
        "id": str(number),
        "version": version,
        "conditionId": condition_id(number, version),
        "slug": f"market-{number}",
        "question": f"Market {number}?",
        "groupItemTitle": "",
        "description": "",
        "category": "",
        "icon": f"https://example.com/{number}.png",
        "image": f"https://example.com/{number}.png",
        "outcomes": json.dumps(list(outcomes)),
        "startDate": iso(SOME_TIME),
        "endDate": iso(SOME_TIME + 365 * 86_400),
        "active": True,
        "closed": False,
        "archived": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "negRisk": False,
        "restricted": True,
        "volume": str(plain(volume)),
        "volumeNum": plain(volume),
        "volume24hr": plain(volume / 50),
        "volume1wk": plain(volume / 10),
        "volume1mo": plain(volume / 3),
        "liquidity": str(plain(volume / 20)),
        "liquidityNum": plain(volume / 20),
        "orderPriceMinTickSize": 0.001,
        "orderMinSize": 5,
        "feesEnabled": True,
        "feeType": "general_fees",
        "feeSchedule": {"rate": 0.05, "exponent": 1, "takerOnly": True, "rebateRate": 0.25},
        "events": [event or make_event(number)],
        "tags": [make_tag(label) for label in tags],
        **of_version,
        **fields,
    }


def tokens_of(market: Record) -> list[str]:
    """The tokens of a market's outcomes: a list in a V2 market, and JSON in a string before."""
    tokens: list[str] = market.get("positionIds") or json.loads(market.get("clobTokenIds") or "[]")
    return tokens


def make_tag(label: str) -> Record:
    """A tag as Gamma sends it."""
    return {"id": str(int(digest("tag", label)[:5], 16)), "label": label, "slug": label.lower().replace(" ", "-")}
