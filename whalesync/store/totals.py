"""How much the file holds, for ``status``."""

from __future__ import annotations

from dataclasses import dataclass

from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.base import Progress
from whalesync.store.database import Database


@dataclass(frozen=True, slots=True)
class Totals:
    """How much the file holds: trades that count, tradeable markets, wallets on the watch list.

    ``loading``: how many of the wallets are not stored completely; ``missing``: how many of their trades are known to
    be missing.
    """

    trades: int
    markets: int
    tracked: int
    loading: int
    missing: int


def totals(db: Database) -> Totals:
    """Count what the file holds."""
    with db.read():
        trades, markets = db.one(
            "SELECT (SELECT count(*) FROM whale_activity)"
            " - (SELECT count(*) FROM whale_activity WHERE superseded_at IS NOT NULL),"
            " (SELECT count(*) FROM markets WHERE kind = 'market')"
        )
        wallets = db.rows(
            "SELECT w.platform, c.state FROM whales AS w LEFT JOIN whale_cursors AS c ON c.whale_id = w.id"
            " WHERE w.tracked"
        )
    progress = [progress_of(platform, state) for platform, state in wallets]
    return Totals(
        trades,
        markets,
        tracked=len(progress),
        loading=sum(not each.complete for each in progress),
        missing=sum(each.missing or 0 for each in progress),
    )


def progress_of(platform: str, state: str | None) -> Progress:
    """How far a wallet has been read; one of an exchange that this version does not know is not read at all."""
    exchange = EXCHANGES.get(platform)
    return exchange.trades.progress(state) if exchange else Progress("unknown exchange", complete=False)
