"""The leaderboard of the front end's undocumented API."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from ..values import DAY, Record, digest
from .queries import Query, Refused, integer
from .wire import number, plain

PERIODS = {"volume": (0, 1, 7, 30), "profit": (0, 1, 7, 30), "points": (0, 7)}
"""By `dataType`: in days, 0 for all time."""
LONGEST = 100
FILLED = 2
BAD_PARAMETER = 10000
DOLLARS_A_POINT = 100


def leaderboard(wallets: Mapping[str, Sequence[Record]], query: Query, now: float) -> Record:
    """The wallets with the highest volume, profit or points of a period, from the trades of each; raises Refused."""
    kind = str(query.get("dataType", "volume"))
    period, limit = (integer(name, str(query.get(name, default))) for name, default in (("period", 0), ("limit", 10)))
    if period not in PERIODS.get(kind, ()) or not 1 <= limit <= LONGEST:
        raise Refused(BAD_PARAMETER, "invalid parameter")
    since = now - period * DAY if period else 0
    values = {wallet: _value(trades, kind, since) for wallet, trades in wallets.items()}
    # Wallets without a trade come last, below those with a loss.
    ranked = sorted(values, key=lambda wallet: (values[wallet] is None, -(values[wallet] or 0)))
    return {"list": [_row(rank, wallet, kind, values[wallet]) for rank, wallet in enumerate(ranked[:limit], start=1)]}


def _value(trades: Sequence[Record], kind: str, since: float) -> Decimal | None:
    counted = [trade for trade in trades if trade["createdAt"] > since and trade.get("status") == FILLED]
    if not counted:
        return None
    field = "profit" if kind == "profit" else "amount"
    total = sum((number(trade.get(field)) for trade in counted), Decimal(0))
    return total // DOLLARS_A_POINT if kind == "points" else total


def _row(rank: int, wallet: str, kind: str, value: Decimal | None) -> Record:
    name = f"trader-{digest('name', wallet)[:6]}"
    return {
        "id": rank,
        "walletAddress": wallet,
        "userName": name,
        "avatar": "",
        "rankingValue": "" if value is None else plain(value),
        "rankingChange": 0,
        "rankingType": kind,
        # Only some have linked an account.
        **({"xUsername": name.replace("-", "_"), "xUserId": digest("x", wallet)[:12]} if rank % 3 == 0 else {}),
    }
