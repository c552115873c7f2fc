"""The check-up: one line for each thing, good or what to do, and never the key."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from whalesync.errors import ExchangeError, KeyRefused, RateLimited, StoreError, Unreachable
from whalesync.host import crontab, doctor
from whalesync.host.doctor import Finding, examine
from whalesync.settings import Settings
from whalesync.store.database import open_database
from whalesync.store.log import end_run, start_run

NOW = 1_700_000_000_000
KEY = "the-secret-key-0123456789"
PROGRAM = ["/opt/whalesync"]


class Host:
    """A host on which all is well; tests break one thing and look again."""

    def __init__(self, folder: Path) -> None:
        env_file = folder / "env"
        env_file.write_text(f"OPINION_TRADE_API_KEY={KEY}\n")
        env_file.chmod(0o600)
        self.settings = Settings(db=folder / "data" / "whale.db", api_key=KEY, env_file=env_file)
        open_database(self.settings.db).close()
        self.crontab: str | None = crontab.render(PROGRAM, env_file, self.settings.db)
        self.probe: Callable[[], float | None] = lambda: NOW / 1000

    def look(self) -> dict[str, Finding]:
        findings = examine(
            self.settings, now=NOW, probe=self.probe, crontab_text=lambda: self.crontab, program=PROGRAM
        )
        for finding in findings:
            assert KEY not in finding.text
            assert finding.text.isprintable()
        return {finding.name: finding for finding in findings}

    def faults(self) -> dict[str, str]:
        return {name: finding.text for name, finding in self.look().items() if not finding.ok}

    def fails_to_answer(self, error: Exception) -> None:
        def probe() -> float | None:
            raise error

        self.probe = probe


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_in_order_has_no_faults(host: Host) -> None:
    """Each check has its line, in the order of setting up, and all are good."""
    found = host.look()
    assert {name: finding.ok for name, finding in found.items()} == dict.fromkeys(
        [
            "key",
            "address",
            "clock",
            "env file",
            "database",
            "rights",
            "wal",
            "disk",
            "sqlite",
            "cron",
            "pings",
        ],
        True,
    )


def test_looking_changes_nothing(host: Host) -> None:
    """The files are the same afterwards, byte by byte."""
    before = {file: file.read_bytes() for file in host.settings.db.parent.iterdir()}
    host.look()
    assert {file: file.read_bytes() for file in host.settings.db.parent.iterdir()} == before


def test_a_missing_key_is_named_and_nothing_asked(host: Host) -> None:
    """Without a key no request is made."""
    host.settings = replace(host.settings, api_key=None)
    host.fails_to_answer(AssertionError("asked without a key"))
    assert host.faults() == {
        "key": f"OPINION_TRADE_API_KEY is not set: put OPINION_TRADE_API_KEY=… into {host.settings.env_file}, "
        "or into the environment",
        "address": "not asked: there is no key to ask with",
        "clock": "not compared: the exchange was not reached",
    }


def test_an_address_in_the_clear_is_never_asked(host: Host) -> None:
    """The key is not sent over http to another machine, not even to try it."""
    host.settings = replace(host.settings, api_url="http://example.com")
    host.fails_to_answer(AssertionError("the key was sent in the clear"))
    assert "must be https" in host.faults()["address"]


@pytest.mark.parametrize(
    ("error", "faults"),
    [
        (KeyRefused(f"the exchange refuses the key {KEY}"), {"key", "clock"}),
        (Unreachable("no connection to openapi.opinion.trade"), {"address", "clock"}),
        (ExchangeError("\x1b[2J an answer\nof two lines"), {"address", "clock"}),
        (StoreError("the shared rate cannot be kept"), {"address", "clock"}),
        (RateLimited("429"), set()),
    ],
)
def test_what_the_exchange_says_becomes_a_line(host: Host, error: Exception, faults: set[str]) -> None:
    """A refused key, a dead line and a busy exchange are told apart; text from outside is harmless."""
    host.fails_to_answer(error)
    assert set(host.faults()) == faults


@pytest.mark.parametrize(
    ("date", "ok", "text"),
    [
        (None, True, "not compared: the exchange names no time"),
        (NOW / 1000, True, "within 5 s of the exchange's"),
        (NOW / 1000 - 5.9, True, "within 5 s of the exchange's"),
        (NOW / 1000 - 30, True, "29 s ahead of the exchange's: keep it by NTP ('timedatectl')"),
        (NOW / 1000 + 30, True, "30 s behind the exchange's: keep it by NTP ('timedatectl')"),
        (NOW / 1000 - 70, False, "69 s ahead of the exchange's: keep it by NTP ('timedatectl')"),
        (NOW / 1000 + 3_600, False, "3600 s behind the exchange's: keep it by NTP ('timedatectl')"),
    ],
)
def test_the_clock_is_compared_with_the_exchange(host: Host, date: float | None, ok: bool, text: str) -> None:
    """Some seconds are no matter, up to a minute is said, more is a fault; a Date is cut to the second."""
    host.probe = lambda: date
    assert host.look()["clock"] == Finding("clock", ok, text)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_an_env_file_that_others_can_read_is_a_fault(host: Host, mode: int) -> None:
    """The key is for its owner alone, and the line holds the command that mends it."""
    assert host.settings.env_file is not None
    host.settings.env_file.chmod(mode)
    assert f"chmod 600 '{host.settings.env_file}'" in host.faults()["env file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_env_file_of_another_user_is_a_fault(host: Host) -> None:
    """Whoever owns the file can change the key."""
    assert host.settings.env_file is not None
    os.chown(host.settings.env_file, 12345, -1)
    assert "belongs to another user" in host.faults()["env file"]


def test_without_an_env_file_the_line_says_where_it_goes(host: Host) -> None:
    """A key from the environment alone is good for now, but cron has no such environment."""
    host.crontab = crontab.render(PROGRAM, None, None)
    host.settings = replace(host.settings, env_file=None)
    assert host.look()["env file"].ok
    assert "which cron lacks" in host.look()["env file"].text
    host.settings = replace(host.settings, api_key=None)
    assert "none: make " in host.faults()["env file"]
    host.settings = replace(host.settings, env_file=Path("/gone/env"))
    assert "cannot be read (No such file or directory)" in host.faults()["env file"]


def test_no_database_is_a_fault_and_none_is_made(host: Host) -> None:
    """Before the first job there is nothing to be sound, and the check-up makes nothing."""
    shutil.rmtree(host.settings.db.parent)
    assert set(host.faults()) == {"database"}
    assert not host.settings.db.parent.exists()


def test_a_damaged_page_is_found(host: Host) -> None:
    """Damage inside the file is found by SQLite's own check, and a file of another program by its beginning."""
    connection = sqlite3.connect(host.settings.db)
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'markets'").fetchone()[0]
    connection.close()
    with open(host.settings.db, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)
    assert "damaged" in host.faults()["database"]
    host.settings.db.write_text("not a database at all" * 20)
    assert "is no SQLite database" in host.faults()["database"]


