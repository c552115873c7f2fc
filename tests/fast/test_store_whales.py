"""The table ``whales``, what ``whales show`` asks of one of them, and the totals of the file."""

from __future__ import annotations

import pytest
from support.rows import DAY, HOUR, MIDNIGHT, MOBY, NOW, OTHER, insert, market, trade, whale

from whalesync.exchanges import DEFAULT_EXCHANGE, EXCHANGES
from whalesync.exchanges.base import Batch, NewFill, Pace
from whalesync.exchanges.opinion_trade.pages import PageRequest, TradePage
from whalesync.records import Trade
from whalesync.store import feed, retention, stats, trades, whales
from whalesync.store.database import Database
from whalesync.store.totals import Totals, totals
from whalesync.store.whale_detail import whale_detail
from whalesync.store.whales import Added, WatchEntry

THIRD = "0x" + "c3" * 20


def labels(db: Database) -> dict[str, str | None]:
    """The labels of the watch list."""
    return {row["address"]: row["label"] for row in whales.listed(db)}


def test_what_adding_did_is_told_apart(db: Database) -> None:
    """New, relabelled and known; the last label of a wallet counts, no label keeps it, an empty one removes it."""
    assert whales.add(db, [WatchEntry(MOBY, "Moby"), WatchEntry(OTHER)], NOW) == Added(2, 0, 0)
    second = [WatchEntry(MOBY), WatchEntry(OTHER, "Other"), WatchEntry(THIRD), WatchEntry(OTHER, "Last")]
    assert whales.add(db, second, NOW) == Added(1, 2, 1)
    assert labels(db) == {MOBY: "Moby", OTHER: "Last", THIRD: None}
    assert whales.add(db, [WatchEntry(MOBY, ""), WatchEntry(THIRD, "")], NOW) == Added(0, 1, 1)
    assert labels(db) == {MOBY: None, OTHER: "Last", THIRD: None}


def test_a_suggested_label_replaces_none(db: Database) -> None:
    """Not even that of a wallet which is no longer tracked."""
    whales.add(db, [WatchEntry(MOBY, "Moby"), WatchEntry(OTHER)], NOW)
    for wallet in (MOBY, OTHER):
        whales.remove(db, DEFAULT_EXCHANGE, wallet, NOW)
    whales.add(db, [WatchEntry(wallet, "Whale of the month", is_suggested=True) for wallet in (MOBY, OTHER)], NOW)
    assert labels(db) == {MOBY: "Moby", OTHER: "Whale of the month"}


def test_an_address_may_be_watched_on_two_exchanges(db: Database) -> None:
    """As two wallets."""
    whales.add(db, [WatchEntry(MOBY), WatchEntry(MOBY, platform="elsewhere")], NOW)
    assert [each.platform for each in whales.tracked(db)] == [DEFAULT_EXCHANGE, "elsewhere"]
    assert whales.remove(db, "elsewhere", MOBY, NOW)
    assert [each.platform for each in whales.tracked(db)] == [DEFAULT_EXCHANGE]


def test_a_removed_wallet_keeps_its_history_and_can_come_back(db: Database) -> None:
    """Under the same id and label; removing it twice does nothing."""
    whales.add(db, [WatchEntry(MOBY, "Moby")], NOW)
    (before,) = whales.tracked(db)
    trade(db, before.id, market(db), NOW - HOUR)
    assert whales.remove(db, DEFAULT_EXCHANGE, MOBY, NOW)
    assert not whales.remove(db, DEFAULT_EXCHANGE, MOBY, NOW)
    assert (whales.tracked(db), whales.addresses(db)) == ([], [])
    assert [row["address"] for row in whales.addresses(db, everyone=True)] == [MOBY]
    assert whales.add(db, [WatchEntry(MOBY)], NOW) == Added(1, 0, 0)
    (after,) = whales.tracked(db)
    assert (after.id, after.label, after.last_trade_at) == (before.id, "Moby", NOW - HOUR)


def test_a_change_of_the_watch_list_has_a_new_revision(db: Database) -> None:
    """Its rows get one; those that stay as they are do not."""
    whales.add(db, [WatchEntry(MOBY), WatchEntry(OTHER), WatchEntry(THIRD)], NOW)
    seen = db.value("SELECT max(revision) FROM whales")
    whales.add(db, [WatchEntry(MOBY, "Moby"), WatchEntry(THIRD)], NOW + 1)
    whales.remove(db, DEFAULT_EXCHANGE, OTHER, NOW + 2)
    changed = db.rows("SELECT address, updated_at FROM whales WHERE revision > ? ORDER BY revision", (seen,))
    assert [tuple(row) for row in changed] == [(MOBY, NOW + 1), (OTHER, NOW + 2)]


