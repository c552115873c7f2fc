"""The check-up: one line for each thing, good or with what to do, and never a secret."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.postgres import Target
from support.second_exchange import SecondExchange, Server

from whalesync.errors import AuthenticationError, ExchangeError, NotServed, RateLimited, Unreachable
from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.base import Exchange
from whalesync.host import crontab, doctor
from whalesync.host.doctor import GOOD, NOT_CHECKED, WRONG, Finding, Outcome, examine
from whalesync.jobs import publish
from whalesync.jobs.run import run_job
from whalesync.jobs.table import JOBS, PUBLISH
from whalesync.sandbox import Books, Sandbox
from whalesync.settings import Settings
from whalesync.store import trades, whales
from whalesync.store.database import open_database
from whalesync.store.sync_log import end_run, start_run
from whalesync.store.whales import WatchEntry

NOW = 1_700_000_000_000
SECOND, MINUTE = 1_000, 60_000
KEY = "the-secret-key-0123456789"
PROGRAM = ["/opt/whalesync"]
NTP = "Opinion.Trade's: synchronize it with 'sudo timedatectl set-ntp true'"


class Host:
    """A host on which everything is right; tests break one thing and check again."""

    def __init__(self, folder: Path) -> None:
        self.env_file = folder / "env"
        self.env_file.write_text(f"OPINION_TRADE_API_KEY={KEY}\n")
        self.env_file.chmod(0o600)
        self.settings = Settings(folder / "data" / "whale.db", self.env_file, {"OPINION_TRADE_API_KEY": KEY})
        open_database(self.settings.db).close()
        self.crontab: str | None = crontab.render(PROGRAM, self.env_file, self.settings.db)
        self.clock: int | None = NOW
        self.error: Exception | None = None

    @property
    def db(self) -> Path:
        return self.settings.db

    def set(self, **values: str | None) -> None:
        """Change settings; None removes one."""
        changed = {**self.settings.values, **values}
        self.settings = replace(self.settings, values={k: v for k, v in changed.items() if v is not None})

    def probe(self, exchange: Exchange, settings: Settings) -> int | None:
        if self.error is not None:
            raise self.error
        return self.clock

    def all_findings(self) -> list[Finding]:
        findings = examine(self.settings, now=NOW, probe=self.probe, crontab_text=lambda: self.crontab, program=PROGRAM)
        text = "".join(finding.text for finding in findings)
        assert KEY not in text and text.isprintable()
        return findings

    def finding(self, name: str) -> Finding:
        return next(finding for finding in self.all_findings() if finding.name == name)

    def faults(self) -> dict[str, str]:
        return {finding.name: finding.text for finding in self.all_findings() if not finding.ok}


def not_checked_on(host: Host) -> set[str]:
    return {finding.name for finding in host.all_findings() if finding.outcome is NOT_CHECKED}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_in_order_has_no_faults(host: Host) -> None:
    """Each check has its line, in the order of setting up; the files are the same afterwards, byte by byte."""
    before = {file: file.read_bytes() for file in host.db.parent.iterdir()}
    assert host.faults() == {}
    assert [finding.name for finding in host.all_findings()] == [
        "key", "address", "clock", "env file", "database", "watch list", "permissions", "wal", "disk", "sqlite",
        "cron", "alerts", "postgresql", "pings",
    ]  # fmt: skip
    assert {file: file.read_bytes() for file in host.db.parent.iterdir()} == before


def test_a_wallet_without_trades_gets_the_advice_of_its_exchange(host: Host) -> None:
    """It may be a smart wallet; it is no fault, since a new wallet has no trades either."""
    assert host.finding("watch list").text.startswith("empty")
    with open_database(host.db) as db:
        whales.add(db, [WatchEntry(f"0x{number:040x}") for number in (1, 2)], NOW)
        with db.write():
            trades.save_state(db, 1, '{"listed": 5, "accounted": 5}')
            trades.save_state(db, 2, '{"listed": 0, "accounted": 0}')
    text = host.finding("watch list").text
    assert text.startswith("2 wallets; 0x0000…0002: ") and "track its owner instead" in text


@pytest.mark.parametrize(
    ("settings", "faults", "text"),
    [
        ({"OPINION_TRADE_API_KEY": None}, ["key"], "OPINION_TRADE_API_KEY is not set"),
        ({"WHALESYNC_API_URL": "http://a.example"}, ["address"], "WHALESYNC_API_URL must be https"),
    ],
)
def test_with_wrong_settings_no_exchange_is_asked(
    host: Host, settings: dict[str, str | None], faults: list[str], text: str
) -> None:
    """The setting is named; a key is not sent unencrypted to another machine, not even to try it."""
    host.set(**settings)
    host.error = AssertionError("it was asked")
    assert list(host.faults()) == faults and host.faults()[faults[0]].startswith(text)
    assert not_checked_on(host) == {"key", "address", "clock"} - set(faults)


@pytest.mark.parametrize(
    ("error", "faults", "not_checked"),
    [
        (AuthenticationError(f"Opinion.Trade rejected the API key {KEY}"), {"key"}, {"clock"}),
        (NotServed("Opinion.Trade does not serve the country of this host"), {"address"}, {"key", "clock"}),
        (Unreachable("no connection to openapi.opinion.trade"), {"address"}, {"key", "clock"}),
        (ExchangeError("\x1b[2J a response\nof two lines"), {"address"}, {"key", "clock"}),
        (RateLimited("429"), set(), {"key", "clock"}),
    ],
)
def test_what_an_exchange_answers_becomes_a_line(
    host: Host, error: Exception, faults: set[str], not_checked: set[str]
) -> None:
    """A rejected key, no connection and a rate limit are told apart, and what was not checked from what is wrong."""
    host.error = error
    assert (set(host.faults()), not_checked_on(host)) == (faults, not_checked)


@pytest.mark.parametrize(
    ("clock", "outcome", "text"),
    [
        (None, NOT_CHECKED, "Opinion.Trade sends no time"),
        (NOW - 5_900, GOOD, "within 5 s of Opinion.Trade's"),
        (NOW - 30 * SECOND, GOOD, f"29 s ahead of {NTP}"),
        (NOW + 30 * SECOND, GOOD, f"30 s behind {NTP}"),
        (NOW - 70 * SECOND, WRONG, f"69 s ahead of {NTP}"),
        (NOW + 3600 * SECOND, WRONG, f"3600 s behind {NTP}"),
    ],
)
def test_the_clock_is_compared_with_the_exchange(host: Host, clock: int | None, outcome: Outcome, text: str) -> None:
    """5 s are ignored, up to a minute is said, more is a fault; the exchange's time is cut to the second."""
    host.clock = clock
    assert host.finding("clock") == Finding("clock", outcome, text)


