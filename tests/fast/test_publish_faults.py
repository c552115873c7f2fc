"""What can go wrong between ``publish`` and its server: one line that says what to do, nothing lost, nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from support.postgres import PASSWORD, Postgres, Target, free_port
from support.proxy import Proxy
from support.publisher import Publisher
from support.rows import MINUTE, MOBY, NOW, market, trade, whale

from whalesync.errors import PublishError, SettingsError
from whalesync.postgres import schema
from whalesync.postgres.connection import connect, transaction
from whalesync.postgres.server import Server, serving
from whalesync.store import sync_log
from whalesync.store.changes import Row, Table

TRADES = 12


@pytest.fixture
def host(tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A host whose trades take three commits, after one for its market and one for its whale."""
    monkeypatch.setattr("whalesync.jobs.publish.BATCH_ROWS", 4)
    with closing(Publisher(tmp_path / "whalesync.db", target, "first")) as made:
        with made.db.write():
            wallet, place = whale(made.db, MOBY), market(made.db)
            for number in range(TRADES):
                trade(made.db, wallet, place, NOW - number * MINUTE, revision=1)
        yield made


def failure(host: Publisher) -> str:
    """Publish, which must fail; returns the line, which is also in the sync log and has no secret."""
    with pytest.raises(PublishError) as caught:
        host.publish()
    line = str(caught.value)
    assert "\n" not in line and PASSWORD not in line
    (newest,) = sync_log.runs_of(host.db, "publish", 1)
    assert (newest["status"], newest["error"]) == ("failed", line)
    return line


@pytest.mark.parametrize("answered", [False, True], ids=["lost", "answer lost"])
@pytest.mark.parametrize("commit", [1, 3, 4, 6, 8, 9])
def test_cut_at_each_commit(host: Publisher, target: Target, commit: int, answered: bool) -> None:
    """Opening, five batches, the end: whether the commit has happened or not, the next run sends what is missing."""
    batches = 5
    with Proxy(target.server.port) as proxy:
        host.url = target.url(port=proxy.port)
        proxy.cut_at, proxy.answered = commit, answered
        assert "nothing is lost" in failure(host)
        done = max(0, min(batches, commit - 4 + answered))  # of the batches; three commits open the source
        assert host.publish().items == 2 + TRADES - sum((1, 1, 4, 4, 4)[:done])
        assert host.differences() == []
        assert host.publish().summary == "nothing new"


def test_cut_in_the_middle_of_a_batch(host: Publisher, target: Target) -> None:
    """Nothing of that batch is there; the next run sends it."""
    host.publish()
    with host.db.write():
        for number in range(3):
            trade(host.db, 1, 1, NOW + number, revision=host.db.revision(), outcome_label="x" * 20_000)
    with Proxy(target.server.port) as proxy:
        host.url = target.url(port=proxy.port)
        proxy.cut_after = 30_000
        assert "closed the connection unexpectedly: " in failure(host)
        assert len(host.differences()) == 3
        assert host.publish().items == 3
    assert host.differences() == []


def test_no_server(host: Publisher, target: Target) -> None:
    """Nobody listens."""
    host.url = target.url(port=free_port())
    assert "refused" in failure(host)


def test_wrong_password(host: Publisher, target: Target) -> None:
    """And the one that was tried is not repeated."""
    host.url = target.url(password="a-Wrong_password")
    line = failure(host)
    assert "password authentication failed" in line and "WHALESYNC_PUBLISH_URL" in line
    assert "a-Wrong_password" not in line


def test_no_such_database(host: Publisher, target: Target) -> None:
    """The line names it."""
    host.url = target.url().replace(target.name, "nowhere")
    assert '"nowhere" does not exist' in failure(host)


def test_tls_is_required(host: Publisher, target: Target) -> None:
    """By the server, while the address turns it off; or by the address, of a server that has none."""
    target.server.make_role("needs_tls")
    host.url = target.url(user="needs_tls", sslmode="disable")
    assert "sslmode=require" in failure(host)
    host.url = target.url(sslmode="require")
    assert "has no TLS" in failure(host)


def test_read_only(host: Publisher, target: Target) -> None:
    """As a replica is."""
    target.rows(f"ALTER DATABASE {target.name} SET default_transaction_read_only = on")
    assert "primary" in failure(host)
    target.server.execute(f"ALTER DATABASE {target.name} RESET default_transaction_read_only")
    host.publish()
    assert host.differences() == []


def test_no_right_to_make_the_schema(host: Publisher, target: Target) -> None:
    """A user who does not own the database."""
    target.server.make_role("guest")
    host.url = target.url(user="guest")
    assert "permission denied for database" in failure(host)


def test_the_schema_of_another_user(host: Publisher, target: Target) -> None:
    """An administrator made it and lets us in, but what we grant on it would count for nothing."""
    target.rows(f"CREATE SCHEMA whalesync; GRANT ALL ON SCHEMA whalesync TO {target.owner}")
    line = failure(host)
    assert "belongs to another user" in line
    target.rows(line[line.index("ALTER") :])
    host.publish()
    assert target.value("SELECT count(*) FROM whalesync.activity_free", role="whalesync_free") == TRADES


def test_functions_of_another_user(host: Publisher, target: Target) -> None:
    """Those of a schema on our search_path are not called, however well their arguments fit."""
    target.rows(
        "CREATE FUNCTION public.has_table_privilege(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';"
        "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz 'infinity' $$;"
        f"ALTER DATABASE {target.name} SET search_path = public, pg_catalog"
    )
    host.publish()
    assert target.value("SELECT count(*) FROM whalesync.activity_free", role="whalesync_free") == TRADES
    with serving(host.url, host.name) as server:
        assert server.standing().may_write


