"""A file of schema 2, brought to the schema of today."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fills import query
from support.rows import make_old_file, migrations

from whalesync.exchanges import EXCHANGES
from whalesync.store import alerts, positions, stats, trades
from whalesync.store.database import SCHEMA_VERSION, open_database

TABLES = (
    "markets",
    "whales",
    "whale_activity",
    "sync_logs",
    "rejected_records",
    "whale_cursors",
    "removed_sums",
    "facts",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "whales.db"
    make_old_file(file, 2)
    return file


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_lost_or_changed(path: Path, table: str) -> None:
    """Every column holds what it held."""
    columns = ", ".join(row[0] for row in query(path, "SELECT name FROM pragma_table_info(?)", table))
    select = f"SELECT {columns} FROM {table} ORDER BY 1, 2"
    before = query(path, select)
    assert before
    open_database(path).close()
    assert query(path, select) == before
    assert migrations(path) == [("second",), ("third",), ("fourth",)]


def test_the_file_is_sound(path: Path) -> None:
    """References, indexes and version."""
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
