"""One run of a job: its lock, its row in the sync log, signals, and how it ends.

At most one run of a job at a time; a late one is skipped; a row found open belongs to a run that was killed
and is closed as failed. Whatever happens inside, the row is closed, and the first error is the one that counts.
"""

from __future__ import annotations

import math
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING

from whalesync.errors import (
    AnotherRunActive,
    Interrupted,
    JobFailed,
    OutOfTime,
    SettingsError,
    StoreError,
    WhalesyncError,
    describe,
)
from whalesync.jobs.health import failing_streak, failing_words
from whalesync.jobs.table import SECOND, LoggedCommand
from whalesync.settings import TIME_BUDGET, Settings
from whalesync.store import sync_log
from whalesync.store.database import Database, open_database
from whalesync.store.locks import FileLock

if TYPE_CHECKING:
    from whalesync.exchanges.base import Exchange  # a job that asks no exchange does not load it

LOCK_PATIENCE = 0.1  # status holds the lock for microseconds when it asks who does
STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Clock:
    """Where the time comes from: the wall clock in milliseconds, and seconds that only go forward."""

    now: Callable[[], int] = lambda: int(time.time() * 1000)
    monotonic: Callable[[], float] = time.monotonic


@dataclass
class Run:
    """A run under way.

    ``now`` is its start (ms). ``deadline``: monotonic seconds at which the time budget ends; infinite without one.
    """

    db: Database
    settings: Settings
    job: LoggedCommand
    id: int
    now: int
    clock: Clock
    deadline: float
    log_step: Callable[[str], None]
    report_progress: Callable[[str], None]
    items: int = 0
    error_count: int = 0
    summary: str = ""
    _failures: list[str] = field(default_factory=list)
    _exchanges: dict[str, WhalesyncError | None] = field(default_factory=dict)
    _problems: dict[str, list[str]] = field(default_factory=dict)

    def record_problem(self, item: str, problem: object) -> None:
        """Record in the sync log that a part of the work failed, or something else that must be known."""
        self.error_count += 1
        self._problems.setdefault(str(problem), []).append(item)
        self.log_step(f"{item}: {problem}")

    def record_failure(self, failure: str) -> None:
        """Record why the whole run failed, once. A recorded problem with which this text ends is the same failure."""
        if failure in self._failures:
            return
        same = [each for each in self._problems if failure == each or failure.endswith(f": {each}")]
        for problem in same:
            del self._problems[problem]
        self.error_count += not same
        self._failures.append(failure)

    def errors(self) -> list[str]:
        """Return why the run failed, if it did; then each other problem once, with the items that have it."""
        problems = [
            f"{items[0]}{f' and {len(items) - 1} more' if len(items) > 1 else ''}: {problem}"
            for problem, items in self._problems.items()
        ]
        return [*self._failures, *problems]

    def can_ask(self, exchange: Exchange) -> bool:
        """Return whether an exchange can be asked with these settings; the log of the run says how it went with it."""
        self._exchanges[exchange.name] = None
        try:
            exchange.check_settings(self.settings)
        except SettingsError as exc:
            self.record_nothing_done(exchange, exc)
            return False
        return True

    def record_nothing_done(self, exchange: Exchange, why: WhalesyncError | OutOfTime) -> None:
        """Record that nothing could be done for an exchange. The run goes on with the others, and fails at its end."""
        failure = why if isinstance(why, WhalesyncError) else _nothing_in_time(why, exchange.title)
        if self._exchanges.get(exchange.name) is not None:
            return  # the first one counts
        self._exchanges[exchange.name] = failure
        self.record_failure(str(failure))
        self.log_step(str(failure))

    def failures(self) -> dict[str, WhalesyncError]:
        """Return why nothing could be done for an exchange, by its name."""
        return {name: failure for name, failure in self._exchanges.items() if failure is not None}

    def outcomes(self, failure: str | None) -> dict[str, str | None]:
        """Return how each exchange went: None, or why nothing is known to be done for it.

        ``failure``: why the whole run failed, if it did; that is so for all that did not fail by themselves before.
        """
        return {name: str(own) if own else failure for name, own in self._exchanges.items()}


