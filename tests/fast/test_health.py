"""The health of the jobs, derived from facts at one moment."""

from typing import Any

import pytest

from whalesync.views import health
from whalesync.views.health import JOBS, JobHealth, cleanup_due, job_health, overall_ok

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MIDNIGHT = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW = MIDNIGHT + 12 * HOUR
LONG_AGO = NOW - 40 * DAY
BY_NAME = {job.name: job for job in JOBS}


def run(status: str, started_at: int, took: int | None = SECOND, **fields: Any) -> dict[str, Any]:
    """A row of the sync log."""
    ended_at = None if took is None else started_at + took
    row = {"status": status, "started_at": started_at, "ended_at": ended_at, "item_count": 3, "error": None}
    return row | {"error_count": 0} | fields


def completed(started_at: int, took: int = SECOND, **fields: Any) -> dict[str, Any]:
    return run("completed", started_at, took, **fields)


def failed(started_at: int, error: str | None = "no network") -> dict[str, Any]:
    return run("failed", started_at, error=error, error_count=1)


def running(started_at: int) -> dict[str, Any]:
    return run("running", started_at, None)


def judge(
    name: str,
    *runs: dict[str, Any],
    held: bool = False,
    made_at: int = LONG_AGO,
    now: int = NOW,
    **more: float,
) -> JobHealth:
    return job_health(BY_NAME[name], runs, held=held, made_at=made_at, now=now, **more)


def test_the_jobs_are_the_four_with_the_promised_intervals() -> None:
    """Monitors lean on these names."""
    expected = {
        "sync-markets": ("markets", 5 * MINUTE),
        "sync-whales": ("whales", MINUTE),
        "compute-stats": ("stats", HOUR),
        "cleanup": ("cleanup", DAY),
    }
    assert expected == {job.name: (job.type, job.interval) for job in JOBS}


def test_a_recent_success_is_good() -> None:
    """What the last run did is told beside it."""
    report = judge("sync-whales", completed(NOW - 40 * SECOND, took=8 * SECOND))
    expected = JobHealth(
        job="sync-whales",
        state="good",
        ok=True,
        detail="last success 32 s ago",
        last_success_at=NOW - 32 * SECOND,
        last_started_at=NOW - 40 * SECOND,
        last_duration=8 * SECOND,
        last_run_ok=True,
        items=3,
        next_due_at=NOW + 20 * SECOND,
    )
    assert expected == report


def test_a_partial_failure_is_told_but_is_no_fault() -> None:
    """A completed run of which a part failed is good, and its error is seen."""
    report = judge("sync-markets", completed(NOW - MINUTE, error="one price", error_count=2))
    assert (report.state, report.ok, report.error, report.error_count) == ("good", True, "one price", 2)
    assert "2 parts of it failed: one price" in report.detail


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("sync-markets", 19 * MINUTE),
        ("sync-whales", 3 * MINUTE + 50 * SECOND),
        ("compute-stats", 3 * HOUR + 10 * MINUTE),
    ],
)
def test_a_job_is_late_after_three_intervals_and_a_run(name: str, limit: int) -> None:
    """The last moment at which it is not late, and the first at which it is, counted from the end of a success."""
    on_time = judge(name, completed(NOW - limit - SECOND, took=SECOND))
    late = judge(name, completed(NOW - limit - SECOND - 1, took=SECOND))
    assert (on_time.state, on_time.ok) == ("good", True)
    assert (late.state, late.ok) == ("late", False)


def test_a_larger_time_budget_makes_late_later() -> None:
    """A user who grants a run two minutes is not told after one that it is late."""
    success = completed(NOW - 4 * MINUTE)
    assert judge("sync-whales", success).state == "late"
    assert judge("sync-whales", success, time_budget=120.0).state == "good"


def test_the_time_budget_is_no_matter_of_jobs_without_one() -> None:
    """Statistics and cleanup know no budget."""
    success = completed(NOW - 3 * HOUR - 11 * MINUTE)
    assert judge("compute-stats", success, time_budget=7200.0).state == "late"


@pytest.mark.parametrize(
    ("started_at", "now", "state"),
    [
        (MIDNIGHT + 3 * HOUR, MIDNIGHT + DAY + 5 * HOUR, "good"),
        (MIDNIGHT + 3 * HOUR, MIDNIGHT + DAY + 5 * HOUR + 1, "late"),
        (MIDNIGHT + 3 * HOUR - 1, MIDNIGHT + 5 * HOUR, "good"),
        (MIDNIGHT + 3 * HOUR - 1, MIDNIGHT + 5 * HOUR + 1, "late"),
        (MIDNIGHT + 11 * HOUR, MIDNIGHT + DAY + 2 * HOUR, "good"),
    ],
)
def test_cleanup_is_late_two_hours_after_a_missed_three_o_clock(
    started_at: int, now: int, state: str
) -> None:
    """It is done for the day in which it started, however late it was then."""
    assert state == judge("cleanup", completed(started_at), now=now).state


