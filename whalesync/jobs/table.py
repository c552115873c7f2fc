"""The table of jobs: everything that is declared about a job, once.

The command line, the crontab, the health of each job, the dispatcher, the demo and the sync log are made from it.
Cheap to import: a runner is loaded when its job runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from whalesync.units import DAY as DAY
from whalesync.units import HOUR as HOUR
from whalesync.units import MINUTE as MINUTE
from whalesync.units import SECOND as SECOND

if TYPE_CHECKING:
    from whalesync.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCommand:
    """A command whose runs are in the sync log, and of which one run at a time is active. Times in milliseconds.

    Args:
        command: as typed.
        type: in the sync log.
        budget: the default of its time budget, if it has one.
    """

    command: str
    type: str
    budget: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(LoggedCommand):
    """One job: a logged command that cron starts. Times in milliseconds.

    Args:
        summary: the first line of its help.
        purpose: what its crontab line is for, in whole sentences.
        cron: its schedule in the crontab.
        arguments: options that the crontab line gives it.
        interval: how often it is due.
        may_take: how long a run takes at most, before it counts as late. With a time budget, that is the budget.
        daily_at: the hour (UTC) at which it is due, for a job that is due once a day.
        runner: ``module:function`` of ``function(run: Run) -> None``.
        set_up: ``module:function`` of ``function(settings: Settings) -> bool`` for a job that not everybody uses:
            where that is false, the job does nothing and its health does not count.
    """

    summary: str
    purpose: str
    cron: str
    interval: int
    runner: str
    may_take: int = 0
    daily_at: int | None = None
    arguments: tuple[str, ...] = ()
    set_up: str = ""

    def is_set_up(self, settings: Settings) -> bool:
        """Return whether this job has anything to do with these settings."""
        module, _, function = self.set_up.partition(":")
        return not module or bool(getattr(import_module(module), function)(settings))


SYNC_MARKETS = Job(
    command="sync-markets",
    type="markets",
    summary="Fetch the markets, then prices and liquidity.",
    purpose="The markets of each exchange and their prices, every five minutes.",
    cron="*/5 * * * *",
    interval=5 * MINUTE,
    budget=240 * SECOND,
    runner="whalesync.jobs.sync_markets:run",
)
SYNC_WHALES = Job(
    command="sync-whales",
    type="whales",
    summary="Fetch the new trades of every wallet on the watch list.",
    purpose="New trades of every tracked wallet, every minute.",
    cron="* * * * *",
    interval=MINUTE,
    budget=50 * SECOND,
    runner="whalesync.jobs.sync_whales:run",
)
SYNC_POSITIONS = Job(
    command="sync-positions",
    type="positions",
    summary="Fetch what every wallet on the watch list holds.",
    purpose="What every tracked wallet holds, every 15 minutes, apart from the other jobs' minutes.",
    cron="3-59/15 * * * *",
    interval=15 * MINUTE,
    budget=240 * SECOND,
    runner="whalesync.jobs.sync_positions:run",
)
SEND_ALERTS = Job(
    command="send-alerts",
    type="alerts",
    summary="Deliver what the alert rules ask for.",
    purpose="Alerts on what sync-whales has just stored, every minute; without alert rules it does nothing.",
    cron="* * * * *",
    interval=MINUTE,
    budget=55 * SECOND,  # it waits for sync-whales, which takes up to 50 s
    runner="whalesync.jobs.send_alerts:run",
    set_up="whalesync.alerts.rules:are_set_up",
)
PUBLISH = Job(
    command="publish",
    type="publish",
    summary="Copy what is new or changed to PostgreSQL.",
    purpose="What is new or changed to PostgreSQL, every minute; without WHALESYNC_PUBLISH_URL it does nothing.",
    cron="* * * * *",
    interval=MINUTE,
    may_take=10 * MINUTE,
    runner="whalesync.jobs.publish:run",
    set_up="whalesync.settings:publishing_is_set_up",
)
COMPUTE_STATS = Job(
    command="compute-stats",
    type="stats",
    summary="Bring the whales' statistics up to date.",
    purpose="The whales' statistics, every hour.",
    cron="0 * * * *",
    interval=HOUR,
    may_take=10 * MINUTE,
    runner="whalesync.jobs.compute_stats:run",
)
CLEANUP = Job(
    command="cleanup",
    type="cleanup",
    summary="Delete what is older than WHALESYNC_RETENTION_DAYS (90).",
    purpose=(
        "Deletes what is older than the retention, once a day at 03:00 UTC. Cron knows only the host's time zone,\n"
        "and zones differ by quarters of an hour and shift in summer: so cron asks four times an hour, and the job\n"
        "knows when it is due."
    ),
    cron="*/15 * * * *",
    arguments=("--if-due",),
    interval=DAY,
    daily_at=3,
    may_take=2 * HOUR,
    runner="whalesync.jobs.cleanup:run",
)

JOBS = (SYNC_MARKETS, SYNC_WHALES, SEND_ALERTS, PUBLISH, SYNC_POSITIONS, COMPUTE_STATS, CLEANUP)

VERIFY = LoggedCommand(command="verify", type="verify")


def job_named(command: str) -> Job:
    """The job of a command."""
    return next(job for job in JOBS if job.command == command)


def command_of(log_type: str) -> str:
    """The command whose runs the sync log calls ``log_type``; the type itself, if a newer version wrote it."""
    return next((each.command for each in (*JOBS, VERIFY) if each.type == log_type), log_type)
