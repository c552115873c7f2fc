"""From schema 3 to schema 4: alerts."""

from __future__ import annotations

from sqlite_utils import Database

from whalesync.store.migrations import schema_2

TABLES = """
-- Since when it is on the watch list without a break; NULL: since "created_at".
ALTER TABLE whales ADD COLUMN tracked_since INTEGER;

-- What each alert rule remembers. "selection": a hash of what decides which trades it tells of; "since": when it was
-- first seen like this; "state": see State in whalesync/alerts/plan.py.
CREATE TABLE alert_states (
    alert TEXT PRIMARY KEY,
    selection TEXT NOT NULL,
    since INTEGER NOT NULL,
    state TEXT NOT NULL
) WITHOUT ROWID;

-- The fills that a rule has taken: it never tells of them again. "timestamp": that of the fill.
CREATE TABLE alert_fills (
    alert TEXT NOT NULL,
    fill_id INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (alert, fill_id)
) WITHOUT ROWID;

-- One row for each message to one target. "target" is redacted; "target_number" counts the targets of a rule that look
-- alike. "hold_until": the target asked for a pause. "content": the message as JSON, NULL once it is sent.
CREATE TABLE alert_deliveries (
    id TEXT PRIMARY KEY,
    alert TEXT NOT NULL,
    target TEXT NOT NULL,
    target_number INTEGER NOT NULL DEFAULT 1,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'failed')),
    trade_count INTEGER NOT NULL,
    total_usd REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
    sent_at INTEGER,
    error TEXT,
    created_at INTEGER NOT NULL,
    give_up_at INTEGER NOT NULL,
    hold_until INTEGER,
    content TEXT
);
"""

INDEXES = """
CREATE INDEX alert_deliveries_pending ON alert_deliveries (next_attempt_at) WHERE status = 'pending';
CREATE INDEX alert_deliveries_created ON alert_deliveries (created_at);
CREATE INDEX alert_deliveries_sent ON alert_deliveries (sent_at) WHERE sent_at IS NOT NULL;
"""


def upgrade(db: Database) -> None:
    """Bring a file of schema 3 to schema 4."""
    schema_2.run(db, TABLES + INDEXES)
