"""Trying it out without a key: ``demo`` and ``sandbox``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whalesync.cli.app import Command, now_ms, progress_to, say_to, tell
from whalesync.errors import SettingsError

PANEL = "Trying it out"
JOBS = ("sync-markets", "sync-whales", "compute-stats", "cleanup")
SEED = 7
FEED_ROWS = 12


def add_to(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for function in (demo, sandbox):
        app.command(cls=Command, rich_help_panel=PANEL)(function)


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FILE", help="Where to put the database.")
    ] = None,
) -> None:
    """Play the exchange on loopback, run the four jobs against it, show the result. No key, no network."""
    import shlex
    import tempfile

    from whalesync.host.crontab import this_program
    from whalesync.jobs.perform import perform
    from whalesync.sandbox import Sandbox, build_world
    from whalesync.settings import Settings
    from whalesync.store import feed, whales
    from whalesync.store.database import open_database
    from whalesync.views import output, tables
    from whalesync.views import status as view

    if keep is not None and keep.exists():
        raise SettingsError(f"{keep} exists already: name a new file for the demo")
    if keep is not None and not keep.absolute().parent.is_dir():
        raise SettingsError(f"there is no folder {keep.absolute().parent}: make it, or choose another place")
    path = (keep or Path(tempfile.mkdtemp(prefix="whalesync-demo-")) / "whalesync.db").absolute()
    world = build_world(SEED, binary=6, categorical=1, whales=3, days=2, trades_per_day=20)
    with Sandbox(world.books) as exchange:
        settings = Settings(db=path, api_url=exchange.url, api_key=exchange.key)
        tell(f"A stand-in exchange with {len(world.whales)} whales answers at {exchange.url}.")
        with open_database(path) as db:
            names = ["Moby Dick", "Keiko", "Humphrey"]
            whales.add(db, zip(world.whales, names, strict=True), now_ms())
        for command in JOBS:
            with progress_to() as progress:
                run = perform(command, settings, say=say_to(), progress=progress)
            tell(f"whalesync {command}: {run.summary}")
    now = now_ms()
    with output.standard_output(sys.stdout) as out, open_database(path) as db:
        console = output.console_on(out)
        out.write("\n$ whalesync status\n")
        view.render(view.gather(db, now), console)
        out.write(f"\n$ whalesync activity --limit {FEED_ROWS}\n")
        tables.render_activity(feed.activity(db, "pro-plus", now, limit=FEED_ROWS), console, now)
    again = shlex.join([*this_program(), "--db", str(path), "whales", "list"])
    tell(f"The demo's database stays at {path}: try {again}")


def sandbox(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="N", help="0: any free one.")
    ] = 8645,
) -> None:
    """Serve the stand-in exchange, to try a crontab before the key is approved. Ctrl-C ends it."""
    from whalesync.sandbox import Sandbox, build_world
    from whalesync.views import output

    # About a trade a minute, so that whoever tries a crontab sees them come.
    world = build_world(SEED, days=2, trades_per_day=300)
    try:
        exchange = Sandbox(world.books, port=port)
    except OSError as exc:
        raise SettingsError(
            f"port {port} cannot be used ({exc.strerror}): choose another with --port"
        ) from exc
    with output.standard_output(sys.stdout) as out:
        out.write(f"OPINION_TRADE_API_KEY={exchange.key}\nWHALESYNC_API_URL={exchange.url}\n\n")
        out.writelines(f"{address}\n" for address in world.whales)
    tell("Serving; the addresses are its whales. Ctrl-C ends it.")
    exchange.serve_forever()
