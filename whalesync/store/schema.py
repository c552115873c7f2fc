"""The tables, views and indexes, and the steps from any older file to today's.

Heavy (it loads sqlite-utils) and therefore imported only when a file is made or brought up to date.
A step that has been released is never edited; a change is a new step.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

steps = Migrations("whalesync")

PRO_DELAY_MS = 30_000
FREE_DELAY_MS = 15 * 60_000

ISO = "strftime('%Y-%m-%dT%H:%M:%SZ', {} / 1000, 'unixepoch')"

TABLES = """
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE markets (
    id INTEGER PRIMARY KEY,
    platform TEXT NOT NULL DEFAULT 'opinion_trade',
    external_id TEXT NOT NULL,
    parent_external_id TEXT,
    title TEXT NOT NULL,
    category TEXT NOT NULL DEFAULT 'other',
    status TEXT,
    yes_label TEXT,
    no_label TEXT,
    yes_token_id TEXT,
    no_token_id TEXT,
    yes_price REAL,
    no_price REAL,
    price_updated_at INTEGER,
    volume REAL,
    volume_24h REAL,
    volume_7d REAL,
    liquidity REAL,
    price_left_out_since INTEGER,
    liquidity_left_out_since INTEGER,
    end_date INTEGER,
    resolved_at INTEGER,
    result TEXT CHECK (result IN ('yes', 'no')),
    url TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (platform, external_id)
);

-- AUTOINCREMENT: a wallet never inherits the trades and sums of one that somebody deleted.
CREATE TABLE whales (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    platform TEXT NOT NULL DEFAULT 'opinion_trade',
    address TEXT NOT NULL,
    label TEXT,
    tracked INTEGER NOT NULL DEFAULT 1 CHECK (tracked IN (0, 1)),
    total_volume REAL NOT NULL DEFAULT 0,
    trade_count INTEGER NOT NULL DEFAULT 0,
    last_active_at INTEGER,
    volume_24h REAL NOT NULL DEFAULT 0,
    volume_7d REAL NOT NULL DEFAULT 0,
    volume_30d REAL NOT NULL DEFAULT 0,
    buy_count INTEGER NOT NULL DEFAULT 0,
    sell_count INTEGER NOT NULL DEFAULT 0,
    realized_profit REAL NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (platform, address)
);

-- How far each wallet's list has been read; whalesync/ledger.py says what the columns mean. A wallet that
-- was never read has no row, or one with no "held".
CREATE TABLE whale_cursors (
    whale_id INTEGER PRIMARY KEY REFERENCES whales (id),
    held INTEGER,
    rejected INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    frontier INTEGER,
    below INTEGER,
    again INTEGER NOT NULL DEFAULT 0,
    floor INTEGER,
    rejected_since INTEGER,
    recheck_at INTEGER,
    left_out_since INTEGER
);

-- AUTOINCREMENT: an id is never used twice, so "newer than the last id counted" stays true after a cleanup.
CREATE TABLE whale_activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    whale_id INTEGER NOT NULL REFERENCES whales (id),
    market_id INTEGER NOT NULL REFERENCES markets (id),
    platform TEXT NOT NULL DEFAULT 'opinion_trade',
    tx_hash TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT CHECK (outcome IN ('YES', 'NO')),
    amount REAL NOT NULL,
    price REAL,
    shares REAL,
    fee REAL,
    profit REAL,
    timestamp INTEGER NOT NULL,
    visible_to_pro_plus_at INTEGER NOT NULL,
    visible_to_pro_at INTEGER NOT NULL,
    visible_to_free_at INTEGER NOT NULL,
    fill_key INTEGER,
    copy INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE sync_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL CHECK (type IN ('markets', 'whales', 'stats', 'cleanup')),
    status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    item_count INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    error_count INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE rejected_records (
    id INTEGER PRIMARY KEY,
    sync_log_id INTEGER REFERENCES sync_logs (id) ON DELETE SET NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    seen_count INTEGER NOT NULL DEFAULT 1,
    fingerprint BLOB NOT NULL,
    counted INTEGER NOT NULL DEFAULT 1,
    UNIQUE (source, fingerprint)
);

