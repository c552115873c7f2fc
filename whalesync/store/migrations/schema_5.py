"""From schema 4 to schema 5: several exchanges in one run, and readers elsewhere that follow what has changed."""

from __future__ import annotations

import secrets

from sqlite_utils import Database

from whalesync.store.migrations import schema_2

TABLES = """
-- When its content last changed after it was stored; NULL: never.
ALTER TABLE whale_activity ADD COLUMN changed_at INTEGER;

-- How each exchange went, as JSON: its name, and null or why nothing could be done for it. NULL: none was asked.
ALTER TABLE sync_logs ADD COLUMN exchanges TEXT;

-- What the exchange says was made with the shares that were held to the end, once they are redeemed. NULL: worked out.
ALTER TABLE positions ADD COLUMN redeemed_profit REAL;

-- The clocks of each exchange are compared with the host's.
UPDATE facts SET name = 'opinion_trade ' || name WHERE name IN ('clock_ahead', 'exchange_time');
"""

INDEXES = """
-- What has changed since a reader last looked.
CREATE INDEX markets_by_revision ON markets (revision);
CREATE INDEX positions_by_revision ON positions (revision);
CREATE INDEX whale_activity_by_revision ON whale_activity (revision);
"""


def upgrade(db: Database) -> None:
    """Bring a file of schema 4 to schema 5, and give it the number by which others tell it from other files."""
    schema_2.run(db, TABLES + INDEXES)
    for view in ("activity", "holdings"):  # a market that is called like its topic is not named twice
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", [view]).fetchone()
        db.execute(f"DROP VIEW {view}")
        db.execute(sql.replace("coalesce(t.title || ", "coalesce(nullif(t.title, m.title) || "))
    db.execute("INSERT INTO facts (name, value) VALUES ('file_id', ?)", [secrets.randbits(62)])
