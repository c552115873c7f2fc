"""Polymarket's markets: how they are read, and ``sync-markets`` over a real file against the simulated exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.polymarket_host import DAY, HOUR, NOW, PolymarketHost, reached

from whalesync.errors import ExchangeError, JobFailed, OutOfTime, RequestRefused, Unreachable
from whalesync.exchanges.base import Batch, NewFill, Pace
from whalesync.exchanges.polymarket import markets
from whalesync.exchanges.polymarket.gamma import parse_markets
from whalesync.exchanges.polymarket.markets import VOLUME_FLOOR
from whalesync.records import TOKEN_FILL_KEY_RULE, Market, Trade
from whalesync.sandbox.polymarket import combo_id, condition_id, make_event, make_market, token_id
from whalesync.store import trades, whales
from whalesync.store.database import open_database

FIVE_MINUTES = 300

# As Gamma gives it, without the fields that nobody reads.
RECORDED = {
    "id": "665374",
    "conditionId": "0x706BEB0ebd2edd12bbe8ec141a94181a8b67fb2b630c66304db8e70828a2cd7f",
    "slug": "will-the-republican-party-candidate-win-the-2026-arkansas-senate-election-by-5-10",
    "question": "Will the Republican Party candidate win the 2026 Arkansas Senate election by 5%-10%?",
    "groupItemTitle": "Republican 5%-10%",
    "outcomes": '["Yes", "No"]',
    "outcomePrices": '["0.0865", "0.9135"]',
    "clobTokenIds": '["48806077328000909419484823670508609131899330142378469532880640080613055214499", "77"]',
    "volume": "18421.551203",
    "volumeNum": 18421.551203,
    "volume24hr": 120.5,
    "volume1wk": 900,
    "liquidity": "2210.4",
    "liquidityNum": 2210.4,
    "endDate": "2026-11-03T00:00:00Z",
    "createdAt": "2025-11-04T17:54:41.12Z",
    "active": True,
    "closed": False,
    "umaResolutionStatus": "",
    "events": [{"id": 52311, "slug": "arkansas-senate-margin-of-victory-2026", "title": "Arkansas Senate: margin?"}],
    "tags": [{"slug": "all", "label": "All"}, {"slug": "politics", "label": "Politics"}],
}


def read(**fields: Any) -> Market:
    """The recorded market with other fields."""
    return parse_markets({"markets": [RECORDED | fields]}).markets[-1]


def test_a_market_is_read_as_it_was_recorded() -> None:
    """With the event as its topic, and the place of its choice in it as its title."""
    page = parse_markets({"markets": [RECORDED], "next_cursor": "abc"})
    topic, market = page.markets
    assert page.next_cursor == "abc"
    assert (topic.key, topic.title, topic.status) == (("topic", "52311"), "Arkansas Senate: margin?", "activated")
    assert topic.url == "https://polymarket.com/event/arkansas-senate-margin-of-victory-2026"
    assert market == Market(
        kind="market",
        external_id="0x706beb0ebd2edd12bbe8ec141a94181a8b67fb2b630c66304db8e70828a2cd7f",
        parent_external_id="52311",
        title="Republican 5%-10%",
        category="Politics",
        status="activated",
        yes_label="Yes",
        no_label="No",
        yes_token_id="48806077328000909419484823670508609131899330142378469532880640080613055214499",
        no_token_id="77",
        volume=18421.551203,
        volume_24h=120.5,
        volume_7d=900.0,
        end_date=1_793_664_000_000,
        resolved_at=None,
        result=None,
        url=f"{topic.url}/{RECORDED['slug']}",
        created_at=1_762_278_881_120,
        yes_price=0.0865,
        no_price=0.9135,
        liquidity=2210.4,
    )


@pytest.mark.parametrize(
    ("closed", "stage", "prices", "expected"),
    [
        (False, "", ["0.4", "0.6"], ("activated", None)),
        (False, "proposed", ["1", "0"], ("resolving", None)),
        (True, "resolved", ["1", "0"], ("resolved", "yes")),
        (True, "proposed", ["0", "1"], ("resolved", "no")),
        (True, "", ["0.0000004", "0.9999996"], ("resolved", "no")),
        (True, "", ["0.9995", "0.0005"], ("resolving", None)),
        (True, "resolved", ["0.5", "0.5"], ("resolved", None)),
        (True, "", ["0.5", "0.5"], ("resolved", None)),
        (True, "disputed", ["0.5", "0.5"], ("resolving", None)),
        (True, "resolved", None, ("resolving", None)),
    ],
)
def test_a_market_has_ended_when_it_is_closed_and_its_prices_say_what_it_pays(
    closed: bool, stage: str, prices: list[str] | None, expected: tuple[str, str | None]
) -> None:
    """Half to each is an end without a result; what is still disputed is not an end."""
    market = read(closed=closed, umaResolutionStatus=stage, outcomePrices=prices and json.dumps(prices))
    assert (market.status, market.result) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("closedTime", "2026-09-28 17:46:27+00", 1_790_617_587_000),
        ("endDate", "2026-09-28", 1_790_553_600_000),
        ("endDate", "2026-09-28T12:00:59.02+00:00", 1_790_596_859_020),
        ("endDate", "1970-01-01T00:00:00Z", None),
        ("endDate", "", None),
        ("endDate", "soon", None),
        ("endDate", None, None),
    ],
)
def test_times_are_read_in_all_their_forms(field: str, value: str | None, expected: int | None) -> None:
    """What cannot be read is not known; the market is kept."""
    market = read(closed=True, outcomePrices='["1", "0"]', **{field: value})
    assert (market.resolved_at if field == "closedTime" else market.end_date) == expected


def test_a_market_of_version_2_has_its_tokens_in_a_list() -> None:
    """Its condition id lacks the last byte where it is short, which a combo's always is."""
    short = "0x017b9c1874b8597e1500898a063ea925ab0000000000000000000000000000"
    market = read(version="v2", conditionId=short, positionIds=["5", "6"], outcomes=["Up", "Down"])
    assert (market.external_id, market.yes_token_id, market.no_label) == (f"{short}00", "5", "Down")
    (rejected,) = parse_markets({"markets": [RECORDED | {"conditionId": combo_id(1)}]}).records
    assert not isinstance(rejected, Market) and "conditionId" in rejected.reason


