"""Several hosts in one database; files that are restored, copied or made anew: nothing lost, twice or taken back."""

from __future__ import annotations

import random
import shutil
import string
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.postgres import Target, published
from support.publisher import Publisher
from support.rows import HOUR, MINUTE, MOBY, NOW, OTHER, SECOND, insert, market, trade, whale

from whalesync.exchanges.base import Batch, Correction, Pace
from whalesync.host.backup import backup
from whalesync.host.restore import restore
from whalesync.records import FILL_KEY_RULE_BITS, TOKEN_FILL_KEY_RULE
from whalesync.store import trades, whales
from whalesync.store.database import open_database

THIRD = "0x" + "c3" * 20


@pytest.fixture
def first(tmp_path: Path, target: Target) -> Iterator[Publisher]:
    """A host that watches MOBY and OTHER."""
    with closing(made(tmp_path / "1.db", target, "first", (MOBY, OTHER))) as host:
        yield host


@pytest.fixture
def second(tmp_path: Path, target: Target) -> Iterator[Publisher]:
    """A host that watches OTHER, under another label, and THIRD; its own ids are others."""
    with closing(made(tmp_path / "2.db", target, "second", (THIRD, OTHER))) as host:
        yield host


def made(path: Path, target: Target, name: str, wallets: tuple[str, ...]) -> Publisher:
    """A host with five fills of each wallet, two of which are equal; the same on each host that has the wallet."""
    host = Publisher(path, target, name)
    with host.db.write():
        revision = host.db.revision()
        for address in wallets:
            number = whale(host.db, address, label=f"{name} {address[-2:]}", revision=revision)
            place = market(host.db, address[-2:], revision=revision)
            for fill in (0, 1, 2, 3, 3):
                key = hash_of(address, fill)
                copies = host.db.value("SELECT count(*) FROM whale_activity WHERE fill_key = ?", (key,))
                trade(
                    host.db, number, place, NOW - fill * MINUTE, tx_hash=f"0x{fill}", copy=copies + 1, stored_at=NOW,
                    fill_key=key, revision=revision,
                )  # fmt: skip
    return host


def hash_of(address: str, fill: int) -> int:
    """A fill key."""
    return int(address[-2:], 16) * 100 + fill


def correct(host: Publisher, address: str, fill: int, fee: float, at: int) -> None:
    """The exchange corrects a fee, and the host sees it at a moment of its clock."""
    with host.db.write():
        host.db.execute(
            "UPDATE whale_activity SET fee = ?, changed_at = ?, revision = ? WHERE fill_key = ?",
            (fee, at, host.db.revision(), hash_of(address, fill)),
        )


def test_overlapping_watch_lists(first: Publisher, second: Publisher, target: Target) -> None:
    """A trade that both have is one row, and equal fills keep their count; the union is on the server."""
    first.publish()
    assert first.publish().items == 0
    run = second.publish()
    assert run.items == 2 + 2 + 10
    assert first.stored() | second.stored() == Counter(published(target))
    assert target.value("SELECT count(*) FROM whalesync.whale_activity") == 15
    assert target.value("SELECT count(*) FROM whalesync.markets") == 3


def test_labels_are_per_source(first: Publisher, second: Publisher, target: Target) -> None:
    """The feed shows that of the first source that has one."""
    first.publish()
    second.publish()
    assert target.value("SELECT count(*) FROM whalesync.whales") == 4
    sql = f"SELECT DISTINCT whale_label FROM whalesync.activity_pro_plus WHERE whale_address = '{OTHER}'"
    assert target.rows(sql) == [("first b2",)]
    with first.db.write():
        first.db.execute("UPDATE whales SET label = NULL, revision = ?", (first.db.revision(),))
    first.publish()
    assert target.rows(sql) == [("second b2",)]


