"""The wallets' trades, and how far each wallet has been read: tables ``whale_activity`` and ``whale_cursors``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from whalesync.exchanges.base import Batch, NewFill, Rewrite, StoredEntry, Traded
from whalesync.records import BUY, DAY_MS, SELL, TIER_DELAYS_MS, TOKEN_FILL_KEY_RULE
from whalesync.store import markets, outcomes, positions, rejected, stats
from whalesync.store.database import Database
from whalesync.store.outcomes import Side, changed_at
from whalesync.store.whales import Whale


class Stored:
    """What is stored of one wallet, as its trade source asks for it (``StoredTrades``)."""

    def __init__(self, db: Database, whale_id: int) -> None:
        self._db = db
        self._whale_id = whale_id

    @cached_property
    def _any_rejected(self) -> bool:
        """Few wallets have any."""
        return rejected.any_of(self._db, self._whale_id)

    def newer(self, timestamp: int) -> int:
        """How many entries are newer than ``timestamp`` (ms): fills that are not superseded, and rejected records."""
        fills: int = self._db.value(
            "SELECT (SELECT count(*) FROM whale_activity WHERE whale_id = :whale AND timestamp > :time)"
            " - (SELECT count(*) FROM whale_activity WHERE whale_id = :whale AND timestamp > :time"
            " AND superseded_at IS NOT NULL)",
            {"whale": self._whale_id, "time": timestamp},
        )
        return fills + (rejected.newer(self._db, self._whale_id, timestamp) if self._any_rejected else 0)

    def between(self, first: int, last: int) -> Sequence[StoredEntry]:
        """The entries from ``first`` to ``last`` (ms), both included, superseded ones too."""
        fills = [
            StoredEntry(*row)
            for row in self._db.rows(
                "SELECT id, fill_key, timestamp, copy, 1, fee, profit, superseded_at IS NOT NULL, action, price,"
                " shares, outcome_label IS NOT NULL FROM whale_activity"
                " WHERE whale_id = ? AND timestamp BETWEEN ? AND ?",
                (self._whale_id, first, last),
            )
        ]
        if self._any_rejected:
            fills += rejected.between(self._db, self._whale_id, first, last)
        return fills

    def rejected(self, fingerprint: bytes) -> StoredEntry | None:
        """A rejected record of this wallet, wherever it stands."""
        return rejected.find(self._db, self._whale_id, fingerprint) if self._any_rejected else None

    def has_rejected(self) -> bool:
        """Whether any rejected record counts as an entry."""
        return self._any_rejected and rejected.newer(self._db, self._whale_id, -1) > 0

    def count(self, first: int, before: int) -> int:
        """How many entries that count are from ``first`` (ms) up to, but not including, ``before``.

        One statement: cleanup asks for each wallet in one transaction.
        """
        found: int = self._db.value(
            "SELECT (SELECT count(*) FROM whale_activity WHERE whale_id = :whale AND timestamp >= :first"
            " AND timestamp < :before)"
            " - (SELECT count(*) FROM whale_activity WHERE whale_id = :whale AND timestamp >= :first"
            " AND timestamp < :before AND superseded_at IS NOT NULL)"
            " + (SELECT coalesce(sum(copies), 0) FROM rejected_records WHERE whale_id = :whale AND timestamp >= :first"
            " AND timestamp < :before)",
            {"whale": self._whale_id, "first": first, "before": before},
        )
        return found

    def traded(self, first: int, before: int) -> Traded:
        """The sums from ``first`` (ms) up to, but not including, ``before``."""
        where = "WHERE whale_id = ? AND timestamp >= ? AND timestamp < ?"
        whale_and_time = (self._whale_id, first, before)
        (fills, shares, usd), *_ = self._db.rows(
            f"SELECT count(*), total(shares), total(shares * price) FROM whale_activity {where}"
            f" AND superseded_at IS NULL AND action IN ('{BUY}', '{SELL}')",
            whale_and_time,
        )
        rejected_ones = 0
        if self._any_rejected:
            rejected_ones = self._db.value(f"SELECT total(copies) FROM rejected_records {where}", whale_and_time)
        return Traded(fills, shares, usd, int(rejected_ones))

    def entries(self) -> list[StoredEntry]:
        """All entries, superseded ones too."""
        return list(self.between(-(2**62), 2**62))


def states(db: Database) -> dict[int, str | None]:
    """The state of each wallet's trade source by whale id; wallets never read may be missing."""
    return {row[0]: row[1] for row in db.rows("SELECT whale_id, state FROM whale_cursors")}


def state(db: Database, whale_id: int) -> str | None:
    """The state of one wallet's trade source; None if it was never read."""
    found: str | None = db.value("SELECT state FROM whale_cursors WHERE whale_id = ?", (whale_id,))
    return found


def save_state(db: Database, whale_id: int, state: str, *, trades_changed: bool = False) -> None:
    """Keep the state of a wallet's trade source, and whether its stored trades changed; inside a write transaction."""
    db.execute(
        "INSERT INTO whale_cursors (whale_id, state) VALUES (:whale, :state)"
        " ON CONFLICT (whale_id) DO UPDATE SET state = :state, trades_changed = trades_changed OR :changed"
        " WHERE state IS NOT :state OR trades_changed < :changed",
        {"whale": whale_id, "state": state, "changed": trades_changed},
    )


