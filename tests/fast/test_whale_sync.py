"""``sync-whales`` over real files, against an exchange whose lists move while they are read."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handmade import WALLETS, Office, as_fields

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


def exact(office: Office, *wallets: str) -> bool:
    """Whether just what the exchange has is stored."""
    return all(office.stored(wallet) == office.listed(wallet) for wallet in wallets or (A,))


def between(office: Office, number: int, happens: Callable[[], Any]) -> None:
    """Let something happen before the ``number``-th request from now on."""
    number += len(office.market.asked)
    office.market.before = lambda asked: happens() if asked == number else None


def count(office: Office) -> int:
    return office.stored().total()


# Exact under moving pages


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("arrivals", [1, 19, 20, 41])
def test_trades_that_arrive_between_any_two_requests_are_stored_once(
    office: Office, number: int, arrivals: int
) -> None:
    """Nothing is missing or double, whichever page they push the others onto."""
    office.market.add_many(A, 110)
    office.sync()
    office.market.now += 500
    office.market.add_many(A, 110)
    between(office, number, lambda: office.market.add_many(A, arrivals, step=0))
    office.sync()
    office.sync()
    assert exact(office) and office.ledger().pending == 0
    assert not office.notes


def test_a_wallet_that_trades_before_every_request_is_read_to_the_end(office: Office) -> None:
    """The walk gets on although the list never stands still."""
    office.market.add_many(A, 300)
    arriving = iter(range(150))

    def arrive(_: int) -> None:
        if next(arriving, None) is not None:
            office.market.now += 1
            office.market.add(A)

    office.market.before = arrive
    office.sync()
    office.sync()
    assert exact(office) and not office.notes


@pytest.mark.parametrize("seed", range(5))
def test_requests_in_flight_may_be_answered_in_any_order(two: Office, seed: int) -> None:
    """A later page may show an older state than the one before it."""
    dice = random.Random(seed)
    for wallet in (A, B):
        two.market.add_many(wallet, 200)
    two.market.before = lambda _: two.market.add_many(dice.choice([A, B]), dice.choice([0, 1, 3]), step=0)
    two.sync(60, order=dice)
    two.market.before = lambda _: None
    two.sync(order=dice)
    assert exact(two, A, B) and not two.notes


def test_fills_that_agree_in_every_field_are_each_kept(office: Office) -> None:
    """As many as the exchange has, across the pages' seams too."""
    for _ in range(45):
        office.market.add(A, txHash="0xaa")
    office.market.add_many(A, 3, until=office.market.now - 10)
    office.sync()
    assert exact(office) and sorted(office.stored().values()) == [1, 1, 1, 45]
    office.market.add(A, txHash="0xaa")
    office.sync()
    assert max(office.stored().values()) == 46


def test_trades_in_the_second_of_the_last_one_held_are_stored(office: Office) -> None:
    """However many, and wherever in that second they stand."""
    office.market.add_many(A, 25, step=0)
    office.sync()
    for depth in (0, 24, 10):
        office.market.add(A, depth=depth)
    office.sync()
    assert exact(office)


@pytest.mark.parametrize("place", [1, 19, 40, 300, 699])
def test_a_fill_that_surfaces_late_is_found_in_the_run_that_sees_the_total(
    office: Office, place: int
) -> None:
    """Older than what is held, however deep."""
    office.market.add_many(A, 700, step=60)
    office.sync()
    office.market.add(A, office.market.now - 60 * place - 30)
    office.sync()
    assert exact(office) and office.ledger().pending == 0


def test_new_trades_between_two_pages_are_no_contradiction(office: Office) -> None:
    """More is found than the first page had announced, and nothing is compared anew for it."""
    office.market.add_many(A, 400)
    office.sync()
    office.market.now += 100
    office.market.add_many(A, 25)
    between(office, 2, lambda: office.market.add_many(A, 3, step=0))
    office.sync()
    assert exact(office) and office.notes == []
    assert office.requests < 8


# Where the exchange breaks an assumption


def ignores_the_page(office: Office) -> Callable[..., Any]:
    rows = office.market.lists[A]
    return lambda wallet, page, honest: honest | {"list": [row.shown for row in rows[:20]]}


LIES: dict[str, Callable[[Office], Callable[..., Any]]] = {
    "page ignored": ignores_the_page,
    "unsorted": lambda office: lambda wallet, page, honest: honest | {"list": honest["list"][::-1]},
    "short page": lambda office: lambda wallet, page, honest: honest | {"list": honest["list"][1:]},
    "nothing left": lambda office: lambda wallet, page, honest: {"total": 0, "list": None},
    "total too small": lambda office: lambda wallet, page, honest: honest | {"total": honest["total"] - 3},
    "total too large": lambda office: lambda wallet, page, honest: honest | {"total": honest["total"] + 3},
    "never ends": lambda office: (
        lambda wallet, page, honest: {
            "total": 10**6,
            "list": honest["list"] or [office.market.lists[A][-1].shown] * 20,
        }
    ),
}


