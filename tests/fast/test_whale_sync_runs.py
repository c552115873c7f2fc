"""``sync-whales`` over many runs: backfills, unreadable records, clocks that are set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from handmade import WALLETS, Office, as_fields, count, exact

from whalesync.errors import ExchangeChanged, JobFailed, Unreachable
from whalesync.store import whales
from whalesync.store.database import open_database

DAY = 86_400
A, B = WALLETS[:2]
BAD = {"amount": "not a number"}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """One tracked wallet, A."""
    return Office(tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> Office:
    """Two tracked wallets, A and B."""
    return Office(tmp_path, tracked=2)


# The backfill


def test_a_backfill_goes_on_where_it_stopped(two: Office) -> None:
    """20,000 trades over many runs, while new ones arrive: at most 1.3 times the pages, others first."""
    two.market.add_many(A, 20_000, step=300)
    two.sync(1)  # only to take turns: the other wallet is known already
    two.sync(2)
    requests = runs = 0
    while runs == 0 or two.ledger().pending:
        two.market.now += 60
        two.market.add_many(A, 3)
        two.market.add(B)
        two.sync(100)
        assert exact(two, B) and two.requests <= 100
        requests, runs = requests + two.requests - 1, runs + 1
        assert runs < 20
    assert exact(two)
    assert runs >= 10 and requests <= 1.3 * 1000


def test_a_backfill_has_its_share_when_there_is_no_time_to_poll_all(tmp_path: Path) -> None:
    """More wallets than the budget can poll: the history comes in nevertheless."""
    office = Office(tmp_path, tracked=30)
    office.market.add_many(A, 300)
    runs = 0
    while runs == 0 or (ledger := office.ledger()) is None or ledger.pending:
        office.market.now += 60
        office.sync(25)
        runs += 1
        assert runs < 30
    assert exact(office)


def test_late_fills_do_not_throw_back_a_backfill(office: Office) -> None:
    """They are looked for in a second pass, when the first has arrived at the end."""
    office.market.add_many(A, 6_000, step=300)
    runs = 0
    while runs == 0 or office.ledger().pending:
        office.market.now += 60
        if runs < 8:
            office.market.add(A, office.market.now - 300 * 700 - 7)  # on page 35
        office.sync(80)
        runs += 1
        assert runs < 30
    assert exact(office)


def test_a_run_without_time_for_a_poll_hands_the_rest_to_the_next(office: Office) -> None:
    """However small the budget: each run gets further."""
    office.market.add_many(A, 30)
    office.sync()
    office.market.now += 1000
    office.market.add_many(A, 300)
    runs = 0
    while runs == 0 or office.ledger().pending:
        office.sync(4)
        runs += 1
        assert runs < 20
    assert exact(office)


def test_a_request_that_fails_fails_its_wallet_alone(two: Office) -> None:
    """What it had brought is kept, the others are read, and the log names it."""
    for wallet in (A, B):
        two.market.add_many(wallet, 100)

    def fail(_: int) -> None:
        if two.market.asked[-1] == (A, 3):
            raise Unreachable("no connection")

    two.market.before = fail
    two.sync()
    assert exact(two, B) and 0 < two.stored(A).total() < 100
    assert two.notes == [f"{A[:6]}…{A[-4:]}: no connection"]
    two.market.before = lambda _: None
    two.sync()
    assert exact(two, A)


def test_a_wallet_of_which_nothing_can_be_read_fails_the_run(office: Office) -> None:
    """All have failed: so has the run."""
    office.market.lie = lambda wallet, page, honest: {"total": 5, "list": honest["list"]}
    with pytest.raises(JobFailed, match="makes it 5"):
        office.sync()
    assert count(office) == 0


def test_a_wallet_that_comes_back_has_no_gap(office: Office) -> None:
    """Removed from the watch list and added again: its history goes on."""
    office.market.add_many(A, 30)
    office.sync()
    with open_database(office.settings.db) as db:
        whales.remove(db, A, 0)
    office.market.now += 5000
    office.market.add_many(A, 900)
    assert office.sync().items == 0
    with open_database(office.settings.db) as db:
        whales.add(db, [(A, None)], 0)
    office.sync()
    assert exact(office)


# Bad records


def test_a_bad_record_is_kept_aside_and_the_good_ones_of_its_page_are_stored(office: Office) -> None:
    """Once, counted, and named in the log; a wallet with one costs one more look in the next run."""
    office.market.add_many(A, 30)
    bad = office.market.lists[A][3]
    bad.spoiled = BAD
    for _ in range(3):
        office.market.now += 60
        office.sync()
        assert office.stored() == office.listed() - Counter([as_fields(bad.record)])
        assert len(office.notes) == 1 and "amount is 'not a number'" in office.notes[0]
    assert office.query("SELECT source, reason, seen_count FROM rejected_records") == [
        (f"trades {A}", "amount is 'not a number', not a number", 3)
    ]


@pytest.mark.parametrize("place", [3, 30, 150])
def test_a_record_that_becomes_good_is_stored_then(office: Office, place: int) -> None:
    """On the first page at once, deeper down at the next look: in the next run, at most a day later."""
    office.market.add_many(A, 200)
    office.market.lists[A][place].spoiled = BAD
    office.sync()
    assert count(office) == 199
    office.market.lists[A][place].spoiled = {}
    office.market.now += 60
    office.sync()
    assert exact(office)
    office.market.now += 60
    office.sync()
    office.sync()
    assert office.requests == 1 and not office.notes


def test_a_record_that_turned_bad_does_not_hide_one_that_turned_good(office: Office) -> None:
    """The sum cannot tell the two apart; comparing all anew can."""
    office.market.add_many(A, 200)
    hidden = office.market.lists[A][150]
    hidden.spoiled = BAD
    office.sync()
    office.market.lists[A][2].spoiled = BAD  # is stored already
    hidden.spoiled = {}
    for _ in range(3):
        office.market.now += DAY
        office.sync()
    assert exact(office)


def test_a_recheck_is_not_lost_to_a_clock_that_was_ahead(office: Office) -> None:
    """A year ahead when the record was refused; set right before it became good."""
    office.skew = 365 * DAY
    office.market.add_many(A, 100)
    office.market.lists[A][70].spoiled = BAD
    for _ in range(3):
        office.market.now += 60
        office.sync()
    office.skew = 0
    office.market.lists[A][70].spoiled = {}
    office.market.now += 60
    office.sync()
    assert exact(office)


def test_a_page_of_bad_records_alone_fails_the_run_and_nobody_else(two: Office) -> None:
    """The exchange has changed, and that must be seen; the records are set aside, the other wallet is stored."""
    for wallet in (A, B):
        two.market.add_many(wallet, 50)
    for row in two.market.lists[A][:20]:
        row.spoiled = BAD
    with pytest.raises(ExchangeChanged, match="no record of a page can be read"):
        two.sync()
    assert exact(two, B)
    assert two.query("SELECT count(*) FROM rejected_records") == [(20,)]
    for row in two.market.lists[A]:
        row.spoiled = {}
    two.market.now += 60
    two.sync()
    two.sync()
    assert exact(two, A, B)


def test_a_page_of_bad_records_deep_down_does_not_block_what_is_below(office: Office) -> None:
    """The run that meets it fails; the next one goes on behind it."""
    office.market.add_many(A, 200)
    for row in office.market.lists[A][60:80]:
        row.spoiled = BAD
    with pytest.raises(ExchangeChanged):
        office.sync()
    office.sync()
    assert count(office) == 180


# Clocks


@pytest.mark.parametrize("hours", [1, -1, 365 * 24, -365 * 24])
def test_a_clock_step_loses_and_doubles_nothing(office: Office, hours: int) -> None:
    """The exchange's own time corrects ours, for the sync and for cleanup; the figures stay plain sums."""
    office.market.add_many(A, 150, step=DAY // 2, until=office.market.now - 3600)
    office.sync()
    office.skew = hours * 3600
    office.market.add_many(A, 30, step=60)
    office.sync()
    office.cleanup()
    office.stats()
    assert exact(office)
    office.skew = 0
    office.market.now += 60
    office.market.add(A)
    office.sync()
    office.cleanup()
    assert exact(office)
    assert office.stats(full=True).errors() == []
    total = sum(fields[4] * n for fields, n in office.listed().items())
    assert office.query("SELECT trade_count, total_volume FROM whales") == [(181, total)]


def test_cleanup_works_again_when_a_clock_that_was_a_year_ahead_is_right(office: Office) -> None:
    """The sync log's rows from the future do not count."""
    office.skew = 365 * DAY
    office.sync()
    office.skew = 0
    office.market.now += 60
    office.sync()
    assert office.cleanup().items == 0


def test_a_floor_within_a_second_that_spans_pages(office: Office) -> None:
    """The retention cut falls on a second of many trades: whole or not at all, and one request afterwards."""
    office.market.add_many(A, 10)
    for at in (office.market.now - 90 * DAY, office.market.now - 90 * DAY - 1):
        office.market.add_many(A, 50, step=0, until=at)
    office.sync()
    assert count(office) == 60
    office.market.now += 1
    office.sync()
    assert office.requests == 1 and count(office) == 60