def test_a_job_that_is_not_due_yet_never_ran_and_is_well() -> None:
    """A file made a moment ago needs no alarm."""
    report = judge("compute-stats", made_at=NOW - 10 * MINUTE)
    assert (report.state, report.ok, report.next_due_at) == ("never ran", True, NOW + 50 * MINUTE)
    assert report.detail == "has not run yet; due in 50 min"


def test_a_job_that_is_due_now_may_still_come() -> None:
    """Between due and late nobody is alarmed."""
    report = judge("sync-whales", made_at=NOW - 2 * MINUTE)
    assert (report.state, report.ok, report.detail) == ("never ran", True, "has not run yet; due now")


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_job_that_nobody_scheduled_is_not_well(name: str) -> None:
    """Never ran although it was due since the file was made."""
    report = judge(name)
    assert (report.state, report.ok) == ("never ran", False)
    assert "whalesync crontab" in report.detail


def test_a_failed_run_is_a_fault_at_once() -> None:
    """One failure after a success, with its reason."""
    report = judge("sync-whales", failed(NOW - 20 * SECOND), completed(NOW - 80 * SECOND))
    assert (report.state, report.ok, report.failures, report.last_run_ok) == ("failing", False, 1, False)
    assert "no network" in report.detail
    assert report.last_success_at == NOW - 79 * SECOND


def test_failures_in_a_row_are_counted_since_the_first() -> None:
    """Only those after the last success count."""
    report = judge(
        "sync-whales",
        failed(NOW - MINUTE, "newest reason"),
        failed(NOW - 2 * MINUTE),
        failed(NOW - 3 * MINUTE),
        completed(NOW - 4 * MINUTE),
        failed(NOW - 5 * MINUTE),
    )
    assert (report.failures, report.failing_since) == (3, NOW - 3 * MINUTE)
    assert "3 times in a row since 2026-03-01T11:57:00Z (3 min ago): newest reason" in report.detail


def test_a_job_that_always_failed_is_failing() -> None:
    """No success is no excuse."""
    report = judge("sync-markets", failed(NOW - MINUTE, None), failed(NOW - 6 * MINUTE))
    assert (report.state, report.ok, report.failures, report.last_success_at) == ("failing", False, 2, None)


def test_a_new_run_under_way_does_not_hide_failures() -> None:
    """It is failing until a run ends well."""
    report = judge("sync-whales", running(NOW - SECOND), failed(NOW - MINUTE), held=True)
    assert (report.state, report.ok, report.running_since) == ("failing", False, NOW - SECOND)


def test_a_run_under_way_is_well() -> None:
    """The row is open and the lock is held."""
    report = judge("sync-whales", running(NOW - 12 * SECOND), completed(NOW - MINUTE), held=True)
    assert (report.state, report.ok, report.detail) == ("running", True, "running for 12 s")
    assert (report.last_run_ok, report.items, report.last_duration) == (True, 3, SECOND)


def test_a_first_run_under_way_is_measured_from_its_own_start() -> None:
    """The file may be older: the crontab came later."""
    assert judge("sync-markets", running(NOW - MINUTE), held=True).ok
    stuck = judge("sync-markets", running(NOW - 20 * MINUTE), held=True)
    assert (stuck.state, stuck.ok) == ("late", False)


def test_a_run_longer_than_its_interval_is_slow() -> None:
    """Runs due meanwhile are skipped, and that is said; it is no fault yet."""
    report = judge("sync-whales", running(NOW - 70 * SECOND), completed(NOW - 130 * SECOND), held=True)
    assert (report.state, report.ok) == ("slow", True)
    assert "runs due meanwhile are skipped" in report.detail


def test_a_run_that_never_ends_is_late() -> None:
    """A hanging run holds the lock, so that no other can succeed."""
    report = judge("sync-whales", running(NOW - HOUR), completed(NOW - HOUR - MINUTE), held=True)
    assert (report.state, report.ok, report.running_since) == ("late", False, NOW - HOUR)
    assert "running for 1 h" in report.detail


