"""Whether each job is healthy: derived from stored facts at one moment, never stored itself.

What counts as late, and the one place where it is decided:

============= ================= ============== ==============================================================
job           due               a run may take late when
============= ================= ============== ==============================================================
sync-markets  every 5 min       240 s (budget) no success ended within 3 intervals and a run: 19 min
sync-whales   every minute      50 s (budget)  no success ended within 3 intervals and a run: 3 min 50 s
compute-stats every hour        10 min         no success ended within 3 intervals and a run: 3 h 10 min
cleanup       daily, 03:00 UTC  2 h            2 h after a 03:00 UTC since which no successful run started
============= ================= ============== ==============================================================

The time budget is a setting; a larger one makes a job late later. For a job that never ran, the moment when
the file was made stands in for the last success: a job that nobody has scheduled shows up too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whalesync.settings import TIME_BUDGETS
from whalesync.views.text import DAY, HOUR, MINUTE, SECOND, ago, counted, duration, iso

CLEANUP_HOUR = 3  # UTC

CLOCK_TOLERANCE = MINUTE  # what a clock may be put back by without being called faulty

# The states of a job. SLOW and RUNNING are no faults; LATE wins over both.
NEVER_RAN = "never ran"
GOOD = "good"
RUNNING = "running"
SLOW = "slow"
LATE = "late"
FAILING = "failing"
DIED = "died"
CLOCK_FAULT = "clock fault"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as a clock sees it: ``name`` is its command, ``type`` its name in the sync log. Times in ms."""

    name: str
    type: str
    interval: int
    run: int
    daily: bool = False

    def due_after(self, moment: int) -> int:
        """When the job is due, had it last been done at ``moment``."""
        return last_cleanup_time(moment) + DAY if self.daily else moment + self.interval

    def late_after(self, moment: int, run: int) -> int:
        """When the job counts as late, had it last been done at ``moment``; a run may take ``run`` ms."""
        return self.due_after(moment) + run + (0 if self.daily else 2 * self.interval)


JOBS = (
    Job("sync-markets", "markets", 5 * MINUTE, int(TIME_BUDGETS["sync-markets"] * SECOND)),
    Job("sync-whales", "whales", MINUTE, int(TIME_BUDGETS["sync-whales"] * SECOND)),
    Job("compute-stats", "stats", HOUR, 10 * MINUTE),
    Job("cleanup", "cleanup", DAY, 2 * HOUR, daily=True),
)


@dataclass(frozen=True, slots=True)
class JobHealth:
    """How one job stands. ``detail`` is a sentence; it may quote an error, so it is text from outside.

    ``last_duration``, ``items``, ``error``, ``error_count`` and ``last_run_ok`` speak of the newest run that
    ended, or died; ``failures`` counts the runs that failed since the last success, the first of them started at
    ``failing_since``. Times and durations in ms, None where there is none.
    """

    job: str
    state: str
    ok: bool
    detail: str
    last_success_at: int | None = None
    last_started_at: int | None = None
    last_duration: int | None = None
    last_run_ok: bool | None = None
    items: int | None = None
    error: str | None = None
    error_count: int = 0
    failures: int = 0
    failing_since: int | None = None
    running_since: int | None = None
    next_due_at: int | None = None


def last_cleanup_time(now: int) -> int:
    """The most recent 03:00 UTC at or before ``now``."""
    hour = CLEANUP_HOUR * HOUR
    return (now - hour) // DAY * DAY + hour


def cleanup_due(now: int, last_started: int | None, made_at: int = 0) -> bool:
    """Whether a cleanup is due: the most recent 03:00 UTC is later than the start of the last completed one.

    A file that was never cleaned is due from its first 03:00 on: ``made_at`` stands in for the last start. A last
    start in the future was written by a clock that ran ahead; it must not put cleanups off until then.
    """
    last = made_at if last_started is None else last_started
    return last > now or last_cleanup_time(now) > last


def overall_ok(healths: Iterable[JobHealth]) -> bool:
    """Whether every job is well, for ``--check``."""
    return all(health.ok for health in healths)


def job_health(
    job: Job,
    runs: Sequence[Mapping[str, Any]],
    *,
    held: bool,
    made_at: int,
    now: int,
    time_budget: float | None = None,
) -> JobHealth:
    """Judge one job.

    Args:
        runs: its rows of ``sync_logs``, newest first, back to its last completed run or its first one.
        held: whether a process holds the job's lock; it matters only while the newest row says ``running``.
        made_at: when the database file was made.
        time_budget: seconds, if set by the user; it counts for the jobs that have one.
    """
    run = int(time_budget * SECOND) if time_budget and job.name in TIME_BUDGETS else job.run
    facts = _Facts.of(runs, held)
    state, ok, detail = _verdict(job, facts, made_at, now, run)
    ended = facts.ended
    done = facts.success if job.daily else facts.newest
    return JobHealth(
        job=job.name,
        state=state,
        ok=ok,
        detail=detail,
        last_success_at=facts.success["ended_at"] if facts.success else None,
        last_started_at=facts.newest["started_at"] if facts.newest else None,
        last_duration=_took(ended) if ended else None,
        last_run_ok=False if facts.died else ended["status"] == "completed" if ended else None,
        items=ended["item_count"] if ended else None,
        error=ended["error"] if ended else None,
        error_count=ended["error_count"] if ended else 0,
        failures=len(facts.failures),
        failing_since=facts.failures[-1]["started_at"] if facts.failures else None,
        running_since=facts.running["started_at"] if facts.running else None,
        next_due_at=job.due_after(done["started_at"] if done else made_at),
    )