def test_each_exchange_with_wallets_is_checked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the jobs ask them, by its own settings. One that needs no key has no line for it, nor needs an env file."""
    monkeypatch.setitem(EXCHANGES, "second", SecondExchange(Server()))
    first = [
        ("key", "Opinion.Trade accepts it"),
        ("address", "Opinion.Trade answers"),
        ("clock", "within 5 s of Opinion.Trade's"),
    ]
    second = [("address", "Second answers"), ("clock", "within 5 s of Second's")]

    def found() -> list[tuple[str, str]]:
        names = ("key", "address", "clock")
        return [(finding.name, finding.text) for finding in host.all_findings() if finding.name in names]

    assert found() == first  # nothing is watched
    address = "0x" + 40 * "b"
    with open_database(host.db) as db:
        whales.add(db, [WatchEntry(address, platform="second")], 1)
    host.settings = replace(host.settings, env_file=None)
    host.crontab = crontab.render(PROGRAM, None, None)
    host.set(OPINION_TRADE_API_KEY=None)
    assert found() == second and host.faults() == {}
    assert host.finding("env file").text == "none: no exchange on the watch list needs a key"
    with open_database(host.db) as db:
        whales.add(db, [WatchEntry(address)], 1)
    host.set(OPINION_TRADE_API_KEY=KEY)
    assert found() == [*first, *second]
    assert host.finding("watch list").text == "2 wallets (1 of Second, 1 of Opinion.Trade)"


def test_the_exchange_is_really_asked(host: Host, books: Books) -> None:
    """By default. No folder is needed, and none is made."""
    shutil.rmtree(host.db.parent)
    with Sandbox(books, key=KEY, rate=None) as sandbox:
        host.set(WHALESYNC_API_URL=sandbox.url)
        findings = examine(host.settings, now=int(books.clock() * 1000), program=PROGRAM)
    assert [finding.ok for finding in findings[:3]] == [True] * 3
    assert not host.db.parent.exists()


def test_an_env_file_that_others_can_use_is_a_fault(host: Host) -> None:
    """By its mode, with the command that corrects it, or by its owner, who can change the key."""
    for mode in (0o640, 0o604):
        host.env_file.chmod(mode)
        assert f"chmod 600 '{host.env_file}'" in host.faults()["env file"]
    if os.geteuid() == 0:  # only root can give files away
        host.env_file.chmod(0o600)
        os.chown(host.env_file, 12345, -1)
        assert host.faults()["env file"].endswith(f"""can change the key: sudo chown "$(id -un)" '{host.env_file}'""")


def test_without_an_env_file_the_line_says_where_it_goes(host: Host) -> None:
    """A key in the environment is good for now, but cron has no such environment."""
    host.crontab = crontab.render(PROGRAM, None, None)
    host.settings = replace(host.settings, env_file=None)
    assert "which cron does not have" in host.finding("env file").text and host.faults() == {}
    host.set(OPINION_TRADE_API_KEY=None)
    assert "none: make one with 'whalesync setup' or (umask 077; mkdir -p '" in host.faults()["env file"]
    host.settings = replace(host.settings, env_file=Path("/gone/env"))
    assert "cannot be read (No such file or directory)" in host.faults()["env file"]


def test_without_a_database_none_is_made(host: Host) -> None:
    """That is the one fault, in the one line that names the folder; what is in a database is not checked."""
    shutil.rmtree(host.db.parent)
    assert set(host.faults()) == {"database"}
    assert [finding.name for finding in host.all_findings() if str(host.db.parent) in finding.text] == ["database"]
    assert not_checked_on(host) == {"watch list", "wal"}
    assert host.finding("permissions").text == "this user can make the folder of the database"
    assert not host.db.parent.exists()


def test_a_damaged_file_is_found(host: Host) -> None:
    """A row that refers to a missing one, and a page, by SQLite's own checks; another program's file by its header."""
    with closing(sqlite3.connect(host.db)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'markets'").fetchone()
        connection.execute("INSERT INTO whale_cursors (whale_id) VALUES (77)")
        connection.commit()
    assert "has a row of whale_cursors that refers to a missing row of whales" in host.faults()["database"]
    with open(host.db, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)
    assert "damaged" in host.faults()["database"]
    host.db.write_text("not a database at all" * 20)
    assert "is not an SQLite database" in host.faults()["database"]
    assert "'whalesync restore FILE --force'" in host.faults()["database"]
    assert host.finding("watch list").outcome is NOT_CHECKED


def test_a_restore_that_was_killed_is_named(host: Host) -> None:
    """With what ends it, until its folder is gone."""
    folder = host.db.with_name(f".{host.db.name}.restoring")
    folder.mkdir()
    assert host.faults() == {"database": f"a restore was interrupted: run it again, or rm -r '{folder}'"}
    folder.rmdir()
    assert host.faults() == {}


def test_files_that_this_user_cannot_write_are_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock files and rates that root left behind would fail every job; other files do not matter."""
    lock, rate, other = (host.db.with_name(host.db.name + end) for end in (".whales.lock", ".rate", ".bak"))
    for file in (lock, rate, other):
        file.touch()
    # The tests may run as root, whom no mode stops: so the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda path, _mode: path not in (lock, rate, other))
    assert host.faults()["permissions"] == f"this user cannot write {rate}, {lock}: chmod u+rwX '{rate}' '{lock}'"
    if os.geteuid() == 0:  # only root can give files away
        os.chown(lock, 12345, -1)
        expected = f"""chmod u+rwX '{rate}'; sudo chown "$(id -un)" '{lock}'"""
        assert host.faults()["permissions"] == f"this user cannot write {rate}, {lock}: {expected}"


