"""The list of markets, which differs from the details of the same markets as it was seen to on the exchange."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from ..values import Record
from .queries import Query, Refused, choice, integer
from .wire import ACTIVATED, BINARY, CATEGORICAL, CREATED, RESOLVED, STATUSES, decimal18, number

ALL_TYPES = 2
CURRENT_OF_SERIES, ONLY_SERIES, NO_SERIES = 0, 1, 2
VOLUMES = ("volume", "volume24h", "volume7d")
NEWEST_FIRST = 1

# The field of each `sortBy`, and whether the largest comes first.
SORTS = {
    NEWEST_FIRST: ("createdAt", True),
    2: ("cutoffAt", False),
    3: ("volume", True),
    4: ("volume", False),
    5: ("volume24h", True),
    6: ("volume24h", False),
    7: ("volume7d", True),
    8: ("volume7d", False),
}


def listing(markets: Iterable[Record], query: Query) -> list[Record]:
    """The binary markets and topics that a query asks for, as the list shows them; raises Refused."""
    kind = choice(query, "marketType", (BINARY, CATEGORICAL, ALL_TYPES))
    series = choice(query, "collectionType", (CURRENT_OF_SERIES, ONLY_SERIES, NO_SERIES))
    status = str(query.get("status", ""))
    if status not in ("", "activated", "resolved"):
        raise Refused(400, "status must be activated or resolved")
    label = integer("labelId", str(query["labelId"])) if "labelId" in query else None
    found = [
        _as_listed(market)
        for market in markets
        if kind in (ALL_TYPES, market.get("marketType"))
        and _in_collection(market, series)
        and (label is None or label in (market.get("labelIds") or ()))
    ]
    if status:
        wanted = RESOLVED if status == "resolved" else ACTIVATED
        found = [_without_others(market, wanted) for market in found if market["status"] == wanted]
    return sort(found, choice(query, "sortBy", (NEWEST_FIRST, 0, *SORTS)) or NEWEST_FIRST)


def sort(markets: list[Record], by: int = NEWEST_FIRST) -> list[Record]:
    """Markets in the order of a `sortBy`; equal ones stay in the order in which they were added."""
    name, largest_first = SORTS[by]

    def key(market: Record) -> Decimal:
        value = number(market.get(name))
        ends_never = name == "cutoffAt" and not value
        return Decimal("inf") if ends_never else -value if largest_first else value

    return sorted(markets, key=key)


def _in_collection(market: Record, series: int) -> bool:
    collection = market.get("collection")
    if not collection:
        return series != ONLY_SERIES
    if series == CURRENT_OF_SERIES:
        return bool(collection["current"]["marketId"] == market["marketId"])
    return series == ONLY_SERIES


def _as_listed(market: Record) -> Record:
    """A topic counts double, lacks some ids, and is activated if a child is; a binary market is as in its detail."""
    if market.get("marketType") != CATEGORICAL:
        return market
    children = market.get("childMarkets") or []
    trading = market["status"] == CREATED and any(child["status"] == ACTIVATED for child in children)
    return (
        market
        | {name: decimal18(2 * number(market[name])) for name in VOLUMES if name in market}
        | ({"status": ACTIVATED, "statusEnum": STATUSES[ACTIVATED]} if trading else {})
        | {"questionId": "", "childMarkets": [child | {"conditionId": ""} for child in children]}
    )


def _without_others(market: Record, status: int) -> Record:
    """Without the children that are resolved while the market is not, or the other way round."""
    children: list[dict[str, Any]] | None = market.get("childMarkets")
    if not children:
        return market
    resolved = status == RESOLVED
    return market | {"childMarkets": [child for child in children if (child["status"] == RESOLVED) == resolved]}
