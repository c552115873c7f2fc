"""Whether each job is healthy: derived from stored facts at one moment, never stored itself.

A job is late when no run of it has succeeded for three intervals and a run, counted from the end of the last success.
A job that is due once a day is late when none has started since it was due, a run's time ago. How long a run may take
is the job's time budget, which is a setting, or ``Job.may_take``: sync-markets is late after 19 min, sync-whales after
3 min 50 s, compute-stats after 3 h 10 min, and cleanup at 05:00 UTC. For a job that never ran, the moment when the file
was made stands in for the last success, so that a job that nobody has scheduled shows up too.

A job that asks several exchanges is judged for each of them, too, by the same rules: what counts as a success of a run
there is that it did its part for the exchange.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from whalesync.jobs.table import CLEANUP, DAY, HOUR, MINUTE, SECOND, Job
from whalesync.store.sync_log import DEAD_RUN
from whalesync.text import ago, counted, duration, iso

CLOCK_TOLERANCE = MINUTE  # a clock may be put back by this much without being called faulty

Row = Mapping[str, Any]


class State(StrEnum):
    """The states of a job. SLOW and RUNNING are healthy; LATE wins over both."""

    NEVER_RAN = "never ran"
    GOOD = "good"
    RUNNING = "running"
    SLOW = "slow"
    LATE = "late"
    FAILING = "failing"
    DIED = "died"
    CLOCK_FAULT = "clock fault"


@dataclass(frozen=True, slots=True)
class JobHealth:
    """The health of one job. ``detail`` is a sentence without its subject; it may quote an error from outside.

    ``last_duration``, ``items``, ``error``, ``error_count`` and ``last_run_ok`` are those of the newest run that ended;
    ``last_run_ok`` is False if a newer one died. ``failures`` counts the runs that failed or died since the last
    success, the first of them started at ``failing_since``. Times and durations in ms, None where there is none.
    ``exchanges``: by name, the health of its part for each exchange that the newest run asked, without ``items``.
    """

    job: str
    state: State
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
    exchanges: Mapping[str, JobHealth] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether it is not the same for all exchanges."""
        return len({(each.state, each.failures) for each in self.exchanges.values()}) > 1


@dataclass(frozen=True, slots=True)
class Streak:
    """Failed runs in a row up to now: when the first of them started (ms), and how many they are."""

    since: int
    count: int


def failing_streak(runs: Iterable[Row], exchange: str | None = None) -> Streak:
    """Return the failed runs of a job since its last completed one; with ``exchange``, of its part for that."""
    starts = []
    for run in runs if exchange is None else _part_of(exchange, runs):
        if run["status"] == "completed":
            break
        if run["status"] == "failed":
            starts.append(run["started_at"])
    return Streak(min(starts, default=0), len(starts))


def failing_words(streak: Streak) -> str:
    """Return since when a job has been failing; nothing for a first failure."""
    if streak.count < 2:
        return ""
    since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(streak.since / SECOND))
    return f"failed {streak.count} times in a row, since {since} UTC"


def cleanup_due(now: int, last_started: int | None, made_at: int = 0) -> bool:
    """Return whether a cleanup is due: its hour has come since the last completed one started (ms).

    A file that was never cleaned is due from its first hour on: ``made_at`` stands in for the last start. A last start
    in the future was written by a clock that ran ahead; it must not postpone cleanups until then.
    """
    last = made_at if last_started is None else last_started
    return last > now or now >= _due_after(CLEANUP, last)


def overall_ok(healths: Iterable[JobHealth]) -> bool:
    """Return whether every job is healthy, for ``--check``."""
    return all(health.ok for health in healths)


def job_health(
    job: Job,
    runs: Sequence[Row],
    *,
    held: bool,
    made_at: int,
    now: int,
    time_budget: float | None = None,
    title_of: Callable[[str], str] = str,
) -> JobHealth:
    """Judge one job, and its part for each exchange.

    Args:
        runs: its rows of ``sync_logs``, newest first: the newest, the last completed one, and what is between them.
        held: whether a process holds the job's lock; it matters only while the newest row says ``running``.
        made_at: when the database file was made.
        time_budget: seconds, if set by the user; it counts for the jobs that have one.
        title_of: returns what an exchange is called.
    """
    may_take = _may_take(job, time_budget)
    asked = next((outcomes for run in runs if (outcomes := _outcomes(run)) is not None), {})
    exchanges = {
        name: replace(_judge(job, list(_part_of(name, runs)), held, made_at, now, may_take), items=None)
        for name in asked
    }
    health = replace(_judge(job, runs, held, made_at, now, may_take), exchanges=exchanges)
    if not health.differs:
        return health
    parts = [
        f"for {title_of(name)}: {'good, ' if part.state is State.GOOD else ''}{part.detail.removesuffix('.')}"
        for name, part in sorted(exchanges.items(), key=lambda item: item[1].ok)
    ]
    return replace(health, ok=health.ok and overall_ok(exchanges.values()), detail="; ".join(parts))


def _outcomes(run: Row) -> Mapping[str, str | None] | None:
    """Return how each exchange went in a run: None, or why nothing could be done for it. None if that is not known."""
    return None if run["exchanges"] is None else _parsed(run["exchanges"])


@lru_cache(maxsize=16)  # thousands of failed runs in a row say the same
def _parsed(text: str) -> Mapping[str, str | None]:
    outcomes: Mapping[str, str | None] = json.loads(text)
    return outcomes


def _part_of(exchange: str, runs: Iterable[Row]) -> Iterator[Row]:
    """Yield the runs as they were for one exchange, without those that did not ask it.

    One that does not say how its exchanges went (under way, killed, or of an older version) is the same for all.
    """
    for run in runs:
        outcomes = _outcomes(run)
        if outcomes is None:
            yield run
        elif exchange in outcomes:
            why = outcomes[exchange]
            status = "completed" if why is None else "failed"
            yield {**run, "status": status, "error": why, "error_count": int(why is not None)}


