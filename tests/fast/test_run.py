"""One run of a job: its lock, its row in the sync log, its errors, signals, and how it is dispatched."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.monitor import running_monitor

from whalesync.cli.main import run as run_command
from whalesync.errors import (
    AnotherRunActive,
    ExchangeError,
    Interrupted,
    JobFailed,
    OutOfTime,
    SettingsError,
    StoreError,
    describe,
)
from whalesync.exchanges import EXCHANGES
from whalesync.jobs.dispatch import perform
from whalesync.jobs.run import Clock, Run, fail_if_all, run_job
from whalesync.jobs.table import CLEANUP, SYNC_MARKETS, SYNC_WHALES
from whalesync.settings import Settings
from whalesync.store.database import open_database
from whalesync.store.locks import FileLock
from whalesync.store.sync_log import Streak, failing_streak

NOW = 1_790_000_000_000
DEFAULT = EXCHANGES["opinion_trade"]


@dataclass
class World:
    """A database file, settings, and a clock that stands still unless a test moves it."""

    db: Path
    now: int = NOW
    monotonic: float = 100.0

    @property
    def settings(self) -> Settings:
        return Settings(self.db)

    @contextmanager
    def run(self, steps: list[str] | None = None, settings: Settings | None = None) -> Iterator[Run]:
        clock = Clock(now=lambda: self.now, monotonic=lambda: self.monotonic)
        steps = [] if steps is None else steps
        with run_job(SYNC_WHALES, settings or self.settings, clock=clock, log_step=steps.append) as run:
            yield run

    def fail(self, work: BaseException | Callable[[Run], object]) -> BaseException:
        """Make a run that fails, with this exception or in this work; returns the exception."""
        try:
            with self.run() as run:
                _raise(work) if isinstance(work, BaseException) else work(run)
        except BaseException as exc:  # noqa: BLE001  (an Interrupted is none of Exception)
            return exc
        pytest.fail("the run did not fail")

    def rows(self) -> list[dict[str, Any]]:
        """The sync log, oldest first."""
        with open_database(self.db) as db:
            return [dict(row) for row in db.rows("SELECT * FROM sync_logs ORDER BY id")]

    def last(self, *columns: str) -> tuple[Any, ...]:
        """Columns of the newest row."""
        newest = self.rows()[-1]
        return tuple(newest[column] for column in columns)


def _raise(error: BaseException) -> None:
    raise error


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "whalesync.db")


def test_a_completed_run_is_in_the_log(world: World) -> None:
    """With its items, and as long as it took whatever became of the wall clock; the WAL is empty afterwards."""
    with world.run() as run:
        assert (run.now, world.last("status", "started_at", "ended_at")) == (NOW, ("running", NOW, None))
        run.items = 7
        world.now, world.monotonic = NOW - 10**9, world.monotonic + 12.5
    found = world.last("type", "status", "ended_at", "item_count", "error", "error_count")
    assert found == ("whales", "completed", NOW + 12_500, 7, None, 0)
    wal = world.db.with_name("whalesync.db-wal")
    assert not wal.exists() or wal.stat().st_size == 0


def test_a_problem_of_several_items_is_listed_once(world: World) -> None:
    """Each item counts."""
    with world.run() as run:
        for item, problem in (("A", "no answer"), ("B", "rejected"), ("C", "no answer"), ("D", "no answer")):
            run.record_problem(item, problem)
    found = world.last("status", "error", "error_count")
    assert found == ("completed", "A and 2 more: no answer; B: rejected", 4)


@pytest.mark.parametrize(
    ("problems", "error", "row", "count"),
    [
        ([], MemoryError(), "the limits of the system are too low (not enough memory). See 'ulimit -a'", 1),
        ([], ValueError("nonsense"), "unexpected ValueError: nonsense", 1),
        ([], OutOfTime("no time for the first page"), "no time for the first page", 1),
        ([("A", "no answer")], StoreError("no space left"), "no space left; A: no answer", 2),
        ([("Exchange", "down"), ("A", "down, too")], ExchangeError("down"), "down; A: down, too", 2),
        ([("A", "down"), ("B", "down")], JobFailed("all 2 failed: down"), "all 2 failed: down", 2),
    ],
)
def test_what_ended_a_run_comes_first_in_its_row(
    world: World, problems: list[tuple[str, str]], error: Exception, row: str, count: int
) -> None:
    """Then its other problems; a failure that was recorded as a problem is neither repeated nor counted twice."""

    def work(run: Run) -> None:
        for item, problem in problems:
            run.record_problem(item, problem)
        raise error

    raised = world.fail(work)
    assert raised is error or isinstance(raised, JobFailed)
    assert row.startswith(describe(raised))
    assert world.last("status", "error", "error_count") == ("failed", row, count)


def test_a_run_in_which_all_failed_has_failed(world: World) -> None:
    """The text has the reason; one of several, or nothing tried, is no failure of the run."""
    with world.run() as run:
        fail_if_all(run, 0, 0, "wallets")
        run.record_problem("A", "no answer")
        fail_if_all(run, 1, 2, "wallets")
        with pytest.raises(JobFailed, match=r"^A: no answer$"):
            fail_if_all(run, 1, 1, "wallets")
        with pytest.raises(JobFailed, match=r"^all 5 wallets failed: no answer$"):
            fail_if_all(run, 5, 5, "wallets")


def test_a_second_run_leaves_no_row(world: World) -> None:
    """It does nothing; another job may run."""
    with world.run():
        with pytest.raises(AnotherRunActive, match="another run of sync-whales is active"), world.run():
            pytest.fail("it ran")
        assert len(world.rows()) == 1
        with run_job(SYNC_MARKETS, world.settings):
            pass


def test_the_row_of_a_killed_run_is_closed_by_the_next(world: World) -> None:
    """The lock is free, so nobody is running."""
    with open_database(world.db) as db:
        db.insert(
            "INSERT INTO sync_logs (type, status, started_at) VALUES ('whales', 'running', ?)", (NOW - 9,)
        )
    steps: list[str] = []
    with world.run(steps):
        pass
    dead, new = world.rows()
    assert (dead["status"], dead["error"]) == ("failed", "was killed or the machine went down")
    assert new["status"] == "completed"
    assert steps == ["the previous run was killed or the machine went down; its row is closed"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_once(world: World, signum: signal.Signals) -> None:
    """The row says so; another one does not disturb the end, and afterwards signals do what they did before."""
    before = signal.getsignal(signum)
    cleaned_up = []

    def work(_: Run) -> None:
        try:
            os.kill(os.getpid(), signum)
        finally:
            os.kill(os.getpid(), signum)
            cleaned_up.append(True)

    error = world.fail(work)
    assert isinstance(error, Interrupted) and error.exit_code == 128 + signum
    assert cleaned_up == [True]
    assert world.last("status", "error") == ("failed", f"stopped by {signum.name}")
    assert signal.getsignal(signum) is before


def test_a_row_that_cannot_be_closed_does_not_hide_the_error(world: World) -> None:
    """The next run closes it."""

    def work(run: Run) -> None:
        run.db.close()
        raise JobFailed("first")

    assert str(world.fail(work)) == "first"
    assert world.last("status") == ("running",)
    with world.run():
        pass
    assert [row["status"] for row in world.rows()] == ["failed", "completed"]


def test_a_file_that_cannot_be_used_ends_the_run_before_it_begins(world: World) -> None:
    """And is not touched."""
    world.db.write_text("not a database" * 20)
    with pytest.raises(StoreError, match="is not an SQLite database"), world.run():
        pytest.fail("it ran")
    assert world.db.read_text() == "not a database" * 20


def test_the_deadline_is_the_time_budget_from_the_start(world: World) -> None:
    """The job's own, or the setting; a job without one has none."""
    with world.run() as run:
        assert run.deadline == world.monotonic + 50
    with world.run(settings=Settings(world.db, values={"WHALESYNC_TIME_BUDGET": "7.5"})) as run:
        assert run.deadline == world.monotonic + 7.5
    with run_job(CLEANUP, world.settings) as run:
        assert run.deadline == math.inf


