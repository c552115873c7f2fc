"""The schema ``whalesync`` on the server: tables, indexes, the views of the tiers and the roles that may read them.

A step that has been released is never edited: a change is a new step. All hosts that publish into one database do so
as the role that owns the schema, or as members of it.

Trades, positions and markets are shared: whoever saw a row last has written it (``observed_at``, ``updated_at``, by the
clock of that host). Labels and statistics of whales are kept for each source. ``whale_id`` numbers a wallet for all.
No foreign keys lead out of ``whale_activity`` and ``positions``: rows get there through a join with what they refer to,
and checking a key costs more than storing the row. Another rule of fill keys would give each trade another key: it
needs a step that removes the rows of the old one.

Not partitioned: of a million trades over a year, deleting a month takes 0.4 s (a partition is dropped in 0.1 s), while
partitions have to be made ahead, and the id would no longer be unique.
"""

from __future__ import annotations

from psycopg import errors

from whalesync.errors import PublishError
from whalesync.postgres.connection import SCHEMA_SECONDS, Connection, transaction
from whalesync.records import TIER_DELAYS_MS

LOCK = 0x7768616C  # "whal", of pg_advisory_xact_lock: who holds it alone changes the schema or writes rows

TIERS = {tier.replace("-", "_"): delay for tier, delay in TIER_DELAYS_MS.items()}
ROLES = tuple(f"whalesync_{tier}" for tier in TIERS)

TABLES = """
CREATE TABLE whalesync.schema_version (version integer NOT NULL);

-- One row for each host. "cursor": revision and id of the last row of each table that is here; "revision": of the file,
-- up to which everything is here; "token": of the last commit that brought rows.
CREATE TABLE whalesync.sources (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    cursor jsonb NOT NULL DEFAULT '{}',
    revision bigint,
    token bigint,
    last_publish_at timestamptz
);

CREATE TABLE whalesync.markets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    platform text NOT NULL,
    kind text NOT NULL,
    external_id text NOT NULL,
    parent_external_id text,
    title text NOT NULL,
    category text NOT NULL,
    status text,
    yes_label text,
    no_label text,
    yes_token_id text,
    no_token_id text,
    yes_price float8,
    no_price float8,
    price_updated_at timestamptz,
    volume float8,
    volume_24h float8,
    volume_7d float8,
    liquidity float8,
    end_date timestamptz,
    resolved_at timestamptz,
    result text,
    url text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (external_id, platform, kind)
);

-- Every wallet once; "whale_id" everywhere is its number.
CREATE TABLE whalesync.wallets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    platform text NOT NULL,
    address text NOT NULL,
    UNIQUE (address, platform)
);

-- "id" is that of the wallet.
CREATE TABLE whalesync.whales (
    id bigint NOT NULL REFERENCES whalesync.wallets (id),
    source_id integer NOT NULL REFERENCES whalesync.sources (id),
    platform text NOT NULL,
    address text NOT NULL,
    label text,
    tracked integer NOT NULL,
    total_volume float8 NOT NULL,
    trade_count bigint NOT NULL,
    last_active_at timestamptz,
    volume_24h float8 NOT NULL,
    volume_7d float8 NOT NULL,
    volume_30d float8 NOT NULL,
    buy_count bigint NOT NULL,
    sell_count bigint NOT NULL,
    realized_profit float8 NOT NULL,
    settled_profit float8,
    open_profit float8,
    open_value float8,
    won_count bigint,
    lost_count bigint,
    win_rate float8,
    profit_complete integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (id, source_id)
);

CREATE TABLE whalesync.positions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    whale_id bigint NOT NULL,
    market_id bigint NOT NULL,
    platform text NOT NULL,
    token_id text,
    outcome text,
    outcome_label text NOT NULL,
    shares float8,
    avg_price float8,
    cost float8,
    price float8,
    value float8,
    unrealized_profit float8,
    state text NOT NULL,
    settled_profit float8,
    realized_profit float8,
    gap text,
    first_seen_at timestamptz NOT NULL,
    closed_at timestamptz,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX positions_key -- a label may be longer than an index takes
    ON whalesync.positions (whale_id, market_id, md5(coalesce(outcome, outcome_label)));

-- "id" grows in the order of commits, over all hosts. "copy" counts fills that agree in everything else.
CREATE TABLE whalesync.whale_activity (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    whale_id bigint NOT NULL,
    market_id bigint NOT NULL,
    timestamp timestamptz NOT NULL,
    visible_to_pro_plus_at timestamptz NOT NULL,
    visible_to_pro_at timestamptz NOT NULL,
    visible_to_free_at timestamptz NOT NULL,
    stored_at timestamptz,
    superseded_at timestamptz,
    observed_at timestamptz NOT NULL,
    fill_key bigint NOT NULL,
    amount float8 NOT NULL,
    price float8,
    shares float8,
    fee float8,
    profit float8,
    copy integer NOT NULL,
    platform text NOT NULL,
    tx_hash text NOT NULL,
    action text NOT NULL,
    outcome text,
    outcome_label text,
    token_id text,
    UNIQUE (whale_id, timestamp, fill_key, copy)
);
-- The feed of a tier, and that of one market; that of one whale goes by the unique key.
CREATE INDEX whale_activity_by_time ON whalesync.whale_activity (timestamp);
CREATE INDEX whale_activity_by_market ON whalesync.whale_activity (market_id, timestamp);
"""