def test_a_run_that_took_longer_than_its_interval_is_told() -> None:
    """After it has ended, too."""
    report = judge("sync-whales", completed(NOW - 100 * SECOND, took=90 * SECOND))
    assert (report.state, report.ok) == ("slow", True)
    assert "took 1 min 30 s, longer than 1 min" in report.detail


def test_a_running_row_without_a_lock_is_a_dead_run() -> None:
    """The kernel gave the lock back when the process was killed; the row stayed open."""
    report = judge("sync-whales", running(NOW - 30 * SECOND), completed(NOW - 90 * SECOND))
    assert (report.state, report.ok, report.failures, report.running_since) == ("died", False, 1, None)
    assert report.last_run_ok is False


@pytest.mark.parametrize("ahead", [HOUR, 365 * DAY])
def test_a_success_in_the_future_is_a_clock_fault(ahead: int) -> None:
    """A clock that ran ahead must not hide lateness until it is reached again."""
    report = judge("sync-whales", completed(NOW + ahead))
    assert (report.state, report.ok) == (health.CLOCK_FAULT, False)
    assert "the clock was changed" in report.detail


def test_the_next_good_run_clears_a_clock_fault() -> None:
    """The newest success counts, not the one with the latest date."""
    assert judge("sync-whales", completed(NOW - MINUTE), completed(NOW + DAY)).state == "good"


def test_a_small_step_back_is_no_clock_fault() -> None:
    """Clocks are corrected by seconds all the time."""
    assert judge("sync-whales", completed(NOW + 4 * SECOND)).state == "good"


def test_a_failure_after_a_success_in_the_future_is_still_a_clock_fault() -> None:
    """Nothing can be measured from a success that has not happened yet."""
    assert judge("sync-whales", failed(NOW - MINUTE), completed(NOW + DAY)).state == health.CLOCK_FAULT


def test_a_file_made_in_the_future_is_a_clock_fault() -> None:
    """Otherwise a job that never runs would be well for as long as the clock was ahead."""
    assert judge("cleanup", made_at=NOW + DAY).state == health.CLOCK_FAULT


def test_a_clock_that_jumped_ahead_makes_late() -> None:
    """Until the next run, which comes at once."""
    assert judge("compute-stats", completed(NOW - MINUTE), now=NOW + 365 * DAY).state == "late"


def test_a_run_never_took_less_than_nothing() -> None:
    """The clock was put back while it ran."""
    assert judge("sync-whales", completed(NOW, took=-5 * SECOND)).last_duration == 0


def test_cleanup_is_next_due_at_three_after_the_last_good_one() -> None:
    """A failed one leaves it due."""
    good = completed(MIDNIGHT - DAY + 3 * HOUR + 5 * MINUTE)
    report = judge("cleanup", failed(MIDNIGHT + 3 * HOUR), good)
    assert report.next_due_at == MIDNIGHT + 3 * HOUR


def test_one_fault_is_a_fault_of_the_whole() -> None:
    """What --check goes by."""
    good, bad = judge("sync-whales", completed(NOW - SECOND)), judge("cleanup")
    assert overall_ok([good, good])
    assert not overall_ok([good, bad])


@pytest.mark.parametrize(
    ("now", "last_started", "due"),
    [
        (MIDNIGHT + 3 * HOUR - 1, MIDNIGHT - DAY + 3 * HOUR, False),
        (MIDNIGHT + 3 * HOUR, MIDNIGHT - DAY + 3 * HOUR, True),
        (MIDNIGHT + 3 * HOUR, MIDNIGHT + 3 * HOUR, False),
        (MIDNIGHT + 23 * HOUR, MIDNIGHT + 3 * HOUR + 1, False),
        (MIDNIGHT + 4 * HOUR, MIDNIGHT + 2 * HOUR, True),
        (MIDNIGHT + 2 * HOUR, MIDNIGHT - 5 * DAY, True),
    ],
)
def test_cleanup_is_due_once_after_each_three_o_clock(now: int, last_started: int, due: bool) -> None:
    """Whenever it was missed, it is made up for once."""
    assert due is cleanup_due(now, last_started, LONG_AGO)


def test_a_new_file_is_cleaned_from_its_first_three_o_clock_on() -> None:
    """The moment when it was made stands in for the last cleanup."""
    assert not cleanup_due(MIDNIGHT + 2 * HOUR, None, MIDNIGHT + HOUR)
    assert cleanup_due(MIDNIGHT + 3 * HOUR, None, MIDNIGHT + HOUR)


def test_a_cleanup_dated_in_the_future_does_not_put_the_next_off() -> None:
    """A clock ran ahead by a year when it was done."""
    assert cleanup_due(NOW, NOW + 365 * DAY, LONG_AGO)
