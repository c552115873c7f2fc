"""What people ask of the file beside the feed: markets, whales, totals and runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whalesync.store import feed
from whalesync.store.database import Database, open_database

DAY, HOUR = 86_400_000, 3_600_000
MIDNIGHT = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW = MIDNIGHT + 12 * HOUR
MOBY, OTHER = "0x" + "a1" * 20, "0x" + "b2" * 20


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


def test_markets_come_by_volume_unknown_last(db: Database) -> None:
    """The biggest first, cut by the limit."""
    for name, volume in (("1", 5.0), ("2", None), ("3", 50.0)):
        market(db, name, volume=volume)
    assert [row["external_id"] for row in feed.markets(db)] == ["3", "1", "2"]
    assert [row["external_id"] for row in feed.markets(db, limit=1)] == ["3"]
    assert list(feed.MARKET_COLUMNS) == list(feed.markets(db)[0])


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("RAIN", {"Will it rain?"}),
        ("übermorgen", {"ÜBERMORGEN 100% Schnee"}),
        ("100%", {"ÜBERMORGEN 100% Schnee"}),
        ("_", {"snake_case"}),
        ("%", {"ÜBERMORGEN 100% Schnee"}),
        ("'; --", set()),
        ("\udcff", set()),
        ("", {"Will it rain?", "ÜBERMORGEN 100% Schnee", "snake_case"}),
    ],
)
def test_a_search_takes_every_letter_as_itself(db: Database, search: str, found: set[str]) -> None:
    """Any case in any script; no sign is a wildcard."""
    for number, title in enumerate(("Will it rain?", "ÜBERMORGEN 100% Schnee", "snake_case")):
        market(db, str(number), title)
    assert found == {row["title"] for row in feed.markets(db, search=search)}


def test_markets_are_narrowed_by_category_and_status(db: Database) -> None:
    """Both in any case; both must hold."""
    market(db, "1", category="Macro", status="activated")
    market(db, "2", category="Macro", status="resolved")
    market(db, "3", category="Crypto", status="activated")
    assert [row["external_id"] for row in feed.markets(db, category="macro", status="Activated")] == ["1"]


def test_the_watch_list_holds_the_tracked(db: Database) -> None:
    """The biggest volume first; those no longer tracked on request."""
    for address, volume, tracked in ((MOBY, 5.0, 1), (OTHER, 50.0, 1), ("0x" + "c3" * 20, 7.0, 0)):
        whale(db, address, total_volume=volume, tracked=tracked)
    assert [row["address"] for row in feed.whales(db)] == [OTHER, MOBY]
    assert [row["address"] for row in feed.whales(db, everyone=True)] == [OTHER, "0x" + "c3" * 20, MOBY]


def test_a_whale_that_was_never_watched_is_none(db: Database) -> None:
    """Nobody has heard of it."""
    assert feed.whale(db, MOBY, NOW) is None


def test_the_win_rate_is_of_sells_with_a_known_profit(db: Database) -> None:
    """Break-even is no win, an unknown profit is no loss, and only sells count."""
    w, m = whale(db, MOBY), market(db, "1")
    for action, profit in (
        ("SELL", 5.0),
        ("SELL", 1.0),
        ("SELL", 0.0),
        ("SELL", -3.0),
        ("SELL", None),
        ("BUY", 9.0),
        ("MERGE", 9.0),
    ):
        trade(db, w, m, NOW - HOUR, action, profit=profit)
    detail = feed.whale(db, MOBY, NOW)
    assert detail is not None
    assert feed.WinRate(won=2, known=4, sells=5) == detail.win_rate
    assert detail.win_rate.share == 0.5


def test_no_known_profit_is_no_win_rate(db: Database) -> None:
    """Not zero percent."""
    trade(db, whale(db, MOBY), market(db, "1"), NOW, "SELL")
    detail = feed.whale(db, MOBY, NOW)
    assert detail is not None and detail.win_rate.share is None


def test_volume_by_day_tells_buys_from_sells(db: Database) -> None:
    """UTC days up to today, empty ones too; merges are no volume; another whale's trades are not this one's."""
    w, m = whale(db, MOBY), market(db, "1")
    for at, action, amount in (
        (MIDNIGHT - DAY - 1, "BUY", 1.0),
        (MIDNIGHT - 1, "BUY", 2.0),
        (MIDNIGHT, "BUY", 4.0),
        (NOW, "SELL", 8.0),
        (NOW, "MERGE", 16.0),
        (MIDNIGHT - 3 * DAY, "BUY", 32.0),
    ):
        trade(db, w, m, at, action, amount=amount)
    trade(db, whale(db, OTHER), m, NOW, amount=64.0)
    detail = feed.whale(db, MOBY, NOW, days=3)
    expected = [
        {"day": "2026-02-27", "buy": 1.0, "sell": 0.0},
        {"day": "2026-02-28", "buy": 2.0, "sell": 0.0},
        {"day": "2026-03-01", "buy": 4.0, "sell": 8.0},
    ]
    assert detail is not None and expected == detail.days


def test_a_whales_markets_and_trades(db: Database) -> None:
    """The most traded by volume, and the newest trades, as many as asked for."""
    w = whale(db, MOBY, label="Moby")
    places = [market(db, name, f"Market {name}", category="Macro") for name in ("1", "2", "3")]
    made = [
        trade(db, w, place, NOW - n * HOUR, amount=10.0 + n) for n, place in enumerate((*places, places[0]))
    ]
    detail = feed.whale(db, MOBY.upper().replace("X", "x"), NOW, top_markets=2, last_trades=2)
    assert detail is not None
    expected = [
        {"external_id": "1", "title": "Market 1", "category": "Macro", "trades": 2, "volume": 23.0},
        {"external_id": "3", "title": "Market 3", "category": "Macro", "trades": 1, "volume": 12.0},
    ]
    assert expected == detail.markets
    assert made[:2] == ids(detail.trades)
    assert detail.row["label"] == "Moby"


def test_totals_count_what_is_held_and_what_is_missing(db: Database) -> None:
    """A wallet not read yet, or counted anew (-1), is being filled in; one no longer tracked is not."""
    m = market(db, "1")
    for number, (pending, tracked) in enumerate(((0, 1), (7, 1), (-1, 1), (None, 1), (9, 0))):
        w = whale(db, f"0x{number:040}", tracked=tracked)
        trade(db, w, m, NOW)
        if pending is not None:
            insert(db, "whale_cursors", whale_id=w, held=1, pending=pending)
    assert feed.Totals(trades=5, markets=1, tracked=4, filling=3, pending=7) == feed.totals(db)


def test_an_empty_file_has_totals_of_zero(db: Database) -> None:
    """Before the first whale is added."""
    assert feed.Totals(0, 0, 0, 0, 0) == feed.totals(db)


def test_refused_records_are_counted_by_source(db: Database) -> None:
    """Distinct ones, and how often they came."""
    for number, (source, seen, at) in enumerate(
        (("trades", 3, NOW), ("trades", 1, NOW + 5), ("markets", 1, NOW))
    ):
        insert(
            db,
            "rejected_records",
            source=source,
            reason="no price",
            payload="{}",
            first_seen_at=NOW,
            last_seen_at=at,
            seen_count=seen,
            fingerprint=bytes([number]),
        )
    expected = [
        {"source": "markets", "records": 1, "seen": 1, "last_seen_at": NOW},
        {"source": "trades", "records": 2, "seen": 4, "last_seen_at": NOW + 5},
    ]
    assert expected == feed.rejected_counts(db)


def test_runs_are_told_back_to_the_last_success(db: Database) -> None:
    """Of one job, the newest first; all of them if none was successful."""
    made = [
        insert(db, "sync_logs", type=kind, status=status, started_at=NOW)
        for kind, status in (
            ("whales", "completed"),
            ("whales", "completed"),
            ("stats", "failed"),
            ("whales", "failed"),
            ("whales", "running"),
        )
    ]
    assert [made[4], made[3], made[1]] == ids(feed.runs_since_success(db, "whales"))
    assert [made[2]] == ids(feed.runs_since_success(db, "stats"))
    assert feed.runs_since_success(db, "markets") == []
