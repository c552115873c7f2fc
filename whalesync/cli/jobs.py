"""The commands of the jobs, made from the table of jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import typer

from whalesync.cli.app import (
    Command,
    new_app,
    now_ms,
    on_terminal,
    options,
    print_error,
    progress_line,
    settings,
    step_logger,
)
from whalesync.jobs.table import JOBS, PUBLISH, SECOND, Job

IfDue = Annotated[bool, typer.Option("--if-due", help="Do nothing unless the job is due; for cron.")]

PANEL = "Jobs, for cron"

app = new_app()


def perform(job: Job) -> None:
    """Run a job, and tell a person how it went."""
    from whalesync.jobs import dispatch

    if not job.is_set_up(settings()):
        if options().verbose or on_terminal():
            print_error(f"{job.command}: not set up, nothing to do")
        return
    started = time.monotonic()
    with progress_line() as report_progress:
        done = dispatch.perform(job, settings(), log_step=step_logger(), report_progress=report_progress)
    if options().verbose or on_terminal():
        print_error(f"{job.command}: {done.summary} ({time.monotonic() - started:.1f} s)")
        for error in done.errors():
            print_error(f"  {error}")


def _command_of(job: Job) -> Callable[..., None]:
    def run() -> None:
        perform(job)

    def run_if_due(if_due: IfDue = False) -> None:
        if not if_due or _is_due(job):
            run()

    return run if job.daily_at is None else run_if_due


def _help(job: Job) -> str:
    if job.budget is None:
        return job.summary
    return (
        f"{job.summary}\n\nEnds after WHALESYNC_TIME_BUDGET seconds ({job.budget // SECOND}) with what it has stored;"
        " the next run continues."
    )


def _is_due(job: Job) -> bool:
    from whalesync.jobs.health import cleanup_due
    from whalesync.store import sync_log
    from whalesync.store.database import open_database

    with open_database(settings().db) as db:
        return cleanup_due(now_ms(), sync_log.last_good_start(db, job.type), db.fact("made_at") or 0)


for _job in (job for job in JOBS if job is not PUBLISH):  # which has options of its own
    app.command(_job.command, cls=Command, rich_help_panel=PANEL, help=_help(_job))(_command_of(_job))