def test_the_newest_observation_wins(first: Publisher, second: Publisher, target: Target) -> None:
    """In whatever order they arrive."""
    sql = f"SELECT fee FROM whalesync.whale_activity WHERE fill_key = {hash_of(OTHER, 0)}"
    first.publish()
    second.publish()
    correct(first, OTHER, 0, 2.0, NOW + 2 * HOUR)
    correct(second, OTHER, 0, 1.0, NOW + HOUR)
    first.publish()
    second.publish()
    assert target.rows(sql) == [(2.0,)]
    correct(second, OTHER, 0, 3.0, NOW + 3 * HOUR)
    second.publish()
    assert target.rows(sql) == [(3.0,)]


def test_equal_fills_are_of_one_observation(first: Publisher, second: Publisher, target: Target) -> None:
    """All of them are as new as the newest, also those that have not changed."""
    sql = f"SELECT fee FROM whalesync.whale_activity WHERE fill_key = {hash_of(OTHER, 3)} ORDER BY fee"
    first.publish()
    for copy, fee, at in ((1, 1.0, NOW + 1), (2, 2.0, NOW + 2), (2, 3.0, NOW + 9)):
        with first.db.write():
            first.db.execute(
                "UPDATE whale_activity SET fee = ?, changed_at = ?, revision = ? WHERE fill_key = ? AND copy = ?",
                (fee, at, first.db.revision(), hash_of(OTHER, 3), copy),
            )
        first.publish()
    correct(second, OTHER, 3, 0.5, NOW + 5)
    second.publish()
    assert target.rows(sql) == [(1.0,), (3.0,)]


def test_a_market_known_by_its_title_does_not_replace_a_whole_one(first: Publisher, target: Target) -> None:
    """A host that has met it in a trade, and has not read the exchange's list yet."""
    with first.db.write():
        first.db.execute(
            "UPDATE markets SET status = 'activated', category = 'Sea', updated_at = ?, revision = ?",
            (NOW, first.db.revision()),
        )
    first.publish()
    with first.db.write():
        first.db.execute(
            "UPDATE markets SET status = NULL, category = 'other', updated_at = ?, revision = ?",
            (NOW + HOUR, first.db.revision()),
        )
    first.publish()
    assert target.rows("SELECT DISTINCT category FROM whalesync.markets") == [("Sea",)]


@pytest.mark.parametrize("whole_at", [NOW - HOUR, NOW + HOUR])
def test_a_whole_market_replaces_one_known_by_its_title(first: Publisher, target: Target, whole_at: int) -> None:
    """However old it is: one that has ended does not change any more."""
    first.publish()
    with first.db.write():
        first.db.execute(
            "UPDATE markets SET status = 'resolved', category = 'Sea', updated_at = ?, revision = ?",
            (whole_at, first.db.revision()),
        )
    first.publish()
    assert target.rows("SELECT DISTINCT status, category FROM whalesync.markets") == [("resolved", "Sea")]


def test_a_trade_that_was_mined_again(first: Publisher, target: Target) -> None:
    """It is seen at its new time alone, there and back again; fills of other transactions stay."""
    key = 7 << FILL_KEY_RULE_BITS | TOKEN_FILL_KEY_RULE
    with first.db.write():
        for other in (0, 1 << FILL_KEY_RULE_BITS):
            trade(first.db, 1, 1, NOW, fill_key=key + other, stored_at=NOW, revision=first.db.revision())
    sql = (
        "SELECT (extract(epoch FROM timestamp) * 1000)::bigint FROM whalesync.whale_activity"
        f" WHERE fill_key & 15 = {TOKEN_FILL_KEY_RULE} AND superseded_at IS NULL ORDER BY fill_key"
    )
    for minutes, at in enumerate((NOW, NOW + 4 * SECOND, NOW)):
        with first.db.write():
            first.db.execute(
                "UPDATE whale_activity SET timestamp = ?, changed_at = ?, revision = ? WHERE fill_key = ?",
                (at, NOW + (1 + minutes) * MINUTE, first.db.revision(), key),
            )
        first.publish()
        assert target.rows(sql) == [(at,), (NOW,)]
    assert first.differences() == [row for row in published(target) if row[-1]]


