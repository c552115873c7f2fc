"""The feed, on real SQLite files."""

from __future__ import annotations

from typing import Any

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


def test_the_feed_of_large_trades_folds_fills(db: Database) -> None:
    """All fills of a trade that together reach the amount, newest first; fills of others, and small ones, are not."""
    moby, other, rain, snow = whale(db, MOBY), whale(db, OTHER), market(db, "1"), market(db, "2")
    large = [trade(db, moby, rain, NOW - HOUR + n * SECOND, amount=40.0) for n in range(3)]
    for whale_id, place, action in ((other, rain, "BUY"), (moby, snow, "BUY"), (moby, rain, "SELL")):
        trade(db, whale_id, place, NOW - HOUR, action, amount=90.0)
    trade(db, moby, rain, NOW - HOUR, amount=500.0, superseded_at=NOW)
    found = feed.large_trades(db, "pro-plus", NOW, min_usd=120.0)
    assert (ids(found.rows), found.searched_from) == (large[::-1], None)
    assert found.rows == [row for row in feed.activity(db, "pro-plus", NOW) if row["id"] in large]
    assert ids(feed.large_trades(db, "pro-plus", NOW, min_usd=120.0, limit=2).rows) == large[:0:-1]
    assert feed.large_trades(db, "pro-plus", NOW, min_usd=120.01).rows == []


def test_a_tier_folds_only_what_it_sees(db: Database) -> None:
    """A trade is as large for it as the fills whose delay has run out."""
    moby, rain = whale(db), market(db)
    for at in (NOW, NOW + 20 * SECOND):
        trade(db, moby, rain, at, amount=60.0)
    assert feed.large_trades(db, "pro", NOW + 49 * SECOND, min_usd=100.0).rows == []
    assert ids(feed.large_trades(db, "pro", NOW + 50 * SECOND, min_usd=100.0).rows) == [2, 1]


def test_large_trades_are_narrowed_as_all_others(db: Database) -> None:
    """Whale, markets, exchange and time; what was made before that time counts towards the size of its trade."""
    moby, other, markets = whale(db, MOBY), whale(db, OTHER), [market(db, name) for name in "123"]
    for whale_id in (moby, other):
        for place in markets:
            for n in range(2):
                trade(db, whale_id, place, NOW - HOUR + n * SECOND, amount=50.0)
    narrowed: dict[str, Any] = {"whale_id": moby, "market_ids": markets[:2], "platform": "opinion_trade"}
    assert ids(feed.large_trades(db, "pro-plus", NOW, min_usd=100.0, **narrowed).rows) == [4, 2, 3, 1]
    later = NOW - HOUR + SECOND
    assert ids(feed.large_trades(db, "pro-plus", NOW, min_usd=100.0, since=later, **narrowed).rows) == [4, 2]
    assert feed.large_trades(db, "pro-plus", NOW, min_usd=100.0, platform="elsewhere").rows == []


def test_a_search_for_large_trades_ends_somewhere(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says how far it went."""
    moby, rain = whale(db), market(db)
    for n in range(5):
        trade(db, moby, rain, NOW - n * HOUR)
    monkeypatch.setattr(feed, "MOST_READ", 3)
    assert feed.large_trades(db, "pro-plus", NOW, min_usd=1e6) == ([], NOW - 3 * HOUR)
    assert feed.large_trades(db, "pro-plus", NOW, min_usd=1.0, limit=2).searched_from is None


def test_a_follower_of_large_trades_gets_a_trade_when_it_is_large(db: Database) -> None:
    """Then all of its fills, those seen before too, and each further one; never one twice."""
    moby, rain = whale(db), market(db)
    first = trade(db, moby, rain, NOW - 30 * SECOND, amount=60.0)
    cursor = feed.cursor(db, NOW)
    small = trade(db, moby, rain, NOW, "SELL", amount=60.0)
    rows, cursor = feed.new_activity(db, "pro-plus", cursor, NOW + SECOND, min_usd=100.0)
    assert rows == []
    second = trade(db, moby, rain, NOW + 10 * SECOND, amount=60.0)
    rows, cursor = feed.new_activity(db, "pro-plus", cursor, NOW + 10 * SECOND, min_usd=100.0)
    assert ids(rows) == [first, second]
    third = trade(db, moby, rain, NOW + 20 * SECOND, amount=1.0)
    rows, cursor = feed.new_activity(db, "pro-plus", cursor, NOW + 20 * SECOND, min_usd=100.0)
    assert ids(rows) == [third]
    rows, cursor = feed.new_activity(db, "pro-plus", cursor, NOW + HOUR, min_usd=100.0)
    assert rows == [] and small not in ids(rows)


@pytest.mark.parametrize("tier", ["pro-plus", "pro", "free"])
def test_a_follower_of_large_trades_ends_with_what_the_feed_shows(db: Database, tier: str) -> None:
    """Each fill once, whatever comes in, as long as fills are stored in the order in which they are made."""
    wallets, places = [whale(db, MOBY), whale(db, OTHER)], [market(db, "1"), market(db, "2")]
    cursor, seen = feed.cursor(db, NOW), []
    for step in range(1, 300):
        now = NOW + step * 7 * SECOND
        if step < 150:
            trade(db, wallets[step * 7 % 3 % 2], places[step // 20 % 2], now, amount=float(step * 37 % 61))
        if step % 3 == 0:
            rows, cursor = feed.new_activity(db, tier, cursor, now, min_usd=150.0)
            seen += ids(rows)
    expected = ids(feed.large_trades(db, tier, NOW + DAY, min_usd=150.0).rows)
    assert len(expected) > 20
    assert sorted(seen) == sorted(expected)


def test_what_is_stored_late_completes_a_trade(db: Database) -> None:
    """A follower gets a trade whose earlier fill, or whose later one, was already there, however long ago it was."""
    moby, other, rain = whale(db, MOBY), whale(db, OTHER), market(db)
    day_ago = [trade(db, moby, rain, NOW - DAY, amount=60.0), trade(db, other, rain, NOW - DAY, amount=60.0)]
    cursor = feed.cursor(db, NOW)
    late = [
        trade(db, moby, rain, NOW - DAY - 50 * SECOND, amount=60.0),
        trade(db, other, rain, NOW - DAY + 50 * SECOND, amount=60.0),
    ]
    rows, _ = feed.new_activity(db, "free", cursor, NOW + SECOND, min_usd=100.0)
    assert sorted(ids(rows)) == sorted(day_ago + late)
