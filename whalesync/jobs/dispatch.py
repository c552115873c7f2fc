"""Dispatch a job of the table: run it from lock to log, and ping the monitor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from whalesync.errors import AnotherRunActive, describe_with_notes
from whalesync.jobs.ping import Pinger
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import Job
from whalesync.settings import PING_URL, Settings


def perform(
    job: Job,
    settings: Settings,
    *,
    clock: Clock | None = None,
    log_step: Callable[[str], None] = lambda _: None,
    report_progress: Callable[[str], None] = lambda _: None,
) -> Run:
    """Run one job, and tell the monitor how it ended.

    Raises:
        AnotherRunActive: the job is running already; nothing was done, and the monitor was not pinged.
        WhalesyncError, Interrupted: the run failed; its row and the monitor say so.
    """
    pinger = Pinger(settings.get(PING_URL), job.command, secrets=_secrets(settings), log_step=log_step)
    try:
        with run_job(job, settings, clock=clock, log_step=log_step, report_progress=report_progress) as run:
            pinger.start()
            # Loaded here: a job that asks no exchange does not load what it takes to ask one.
            module, _, function = job.runner.partition(":")
            getattr(import_module(module), function)(run)
    except AnotherRunActive:
        raise
    except BaseException as exc:
        pinger.fail(describe_with_notes(exc))
        raise
    pinger.success("\n".join([run.summary, *run.errors()]))
    return run


def _secrets(settings: Settings) -> Sequence[str]:
    if not settings.get(PING_URL):
        return ()  # Nothing leaves the host, and no exchange is loaded to name its secrets.
    from whalesync.exchanges import secrets_of

    return secrets_of(settings)
