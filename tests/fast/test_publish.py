"""``publish``: the rows of the file on a real server, each once, and what happens when they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.postgres import Target
from support.publisher import Publisher
from support.rows import DAY, HOUR, MINUTE, MOBY, NOW, OTHER, insert, market, trade, whale


@pytest.fixture
def host(tmp_path: Path, target: Target) -> Iterator[Publisher]:
    """A host whose file has two whales, a market of a topic, trades and a position."""
    with closing(Publisher(tmp_path / "whalesync.db", target, "first")) as made:
        with made.db.write():
            wallets = [whale(made.db, MOBY, label="Moby Dick"), whale(made.db, OTHER)]
            market(made.db, "9", "Will it rain?", kind="topic", category="Weather", status="activated")
            place = market(made.db, "1", "On Monday", parent_external_id="9", category="Weather", status="activated")
            for number in range(6):
                trade(made.db, wallets[number % 2], place, NOW - number * MINUTE, outcome="YES", price=0.5, revision=1)
            insert(
                made.db, "positions", whale_id=1, market_id=2, platform="opinion_trade", outcome="YES",
                outcome_label="Yes", shares=4.5, first_seen_at=NOW, updated_at=NOW, revision=1,
            )  # fmt: skip
        yield made


def test_every_row_arrives_once(host: Publisher, target: Target) -> None:
    """Markets, whales, a position and trades, with the values of the file."""
    assert host.publish().items == 2 + 2 + 1 + 6
    assert host.differences() == []
    assert target.rows("SELECT external_id, kind, title FROM whalesync.markets ORDER BY 1") == [
        ("1", "market", "On Monday"), ("9", "topic", "Will it rain?")
    ]  # fmt: skip
    assert target.rows("SELECT address, label FROM whalesync.whales ORDER BY 1") == [(MOBY, "Moby Dick"), (OTHER, None)]
    assert target.rows("SELECT shares, outcome_label, state FROM whalesync.positions") == [(4.5, "Yes", "open")]


def test_nothing_new_writes_nothing_but_when(host: Publisher, target: Target) -> None:
    """No row is read or written a second time; the source says when it was last there."""
    host.publish()
    before = target.rows("SELECT ctid, xmin FROM whalesync.whale_activity")
    first = target.value("SELECT last_publish_at FROM whalesync.sources")
    run = host.publish()
    assert (run.items, run.summary) == (0, "nothing new")
    assert target.rows("SELECT ctid, xmin FROM whalesync.whale_activity") == before
    assert target.value("SELECT last_publish_at FROM whalesync.sources") > first


def test_what_changes_is_sent_again(host: Publisher, target: Target) -> None:
    """A fee that is corrected, a row that is superseded, a label: one row each, in its place."""
    host.publish()
    ids = target.rows("SELECT id FROM whalesync.whale_activity ORDER BY id")
    with host.db.write():
        revision = host.db.revision()
        host.db.execute(
            f"UPDATE whale_activity SET fee = 0.25, revision = {revision}, changed_at = {NOW + HOUR} WHERE id = 1"
        )
        host.db.execute(
            f"UPDATE whale_activity SET superseded_at = {NOW}, revision = {revision}, changed_at = {NOW + HOUR}"
            " WHERE id = 2"
        )
        host.db.execute(f"UPDATE whales SET label = 'Keiko', revision = {revision}, updated_at = {NOW + 1}")
    assert host.publish().items == 4
    assert host.differences() == []
    assert target.rows("SELECT id FROM whalesync.whale_activity ORDER BY id") == ids
    assert target.rows("SELECT fee FROM whalesync.whale_activity WHERE fee IS NOT NULL") == [(0.25,)]
    assert target.value("SELECT count(*) FROM whalesync.activity_pro_plus") == 5


def test_pruned_rows_stay(host: Publisher, target: Target) -> None:
    """What cleanup deletes from the file is history on the server."""
    host.publish()
    host.db.execute("DELETE FROM whale_activity WHERE id < 4")
    host.publish()
    assert target.value("SELECT count(*) FROM whalesync.whale_activity") == 6


def test_small_batches_of_one_revision(host: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends within a revision, and the next one goes on there."""
    monkeypatch.setattr("whalesync.jobs.publish.BATCH_ROWS", 2)
    assert host.publish().items == 11
    assert host.differences() == []


def test_text_that_postgresql_cannot_store(host: Publisher, target: Target) -> None:
    """A NUL becomes the replacement character; all else is as it came."""
    host.db.execute("UPDATE markets SET title = 'a' || char(0) || '\U0001f40b' WHERE external_id = '1'")
    host.publish()
    assert target.value("SELECT title FROM whalesync.markets WHERE external_id = '1'") == "a\ufffd\U0001f40b"


def test_equal_fills_keep_their_count(tmp_path: Path, target: Target) -> None:
    """Over two hosts that number them in another order: one of the three does not count, and each fee is there once."""
    with closing(Publisher(tmp_path / "1.db", target, "first")) as first, \
            closing(Publisher(tmp_path / "2.db", target, "second")) as second:  # fmt: skip
        for host, fees, removed in ((first, (1.0, 2.0, 3.0), 1), (second, (3.0, 1.0, 2.0), 2)):
            with host.db.write():
                wallet, place = whale(host.db), market(host.db)
                for copy, fee in enumerate(fees, start=1):
                    superseded = NOW if copy == removed else None
                    trade(
                        host.db, wallet, place, NOW, tx_hash="0xa", fill_key=7, copy=copy, fee=fee,
                        superseded_at=superseded, revision=1, stored_at=NOW,
                    )  # fmt: skip
        first.publish()
        assert target.rows("SELECT fee FROM whalesync.activity_pro_plus ORDER BY 1") == [(2.0,), (3.0,)]
        second.publish()
        assert target.rows("SELECT fee FROM whalesync.activity_pro_plus ORDER BY 1") == [(2.0,), (3.0,)]
        assert target.value("SELECT count(*) FROM whalesync.whale_activity") == 3


def test_ids_are_given_in_the_order_of_commits(host: Publisher, target: Target) -> None:
    """What a later run brings has larger ids than all before."""
    host.publish()
    newest = target.value("SELECT max(id) FROM whalesync.whale_activity")
    with host.db.write():
        trade(host.db, 1, 2, NOW - DAY, revision=host.db.revision())
    host.publish()
    assert target.rows(f"SELECT count(*) FROM whalesync.whale_activity WHERE id > {newest}") == [(1,)]


def test_a_commit_with_trades_notifies_once(host: Publisher, target: Target) -> None:
    """Without content; a run that brings none does not."""
    with target.server.connect(target.name) as listener:
        listener.execute("LISTEN whalesync_activity")
        host.publish()
        host.publish()
        with host.db.write():
            host.db.execute(f"UPDATE whales SET label = 'x', revision = {host.db.revision()}")
        host.publish()
        assert [notice.payload for notice in listener.notifies(timeout=0.2)] == [""]


def test_a_name_of_its_own(host: Publisher, target: Target) -> None:
    """Without WHALESYNC_SOURCE, the file's number is its name."""
    host.name = ""
    host.publish()
    assert target.value("SELECT name FROM whalesync.sources") == f"{host.db.fact('file_id'):016x}"