@pytest.mark.parametrize(
    ("lie", "burst"),
    [(lie, burst) for lie in LIES for burst in (False, True) if (lie, burst) != ("unsorted", True)],
)
def test_a_list_that_breaks_its_rules_is_told_and_exact_once_it_keeps_them(
    office: Office, lie: str, burst: bool
) -> None:
    """No guess and no duplicate is stored; afterwards nothing is missing."""
    office.market.add_many(A, 120, step=0 if burst else 1)
    office.sync()
    before = office.listed()
    office.market.now += 10
    office.market.add_many(A, 120, step=0 if burst else 1, until=office.market.now + (0 if burst else 120))
    office.market.lie = LIES[lie](office)
    told: list[str] = []
    for _ in range(2):
        try:
            office.sync(500)
        except JobFailed as exc:
            told.append(str(exc))
        told += office.notes
    assert told
    assert not office.stored() - office.listed() and not before - office.stored()
    office.market.lie = lambda wallet, page, honest: honest
    office.sync()
    office.sync()
    assert exact(office) and office.ledger().pending == 0
    office.sync()
    assert office.requests == 1


def test_a_total_that_shrinks_is_told_and_all_is_compared_anew(office: Office) -> None:
    """What was lost on the way is found; what the exchange took away stays stored."""
    office.market.add_many(A, 100, step=60)
    office.sync()
    office.market.add(A, office.market.now - 3000)
    for _ in range(3):
        del office.market.lists[A][-1]
    office.sync()
    assert "list holds 98 trades where 100 are accounted for" in office.notes[0]
    assert not office.listed() - office.stored() and count(office) == 101
    office.sync()
    assert office.requests == 1 and not office.notes


# Cheap when idle


def test_a_wallet_with_nothing_new_costs_one_request(tmp_path: Path) -> None:
    """Whatever it has: no trades, some, many, or a history beyond the retention."""
    office = Office(tmp_path, tracked=4)
    office.market.add_many(A, 5)
    office.market.add_many(B, 500)
    office.market.add_many(WALLETS[2], 300, step=DAY)
    office.sync()
    office.sync()
    assert sorted(office.market.asked[-office.requests :]) == [(wallet, 1) for wallet in sorted(WALLETS[:4])]
    assert exact(office, A, B) and office.stored(WALLETS[2]).total() == 91  # day 0 to day 90


def test_nothing_is_asked_for_what_cleanup_has_pruned(office: Office) -> None:
    """One request afterwards, and it does not come back, not even when the clock is set back."""
    office.market.add_many(A, 200, step=DAY // 2)
    office.sync()
    office.market.now += 10 * DAY
    office.sync()
    before = count(office)
    assert office.cleanup().items == 20
    for skew in (0, -3600, -365 * DAY):
        office.skew = skew
        office.sync()
        assert office.requests == 1
    office.market.add(A)
    office.market.add(A, office.market.now - 85 * DAY)
    office.market.add(A, office.market.now - 95 * DAY)
    office.sync()
    assert count(office) == before - 20 + 2


@pytest.mark.parametrize("capacity", [4, 5, 7])
def test_no_wallet_is_left_out_twice_in_a_row(tmp_path: Path, capacity: int) -> None:
    """Up to twice the capacity; those left out come first, then the most active."""
    office = Office(tmp_path, tracked=8)
    for i, wallet in enumerate(WALLETS):
        office.market.add(wallet, office.market.now - i)
    office.sync()
    left_out: set[str] = set()
    for turn in range(6):
        office.market.now += 60
        office.sync(capacity)
        asked = {wallet for wallet, _ in office.market.asked[-office.requests :]}
        assert len(asked) == capacity and left_out <= asked
        if not turn:
            assert asked == set(WALLETS[:capacity])
        left_out = set(WALLETS) - asked


def test_beyond_twice_the_capacity_all_have_their_turn(tmp_path: Path) -> None:
    """Also when the clock was a year ahead for a while."""
    office = Office(tmp_path, tracked=8)
    office.sync()
    for skew in (365 * DAY, 0):
        office.skew = skew
        asked = set()
        for _ in range(5):
            office.market.now += 60
            office.sync(2)
            asked |= {wallet for wallet, _ in office.market.asked[-office.requests :]}
        assert asked == set(WALLETS)


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