def test_text_that_is_not_unicode_breaks_nothing(db: Database) -> None:
    """Bytes of a command line that are not UTF-8 arrive as lone surrogates."""
    whales.add(db, [WatchEntry(MOBY, "\udcff")], NOW)
    assert labels(db) == {MOBY: r"\udcff"}
    assert not whales.remove(db, DEFAULT_EXCHANGE, "\udcff", NOW)


def test_the_watch_list_shows_the_highest_volume_first(db: Database) -> None:
    """Those no longer tracked on request."""
    for address, volume, tracked in ((MOBY, 5.0, 1), (OTHER, 50.0, 1), (THIRD, 7.0, 0)):
        whale(db, address, total_volume=volume, tracked=tracked, last_active_at=NOW)
    assert [row["address"] for row in whales.listed(db)] == [OTHER, MOBY]
    assert [row["address"] for row in whales.listed(db, everyone=True)] == [OTHER, THIRD, MOBY]
    assert list(whales.listed(db)[0]) == list(whales.COLUMNS)


@pytest.mark.parametrize(("by", "first"), [("volume", MOBY), ("profit", OTHER), ("7d", THIRD), ("active", OTHER)])
def test_the_watch_list_is_sorted(db: Database, by: str, first: str) -> None:
    """By volume, realized profit, volume of 7 days or last activity; whose figures are not known comes last."""
    unknown = "0x0"
    whale(db, unknown)
    for address, volume, profit, week, active in (
        (MOBY, 9.0, -5.0, 1.0, 1),
        (OTHER, 1.0, 2.0, 2.0, 9),
        (THIRD, 5.0, -1.0, 3.0, 2),
    ):
        figures = {"total_volume": volume, "realized_profit": profit, "volume_7d": week, "last_active_at": active}
        whale(db, address, **figures)
    found = [row["address"] for row in whales.listed(db, by=by)]
    assert (found[0], found[-1]) == (first, unknown)


def test_figures_that_were_never_counted_are_not_zero(db: Database) -> None:
    """Of a wallet never read, or whose trades were not counted yet, they are not known; of one without trades zero."""
    never, uncounted, empty = whale(db, MOBY), whale(db, OTHER), whale(db, THIRD)
    trade(db, uncounted, market(db), NOW)
    for each in (uncounted, empty):
        insert(db, "whale_cursors", whale_id=each, state="read")
    figures = ("total_volume", "trade_count", "volume_7d", "realized_profit")
    found = {row["id"]: [row[name] for name in figures] for row in whales.listed(db)}
    assert found == {never: [None] * 4, uncounted: [None] * 4, empty: [0.0, 0, 0.0, 0.0]}
    assert whales.one(db, never)["total_volume"] is None


def test_whom_a_run_had_no_time_for_is_remembered(db: Database) -> None:
    """Since when first, and never later than now."""
    one, two = whale(db, MOBY), whale(db, OTHER)

    def since() -> list[int | None]:
        return [each.left_out_since for each in whales.tracked(db)]

    whales.record_left_out(db, [one], [two], NOW + DAY)
    assert since() == [None, NOW + DAY]
    whales.record_left_out(db, [], [one, two], NOW)
    whales.record_left_out(db, [], [two], NOW + HOUR)
    assert since() == [NOW, NOW]
    whales.record_left_out(db, [one, two], [], NOW)
    assert since() == [None, None]


def test_a_wallet_is_named_by_its_ends_and_its_label(db: Database) -> None:
    """In messages."""
    whales.add(db, [WatchEntry(MOBY, "Moby"), WatchEntry(OTHER)], NOW)
    assert [each.name for each in whales.tracked(db)] == ["0xa1a1…a1a1 (Moby)", "0xb2b2…b2b2"]


def test_volume_by_day_tells_buys_from_sells(db: Database) -> None:
    """UTC days up to today, empty ones too; what is no volume, superseded or another whale's does not count."""
    moby, other, rain = whale(db, MOBY), whale(db, OTHER), market(db)
    for at, action, amount in (
        (MIDNIGHT - DAY - 1, "BUY", 1.0),
        (MIDNIGHT - 1, "BUY", 2.0),
        (MIDNIGHT, "BUY", 4.0),
        (NOW, "SELL", 8.0),
        (NOW, "MERGE", 16.0),
        (MIDNIGHT - 3 * DAY, "BUY", 32.0),
    ):
        trade(db, moby, rain, at, action, amount=amount)
    trade(db, moby, rain, NOW, amount=128.0, superseded_at=NOW)
    trade(db, other, rain, NOW, amount=64.0)
    assert whale_detail(db, moby, NOW, days=3).days == [
        {"day": "2026-02-27", "buy": 1.0, "sell": 0.0},
        {"day": "2026-02-28", "buy": 2.0, "sell": 0.0},
        {"day": "2026-03-01", "buy": 4.0, "sell": 8.0},
    ]


