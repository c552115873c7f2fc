"""``sync-whales`` over real files, against an exchange whose lists move while they are read."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handmade import WALLETS, Office, count, exact

from whalesync.errors import JobFailed
from whalesync.store.database import open_database
from whalesync.store.prune import raise_floors

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


def between(office: Office, number: int, happens: Callable[[], Any]) -> None:
    """Let something happen before the ``number``-th request from now on."""
    number += len(office.market.asked)
    office.market.before = lambda asked: happens() if asked == number else None


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
    between(office, 2, lambda: office.market.add(A))
    office.sync()
    assert exact(office) and office.notes == []
    assert office.requests < 8


def test_new_trades_between_two_pages_make_no_bad_record_good(office: Office) -> None:
    """What is found beyond the first page's total is not taken for a record that has become readable."""
    office.market.add_many(A, 400)
    office.market.lists[A][300].spoiled = BAD
    for seconds in (0, 100):
        office.market.now += seconds
        office.sync()
    office.market.now += 50
    office.market.add_many(A, 25)
    between(office, 2, lambda: office.market.add(A))
    office.sync()
    assert office.ledger().rejected == 1 and office.requests < 8


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


def test_a_shrinking_total_is_not_taken_for_a_record_that_became_good(office: Office) -> None:
    """Less than nothing is missing before a page has brought anything."""
    office.market.add_many(A, 100)
    office.market.lists[A][50].spoiled = BAD
    for _ in range(2):
        office.market.now += 1
        office.sync()
    del office.market.lists[A][70]
    office.sync()
    assert any("list holds 99 trades where 100 are accounted for" in note for note in office.notes)


def test_a_trade_in_the_place_of_one_that_was_taken_away_is_told(office: Office) -> None:
    """The total is the same, but more is there than it counts."""
    office.market.add_many(A, 100)
    office.sync()
    del office.market.lists[A][70]
    office.market.add(A)
    office.sync()
    assert "list holds 100 trades where 101 are accounted for" in office.notes[0]
    assert not office.listed() - office.stored()


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


def test_a_cleanup_during_a_backfill_is_heeded(office: Office) -> None:
    """What it prunes is not stored by the run that had begun before it, and its floor stays."""
    office.market.add_many(A, 200, step=DAY)

    def prune() -> None:
        office.market.now += 10 * DAY
        with open_database(office.settings.db) as db, db.write():
            raise_floors(db, office.host_now - 90 * DAY * 1000)

    between(office, 4, prune)
    office.sync()
    floor = office.host_now - 90 * DAY * 1000
    assert office.ledger().floor == floor and min(fields[-1] for fields in office.stored()) == floor
    office.sync()
    assert office.requests == 1


@pytest.mark.parametrize("capacity", [4, 5, 7])
def test_no_wallet_is_left_out_twice_in_a_row(tmp_path: Path, capacity: int) -> None:
    """Up to twice the capacity; those left out come first, then the most active."""
    office = Office(tmp_path, tracked=8)
    eight = WALLETS[:8]
    for i, wallet in enumerate(eight):
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
        left_out = set(eight) - asked


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
        assert asked == set(WALLETS[:8])