def test_a_row_that_points_nowhere_is_found(host: Host) -> None:
    """A foreign key without its row is found, wherever it came from."""
    connection = sqlite3.connect(host.settings.db)
    connection.execute("INSERT INTO whale_tallies (whale_id) VALUES (77)")
    connection.commit()
    connection.close()
    assert "a row of whale_tallies points to none in whales" in host.faults()["database"]


def test_files_that_this_user_cannot_write_are_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that root left behind would fail every job; the line names it and nothing else."""
    db = host.settings.db
    lock = db.with_name(db.name + ".job-whales.lock")
    lock.touch()
    db.with_name(db.name + ".bak").touch()
    # The tests may run as root, whom no mode stops: so the answer of the system is played.
    monkeypatch.setattr(
        os, "access", lambda path, _mode: not str(path).endswith((".job-whales.lock", ".bak"))
    )
    assert host.faults()["rights"] == f"this user cannot write {lock}: chown what is not yours"


def test_a_wal_that_only_grows_and_a_full_disk_are_faults(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that never lets a checkpoint through, and a disk that is almost full, are told before they hurt."""
    monkeypatch.setattr(doctor, "MAX_WAL_BYTES", 10)
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 2**80)
    with open_database(host.settings.db) as db:
        with db.write():
            db.remember("x", 1)
        assert "find it with 'fuser'" in host.faults()["wal"]
        assert host.faults()["disk"].startswith("only ")


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 0), True), ((3, 51, 2), True), ((3, 51, 3), False),
    ],
)  # fmt: skip
def test_sqlite_versions_with_the_wal_reset_fault_are_named(
    host: Host, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], affected: bool
) -> None:
    """The version is always named, and where it has the rare fault the line says what keeps it away."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    finding = host.look()["sqlite"]
    assert finding.ok
    assert finding.text.startswith(".".join(map(str, version)))
    assert ("under one lock" in finding.text) == affected


@pytest.mark.parametrize("text", [None, "", "0 5 * * * /usr/bin/other\n"])
def test_a_host_that_does_not_start_the_jobs_is_told_both_ways(host: Host, text: str | None) -> None:
    """Without lines the finding names the crontab and systemd timers."""
    host.crontab = text
    assert "crontab -'" in host.faults()["cron"]
    assert "systemd timers" in host.faults()["cron"]


@pytest.mark.parametrize(
    ("ages", "ok"),
    [
        ((5, 4, 3, 2, 1), True),
        ((4, 3, 2, 1), False),
        ((1, 1, 1, 1, 1), False),
        ((9, 8, 7, 6, 5), False),
        ((14, 3, 2, 1, 0), False),
    ],
)
def test_jobs_that_run_without_cron_are_seen(host: Host, ages: tuple[int, ...], ok: bool) -> None:
    """Runs minutes apart until just now are started by something; a few tries by hand, or earlier runs, are not."""
    host.crontab = None
    with open_database(host.settings.db) as db:
        for minutes in ages:
            at = NOW - minutes * 60_000
            row, _dead = start_run(db, "whales", at)
            end_run(db, row, status="completed", ended_at=at, items=0, errors=[], error_count=0)
    assert host.look()["cron"].ok == ok


def test_a_missing_line_is_named(host: Host) -> None:
    """Three of four lines are not enough, and the line says which is missing."""
    assert host.crontab is not None
    host.crontab = "".join(line for line in host.crontab.splitlines(True) if "compute-stats" not in line)
    assert host.faults()["cron"] == "no line for compute-stats: take it from 'whalesync crontab'"


def test_lines_for_another_copy_of_the_program_are_a_fault(host: Host) -> None:
    """After a move of the program the old lines would go on starting the old one."""
    host.crontab = crontab.render("/old/whalesync", host.settings.env_file, host.settings.db)
    assert "sync-markets starts another program" in host.faults()["cron"]


def test_lines_for_another_database_are_a_fault(host: Host) -> None:
    """A check-up that looks at one database while cron works on another must not say that all is well."""
    host.crontab = crontab.render(PROGRAM, host.settings.env_file, Path("/other.db"))
    assert (
        f"sets WHALESYNC_DB to /other.db, this check-up looked at {host.settings.db}" in host.faults()["cron"]
    )
    host.crontab = crontab.render(PROGRAM, Path("/gone/env"), host.settings.db)
    host.settings = replace(host.settings, env_file=None)
    assert "sets WHALESYNC_ENV_FILE to /gone/env, this check-up looked at none" in host.faults()["cron"]


def test_a_ping_address_is_checked_and_never_shown(host: Host) -> None:
    """The monitor's address may be a secret: the line names the setting alone."""
    host.settings = replace(host.settings, ping_url="hc-ping.com/very-secret")
    assert host.faults() == {
        "pings": "WHALESYNC_PING_URL is no address such as https://openapi.opinion.trade/openapi"
    }
    host.settings = replace(host.settings, ping_url="https://hc-ping.com/very-secret")
    assert host.look()["pings"] == Finding("pings", True, "on: each run is told to the monitor")
