"""``sync-whales`` over real files, against an exchange whose lists move while they are read."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.exchange import WALLETS, Asked
from support.fills import as_fill
from support.wallets import Office

from whalesync.errors import ExchangeChanged, JobFailed, Unreachable
from whalesync.exchanges.base import Progress
from whalesync.jobs.sync_whales import backlog_order
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry, Whale

MINUTE, DAY = 60, 86_400
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


def before_request(office: Office, number: int, happens: Callable[[], Any]) -> None:
    """Let something happen before the ``number``-th request from now on."""
    number += len(office.exchange.asked)
    office.exchange.before = lambda asked: happens() if asked == number else None


def until_complete(office: Office, budget: int, wallet: str = A, most: int = 40) -> int:
    """Sync every minute until the wallet is complete; returns the number of requests."""
    requests = 0
    for _ in range(most):
        office.exchange.now += MINUTE
        office.sync(budget)
        requests += office.requests
        if office.progress(wallet).complete:
            return requests
    raise AssertionError("the wallet does not become complete")


# Exact under moving pages


@pytest.mark.parametrize("number", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("arrivals", [1, 19, 20, 41])
def test_trades_that_arrive_between_any_two_requests(office: Office, number: int, arrivals: int) -> None:
    """They are stored once, and so are those that they push onto another page."""
    office.exchange.add_many(A, 110)
    office.sync()
    office.exchange.now += 500
    office.exchange.add_many(A, 110)
    before_request(office, number, lambda: office.exchange.add_many(A, arrivals, step=0))
    office.sync()
    office.sync()
    assert office.exact() and office.progress().complete and not office.errors


def test_a_late_fill_during_a_backfill_and_another_on_a_page_that_was_read(office: Office) -> None:
    """Both are stored: the second does not stand in for a pending one."""
    office.exchange.add_many(A, 200, step=60)
    office.sync(5)
    office.exchange.add(A, office.exchange.now - 190 * 60 - 7)
    before_request(office, 4, lambda: office.exchange.add(A, office.exchange.now - 30 * 60 - 7))
    until_complete(office, 6)
    assert office.exact()


def test_a_wallet_that_trades_before_every_second_request(office: Office) -> None:
    """Its history is read to the end although the list never stands still."""
    office.exchange.add_many(A, 400)

    def arrive(number: int) -> None:
        if number % 2:
            office.exchange.now += 1
            office.exchange.add(A)

    office.exchange.before = arrive
    office.sync(100)
    office.exchange.before = lambda number: None
    office.sync()
    assert office.exact() and not office.errors


@pytest.mark.parametrize("seed", range(4))
def test_requests_in_flight_may_be_answered_in_any_order(two: Office, seed: int) -> None:
    """A later page may show an older state than the one before it."""
    dice = random.Random(seed)
    for wallet in (A, B):
        two.exchange.add_many(wallet, 200)
    two.exchange.before = lambda _: two.exchange.add_many(dice.choice([A, B]), dice.choice([0, 1, 3]), step=0)
    two.sync(60, order=dice)
    two.exchange.before = lambda _: None
    two.sync(order=dice)
    assert two.exact(A, B)


def test_fills_that_agree_in_every_field(office: Office) -> None:
    """Each is kept, also where one second holds more of them than a page."""
    for _ in range(45):
        office.exchange.add(A, txHash="0xaa")
    office.exchange.add_many(A, 3, until=office.exchange.now - 10)
    office.sync()
    assert office.exact() and sorted(office.stored().values()) == [1, 1, 1, 45]
    office.exchange.add(A, txHash="0xaa")
    office.sync()
    assert max(office.stored().values()) == 46


def test_equal_fills_on_both_sides_of_a_seam(office: Office) -> None:
    """18 trades, 5 equal ones, 60 more: no page beyond the end of the list is asked for, and all is stored."""
    office.exchange.add_many(A, 60, until=office.exchange.now - 100)
    for _ in range(5):
        office.exchange.add(A, office.exchange.now - 50, txHash="0xaa")
    office.exchange.add_many(A, 18)
    office.sync()
    assert office.exact()
    assert all((asked.number - 1) * asked.limit < 83 for asked in office.exchange.asked)


def test_one_second_in_another_order_on_each_page(office: Office) -> None:
    """19 trades of one second, 2 of an older one: each is stored once."""
    office.exchange.add_many(A, 2, step=0, until=office.exchange.now - 10)
    office.exchange.add_many(A, 19, step=0)
    rows = office.exchange.lists[A]

    def shuffle(asked: Asked, honest: dict[str, Any]) -> dict[str, Any]:
        dice = random.Random(str(asked))
        listed = sorted(rows, key=lambda row: (-row.record["createdAt"], dice.random()))
        page = listed[(asked.number - 1) * asked.limit : asked.number * asked.limit]
        return honest | {"list": [row.shown for row in page]}

    office.exchange.lie = shuffle
    office.sync()
    assert office.exact()


def test_a_second_with_more_fills_than_a_run_has_requests(office: Office) -> None:
    """It is passed over several runs, and what is older is stored too."""
    office.exchange.add_many(A, 40, until=office.exchange.now - 100)
    office.exchange.add_many(A, 300, step=0)
    until_complete(office, 4)
    assert office.exact()


@pytest.mark.parametrize("place", [1, 19, 40, 300, 699])
def test_a_fill_that_appears_late(office: Office, place: int) -> None:
    """It is found in the run that sees the total, in a dozen requests, however deep it is."""
    office.exchange.add_many(A, 700, step=60)
    office.sync()
    office.exchange.add(A, office.exchange.now - 60 * place - 30)
    office.sync()
    assert office.exact() and office.progress().complete and office.requests <= 14


def test_a_late_fill_with_few_requests_a_run(office: Office) -> None:
    """The search goes on where the run before it stopped."""
    office.exchange.add_many(A, 5_000, step=60)
    office.sync()
    office.exchange.add(A, office.exchange.now - 60 * 3_333 - 30)
    assert until_complete(office, 3) <= 25
    assert office.exact()


def test_one_more_equal_fill_in_a_second_longer_than_a_page(office: Office) -> None:
    """It is found in a few dozen requests, wherever the second is."""
    office.exchange.add_many(A, 20, until=office.exchange.now - 5_000)
    for _ in range(90):
        office.exchange.add(A, office.exchange.now - 4_000, txHash="0xaa")
    office.exchange.add_many(A, 1_000)
    office.sync()
    office.exchange.add(A, office.exchange.now - 4_000, txHash="0xaa")
    office.sync()
    assert office.exact() and office.progress().complete and office.requests <= 40


@pytest.mark.parametrize("empty", ["", None, "0", "0.000", "missing"])
def test_an_empty_figure_is_one_value(office: Office, empty: str | None) -> None:
    """However it is spelled: the trades are not stored a second time when the spelling changes."""
    for i in range(14):
        office.exchange.add(A, side="Merge", price="0" if i % 2 else "", amount="50", txHash=f"0x{i:064x}")
    office.sync()
    assert office.query("SELECT count(*) FROM whale_activity") == [(14,)]
    for row in office.exchange.lists[A]:
        row.record["price"] = empty
        if empty == "missing":
            del row.record["price"]
    office.exchange.add(A)
    office.sync()
    assert office.query("SELECT count(*) FROM whale_activity") == [(15,)]


# What the exchange changes or takes away


def test_a_corrected_amount(office: Office) -> None:
    """The old version is superseded and counts no more, the new one is stored; both stay in the file."""
    office.exchange.add_many(A, 100)
    office.sync()
    office.exchange.lists[A][70].record["amount"] = "77.5"
    office.exchange.now += 8 * DAY
    office.sync()
    office.sync()
    assert office.exact()
    assert office.query("SELECT count(*) FROM whale_activity WHERE superseded_at IS NOT NULL") == [(1,)]
    assert office.query("SELECT count(*) FROM activity") == [(100,)]


def test_a_corrected_fee_and_profit(office: Office) -> None:
    """They are updated in place when the trade is met again."""
    office.exchange.add_many(A, 10)
    office.sync()
    office.exchange.lists[A][4].record |= {"fee": "0.25", "profit": "12.5"}
    office.sync()
    assert office.exact() and office.query("SELECT count(*) FROM whale_activity") == [(10,)]


def test_a_total_that_falls(office: Office) -> None:
    """It is reported at once; when it lasts, all is compared, and what is no longer listed is superseded."""
    office.exchange.add_many(A, 100, step=60)
    office.sync()
    office.exchange.add(A, office.exchange.now - 3000)
    for _ in range(3):
        del office.exchange.lists[A][-1]
    office.sync()
    assert "list holds 98 trades where 100 were listed" in office.errors[0]
    office.exchange.now += 11 * MINUTE
    office.sync()
    assert office.exact() and office.progress().complete
    office.sync()
    assert office.requests == 1 and not office.errors


def test_a_replica_that_lags_behind(office: Office) -> None:
    """Nothing is superseded or forgotten while totals alternate."""
    office.exchange.add_many(A, 50)
    for i in range(12):
        office.exchange.now += MINUTE
        office.exchange.add(A)
        rows = list(office.exchange.lists[A])
        office.exchange.lists[A] = rows[2:] if i % 2 else rows
        office.sync()
        office.exchange.lists[A] = rows
    office.sync()
    assert office.exact() and office.query("SELECT count(superseded_at) FROM whale_activity") == [(0,)]


def test_a_removal_and_an_arrival_of_equal_number(office: Office) -> None:
    """The total stays the same; the next comparison finds both."""
    office.exchange.add_many(A, 100)
    office.sync()
    del office.exchange.lists[A][70]
    office.exchange.add(A, office.exchange.now - 80)
    office.exchange.now += 8 * DAY
    office.sync()
    office.sync()
    assert office.exact()


def test_a_wallet_that_suddenly_lists_nothing(office: Office) -> None:
    """That is not believed: what is stored stays."""
    office.exchange.add_many(A, 30)
    office.sync()
    office.exchange.lie = lambda asked, honest: {"total": 0, "list": None}
    for _ in range(3):
        office.exchange.now += 20 * MINUTE
        office.sync()
    assert office.exact()


# Where the exchange breaks its rules


def first_page_always(office: Office) -> Callable[..., Any]:
    rows = office.exchange.lists[A]
    return lambda asked, honest: honest | {"list": [row.shown for row in rows[:20]]}


def never_ends(office: Office) -> Callable[..., Any]:
    last = office.exchange.lists[A][-1].shown
    return lambda asked, honest: {"total": 10**6, "list": honest["list"] or [last] * asked.limit}


LIES: dict[str, Callable[[Office], Callable[..., Any]]] = {
    "page ignored": first_page_always,
    "unsorted": lambda office: lambda asked, honest: honest | {"list": honest["list"][::-1]},
    "short page": lambda office: lambda asked, honest: honest | {"list": honest["list"][1:]},
    "total too small": lambda office: lambda asked, honest: honest | {"total": honest["total"] - 3},
    "total too large": lambda office: lambda asked, honest: honest | {"total": honest["total"] + 3},
    "never ends": never_ends,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("step", [0, 1])
def test_a_list_that_breaks_its_rules(office: Office, lie: str, step: int) -> None:
    """Nothing is doubled; once the list keeps its rules again, all of it comes to be stored."""
    office.exchange.add_many(A, 120, step=step)
    office.sync()
    office.exchange.now += 200
    office.exchange.add_many(A, 120, step=step)
    office.exchange.lie = LIES[lie](office)
    for _ in range(2):
        with suppress(JobFailed):
            office.sync(500)
        if lie != "never ends":  # which shows copies that there are not: they are superseded later
            assert not office.stored() - office.listed()
    office.exchange.lie = lambda asked, honest: honest
    for _ in range(3):
        office.exchange.now += 11 * MINUTE
        office.sync()
    assert office.exact() and office.progress().complete
    office.sync()
    assert office.requests == 1


# Requests


def test_a_wallet_with_nothing_new_costs_one_request(tmp_path: Path) -> None:
    """Whatever it has: no trades, some, many, or a history beyond the retention."""
    office = Office(tmp_path, tracked=4)
    office.exchange.add_many(A, 5)
    office.exchange.add_many(B, 500)
    office.exchange.add_many(WALLETS[2], 300, step=DAY)
    office.sync()
    office.sync()
    assert sorted(office.exchange.asked[-office.requests :]) == [(w, 1, 20) for w in sorted(WALLETS[:4])]
    assert office.exact(A, B) and office.stored(WALLETS[2]).total() == 91  # day 0 to day 90


def test_a_backfill_over_many_runs(two: Office) -> None:
    """8,000 trades while new ones arrive: at most 1.1 times the pages, and the other wallet is never late."""
    two.exchange.add_many(A, 8_000, step=300)
    requests = runs = 0
    while runs == 0 or not two.progress().complete:
        two.exchange.now += MINUTE
        two.exchange.add_many(A, 3)
        two.exchange.add(B)
        two.sync(60)
        assert two.exact(B)
        requests, runs = requests + two.requests - 1, runs + 1
        assert runs < 20
    assert two.exact() and runs >= 7 and requests <= 1.1 * 400


def test_a_backfill_has_its_share(tmp_path: Path) -> None:
    """Also when there are more wallets than the budget can poll."""
    office = Office(tmp_path, tracked=30)
    office.exchange.add_many(A, 300)
    until_complete(office, 25)
    assert office.exact()


@pytest.mark.parametrize("capacity", [4, 7])
def test_no_wallet_is_left_out_twice_in_a_row(tmp_path: Path, capacity: int) -> None:
    """Up to twice the capacity; those left out come first, then the most active."""
    office = Office(tmp_path, tracked=8)
    eight = WALLETS[:8]
    for i, wallet in enumerate(eight):
        office.exchange.add(wallet, office.exchange.now - i)
    office.sync()
    left_out: set[str] = set()
    for number in range(6):
        office.exchange.now += MINUTE
        office.sync(capacity)
        asked = {asked.wallet for asked in office.exchange.asked[-office.requests :]}
        assert len(asked) == capacity and left_out <= asked
        if not number:
            assert asked == set(WALLETS[:capacity])
        left_out = set(eight) - asked


def test_a_request_that_fails(two: Office) -> None:
    """It fails its wallet alone; what that had brought is kept, and the log names it."""
    for wallet in (A, B):
        two.exchange.add_many(wallet, 100)

    def fail(_: int) -> None:
        if two.exchange.asked[-1][:2] == (A, 3):
            raise Unreachable("no connection")

    two.exchange.before = fail
    two.sync()
    assert two.exact(B) and 0 < two.stored(A).total() < 100
    assert two.errors == [f"{A[:6]}…{A[-4:]}: no connection"]
    two.exchange.before = lambda _: None
    two.sync()
    assert two.exact(A)


def test_a_wallet_of_which_nothing_is_readable(office: Office) -> None:
    """All wallets have failed: so has the run."""
    office.exchange.lie = lambda asked, honest: {"total": 5, "list": honest["list"]}
    with pytest.raises(JobFailed, match="makes it 5"):
        office.sync()


def test_a_wallet_that_comes_back(office: Office) -> None:
    """Removed from the watch list and added again: its history has no gap."""
    office.exchange.add_many(A, 30)
    office.sync()
    with open_database(office.db) as db:
        whales.remove(db, "opinion_trade", A, 0)
    office.exchange.now += 5000
    office.exchange.add_many(A, 900)
    assert office.sync().items == 0
    with open_database(office.db) as db:
        whales.add(db, [WatchEntry(A)], 0)
    office.sync()
    assert office.exact()


# Records that cannot be read


def test_a_record_that_cannot_be_read(office: Office) -> None:
    """It is kept once and named in the log; the others of its page are stored."""
    office.exchange.add_many(A, 30)
    bad = office.exchange.lists[A][3]
    bad.spoiled = BAD
    for _ in range(3):
        office.exchange.now += MINUTE
        office.sync()
        assert office.stored() == office.listed() - Counter([as_fill(bad.record)])
        assert len(office.errors) == 1 and "amount" in office.errors[0]
    assert office.requests == 1
    assert office.query("SELECT source, seen_count, copies FROM rejected_records") == [(f"trades {A}", 3, 1)]


@pytest.mark.parametrize("place", [3, 30, 150])
def test_a_record_that_becomes_readable(office: Office, place: int) -> None:
    """It is stored then: on the first page at once, further down within a day."""
    office.exchange.add_many(A, 200)
    office.exchange.lists[A][place].spoiled = BAD
    office.sync()
    office.exchange.lists[A][place].spoiled = {}
    office.exchange.now += MINUTE if place < 20 else DAY
    for _ in range(3):
        office.sync()
    assert office.exact()
    office.sync()
    assert office.requests == 1 and not office.errors


def test_a_record_without_a_time_at_the_retention_cutoff(office: Office) -> None:
    """It does not keep the wallet from being complete."""
    office.exchange.add_many(A, 30, until=office.exchange.now - 90 * DAY - 60)
    office.exchange.add(A, office.exchange.now - 90 * DAY + 30).spoiled = {"createdAt": None}
    office.exchange.add_many(A, 30)
    office.sync()
    office.sync()
    assert office.stored().total() == 30 and office.progress().complete
    assert office.requests <= 5


def test_a_page_of_unreadable_records(two: Office) -> None:
    """The run fails, since the exchange has changed; the records are kept, and the other wallet is stored."""
    for wallet in (A, B):
        two.exchange.add_many(wallet, 50)
    for row in two.exchange.lists[A][:20]:
        row.spoiled = BAD
    with pytest.raises(ExchangeChanged, match="no record of a page is readable"):
        two.sync()
    assert two.exact(B) and two.query("SELECT count(*) FROM rejected_records") == [(20,)]
    for row in two.exchange.lists[A]:
        row.spoiled = {}
    two.sync()
    two.sync()
    assert two.exact(A, B)


def test_a_page_of_unreadable_records_further_down(office: Office) -> None:
    """The run that meets it fails; the next one goes on behind it."""
    office.exchange.add_many(A, 200)
    for row in office.exchange.lists[A][60:80]:
        row.spoiled = BAD
    with pytest.raises(ExchangeChanged):
        office.sync()
    office.sync()
    assert office.stored().total() == 180


# Retention and clocks


def test_what_cleanup_has_deleted(office: Office) -> None:
    """One request afterwards, and it does not come back, not even when the clock is set back an hour."""
    office.exchange.add_many(A, 200, step=DAY // 2)
    office.sync()
    office.exchange.now += 10 * DAY
    for _ in range(6):  # a comparison is due
        office.sync()
    before = office.stored().total()
    assert office.cleanup().items == 20
    for skew in (0, -3600):
        office.skew = skew
        office.sync()
        assert office.requests == 1
    assert office.stored().total() == before - 20


def test_a_raised_retention(office: Office) -> None:
    """What was deleted, or never fetched, is fetched again in whole days, and totals count it once."""
    office.exchange.add_many(A, 200, step=DAY // 2)
    office.sync()
    office.exchange.now += 30 * DAY
    office.sync()
    office.cleanup()
    office.retention_days = 120
    office.sync()
    office.sync()
    oldest = (office.exchange.now - 120 * DAY + DAY - 1) // DAY * DAY * 1000
    assert not office.listed(since=oldest) - office.stored()
    office.stats()
    listed = sum(fill.amount * count for fill, count in office.listed(since=oldest).items())
    assert office.query("SELECT total_volume FROM whales")[0][0] == pytest.approx(listed, rel=0.02)


def test_a_cleanup_during_a_backfill(office: Office) -> None:
    """What it deletes is not stored again by the run that had begun before it."""
    office.exchange.add_many(A, 200, until=office.exchange.now - 90 * DAY + 3600, step=60)
    office.exchange.add_many(A, 40)

    def prune() -> None:
        office.exchange.now += 1800
        office.cleanup()

    before_request(office, 4, prune)
    office.sync()
    assert min(fill.timestamp for fill in office.stored()) >= office.host_now - 90 * DAY * 1000
    office.sync()
    assert office.requests == 1


def test_a_clock_that_was_a_year_ahead(office: Office) -> None:
    """Without the exchange's own time, cleanup refuses to delete; once the clock is right, nothing is missing."""
    office.exchange.add_many(A, 150, step=DAY // 2)
    office.sync()
    dates = type(office.exchange).latest_date
    try:
        type(office.exchange).latest_date = property(lambda self: None)  # type: ignore[assignment]  # no Date
        office.skew = 365 * DAY
        office.sync()
        with pytest.raises(JobFailed, match="the clock may be wrong"):
            office.cleanup()
    finally:
        type(office.exchange).latest_date = dates  # type: ignore[method-assign]  # as it was
    office.skew = 0
    office.exchange.now += MINUTE
    office.sync()
    office.sync()
    oldest = (office.exchange.now - 90 * DAY + DAY - 1) // DAY * DAY * 1000
    assert not office.listed(since=oldest) - office.stored() and not office.stored() - office.listed()


@pytest.mark.parametrize("hours", [1, -1, 365 * 24, -365 * 24])
def test_a_clock_that_is_set(office: Office, hours: int) -> None:
    """The exchange's own time corrects ours, for the sync and for cleanup; nothing is lost or doubled."""
    office.exchange.add_many(A, 150, step=DAY // 2, until=office.exchange.now - 3600)
    office.sync()
    office.skew = hours * 3600
    office.exchange.add_many(A, 30, step=60)
    office.sync()
    office.cleanup()
    assert office.exact()
    office.skew = 0
    office.exchange.now += MINUTE
    office.exchange.add(A)
    office.sync()
    office.cleanup()
    assert office.exact()


def test_long_histories_do_not_keep_short_ones_waiting() -> None:
    """What is complete but for a search comes first; of lists whose length is not known, that of the least active."""
    listed = [
        Whale(number, "polymarket", f"0x{number}", None, last_trade_at, None)
        for number, last_trade_at in enumerate((9_000, 3_000, None, 8_000), start=1)
    ]
    progress = {whale.id: Progress("", complete=whale.id == 1) for whale in listed}
    assert [whale.id for whale in backlog_order(listed, progress)] == [1, 3, 2, 4]