def test_a_rejected_market_is_the_same_record_when_its_numbers_have_changed() -> None:
    """So it is kept once."""
    first, second = (
        parse_markets({"markets": [RECORDED | {"closed": "no", "volumeNum": volume}]}).records[0] for volume in (1, 2)
    )
    assert not isinstance(first, Market) and not isinstance(second, Market)
    assert first.fingerprint == second.fingerprint


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PolymarketHost]:
    with reached(PolymarketHost(tmp_path / "whales.db"), monkeypatch) as made:
        yield made


def trade(host: PolymarketHost, condition: str, held: str = "7", **fields: Any) -> None:
    """Store a trade in a market, as a trade source does."""
    with open_database(host.db) as db, db.write():
        (whale,) = whales.tracked(db)
        known = {
            "action": "BUY", "outcome": None, "amount": 5.0, "price": 0.5, "shares": 10.0, "fee": 0.0, "profit": None,
            "timestamp": (NOW - HOUR) * 1000, "token_id": held, "market_title": "Lakers?",
            "fill_key_rule": TOKEN_FILL_KEY_RULE,
        }  # fmt: skip
        fill = Trade(**{"tx_hash": f"0x{held}", "market_external_id": condition, **known, **fields})
        trades.store(db, whale, Batch("{}", Pace.DONE, new=[NewFill(fill, 1)]), {}, run_id=1, now=NOW * 1000)


def looked_up(host: PolymarketHost, closed: str = "") -> list[str]:
    """The requests for markets by their ids, in the list of open or of closed ones."""
    return [address for address in host.asked if "condition_ids" in address and f"closed={closed}" in address]


