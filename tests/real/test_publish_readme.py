"""What the README's chapter on PostgreSQL prints is run as printed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.postgres import PASSWORD, Postgres, Target
from support.publisher import Publisher
from support.rows import MINUTE, MOBY, SECOND, market, trade, whale

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ENDS = "import signal; signal.alarm(30)\n"
CHAPTER = README[README.index("\n## PostgreSQL\n") : README.index("\n## Backup and restore\n")]


def printed(language: str) -> list[str]:
    """The blocks of a language."""
    return [block.replace("\n  ", "\n") for block in re.findall(rf"```{language}\n(.*?)```", CHAPTER, re.DOTALL)]


@pytest.fixture
def host(tmp_path: Path, postgres: Postgres) -> Iterator[Publisher]:
    """Trades of the last hours, in a database that was made as printed."""
    name = "whales"
    setup = re.search(r"<<'END'\n(.*?)END\n", printed("sh")[0], re.DOTALL)
    assert setup is not None
    for statement in setup[1].replace("a long one", PASSWORD).strip().split(";\n"):
        postgres.execute(statement)
    target = Target(postgres, name, "whalesync")
    with closing(Publisher(tmp_path / "whalesync.db", target, "host-1")) as made:
        with made.db.write():
            wallet, place = whale(made.db, MOBY, label="Moby Dick"), market(made.db)
            for number in range(5):
                trade(made.db, wallet, place, now() - number * 20 * MINUTE - 2 * SECOND, revision=1)
        made.publish()
        yield made
    target.drop()
    for role in ("web", "analyst", "whalesync"):
        postgres.execute(f"DROP ROLE IF EXISTS {role}")


def now() -> int:
    """The time (ms)."""
    return int(time.time() * 1000)


def test_the_printed_commands(host: Publisher, postgres: Postgres, postgres_programs: Path, tmp_path: Path) -> None:
    """Roles, pages of the feed, the listener and its reconnecting, an analyst's rights, dropping old months."""
    target = host.target
    readers, feeds, analyst = printed("sql")
    for statement in (
        *readers.split(";\n"),
        *analyst.split("-- in DuckDB")[0].replace("-- in PostgreSQL", "").split(";"),
    ):
        if statement.strip():
            with postgres.connect(target.name) as admin:
                admin.execute(statement)
    assert [len(target.rows(sql, role="web")) for sql in feeds.strip().split(";\n")] == [4, 0, 0]
    assert target.value("SELECT count(*) FROM whalesync.whale_activity", role="analyst") == 5

    (listener,) = printed("python")
    assert len([line for line in listener.splitlines() if line.strip()]) <= 15
    listener = listener.replace("postgresql://web@db.example/whales", target.url(user="web", password="another"))
    (view,) = re.findall(r"whalesync\.\w+", listener)
    assert len(target.rows(f"SELECT * FROM {view}", role="web")) == 4  # with the rights that are printed
    postgres.execute("GRANT whalesync_pro_plus TO web")
    listener = listener.replace(view, "whalesync.activity_pro_plus")
    process = subprocess.Popen([sys.executable, "-c", ENDS + listener], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            assert [process.stdout.readline().split()[2:4] for _ in range(5)] == [["Moby", "Dick"]] * 5
            for number in (1, 2):
                with host.db.write():
                    trade(host.db, 1, 1, now(), amount=100.0 + number, revision=host.db.revision())
                host.publish()
                assert "Moby Dick" in process.stdout.readline()
                if number == 1:
                    target.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'web'")
        finally:
            process.kill()

    month = printed("sh")[-1].replace(
        "2026-01-01", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3_000))
    )
    env = {"PATH": f"{postgres_programs}:/usr/bin:/bin", "URL": target.url()}
    subprocess.run(["/bin/sh", "-ec", month], env=env, check=True, timeout=30, cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert target.value("SELECT count(*) FROM whalesync.whale_activity") == 5


def test_the_demo_fills_a_database(target: Target, tmp_path: Path) -> None:
    """With what the file has; a database of others is refused."""
    demo = [sys.executable, "-m", "whalesync", "demo", "--publish", target.url(), "--keep"]
    subprocess.run([*demo, str(tmp_path / "a.db")], check=True, capture_output=True, timeout=90)
    with closing(Publisher(tmp_path / "a.db", target, "demo")) as host:
        assert host.differences() == [] and len(host.stored()) > 100
    target.rows("UPDATE whalesync.sources SET name = 'host-1'")
    done = subprocess.run([*demo, str(tmp_path / "b.db")], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 2 and "name an empty one" in done.stderr and PASSWORD not in done.stderr
