"""The table ``markets``: what is stored, when a row counts as changed, and how markets are found."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pytest
from support.rows import DAY, HOUR, NOW, insert, market, trade, whale

from whalesync.exchanges.base import Tradable
from whalesync.records import MARKET, TOPIC, Market, Trade
from whalesync.store import markets
from whalesync.store.database import Database
from whalesync.store.market_detail import market_detail

HERE = "opinion_trade"
RAIN = Market(
    kind=MARKET, external_id="1", parent_external_id=None, title="Will it rain?", category="Weather",
    status="activated", yes_label="Yes", no_label="No", yes_token_id="11", no_token_id="12", volume=5.0,
    volume_24h=1.0, volume_7d=2.0, end_date=NOW + DAY, resolved_at=None, result=None, url="https://x",
    created_at=NOW - DAY,
)  # fmt: skip


def save(db: Database, *found: Market, now: int = NOW, platform: str = HERE) -> int:
    """Save markets in a transaction; returns how many rows were written."""
    with db.write():
        return markets.save(db, platform, found, now)


def named(db: Database, text: str, platform: str | None = None) -> set[int]:
    """Our ids of the markets and topics that a text may mean."""
    return {each.id for each in markets.named(db, text, platform)}


def row(db: Database, external_id: str = "1", kind: str = MARKET) -> dict[str, Any]:
    """One row of the table."""
    return dict(db.one("SELECT * FROM markets WHERE external_id = ? AND kind = ?", (external_id, kind)))


def test_a_market_is_stored_as_it_was_given(db: Database) -> None:
    """Column by column; what is not known is NULL."""
    save(db, RAIN)
    columns = {name: value for name, value in asdict(RAIN).items() if name != "provisional"}
    known = columns | {"id": 1, "platform": HERE, "updated_at": NOW, "revision": 2}
    assert row(db) == dict.fromkeys(row(db)) | known


def test_markets_topics_and_exchanges_are_numbered_apart(db: Database) -> None:
    """Three rows with one number."""
    topic = replace(RAIN, kind=TOPIC, title="Weather in May", yes_token_id=None, no_token_id=None)
    assert save(db, RAIN, topic) == 2
    assert save(db, RAIN, platform="elsewhere") == 1
    assert save(db, RAIN, topic) == 0
    assert row(db, kind=TOPIC)["title"] == "Weather in May"


def test_a_row_that_stays_the_same_is_not_rewritten(db: Database) -> None:
    """Neither by a list, nor by a price or liquidity; the WAL does not grow by a byte."""
    save(db, RAIN)
    markets.save_price(db, 1, 0.65, NOW)
    markets.save_liquidity(db, 1, 12.5, NOW)
    before, wal = row(db), db.wal_bytes()
    assert save(db, RAIN, now=NOW + HOUR) == 0
    markets.save_price(db, 1, 0.65, NOW + HOUR)
    markets.save_liquidity(db, 1, 12.5, NOW + HOUR)
    assert (row(db), db.wal_bytes()) == (before, wal)


@pytest.mark.parametrize(
    "change",
    [
        lambda db, now: save(db, replace(RAIN, volume=6.0), now=now),
        lambda db, now: markets.save_price(db, 1, 0.5, now),
        lambda db, now: markets.save_price(db, 1, None, now),
        lambda db, now: markets.save_liquidity(db, 1, 13.0, now),
    ],
)
def test_a_reader_that_remembers_the_revision_sees_every_change(db: Database, change: Any) -> None:
    """The row gets a revision that is larger than any before, and the time of its change."""
    save(db, RAIN, replace(RAIN, external_id="2"))
    markets.save_price(db, 1, 0.65, NOW)
    markets.save_liquidity(db, 1, 12.5, NOW)
    seen = db.value("SELECT max(revision) FROM markets")
    change(db, NOW + HOUR)
    changed = db.rows("SELECT external_id, updated_at FROM markets WHERE revision > ?", (seen,))
    assert [tuple(each) for each in changed] == [("1", NOW + HOUR)]


def test_revisions_grow_over_the_whole_file(db: Database) -> None:
    """One number for each transaction that changes something, from the first row on; one that fails uses up none."""
    numbers = []
    for step, found in enumerate((RAIN, RAIN, replace(RAIN, external_id="2"), replace(RAIN, volume=7.0))):
        save(db, found, now=NOW + step)
        numbers.append(db.value("SELECT max(revision) FROM markets"))
    assert numbers == [2, 2, 3, 4]
    with suppress(ValueError), db.write():
        assert db.revision() == db.revision() == 5
        markets.save(db, HERE, [RAIN], NOW)
        raise ValueError
    with db.write():
        assert db.revision() == 5


def test_a_price_is_stored_with_its_opposite(db: Database) -> None:
    """Rounded to what exchanges give; an unknown price clears all three columns."""
    save(db, RAIN)
    markets.save_price(db, 1, 0.65, NOW + 1)
    assert [row(db)[name] for name in ("yes_price", "no_price", "price_updated_at")] == [0.65, 0.35, NOW + 1]
    markets.save_price(db, 1, None, NOW + 2)
    assert [row(db)[name] for name in ("yes_price", "no_price", "price_updated_at")] == [None] * 3


@pytest.mark.parametrize(("token", "price"), [("11", 0.65), ("99", None), (None, None)])
def test_a_price_belongs_to_its_token(db: Database, token: str | None, price: float | None) -> None:
    """It is dropped when the token is replaced or goes."""
    save(db, RAIN)
    markets.save_price(db, 1, 0.65, NOW)
    save(db, replace(RAIN, yes_token_id=token, volume=9.0), now=NOW + HOUR)
    stored = row(db)
    assert stored["yes_price"] == price
    assert [stored[name] is None for name in ("no_price", "price_updated_at")] == [price is None] * 2


def test_a_resolution_without_a_date_has_the_time_when_it_was_first_seen(db: Database) -> None:
    """It does not move with later runs; a date that the exchange gives counts more."""
    save(db, RAIN)
    resolved = replace(RAIN, status="resolved", result="yes")
    for now in (NOW + HOUR, NOW + 2 * HOUR):
        save(db, resolved, replace(resolved, external_id="2", resolved_at=0), now=now)
        assert (row(db)["resolved_at"], row(db, "2")["resolved_at"]) == (NOW + HOUR, NOW + HOUR)
    assert save(db, resolved, now=NOW + 3 * HOUR) == 0
    save(db, replace(resolved, resolved_at=NOW + 5), now=NOW + 3 * HOUR)
    assert row(db)["resolved_at"] == NOW + 5
    save(db, resolved, now=NOW + 4 * HOUR)
    assert row(db)["resolved_at"] == NOW + 5
    save(db, RAIN, now=NOW + 5 * HOUR)
    assert row(db)["resolved_at"] is None


def test_what_a_response_leaves_out_stays_as_it_is_known(db: Database) -> None:
    """The volumes and the topic; another end, or none, is stored."""
    child = replace(RAIN, parent_external_id="9")
    save(db, child)
    bare = replace(child, parent_external_id=None, volume=None, volume_24h=None, volume_7d=None, end_date=None)
    save(db, bare, now=NOW + HOUR)
    known = row(db)
    assert [known[name] for name in ("parent_external_id", "volume", "volume_24h", "volume_7d")] == ["9", 5.0, 1.0, 2.0]
    assert known["end_date"] is None
    assert save(db, bare, now=NOW + 2 * HOUR) == 0


def test_a_provisional_status_counts_while_no_other_is_known(db: Database) -> None:
    """A topic first met in a trade or in a list gets it; what was taken for deleted and is listed again was not."""
    listed = replace(RAIN, kind=TOPIC, status="created", provisional=True)
    with db.write():
        markets.ids_for(db, HERE, [fill("5", parent_external_id="1", parent_title="Rain")], NOW, {})
    statuses = []
    for found in (listed, replace(listed, status="resolved"), replace(listed, status="resolving", provisional=False)):
        save(db, found)
        statuses.append(row(db, kind=TOPIC)["status"])
    with db.write():
        markets.mark_deleted(db, [row(db, kind=TOPIC)["id"]], NOW)
    statuses.append(row(db, kind=TOPIC)["status"])
    save(db, listed)
    statuses.append(row(db, kind=TOPIC)["status"])
    assert statuses == ["created", "created", "resolving", "deleted", "created"]


def test_looking_up_a_market_is_no_change_of_it(db: Database) -> None:
    """Only the time is stored; the market's row and its children's tell when it was."""
    topic = replace(RAIN, kind=TOPIC, external_id="9")
    save(db, RAIN, topic, replace(RAIN, external_id="2", parent_external_id="9", status="resolved"))
    revision = row(db)["revision"]
    with db.write():
        markets.record_looked_up(db, HERE, [topic.key], NOW + HOUR)
        markets.save(db, HERE, [topic], NOW + HOUR)
    looked_up = row(db, "9", TOPIC)
    assert (looked_up["looked_up_at"], looked_up["updated_at"], looked_up["revision"]) == (NOW + HOUR, NOW, revision)
    assert db.fact("revision") == revision
    assert [(each.key, each.looked_up_at) for each in markets.not_ended(db, HERE)] == [
        ((MARKET, "1"), None), ((TOPIC, "9"), NOW + HOUR),
    ]  # fmt: skip


def fill(external_id: str, **fields: Any) -> Trade:
    """A trade in a market."""
    title = f"Market {external_id}"
    return Trade("0x", external_id, title, "BUY", "YES", 1.0, 0.5, 2.0, None, None, NOW, **fields)


def test_a_market_first_met_in_a_trade_gets_a_row(db: Database) -> None:
    """And so does its topic; the next market sync fills both in, under the same ids."""
    known: dict[str, int] = {}
    with db.write():
        child = fill("5", parent_external_id="1", parent_title="Gold price?")
        markets.ids_for(db, HERE, [fill("1"), child, child], NOW, known)
    assert sorted(known) == ["1", "5"]
    assert (row(db, "5")["parent_external_id"], row(db, "1", TOPIC)["title"]) == ("1", "Gold price?")
    assert row(db, "1")["title"] == "Market 1"
    save(db, replace(RAIN, external_id="5", created_at=NOW - DAY))
    filled = row(db, "5")
    assert (filled["id"], filled["title"], filled["created_at"]) == (known["5"], RAIN.title, NOW - DAY)
    with db.write():
        assert markets.ids_for(db, HERE, [child], NOW, {}) == {"5": known["5"]}
        other = markets.ids_for(db, "elsewhere", [fill("5")], NOW, {})
    assert other["5"] != known["5"]


def test_what_can_be_traded_now(db: Database) -> None:
    """Activated markets with a YES token; a child without a volume of its own has its topic's."""
    topic = replace(RAIN, external_id="9", kind=TOPIC, yes_token_id=None, volume_24h=70.0)
    child = replace(RAIN, external_id="2", parent_external_id="9", volume_24h=None)
    without, over = (
        replace(RAIN, external_id="3", yes_token_id=None),
        replace(RAIN, external_id="4", status="resolved"),
    )
    save(db, RAIN, topic, child, without, over)
    save(db, replace(RAIN, external_id="5"), platform="elsewhere")
    expected = {Tradable(1, "1", "11", 1.0, None, None), Tradable(3, "2", "11", 70.0, None, None)}
    assert set(markets.tradable(db, HERE)) == expected


