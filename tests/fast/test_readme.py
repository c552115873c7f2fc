"""What the README says is true."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from whalesync.cli.app import MODULES
from whalesync.exchanges import EXCHANGES
from whalesync.settings import SETTINGS
from whalesync.store.database import open_database
from whalesync.views.datasette import QUERIES as CANNED
from whalesync.views.metadata import INTERNAL, TABLES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def chapter(start: str, end: str) -> str:
    """Return the README from one heading to another."""
    return README[README.index(f"\n{start}\n") : README.index(f"\n{end}\n")]


QUERIES = re.findall(r"```sql\n(.*?)```", chapter("### Queries", "## When things go wrong"), re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database that the demo keeps."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    command = [sys.executable, "-m", "whalesync", "demo", "--keep", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return path


def test_the_queries_run_as_printed(demo: Path) -> None:
    """On the demo's file, all but the one for failed runs find something."""
    assert len(QUERIES) == 8
    with closing(sqlite3.connect(demo)) as db:
        empty = [query for query in QUERIES if not db.execute(query).fetchall()]
    assert empty == [query for query in QUERIES if "error IS NOT NULL" in query]


def test_every_command_is_documented() -> None:
    """Each command of the program is in the README's table."""
    table = chapter("## Commands", "## Settings")
    commands = [command for commands in MODULES.values() for command in commands]
    assert [name for name in commands if not re.search(rf"[` ]{name}[` ]", table)] == []


def test_every_table_and_column_is_described(tmp_path: Path) -> None:
    """Each table and view of a new file, and each of its columns, in Datasette's metadata."""
    described = {name: list(table.columns) for name, table in {**TABLES, **INTERNAL}.items()}
    with open_database(tmp_path / "new.db") as db:
        names = [
            row["name"]
            for row in db.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            if not row["name"].startswith(("sqlite_", "_sqlite"))
        ]
        columns = {name: [row["name"] for row in db.rows(f"PRAGMA table_info({name})")] for name in names}
    assert {name: sorted(found) for name, found in described.items()} == {
        name: sorted(found) for name, found in columns.items()
    }


def test_the_readme_describes_tables_as_the_metadata_does() -> None:
    """Word for word; internal tables are named only. And its queries are those that Datasette offers."""
    text = " ".join(chapter("## The file", "### Queries").split())
    for name, table in TABLES.items():
        columns = " · ".join(f"`{column}` {meaning}" for column, meaning in table.columns.items())
        assert f"**`{name}`**" in text and columns in text, name
    assert [name for name in INTERNAL if f"`{name}`" not in text] == []
    assert [query.strip() for query in QUERIES] == [sql for _, sql in CANNED.values()]


def test_the_settings_are_those_of_the_program() -> None:
    """The table has every setting of the program and its exchanges, and no other."""
    settings = [*SETTINGS, *(setting for exchange in EXCHANGES.values() for setting in exchange.settings)]
    table = re.sub(r"`|\[(.*?)\]\(.*?\)", r"\1", chapter("## Settings", "## The file"))
    rows = [tuple(line.strip("| ").split(" | ")) for line in table.splitlines() if re.match(r"\| [A-Z_]+ \|", line)]
    declared = [(each.name, each.meaning, each.shown_default or str(each.default)) for each in settings]
    assert sorted(row for row in rows if row[0] != "NO_COLOR") == sorted(declared)


def test_the_printed_command_restores_a_backup(demo: Path, tmp_path: Path) -> None:
    """Run as printed, it brings back what the backup had."""
    copy, path = tmp_path / "copy.db", tmp_path / "whalesync.db"
    command = f"{sys.executable} -m whalesync --db"
    subprocess.run([*command.split(), str(demo), "backup", str(copy)], check=True, capture_output=True, timeout=60)
    open_database(path).close()

    printed = re.search(r"To put a copy back:\n\n```sh\n(.*)\n```", README)
    assert printed is not None
    restore = printed[1].replace("whalesync ", f"{command} {path} ", 1).replace("/var/backups/whalesync.db", str(copy))
    subprocess.run(["/bin/sh", "-c", restore], check=True, capture_output=True, timeout=60)
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(demo)) as original:
        count = "SELECT count(*), sum(amount) FROM whale_activity"
        assert db.execute(count).fetchone() == original.execute(count).fetchone()