def _judge(job: Job, runs: Sequence[Row], held: bool, made_at: int, now: int, may_take: int) -> JobHealth:
    newest = runs[0] if runs else None
    unfinished = newest if newest and newest["status"] == "running" else None
    running, died = (unfinished, None) if held else (None, unfinished)
    ended = next((run for run in runs if run["status"] != "running"), None)
    success = next((run for run in runs if run["status"] == "completed"), None)
    streak = failing_streak(runs)
    if died:
        streak = Streak(streak.since if streak.count else died["started_at"], streak.count + 1)
    words = f" ({words})" if (words := failing_words(streak)) else ""
    if future := _future([newest, success], made_at, now):
        state, ok = State.CLOCK_FAULT, False
        detail = (
            f"the latest record is dated {iso(future)}, in the future, so the clock was changed and lateness is "
            "unknown. Check the clock; the next successful run clears this."
        )
    elif died:
        state, ok = State.DIED, False
        when = ago(died["started_at"], now)
        detail = f"the run that started {when} {DEAD_RUN}{words}. The next run catches up."
    elif streak.count and ended:
        state, ok = State.FAILING, False
        why = ended["error"] or "no reason was recorded"
        detail = f"failed {ago(ended['started_at'], now)}: {why}{words}"
    elif running:
        state, ok, detail = _judge_running(job, running, success, now, may_take)
    elif success:
        state, ok, detail = _judge_idle(job, success, now, may_take)
    else:
        state, ok, detail = _judge_new(job, made_at, now, may_take)
    done = success if job.daily_at is not None else newest
    return JobHealth(
        job=job.command,
        state=state,
        ok=ok,
        detail=detail,
        last_success_at=success["ended_at"] if success else None,
        last_started_at=newest["started_at"] if newest else None,
        last_duration=_took(ended) if ended else None,
        last_run_ok=False if died else ended["status"] == "completed" if ended else None,
        items=ended["item_count"] if ended else None,
        error=ended["error"] if ended else None,
        error_count=ended["error_count"] if ended else 0,
        failures=streak.count,
        failing_since=streak.since if streak.count else None,
        running_since=running["started_at"] if running else None,
        next_due_at=_due_after(job, done["started_at"] if done else made_at),
    )


_Verdict = tuple[State, bool, str]  # the state, whether it is healthy, and why


def _judge_running(job: Job, running: Row, success: Row | None, now: int, may_take: int) -> _Verdict:
    took = max(0, now - running["started_at"])
    detail = f"running for {duration(took)}"
    # A first run is measured from its own start: there is no success yet that it could be late after.
    done = _done_at(job, success) if success else running["started_at"]
    if now > _late_after(job, done, may_take):
        return State.LATE, False, f"{detail}; last success {ago(done, now) if success else 'never'}"
    if took <= job.interval:
        return State.RUNNING, True, detail
    detail += f", longer than {duration(job.interval)}: runs due meanwhile are skipped"
    return State.SLOW, True, detail


def _judge_idle(job: Job, success: Row, now: int, may_take: int) -> _Verdict:
    done, took = _done_at(job, success), _took(success)
    detail = f"last success {ago(success['ended_at'], now)}"
    if now > _late_after(job, done, may_take):
        return State.LATE, False, f"{detail}, due {ago(_due_after(job, done), now)}. Is cron running?"
    if success["error_count"]:
        detail += f", with {counted(success['error_count'], 'error')}: {success['error']}"
    if took <= job.interval:
        return State.GOOD, True, detail
    longer = f"took {duration(took)}, longer than {duration(job.interval)}"
    return State.SLOW, True, f"{detail}; {longer}: runs due meanwhile were skipped"


def _judge_new(job: Job, made_at: int, now: int, may_take: int) -> _Verdict:
    due = _due_after(job, made_at)
    if now <= _late_after(job, made_at, may_take):
        return State.NEVER_RAN, True, f"has not run yet; due {ago(due, now) if due > now else 'now'}"
    detail = f"has never run, although it was due {ago(due, now)}. Install the lines of 'whalesync crontab'."
    return State.NEVER_RAN, False, detail


def _future(rows: Iterable[Row | None], made_at: int, now: int) -> int | None:
    """Return the latest moment in the future on which the verdict would depend, if there is one."""
    moments = [max(row["started_at"], row["ended_at"] or 0) for row in rows if row]
    latest = max(moments, default=made_at)
    return latest if latest > now + CLOCK_TOLERANCE else None


def _may_take(job: Job, time_budget: float | None) -> int:
    if job.budget is None:
        return job.may_take
    return int(time_budget * SECOND) if time_budget else job.budget


def _due_after(job: Job, moment: int) -> int:
    """Return when the job is due, had it last been done at ``moment``."""
    if job.daily_at is None:
        return moment + job.interval
    hour = job.daily_at * HOUR
    return (moment - hour) // DAY * DAY + hour + DAY


def _late_after(job: Job, moment: int, may_take: int) -> int:
    """Return when the job counts as late, had it last been done at ``moment``."""
    return _due_after(job, moment) + may_take + (2 * job.interval if job.daily_at is None else 0)


def _done_at(job: Job, success: Row) -> int:
    """Return the moment that counts: a daily job is done for the day on which it started."""
    moment: int = success["ended_at"] if job.daily_at is None else success["started_at"]
    return moment


def _took(run: Row) -> int:
    """Return how long a run took; never less than nothing, whatever happened to the clock."""
    took: int = run["ended_at"] - run["started_at"]
    return max(0, took)
