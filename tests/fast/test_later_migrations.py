"""Files of schemas 2 and 4, brought to the schema of today."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fills import query
from support.rows import make_old_file, migrations

from whalesync.exchanges import EXCHANGES
from whalesync.store import alerts, positions, stats, trades
from whalesync.store.database import open_database
from whalesync.store.file import SCHEMA_VERSION

TABLES = {
    2: (
        "markets", "whales", "whale_activity", "sync_logs", "rejected_records", "whale_cursors", "removed_sums",
        "facts",
    ),
    4: ("positions", "removed_flows", "alert_states", "alert_fills", "alert_deliveries"),
}  # fmt: skip
"""The tables that came with each schema; later ones have them too."""
CLOCKS = ("clock_ahead", "exchange_time")
CASES = [(schema, table) for schema in (2, 4) for first in (2, 4) if first <= schema for table in TABLES[first]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "whales.db"
    make_old_file(file, 2)
    return file


@pytest.mark.parametrize(("schema", "table"), CASES)
def test_no_row_is_lost_or_changed(tmp_path: Path, schema: int, table: str) -> None:
    """Every column holds what it held; facts of one exchange have its name."""
    path = tmp_path / "old.db"
    make_old_file(path, schema)
    columns = ", ".join(row[0] for row in query(path, "SELECT name FROM pragma_table_info(?)", table))
    select = f"SELECT {columns} FROM {table} ORDER BY 1, 2"
    before = query(path, select)
    assert before
    open_database(path).close()
    if table == "facts":
        before = sorted((f"opinion_trade {name}" if name in CLOCKS else name, value) for name, value in before)
    assert [row for row in query(path, select) if row[0] != "file_id"] == before
    assert migrations(path) == [("second",), ("third",), ("fourth",), ("fifth",)]


@pytest.mark.parametrize("schema", [2, 4])
def test_the_file_is_sound(tmp_path: Path, schema: int) -> None:
    """References, indexes and version."""
    path = tmp_path / "old.db"
    make_old_file(path, schema)
    with open_database(path) as db:
        assert db.rows("PRAGMA foreign_key_check") == []
        assert db.value("PRAGMA integrity_check") == "ok"
        assert db.value("PRAGMA user_version") == SCHEMA_VERSION


def test_cursors_go_on_where_they_stood(path: Path) -> None:
    """Since when all trades are known follows from the cut down to which the list was read."""
    with open_database(path) as db:
        for state in trades.states(db).values():
            progress = EXCHANGES["opinion_trade"].trades.progress(state)
            assert progress.complete and progress.known_from


def test_what_is_not_known_yet_is_not_made_up(path: Path) -> None:
    """No profit but the realized one before positions were read."""
    with open_database(path) as db:
        assert {listing.trades_changed for listing in positions.listings(db).values()} == {True}
        assert all(unknown.reasons(1_790_000_000_000) for unknown in positions.unknowns(db).values())
        stats.update_positions(db, 1_790_000_000_000)
        rows = db.rows(
            "SELECT settled_profit, open_profit, open_value, won_count, win_rate, profit_complete FROM whales"
        )
        assert [tuple(row) for row in rows] == [(None, None, None, None, None, 0)] * 2


def test_whales_are_watched_since_they_were_added(path: Path) -> None:
    """A file of before alerts knows no other moment; no rule exists yet."""
    created = dict(query(path, "SELECT id, created_at FROM whales WHERE tracked"))
    with open_database(path) as db:
        assert alerts.watched_since(db) == created
        assert (alerts.cursor(db), alerts.states(db), alerts.pending(db)) == (None, {}, [])


def test_each_file_has_a_number_of_its_own(tmp_path: Path) -> None:
    """Two files that are brought up to date, or made, are told apart; opening one again changes nothing."""
    files = [tmp_path / name for name in ("old", "older", "new")]
    make_old_file(files[0], 4)
    make_old_file(files[1], 2)
    numbers = []
    for file in (*files, *files):
        with open_database(file) as db:
            numbers.append(db.fact("file_id"))
    assert len(set(numbers)) == 3 and numbers[:3] == numbers[3:]
