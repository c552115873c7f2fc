"""``alerts``, ``alerts test``, ``alerts retry``, and what ``doctor`` and ``status`` say of alerts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from support.messages import NOW, trade
from support.receiver import Receiver, status

from whalesync.alerts.message import SAMPLE_TITLE
from whalesync.alerts.plan import Later, State
from whalesync.cli.main import run
from whalesync.store import alerts, whales
from whalesync.store.alerts import Target
from whalesync.store.database import Database, open_database
from whalesync.store.whales import WatchEntry

HIDDEN = "s3cr3tPartOfTheAddress42"
INSTALL = "alerts to discord://… need apprise: pipx inject whalesync 'apprise>=2.3,<3' (without pipx: README, Upgrade)"
DAY = 86_400_000


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Host:
    """A host with a database, and rules whose secrets are in no output."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.rules = folder / "alerts.toml"
        self.db_path = folder / "whales.db"
        self._capfd = capfd
        open_database(self.db_path).close()

    def write(self, *rules: str, mode: int = 0o600) -> None:
        """Write the alerts file."""
        self.rules.write_text("\n".join(f"[[alert]]\n{rule}" for rule in rules))
        self.rules.chmod(mode)

    def cli(self, *arguments: str) -> Result:
        """Run a command."""
        code = run(arguments)
        out, err = self._capfd.readouterr()
        assert HIDDEN not in out + err and "Traceback" not in err
        return Result(code, out, err)

    def listed(self) -> list[dict[str, object]]:
        """The rows of ``alerts --json``."""
        rows: list[dict[str, object]] = json.loads(self.cli("alerts", "--json").out)["alerts"]
        return rows

    def db(self) -> Database:
        """Open the database."""
        return open_database(self.db_path)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Host:
    for name in ("WHALESYNC_ENV_FILE", "WHALESYNC_ALERTS_FILE", "WHALESYNC_PING_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")
    found = Host(tmp_path, capfd)
    monkeypatch.setenv("WHALESYNC_DB", str(found.db_path))
    return found


@pytest.fixture
def with_rule(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """One rule with two targets that look alike and one that does not, of which messages were queued."""
    host.write(
        f'name = "big buys"\nto = ["https://a.example/{HIDDEN}", "https://a.example/2", "discord://1/{HIDDEN}"]',
    )
    monkeypatch.setenv("WHALESYNC_ALERTS_FILE", str(host.rules))
    return host


def queue(db: Database, target: Target, *outcomes: str) -> None:
    """Queue a message for each outcome, with what became of it."""
    for number, outcome in enumerate(outcomes):
        message = replace(trade(), id=f"{target.alert} {target.key} {number}", alert=target.alert)
        with db.write():
            alerts.queue(db, message, target, NOW)
        delivery = next(each for each in alerts.pending(db) if each.message.id == message.id)
        if outcome == "sent":
            alerts.record_sent(db, delivery, NOW + number)
        elif outcome == "failed":
            alerts.record_failure(db, delivery, "answered 410 (Gone)", None)
        elif outcome == "tried":
            alerts.record_failure(db, delivery, "answered 500", Later(NOW + 60_000, None))


FIRST, SECOND = Target("big buys", "https://a.example/…", 1), Target("big buys", "https://a.example/…", 2)


def test_without_rules_the_list_says_where_they_go(host: Host) -> None:
    """That is no error, with or without a database."""
    host.db_path.unlink()
    shown = host.cli("alerts")
    assert (shown.code, shown.err) == (0, "") and "config/whalesync/alerts.toml" in shown.out
    assert json.loads(host.cli("alerts", "--json").out) == {"file": None, "alerts": []}


def test_each_target_of_a_rule_has_a_row(with_rule: Host) -> None:
    """With what it was sent, what waits, what failed and why; targets that look alike are told apart."""
    with with_rule.db() as db:
        queue(db, FIRST, "sent", "sent", "pending", "tried")
        queue(db, SECOND, "failed")
        with db.write():
            alerts.save_state(db, "big buys", "x", State(NOW, held=((1, 2), (3,)), waiting={SECOND.key: ((4,),)}))
    rows = with_rule.listed()
    assert [row["target"] for row in rows] == ["https://a.example/…", "https://a.example/… (2)", "discord://…"]
    counts = [[row[name] for name in ("sent", "pending", "held_back", "failed")] for row in rows]
    assert counts == [[2, 2, 2, 0], [0, 0, 3, 1], [0, 0, 2, 0]]
    assert (rows[0]["last_sent_at"], rows[0]["last_error"]) == (NOW + 1, "answered 500")
    assert rows[1]["last_error"] == "answered 410 (Gone)"
    shown = with_rule.cli("alerts").out
    assert "answered 410 (Gone)" in shown and 'whalesync alerts retry "big buys"' in shown


def test_what_only_the_database_knows_is_listed_too(with_rule: Host) -> None:
    """Deliveries of a rule that was taken out of the file."""
    with with_rule.db() as db:
        queue(db, Target("old", "tgram://…", 1), "failed")
    assert with_rule.listed()[-1]["in_file"] is False
    assert "tgram://… (not in the file)" in with_rule.cli("alerts").out


def test_a_wrong_file_is_one_line_everywhere(with_rule: Host) -> None:
    """From ``alerts``, ``alerts test``, the job and ``doctor``: the file, the rule and the cause."""
    with_rule.write('name = "a"\nto = ["https://a.example"]\nmin_used = 5')
    cause = f"the alerts file {with_rule.rules}, rule 'a': 'min_used' is not a setting of rules"
    for command in (("alerts",), ("alerts", "test", "a"), ("alerts", "retry", "a"), ("send-alerts",)):
        result = with_rule.cli(*command)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1) and cause in result.err
    with_rule.write('name = "a"\nto = ["https://a.example"]\nwhales = ["Nobody"]')
    result = with_rule.cli("alerts")
    assert result.code == 2 and "'Nobody' is not on the watch list" in result.err