def test_an_exchange_whose_settings_are_wrong_fails_the_run_at_its_end(world: World) -> None:
    """What could be done is done before, and the error is that of the settings, once."""

    def work(run: Run) -> None:
        assert not run.can_ask(DEFAULT)
        run.items = 3

    error = world.fail(work)
    assert isinstance(error, SettingsError) and "OPINION_TRADE_API_KEY is not set" in str(error)
    assert world.last("item_count", "error", "error_count") == (3, str(error), 1)
    with world.run(settings=Settings(world.db, values={"OPINION_TRADE_API_KEY": "key"})) as run:
        assert run.can_ask(DEFAULT)


def test_a_streak_begins_after_the_last_success(world: World) -> None:
    """The second failure in a row is the first that says since when; other errors count like ours."""
    notes = []
    for error in (JobFailed("a"), None, JobFailed("b"), ValueError("c"), Interrupted(signal.SIGTERM)):
        world.now += 60_000
        if error is None:
            with world.run():
                pass
        else:
            world.fail(error)
            notes.append(getattr(error, "__notes__", []))
    since = "2026-09-21 14:16 UTC"
    assert notes == [
        [],
        [],
        [f"failed 2 times in a row, since {since}"],
        [f"failed 3 times in a row, since {since}"],
    ]
    with open_database(world.db) as db:
        assert failing_streak(db, "whales") == Streak(NOW + 180_000, 3)


