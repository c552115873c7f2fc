"""The views and roles of the tiers on the server: who may read what, what it shows, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from support.postgres import Target
from support.published import fill, plan_of
from support.publisher import Publisher
from support.rows import HOUR, MINUTE, MOBY, SECOND, market, trade, whale

from whalesync.store import feed

TIERS = ("pro_plus", "pro", "free")
TABLES = ("schema_version", "sources", "markets", "wallets", "whales", "positions", "whale_activity")


def now() -> int:
    """The server's clock is this machine's."""
    return int(time.time() * 1000)


@pytest.fixture
def host(tmp_path: Path, target: Target) -> Iterator[Publisher]:
    """Trades of now, one minute, 14 minutes and 16 minutes ago, and one that is superseded; published."""
    with closing(Publisher(tmp_path / "whalesync.db", target, "first")) as made:
        with made.db.write():
            wallet = whale(made.db, MOBY, label="Moby Dick")
            market(made.db, "9", "Rain", kind="topic", category="Weather")
            place = market(made.db, "1", "Monday", parent_external_id="9", category="Weather", url="https://x.example")
            for ago in (2 * SECOND, MINUTE, 14 * MINUTE, 16 * MINUTE):
                trade(made.db, wallet, place, now() - ago, amount=float(ago // SECOND), revision=1)
            trade(made.db, wallet, place, now() - HOUR, superseded_at=now(), revision=1)
        made.publish()
        yield made


def test_each_tier_sees_what_its_delay_allows(host: Publisher, target: Target) -> None:
    """By the server's clock, newest first, without what is superseded."""
    seen = {tier: [row[0] for row in target.rows(f"SELECT amount FROM whalesync.activity_{tier}")] for tier in TIERS}
    assert seen == {"pro_plus": [2, 60, 840, 960], "pro": [60, 840, 960], "free": [960]}


def test_the_hosts_clock_does_not_count(host: Publisher, target: Target) -> None:
    """What a host stores with a clock that is an hour wrong is judged by the server's all the same."""
    for wrong in (-HOUR, HOUR):
        with host.db.write():
            revision = host.db.revision()
            host.db.execute(f"UPDATE whale_activity SET stored_at = {now() + wrong}, changed_at = {now() + wrong},"
                            f" fee = 0.5, revision = {revision}")  # fmt: skip
        host.publish()
        young = "timestamp > now() - interval '15 min'"
        sql = f"SELECT count(*), count(*) FILTER (WHERE {young}) FROM whalesync.activity_free"
        assert target.rows(sql) == [(1, 0)]


def test_the_views_have_the_columns_of_the_file(host: Publisher, target: Target) -> None:
    """The same names in the same order, and the same values."""
    for tier in TIERS:
        theirs = target.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'whalesync'"
            f" AND table_name = 'activity_{tier}' ORDER BY ordinal_position"
        )
        ours = host.db.rows(f"SELECT name FROM pragma_table_info('activity_{tier}')")
        assert [row[0] for row in theirs] == [row[0] for row in ours]
    names = [name for name in feed.ACTIVITY_COLUMNS if name not in ("id", "whale_id", "market_id")]
    moments = ("time", "timestamp", "visible_at")
    ms = "(extract(epoch FROM {0}) * 1000)::bigint"
    columns = ", ".join(ms.format(name) if name in moments else name for name in names)
    theirs = target.rows(f"SELECT {columns} FROM whalesync.activity_pro_plus")
    columns = ", ".join("timestamp" if name in moments else name for name in names)
    assert theirs == [tuple(row) for row in host.db.rows(f"SELECT {columns} FROM activity_pro_plus")]


def test_a_role_reads_its_view_and_nothing_else(host: Publisher, target: Target) -> None:
    """No table, no other view, no sequence, and it writes nothing; listening needs no right."""
    for tier in TIERS:
        role = f"whalesync_{tier}"
        assert target.rows(f"SELECT whale_label FROM whalesync.activity_{tier} LIMIT 1", role=role) == [("Moby Dick",)]
        assert target.rows("LISTEN whalesync_activity", role=role) == []
        refused = [
            *(f"SELECT count(*) FROM whalesync.{name}" for name in TABLES),
            *(f"SELECT 1 FROM whalesync.activity_{other}" for other in TIERS if other != tier),
            "SELECT last_value FROM whalesync.whale_activity_id_seq",
            f"DELETE FROM whalesync.activity_{tier}",
            f"UPDATE whalesync.activity_{tier} SET amount = 0",
            "CREATE TABLE whalesync.mine (x int)",
        ]
        for sql in refused:
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
                target.rows(sql, role=role)


def test_a_function_of_the_reader_sees_no_hidden_row(host: Publisher, target: Target) -> None:
    """The classic leak: a cheap function in WHERE that tells what passes through it."""
    with target.server.connect(target.name) as connection:
        connection.execute("GRANT TEMPORARY ON DATABASE " + target.name + " TO whalesync_free")
        connection.execute("SET ROLE whalesync_free")
        told: list[str] = []
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        connection.execute(
            "CREATE FUNCTION pg_temp.tell(float8) RETURNS bool COST 0.0000001 LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
        )
        connection.execute("SELECT * FROM whalesync.activity_free WHERE pg_temp.tell(amount)").fetchall()
    assert told == ["960"]


def test_rights_that_a_default_gives_are_taken(target: Target, tmp_path: Path) -> None:
    """An administrator's default privileges do not open the tables."""
    with target.server.connect(target.name) as admin:
        admin.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {target.owner} GRANT SELECT ON TABLES TO PUBLIC")
    with closing(Publisher(tmp_path / "a.db", target, "first")) as host:
        host.publish()
    for name in (*TABLES, "activity_pro"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            target.rows(f"SELECT 1 FROM whalesync.{name}", role="whalesync_free")


PLANS = {
    "": "whale_activity_by_time",
    "WHERE whale_id = {whale}": "whale_activity_whale_id_timestamp_fill_key_copy_key",
    "WHERE market_id = {market}": "whale_activity_by_market",
}


def test_a_page_of_the_feed_is_a_range_of_one_index(host: Publisher, target: Target) -> None:
    """The feed, one whale, one market: of 60,000 trades the newest are read from the end of an index, and no others."""
    fill(target, 60_000, wallets=300, markets=300)
    found = {"whale": "SELECT max(id) FROM whalesync.wallets", "market": "SELECT max(id) FROM whalesync.markets"}
    ids = {name: target.value(sql) for name, sql in found.items()}
    assert host.path.exists()
    for where, index in PLANS.items():
        text, buffers = plan_of(target, where.format(**ids))
        assert f"Backward using {index} on whale_activity" in text, text
        assert "Seq Scan on whale_activity" not in text and buffers < 700, text