def doctor_line(host: Host) -> str:
    """What ``doctor`` says of alerts."""
    return next(line for line in host.cli("doctor").out.splitlines() if line.split()[1] == "alerts")


def test_doctor_checks_the_rules(with_rule: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their faults, the watch list, and whether apprise is installed."""
    monkeypatch.setenv("WHALESYNC_API_URL", "http://not.example")  # so that no exchange is asked
    assert doctor_line(with_rule) == f"good         alerts      1 rule in {with_rule.rules}"
    with with_rule.db() as db:
        queue(db, FIRST, "failed")
    assert doctor_line(with_rule).endswith("; 1 message failed: see 'whalesync alerts'")
    monkeypatch.setattr("whalesync.alerts.targets.find_spec", lambda _: None)
    assert doctor_line(with_rule) == f"WRONG        alerts      {INSTALL}"
    with_rule.write('name = "a"\nto = ["https://a.example"]', mode=0o644)
    assert doctor_line(with_rule).startswith("WRONG") and "chmod 600" in doctor_line(with_rule)
    with_rule.write('name = "a"\nto = ["https://a.example"]\nwhales = ["Moby Dick"]')
    assert "'Moby Dick' is not on the watch list" in doctor_line(with_rule)
    with with_rule.db() as db:
        whales.add(db, [WatchEntry("0x" + "a" * 40, "Moby Dick")], NOW)
    assert doctor_line(with_rule).startswith("good")
    monkeypatch.delenv("WHALESYNC_ALERTS_FILE")
    assert doctor_line(with_rule).startswith("good         alerts      off; rules in ")


def test_status_counts_what_failed(with_rule: Host) -> None:
    """In words, in JSON and as a metric."""
    assert "messages" not in with_rule.cli("status").out
    with with_rule.db() as db:
        queue(db, FIRST, "failed", "failed", "pending")
    assert "2 messages failed: see 'whalesync alerts'" in with_rule.cli("status").out
    assert json.loads(with_rule.cli("status", "--json").out)["failed_alerts"] == 2
    assert "\nwhalesync_failed_alerts 2\n" in with_rule.cli("status", "--metrics").out


def test_a_sample_goes_to_each_target(with_rule: Host) -> None:
    """Each answer is printed; one that is not good makes it exit 1. Nothing is stored."""
    with Receiver() as good, Receiver(status(410)) as bad:
        with_rule.write(
            f'name = "a"\nto = ["http://{good.host}/{HIDDEN}", "http://{bad.host}/{HIDDEN}", "json://{good.host}/{HIDDEN}"]'
        )
        result = with_rule.cli("alerts", "test", "a")
        webhook, service = (json.loads(request.body) for request in good.received)
    assert (result.code, result.err) == (1, "")
    assert result.out.splitlines() == [
        f"http://{good.host}/…: sent",
        f"http://{bad.host}/…: answered 410 (Gone)",
        "json://…: sent",
    ]
    assert webhook["sample"] is True and webhook["alert"] == "a"
    assert SAMPLE_TITLE in webhook["text"] and SAMPLE_TITLE in service["message"]
    assert [row["sent"] for row in with_rule.listed()] == [0, 0, 0]


def test_a_sample_needs_what_its_target_needs(with_rule: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without apprise the line says how to install it, and the webhook gets its sample all the same."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with Receiver() as good:
        with_rule.write(f'name = "a"\nto = ["discord://1/{HIDDEN}", "http://{good.host}"]')
        result = with_rule.cli("alerts", "test", "a")
    assert result.code == 1
    assert result.out.splitlines() == [f"discord://…: {INSTALL}", f"http://{good.host}: sent"]


@pytest.mark.parametrize("command", ["test", "retry"])
def test_a_name_that_no_rule_has_gets_the_nearest(with_rule: Host, command: str) -> None:
    """As with whales."""
    result = with_rule.cli("alerts", command, "big buy")
    assert (result.code, result.out) == (2, "") and "did you mean 'big buys'?" in result.err


def test_what_failed_is_tried_again(with_rule: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next run, for another 24 hours; what was sent and other rules stay as they are."""
    monkeypatch.setattr("whalesync.cli.alerts.now_ms", lambda: NOW + 2 * DAY)
    with with_rule.db() as db:
        queue(db, FIRST, "sent", "failed", "failed")
        queue(db, Target("other", "https://a.example/…", 1), "failed")
    assert with_rule.cli("alerts", "retry", "big buys") == (0, "", "2 messages will be tried again.\n")
    with with_rule.db() as db:
        waiting = [(each.message.id, each.next_attempt_at, each.give_up_at) for each in alerts.pending(db)]
        assert alerts.failed_count(db) == 1
    assert waiting == [(f"big buys {FIRST.key} {number}", NOW + 2 * DAY, NOW + 3 * DAY) for number in (1, 2)]


def test_the_job_says_how_to_install_what_is_missing(with_rule: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, and one line."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with with_rule.db() as db:
        for number, name in enumerate(("https://a.example/…", "discord://…")):
            queue(db, Target("big buys", name, 1), *["pending"] * number)
    result = with_rule.cli("send-alerts")
    assert result.code == 2 and INSTALL in result.err
