"""One run of a job: its lock, its row in the sync log, its errors, and how it is dispatched."""

from __future__ import annotations

import json
import math
import signal
import time
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
    StoreError,
    describe,
)
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.jobs.dispatch import perform
from whalesync.jobs.exchanges import all_failed
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import CLEANUP, SYNC_WHALES
from whalesync.settings import Settings
from whalesync.store.database import open_database
from whalesync.store.locks import FileLock

NOW = 1_790_000_000_000
ALL_FAILED = "all 2 wallets failed, the first was A: down"


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

    def fail(self, error: BaseException | None = None, work: Callable[[Run], object] = id) -> BaseException:
        """Make a run that fails, with this exception or in this work; returns the exception."""
        with pytest.raises(BaseException) as caught, self.run() as run:  # noqa: PT011, PT012  (any failure of either)
            work(run)
            if error is not None:
                raise error
        return caught.value

    def rows(self) -> list[dict[str, Any]]:
        """The sync log, oldest first."""
        with open_database(self.db) as db:
            return [dict(row) for row in db.rows("SELECT * FROM sync_logs ORDER BY id")]

    def last(self, *columns: str) -> tuple[Any, ...]:
        """Columns of the newest row."""
        newest = self.rows()[-1]
        return tuple(newest[column] for column in columns)


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
        ([("A", "down"), ("B", "down")], JobFailed(ALL_FAILED), ALL_FAILED, 2),
    ],
)
def test_what_ended_a_run_comes_first_in_its_row(
    world: World, problems: list[tuple[str, str]], error: Exception, row: str, count: int
) -> None:
    """Then its other problems; a failure that was recorded as a problem is neither repeated nor counted twice."""

    def work(run: Run) -> None:
        for item, problem in problems:
            run.record_problem(item, problem)

    raised = world.fail(error, work)
    assert raised is error or isinstance(raised, JobFailed)
    assert row.startswith(describe(raised))
    assert world.last("status", "error", "error_count") == ("failed", row, count)


def test_a_part_in_which_all_failed_has_failed() -> None:
    """The text has the reason; one of several, or nothing tried, is no failure."""
    assert all_failed(OPINION_TRADE, 0, 0, "") is None
    assert all_failed(OPINION_TRADE, 1, 2, "A: no answer") is None
    assert str(all_failed(OPINION_TRADE, 1, 1, "A: no answer")) == "A: no answer"
    several = "all 5 wallets of Opinion.Trade failed, the first was A: no answer"
    assert str(all_failed(OPINION_TRADE, 5, 5, "A: no answer")) == several


def test_a_row_that_was_not_closed_is_closed_by_the_next_run(world: World) -> None:
    """The lock is free, so nobody is running. That the row could not be closed does not hide the error."""
    assert str(world.fail(JobFailed("first"), lambda run: run.db.close())) == "first"
    assert world.last("status") == ("running",)
    steps: list[str] = []
    with world.run(steps):
        pass
    dead, new = world.rows()
    assert (dead["status"], dead["error"]) == ("failed", "was killed or the machine went down")
    assert new["status"] == "completed"
    assert steps == ["the previous run was killed or the machine went down; its row is closed"]


def test_the_deadline_is_the_time_budget_from_the_start(world: World) -> None:
    """The job's own, or the setting; a job without one has none."""
    with world.run() as run:
        assert run.deadline == world.monotonic + 50
    with world.run(settings=Settings(world.db, values={"WHALESYNC_TIME_BUDGET": "7.5"})) as run:
        assert run.deadline == world.monotonic + 7.5
    with run_job(CLEANUP, world.settings) as run:
        assert run.deadline == math.inf


def test_a_streak_begins_after_the_last_success(world: World) -> None:
    """The second failure in a row is the first that says since when; other errors count like ours."""
    notes = []
    world.fail(JobFailed("a"))
    with world.run():
        pass
    for error in (JobFailed("b"), ValueError("c"), Interrupted(signal.SIGTERM)):
        world.now += 60_000
        notes.append(getattr(world.fail(error), "__notes__", []))
    since = "2026-09-21 14:14 UTC"
    assert notes == [
        [],
        [f"failed 2 times in a row, since {since}"],
        [f"failed 3 times in a row, since {since}"],
    ]


def test_mail_log_and_status_say_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One text: cron mails it with the streak, the sync log has it, ``status`` shows both."""
    monkeypatch.setenv("WHALESYNC_DB", str(world.db))
    monkeypatch.setenv("WHALESYNC_ENV_FILE", str(world.db.with_name("env")))
    world.db.with_name("env").touch()
    monkeypatch.delenv("OPINION_TRADE_API_KEY", raising=False)
    mails = []
    for _ in range(2):
        assert run_command(["sync-whales"]) == 2
        mails.append(capsys.readouterr().err)
    first, second = world.rows()
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(first["started_at"] / 1000))
    line = f"{first['error']} (failed 2 times in a row, since {since})"
    assert first["error"] == second["error"]
    assert mails == [f"whalesync sync-whales: {text}\n" for text in (first["error"], line)]
    run_command(["status", "--json"])
    job = json.loads(capsys.readouterr().out)["jobs"]["sync-whales"]
    assert (job["error"], job["detail"].partition(": ")[2], job["failures"]) == (first["error"], line, 2)


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
    start = ("/sync-whales/start", "")
    success = ("/sync-whales", "3 new trades\nA: no answer from ***")
    assert monitor.pings == [start, success, start, ("/sync-whales/fail", "*** was refused")]