def test_a_file_restored_from_a_backup(first: Publisher, target: Target, tmp_path: Path) -> None:
    """What was made since the backup stays on the server; what the file fetches again, or anew, arrives once."""
    first.publish()
    backup(first.db, tmp_path / "copy.db", force=False, now=NOW)
    correct(first, MOBY, 0, 5.0, NOW + HOUR)
    lost = add(first, 7)
    first.publish()
    before = Counter(published(target))
    first.close()
    restore(tmp_path / "copy.db", first.path, force=False, now=NOW)
    first.db = open_database(first.path)
    run = first.publish()
    assert run.items == 14
    assert Counter(published(target)) == before  # its fee is that of before, and is not taken back
    add(first, 7)
    add(first, 8)
    first.publish()
    assert Counter(published(target)) - before == Counter({row: 1 for row in first.stored() if row[11] == lost + 1})


def test_an_old_copy_of_the_file(first: Publisher, target: Target, tmp_path: Path) -> None:
    """Put in its place with cp: its revisions are used a second time, and all arrives all the same."""
    first.publish()
    first.db.checkpoint()
    shutil.copy(first.path, tmp_path / "old.db")
    for fill in (7, 8):
        add(first, fill)
        first.publish()
    before = Counter(published(target))
    first.close()
    shutil.copy(tmp_path / "old.db", first.path)
    first.db = open_database(first.path)
    add(first, 9)
    run = first.publish()
    assert first.stored() - Counter(published(target)) == Counter()
    assert sum((Counter(published(target)) - before).values()) == 1
    assert "give each host its own WHALESYNC_SOURCE" in run.errors()[0]


def test_a_copy_of_what_is_published_goes_on(first: Publisher, target: Target, tmp_path: Path) -> None:
    """A host that moves to another machine sends nothing again."""
    first.publish()
    first.db.checkpoint()
    first.close()
    shutil.move(first.path, tmp_path / "moved.db")
    first.path = tmp_path / "moved.db"
    first.db = open_database(first.path)
    add(first, 7)
    run = first.publish()
    assert (run.items, run.errors()) == (1, [])
    assert first.differences() == []


def test_a_file_made_anew_under_the_same_name(first: Publisher, target: Target, tmp_path: Path) -> None:
    """It sends all it has; what only the old one had stays."""
    add(first, 7)
    first.publish()
    before = Counter(published(target))
    with closing(made(tmp_path / "new.db", target, "first", (MOBY, OTHER))) as anew:
        assert anew.publish().items == 14
        assert anew.publish().summary == "nothing new"
    assert Counter(published(target)) == before


def test_two_files_under_one_name(first: Publisher, target: Target, tmp_path: Path) -> None:
    """Each sends all it has in turn, so nothing is lost, and each run says what is wrong."""
    with closing(made(tmp_path / "2.db", target, "first", (THIRD, OTHER))) as other:
        first.publish()
        for fill in (7, 8):
            for host in (other, first):
                add(host, fill)
                assert "give each host its own WHALESYNC_SOURCE" in host.publish().errors()[0]
        assert first.stored() | other.stored() == Counter(published(target))


def test_the_server_is_restored_from_its_backup(first: Publisher, target: Target) -> None:
    """It has lost what came after: all is sent again."""
    first.publish()
    token = target.value("SELECT token FROM whalesync.sources")
    for fill in (7, 8, 9):
        add(first, fill)
        first.publish()
    target.rows(f"DELETE FROM whalesync.whale_activity WHERE fill_key > {hash_of(MOBY, 6)} AND fill_key < 17000")
    target.rows(f"UPDATE whalesync.sources SET token = {token}")
    assert first.differences() != []
    first.publish()
    assert first.differences() == []


