"""All commands together, in the order in which the help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from whalesync import __version__
from whalesync.cli import jobs
from whalesync.cli.app import new_app
from whalesync.records import JOB_TYPES


def build(command: str | None = None) -> typer.Typer:
    """The application; when ``command`` is a job, with the jobs alone: cron starts one every minute."""
    app = new_app(
        "Every trade of the whales you watch on Opinion.Trade, in one SQLite file, kept by cron.",
        epilog="Start with [bold]whalesync demo[/bold]: no key, no network.",
    )
    app.callback()(main)
    if command not in JOB_TYPES:
        from whalesync.cli import host, look, trial, watch

        trial.add_to(app)
        look.add_to(app)
        app.add_typer(watch.app, name="whales", rich_help_panel=look.PANEL)
        host.add_to(app)
    jobs.add_to(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whalesync {__version__}")
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Every trade of the whales you watch on Opinion.Trade, in one SQLite file, kept by cron."""
