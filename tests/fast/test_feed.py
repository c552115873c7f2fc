"""The questions people ask of the file, on real SQLite files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whalesync.store import feed
from whalesync.store.database import Database, open_database

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MIDNIGHT = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW = MIDNIGHT + 12 * HOUR
MOBY, OTHER = "0x" + "a1" * 20, "0x" + "b2" * 20


class Explaining(Database):
    """A database that notes how each query would be done."""

    def rows(self, sql: str, params: Any = ()) -> Any:
        self.plans = [*getattr(self, "plans", []), *super().rows("EXPLAIN QUERY PLAN " + sql, params)]
        return super().rows(sql, params)

    def one(self, sql: str, params: Any = ()) -> Any:
        self.rows(sql, params)
        return super().one(sql, params)

    def on_activity(self) -> list[str]:
        """The steps that touch whale_activity, and every sort."""
        steps = [row["detail"] for row in self.plans]
        return [
            step for step in steps if " a " in f"{step} " or "TEMP B-TREE" in step or "whale_activity" in step
        ]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "whalesync.db") as database:
        yield database


def whale(db: Database, address: str, **fields: Any) -> int:
    return insert(db, "whales", address=address, created_at=NOW, updated_at=NOW, **fields)


def market(db: Database, external_id: str, title: str = "Will it rain?", **fields: Any) -> int:
    return insert(
        db, "markets", external_id=external_id, title=title, created_at=NOW, updated_at=NOW, **fields
    )


def trade(db: Database, whale_id: int, market_id: int, at: int, action: str = "BUY", **fields: Any) -> int:
    number = (db.value("SELECT max(id) FROM whale_activity") or 0) + 1
    values = {"tx_hash": f"0x{number}", "amount": 10.0, "fill_key": -number} | fields
    delays = {
        "visible_to_pro_plus_at": at,
        "visible_to_pro_at": at + 30_000,
        "visible_to_free_at": at + 900_000,
    }
    return insert(
        db,
        "whale_activity",
        whale_id=whale_id,
        market_id=market_id,
        action=action,
        timestamp=at,
        **values,
        **delays,
    )


def insert(db: Database, table: str, **values: Any) -> int:
    names = ", ".join(values)
    return db.insert(
        f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    )


def ids(rows: list[feed.Row]) -> list[int]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize(("tier", "delay"), [("pro-plus", 0), ("pro", 30 * SECOND), ("free", 15 * MINUTE)])
def test_a_tier_sees_a_trade_when_its_delay_has_run_out(db: Database, tier: str, delay: int) -> None:
    """Not a millisecond earlier."""
    trade(db, whale(db, MOBY), market(db, "1"), NOW)
    assert feed.activity(db, tier, NOW + delay - 1) == []
    assert len(feed.activity(db, tier, NOW + delay)) == 1


def test_the_delays_are_those_of_the_views() -> None:
    """Two places know them; they must not drift apart."""
    from whalesync.store import schema

    expected = {"pro-plus": 0, "pro": schema.PRO_DELAY_MS, "free": schema.FREE_DELAY_MS}
    assert expected == feed.TIER_DELAYS_MS


@pytest.mark.parametrize("tier", ["free", "pro", "pro-plus"])
def test_the_feed_reads_like_the_view_of_its_tier(db: Database, tier: str) -> None:
    """Same columns, same values, so that a script may change from one to the other."""
    trade(
        db,
        whale(db, MOBY, label="Moby"),
        market(db, "1", url="https://x"),
        NOW,
        "SELL",
        profit=2.5,
        outcome="NO",
    )
    view = [dict(row) for row in db.rows(f"SELECT * FROM activity_{tier.replace('-', '_')}")]
    assert view == feed.activity(db, tier, NOW + DAY)
    assert list(feed.ACTIVITY_COLUMNS) == list(view[0])


def test_the_newest_come_first_and_the_limit_cuts_the_oldest(db: Database) -> None:
    """Trades of one moment: the last stored first."""
    w, m = whale(db, MOBY), market(db, "1")
    old, new, same = (trade(db, w, m, at) for at in (NOW - HOUR, NOW - SECOND, NOW - SECOND))
    assert [same, new, old] == ids(feed.activity(db, "pro-plus", NOW))
    assert [same, new] == ids(feed.activity(db, "pro-plus", NOW, limit=2))
    assert [same, new, old] == ids(feed.activity(db, "pro-plus", NOW, whale=MOBY))


def test_filters_narrow_the_feed_together(db: Database) -> None:
    """Whale in any case of letters, market, and how far back."""
    moby, other, rain, snow = whale(db, MOBY), whale(db, OTHER), market(db, "1"), market(db, "2")
    wanted = trade(db, moby, rain, NOW - HOUR)
    trade(db, moby, snow, NOW - HOUR)
    trade(db, other, rain, NOW - HOUR)
    trade(db, moby, rain, NOW - HOUR - 1)
    found = feed.activity(
        db, "pro-plus", NOW, whale=MOBY.upper().replace("X", "x"), market="1", since=NOW - HOUR
    )
    assert [wanted] == ids(found)


def test_the_parent_of_a_market_stands_for_its_children(db: Database) -> None:
    """People know the question; the trades are in its answers."""
    w, parent = whale(db, MOBY), market(db, "1")
    children = [market(db, name, parent_external_id="1") for name in ("11", "12")]
    first, second, third = (
        trade(db, w, place, NOW - n * SECOND)
        for n, place in ((1, children[0]), (2, parent), (3, children[1]))
    )
    trade(db, w, market(db, "2"), NOW)
    assert [first, second, third] == ids(feed.activity(db, "pro-plus", NOW, market="1"))
    assert [first, second] == ids(feed.activity(db, "pro-plus", NOW, market="1", limit=2))


def test_a_market_that_names_itself_as_its_parent_is_read_once(db: Database) -> None:
    """Whatever the exchange says, a trade is shown once."""
    made = trade(db, whale(db, MOBY), market(db, "1", parent_external_id="1"), NOW)
    assert [made] == ids(feed.activity(db, "pro-plus", NOW, market="1"))


def test_a_market_and_its_children_are_looked_up_by_index(db: Database) -> None:
    """Not by reading all markets of the platform."""
    explaining = Explaining(db.path, db.connection)
    feed.activity(explaining, "pro-plus", NOW, market="1")
    steps = [row["detail"] for row in explaining.plans if " markets " in row["detail"]]
    assert len(steps) == 2
    assert all("external_id=?" in step for step in steps)


@pytest.mark.parametrize(
    "unknown", [{"whale": OTHER}, {"market": "99"}, {"whale": "\udcff"}, {"market": "\udcff"}]
)
def test_what_is_unknown_has_no_activity(db: Database, unknown: dict[str, Any]) -> None:
    """An unknown address or id, be it bytes that are no text, finds nothing and breaks nothing."""
    trade(db, whale(db, MOBY), market(db, "1"), NOW)
    assert feed.activity(db, "pro-plus", NOW, **unknown) == []


def test_a_follower_gets_what_becomes_visible(db: Database) -> None:
    """Each trade once, when its delay has run out, the oldest first."""
    w, m = whale(db, MOBY), market(db, "1")
    trade(db, w, m, NOW - 40 * SECOND)
    soon, later = trade(db, w, m, NOW - 20 * SECOND), trade(db, w, m, NOW - 10 * SECOND)
    mark = feed.mark(db, NOW)
    assert feed.news(db, "pro", mark, NOW + 9 * SECOND)[0] == []
    rows, mark = feed.news(db, "pro", mark, NOW + 20 * SECOND)
    assert [soon, later] == ids(rows)
    assert feed.news(db, "pro", mark, NOW + HOUR)[0] == []


def test_a_follower_gets_what_was_stored_late(db: Database) -> None:
    """A trade that a sync brought in after its delay had run out, once."""
    w, m = whale(db, MOBY), market(db, "1")
    trade(db, w, m, NOW - HOUR)
    mark = feed.mark(db, NOW)
    late, fresh = trade(db, w, m, NOW - 2 * HOUR), trade(db, w, m, NOW + SECOND)
    rows, mark = feed.news(db, "pro-plus", mark, NOW + MINUTE)
    assert [late, fresh] == ids(rows)
    assert feed.news(db, "pro-plus", mark, NOW + 2 * MINUTE)[0] == []


def test_a_follower_loses_nothing_and_sees_nothing_twice(db: Database) -> None:
    """Whenever a trade is made and stored, looks at any moments show each trade exactly once."""
    w, m = whale(db, MOBY), market(db, "1")
    mark, seen = feed.mark(db, NOW), []
    for step in range(1, 200):
        now = NOW + step * 7 * SECOND
        if step < 150:
            trade(db, w, m, now - (step * 37 % 61) * SECOND)
        if step % 3 == 0:
            rows, mark = feed.news(db, "pro", mark, now)
            seen += ids(rows)
    assert sorted(seen) == list(range(1, 150))


def test_a_follower_loses_nothing_when_the_clock_is_put_back(db: Database) -> None:
    """Stored while the clock was behind, shown when it is visible by that clock."""
    w, m = whale(db, MOBY), market(db, "1")
    mark = feed.mark(db, NOW)
    between = trade(db, w, m, NOW - 30 * MINUTE)
    rows, mark = feed.news(db, "pro-plus", mark, NOW - HOUR)
    assert rows == []
    assert [between] == ids(feed.news(db, "pro-plus", mark, NOW)[0])


def test_a_follower_may_narrow_the_feed(db: Database) -> None:
    """Both what became visible and what was stored late."""
    moby, other, rain, snow = whale(db, MOBY), whale(db, OTHER), market(db, "1"), market(db, "2")
    mark = feed.mark(db, NOW)
    late, fresh = trade(db, moby, rain, NOW - HOUR), trade(db, moby, rain, NOW + SECOND)
    for at in (NOW - HOUR, NOW + SECOND):
        trade(db, other, rain, at)
        trade(db, moby, snow, at)
    rows, _ = feed.news(db, "pro-plus", mark, NOW + MINUTE, whale=MOBY, market="1")
    assert [late, fresh] == ids(rows)


def test_a_mark_never_goes_back(db: Database) -> None:
    """Though cleanup may remove the newest row, an id is never used twice."""
    trade(db, whale(db, MOBY), market(db, "1"), NOW)
    mark = feed.mark(db, NOW)
    db.execute("DELETE FROM whale_activity")
    assert feed.news(db, "pro", mark, NOW + SECOND)[1] == feed.Mark(NOW + SECOND, mark.last_id)


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize(
    ("narrowed", "index"),
    [
        ({}, "whale_activity_by_time (timestamp>? AND timestamp<?)"),
        ({"whale": MOBY}, "whale_activity_by_whale (whale_id=? AND timestamp>? AND timestamp<?)"),
        ({"market": "1"}, "whale_activity_by_market (market_id=? AND timestamp>? AND timestamp<?)"),
    ],
)
def test_a_page_of_the_feed_is_a_range_of_one_index(
    db: Database, analysed: bool, narrowed: dict[str, Any], index: str
) -> None:
    """No scan and no sort, with or without statistics about the tables."""
    w, m = whale(db, MOBY), market(db, "1")
    for second in range(50):
        trade(db, w, m, NOW - second * SECOND)
    if analysed:
        db.execute("ANALYZE")
    explaining = Explaining(db.path, db.connection)
    feed.activity(explaining, "free", NOW, since=NOW - DAY, limit=10, **narrowed)
    assert [f"SEARCH a USING INDEX {index}"] == explaining.on_activity()


@pytest.mark.parametrize("narrowed", [{}, {"whale": MOBY}, {"market": "1"}])
def test_a_followers_look_reads_only_what_is_new(db: Database, narrowed: dict[str, Any]) -> None:
    """What was stored late is found by its id, not by going through a whale's history."""
    trade(db, whale(db, MOBY), market(db, "1"), NOW)
    explaining = Explaining(db.path, db.connection)
    feed.news(explaining, "free", feed.Mark(NOW, 0), NOW + MINUTE, **narrowed)
    steps = explaining.on_activity()
    assert "SEARCH a USING INTEGER PRIMARY KEY (rowid>?)" in steps
    assert not [step for step in steps if step.startswith("SCAN a") or "TEMP" in step]


def test_a_whales_page_never_scans_all_activity(db: Database) -> None:
    """Every part of it is a range of the whale's own index."""
    trade(db, whale(db, MOBY), market(db, "1"), NOW)
    explaining = Explaining(db.path, db.connection)
    feed.whale(explaining, MOBY, NOW)
    touching = [step for step in explaining.on_activity() if "TEMP B-TREE" not in step]
    assert touching
    assert all("USING INDEX whale_activity_by_whale (whale_id=?" in step for step in touching)
