"""One run of a job: its lock, its row in the sync log, signals, and how it ends.

At most one run of a job at a time; a late one is skipped; a row found open belongs to a run that was killed
and is closed as failed. Whatever happens inside, the row is closed, and the first error is the one that counts.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from whalesync.errors import AnotherRunActive, Interrupted, JobFailed, StoreError, WhalesyncError
from whalesync.records import JOB_TYPES
from whalesync.settings import Settings
from whalesync.store import log
from whalesync.store.database import Database, open_database
from whalesync.store.locks import FileLock

LOCK_PATIENCE = 0.1  # a look by `status` holds the lock for microseconds
BALLAST_BYTES = 4 * 2**20  # dropped when a run fails: enough to close its row where memory has run out
STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Clock:
    """Where the time comes from: the wall clock in milliseconds, and seconds that only go forward."""

    now: Callable[[], int] = lambda: int(time.time() * 1000)
    monotonic: Callable[[], float] = time.monotonic


@dataclass
class Run:
    """A run under way. ``now`` is its start, the only look at the wall clock."""

    db: Database
    settings: Settings
    command: str
    id: int
    now: int
    say: Callable[[str], None]
    progress: Callable[[str], None]
    items: int = 0
    error_count: int = 0
    summary: str = ""
    _errors: dict[str, list[str]] = field(default_factory=dict)

    def note(self, item: str, problem: object) -> None:
        """A part of the work failed, or must be known: it goes into the sync log."""
        self.error_count += 1
        self._errors.setdefault(str(problem), []).append(item)
        self.say(f"{item}: {problem}")

    def errors(self) -> list[str]:
        """The problems, each told once with the items that have it."""
        return [
            f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {problem}"
            for problem, names in self._errors.items()
        ]


@contextmanager
def run_job(
    command: str,
    settings: Settings,
    *,
    clock: Clock | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Run]:
    """Open the file, take the job's lock, and keep its row in the sync log.

    Raises:
        AnotherRunActive: this job is running already; no row is left.
        Interrupted: SIGINT or SIGTERM arrived; the row says so.
        StoreError: the file cannot be used.
    """
    clock = clock or Clock()
    job = JOB_TYPES[command]
    with ExitStack() as stack:
        stack.enter_context(_signals())
        db = stack.enter_context(open_database(settings.db))
        lock = stack.enter_context(FileLock(settings.db, command))
        if not lock.try_acquire(LOCK_PATIENCE):
            raise AnotherRunActive(f"another run of {command} is active; this one did nothing")
        run = Run(db, settings, command, 0, clock.now(), say, progress)
        started = clock.monotonic()
        ballast = bytearray(BALLAST_BYTES)

        def end(status: str, errors: list[str]) -> None:
            # Measured, not read from the wall clock, which may have been set meanwhile.
            ended = run.now + round((clock.monotonic() - started) * 1000)
            # By the job, whose lock we hold, if a signal came before the number of the row was known.
            row = run.id or log.open_row(db, job)
            if row is not None:
                log.end_run(
                    db,
                    row,
                    status=status,
                    ended_at=ended,
                    items=run.items,
                    errors=errors,
                    error_count=run.error_count,
                )

        try:
            run.id, dead = log.start_run(db, job, run.now)
            if dead:
                say("the run before this one was killed; its row is closed")
            yield run
            end("completed", run.errors())
            _deafen()  # a signal that comes before this fails the run, one that comes later finds it done
        except BaseException as exc:
            _deafen()
            ballast.clear()
            run.error_count += 1
            # The first error is the one that counts; the next run closes the row.
            with suppress(StoreError, sqlite3.Error):
                said = describe(exc)
                end("failed", [said, *(error for error in run.errors() if error not in said)])
                _tell_streak(run, exc)
            raise
        with suppress(StoreError):
            db.checkpoint()


def describe(exc: BaseException) -> str:
    """What ended a run, in one line."""
    if isinstance(exc, Interrupted):
        return f"stopped by {signal.Signals(exc.signum).name}"
    if isinstance(exc, WhalesyncError):
        return str(exc)
    if isinstance(exc, MemoryError):
        return "not enough memory"
    return f"unexpected {type(exc).__name__}: {exc}"


def _tell_streak(run: Run, exc: BaseException) -> None:
    """Add to the error since when the job has been failing: the one line that cron mails should say it."""
    if not isinstance(exc, WhalesyncError):
        return
    since, times = log.failing_since(run.db, JOB_TYPES[run.command])
    if times > 1:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(since / 1000))
        exc.args = (f"{exc} (failed {times} times in a row, since {when} UTC)", *exc.args[1:])


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted, once; a second one does not disturb the tidying up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, _: FrameType | None) -> None:
        _deafen()
        raise Interrupted(signum)

    before = {each: signal.getsignal(each) for each in STOPPING}
    try:
        for each in STOPPING:
            signal.signal(each, stop)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _deafen() -> None:
    """From here on the run ends by itself, and soon: SIGINT and SIGTERM do nothing."""
    if threading.current_thread() is threading.main_thread():
        for each in STOPPING:
            # Not SIG_IGN: Python would print a complaint about a signal that has arrived, but not been heard yet.
            signal.signal(each, lambda *_: None)


def fail_if_all(run: Run, failed: int, tried: int, what: str) -> None:
    """A run in which everything failed has failed.

    Raises:
        JobFailed: naming the first reason.
    """
    if tried and failed == tried:
        raise JobFailed(f"all {tried} {what} failed; {run.errors()[0]}" if tried > 1 else run.errors()[0])
