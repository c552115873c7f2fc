"""All commands together, in the order in which the help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from whalesync import __version__
from whalesync.cli import host, jobs, look, trial, watch
from whalesync.cli.app import new_app

app = new_app(
    "Every trade of the whales you watch on Opinion.Trade, in one SQLite file, kept by cron.",
    epilog="Start with [bold]whalesync demo[/bold]: no key, no network.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whalesync {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Every trade of the whales you watch on Opinion.Trade, in one SQLite file, kept by cron."""


for room in (trial, look):
    room.add_to(app)
app.add_typer(watch.app, name="whales", rich_help_panel=look.PANEL)
for room in (host, jobs):
    room.add_to(app)