def test_no_whale_is_tracked_any_more(first: Publisher, target: Target) -> None:
    """What is removed from the watch list stays on the server, and counts as removed."""
    first.publish()
    whales.remove(first.db, "opinion_trade", MOBY, NOW + 1)
    first.publish()
    assert target.rows(f"SELECT tracked FROM whalesync.whales WHERE address = '{MOBY}'") == [(0,)]


def test_positions_of_two_hosts(first: Publisher, second: Publisher, target: Target) -> None:
    """One row for each outcome, as it was seen last."""
    for host, shares, at in ((first, 1.0, NOW + 1), (second, 2.0, NOW)):
        place = host.db.value("SELECT id FROM markets WHERE external_id = ?", (OTHER[-2:],))
        owner = host.db.value("SELECT id FROM whales WHERE address = ?", (OTHER,))
        with host.db.write():
            insert(
                host.db, "positions", whale_id=owner, market_id=place, platform="opinion_trade", outcome="YES",
                outcome_label="Yes", shares=shares, first_seen_at=NOW, updated_at=at, revision=host.db.revision(),
            )  # fmt: skip
        host.publish()
    assert target.rows("SELECT shares FROM whalesync.positions") == [(1.0,)]


def test_a_position_on_another_side(first: Publisher, target: Target) -> None:
    """Its side becomes known, or turns out to be the other one: there is one row for its token."""
    with first.db.write():
        insert(
            first.db, "positions", whale_id=1, market_id=1, platform="opinion_trade", token_id="7", outcome=None,
            outcome_label="Perhaps", shares=1.0, first_seen_at=NOW, updated_at=NOW, revision=first.db.revision(),
        )  # fmt: skip
    for minutes, side in enumerate((None, "YES", "NO")):
        with first.db.write():
            first.db.execute(
                "UPDATE positions SET outcome = ?, updated_at = ?, revision = ?",
                (side, NOW + minutes * MINUTE, first.db.revision()),
            )
        first.publish()
        assert target.rows("SELECT token_id, outcome FROM whalesync.positions") == [("7", side)]


def test_a_change_after_the_clock_was_set_back(first: Publisher, target: Target) -> None:
    """What was stored while the clock ran an hour ahead is changed by what is stored after that."""
    moby = next(each for each in whales.tracked(first.db) if each.address == MOBY)
    first.publish()
    with first.db.write():
        batch = Batch("{}", Pace.DONE, corrected=[Correction(1, fee=0.25, profit=None)])
        trades.store(first.db, moby, batch, {}, run_id=1, now=NOW - HOUR)
    first.publish()
    assert target.rows("SELECT fee FROM whalesync.whale_activity WHERE fee IS NOT NULL") == [(0.25,)]
    assert first.differences() == []


def test_a_label_longer_than_an_index_takes(first: Publisher, target: Target) -> None:
    """It keeps nothing from being published."""
    label = "".join(random.Random(1).choices(string.ascii_letters, k=9_000))
    with first.db.write():
        insert(
            first.db, "positions", whale_id=1, market_id=1, platform="opinion_trade", outcome=None, outcome_label=label,
            shares=1.0, first_seen_at=NOW, updated_at=NOW, revision=first.db.revision(),
        )  # fmt: skip
    first.publish()
    assert target.rows("SELECT outcome_label FROM whalesync.positions") == [(label,)]


def add(host: Publisher, fill: int) -> int:
    """A new fill of MOBY, or of the host's first wallet; returns its key."""
    address = host.db.value("SELECT address FROM whales ORDER BY id LIMIT 1")
    with host.db.write():
        trade(
            host.db, 1, 1, NOW + fill * MINUTE, tx_hash=f"0x{fill}", fill_key=hash_of(address, fill), stored_at=NOW,
            revision=host.db.revision(),
        )  # fmt: skip
    return hash_of(address, fill)