def test_mail_log_and_status_say_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One text: cron mails it with the streak, the sync log has it, ``status`` shows both."""
    monkeypatch.setenv("WHALESYNC_DB", str(world.db))
    monkeypatch.setenv("WHALESYNC_ENV_FILE", str(world.db.with_name("env")))
    world.db.with_name("env").touch()
    monkeypatch.delenv("OPINION_TRADE_API_KEY", raising=False)
    mails = []
    for _ in range(3):
        assert run_command(["sync-whales"]) == 2
        mails.append(capsys.readouterr().err)
    (text,) = {row["error"] for row in world.rows()}
    assert mails[0] == f"whalesync sync-whales: {text}\n"
    with open_database(world.db) as db:
        since = db.value(
            "SELECT strftime('%Y-%m-%d %H:%M UTC', min(started_at) / 1000, 'unixepoch') FROM sync_logs"
        )
    line = f"{text} (failed 3 times in a row, since {since})"
    assert mails[2] == f"whalesync sync-whales: {line}\n"
    run_command(["status", "--json"])
    job = json.loads(capsys.readouterr().out)["jobs"]["sync-whales"]
    assert (job["error"], job["detail"].partition(": ")[2], job["failures"]) == (text, line, 3)


# Dispatch

JOB = replace(SYNC_WHALES, runner=f"{__name__}:succeed")


def succeed(run: Run) -> None:
    run.summary = "3 new trades"
    run.record_problem("A", "no answer from key-of-the-tests")


def fail(run: Run) -> None:
    raise JobFailed("key-of-the-tests was refused")


def test_the_monitor_is_told_how_a_job_ended(world: World) -> None:
    """With the summary and the problems, or with the failure; without the key."""
    with running_monitor() as monitor:
        values = {"WHALESYNC_PING_URL": monitor.url, "OPINION_TRADE_API_KEY": "key-of-the-tests"}
        settings = Settings(world.db, values=values)
        assert perform(JOB, settings).summary == "3 new trades"
        with pytest.raises(JobFailed):
            perform(replace(JOB, runner=f"{__name__}:fail"), settings)
        with FileLock(world.db, "sync-whales") as lock:
            assert lock.try_acquire()
            with pytest.raises(AnotherRunActive):
                perform(JOB, settings)
    paths, bodies = zip(*((path.partition("?")[0], body) for path, body in monitor.pings), strict=True)
    assert paths == ("/sync-whales/start", "/sync-whales", "/sync-whales/start", "/sync-whales/fail")
    assert bodies == ("", "3 new trades\nA: no answer from ***", "", "*** was refused")
