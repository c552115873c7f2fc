"""A file of schema 1, with a backfill under way, brought to the schema of today."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.exchange import NOW, WALLETS, Exchange
from support.fills import query
from support.rows import make_old_file, migrations
from support.wallets import Office

from whalesync.records import fill_key
from whalesync.store import feed, totals, trades, whales
from whalesync.store.database import Database, open_database
from whalesync.store.file import SCHEMA_VERSION

DAY = 86_400  # seconds

TABLES = ("whales", "markets", "whale_activity", "sync_logs", "rejected_records", "whale_cursors")
#: what schema 1 kept for its own arithmetic
DROPPED = {
    *("fill_key", "copy", "counted", "held", "rejected", "pending", "frontier", "below", "again", "floor"),
    *("rejected_since", "recheck_at"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of schema 1."""
    file = tmp_path / "whales.db"
    make_old_file(file, 1)
    return file


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    """The same file, brought up to date."""
    with open_database(path) as opened:
        yield opened


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_lost_or_changed(path: Path, table: str) -> None:
    """Every column holds what it held, except for fill keys, copies and the state of the old sync."""
    columns = [row[0] for row in query(path, "SELECT name FROM pragma_table_info(?)", table)]
    select = f"SELECT {', '.join(name for name in columns if name not in DROPPED)} FROM {table} ORDER BY 1"
    before = query(path, select)
    assert before
    open_database(path).close()
    assert query(path, select) == before


def test_ids_go_on_where_they_stood(db: Database) -> None:
    """An id that was given away, even if its row is gone, is never given again."""
    serials = dict(map(tuple, db.rows("SELECT name, seq FROM sqlite_sequence")))
    assert (serials["sync_logs"], serials["whale_activity"], serials["whales"]) == (11, 115, 7)


def test_facts_are_kept_except_those_of_the_old_statistics(db: Database) -> None:
    """When the file was made and last copied; the revision starts at 1, which every row has."""
    assert dict(map(tuple, db.rows("SELECT name, value FROM facts WHERE name <> 'file_id'"))) == {
        "backup_at": (NOW - 20 * DAY) * 1000,
        "made_at": (NOW - 21 * DAY) * 1000,
        "revision": 1,
    }
    for table in ("markets", "whales", "whale_activity"):
        assert db.value(f"SELECT group_concat(DISTINCT revision) FROM {table}") == "1"


def test_every_fill_has_its_key_by_todays_rule(db: Database) -> None:
    """Rows that agree in all that makes a key are copies 1 to n, in the order of their ids."""
    seen: Counter[tuple[int, int]] = Counter()
    for row in db.rows(
        "SELECT a.*, m.external_id FROM whale_activity AS a JOIN markets AS m ON m.id = a.market_id ORDER BY a.id"
    ):
        names = ("tx_hash", "external_id", "action", "outcome", "amount", "price", "shares", "timestamp")
        key = fill_key(*(row[name] for name in names))
        seen[row["whale_id"], key] += 1
        assert (row["fill_key"], row["copy"]) == (key, seen[row["whale_id"], key])
        assert row["stored_at"] == row["timestamp"]
    # three identical fills, and three merges that were stored twice
    assert Counter(seen.values()) == Counter({1: 92, 3: 1, 2: 3})


def test_no_cursor_of_schema_1_is_trusted(db: Database) -> None:
    """Each wallet is to be compared whole, which its trade source does for a wallet without a state."""
    assert set(trades.states(db).values()) == {None}
    assert [whale.id for whale in whales.tracked(db)] == [1, 2, 4, 7]
    assert totals.totals(db) == totals.Totals(trades=101, markets=9, tracked=4, loading=4, missing=0)


def test_only_what_never_was_a_market_becomes_a_topic(db: Database) -> None:
    """Markets 2 and 60 shared a row with a topic of the same number: the rows stay markets."""
    kinds = {row[0]: row[1] for row in db.rows("SELECT external_id, kind FROM markets")}
    assert [name for name, kind in kinds.items() if kind == "topic"] == ["50"]
    assert kinds["2"] == kinds["60"] == "market"


def test_what_cleanup_deleted_stays_in_the_totals(db: Database) -> None:
    """Eight buys and four sells of 0.4 times 100 to 111 shares, with 1.25 of profit for each sell."""
    sums = (pytest.approx(506.4), pytest.approx(5.0), 8, 4, (NOW - 20 * DAY - 12) * 1000)
    assert [tuple(row) for row in db.rows("SELECT * FROM removed_sums")] == [(2, None, *sums)]


def test_rejected_records_belong_to_their_wallet(db: Database) -> None:
    """Their place in the list is found by the comparison."""
    rows = db.rows("SELECT source, whale_id, timestamp, copies FROM rejected_records ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (f"trades {WALLETS[1]}", 2, None, 0),
        (f"trades {WALLETS[2]}", 3, None, 0),
        (f"trades {WALLETS[2]}", 3, None, 0),
        ("markets", None, None, 0),
    ]


def test_the_file_is_sound_and_marked(db: Database) -> None:
    """References, indexes, the version and the feed; and what was for the old statistics is gone."""
    assert db.rows("PRAGMA foreign_key_check") == []
    assert db.value("PRAGMA integrity_check") == "ok"
    assert db.value("PRAGMA user_version") == SCHEMA_VERSION
    assert db.value("PRAGMA journal_mode") == "wal"
    assert len(feed.activity(db, "free", NOW * 1000 + DAY * 1000)) == 101
    names = {row[0] for row in db.rows("SELECT name FROM sqlite_schema")}
    assert not {name for name in names if name.startswith(("new_", "removed_activity", "whale_tallies"))}


