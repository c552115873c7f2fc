"""The health of the jobs, derived from facts at one moment."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whalesync.jobs.health import JobHealth, State, cleanup_due, failing_streak, job_health
from whalesync.jobs.table import JOBS, job_named

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MIDNIGHT = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW = MIDNIGHT + 12 * HOUR
LONG_AGO = NOW - 40 * DAY

Row = dict[str, Any]


def run(status: str, started_at: int, took: int | None = SECOND, **fields: Any) -> Row:
    """A row of the sync log."""
    ended_at = None if took is None else started_at + took
    row = {"status": status, "started_at": started_at, "ended_at": ended_at, "item_count": 3, "error": None}
    return row | {"error_count": 0, "exchanges": None} | fields


def completed(started_at: int, took: int = SECOND, **fields: Any) -> Row:
    return run("completed", started_at, took, **fields)


def failed(started_at: int, error: str | None = "no network") -> Row:
    return run("failed", started_at, error=error, error_count=1)


def running(started_at: int) -> Row:
    return run("running", started_at, None)


def judge(
    name: str, *runs: Row, held: bool = False, made_at: int = LONG_AGO, now: int = NOW, time_budget: float | None = None
) -> JobHealth:
    """Judge a job by its runs, newest first."""
    return job_health(
        job_named(name), runs, held=held, made_at=made_at, now=now, time_budget=time_budget, title_of=str.capitalize
    )


def verdict(report: JobHealth) -> tuple[str, bool]:
    return report.state, report.ok


def test_a_recent_success_is_good() -> None:
    """What the last run did is reported, too."""
    assert judge("sync-whales", completed(NOW - 40 * SECOND, took=8 * SECOND)) == JobHealth(
        job="sync-whales",
        state=State.GOOD,
        ok=True,
        detail="last success 32 s ago",
        last_success_at=NOW - 32 * SECOND,
        last_started_at=NOW - 40 * SECOND,
        last_duration=8 * SECOND,
        last_run_ok=True,
        items=3,
        next_due_at=NOW + 20 * SECOND,
    )


def test_a_partial_failure_is_reported_but_is_no_fault() -> None:
    """A completed run of which a part failed is good, and its error is seen."""
    report = judge("sync-markets", completed(NOW - MINUTE, error="one price", error_count=2))
    assert (*verdict(report), report.error, report.error_count) == ("good", True, "one price", 2)
    assert report.detail == "last success 59 s ago, with 2 errors: one price"


@pytest.mark.parametrize(
    ("name", "limit", "budget"),
    [
        ("sync-markets", 19 * MINUTE, None),
        ("sync-whales", 3 * MINUTE + 50 * SECOND, None),
        ("sync-whales", 5 * MINUTE, 120.0),
        ("compute-stats", 3 * HOUR + 10 * MINUTE, None),
        ("compute-stats", 3 * HOUR + 10 * MINUTE, 7200.0),  # it has no time budget
    ],
)
def test_a_job_is_late_after_three_intervals_and_a_run(name: str, limit: int, budget: float | None) -> None:
    """The last moment at which it is not late, and the first at which it is, counted from the end of a success."""
    started = NOW - limit - SECOND
    assert verdict(judge(name, completed(started), time_budget=budget)) == ("good", True)
    assert verdict(judge(name, completed(started - 1), time_budget=budget)) == ("late", False)


@pytest.mark.parametrize(
    ("started_at", "now", "state"),
    [
        (MIDNIGHT + 3 * HOUR, MIDNIGHT + DAY + 5 * HOUR, "good"),
        (MIDNIGHT + 3 * HOUR, MIDNIGHT + DAY + 5 * HOUR + 1, "late"),
        (MIDNIGHT + 3 * HOUR - 1, MIDNIGHT + 5 * HOUR + 1, "late"),
        (MIDNIGHT + 11 * HOUR, MIDNIGHT + DAY + 2 * HOUR, "good"),
    ],
)
def test_cleanup_is_late_two_hours_after_it_was_due(started_at: int, now: int, state: str) -> None:
    """It is due at 03:00 UTC, and done for the day on which it started, however late that was."""
    assert judge("cleanup", completed(started_at), now=now).state == state


def test_a_job_that_has_not_run_is_healthy_until_it_is_late() -> None:
    """Counted from when the file was made; then the line says what to do."""
    report = judge("compute-stats", made_at=NOW - 10 * MINUTE)
    assert (*verdict(report), report.next_due_at) == ("never ran", True, NOW + 50 * MINUTE)
    assert report.detail == "has not run yet; due in 50 min"
    report = judge("sync-whales", made_at=NOW - 2 * MINUTE)
    assert (*verdict(report), report.detail) == ("never ran", True, "has not run yet; due now")
    for job in JOBS:
        report = judge(job.command)
        assert verdict(report) == ("never ran", False)
        assert "whalesync crontab" in report.detail


def test_a_failed_run_is_a_fault_at_once() -> None:
    """One failure after a success, with its reason."""
    report = judge("sync-whales", failed(NOW - 20 * SECOND), completed(NOW - 80 * SECOND))
    assert (*verdict(report), report.failures, report.last_run_ok) == ("failing", False, 1, False)
    assert report.detail == "failed 20 s ago: no network"
    assert report.last_success_at == NOW - 79 * SECOND


def test_a_streak_is_reported_with_its_beginning() -> None:
    """From the second failure on; the reason is the newest failure's."""
    runs = [failed(NOW - MINUTE, "newest reason"), failed(NOW - 2 * MINUTE), failed(NOW - 3 * MINUTE)]
    report = judge("sync-whales", *runs, completed(NOW - 4 * MINUTE))
    assert (report.failures, report.failing_since) == (3, NOW - 3 * MINUTE)
    expected = "failed 1 min ago: newest reason (failed 3 times in a row, since 2026-03-01 11:57 UTC)"
    assert report.detail == expected


