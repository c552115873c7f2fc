"""From schema 1 to schema 2: several exchanges, markets and topics numbered apart, rows that can be superseded.

A step that has been released is never edited.

The cursors of schema 1 are dropped, since a loss may hide behind them: a wallet with rows and without a cursor is
compared whole. Fill keys are computed anew, because an empty figure and a zero were two things in schema 1.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from sqlite_utils import Database

from whalesync.store.migrations import schema_2

CHUNK = 20_000

# What depends on tables that are replaced, and those tables.
REPLACED = """
DROP TRIGGER IF EXISTS whale_activity_removed;
DROP VIEW IF EXISTS activity_pro_plus;
DROP VIEW IF EXISTS activity_pro;
DROP VIEW IF EXISTS activity_free;
DROP INDEX IF EXISTS whale_activity_by_whale;
ALTER TABLE markets RENAME TO old_markets;
ALTER TABLE sync_logs RENAME TO old_sync_logs;
ALTER TABLE rejected_records RENAME TO old_rejected_records;
ALTER TABLE whale_cursors RENAME TO old_whale_cursors;
"""

COLUMNS = """
ALTER TABLE whale_activity ADD COLUMN outcome_label TEXT;
ALTER TABLE whale_activity ADD COLUMN token_id TEXT;
ALTER TABLE whale_activity ADD COLUMN stored_at INTEGER;
ALTER TABLE whale_activity ADD COLUMN superseded_at INTEGER;
ALTER TABLE whale_activity ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE whales ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
"""

# Rows of wallets that somebody deleted by hand go; their trades stay. What was a topic has children, no tokens, and
# no trades.
COPY = """
INSERT INTO markets (id, platform, kind, external_id, parent_external_id, title, category, status, yes_label,
    no_label, yes_token_id, no_token_id, yes_price, no_price, price_updated_at, volume, volume_24h, volume_7d,
    liquidity, price_left_out_since, liquidity_left_out_since, end_date, resolved_at, result, url, created_at,
    updated_at, revision)
SELECT id, platform,
    CASE WHEN parent_external_id IS NULL AND yes_token_id IS NULL
        AND EXISTS (SELECT 1 FROM old_markets AS c WHERE c.parent_external_id = m.external_id)
        AND NOT EXISTS (SELECT 1 FROM whale_activity AS a WHERE a.market_id = m.id)
    THEN 'topic' ELSE 'market' END,
    external_id, parent_external_id, title, category, status, yes_label, no_label, yes_token_id, no_token_id, yes_price,
    no_price, price_updated_at, volume, volume_24h, volume_7d, liquidity, price_left_out_since,
    liquidity_left_out_since, end_date, resolved_at, result, url, created_at, updated_at, 1
FROM old_markets AS m;
INSERT INTO sync_logs SELECT id, type, status, started_at, ended_at, item_count, error, error_count FROM old_sync_logs;
INSERT INTO rejected_records (id, sync_log_id, whale_id, source, reason, payload, first_seen_at, last_seen_at,
    seen_count, fingerprint)
SELECT r.id, (SELECT id FROM old_sync_logs WHERE id = sync_log_id), w.id, source, reason, payload, first_seen_at,
    last_seen_at, seen_count, fingerprint
FROM old_rejected_records AS r LEFT JOIN whales AS w ON r.source = 'trades ' || w.address;
INSERT INTO whale_cursors (whale_id, left_out_since)
SELECT whale_id, left_out_since FROM old_whale_cursors WHERE whale_id IN (SELECT id FROM whales);
INSERT INTO removed_sums (whale_id, volume, profit, buys, sells, last_active_at)
SELECT whale_id, CAST(pruned_volume AS REAL) + pruned_whole_volume * 1e-8,
    CAST(pruned_profit AS REAL) + pruned_whole_profit * 1e-8, pruned_buys, pruned_sells, pruned_last_active
FROM whale_tallies
WHERE (pruned_buys OR pruned_sells OR pruned_last_active IS NOT NULL) AND whale_id IN (SELECT id FROM whales);
UPDATE whales SET revision = 1;
"""

DROP = """
DROP TABLE removed_activity;
DROP TABLE whale_tallies;
DROP TABLE old_whale_cursors;
DROP TABLE old_rejected_records;
DROP TABLE old_sync_logs;
DROP TABLE old_markets;
DELETE FROM facts WHERE name IN ('stats_last_id', 'stats_as_of');
INSERT INTO facts (name, value) VALUES ('revision', 1);
"""


def upgrade(db: Database) -> None:
    """Bring a file of schema 1 to schema 2. Tables are replaced: foreign keys off, ``legacy_alter_table`` on."""
    tables = schema_2.TABLES.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")
    schema_2.run(db, REPLACED + COLUMNS + tables + COPY)
    _compute_fill_keys(db)
    schema_2.run(db, DROP)
    schema_2.create_indexes_and_views(db)


def _compute_fill_keys(db: Database) -> None:
    """Give every row its key by the new rule; rows that come to share one are copies, in the order of their ids."""
    last = 0
    while rows := db.execute(
        "SELECT a.id, a.tx_hash, m.external_id, a.action, a.outcome, a.amount, a.price, a.shares, a.timestamp"
        " FROM whale_activity AS a JOIN markets AS m ON m.id = a.market_id WHERE a.id > ? ORDER BY a.id LIMIT ?",
        [last, CHUNK],
    ).fetchall():
        db.conn.executemany(
            "UPDATE whale_activity SET fill_key = ?, copy = 1, stored_at = timestamp, revision = 1 WHERE id = ?",
            [(_fill_key(*parts), row_id) for row_id, *parts in rows],
        )
        last = rows[-1][0]
    db.execute(
        "UPDATE whale_activity AS a SET copy = b.number FROM (SELECT id, row_number() OVER"
        " (PARTITION BY whale_id, timestamp, fill_key ORDER BY id) AS number FROM whale_activity) AS b"
        " WHERE a.id = b.id AND b.number > 1"
    )


def _fill_key(
    tx_hash: str,
    market: str,
    action: str,
    outcome: str | None,
    amount: float,
    price: Any,
    shares: Any,
    at: int,
) -> int:
    """Rule 2, as it was when schema 2 was released (``whalesync.records.fill_key``)."""
    parts = (tx_hash.lower(), market, action, outcome, amount or 0.0, price or 0.0, shares or 0.0, at)
    digest = blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big", signed=True) >> 4 << 4) | 2
