"""Running on a host: ``crontab``, ``doctor``, ``metadata``, ``backup``, ``restore``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whalesync.cli import parse
from whalesync.cli.app import Command, new_app, now_ms, print_data, print_error, print_result, settings, step_logger
from whalesync.errors import SettingsError, StoreError
from whalesync.settings import default_env_file
from whalesync.text import plain

if TYPE_CHECKING:
    from whalesync.host.doctor import Finding

PANEL = "The host"

app = new_app()


@app.command(cls=Command, rich_help_panel=PANEL)
def crontab() -> None:
    """Print the crontab for this host.

    To append it to yours: (crontab -l 2>/dev/null; whalesync crontab) | crontab -
    """
    from whalesync.exchanges import asked_for, key_of
    from whalesync.host.crontab import render, this_program
    from whalesync.store import whales
    from whalesync.store.database import open_existing

    found = settings()
    env_file = found.env_file or default_env_file()
    try:
        with open_existing(found.db) as db:
            asked = asked_for(whales.platforms(db))
    except StoreError:
        asked = asked_for([])
    key = None if env_file.exists() else next((key for each in asked if (key := key_of(each))), None)
    print_data(render(this_program(), env_file if key or env_file.exists() else None, found.db))
    if key is not None:
        print_error(
            f"whalesync crontab: {env_file} does not exist yet: write {key.name}=… into it, "
            "and make it readable by you alone (chmod 600)"
        )


@app.command(cls=Command, rich_help_panel=PANEL)
def doctor(
    live: Annotated[
        str | None,
        typer.Option(
            metavar="WALLET", help="Check instead what is assumed of the live Polymarket, with an active wallet of it."
        ),
    ] = None,
) -> int:
    """Check key, address, clock, database, watch list and cron lines; exit 1 if something is wrong.

    What is wrong comes with the command that mends it. What could not be checked is no fault by itself.

    --live WALLET makes about 40 requests; some checks compare with an earlier one, so run it again after an hour and
    after a day. It exits 1 if something differs.
    """
    from whalesync.host.doctor import Finding, Outcome, examine

    if live is not None:
        return _check_live(parse.parse_address(live))
    try:
        findings = examine(settings(), now=now_ms())
    except SettingsError as exc:
        findings = [Finding("settings", Outcome.WRONG, str(exc))]
    return print_findings(findings)


@app.command(cls=Command, rich_help_panel=PANEL)
def metadata() -> None:
    """Print Datasette's metadata for the database: what columns mean, sort orders, queries to begin with.

    Example: whalesync metadata > metadata.json && datasette whalesync.db --metadata metadata.json
    """
    from whalesync.views import datasette

    print_result(datasette.metadata(settings().db.stem), lambda _: None, as_json=True)


@app.command(cls=Command, rich_help_panel=PANEL)
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
    print_error(f"{result.path}: {result.size:,} bytes")


@app.command(cls=Command, rich_help_panel=PANEL)
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy made with 'whalesync backup'.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Also if the database is damaged or another program's; it is kept all the same."),
    ] = False,
) -> None:
    """Put a copy in the place of the database.

    The copy is checked first. The old file is kept beside the new one, as NAME.before-restore-TIME. Exits 75, and
    changes nothing, while a job runs.

    Example: whalesync restore /var/backups/whalesync.db
    """
    from whalesync.host.restore import restore as put_back
    from whalesync.text import counted, minute

    result = put_back(file, settings().db, force=force, now=now_ms())
    up_to = "" if result.newest is None else f" up to {minute(result.newest)}"
    old_file = "" if result.kept is None else f"; the old file is at {result.kept}"
    print_error(
        f"Restored {result.path}: {counted(result.trades, 'trade')}{up_to}. The next sync-whales fetches what was made "
        f"since{old_file}."
    )


def _check_live(wallet: str) -> int:
    from whalesync.exchanges.polymarket.live import Outcome
    from whalesync.host.live import check_live

    checks = check_live(settings(), wallet, now=now_ms(), log_step=step_logger())
    print_data("".join(f"{each.outcome:<18}  {each.name:<18} {plain(each.text)}\n" for each in checks))
    return int(any(each.outcome is Outcome.DIFFERS for each in checks))


def print_findings(findings: Sequence[Finding]) -> int:
    """Print a line for each finding; returns the exit code."""
    print_data("".join(f"{each.outcome:<11}  {each.name:<11} {each.text}\n" for each in findings))
    return int(not all(each.ok for each in findings))