def store(db: Database, whale: Whale, batch: Batch, known_markets: dict[str, int], *, run_id: int, now: int) -> bool:
    """Store a batch and the state that speaks of it; inside a write transaction. Returns whether a trade changed.

    ``known_markets`` maps the exchange's ids of markets to ours; it is added to. ``now`` in ms.
    """
    if batch.rewritten:
        markets.ids_for(db, whale.platform, (each.fill.trade for each in batch.rewritten), now, known_markets)
        _rewrite(db, batch.rewritten, known_markets, now)  # first, since a new row may take the place of a changed one
    if batch.new:
        markets.ids_for(db, whale.platform, (new.trade for new in batch.new), now, known_markets)
        _insert(db, whale, batch.new, known_markets, now)
        if batch.refetched_before is not None:
            times = [new.trade.timestamp for new in batch.new]
            days = {time // DAY_MS * DAY_MS for time in times if time < batch.refetched_before}
            stats.drop_removed_days(db, whale.id, sorted(days))
            positions.drop_removed_flows(db, whale.id)
    if batch.rejected:
        source = f"trades {whale.address}"
        rejected.keep_counted(db, whale.id, source, batch.rejected, run_id=run_id, now=now)
    if batch.recounted:
        rejected.recount(db, batch.recounted)
    _update_rows(db, batch, now)
    changed = any((batch.new, batch.revived, batch.superseded, batch.corrected, batch.rewritten))
    save_state(db, whale.id, batch.state, trades_changed=changed)
    return changed


def _update_rows(db: Database, batch: Batch, now: int) -> None:
    """Mark rows as superseded or listed again, and correct what the exchange has corrected."""
    changed = [(now, row_id) for row_id in batch.superseded] + [(None, row_id) for row_id in batch.revived]
    if changed:
        db.execute_many(
            f"UPDATE whale_activity SET superseded_at = ?, revision = ?, changed_at = {changed_at(now)} WHERE id = ?",
            [(at, db.revision(), row_id) for at, row_id in changed],
        )
    if batch.corrected:
        db.execute_many(
            "UPDATE whale_activity SET fee = ?, profit = ?, price = coalesce(?, price),"
            " outcome = coalesce(outcome, ?), outcome_label = coalesce(outcome_label, ?), revision = ?,"
            f" changed_at = {changed_at(now)} WHERE id = ?",
            [(*each[1:], db.revision(), each.id) for each in batch.corrected],
        )


# What is stored of a fill; the order is that of ``_content``.
_CONTENT = (
    "market_id", "tx_hash", "action", "outcome", "outcome_label", "token_id", "amount", "price", "shares", "fee",
    "profit", "timestamp", "visible_to_pro_plus_at", "visible_to_pro_at", "visible_to_free_at", "fill_key", "copy",
    "revision",
)  # fmt: skip


def _content(fill: NewFill, market_ids: dict[str, int], sides: Mapping[str, Side], revision: int) -> tuple[object, ...]:
    trade = fill.trade
    side = sides.get(trade.token_id or "") if trade.fill_key_rule == TOKEN_FILL_KEY_RULE else None
    return (
        market_ids[trade.market_external_id],
        trade.tx_hash,
        trade.action,
        side.outcome if side else trade.outcome,
        (side.label if side else None) or trade.outcome_label,
        trade.token_id,
        trade.amount,
        trade.price,
        trade.shares,
        trade.fee,
        trade.profit,
        trade.timestamp,
        trade.timestamp + TIER_DELAYS_MS["pro-plus"],
        trade.timestamp + TIER_DELAYS_MS["pro"],
        trade.timestamp + TIER_DELAYS_MS["free"],
        trade.fill_key,
        fill.copy,
        revision,
    )


def _sides(db: Database, fills: Iterable[NewFill], market_ids: dict[str, int]) -> dict[str, Side]:
    """By their tokens the sides of fills of which the side is not final; as far as the markets are known."""
    traded = (fill.trade for fill in fills if fill.trade.fill_key_rule == TOKEN_FILL_KEY_RULE)
    return outcomes.sides(db, {market_ids[trade.market_external_id] for trade in traded})


def _insert(db: Database, whale: Whale, fills: Sequence[NewFill], market_ids: dict[str, int], now: int) -> None:
    revision, sides = db.revision(), _sides(db, fills, market_ids)
    db.execute_many(
        f"INSERT INTO whale_activity ({', '.join(_CONTENT)}, whale_id, platform, stored_at)"
        f" VALUES ({', '.join('?' * len(_CONTENT))}, ?, ?, ?)",
        ((*_content(fill, market_ids, sides, revision), whale.id, whale.platform, now) for fill in fills),
    )


def _rewrite(db: Database, rewritten: Sequence[Rewrite], market_ids: dict[str, int], now: int) -> None:
    revision, sides = db.revision(), _sides(db, (each.fill for each in rewritten), market_ids)
    db.execute_many(
        f"UPDATE whale_activity SET {', '.join(f'{column} = ?' for column in _CONTENT)}, changed_at = {changed_at(now)}"
        " WHERE id = ?",
        ((*_content(each.fill, market_ids, sides, revision), each.id) for each in rewritten),
    )