def test_markets_that_were_traded_are_looked_up_in_batches(host: PolymarketHost) -> None:
    """120 open, 30 closed, of both versions, and a combo: three batches, and the last one again among the closed."""
    for number in range(1, 151):
        version = "v1" if number % 2 else "v2"
        host.books.add_market(make_market(number, version=version, event=make_event(number // 10)))
        if number > 120:
            host.books.resolve(condition_id(number, version), winner=0, at=NOW - HOUR)
        trade(host, condition_id(number, version), token_id(number, 0))
    trade(host, combo_id(1))
    host.sync_markets()
    assert (len(looked_up(host, "false")), len(looked_up(host, "true"))) == (3, 1)
    assert max(map(len, host.asked)) < 8192
    assert not any(combo_id(1) in address for address in host.asked)
    statuses = host.stored("status")
    assert statuses.pop(combo_id(1)) is None
    assert list(statuses.values()) == ["activated"] * 120 + ["resolved"] * 30
    assert set(host.stored("status", "topic").values()) == {"activated", "resolved"}


def test_a_market_is_refreshed_at_every_run_until_it_is_resolved(host: PolymarketHost) -> None:
    """With its price; then its topic has ended too, and nothing is asked any more."""
    host.books.add_market(make_market(1, outcomes=("Lakers", "Celtics"), volume=1000.0), price=0.4)
    trade(host, condition_id(1))
    host.sync_markets()
    fields = "status, yes_label, no_label, yes_price, no_price, liquidity, price_updated_at"
    known = ("activated", "Lakers", "Celtics", 0.4, 0.6, 50.0, NOW * 1000)
    assert host.stored(fields) == {condition_id(1): known}
    host.books.set_price(condition_id(1), 0.7)
    host.elapsed += FIVE_MINUTES
    host.sync_markets()
    assert host.stored("yes_price, price_updated_at") == {condition_id(1): (0.7, (NOW + FIVE_MINUTES) * 1000)}
    host.books.resolve(condition_id(1), winner=1)
    resolved_at = (NOW + FIVE_MINUTES) * 1000
    host.elapsed += FIVE_MINUTES
    host.sync_markets()
    fields = "status, result, yes_price, no_price, resolved_at"
    assert host.stored(fields) == {condition_id(1): ("resolved", "no", 0.0, 1.0, resolved_at)}
    assert host.stored("status, resolved_at", "topic") == {"1": ("resolved", resolved_at)}
    host.elapsed += FIVE_MINUTES
    host.sync_markets()
    assert looked_up(host) == []


def test_a_run_in_which_nothing_changes_writes_no_new_revision(host: PolymarketHost) -> None:
    """So readers that follow the file have nothing to copy."""
    host.books.add_market(make_market(1, volume=2 * VOLUME_FLOOR))
    host.books.add_market(make_market(2))
    trade(host, condition_id(2))
    host.sync_markets()
    before = host.rows("SELECT revision, updated_at FROM markets")
    host.elapsed += FIVE_MINUTES
    host.sync_markets()
    assert host.rows("SELECT revision, updated_at FROM markets") == before


def test_what_is_in_neither_list_stays_as_it_is_and_is_named_after_a_day(host: PolymarketHost) -> None:
    """For minutes that is usual; once a day is often enough."""
    for number in (1, 2):
        host.books.add_market(make_market(number))
        trade(host, condition_id(number), token_id(number, 0))
    host.sync_markets()
    host.exchange.gamma.closing_gap = 10 * DAY
    host.books.resolve(condition_id(1), winner=0)
    errors = []
    for _ in range(48):
        host.elapsed += HOUR
        errors += host.sync_markets().errors()
    assert host.stored("status") == {condition_id(1): "activated", condition_id(2): "activated"}
    assert len(errors) == 2 and condition_id(1) in errors[0] and condition_id(2) not in errors[0]


def test_open_markets_of_some_volume_are_listed_the_largest_first(
    host: PolymarketHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to a floor, and no more of them than a run may read; what is small is not stored before it is traded."""
    monkeypatch.setattr(markets, "MOST_PAGES", 3)
    many = 350
    for number in range(1, many + 1):
        host.books.add_market(make_market(number, volume=VOLUME_FLOOR + number, events=[]))
    host.books.add_market(make_market(many + 1, volume=VOLUME_FLOOR - 1))
    host.sync_markets()
    assert len(host.asked) == 3
    assert host.stored("volume").keys() == {condition_id(number) for number in range(51, many + 1)}


def test_a_run_that_is_cut_off_is_continued_by_the_next(host: PolymarketHost) -> None:
    """The list where it ended; the look-ups with what was looked up longest ago."""
    for number in range(1, 501):
        host.books.add_market(make_market(number, volume=VOLUME_FLOOR + number))
    for number in range(501, 801):
        host.books.add_market(make_market(number))
        trade(host, condition_id(number), token_id(number, 0))
    host.seconds = 1.0
    found = []
    for _ in range(4):  # ten requests each: three for the list, the others for look-ups
        host.sync_markets(budget=10)
        found.append(sum(status is not None for status in host.stored("status").values()))
        host.elapsed += FIVE_MINUTES
    assert found[0] < found[1] and found[-1] == 800
    oldest = host.rows("SELECT min(looked_up_at) AS at FROM markets WHERE kind = 'market'")
    assert oldest[0]["at"] >= NOW * 1000


def test_a_refused_list_keeps_no_market_from_being_looked_up(host: PolymarketHost) -> None:
    """What wallets have traded matters more."""
    host.books.add_market(make_market(1))
    trade(host, condition_id(1))

    def refuse(path: str, number: int) -> None:
        if "volume_num_min" in host.asked[-1]:
            raise RequestRefused("Polymarket refused the request (422)")

    host.before = refuse
    run = host.sync_markets()
    assert host.stored("status") == {condition_id(1): "activated"}
    assert ["422" in error for error in run.errors()] == [True]


@pytest.mark.parametrize("error", [Unreachable("no connection"), OutOfTime()])
def test_a_run_that_reads_nothing_fails(host: PolymarketHost, error: Exception) -> None:
    """At the first request."""

    def fail(path: str, number: int) -> None:
        raise error

    host.before = fail
    with pytest.raises((ExchangeError, JobFailed)):
        host.sync_markets()
    assert len(host.asked) == 1


def test_stored_rows_take_the_side_of_their_token_when_the_market_becomes_known(host: PolymarketHost) -> None:
    """Two trades and two positions named the wrong side, one trade none; what was stored by another rule stays."""
    yes, no = token_id(1, 0), token_id(1, 1)
    trade(host, condition_id(1), yes, outcome="NO", outcome_label="Celtics")
    trade(host, condition_id(1), no, outcome="YES", outcome_label="Lakers")
    trade(host, condition_id(1), no, tx_hash="0xa")
    trade(host, condition_id(1), yes, tx_hash="0xb", outcome="NO", fill_key_rule=2)
    with open_database(host.db) as db, db.write():
        for token, outcome in ((yes, "NO"), (no, "YES")):
            db.execute(
                "INSERT INTO positions (whale_id, market_id, platform, token_id, outcome, outcome_label, first_seen_at,"
                f" updated_at) VALUES (1, 1, 'polymarket', '{token}', '{outcome}', 'x', 0, 0)"
            )
    host.books.add_market(make_market(1, outcomes=("Lakers", "Celtics")))
    host.sync_markets()
    stored = [tuple(row.values()) for row in host.rows("SELECT outcome, outcome_label FROM whale_activity ORDER BY id")]
    assert stored == [("YES", "Lakers"), ("NO", "Celtics"), ("NO", "Celtics"), ("NO", None)]
    held = [tuple(row.values()) for row in host.rows("SELECT outcome, outcome_label FROM positions ORDER BY id")]
    assert held == [("YES", "Lakers"), ("NO", "Celtics")]
    trade(host, condition_id(1), no, tx_hash="0xc", outcome="YES", outcome_label="Lakers")
    (latest,) = host.rows("SELECT outcome, outcome_label FROM whale_activity ORDER BY id DESC LIMIT 1")
    assert tuple(latest.values()) == ("NO", "Celtics")


def test_a_market_that_is_called_like_its_event_is_not_named_twice(host: PolymarketHost) -> None:
    """Most events have one market, with the same title."""
    host.books.add_market(make_market(1, event=make_event(1, title="Market 1?")))
    host.books.add_market(make_market(2, groupItemTitle="Seattle", event=make_event(2, title="Who wins?")))
    for number in (1, 2):
        trade(host, condition_id(number), token_id(number, 0))
    host.sync_markets()
    titles = [row["market_title"] for row in host.rows("SELECT market_title FROM activity ORDER BY id")]
    assert titles == ["Market 1?", "Who wins? › Seattle"]