@contextmanager
def run_job(
    job: LoggedCommand,
    settings: Settings,
    *,
    clock: Clock | None = None,
    log_step: Callable[[str], None] = lambda _: None,
    report_progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Run]:
    """Open the file, take the job's lock, and keep its row in the sync log. For the main thread: it handles signals.

    Raises:
        WhalesyncError: nothing could be done for an exchange; the first such failure.
        JobFailed: OutOfTime left the work: nothing could be done in the time budget.
        AnotherRunActive: this job is running already; no row is left.
        Interrupted: SIGINT or SIGTERM arrived; the row says so.
        StoreError: the file cannot be used.
    """
    clock = clock or Clock()
    with ExitStack() as stack:
        stack.enter_context(_signals())
        db = stack.enter_context(open_database(settings.db))
        lock = stack.enter_context(FileLock(settings.db, job.command))
        if not lock.try_acquire(LOCK_PATIENCE):
            raise AnotherRunActive(f"another run of {job.command} is active; this one did nothing")
        db.reopen_if_replaced()  # by a restore that ended between the two
        started = clock.monotonic()
        budget = math.inf if job.budget is None else settings.get(TIME_BUDGET) or job.budget / SECOND
        run = Run(db, settings, job, 0, clock.now(), clock, started + budget, log_step, report_progress)

        def end(status: str, failure: str | None = None) -> None:
            # Measured, not read from the wall clock, which may have been set meanwhile.
            ended = run.now + round((clock.monotonic() - started) * 1000)
            # By the job, whose lock we hold, if a signal came before the number of the row was known.
            row = run.id or sync_log.open_row(db, job.type)
            if row is not None:
                sync_log.end_run(
                    db, row, status=status, ended_at=ended, items=run.items, errors=run.errors(),
                    error_count=run.error_count, exchanges=run.outcomes(failure),
                )  # fmt: skip

        try:
            run.id, dead = sync_log.start_run(db, job.type, run.now)
            if dead:
                log_step(f"the previous run {sync_log.DEAD_RUN}; its row is closed")
            try:
                yield run
            except OutOfTime as exc:
                raise _nothing_in_time(exc) from exc
            for failure in run.failures().values():
                raise failure
            end("completed")
            _ignore_signals()  # one that comes before this fails the run, one that comes later finds it done
        except BaseException as exc:
            _ignore_signals()
            # The first error is the one that counts; a row that cannot be closed is closed by the next run.
            with suppress(StoreError, sqlite3.Error, MemoryError):
                run.record_failure(describe(exc))
                own = next((name for name, failure in run.failures().items() if failure is exc), None)
                end("failed", None if own else describe(exc))
                runs = map(dict, sync_log.runs_since_success(db, job.type))
                if words := failing_words(failing_streak(runs, own)):
                    exc.add_note(words)
            for failure in run.failures().values():
                if failure is not exc:
                    exc.add_note(f"also: {failure}")
            raise
        with suppress(StoreError):
            db.checkpoint()


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise Interrupted, once; a second one does not disturb the end of the run."""

    def stop(signum: int, _: FrameType | None) -> None:
        _ignore_signals()
        raise Interrupted(signum)

    before = {each: signal.getsignal(each) for each in STOPPING}
    try:
        for each in STOPPING:
            signal.signal(each, stop)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM: from here on the run ends by itself, and soon."""
    for each in STOPPING:
        # Not SIG_IGN: Python would print a complaint about a signal that has arrived, but was not handled yet.
        signal.signal(each, lambda *_: None)


def _nothing_in_time(exc: OutOfTime, title: str = "") -> JobFailed:
    """Return the failure of a run, or of its part for the exchange of this title, that had no time for anything."""
    return JobFailed(str(exc) or f"{title and title + ': '}the time budget ended before anything was done")
