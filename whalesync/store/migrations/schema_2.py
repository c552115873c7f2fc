"""Schema 2: the tables, indexes and views. A schema that has been released is never edited."""

from __future__ import annotations

from sqlite_utils import Database

TABLES = """
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- "kind": Opinion.Trade numbers topics and tradeable markets apart.
CREATE TABLE markets (
    id INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('market', 'topic')),
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
    revision INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, kind, external_id)
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
    revision INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, address)
);

-- How far each wallet has been read: the opaque state of its exchange's trade source (None: never read).
CREATE TABLE whale_cursors (
    whale_id INTEGER PRIMARY KEY REFERENCES whales (id),
    state TEXT,
    left_out_since INTEGER
);

-- AUTOINCREMENT: an id is never used twice, so "newer than the last id seen" stays true after a cleanup.
-- "superseded_at": the exchange no longer lists it; it counts for nothing.
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
    copy INTEGER NOT NULL DEFAULT 1,
    outcome_label TEXT,
    token_id TEXT,
    stored_at INTEGER,
    superseded_at INTEGER,
    revision INTEGER NOT NULL DEFAULT 0
);

-- The types are those of the table of jobs (whalesync/jobs/table.py); a new job needs no new schema.
CREATE TABLE sync_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    item_count INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    error_count INTEGER NOT NULL DEFAULT 0
);

-- "whale_id", "timestamp", "copies": for a record of a wallet's list, its place and how often it is listed.
CREATE TABLE rejected_records (
    id INTEGER PRIMARY KEY,
    sync_log_id INTEGER REFERENCES sync_logs (id) ON DELETE SET NULL,
    whale_id INTEGER REFERENCES whales (id),
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,
    timestamp INTEGER,
    copies INTEGER NOT NULL DEFAULT 0,
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    seen_count INTEGER NOT NULL DEFAULT 1,
    fingerprint BLOB NOT NULL,
    UNIQUE (source, fingerprint)
);

-- What cleanup has deleted, so that totals never fall: sums by whale and UTC day ("day": its first ms; NULL: sums of
-- schema 1, whose days are not known). When a day is fetched again, its sums are dropped.
CREATE TABLE removed_sums (
    whale_id INTEGER NOT NULL REFERENCES whales (id),
    day INTEGER,
    volume REAL NOT NULL,
    profit REAL NOT NULL,
    buys INTEGER NOT NULL,
    sells INTEGER NOT NULL,
    last_active_at INTEGER,
    UNIQUE (day, whale_id)
);
"""

INDEXES = """
-- No fill twice; what is stored of a wallet between two moments; the feed of one whale.
CREATE UNIQUE INDEX IF NOT EXISTS whale_activity_by_whale ON whale_activity (whale_id, timestamp, fill_key, copy);
-- The feed of all; cleanup.
CREATE INDEX IF NOT EXISTS whale_activity_by_time ON whale_activity (timestamp);
-- The flow of one market.
CREATE INDEX IF NOT EXISTS whale_activity_by_market ON whale_activity (market_id, timestamp);
-- Rows that count for nothing: few, and looked up at each count.
CREATE INDEX IF NOT EXISTS whale_activity_superseded ON whale_activity (whale_id, timestamp)
    WHERE superseded_at IS NOT NULL;
-- The last runs of a job, and a run found open after a crash; retention of the log, and of what points to it.
CREATE INDEX IF NOT EXISTS sync_logs_by_type ON sync_logs (type, id);
CREATE INDEX IF NOT EXISTS sync_logs_by_start ON sync_logs (started_at);
CREATE INDEX IF NOT EXISTS rejected_records_by_run ON rejected_records (sync_log_id);
CREATE INDEX IF NOT EXISTS rejected_records_by_whale ON rejected_records (whale_id, timestamp);
-- The children of a topic.
CREATE INDEX IF NOT EXISTS markets_by_parent ON markets (parent_external_id);
"""

ISO = "strftime('%Y-%m-%dT%H:%M:%SZ', {} / 1000, 'unixepoch')"

VIEWS = f"""
-- Every trade that counts, with its whale and market: what the feed and the views of the tiers are made from.
CREATE VIEW activity AS
SELECT
    a.id,
    {ISO.format("a.timestamp")} AS time,
    w.address AS whale_address,
    w.label AS whale_label,
    coalesce(t.title || ' › ', '') || m.title AS market_title,
    a.action,
    a.outcome,
    a.outcome_label,
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
    a.visible_to_pro_plus_at,
    a.visible_to_pro_at,
    a.visible_to_free_at
FROM whale_activity AS a
CROSS JOIN whales AS w ON w.id = a.whale_id
CROSS JOIN markets AS m ON m.id = a.market_id
LEFT JOIN markets AS t
    ON t.platform = m.platform AND t.kind = 'topic' AND t.external_id = m.parent_external_id
WHERE a.superseded_at IS NULL;
"""

NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
TIERS = ("pro_plus", "pro", "free")
TIER_COLUMNS = (
    "id, time, whale_address, whale_label, market_title, action, outcome, outcome_label, amount, price, shares, fee,"
    " profit, tx_hash, market_category, market_external_id, market_url, whale_id, market_id, platform, timestamp"
)


def create(db: Database) -> None:
    """Make everything in an empty file."""
    run(db, TABLES + "INSERT INTO facts (name, value) VALUES ('revision', 1);\n")
    create_indexes_and_views(db)


def create_indexes_and_views(db: Database) -> None:
    """Make the indexes that are missing, and the views."""
    run(db, INDEXES + VIEWS)
    for tier in TIERS:
        create_tier_view(db, tier, TIER_COLUMNS)


def create_tier_view(db: Database, tier: str, columns: str) -> None:
    """Make the view of what a tier sees now."""
    visible_at = f"visible_to_{tier}_at"
    db.execute(
        f"CREATE VIEW activity_{tier} AS SELECT {columns}, {ISO.format(visible_at)} AS visible_at"
        f" FROM activity WHERE {visible_at} <= {NOW} ORDER BY timestamp DESC, id DESC"
    )


def run(db: Database, script: str) -> None:
    """Run statements one by one: ``executescript`` would commit the transaction."""
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
