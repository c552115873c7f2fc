"""`setup`, played through on a terminal: what is left in the env file, the crontab and the watch list; no key shown."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.fills import query
from support.host import KEY, Host, wallet
from support.terminal import Terminal, at_terminal

from whalesync.jobs.table import JOBS
from whalesync.sandbox import Sandbox

WRONG_KEY = "not/The-key+of.these_tests"
CRONTAB = """#!/bin/sh
PATH=/usr/bin:/bin
case "$1" in
-l) test -f '{file}' && exec cat '{file}'; echo "no crontab for me" >&2; exit 1 ;;
-) exec cat >'{file}' ;;
esac
"""
OTHER_LINES = b"MAILTO=me\n# \xe4 by hand\n@daily  /usr/bin/backup  # 100\\%\n"


@dataclass
class Desk:
    """A machine where nothing is set up, with a `crontab` of its own, and what was shown on its terminal."""

    host: Host
    env_file: Path
    cron_file: Path
    shown: str = ""

    @contextmanager
    def sit(self, *options: str, alerts: bool = False, exchanges: bool = False) -> Iterator[Terminal]:
        """Run `setup` on a terminal; without alerts and for one exchange, unless they are what it is about."""
        given = options if alerts else (*options, "--no-alerts")
        given = given if exchanges else (*given, "--exchange", "opinion_trade")
        with at_terminal("setup", *given, environ=self.host.environment()) as terminal:
            yield terminal
            self.shown = terminal.shown
            assert KEY not in terminal.shown and WRONG_KEY not in terminal.shown
            assert "Traceback" not in terminal.shown

    def env(self) -> list[str]:
        """The lines of the env file, which must be private."""
        assert self.env_file.stat().st_mode & 0o777 == 0o600
        assert list(self.env_file.parent.iterdir()) == [self.env_file]
        return self.env_file.read_text().splitlines()

    def jobs(self) -> list[str]:
        """The commands that the crontab starts."""
        lines = [line for line in self.cron_file.read_text(errors="replace").splitlines() if "whalesync" in line]
        return [job.command for line in lines for job in JOBS if f" {job.command}" in line and line[0] != "#"]

    def watched(self) -> list[str]:
        """The addresses on the watch list."""
        if not self.host.db.exists():
            return []
        return [row[0] for row in query(self.host.db, "SELECT address FROM whales WHERE tracked ORDER BY address")]

    def nothing_done(self) -> bool:
        """Whether nothing was changed."""
        return not (self.env_file.exists() or self.cron_file.exists() or self.host.db.exists())


@pytest.fixture
def desk(exchange: Sandbox, tmp_path: Path) -> Desk:
    """A machine where nothing is set up; the exchange has wallets 1 and 2."""
    folder, programs = tmp_path / "host", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    desk = Desk(Host(folder, exchange.url, key=None), tmp_path / "config" / "env", tmp_path / "crontab")
    (programs / "crontab").write_text(CRONTAB.format(file=desk.cron_file))
    (programs / "crontab").chmod(0o755)
    desk.host.environ = {
        "PATH": str(programs),  # nothing else: the crontab of whoever runs the tests is out of reach
        "WHALESYNC_ENV_FILE": str(desk.env_file),
        "WHALESYNC_OPINION_WEB_URL": exchange.web_url,
        "WHALESYNC_POLYMARKET_DATA_URL": "http://127.0.0.1:9",  # where nobody answers
        "WHALESYNC_POLYMARKET_GAMMA_URL": "http://127.0.0.1:9",
    }
    return desk


ALL = [job.command for job in JOBS]


def set_up(desk: Desk) -> None:
    """Answer yes to everything."""
    with desk.sit() as terminal:
        terminal.answer("not shown", KEY)
        terminal.answer("Write it?", "y")
        terminal.answer("Enter: none", "1-2")
        terminal.answer("Add them?", "y")
        terminal.answer("Add them?", "y")
        assert terminal.end() == 0


def test_from_nothing_to_running(desk: Desk) -> None:
    """The first time: a private env file with what cron will need, the wallets, and lines that work under cron."""
    set_up(desk)
    values = dict(line.split("=", 1) for line in desk.env())
    assert values["OPINION_TRADE_API_KEY"] == KEY
    assert (values["WHALESYNC_API_URL"], values["WHALESYNC_DB"]) == (desk.host.url, str(desk.host.db))
    assert desk.watched() == [wallet(1), wallet(2)]
    assert desk.jobs() == ALL
    assert "WRONG" not in desk.shown and "whalesync status" in desk.shown
    line = next(line for line in desk.cron_file.read_text().splitlines() if line.endswith("sync-whales"))
    subprocess.run(["/bin/sh", "-c", line.split(None, 5)[5]], env={"PATH": "/usr/bin:/bin"}, check=True)
    assert query(desk.host.db, "SELECT status, error FROM sync_logs") == [("completed", None)]


def test_a_second_time_changes_nothing(desk: Desk) -> None:
    """Each step says that it is done and offers to change it; declined, every byte stays."""
    set_up(desk)
    before = desk.env(), desk.cron_file.read_bytes(), desk.watched()
    with desk.sit() as terminal:
        terminal.answer("Use another key?", "")
        terminal.answer("Add wallets?", "")
        assert terminal.end() == 0
    assert desk.shown.count("Done already") == 4
    assert (desk.env(), desk.cron_file.read_bytes(), desk.watched()) == before


def test_which_exchanges_are_wanted_is_asked_first(desk: Desk) -> None:
    """By number; for one without a key none is asked for. The second time, Enter means what is watched."""
    with desk.sit("--no-cron", exchanges=True) as terminal:
        terminal.answer("Enter: Opinion.Trade and Polymarket", "Kalshi")
        terminal.expect("'Kalshi' is not a number of this list")
        terminal.answer("Enter: Opinion.Trade and Polymarket", "2")
        terminal.expect("Polymarket needs no key.")
        terminal.answer("Write it?", "n")
        terminal.answer("Polymarket: Addresses, or a file of them (Enter: none)", wallet(3))
        terminal.answer("Add them?", "y")
        assert terminal.end() == 1  # doctor does not reach it
    assert query(desk.host.db, "SELECT platform, address FROM whales") == [("polymarket", wallet(3))]
    with desk.sit("--no-cron", "--no-key", exchanges=True) as terminal:
        terminal.answer("(Enter: Polymarket)", "1-2")
        terminal.answer("Write it?", "n")
        terminal.answer("Add wallets?", "y")
        terminal.answer("Opinion.Trade: Numbers of this list such as 1,3-5, addresses", "1")
        terminal.answer("Polymarket: Addresses, or a file of them (Enter: none)", "")
        terminal.answer("Add them?", "y")
        terminal.end()
    assert query(desk.host.db, "SELECT platform FROM whales ORDER BY id") == [("polymarket",), ("opinion_trade",)]


def test_everything_declined(desk: Desk) -> None:
    """Nothing is changed, and it says what is not done."""
    with desk.sit() as terminal:
        terminal.answer("not shown", "")
        terminal.answer("Write it?", "n")
        terminal.answer("Enter: none", "")
        terminal.answer("Add them?", "n")
        assert terminal.end() == 1  # doctor finds no key
    assert desk.nothing_done()
    assert "Not done: key, env file, watch list, cron." in desk.shown and "whalesync sandbox" in desk.shown


@pytest.mark.parametrize("declined", ["env file", "watch list", "cron"])
def test_one_step_declined(desk: Desk, declined: str) -> None:
    """The others are done all the same."""
    with desk.sit() as terminal:
        terminal.answer("not shown", KEY)
        terminal.answer("Write it?", "n" if declined == "env file" else "y")
        terminal.answer("Enter: none", f"{wallet(1)}")
        terminal.answer("Add them?", "n" if declined == "watch list" else "y")
        terminal.answer("Add them?", "n" if declined == "cron" else "y")
        terminal.end()
    assert desk.env_file.exists() == (declined != "env file")
    assert desk.watched() == ([] if declined == "watch list" else [wallet(1)])
    assert desk.cron_file.exists() == (declined != "cron")
    assert f"Not done: {declined}." in desk.shown


def test_an_address_for_alerts_is_asked_for_and_not_shown(desk: Desk) -> None:
    """One that no alert can go to is refused before anything is written; Enter means none."""
    options = ("--no-key", "--no-whales", "--no-cron")
    with desk.sit(*options, alerts=True) as terminal:
        terminal.answer("Write it?", "n")
        terminal.answer("Enter: no alerts", "http://far.example/s3cret")
        terminal.answer("send a sample?", "y")
        terminal.expect("https")
        terminal.end()
    assert "s3cret" not in desk.shown and "Not done: key, env file, watch list, cron, alerts." in desk.shown
    with desk.sit(*options, alerts=True) as terminal:
        terminal.answer("Write it?", "n")
        terminal.answer("Enter: no alerts", "")
        terminal.end()
    assert "No alerts;" in desk.shown


def test_a_wrong_key_is_asked_for_again(desk: Desk, exchange: Sandbox) -> None:
    """It is tried at once; what was rejected is not written."""
    with desk.sit("--no-whales", "--no-cron") as terminal:
        terminal.answer("not shown", WRONG_KEY)
        terminal.expect("rejected the API key")
        terminal.answer("not shown", KEY)
        terminal.answer("Write it?", "")
        terminal.end()
    assert f"OPINION_TRADE_API_KEY={KEY}" in desk.env() and WRONG_KEY not in desk.env_file.read_text()
    with desk.sit("--no-whales", "--no-cron") as terminal:
        terminal.answer("Use another key?", "y")
        for _ in range(3):
            terminal.answer("not shown", WRONG_KEY)
        terminal.expect("The present one stays.")
        terminal.end()
    assert f"OPINION_TRADE_API_KEY={KEY}" in desk.env()


def test_a_crontab_with_other_lines(desk: Desk) -> None:
    """Every byte of it stays; a line that is there, or is commented out, is not added."""
    there = b"* * * * * /opt/whalesync sync-whales\n#0 * * * * /opt/whalesync compute-stats"
    desk.cron_file.write_bytes(OTHER_LINES + there)
    with desk.sit("--no-key", "--no-whales", "--cron") as terminal:
        terminal.answer("Write it?", "n")
        terminal.expect("Done already: sync-whales.")
        terminal.expect("Commented out, and left so: compute-stats.")
        terminal.end()
    assert desk.cron_file.read_bytes().startswith(OTHER_LINES + there + b"\n")
    assert sorted(desk.jobs()) == sorted(name for name in ALL if name != "compute-stats")


def test_an_env_file_that_others_may_read(desk: Desk) -> None:
    """Its other lines, comments and their order stay; it is private before the key is in it."""
    desk.env_file.parent.mkdir()
    desk.env_file.write_text("# mine\nWHALESYNC_RETENTION_DAYS=30 # a month\n\nOTHER='x'\n")
    desk.env_file.chmod(0o644)
    with desk.sit("--no-whales", "--no-cron") as terminal:
        terminal.answer("not shown", KEY)
        terminal.expect("now 644")
        terminal.answer("Write it?", "y")
        terminal.end()
    kept = ["# mine", "WHALESYNC_RETENTION_DAYS=30 # a month", "", "OTHER='x'"]
    assert desk.env()[:4] == kept and f"OPINION_TRADE_API_KEY={KEY}" in desk.env()[4:]
    desk.env_file.chmod(0o640)
    with desk.sit("--no-whales", "--no-cron") as terminal:
        terminal.answer("Use another key?", "")
        terminal.answer("Make it yours alone", "y")
        terminal.end()
    assert len(desk.env()) > 5


@pytest.mark.parametrize(
    ("asked", "not_done"),
    [
        ("not shown", "key, env file, watch list, cron, alerts"),
        ("Write it?", "env file, watch list, cron, alerts"),
        ("Enter: none", "watch list, cron, alerts"),
        ("cleanup --if-due", "cron, alerts"),
    ],
)
def test_stopped_in_the_middle(desk: Desk, asked: str, not_done: str) -> None:
    """Ctrl-C ends it with 130; what was done is whole, and the rest untouched."""
    answers = {"not shown": KEY, "Write it?": "y", "Enter: none": wallet(2), "Add them?": "y"}
    with desk.sit() as terminal:
        for question, answer in answers.items():
            if question == asked:
                break
            terminal.answer(question, answer)
        terminal.interrupt(asked)
        assert terminal.end() == 130
    assert f"Stopped. Not done: {not_done}." in desk.shown
    assert desk.env_file.exists() == ("env file" not in not_done)
    assert desk.watched() == ([] if "watch list" in not_done else [wallet(2)])
    assert not desk.cron_file.exists()