def test_a_whales_markets_and_trades(db: Database) -> None:
    """The most traded by volume, with their topics, and the newest trades, as many as asked for."""
    moby = whale(db, label="Moby")
    market(db, "9", "Gold?", kind="topic")
    child = {"category": "Macro", "parent_external_id": "9", "url": "https://x"}
    one, two, three = (market(db, name, f"Market {name}", **child) for name in "123")
    traded = enumerate((one, two, three, one))
    made = [trade(db, moby, place, NOW - n * HOUR, amount=10.0 + n) for n, place in traded]
    trade(db, moby, two, NOW, amount=99.0, superseded_at=NOW)
    detail = whale_detail(db, moby, NOW, top_markets=2, last_trades=2)
    assert [tuple(each.values()) for each in detail.markets] == [
        ("1", "Gold? › Market 1", "Macro", "https://x", 2, 23.0),
        ("3", "Gold? › Market 3", "Macro", "https://x", 1, 12.0),
    ]
    assert list(detail.markets[0]) == ["external_id", "market_title", "category", "url", "trades", "volume"]
    assert [row["id"] for row in detail.trades] == made[:2]
    assert detail.row["label"] == "Moby"


def test_totals_count_what_is_stored_and_what_is_missing(db: Database) -> None:
    """A wallet never read is loading; what is missing is known once a page was read; superseded rows do not count."""
    source = EXCHANGES[DEFAULT_EXCHANGE].trades
    rain = market(db)
    market(db, "9", kind="topic")
    read, _, gone = (whale(db, address, tracked=address != THIRD) for address in (MOBY, OTHER, THIRD))
    (wallet,) = (each for each in whales.tracked(db) if each.id == read)
    page = [Trade(f"0x{n}", "1", "Rain?", "BUY", "YES", 1.0, 0.5, 2.0, None, None, NOW - n) for n in range(20)]
    stored = trades.Stored(db, read)
    batch = source.take(None, [PageRequest(20, 1)], [TradePage(50, page)], stored, now=NOW, cutoff=0)
    log = insert(db, "sync_logs", type="whales", status="running", started_at=NOW)
    with db.write():
        trades.store(db, wallet, batch, {"1": rain}, run_id=log, now=NOW)
        trades.save_state(db, gone, batch.state)
    assert len(batch.new) >= 18
    db.execute("UPDATE whale_activity SET superseded_at = 1 WHERE id = 1")
    found = totals(db)
    assert found == Totals(len(batch.new) - 1, markets=1, tracked=2, loading=2, missing=50 - len(batch.new))
    whale(db, "0x4", platform="of another version")
    assert totals(db).loading == 3


def test_a_batch_is_stored_with_its_state_or_not_at_all(db: Database) -> None:
    """A fill that is stored already is refused by the file itself, and takes the rest of the batch with it."""
    moby, rain = whale(db), market(db)
    (wallet,) = whales.tracked(db)
    fill = Trade("0x1", "1", "Rain?", "BUY", "YES", 1.0, 0.5, 2.0, None, None, NOW)
    with db.write():
        trades.store(db, wallet, Batch("first", Pace.DONE, [NewFill(fill, 1)]), {"1": rain}, run_id=0, now=NOW)
    again = Batch("second", Pace.DONE, [NewFill(fill, 2), NewFill(fill, 1)])
    with pytest.raises(Exception, match="UNIQUE"), db.write():
        trades.store(db, wallet, again, {"1": rain}, run_id=0, now=NOW)
    assert (trades.state(db, moby), db.value("SELECT count(*) FROM whale_activity")) == ("first", 1)


def test_a_whale_deleted_by_hand_blocks_nothing(db: Database) -> None:
    """Its trades are in no feed, the figures of others are computed, and cleanup deletes what is old."""
    moby, other, rain = whale(db, MOBY), whale(db, OTHER), market(db)
    for each in (moby, other):
        trade(db, each, rain, NOW)
    db.execute("PRAGMA foreign_keys = OFF")  # as in the SQLite shell
    db.execute("DELETE FROM whales WHERE id = ?", (moby,))
    db.execute("PRAGMA foreign_keys = ON")
    assert [row["whale_id"] for row in feed.activity(db, "pro-plus", NOW)] == [other]
    assert stats.update_trades(db, NOW) == 1
    assert db.value("SELECT trade_count FROM whales WHERE id = ?", (other,)) == 1
    with db.write():
        assert retention.delete_trades(db, NOW + 1, 10) == 2
    assert [tuple(row) for row in db.rows("SELECT whale_id, buys FROM removed_sums")] == [(other, 1)]