def test_an_upgraded_file_has_the_schema_of_a_new_one(db: Database, tmp_path: Path) -> None:
    """Table by table, column by column, index by index."""

    def shape(opened: Database) -> dict[tuple[str, ...], list[list[tuple[Any, ...]]]]:
        objects = opened.rows("SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE '%sqlite%'")
        asked = ("table_xinfo", "index_xinfo", "foreign_key_list")
        return {
            tuple(row): [[tuple(found) for found in opened.rows(f"PRAGMA {each}({row['name']})")] for each in asked]
            for row in objects
        }

    with open_database(tmp_path / "new.db") as new:
        assert shape(db) == shape(new)


def fill_lists(exchange: Exchange) -> None:
    """Give the exchange the lists that the file of schema 1 was read from, as they have become."""
    loading, complete, removed, merger = WALLETS[:4]
    then = NOW - 20 * DAY
    for i in range(12):
        fields: dict[str, Any] = {"side": "Sell", "profit": "1.25"} if i % 3 == 2 else {}
        fields |= {"marketId": 1 + i % 3, "price": "0.4", "shares": f"{100 + i}", "fee": "0.1"}
        exchange.add(complete, then - (85 - i) * DAY, **fields)
    exchange.add_many(complete, 10, until=then - 10)
    twin: dict[str, Any] = {"txHash": "0x" + "7" * 64, "price": "0.25", "shares": "40"}
    for _ in range(3):
        exchange.add(complete, then - 5, marketId=51, marketTitle="$4,000 or more", rootMarketId=50, **twin)
    exchange.add_many(removed, 8, until=then - 100, step=60)
    for i in range(3):
        amount: dict[str, Any] = {"shares": f"{10 + i}", "amount": f"{10 + i}"}
        exchange.add(merger, then - 1000, side="Merge", marketId=2, price="0", profit="0", fee="0", **amount)
    for i in range(11):
        exchange.add(merger, then - 2000 - i, marketId=60 if i % 2 else 1)
    exchange.add(complete, then - 400, marketId=3).spoiled = {"price": "three"}
    for _ in range(2):
        exchange.add(removed, then - 90).spoiled = {"side": 7}
    exchange.add(merger, NOW - 3, marketId=2)
    exchange.add_many(complete, 3, until=NOW - 50)
    exchange.add_many(loading, 150, until=NOW - 1000, step=900)


def test_the_sync_goes_on_from_the_old_file(path: Path) -> None:
    """The backfill ends, and afterwards the file holds what the exchange lists, trade by trade."""
    office = Office(path.parent, tracked=0)
    fill_lists(office.exchange)
    before = Counter(query(path, "SELECT id, tx_hash FROM whale_activity"))
    for _ in range(4):
        office.sync(budget=12)
        office.exchange.now += 600  # a list that is shorter than before is believed after a while
    since = (NOW - 90 * DAY) * 1000
    for wallet in (WALLETS[0], WALLETS[1], WALLETS[3]):
        assert office.stored(wallet) == office.exchange.fills(wallet, since=since, readable=True)
        assert office.progress(wallet).complete
    assert not before - Counter(query(path, "SELECT id, tx_hash FROM whale_activity"))
    # of the merges that were stored twice, one of two is superseded
    superseded = "SELECT action, count(*) FROM whale_activity WHERE superseded_at IS NOT NULL GROUP BY action"
    assert query(path, superseded) == [("MERGE", 3)]


def test_a_view_and_an_index_of_the_users_survive(path: Path) -> None:
    """Tables are replaced under them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE VIEW mine AS SELECT title FROM markets JOIN whale_activity ON market_id = markets.id"
        )
        connection.execute("CREATE INDEX my_index ON whale_activity (amount)")
    open_database(path).close()
    assert len(query(path, "SELECT * FROM mine")) == 101
    assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'my_index'") == [("my_index",)]


def test_rows_deleted_by_hand_do_not_block_the_upgrade(path: Path) -> None:
    """A whale deleted with the SQLite shell leaves its trades behind; they stay."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM whales WHERE id = 2")
        connection.execute("DELETE FROM sync_logs WHERE id = 3")
        connection.commit()
    open_database(path).close()
    assert query(path, "SELECT count(*) FROM whale_activity WHERE whale_id = 2") == [(15,)]
    assert query(path, 'SELECT DISTINCT "table", parent FROM pragma_foreign_key_check') == [
        ("whale_activity", "whales")
    ]


def test_an_upgrade_that_fails_changes_nothing(path: Path) -> None:
    """Killed or out of disk space, it is whole or not at all; the next opening does it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE old_markets (id INTEGER)")
        before = list(connection.iterdump())
    with pytest.raises(sqlite3.OperationalError, match="old_markets"):
        open_database(path)
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
        connection.execute("DROP TABLE old_markets")
    open_database(path).close()
    assert migrations(path) == [("first",), ("second",), ("third",), ("fourth",), ("fifth",)]


def test_an_upgrade_that_is_only_in_the_wal_is_not_done_again(path: Path) -> None:
    """A reader kept the checkpoint from moving it into the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM markets").fetchone()
        open_database(path).close()
        with open_database(path) as db:
            assert db.value("SELECT count(*) FROM activity") == 101
    open_database(path).close()
    assert path.read_bytes()[60:64] == SCHEMA_VERSION.to_bytes(4, "big")
    assert migrations(path) == [("first",), ("second",), ("third",), ("fourth",), ("fifth",)]