def part(started_at: int, first: str | None, second: str | None, **fields: Any) -> Row:
    """A run that asked two exchanges: why nothing could be done for each of them, or None."""
    status = "completed" if first is None and second is None else "failed"
    outcomes = json.dumps({"first": first, "second": second})
    return run(status, started_at, error=first or second, exchanges=outcomes, **fields)


def test_an_exchange_that_is_down_is_reported_for_itself() -> None:
    """With its own streak and last success; the other, which the same runs served, is good."""
    down = [part(NOW - minutes * MINUTE, "First is down", None) for minutes in range(1, 61)]
    report = judge("sync-whales", *down, part(NOW - 61 * MINUTE, None, None))
    assert (*verdict(report), report.failures) == ("failing", False, 60)
    assert report.detail == (
        "for First: failed 1 min ago: First is down (failed 60 times in a row, since 2026-03-01 11:00 UTC);"
        " for Second: good, last success 59 s ago"
    )
    first, second = report.exchanges["first"], report.exchanges["second"]
    assert (*verdict(first), first.failures, first.last_success_at) == (
        "failing",
        False,
        60,
        NOW - 61 * MINUTE + SECOND,
    )
    assert (*verdict(second), second.failures, second.last_success_at) == ("good", True, 0, NOW - 59 * SECOND)
    assert (second.last_run_ok, second.error, second.error_count) == (True, None, 0)


def test_failures_of_one_exchange_do_not_hide_that_the_other_is_late() -> None:
    """Nothing has been done for it for half an hour."""
    report = judge("sync-whales", *[part(NOW - age * MINUTE, "First is down", None) for age in (30, 31)])
    assert {name: each.state for name, each in report.exchanges.items()} == {"first": "failing", "second": "late"}
    assert "for Second: last success 29 min ago, due 28 min ago. Is cron running?" in report.detail


def test_failures_count_for_each_exchange() -> None:
    """Of two that fail in turn, each has failed once; a killed run is one for both."""
    turns = [
        part(NOW - MINUTE, "down", None),
        part(NOW - 2 * MINUTE, None, "down"),
        part(NOW - 3 * MINUTE, "down", None),
    ]
    report = judge("sync-whales", *turns, part(NOW - 4 * MINUTE, None, None))
    assert (report.failures, [each.failures for each in report.exchanges.values()]) == (3, [1, 0])
    killed = failed(NOW - 10 * SECOND, "was killed")
    report = judge("sync-whales", killed, *turns)
    assert [each.failures for each in report.exchanges.values()] == [2, 1]


def test_exchanges_that_are_alike_are_not_told_apart() -> None:
    """The job's own line says it; an exchange that is no longer asked is not reported."""
    assert judge("sync-whales", part(NOW - MINUTE, None, None)).detail == "last success 59 s ago"
    report = judge("sync-whales", part(NOW - MINUTE, "no network", "no network"), part(NOW - 2 * MINUTE, None, None))
    assert (report.differs, report.detail) == (False, "failed 1 min ago: no network")
    alone = completed(NOW - MINUTE, exchanges='{"first": null}')
    assert list(judge("sync-whales", alone, part(NOW - 2 * MINUTE, None, "down")).exchanges) == ["first"]


def test_a_run_under_way_keeps_what_was_known_of_each_exchange() -> None:
    """The one that failed still does; the other is being served."""
    report = judge("sync-whales", running(NOW - SECOND), part(NOW - MINUTE, "down", None), held=True)
    assert [each.state for each in report.exchanges.values()] == ["failing", "running"]


@pytest.mark.parametrize(
    ("statuses", "streak"),
    [
        ([], (0, 0)),
        (["completed"], (0, 0)),
        (["completed", "failed"], (0, 0)),
        (["running", "failed", "failed", "completed"], (NOW - 2 * MINUTE, 2)),
        (["failed", "failed"], (NOW - MINUTE, 2)),
    ],
)
def test_a_streak_is_the_failed_runs_since_the_last_good_one(statuses: list[str], streak: tuple[int, int]) -> None:
    """Since when, and how many."""
    found = failing_streak(run(status, NOW - number * MINUTE) for number, status in enumerate(statuses))
    assert (found.since, found.count) == streak