_Verdict = tuple[str, bool, str]


@dataclass(frozen=True, slots=True)
class _Facts:
    """The rows that matter, by what they are."""

    newest: Mapping[str, Any] | None
    running: Mapping[str, Any] | None
    died: Mapping[str, Any] | None
    ended: Mapping[str, Any] | None
    success: Mapping[str, Any] | None
    failures: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, runs: Sequence[Mapping[str, Any]], held: bool) -> _Facts:
        newest = runs[0] if runs else None
        unfinished = newest if newest and newest["status"] == "running" else None
        closed = [run for run in runs if run["status"] != "running"]
        successes = [position for position, run in enumerate(closed) if run["status"] == "completed"]
        failures = closed[: successes[0]] if successes else closed
        died = None if held else unfinished
        return cls(
            newest=newest,
            running=unfinished if held else None,
            died=died,
            ended=closed[0] if closed else None,
            success=closed[successes[0]] if successes else None,
            failures=[died, *failures] if died else failures,
        )


def _verdict(job: Job, facts: _Facts, made_at: int, now: int, run: int) -> _Verdict:
    """State, whether it is well, and why; the first that fits."""
    if future := _future(facts, made_at, now):
        return (
            CLOCK_FAULT,
            False,
            f"its last trace is dated {iso(future)}, in the future: the clock was changed, so nobody can tell "
            "whether it is late; check the clock; its next good run clears this",
        )
    if facts.died:
        return (
            DIED,
            False,
            f"the run that started {ago(facts.died['started_at'], now)} ended without a word: it was killed, or the "
            "machine went down; the next run catches up",
        )
    if facts.failures:
        return FAILING, False, _failing(facts.failures, now)
    if facts.running:
        return _under_way(job, facts.running, facts.success, now, run)
    if facts.success:
        return _at_rest(job, facts.success, now, run)
    due = job.due_after(made_at)
    if now > job.late_after(made_at, run):
        return (
            NEVER_RAN,
            False,
            f"has never run, although it was due {ago(due, now)}: install the lines of 'whalesync crontab'",
        )
    return NEVER_RAN, True, f"has not run yet; due {ago(due, now) if due > now else 'now'}"


def _failing(failures: Sequence[Mapping[str, Any]], now: int) -> str:
    since = failures[-1]["started_at"]
    why = failures[0]["error"] or "no reason was noted"
    if len(failures) == 1:
        return f"failed {ago(since, now)}: {why}"
    return f"failed {len(failures)} times in a row since {iso(since)} ({ago(since, now)}): {why}"


def _under_way(
    job: Job, running: Mapping[str, Any], success: Mapping[str, Any] | None, now: int, run: int
) -> _Verdict:
    detail = f"running for {duration(max(0, now - running['started_at']))}"
    # A first run is measured from its own start: there is no success yet that it could be late after.
    done = _done_at(job, success) if success else running["started_at"]
    if now > job.late_after(done, run):
        return LATE, False, f"{detail}, and the last success was {ago(done, now) if success else 'never'}"
    if now - running["started_at"] > job.interval:
        return SLOW, True, f"{detail}, longer than {duration(job.interval)}: runs due meanwhile are skipped"
    return RUNNING, True, detail


def _at_rest(job: Job, success: Mapping[str, Any], now: int, run: int) -> _Verdict:
    done = _done_at(job, success)
    detail = f"last success {ago(success['ended_at'], now)}"
    if now > job.late_after(done, run):
        return LATE, False, f"{detail}, was due {ago(job.due_after(done), now)}: is cron running?"
    if success["error_count"]:
        detail += f", but {counted(success['error_count'], 'part')} of it failed: {success['error']}"
    took = _took(success)
    if took > job.interval:
        detail += (
            f"; took {duration(took)}, longer than {duration(job.interval)}: runs due meanwhile were skipped"
        )
        return SLOW, True, detail
    return GOOD, True, detail


def _done_at(job: Job, success: Mapping[str, Any]) -> int:
    """The moment that counts: a daily job is done for the day on which it started."""
    moment: int = success["started_at"] if job.daily else success["ended_at"]
    return moment


def _future(facts: _Facts, made_at: int, now: int) -> int | None:
    """The latest moment in the future that the verdict would have to lean on, if there is one."""
    moments = [made_at] if facts.newest is None else []
    for row in (facts.newest, facts.success):
        if row:
            moments += [row["started_at"], row["ended_at"] or 0]
    latest = max(moments)
    return latest if latest > now + CLOCK_TOLERANCE else None


def _took(run: Mapping[str, Any]) -> int:
    """How long a run that ended took; never less than nothing, whatever happened to the clock."""
    took: int = run["ended_at"] - run["started_at"]
    return max(0, took)
