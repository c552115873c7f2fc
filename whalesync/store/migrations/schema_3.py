"""From schema 2 to schema 3: positions, profit in three figures, markets that are looked up by their id."""

from __future__ import annotations

from sqlite_utils import Database

from whalesync.store.migrations import schema_2

TABLES = """
-- "looked_up_at": when it was last asked for by its id.
ALTER TABLE markets ADD COLUMN looked_up_at INTEGER;

ALTER TABLE whales ADD COLUMN settled_profit REAL;
ALTER TABLE whales ADD COLUMN open_profit REAL;
ALTER TABLE whales ADD COLUMN open_value REAL;
ALTER TABLE whales ADD COLUMN won_count INTEGER;
ALTER TABLE whales ADD COLUMN lost_count INTEGER;
ALTER TABLE whales ADD COLUMN win_rate REAL;
ALTER TABLE whales ADD COLUMN profit_complete INTEGER NOT NULL DEFAULT 0 CHECK (profit_complete IN (0, 1));

-- "trades_changed": stored trades have changed since the positions were last worked out.
-- "positions_listed_at": when the wallet's positions were last read whole.
ALTER TABLE whale_cursors ADD COLUMN trades_changed INTEGER NOT NULL DEFAULT 1 CHECK (trades_changed IN (0, 1));
ALTER TABLE whale_cursors ADD COLUMN positions_listed_at INTEGER;

-- One row for each outcome that a whale holds or held. "unlisted_since": the exchange lists it no longer.
-- "realized_profit": of what was sold or merged. "gap": why its figures are not certain, in words; NULL if they are.
CREATE TABLE positions (
    id INTEGER PRIMARY KEY,
    whale_id INTEGER NOT NULL REFERENCES whales (id),
    market_id INTEGER NOT NULL REFERENCES markets (id),
    platform TEXT NOT NULL,
    token_id TEXT,
    outcome TEXT CHECK (outcome IN ('YES', 'NO')),
    outcome_label TEXT NOT NULL,
    shares REAL,
    avg_price REAL,
    cost REAL,
    price REAL,
    value REAL,
    unrealized_profit REAL,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'won', 'lost', 'void', 'closed')),
    settled_profit REAL,
    realized_profit REAL,
    gap TEXT,
    first_seen_at INTEGER NOT NULL,
    listed_at INTEGER,
    unlisted_since INTEGER,
    closed_at INTEGER,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0
);

-- What the trades that cleanup has deleted did to each position, so that age alone makes no profit unknown. In and
-- out: bought or split, sold or merged; "cost_out": what had been paid for the shares that went out.
CREATE TABLE removed_flows (
    whale_id INTEGER NOT NULL REFERENCES whales (id),
    market_id INTEGER NOT NULL REFERENCES markets (id),
    outcome TEXT NOT NULL,
    label TEXT,
    shares_in REAL NOT NULL,
    cost_in REAL NOT NULL,
    shares_out REAL NOT NULL,
    cost_out REAL NOT NULL,
    realized_profit REAL NOT NULL,
    unknown INTEGER NOT NULL,
    undivided INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (whale_id, market_id, outcome)
) WITHOUT ROWID;
"""

INDEXES = """
-- No position twice. Labels are the exchange's: both outcomes of a market may have the same one.
CREATE UNIQUE INDEX positions_key ON positions (whale_id, market_id, coalesce(outcome, outcome_label));
-- The markets whose end is still to be seen: few among all that have ended.
CREATE INDEX markets_not_ended ON markets (platform, kind)
    WHERE status IS NULL OR status NOT IN ('resolved', 'failed', 'deleted');
-- Topics still to be looked up; none after some hours.
CREATE INDEX markets_never_looked_up ON markets (platform, created_at) WHERE kind = 'topic' AND looked_up_at IS NULL;
-- Markets whose result may still come.
CREATE INDEX markets_without_result ON markets (platform, resolved_at)
    WHERE kind = 'market' AND status = 'resolved' AND result IS NULL;
"""

VIEWS = f"""
-- Every position with its whale and market, in cents: open ones first, the most valuable of them first.
CREATE VIEW holdings AS
SELECT
    p.id,
    w.label AS whale_label,
    coalesce(t.title || ' › ', '') || m.title AS market_title,
    p.outcome,
    p.outcome_label,
    p.state,
    round(p.shares, 2) AS shares,
    round(p.avg_price, 4) AS avg_price,
    p.price,
    round(p.value, 2) AS value,
    round(p.cost, 2) AS cost,
    round(p.unrealized_profit, 2) AS unrealized_profit,
    round(p.settled_profit, 2) AS settled_profit,
    round(p.realized_profit, 2) AS realized_profit,
    p.gap,
    w.address AS whale_address,
    {schema_2.ISO.format("p.first_seen_at")} AS first_seen,
    {schema_2.ISO.format("p.closed_at")} AS closed,
    m.category AS market_category,
    m.external_id AS market_external_id,
    m.status AS market_status,
    m.result AS market_result,
    m.url AS market_url,
    p.whale_id,
    p.market_id,
    p.platform
FROM positions AS p
JOIN whales AS w ON w.id = p.whale_id
JOIN markets AS m ON m.id = p.market_id
LEFT JOIN markets AS t
    ON t.platform = m.platform AND t.kind = 'topic' AND t.external_id = m.parent_external_id
ORDER BY p.state <> 'open', p.value DESC NULLS LAST, p.id;
"""

# As in schema 2, but with the wallet's address behind what is read more often.
TIER_COLUMNS = (
    "id, time, whale_label, market_title, action, outcome, outcome_label, amount, price, shares, fee, profit, tx_hash,"
    " whale_address, market_category, market_external_id, market_url, whale_id, market_id, platform, timestamp"
)


def upgrade(db: Database) -> None:
    """Bring a file of schema 2 to schema 3."""
    schema_2.run(db, TABLES + INDEXES + VIEWS)
    for tier in schema_2.TIERS:
        db.execute(f"DROP VIEW activity_{tier}")
        schema_2.create_tier_view(db, tier, TIER_COLUMNS)
