"""The four jobs that cron starts."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from whalesync.cli.app import Command, on_terminal, options, progress_to, say_to, settings, tell

PANEL = "Jobs, for cron"


def add_to(app: typer.Typer) -> None:
    """Put the jobs' commands into the application."""
    for function in (sync_markets, sync_whales, compute_stats, cleanup):
        app.command(cls=Command, rich_help_panel=PANEL)(function)


def sync_markets() -> None:
    """Fetch every market of the exchange, then prices and liquidity.

    Needs OPINION_TRADE_API_KEY. Ends after WHALESYNC_TIME_BUDGET seconds (240); the next run goes on.
    """
    _perform("sync-markets")


def sync_whales() -> None:
    """Fetch the new trades of every wallet on the watch list.

    Needs OPINION_TRADE_API_KEY. Ends after WHALESYNC_TIME_BUDGET seconds (50); the next run goes on.
    """
    _perform("sync-whales")


def compute_stats(
    full: Annotated[
        bool, typer.Option("--full", help="Recompute from scratch; repair and report what differs.")
    ] = False,
) -> None:
    """Bring the whales' statistics up to date."""
    _perform("compute-stats", full=full)


def cleanup(
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only if 03:00 UTC has passed since the last one; for cron.")
    ] = False,
) -> None:
    """Delete what is older than WHALESYNC_RETENTION_DAYS (90)."""
    if if_due and not _cleanup_is_due():
        return
    _perform("cleanup")


def _perform(command: str, *, full: bool = False) -> None:
    from whalesync.jobs.perform import perform

    begun = time.monotonic()
    with progress_to() as progress:
        run = perform(command, settings(), full=full, say=say_to(), progress=progress)
    if options().verbose or on_terminal():
        tell(f"{command}: {run.summary} ({time.monotonic() - begun:.1f} s)")
        for error in run.errors():
            tell(f"  {error}")


def _cleanup_is_due() -> bool:
    from whalesync.store import log
    from whalesync.store.database import open_database
    from whalesync.views.health import cleanup_due

    with open_database(settings().db) as db:
        last = log.last_good_start(db, "cleanup")
        return cleanup_due(int(time.time() * 1000), last, db.fact("made_at") or 0)