def test_a_wal_that_only_grows_and_a_full_disk_are_faults(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that lets no checkpoint succeed, and a disk that is almost full, are reported in time."""
    monkeypatch.setattr(doctor, "MAX_WAL_BYTES", 10)
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 2**80)
    with open_database(host.db) as db:
        with db.write():
            db.remember("x", 1)
        assert f"find it with 'fuser -v '{host.db}''" in host.faults()["wal"]
        assert host.faults()["disk"].startswith("only ")


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 44, 5), True), ((3, 44, 6), False), ((3, 45, 0), True), ((3, 50, 6), True), ((3, 50, 7), False),
        ((3, 51, 0), True), ((3, 51, 2), True), ((3, 51, 3), False),
    ],
)  # fmt: skip
def test_sqlite_versions_with_the_wal_reset_fault_are_named(
    host: Host, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], affected: bool
) -> None:
    """The version is always named, and where it has the rare fault the line says what prevents it."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    finding = host.finding("sqlite")
    assert finding.ok and finding.text.startswith(".".join(map(str, version)))
    assert ("under one lock" in finding.text) == affected


def test_a_host_that_does_not_start_the_jobs_is_told_both_ways(host: Host) -> None:
    """The crontab and systemd timers."""
    for text in (None, "0 5 * * * /usr/bin/other\n"):
        host.crontab = text
        assert "'whalesync setup', or set up systemd timers" in host.faults()["cron"]


def test_jobs_without_a_line_are_named(host: Host) -> None:
    """Lines that are commented out are not called missing: appended again they would be there twice."""
    assert host.crontab is not None
    lines = host.crontab.splitlines()
    host.crontab = "\n".join(line for line in lines if "compute-stats" not in line)
    copy_it = "copy it from 'whalesync crontab' with 'crontab -e'"
    assert host.faults()["cron"] == f"no line for compute-stats: {copy_it}"
    host.crontab = "\n".join(f"#{line}" if "sync-" in line else line for line in lines)
    inactive = "commented out in this user's crontab:"
    remove_it = "remove the '#' with 'crontab -e'"
    assert host.faults()["cron"] == f"{inactive} sync-markets, sync-whales, sync-positions; {remove_it}"
    host.crontab = "\n".join(f"#{line}" for line in lines if "cleanup" not in line)
    expected = f"{inactive} sync-markets, sync-whales, sync-positions, compute-stats; {remove_it}"
    assert host.faults()["cron"] == f"{expected}; no line for cleanup: {copy_it}"


def test_a_line_that_stands_twice_is_a_fault(host: Host) -> None:
    """Also with another program, as after an upgrade; the lines of another database are no doubles of these."""
    assert host.crontab is not None
    host.crontab += crontab.render(PROGRAM, host.env_file, host.db)
    of_all = ", ".join(job.command for job in JOBS)
    assert host.faults()["cron"] == f"more than one line for {of_all}: leave one of each with 'crontab -e'"
    text = crontab.render(PROGRAM, host.env_file, host.db)
    host.crontab = f"* * * * * WHALESYNC_DB={host.db} /old/whalesync sync-whales\n{text}"
    assert "more than one line for sync-whales:" in host.faults()["cron"]
    host.crontab = crontab.render(PROGRAM, host.env_file, Path("/other.db")) + text
    assert host.faults() == {}
    options = [
        f"* * * * * /opt/whalesync {option} sync-whales" for option in ("--db /a.db", "--db=/b.db", "--db /a.db")
    ]
    assert crontab.find_doubles("\n".join(options[:2])) == [] and crontab.find_doubles("\n".join(options)) != []


@pytest.mark.parametrize(
    ("ages", "ok"),
    [((5, 4, 3, 2, 1), True), ((4, 3, 2, 1), False), ((1, 1, 1, 1, 1), False), ((9, 8, 7, 6, 5), False),
     ((14, 3, 2, 1, 0), False)],
)  # fmt: skip
def test_jobs_that_run_without_cron_are_seen(host: Host, ages: tuple[int, ...], ok: bool) -> None:
    """Runs minutes apart until just now are started by something; a few tries by hand, or earlier runs, are not."""
    host.crontab = None
    with open_database(host.db) as db:
        for minutes in ages:
            at = NOW - minutes * MINUTE
            row, _dead = start_run(db, "whales", at)
            end_run(db, row, status="completed", ended_at=at, items=0, errors=[], error_count=0, exchanges={})
    assert host.finding("cron").ok == ok


def test_lines_for_another_program_or_database_are_a_fault(host: Host) -> None:
    """A check-up of one database while cron works on another must not say that everything is right."""
    host.crontab = crontab.render(["/old/whalesync"], host.env_file, host.db)
    assert "sync-markets starts another program" in host.faults()["cron"]
    host.crontab = crontab.render(PROGRAM, host.env_file, Path("/other.db"))
    assert f"sets WHALESYNC_DB to /other.db, but 'whalesync doctor' uses {host.db}" in host.faults()["cron"]
    host.crontab = crontab.render(PROGRAM, Path("/gone/env"), host.db)
    host.settings = replace(host.settings, env_file=None)
    assert "sets WHALESYNC_ENV_FILE to /gone/env, but 'whalesync doctor' uses none" in host.faults()["cron"]


def test_the_ping_address_is_checked_and_never_shown(host: Host) -> None:
    """With the same words as the job has for it."""
    assert host.finding("pings").text.startswith("off; with WHALESYNC_PING_URL set")
    host.set(WHALESYNC_PING_URL="https://a.example/secret")
    assert host.finding("pings") == Finding("pings", GOOD, "on: the monitor is pinged by every run")
    host.set(WHALESYNC_PING_URL="a.example/secret")
    expected = "WHALESYNC_PING_URL must be an address such as https://example.com/path"
    assert host.faults() == {"pings": expected}


def test_the_postgresql_server_is_looked_at(host: Host, target: Target) -> None:
    """Whether it can be written and when this host was last there; nothing is made there."""
    assert host.finding("postgresql").text.startswith("off; with WHALESYNC_PUBLISH_URL set")
    host.set(WHALESYNC_PUBLISH_URL=target.url(), WHALESYNC_SOURCE="here")
    text = host.finding("postgresql").text
    assert "schema not made yet; here: not published yet" in text and host.finding("postgresql").ok
    assert target.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'whalesync'") == []
    with run_job(PUBLISH, host.settings) as run:
        publish.run(run)
    text = host.finding("postgresql").text
    assert "can be written, schema 1; here: published 0." in text


def test_a_postgresql_server_that_cannot_be_used_is_a_fault(host: Host, target: Target) -> None:
    """The line says what to do, and not the password."""
    host.set(WHALESYNC_PUBLISH_URL=target.url(password="a-Wrong_one"), WHALESYNC_SOURCE="here")
    assert "check user and password" in host.faults()["postgresql"]
    assert "a-Wrong_one" not in host.faults()["postgresql"]
    target.server.make_role("guest")
    host.set(WHALESYNC_PUBLISH_URL=target.url(user="guest"))
    assert "publish as its owner" in host.faults()["postgresql"]
    host.set(WHALESYNC_PUBLISH_URL=target.url())
    with run_job(PUBLISH, host.settings) as run:
        publish.run(run)
    host.set(WHALESYNC_PUBLISH_URL=target.url(user="guest"))
    assert "publish as its owner" in host.faults()["postgresql"]