def test_an_id_stands_for_a_market_before_a_topic(db: Database) -> None:
    """A topic stands for its children; an exchange may be named; what is unknown stands for nothing."""
    market(db, "1", kind=TOPIC)
    market(db, "9", kind=TOPIC)
    one, other = market(db, "1"), market(db, "1", platform="elsewhere")
    children = [market(db, name, parent_external_id=parent) for name, parent in (("11", "9"), ("12", "9"), ("13", "1"))]
    assert named(db, "1") == {one, other}
    assert named(db, "1", HERE) == {one}
    (topic,) = markets.named(db, "9")
    assert markets.market_ids(db, topic) == children[:2]
    for unknown in ("99", "\udcff", "", " ", "…"):
        assert named(db, unknown) == set()


def test_the_beginning_of_a_long_id_names_it(db: Database) -> None:
    """As tables show it, in any case; that of a short id does not, and few characters do not."""
    first, second = ("0x12345678" + end * 56 for end in "ab")
    one, two = market(db, first), market(db, second)
    market(db, "1234567")
    for text in (first[:11], "0X12345678A", "0x12345678a…", "0x12345678a..."):
        assert named(db, text) == {one}
    assert named(db, "0x123456") == {one, two}
    assert named(db, "0x123") == named(db, "123456") == set()


