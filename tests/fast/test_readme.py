"""What the README says is so."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from whalesync.cli.commands import build
from whalesync.settings import Settings
from whalesync.store.database import open_database

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database that the demo leaves."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    subprocess.run(
        [sys.executable, "-m", "whalesync", "demo", "--keep", str(path)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path


def test_there_are_five_queries() -> None:
    """The five questions that people ask first have an answer."""
    assert len(QUERIES) == 5


@pytest.mark.parametrize("number", range(5))
def test_a_query_runs_as_printed(demo: Path, number: int) -> None:
    """Each query works on a real file; all but the one for failed runs find something in the demo's."""
    with sqlite3.connect(demo) as db:
        rows = db.execute(QUERIES[number]).fetchall()
    db.close()
    assert bool(rows) == ("error IS NOT NULL" not in QUERIES[number])


def test_every_command_is_documented() -> None:
    """Each command of the program stands in the README's table."""
    commands = typer.main.get_command(build()).commands  # type: ignore[attr-defined]  # it is a group
    table = README[README.index("## Commands") : README.index("## Settings")]
    assert [name for name in commands if name not in table] == []


def test_every_table_and_column_is_documented(tmp_path: Path) -> None:
    """Each table, view and column of a new file is explained."""
    with open_database(tmp_path / "new.db") as db:
        tables = [
            row["name"]
            for row in db.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            if not row["name"].startswith(("sqlite_", "_sqlite"))
        ]
        own_memory = {"whale_tallies", "facts"}
        columns = {
            f"{table}.{row['name']}"
            for table in tables
            if table not in own_memory and not table.startswith("activity_")
            for row in db.rows(f"PRAGMA table_info({table})")
        }
    chapter = README[README.index("## The file") : README.index("### Queries")]
    assert [name for name in tables if f"`{name}`" not in chapter] == []
    assert [name for name in sorted(columns) if f"`{name.partition('.')[2]}`" not in chapter] == []


def test_every_setting_is_documented() -> None:
    """Each variable that the settings read stands in the README's table."""
    source = Path(sys.modules[Settings.__module__].__file__ or "").read_text(encoding="utf-8")
    names = set(re.findall(r"WHALESYNC_[A-Z_]+|OPINION_TRADE_API_KEY", source))
    assert len(names) == 8
    assert [name for name in sorted(names) if f"| `{name}` |" not in README] == []


def test_restoring_a_backup_takes_the_three_printed_lines(demo: Path, tmp_path: Path) -> None:
    """The restore, run as printed by a plain shell, brings back what the backup held."""
    whalesync = tmp_path / "whalesync"
    whalesync.write_text(f'#!/bin/sh\nexec {sys.executable} -m whalesync "$@"\n')
    whalesync.chmod(0o755)
    copy, broken = tmp_path / "copy.db", tmp_path / "whalesync.db"
    subprocess.run([whalesync, "--db", demo, "backup", copy], check=True, capture_output=True, timeout=60)
    broken.write_bytes(b"no database at all")
    (tmp_path / "whalesync.db-wal").write_bytes(b"left over")

    lines = re.search(r"To restore.*?```sh\n(.*?)```", README, re.DOTALL)
    assert lines is not None and len(lines[1].splitlines()) == 3
    done = subprocess.run(
        ["/bin/sh", "-c", lines[1].replace("/var/backups/whalesync.db", str(copy))],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "good   database" in done.stdout
    with sqlite3.connect(broken) as db, sqlite3.connect(demo) as original:
        count = "SELECT count(*), sum(amount) FROM whale_activity"
        assert db.execute(count).fetchone() == original.execute(count).fetchone()
    db.close()
    original.close()
