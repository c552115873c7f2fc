"""``verify``: a sound file adds up, every damage is found and named, and a repair makes the file equal to the lists."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.exchange import WALLETS, Asked
from support.wallets import Office

from whalesync.errors import AnotherRunActive, AuthenticationError, Unreachable
from whalesync.jobs import verify as verify_job
from whalesync.records import fill_key
from whalesync.store.locks import FileLock

MINUTE, DAY = 60, 86_400
A, B = WALLETS[:2]
BAD = {"amount": "not a number"}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """One tracked wallet, A, with 100 trades, all of them stored; rows 1 to 20 are the newest."""
    made = Office(tmp_path)
    made.exchange.add_many(A, 100, step=60)
    made.sync()
    made.exchange.now += MINUTE
    return made


def edit(office: Office, sql: str, *params: object) -> None:
    """Change the file behind the program's back."""
    with closing(sqlite3.connect(office.db, isolation_level=None)) as db:
        db.execute(sql, params)


def copy_row(office: Office, row_id: int, **changes: object) -> int:
    """Insert a copy of a row with some other values; returns its id."""
    with closing(sqlite3.connect(office.db, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        row = dict(db.execute("SELECT * FROM whale_activity WHERE id = ?", (row_id,)).fetchone())
        row |= {"id": None} | changes
        sql = f"INSERT INTO whale_activity ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        return db.execute(sql, list(row.values())).lastrowid or 0


def invent(office: Office) -> None:
    """A trade that the exchange never listed, with a key that fits it."""
    sql = "SELECT action, outcome, amount, price, shares, timestamp FROM whale_activity WHERE id = 50"
    (content,) = office.query(sql)
    (market,) = office.query("SELECT m.external_id FROM whale_activity JOIN markets AS m ON m.id = market_id LIMIT 1")
    copy_row(office, 50, tx_hash="0xinvented", fill_key=fill_key("0xinvented", market[0], *content))


def check_sound(office: Office, *wallets: str, stored: bool = True) -> None:
    """Both kinds of verify find no fault, just what is listed is stored, and the next sync notices nothing."""
    for deep in (False, True):
        assert [each.faults for each in office.verify(deep=deep).values()] == [[]] * len(wallets or (A,))
    if stored:
        assert office.exact(*wallets)
    office.sync()
    office.sync()
    assert not office.errors and office.requests == len(wallets or (A,))


# Sound files


@pytest.mark.parametrize("trades", [0, 1, 19, 20, 21, 300])
def test_a_sound_file(tmp_path: Path, trades: int) -> None:
    """It adds up in one request; the deep comparison reads few pages twice, and nothing of it is written."""
    office = Office(tmp_path)
    office.exchange.add_many(A, trades)
    office.sync()
    before = office.query("SELECT * FROM whale_cursors"), office.query("SELECT * FROM whale_activity")
    for deep in (False, True):
        verdict = office.verify(deep=deep)[A]
        assert (verdict.listed, verdict.accounted, verdict.arrived, verdict.faults) == (trades, trades, 0, [])
        assert office.requests <= (1.4 * trades / 20 + 1 if deep else 1)
    assert (office.query("SELECT * FROM whale_cursors"), office.query("SELECT * FROM whale_activity")) == before
    assert (
        office.query("SELECT type, status, item_count, error FROM sync_logs ORDER BY id DESC LIMIT 2")
        == [("verify", "completed", 0, None)] * 2
    )


def test_a_wallet_never_read(tmp_path: Path) -> None:
    """It does not add up unless the exchange lists nothing of it; a repair loads it."""
    office = Office(tmp_path, tracked=2)
    office.exchange.add_many(A, 30)
    for deep in (False, True):
        verdicts = office.verify(deep=deep)
        assert verdicts[B].ok and not verdicts[A].ok
    assert verdicts[A].missing == 30
    office.verify(repair=True)
    check_sound(office, A, B)


def test_what_cleanup_has_deleted_is_accounted_for(tmp_path: Path) -> None:
    """Also what is older than the retention when the wallet is first read, and a trade that arrives later and older."""
    office = Office(tmp_path)
    office.exchange.add_many(A, 200, step=DAY)
    office.sync()
    assert office.stored().total() == 91
    for days in (0, 10, 20):
        office.exchange.now += days * DAY
        office.exchange.add(A)
        office.exchange.add(A, office.exchange.now - 150 * DAY)
        office.sync()
        if days:
            assert office.cleanup().items == days
        check_sound(office, stored=False)
    assert office.verify()[A].accounted == 206


def test_a_sync_before_the_older_ones_were_counted(office: Office) -> None:
    """It is known after the next comparison, which is due at once; the deep one does not need it."""
    (state,) = office.query("SELECT state FROM whale_cursors")
    old = {name: value for name, value in json.loads(state[0]).items() if not name.startswith("older")}
    edit(office, "UPDATE whale_cursors SET state = ?", json.dumps(old))
    assert "after the next whole comparison" in office.verify()[A].faults[0]
    office.exchange.add(A)
    assert office.verify(deep=True)[A].ok
    office.sync()
    check_sound(office)


def test_what_arrived_since_the_last_sync_is_no_fault(office: Office) -> None:
    """New trades, a late one, and those that arrive while the list is walked are counted apart."""
    office.exchange.add_many(A, 30)
    office.exchange.add(A, office.exchange.now - 50 * MINUTE - 7)
    verdict = office.verify()[A]
    assert (verdict.faults, verdict.arrived, verdict.accounted) == ([], 31, 100)

    def arrive(number: int) -> None:
        office.exchange.now += 1
        office.exchange.add_many(A, number % 3, step=0)

    office.exchange.before = arrive
    for order in (None, random.Random(1)):
        verdict = office.verify(deep=True, order=order)[A]
        assert verdict.ok and verdict.arrived > 31
    office.exchange.before = lambda number: None
    office.sync()
    check_sound(office)


def test_a_sync_during_verify(office: Office) -> None:
    """What it stores between a response and a look at the file is no fault."""
    office.exchange.add_many(A, 3)
    synced: list[int] = []

    def sync(number: int) -> None:
        if not synced:
            synced.append(number)
            office.exchange.add(A)
            office.sync()

    for deep in (False, True):
        synced.clear()
        office.exchange.before = sync
        assert office.verify(deep=deep)[A].ok and synced
    office.exchange.before = lambda number: None
    check_sound(office)


def test_rejected_records_are_accounted_for(office: Office) -> None:
    """A record that cannot be read counts as an entry; when it becomes readable, the deep comparison says so."""
    office.exchange.add_many(A, 40)
    for place in (3, 30):
        office.exchange.lists[A][place].spoiled = BAD
    office.sync()
    for deep in (False, True):
        assert office.verify(deep=deep)[A].ok
    for row in office.exchange.lists[A]:
        row.spoiled = {}
    assert office.verify(deep=True)[A].faults == [
        "2 listed trades not stored", "2 unreadable records not listed any more"
    ]  # fmt: skip
    office.verify(repair=True)
    check_sound(office)


# Damages


def replace(office: Office, row_id: int) -> None:
    """An invented trade in the place of a row."""
    edit(office, "DELETE FROM whale_activity WHERE id = ?", row_id)
    invent(office)


DAMAGES: dict[str, tuple[Callable[[Office], Any], str | None, str]] = {
    "a deleted row": (
        lambda office: edit(office, "DELETE FROM whale_activity WHERE id = 50"),
        "1 fewer are stored than were listed at the last sync",
        "1 listed trade not stored",
    ),
    "the newest row deleted": (
        lambda office: edit(office, "DELETE FROM whale_activity WHERE id = 1"),
        "1 fewer are stored than were listed at the last sync",
        "1 listed trade not stored",
    ),
    "a doubled row": (
        lambda office: copy_row(office, 50, copy=2),
        "1 more are stored than were listed at the last sync",
        "1 row not listed: 101",
    ),
    "an invented row": (
        invent, "1 more are stored than were listed at the last sync", "1 row not listed: 101"
    ),
    "a row in the place of another": (
        lambda office: replace(office, 60),
        None,
        "1 listed trade not stored; 1 row not listed: 101",
    ),
    "the newest row replaced": (
        lambda office: replace(office, 1),
        "its newest page shows trades that are not stored, although its total has not grown by as many",
        "1 listed trade not stored; 1 row not listed: 101",
    ),
    "a row superseded by hand": (
        lambda office: edit(office, "UPDATE whale_activity SET superseded_at = 1 WHERE id = 50"),
        "1 fewer are stored than were listed at the last sync",
        "1 listed trade not stored",
    ),
    "another fee": (
        lambda office: edit(office, "UPDATE whale_activity SET fee = 77 WHERE id = 50"),
        None,
        "1 row listed with another fee or profit: 50",
    ),
    "another amount": (
        lambda office: edit(office, "UPDATE whale_activity SET amount = amount + 1 WHERE id IN (50, 51, 7)"),
        "3 rows changed since it was stored: 7, 50-51",
        "3 rows changed since it was stored: 7, 50-51",
    ),
    "another time": (
        lambda office: edit(office, "UPDATE whale_activity SET timestamp = timestamp - 30000 WHERE id = 50"),
        "1 row changed since it was stored: 50",
        "1 row changed since it was stored: 50",
    ),
    "another key": (
        lambda office: edit(office, "UPDATE whale_activity SET fill_key = 12345 WHERE id = 50"),
        "1 row changed since it was stored: 50",
        "1 listed trade not stored; 1 row changed since it was stored: 50",
    ),
    "no key": (
        lambda office: edit(office, "UPDATE whale_activity SET fill_key = NULL WHERE id = 50"),
        "1 row changed since it was stored: 50",
        "1 listed trade not stored; 1 row changed since it was stored: 50",
    ),
    "a changed copy of a row": (
        lambda office: copy_row(office, 50, copy=2, amount=1e6),
        "1 more are stored than were listed at the last sync; 1 row changed since it was stored: 101",
        "1 row changed since it was stored: 101",
    ),
    "half of the rows": (
        lambda office: edit(office, "DELETE FROM whale_activity WHERE id % 2"),
        "50 fewer are stored than were listed at the last sync",
        "50 listed trades not stored",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_and_repaired(office: Office, name: str) -> None:
    """The count, the keys or the deep comparison find it, though new trades have arrived; the log has each change."""
    damage, found, found_deep = DAMAGES[name]
    damage(office)
    office.exchange.add_many(A, 2)
    for deep, expected in ((False, found), (True, found_deep)):
        verdict = office.verify(deep=deep)[A]
        assert "; ".join(verdict.faults) == (expected or "") and verdict.arrived == 2
    verdict = office.verify(repair=True)[A]
    assert verdict.ok and verdict.repaired
    (log,) = office.query("SELECT status, item_count, error FROM sync_logs ORDER BY id DESC LIMIT 1")
    assert log[0] == "completed" and log[1] > 0 and f"repaired: {verdict.repaired}" in log[2]
    check_sound(office)
    assert office.query("SELECT count(*) FROM activity") == [(102,)]


def test_equal_copies(tmp_path: Path) -> None:
    """45 equal fills over several pages: a deleted copy, a doubled one and a changed one are found and repaired."""
    office = Office(tmp_path)
    for _ in range(45):
        office.exchange.add(A, office.exchange.now - 50, txHash="0xaa")
    office.exchange.add_many(A, 30)
    office.sync()
    check_sound(office)
    copies = "FROM whale_activity WHERE tx_hash = '0xaa' AND copy"
    ids = dict(office.query(f"SELECT copy, id {copies} > 0"))
    for damage in (f"DELETE {copies} = 7", "UPDATE whale_activity SET shares = 1e9 WHERE id IN (?, ?)"):
        edit(office, damage, *([ids[3], ids[45]] if "?" in damage else []))
        assert not office.verify()[A].ok and not office.verify(deep=True)[A].ok
    copy_row(office, ids[9], copy=99)
    assert office.verify(repair=True)[A].ok
    check_sound(office)


def test_a_backfill_that_was_killed(office: Office) -> None:
    """The wallet is loading, and does not add up; a repair loads the rest."""
    office.exchange.add_many(A, 300, until=office.exchange.now - DAY)
    office.sync(4)
    edit(office, "UPDATE whale_cursors SET state = json_remove(state, '$.accounted')")
    assert office.verify()[A].faults[0].startswith("loading: ")
    assert (office.verify(deep=True)[A].missing or 0) > 100
    office.verify(repair=True)
    check_sound(office)


# What a repair does not do


@pytest.mark.parametrize("lying", ["every second walk", "every other walk", "another lie each time"])
def test_a_row_that_one_of_two_walks_shows_is_not_removed(office: Office, lying: str) -> None:
    """The exchange leaves out a trade in one walk, and shows it in the next, also if it then leaves out another."""
    office.exchange.add_many(A, 3, until=office.exchange.now - DAY)
    office.sync()
    edit(office, "DELETE FROM whale_activity WHERE id = 20")
    rows = office.exchange.lists[A]
    walks = [0]

    def lie(asked: Asked, honest: dict[str, Any]) -> dict[str, Any]:
        """A trade is missing, and one more is there at the end, so that the total stays the same."""
        walks[0] += asked.number == 1 and asked.limit == 20
        if walks[0] % 2 == {"every second walk": 1, "every other walk": 0}.get(lying):
            return honest
        left_out = rows[40 + walks[0]]
        listed = [*(row for row in rows if row is not left_out), rows[-1]]
        return honest | {"list": [row.shown for row in listed[(asked.number - 1) * asked.limit :][: asked.limit]]}

    before = office.stored()
    office.exchange.lie = lie
    office.verify(repair=True)
    assert not before - office.stored()
    office.exchange.lie = lambda asked, honest: honest
    office.exchange.now += MINUTE
    office.verify(repair=True)
    check_sound(office)


def test_a_list_that_shrinks(office: Office) -> None:
    """It may be a replica that lags behind: the verdict says so, and nothing is removed until the sync believes it."""
    del office.exchange.lists[A][70]
    for deep, repair in ((False, False), (True, False), (True, True)):
        verdict = office.verify(deep=deep, repair=repair)[A]
        assert "list holds 99 trades where 100 were listed before" in verdict.faults[0]
    assert office.stored().total() == 100
    for _ in range(2):
        office.exchange.now += 11 * MINUTE
        office.sync()
    check_sound(office)


LIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "unsorted": lambda honest: honest | {"list": honest["list"][::-1]},
    "short page": lambda honest: honest | {"list": honest["list"][1:]},
    "total too large": lambda honest: honest | {"total": honest["total"] + 3},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_list_that_breaks_its_rules(office: Office, lie: str) -> None:
    """The comparison cannot end, and says why; a repair changes nothing."""
    edit(office, "DELETE FROM whale_activity WHERE id = 50")
    office.exchange.lie = lambda asked, honest: LIES[lie](honest)
    before = office.query("SELECT * FROM whale_activity")
    for deep, repair in ((False, False), (True, False), (True, True)):
        assert not office.verify(deep=deep, repair=repair)[A].ok
    assert office.query("SELECT * FROM whale_activity") == before
    office.exchange.lie = lambda asked, honest: honest
    office.verify(repair=True)
    check_sound(office)


def test_a_repair_keeps_the_sync_out(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits a few seconds for its lock, then ends with 75; without a difference it does not need the lock."""
    monkeypatch.setattr(verify_job, "LOCK_PATIENCE", 0.05)
    with FileLock(office.db, "sync-whales") as lock:
        assert lock.try_acquire()
        assert office.verify(repair=True)[A].ok
        edit(office, "DELETE FROM whale_activity WHERE id = 50")
        assert office.verify(deep=True)[A].missing == 1
        with pytest.raises(AnotherRunActive) as caught:
            office.verify(repair=True)
    assert caught.value.exit_code == 75 and office.stored().total() == 99
    office.verify(repair=True)
    check_sound(office)


# Failures


def test_a_wallet_that_cannot_be_read(tmp_path: Path) -> None:
    """It does not add up, with the reason; the others are judged. A rejected key fails the run."""
    office = Office(tmp_path, tracked=2)
    office.exchange.add_many(B, 50)
    office.sync()

    def fail(_: int) -> None:
        if office.exchange.asked[-1].wallet == A:
            raise Unreachable("no connection")

    office.exchange.before = fail
    for deep in (False, True):
        verdicts = office.verify(deep=deep)
        assert (verdicts[A].faults, verdicts[B].ok) == (["it could not be read: no connection"], True)

    def reject(_: int) -> None:
        raise AuthenticationError("rejected the key")

    office.exchange.before = reject
    with pytest.raises(AuthenticationError):
        office.verify()