-- Exact sums behind the figures in "whales": decimals as text, so that adding and taking away never drifts.
-- "pruned_*" is what was counted and is no longer stored (to which "pruned_whole_*" add whole numbers of 1e-8, since
-- SQLite can sum those up by itself); "window_*" is what the rolling windows hold.
CREATE TABLE whale_tallies (
    whale_id INTEGER PRIMARY KEY REFERENCES whales (id),
    volume TEXT NOT NULL DEFAULT '0',
    profit TEXT NOT NULL DEFAULT '0',
    buys INTEGER NOT NULL DEFAULT 0,
    sells INTEGER NOT NULL DEFAULT 0,
    last_active INTEGER,
    pruned_volume TEXT NOT NULL DEFAULT '0',
    pruned_profit TEXT NOT NULL DEFAULT '0',
    pruned_buys INTEGER NOT NULL DEFAULT 0,
    pruned_sells INTEGER NOT NULL DEFAULT 0,
    pruned_last_active INTEGER,
    pruned_whole_volume INTEGER NOT NULL DEFAULT 0 CHECK (typeof(pruned_whole_volume) = 'integer'),
    pruned_whole_profit INTEGER NOT NULL DEFAULT 0 CHECK (typeof(pruned_whole_profit) = 'integer'),
    window_24h TEXT NOT NULL DEFAULT '0',
    window_7d TEXT NOT NULL DEFAULT '0',
    window_30d TEXT NOT NULL DEFAULT '0'
);

-- Trades that somebody else than cleanup has deleted, under the ids they had: compute-stats takes them out of the
-- windows, and knows them again, should they be synced once more. "state": 0 deleted since the last compute-stats,
-- 1 taken out of the windows, 2 is back.
CREATE TABLE removed_activity (
    id INTEGER PRIMARY KEY,
    whale_id INTEGER NOT NULL,
    fill_key INTEGER,
    action TEXT NOT NULL,
    amount REAL NOT NULL,
    profit REAL,
    timestamp INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0
);
"""

# Not for what cleanup deletes: it keeps the sums right by itself, and takes the trigger away meanwhile (prune.py).
REMOVED = """
CREATE TRIGGER whale_activity_removed AFTER DELETE ON whale_activity
BEGIN
    INSERT OR REPLACE INTO removed_activity (id, whale_id, fill_key, action, amount, profit, timestamp)
    VALUES (old.id, old.whale_id, old.fill_key, old.action, old.amount, old.profit, old.timestamp);
END
"""

INDEXES = """
-- No fill twice; what is held of a wallet between two moments; the feed of one whale.
CREATE UNIQUE INDEX whale_activity_by_whale ON whale_activity (whale_id, timestamp, fill_key, copy);
-- The feed of all; cleanup; what leaves a rolling window.
CREATE INDEX whale_activity_by_time ON whale_activity (timestamp);
-- The flow of one market.
CREATE INDEX whale_activity_by_market ON whale_activity (market_id, timestamp);
-- The last runs of a job, and a run found open after a crash.
CREATE INDEX sync_logs_by_type ON sync_logs (type, id);
-- Retention of the log, and of what it points to.
CREATE INDEX sync_logs_by_start ON sync_logs (started_at);
CREATE INDEX rejected_records_by_run ON rejected_records (sync_log_id);
-- The children of a market.
CREATE INDEX markets_by_parent ON markets (parent_external_id);
-- What compute-stats has to take out of the windows; a fill that comes back; retention.
CREATE INDEX removed_activity_by_state ON removed_activity (state, id);
CREATE INDEX removed_activity_by_fill ON removed_activity (whale_id, fill_key);
CREATE INDEX removed_activity_by_time ON removed_activity (timestamp);
"""


def _view(tier: str, delay_ms: int) -> str:
    # The delay is taken from "timestamp" itself, so that the index on it serves all three.
    return f"""
CREATE VIEW activity_{tier} AS
SELECT
    a.id,
    {ISO.format("a.timestamp")} AS time,
    w.address AS whale_address,
    w.label AS whale_label,
    m.title AS market_title,
    a.action,
    a.outcome,
    a.amount,
    a.price,
    a.shares,
    a.fee,
    a.profit,
    a.tx_hash,
    m.category AS market_category,
    m.external_id AS market_external_id,
    m.url AS market_url,
    a.whale_id,
    a.market_id,
    a.platform,
    a.timestamp,
    {ISO.format(f"a.visible_to_{tier}_at")} AS visible_at
FROM whale_activity AS a
JOIN whales AS w ON w.id = a.whale_id
JOIN markets AS m ON m.id = a.market_id
WHERE a.timestamp <= CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - {delay_ms}
"""


@steps()
def first(db: Database) -> None:
    """The tables of the first release."""
    for statement in (TABLES + INDEXES).split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute(REMOVED)
    for tier, delay_ms in (("pro_plus", 0), ("pro", PRO_DELAY_MS), ("free", FREE_DELAY_MS)):
        db.execute(_view(tier, delay_ms))
