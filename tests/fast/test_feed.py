"""The feed, on real SQLite files."""

from __future__ import annotations

import pytest
from support.rows import DAY, HOUR, MINUTE, MOBY, NOW, OTHER, SECOND, market, trade, whale

from whalesync.store import feed
from whalesync.store.database import Database


def ids(rows: list[feed.Row]) -> list[int]:
    """The ids of rows, in their order."""
    return [row["id"] for row in rows]


@pytest.mark.parametrize(("tier", "delay"), [("pro-plus", 0), ("pro", 30 * SECOND), ("free", 15 * MINUTE)])
def test_a_tier_sees_a_trade_when_its_delay_has_run_out(db: Database, tier: str, delay: int) -> None:
    """Not a millisecond earlier."""
    trade(db, whale(db), market(db), NOW)
    assert feed.activity(db, tier, NOW + delay - 1) == []
    assert len(feed.activity(db, tier, NOW + delay)) == 1


@pytest.mark.parametrize("tier", ["free", "pro", "pro-plus"])
def test_the_feed_reads_like_the_view_of_its_tier(db: Database, tier: str) -> None:
    """Same columns, same values, same order, so that a script may change from one to the other."""
    moby, child = whale(db, label="Moby"), market(db, url="https://x")
    for at in (NOW, NOW - HOUR, NOW):
        trade(db, moby, child, at, "SELL", profit=2.5, outcome="NO", outcome_label="No way")
    view = [dict(row) for row in db.rows(f"SELECT * FROM activity_{tier.replace('-', '_')}")]
    assert feed.activity(db, tier, NOW + DAY) == view
    assert list(feed.ACTIVITY_COLUMNS) == list(view[0])


def test_a_view_of_a_tier_shows_what_is_visible_now(db: Database) -> None:
    """By the clock of SQLite."""
    now = db.value("SELECT CAST(unixepoch('now') AS INTEGER) * 1000")
    moby, rain = whale(db), market(db)
    old, new = trade(db, moby, rain, now - 16 * MINUTE), trade(db, moby, rain, now - 14 * MINUTE)
    assert [row[0] for row in db.rows("SELECT id FROM activity_free")] == [old]
    assert [row[0] for row in db.rows("SELECT id FROM activity_pro")] == [new, old]


def test_a_child_market_is_shown_with_its_topic(db: Database) -> None:
    """A title alone says nothing; a market with the number of the topic is another one, so is another exchange's."""
    market(db, "9", "Gold price at the end of December?", kind="topic")
    market(db, "9", "Rain?")
    market(db, "9", "Elsewhere", kind="topic", platform="polymarket")
    trade(db, whale(db), market(db, "1", "$4,000 or more", parent_external_id="9"), NOW)
    (row,) = feed.activity(db, "pro-plus", NOW)
    assert row["market_title"] == "Gold price at the end of December? › $4,000 or more"


def test_the_newest_come_first_and_the_limit_cuts_the_oldest(db: Database) -> None:
    """Of one moment, the last stored comes first, however the fills are ordered in the indexes."""
    moby, rain = whale(db), market(db)
    old = trade(db, moby, rain, NOW - HOUR)
    same = [trade(db, moby, rain, NOW - SECOND, fill_key=key) for key in (7, -3, 5)]
    expected = [*reversed(same), old]
    for whale_id in (None, moby):
        for market_ids in (None, [rain]):
            for limit in (None, 2):
                found = feed.activity(db, "pro-plus", NOW, whale_id=whale_id, market_ids=market_ids, limit=limit)
                assert ids(found) == expected[:limit]


def test_filters_narrow_the_feed_together(db: Database) -> None:
    """Whale, markets, exchange, and how far back."""
    moby, other, rain, snow = whale(db, MOBY), whale(db, OTHER), market(db, "1"), market(db, "2")
    wanted = trade(db, moby, rain, NOW - HOUR)
    trade(db, moby, snow, NOW - HOUR)
    trade(db, other, rain, NOW - HOUR)
    trade(db, moby, rain, NOW - HOUR - 1)
    trade(db, moby, rain, NOW - HOUR, platform="elsewhere")
    found = feed.activity(
        db, "pro-plus", NOW, whale_id=moby, market_ids=[rain], platform="opinion_trade", since=NOW - HOUR
    )
    assert ids(found) == [wanted]