def test_a_new_run_under_way_does_not_hide_failures() -> None:
    """The job is failing until a run succeeds, even if no reason was recorded and none ever succeeded."""
    report = judge("sync-whales", running(NOW - SECOND), failed(NOW - MINUTE, None), held=True)
    assert (*verdict(report), report.running_since) == ("failing", False, NOW - SECOND)
    assert (report.failures, report.last_success_at) == (1, None)


def test_a_running_row_without_a_lock_is_a_dead_run() -> None:
    """The kernel released the lock when the process was killed; the row stayed open. It continues a streak."""
    report = judge("sync-whales", running(NOW - 30 * SECOND), completed(NOW - 90 * SECOND))
    assert (*verdict(report), report.failures, report.running_since) == ("died", False, 1, None)
    assert report.last_run_ok is False
    expected = "the run that started 30 s ago was killed or the machine went down. The next run catches up."
    assert report.detail == expected
    report = judge("sync-whales", running(NOW - 30 * SECOND), failed(NOW - 90 * SECOND))
    assert (report.state, report.failures, report.failing_since) == ("died", 2, NOW - 90 * SECOND)
    assert "(failed 2 times in a row, since 2026-03-01 11:58 UTC)" in report.detail


@pytest.mark.parametrize(
    ("age", "since_success", "state", "ok", "detail"),
    [
        (12 * SECOND, MINUTE, "running", True, "running for 12 s"),
        (70 * SECOND, 130 * SECOND, "slow", True,
         "running for 1 min 10 s, longer than 1 min: runs due meanwhile are skipped"),
        (HOUR, HOUR + MINUTE, "late", False, "running for 1 h; last success 1 h ago"),
        (MINUTE, None, "running", True, "running for 1 min"),
        (20 * MINUTE, None, "late", False, "running for 20 min; last success never"),
    ],
)  # fmt: skip
def test_a_run_under_way(age: int, since_success: int | None, state: str, ok: bool, detail: str) -> None:
    """It is healthy until the last success is too long ago; a first run is measured from its own start."""
    success = [] if since_success is None else [completed(NOW - since_success)]
    report = judge("sync-whales", running(NOW - age), *success, held=True)
    assert (*verdict(report), report.detail, report.running_since) == (state, ok, detail, NOW - age)


def test_a_run_that_took_longer_than_its_interval_was_slow() -> None:
    """That is said after it has ended, too."""
    report = judge("sync-whales", completed(NOW - 100 * SECOND, took=90 * SECOND))
    expected = "last success 10 s ago; took 1 min 30 s, longer than 1 min: runs due meanwhile were skipped"
    assert (*verdict(report), report.detail) == ("slow", True, expected)


@pytest.mark.parametrize(
    ("runs", "made_at"),
    [
        ([completed(NOW + HOUR)], LONG_AGO),
        ([failed(NOW - MINUTE), completed(NOW + DAY)], LONG_AGO),
        ([], NOW + DAY),
    ],
    ids=["an hour", "a failure since", "the file itself"],
)
def test_a_record_in_the_future_is_a_clock_fault(runs: list[Row], made_at: int) -> None:
    """A clock that was ahead must not hide lateness until that time comes."""
    report = judge("sync-whales", *runs, made_at=made_at)
    assert verdict(report) == ("clock fault", False)
    assert "the clock was changed" in report.detail


def test_the_next_success_clears_a_clock_fault() -> None:
    """The newest success counts, not the one with the latest time; seconds are corrected all the time."""
    assert judge("sync-whales", completed(NOW - MINUTE), completed(NOW + DAY)).state == "good"
    assert judge("sync-whales", completed(NOW + 4 * SECOND)).state == "good"


def test_cleanup_is_next_due_after_the_last_successful_one() -> None:
    """A failed one does not count."""
    success = completed(MIDNIGHT - DAY + 3 * HOUR + 5 * MINUTE)
    assert judge("cleanup", failed(MIDNIGHT + 3 * HOUR), success).next_due_at == MIDNIGHT + 3 * HOUR


@pytest.mark.parametrize(
    ("now", "last_started", "due"),
    [
        (MIDNIGHT + 3 * HOUR - 1, MIDNIGHT - DAY + 3 * HOUR, False),
        (MIDNIGHT + 3 * HOUR, MIDNIGHT - DAY + 3 * HOUR, True),
        (MIDNIGHT + 3 * HOUR, MIDNIGHT + 3 * HOUR, False),
        (MIDNIGHT + 23 * HOUR, MIDNIGHT + 3 * HOUR + 1, False),
        (MIDNIGHT + 4 * HOUR, MIDNIGHT + 2 * HOUR, True),
        (MIDNIGHT + 2 * HOUR, MIDNIGHT - 5 * DAY, True),
        (MIDNIGHT + 2 * HOUR, None, False),  # of a new file
        (MIDNIGHT + 3 * HOUR, None, True),
        (NOW, NOW + 365 * DAY, True),  # by a clock that was ahead, which postpones nothing
    ],
)
def test_cleanup_is_due_once_a_day(now: int, last_started: int | None, due: bool) -> None:
    """From 03:00 UTC on; a missed one is made up for once."""
    assert cleanup_due(now, last_started, made_at=MIDNIGHT + HOUR) is due
