"""Living on a host: ``crontab``, ``doctor``, ``backup``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from whalesync.cli.app import Command, now_ms, settings, tell
from whalesync.errors import SettingsError, WhalesyncError
from whalesync.settings import Settings, default_env_file

PANEL = "The host"
NOBODY = "0x" + "0" * 40  # a wallet without trades: its list is the cheapest request that needs the key
PROBE_SECONDS = 10.0


def add_to(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for function in (crontab, doctor, backup):
        app.command(cls=Command, rich_help_panel=PANEL)(function)


def crontab() -> None:
    """Print the crontab for this host.

    To append it to yours: (crontab -l; whalesync crontab) | crontab -
    """
    from whalesync.host.crontab import render, this_program
    from whalesync.views import output

    found = settings()
    env_file = found.env_file or default_env_file()
    with output.standard_output(sys.stdout) as out:
        out.write(render(this_program(), env_file, found.db))
    if not env_file.exists():
        tell(
            f"whalesync crontab: {env_file} does not exist yet: write OPINION_TRADE_API_KEY=… into it, "
            "and let only yourself read it (chmod 600)"
        )


def doctor() -> int:
    """Check key, address, clock, database and cron lines; exit 1 if something is wrong."""
    from whalesync.host.crontab import installed_text, this_program
    from whalesync.host.doctor import Finding, examine
    from whalesync.views import output

    try:
        found = settings()
    except SettingsError as exc:
        findings = [Finding("settings", False, str(exc))]
    else:
        findings = examine(
            found,
            now=now_ms(),
            probe=lambda: _probe(found),
            crontab_text=installed_text,
            program=this_program(),
        )
    with output.standard_output(sys.stdout) as out:
        for finding in findings:
            out.write(f"{'good ' if finding.ok else 'WRONG'}  {finding.name:<9} {finding.text}\n")
    return int(any(not finding.ok for finding in findings))


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to put the copy.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Make a consistent copy of the database while jobs run.

    Example: whalesync backup /var/backups/whalesync.db --force
    """
    from whalesync.host.backup import backup as copy
    from whalesync.store.database import open_existing

    with open_existing(settings().db) as db:
        result = copy(db, file.absolute(), force=force, now=now_ms())
    tell(f"{result.path}: {result.size:,} bytes")


def _probe(found: Settings) -> float | None:
    """One request with the key; the exchange's time in Unix seconds."""
    from whalesync.errors import OutOfTime
    from whalesync.exchange.connect import connect

    until = time.monotonic() + PROBE_SECONDS
    key, url = found.checked_key(), found.checked_api_url()
    with connect(found, key, url, first_backoff=0.25, until=until) as exchange:
        try:
            exchange.trades(NOBODY, 1)
        except OutOfTime:
            raise WhalesyncError(
                "no answer in time, or the request rate is used up by running jobs"
            ) from None
        date = exchange.now()
    return None if date is None else date / 1000