def test_several_markets_are_merged_by_time(db: Database) -> None:
    """As the children of a topic are."""
    moby, markets = whale(db), [market(db, name) for name in ("11", "12", "13")]
    first, second, _, third = (
        trade(db, moby, place, NOW - n * SECOND)
        for n, place in enumerate((markets[0], markets[1], markets[2], markets[0]))
    )
    assert ids(feed.activity(db, "pro-plus", NOW, market_ids=markets[:2])) == [first, second, third]
    assert ids(feed.activity(db, "pro-plus", NOW, market_ids=markets[:2], limit=2)) == [first, second]
    assert feed.activity(db, "pro-plus", NOW, market_ids=[]) == []


def test_superseded_rows_are_in_no_feed(db: Database) -> None:
    """The exchange no longer lists them."""
    moby, rain = whale(db), market(db)
    trade(db, moby, rain, NOW, superseded_at=NOW)
    counts = trade(db, moby, rain, NOW)
    assert ids(feed.activity(db, "pro-plus", NOW)) == [counts]
    assert ids(feed.new_activity(db, "pro-plus", feed.Cursor(NOW - DAY, 0), NOW)[0]) == [counts]
    assert [row[0] for row in db.rows("SELECT id FROM activity_free")] == [counts]


def test_a_follower_gets_what_becomes_visible(db: Database) -> None:
    """Each trade once, when its delay has run out, the oldest first."""
    moby, rain = whale(db), market(db)
    trade(db, moby, rain, NOW - 40 * SECOND)
    soon, later = trade(db, moby, rain, NOW - 20 * SECOND), trade(db, moby, rain, NOW - 10 * SECOND)
    cursor = feed.cursor(db, NOW)
    assert feed.new_activity(db, "pro", cursor, NOW + 9 * SECOND)[0] == []
    rows, cursor = feed.new_activity(db, "pro", cursor, NOW + 20 * SECOND)
    assert ids(rows) == [soon, later]
    assert feed.new_activity(db, "pro", cursor, NOW + HOUR)[0] == []


@pytest.mark.parametrize("tier", ["pro-plus", "pro", "free"])
def test_a_follower_loses_nothing_and_sees_nothing_twice(db: Database, tier: str) -> None:
    """Whenever a trade is made and stored, looks at any moments show each trade exactly once."""
    moby, rain = whale(db), market(db)
    cursor, seen = feed.cursor(db, NOW), []
    for step in range(1, 400):
        now = NOW + step * 7 * SECOND
        if step < 150:
            trade(db, moby, rain, now - (step * 37 % 61) * SECOND)
        if step % 3 == 0:
            rows, cursor = feed.new_activity(db, tier, cursor, now)
            seen += ids(rows)
    assert sorted(seen) == list(range(1, 150))


def test_a_follower_loses_nothing_when_the_clock_is_set_back(db: Database) -> None:
    """A trade stored while the clock was behind is shown when it is visible by that clock."""
    moby, rain = whale(db), market(db)
    cursor = feed.cursor(db, NOW)
    between = trade(db, moby, rain, NOW - 30 * MINUTE)
    rows, cursor = feed.new_activity(db, "pro-plus", cursor, NOW - HOUR)
    assert rows == []
    assert ids(feed.new_activity(db, "pro-plus", cursor, NOW)[0]) == [between]


def test_a_follower_may_narrow_the_feed(db: Database) -> None:
    """It gets what became visible and what a sync brought in after its delay had run out, each once."""
    moby, other, rain, snow = whale(db, MOBY), whale(db, OTHER), market(db, "1"), market(db, "2")
    trade(db, moby, rain, NOW - HOUR)
    cursor = feed.cursor(db, NOW)
    late, new = trade(db, moby, rain, NOW - HOUR), trade(db, moby, rain, NOW + SECOND)
    for at in (NOW - HOUR, NOW + SECOND):
        trade(db, other, rain, at)
        trade(db, moby, snow, at)
        trade(db, moby, rain, at, platform="elsewhere")
    rows, cursor = feed.new_activity(
        db, "pro-plus", cursor, NOW + MINUTE, whale_id=moby, market_ids=[rain], platform="opinion_trade"
    )
    assert ids(rows) == [late, new]
    assert feed.new_activity(db, "pro-plus", cursor, NOW + 2 * MINUTE)[0] == []


def test_a_cursor_never_goes_back(db: Database) -> None:
    """Though cleanup may delete the newest row, an id is never used twice."""
    trade(db, whale(db), market(db), NOW)
    cursor = feed.cursor(db, NOW)
    db.execute("DELETE FROM whale_activity")
    assert feed.new_activity(db, "pro", cursor, NOW + SECOND)[1] == feed.Cursor(NOW + SECOND, cursor.last_id)