def test_a_whole_title_names_a_market_before_a_topic(db: Database) -> None:
    """In any case, alone or after its topic's, whatever other titles contain it."""
    topic = market(db, "9", "Gold in May?", kind=TOPIC)
    child = market(db, "1", "$4,000", parent_external_id="9")
    market(db, "2", "$4,000 or more", parent_external_id="9")
    assert named(db, "gold in may?") == {topic}
    assert named(db, "$4,000") == named(db, "GOLD IN MAY? › $4,000") == {child}
    same = market(db, "3", "Gold in May?")
    assert named(db, "gold in may?") == {same}


def test_words_name_all_titles_that_contain_them(db: Database) -> None:
    """In any order and case, of the topic or its own; a topic that has all of them stands for its children."""
    topic = market(db, "9", "Straße: Gold in May?", kind=TOPIC)
    low, high = (market(db, name, title, parent_external_id="9") for name, title in (("1", "$3,000"), ("2", "$4,000")))
    rain = market(db, "3", "Will it rain in May?")
    for text, found in (
        ("gold", {topic}),
        ("MAY gold strasse", {topic}),
        ("4,000 gold", {high}),
        ("000 $", {low, high}),
        ("may", {topic, rain}),
        ("rain gold", set()),
        ("%", set()),
        ("may " * 2000, {topic, rain}),
    ):
        assert named(db, text) == found