def test_no_right_to_write(host: Publisher, target: Target) -> None:
    """Another user than the one who made the schema."""
    host.publish()
    target.server.make_role("guest")
    host.url = target.url(user="guest")
    assert "permission denied for schema" in failure(host)


def test_no_right_to_make_roles(host: Publisher, monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> None:
    """The statements that an administrator runs are named."""
    postgres.make_role("modest", "NOCREATEROLE")
    target = postgres.make_database("modest")
    host.url = target.url()
    monkeypatch.setattr(schema, "missing_roles", lambda _: ["whalesync_other"])
    assert "CREATE ROLE whalesync_other NOLOGIN;" in failure(host)
    target.drop()


def test_another_encoding(host: Publisher, postgres: Postgres) -> None:
    """A database that cannot hold every text."""
    target = postgres.make_database(options="ENCODING 'LATIN1' TEMPLATE template0")
    host.url = target.url()
    assert "LATIN1" in failure(host)
    target.drop()


def test_a_lock_that_is_kept(host: Publisher, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session holds what hosts take turns with."""
    host.publish()
    with host.db.write():
        trade(host.db, 1, 1, NOW + 1, revision=host.db.revision())
    monkeypatch.setattr("whalesync.postgres.connection.LOCK_SECONDS", 0.1)
    with target.server.connect(target.name) as other:
        other.execute(f"SELECT pg_advisory_lock({schema.LOCK})")
        assert "pg_stat_activity" in failure(host)
    assert host.publish().items == 1


def test_a_statement_that_takes_too_long(host: Publisher, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one that waits."""
    host.publish()
    with host.db.write():
        trade(host.db, 1, 1, NOW + 1, revision=host.db.revision())
    target.rows(
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$;"
        " CREATE TRIGGER wait BEFORE INSERT ON whalesync.whale_activity EXECUTE FUNCTION public.wait()"
    )
    monkeypatch.setattr("whalesync.postgres.connection.STATEMENT_SECONDS", 0.1)
    assert "statement timeout" in failure(host)
    target.rows("DROP TRIGGER wait ON whalesync.whale_activity")
    assert host.publish().items == 1


def test_a_full_disk(host: Publisher, target: Target) -> None:
    """As the server tells of it."""
    host.publish()
    with host.db.write():
        trade(host.db, 1, 1, NOW + 1, revision=host.db.revision())
    target.rows(
        "CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full USING MESSAGE ="
        " 'could not extend file'; END $$;"
        " CREATE TRIGGER full_disk BEFORE INSERT ON whalesync.whale_activity EXECUTE FUNCTION public.full()"
    )
    assert "free some space" in failure(host)
    target.rows("DROP TRIGGER full_disk ON whalesync.whale_activity")
    assert host.publish().items == 1


def test_a_newer_schema(host: Publisher, target: Target) -> None:
    """Both versions are named, and nothing is touched."""
    host.publish()
    target.rows("UPDATE whalesync.schema_version SET version = 99")
    line = failure(host)
    assert f"schema 99, this one knows {schema.VERSION}" in line and "upgrade whalesync" in line


@pytest.mark.parametrize("url", ["mysql://a.example/b", "nonsense", "postgresql://["])
def test_an_address_that_is_none(host: Publisher, url: str) -> None:
    """A setting that is wrong; it is not repeated."""
    host.url = url
    with pytest.raises(SettingsError) as caught:
        host.publish()
    assert url not in str(caught.value)


def test_the_server_restarts_in_the_middle(
    tmp_path: Path, host: Publisher, postgres_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with all its connections while rows are copied, and there again for the next run."""
    own = Postgres.make(postgres_programs)
    own.start()
    try:
        host.target = own.make_database()
        host.url = host.target.url()
        real, stages = Server._stage, []

        def stage(self: Server, table: Table, rows: list[Row]) -> None:
            stages.append(table)
            if len(stages) == 4:
                own.stop()
                own.start()
            real(self, table, rows)

        monkeypatch.setattr(Server, "_stage", stage)
        failure(host)
        assert host.publish().items == 8
        assert host.differences() == []
    finally:
        own.remove()


def test_two_hosts_make_the_schema_at_once(target: Target) -> None:
    """Both succeed, and there is one schema."""
    failed: list[BaseException] = []

    def open_source(name: str) -> None:
        try:
            with serving(target.url(), name) as server:
                server.open()
        except BaseException as exc:  # noqa: BLE001  (asserted below)
            failed.append(exc)

    threads = [threading.Thread(target=open_source, args=(f"host {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert target.value("SELECT count(*) FROM whalesync.sources") == 4
    assert target.rows("SELECT version FROM whalesync.schema_version") == [(schema.VERSION,)]


def test_the_isolation_that_taking_turns_needs(target: Target) -> None:
    """Whatever the default of the database."""
    target.rows(f"ALTER DATABASE {target.name} SET default_transaction_isolation = 'serializable'")
    with connect(target.url()) as connection, transaction(connection):
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def test_a_bug_is_not_called_a_fault_of_the_server(target: Target) -> None:
    """A statement that PostgreSQL does not understand stays what it is."""
    with pytest.raises(psycopg.errors.SyntaxError), connect(target.url()) as connection, transaction(connection):
        connection.execute("SELEKT 1")
