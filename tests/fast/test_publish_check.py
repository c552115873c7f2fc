"""``publish --check`` and ``--repair``: what differs between the file and the server, and sending it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.postgres import PASSWORD, Target
from support.publisher import Publisher
from support.rows import DAY, HOUR, MIDNIGHT, MOBY, NOW, OTHER, insert, market, trade, whale

from whalesync.cli.main import run


@pytest.fixture
def host(tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A published file: two whales, trades of three days, a position, text and figures of all kinds."""
    with closing(Publisher(tmp_path / "whalesync.db", target, "first")) as made:
        with made.db.write():
            wallets = [whale(made.db, MOBY, label="Moby Dick"), whale(made.db, OTHER)]
            place = market(made.db, "1", "a\0b \U0001f40b", status="activated", end_date=NOW, volume=0.1 + 0.2)
            for number in range(30):
                trade(
                    made.db, wallets[number % 2], place, MIDNIGHT + number * 2 * HOUR, outcome="YES", price=1 / 3,
                    fee=-0.0 if number % 3 else None, shares=1e300, stored_at=NOW, revision=1, copy=1,
                    fill_key=number // 4, superseded_at=NOW if number == 7 else None,
                )  # fmt: skip
            trade(made.db, 1, place, MIDNIGHT, fill_key=0, copy=2, fee=0.5, stored_at=NOW, revision=1)
            insert(
                made.db, "positions", whale_id=1, market_id=place, platform="opinion_trade", outcome=None,
                outcome_label="Maybe", shares=4.5, first_seen_at=NOW, updated_at=NOW, revision=1,
            )  # fmt: skip
        monkeypatch.setenv("WHALESYNC_PUBLISH_URL", made.url)
        monkeypatch.setenv("WHALESYNC_ENV_FILE", "")
        monkeypatch.setenv("HOME", str(tmp_path))
        yield made


@pytest.fixture
def published(host: Publisher) -> Publisher:
    """The same, published."""
    host.publish()
    return host


def publish(host: Publisher, capsys: pytest.CaptureFixture[str], *options: str, code: int) -> str:
    """Run the command; returns what it prints."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WHALESYNC_SOURCE", host.name)
        assert run(["publish", *options, "--db", str(host.path)]) == code
    captured = capsys.readouterr()
    assert PASSWORD not in captured.out + captured.err
    return captured.out or captured.err


def differences(host: Publisher, capsys: pytest.CaptureFixture[str]) -> Sequence[Any]:
    """Table, label or key, day, missing, different."""
    document = json.loads(publish(host, capsys, "--check", "--json", code=1))
    return [
        (
            each["table"],
            each["label"] or each["rows"] or each["address"],
            each["day"],
            each["missing"],
            each["different"],
        )
        for each in document["differences"]
    ]


def test_nothing_differs(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """Text, numbers, times and NULL say the same on both sides, whatever they are."""
    document = json.loads(publish(published, capsys, "--check", "--json", code=0))
    counts = {"markets": 1, "whales": 2, "positions": 1, "whale_activity": 31}
    assert document == {"ok": True, "compared": counts, "repaired": 0, "differences": []}
    assert "The server has all that the file has." in publish(published, capsys, "--check", code=0)


def test_what_differs_is_named_and_repaired(
    published: Publisher, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that somebody deleted, one changed, a market, a label, a position: each with its wallet and day."""
    target.rows("DELETE FROM whalesync.whale_activity WHERE fill_key = 7 AND whale_id = 1")
    target.rows("UPDATE whalesync.whale_activity SET amount = amount + 1e-12 WHERE fill_key = 1 AND whale_id = 2")
    target.rows("UPDATE whalesync.markets SET title = 'another'")
    target.rows(f"UPDATE whalesync.whales SET label = 'Willy' WHERE address = '{OTHER}'")
    target.rows("DELETE FROM whalesync.positions")
    assert differences(published, capsys) == [
        ("markets", [["opinion_trade", "market", "1"]], None, 0, 1),
        ("whales", [["opinion_trade", OTHER]], None, 0, 1),
        ("positions", [["opinion_trade", MOBY, "market", "1", None, "Maybe"]], None, 1, 0),
        ("whale_activity", "Moby Dick", "2026-03-03", 1, 0),
        ("whale_activity", OTHER, "2026-03-01", 0, 2),
    ]
    text = publish(published, capsys, "--check", code=1)
    assert "Moby Dick 2026-03-03" in text and "--repair" in text
    assert "6 rows sent again" in " ".join(publish(published, capsys, "--repair", code=0).split())
    assert published.differences() == []
    publish(published, capsys, "--check", code=0)
    (newest,) = published.db.rows("SELECT status, item_count FROM sync_logs ORDER BY id DESC LIMIT 1")
    assert tuple(newest) == ("completed", 6)


def test_trades_of_a_market_that_was_deleted(
    published: Publisher, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    """They refer to the market that takes its place."""
    target.rows("DELETE FROM whalesync.markets")
    found = differences(published, capsys)
    assert [each[0] for each in found] == ["markets", "positions", *["whale_activity"] * 6]
    publish(published, capsys, "--repair", code=0)
    assert published.differences() == []


def test_the_file_is_a_part_of_the_server(
    published: Publisher, target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was pruned, what another host brings, and what it has seen later, is no difference."""
    with closing(Publisher(tmp_path / "2.db", target, "second")) as other:
        with other.db.write():
            wallet, place = whale(other.db, MOBY), market(other.db, "1")
            trade(other.db, wallet, place, MIDNIGHT + 1, revision=1)
            trade(
                other.db, wallet, place, MIDNIGHT + 8 * HOUR, fill_key=1, fee=3.0, stored_at=NOW + HOUR, revision=1
            )  # fmt: skip
        other.publish()
        publish(other, capsys, "--check", code=0)
    published.db.execute("DELETE FROM whale_activity WHERE timestamp < ?", (MIDNIGHT + DAY // 2,))
    publish(published, capsys, "--check", code=0)


def test_what_is_not_published_yet_is_no_difference(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """The next run brings it; a row without a new revision, changed by hand, is one."""
    with published.db.write():
        trade(published.db, 1, 1, MIDNIGHT, fill_key=0, copy=3, revision=published.db.revision())
    publish(published, capsys, "--check", code=0)
    published.db.execute("UPDATE whale_activity SET amount = 11 WHERE id = 3")
    assert differences(published, capsys) == [("whale_activity", "Moby Dick", "2026-03-01", 0, 1)]


def test_a_file_that_is_not_published(host: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to compare with yet; repair publishes first."""
    assert "run 'whalesync publish' first" in publish(host, capsys, "--check", code=1)
    publish(host, capsys, "--repair", code=0)
    assert host.differences() == []


def test_an_empty_file(tmp_path: Path, host: Publisher, target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was to be sent, and nothing differs."""
    with closing(Publisher(tmp_path / "empty.db", target, "empty")) as empty:
        empty.publish()
        publish(empty, capsys, "--check", code=0)


def test_wrong_usage(host: Publisher, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--json has nothing to print without a comparison; a comparison needs an address."""
    assert "--json goes with" in publish(host, capsys, "--json", code=2)
    monkeypatch.delenv("WHALESYNC_PUBLISH_URL")
    assert "WHALESYNC_PUBLISH_URL is not set" in publish(host, capsys, "--check", code=2)
    publish(host, capsys, code=0)
