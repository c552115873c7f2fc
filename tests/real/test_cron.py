"""A real cron daemon runs the printed crontab against the simulated exchange, for one to two minutes.

It runs as root in a mount namespace of its own: its spool, its system crontabs, its pid file and its ``sendmail`` are
private folders, so that the host's cron, crontabs and mail are neither seen nor touched. Its time zone is chosen so
that the first minute is a full hour: all four lines come due in a short while.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fills import listed, query, stored

import whalesync
from whalesync.sandbox import Sandbox, build_world
from whalesync.store.database import open_database

CRON = shutil.which("cron", path="/usr/sbin:/usr/bin:/sbin")
NEEDED = ("unshare", "setpriv", "mount", "crontab")
CONTROL = "echo this is mailed"
SOURCES = str(Path(whalesync.__file__).parents[1])

# $1 holds the private folders. The daemon ends with this test, even if the test is killed.
DAEMON = """set -e
mount --bind "$1/sbin" /usr/sbin
mount --bind "$1/crontabs" /var/spool/cron/crontabs
mount --bind "$1/cron.d" /etc/cron.d
mount --bind /dev/null /etc/crontab
mount --bind "$1/run" /run
crontab - <"$1/crontab"
exec setpriv --pdeathsig KILL /usr/sbin/cron -f
"""

SENDMAIL = """#!/bin/sh
cat >>'{mails}'
"""


def why_not() -> str | None:
    """Why no daemon of our own can be started here; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if CRON is None:
        return "needs Debian's cron"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"needs {', '.join(missing)}"
    mount = ["unshare", "-m", "mount", "--bind", "/dev/null", "/etc/crontab"]
    if subprocess.run(mount, check=False).returncode:
        return "needs the right to mount"
    return None


class Clock:
    """The exchange's clock, which can be turned back to a moment that is over."""

    def __init__(self) -> None:
        self.stands_at: float | None = None

    def __call__(self) -> float:
        return time.time() if self.stands_at is None else self.stands_at


def printed(*arguments: str, **environ: str) -> str:
    """Standard output of a command, started as from a shell."""
    command = [sys.executable, "-m", "whalesync", *arguments]
    env = {**os.environ, "PYTHONPATH": SOURCES, **environ}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def cron(crontab: str, folder: Path, full_hour: int) -> Iterator[Path]:
    """A cron daemon with this crontab, for which ``full_hour`` is a full hour; yields where its mail goes."""
    assert CRON is not None
    for name in ("sbin", "crontabs", "cron.d", "run"):
        (folder / name).mkdir(parents=True)
    mails = folder / "mails"
    mails.touch()
    shutil.copy2(CRON, folder / "sbin" / "cron")
    (folder / "sbin" / "sendmail").write_text(SENDMAIL.format(mails=mails))
    (folder / "sbin" / "sendmail").chmod(0o755)
    (folder / "crontab").write_text(crontab)
    environ = {"PATH": "/usr/bin:/bin", "TZ": f"HERE-00:{-(full_hour // 60) % 60:02d}"}
    command = ["unshare", "-m", "/bin/sh", "-c", DAEMON, "sh", str(folder)]
    daemon = subprocess.Popen(command, env=environ, start_new_session=True)
    try:
        yield mails
        assert daemon.poll() is None, "the daemon has ended by itself"
    finally:
        daemon.terminate()
        daemon.wait(timeout=10)


def minutes_of(db: Path, job: str) -> list[int]:
    """The minutes (Unix seconds) in which the job's runs began, oldest first; of runs that are over."""
    sql = "SELECT started_at FROM sync_logs WHERE type = ? AND ended_at > 0 ORDER BY id"
    return [started_at // 60_000 * 60 for (started_at,) in query(db, sql, job)]


@pytest.mark.early
def test_cron_runs_the_printed_crontab(tmp_path: Path) -> None:
    """All four jobs run on time and without a word, and every trade of the exchange is in the database."""
    if reason := why_not():
        pytest.skip(reason)
    clock = Clock()
    books, whales = build_world(7, clock=clock, binary=20, categorical=2, whales=2, days=2, trades_per_day=200)
    if time.time() % 60 > 50:
        time.sleep(60 - time.time() % 60)  # so that the daemon is up before the next minute begins
    first = int(time.time() // 60 + 1) * 60
    minutes = [first, first + 60]
    # One trade for certain between the two runs.
    for whale in whales:
        pattern = books.trades(whale)[0]
        moment = first + 30
        books.add_trade(whale, {**pattern, "txHash": f"0x{moment:064x}", "createdAt": moment}, moment)

    db, env_file = tmp_path / "100% data" / "whale's.db", tmp_path / "env"
    settings = {"WHALESYNC_ENV_FILE": str(env_file), "WHALESYNC_DB": str(db)}
    with Sandbox(books, key="the key of the test") as sandbox:
        env_file.write_text(f"OPINION_TRADE_API_KEY='{sandbox.key}'\nWHALESYNC_API_URL={sandbox.url}\n")
        env_file.chmod(0o600)
        for whale in whales:
            printed("whales", "add", whale, **settings)
        with open_database(db) as made, made.write():
            made.remember("made_at", (first - 2 * 86_400) * 1000)  # old enough for a cleanup to be due
        crontab = printed("crontab", **settings)
        assert sandbox.key not in crontab
        with cron(f"{crontab}\n* * * * * {CONTROL}\n", tmp_path / "cron", full_hour=first) as mails:
            while minutes_of(db, "whales")[-1:] != minutes[-1:] and time.time() < minutes[-1] + 50:
                time.sleep(0.5)

    assert minutes_of(db, "whales") == minutes
    for job in ("markets", "stats", "cleanup"):
        assert minutes_of(db, job) == [first], job
    assert query(db, "SELECT DISTINCT status, error FROM sync_logs") == [("completed", None)]

    subjects = [line for line in mails.read_text().splitlines() if line.startswith("Subject:")]
    assert subjects, "not even the line that is there to be mailed was mailed"
    assert [subject for subject in subjects if not subject.endswith(CONTROL)] == []

    ((last,),) = query(db, "SELECT max(started_at) FROM sync_logs WHERE type = 'whales'")
    for whale in whales:
        clock.stands_at = None
        assert stored(db, whale) <= listed(books.trades(whale))
        clock.stands_at = last / 1000
        assert listed(books.trades(whale)) <= stored(db, whale)
        assert f"0x{first + 30:064x}" in {fill.tx_hash for fill in stored(db, whale)}
    assert sandbox.busiest_second() <= 15