def test_one_market_has_all_about_it_and_the_whales_in_it(db: Database) -> None:
    """Children by price; positions, open ones first; what each watched whale traded of each side, the last first."""
    moby, other, gone = whale(db, "0x1"), whale(db, "0x2"), whale(db, "0x3", tracked=0)
    market(db, "9", "Gold?", kind=TOPIC)
    low, high = (
        market(db, name, name, parent_external_id="9", yes_price=price) for name, price in (("1", None), ("2", 0.4))
    )
    elsewhere = market(db, "3")
    for whale_id, place, label, state, value in (
        (moby, low, "YES", "closed", None),
        (moby, low, "NO", "open", 5.0),
        (other, high, "YES", "open", 50.0),
        (gone, high, "YES", "open", 500.0),
        (moby, elsewhere, "YES", "open", 5.0),
    ):
        position = {"platform": HERE, "outcome_label": label, "state": state, "value": value, "updated_at": NOW}
        insert(db, "positions", whale_id=whale_id, market_id=place, first_seen_at=NOW, **position)
    for whale_id, place, at, action, amount in (
        (moby, low, NOW - DAY, "BUY", 10.0),
        (moby, low, NOW, "SELL", 4.0),
        (moby, low, NOW, "MERGE", 100.0),
        (other, high, NOW - HOUR, "BUY", 7.0),
        (gone, high, NOW, "BUY", 70.0),
        (moby, elsewhere, NOW, "BUY", 700.0),
    ):
        trade(db, whale_id, place, at, action, amount=amount, outcome="YES")
    trade(db, moby, low, NOW, amount=1000.0, superseded_at=NOW)
    topic, market_1 = (markets.named(db, name)[0] for name in ("9", "1"))
    found = market_detail(db, topic)
    assert (found.row["title"], [row["external_id"] for row in found.children]) == ("Gold?", ["2", "1"])
    assert [(row["whale_address"], row["state"]) for row in found.positions] == [
        ("0x2", "open"), ("0x1", "open"), ("0x1", "closed"),
    ]  # fmt: skip
    figures = ("whale_address", "market_title", "trades", "bought", "sold", "first_trade_at", "last_trade_at")
    assert [tuple(row[name] for name in figures) for row in found.traders] == [
        ("0x1", "Gold? › 1", 2, 10.0, 4.0, NOW - DAY, NOW),
        ("0x2", "Gold? › 2", 1, 7.0, 0.0, NOW - HOUR, NOW - HOUR),
    ]
    alone = market_detail(db, market_1)
    assert (alone.row["market_title"], alone.children) == ("Gold? › 1", [])
    assert (len(alone.positions), len(alone.traders)) == (2, 1)


def titles(db: Database, **narrowed: Any) -> list[str]:
    """The titles of the markets that are listed."""
    return [each["market_title"] for each in markets.listed(db, **narrowed)]


def test_markets_are_listed_by_volume_unknown_last(db: Database) -> None:
    """The highest first, cut by the limit; topics only if they are asked for."""
    for name, volume in (("1", 5.0), ("2", None), ("3", 50.0)):
        market(db, name, name, volume=volume)
    market(db, "4", "topic", kind=TOPIC, volume=500.0)
    assert titles(db) == ["3", "1", "2"]
    assert titles(db, limit=1) == ["3"]
    assert titles(db, kind=TOPIC) == ["topic"]
    assert titles(db, platform="elsewhere") == []
    assert list(markets.MARKET_COLUMNS) == list(markets.listed(db)[0])


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("RAIN", {"Will it rain?"}),
        ("übermorgen", {"ÜBERMORGEN 100% Schnee"}),
        ("100%", {"ÜBERMORGEN 100% Schnee"}),
        ("_", {"Weather › snake_case"}),
        ("weather", {"Weather › snake_case"}),
        ("%", {"ÜBERMORGEN 100% Schnee"}),
        ("'; --", set()),
        ("\udcff", set()),
        ("", {"Will it rain?", "ÜBERMORGEN 100% Schnee", "Weather › snake_case"}),
    ],
)
def test_a_search_takes_every_letter_as_itself(db: Database, search: str, found: set[str]) -> None:
    """Any case in any script; no character is a wildcard; a child is found by its topic's title too."""
    market(db, "1", "Will it rain?")
    market(db, "2", "ÜBERMORGEN 100% Schnee")
    market(db, "3", "snake_case", parent_external_id="4")
    market(db, "4", "Weather", kind=TOPIC)
    assert set(titles(db, search=search)) == found


def test_markets_are_narrowed_by_category_and_status(db: Database) -> None:
    """Both in any case; both must hold; bytes that are not text match nothing."""
    market(db, "1", "1", category="Macro", status="activated")
    market(db, "2", "2", category="Macro", status="resolved")
    market(db, "3", "3", category="Crypto", status="activated")
    assert titles(db, category="macro", status="Activated") == ["1"]
    assert titles(db, category="\udcff") == titles(db, status="\udcff") == []