# The joins keep the order of the trades, so that the newest are read from the end of an index, and no others. A label
# is that of the first source that has one. Not ordered by id too: each index then has the order of the view.
_VIEW = """
CREATE VIEW whalesync.activity_{tier} WITH (security_barrier) AS
SELECT
    a.id,
    a.timestamp AS "time",
    (
        SELECT l.label FROM whalesync.whales AS l
        WHERE l.id = a.whale_id AND l.label IS NOT NULL
        ORDER BY l.source_id LIMIT 1
    ) AS whale_label,
    coalesce(nullif(t.title, m.title) || ' › ', '') || m.title AS market_title,
    a.action, a.outcome, a.outcome_label, a.amount, a.price, a.shares, a.fee, a.profit, a.tx_hash,
    w.address AS whale_address,
    m.category AS market_category,
    m.external_id AS market_external_id,
    m.url AS market_url,
    a.whale_id,
    a.market_id,
    a.platform,
    a.timestamp,
    a.visible_to_{tier}_at AS visible_at
FROM whalesync.whale_activity AS a
LEFT JOIN whalesync.wallets AS w ON w.id = a.whale_id
LEFT JOIN whalesync.markets AS m ON m.id = a.market_id
LEFT JOIN whalesync.markets AS t
    ON t.external_id = m.parent_external_id AND t.platform = m.platform AND t.kind = 'topic'
WHERE a.superseded_at IS NULL AND a.timestamp <= now() - interval '{delay} milliseconds'
ORDER BY a.timestamp DESC;
"""

# A default of the database may have given rights to all.
_RIGHTS = f"""
REVOKE ALL ON SCHEMA whalesync FROM PUBLIC, {", ".join(ROLES)};
REVOKE ALL ON ALL TABLES IN SCHEMA whalesync FROM PUBLIC, {", ".join(ROLES)};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA whalesync FROM PUBLIC, {", ".join(ROLES)};
GRANT USAGE ON SCHEMA whalesync TO {", ".join(ROLES)};
{"".join(f"GRANT SELECT ON whalesync.activity_{tier} TO whalesync_{tier};" for tier in TIERS)}
"""

STEPS = (TABLES + "".join(_VIEW.format(tier=tier, delay=delay) for tier, delay in TIERS.items()) + _RIGHTS,)
"""From an empty schema, step by step."""

VERSION = len(STEPS)


def version(connection: Connection) -> int:
    """The version of the schema on the server; 0 if there is none."""
    # Not to_regclass(), which raises where the schema may not be used.
    found = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'whalesync' AND c.relname = 'schema_version'"
    ).fetchone()
    if found is None:
        return 0
    (known,) = connection.execute("SELECT max(version) FROM whalesync.schema_version").fetchone() or (0,)
    if known > VERSION:
        raise PublishError(
            f"the PostgreSQL schema was made by a newer whalesync (schema {known}, this one knows {VERSION}) and was"
            " not touched: upgrade whalesync on this host"
        )
    return int(known)


def bring_up_to_date(connection: Connection) -> None:
    """Make the schema, or apply the steps that it lacks. Two hosts may do so at once.

    Raises:
        PublishError: it is newer than this program knows, or this user may not make it.
    """
    with transaction(connection, SCHEMA_SECONDS):
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        known = version(connection)
        if known == VERSION:
            return
        if known == 0:
            _check_encoding(connection)
            _make_roles(connection)
            connection.execute("CREATE SCHEMA IF NOT EXISTS whalesync")
            _check_owner(connection)
        for step in STEPS[known:]:
            connection.execute(step)
        connection.execute("DELETE FROM whalesync.schema_version")
        connection.execute("INSERT INTO whalesync.schema_version VALUES (%s)", [VERSION])


def missing_roles(connection: Connection) -> list[str]:
    """The roles of the tiers that the server does not have."""
    found = connection.execute("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY(%s)", [list(ROLES)])
    known = {row[0] for row in found}
    return [role for role in ROLES if role not in known]


def _make_roles(connection: Connection) -> None:
    """Make the roles, which are those of all databases of the server: another one may do so at the same moment."""
    missing = missing_roles(connection)
    try:
        for role in missing:
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN;"
                " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
            )
    except errors.InsufficientPrivilege as exc:
        statements = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in missing)
        raise PublishError(f"PostgreSQL: this user may not make roles: let an administrator run: {statements}") from exc


def _check_owner(connection: Connection) -> None:
    """Who may make tables in a schema that somebody else owns may not open it to the roles."""
    is_ours, user = connection.execute(
        "SELECT pg_has_role(nspowner, 'USAGE'), current_user FROM pg_namespace WHERE nspname = 'whalesync'"
    ).fetchone() or (False, "")
    if not is_ours:
        raise PublishError(
            f"PostgreSQL: the schema whalesync belongs to another user: let an administrator run:"
            f' ALTER SCHEMA whalesync OWNER TO "{user}";'
        )


def _check_encoding(connection: Connection) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise PublishError(f"the PostgreSQL database has the encoding {encoding}: make one with ENCODING 'UTF8'")
