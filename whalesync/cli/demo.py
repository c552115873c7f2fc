"""Trying whalesync without a key: ``demo`` and ``sandbox``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whalesync.cli.app import Command, new_app, now_ms, print_data, print_error, progress_line, step_logger
from whalesync.errors import UsageError

if TYPE_CHECKING:
    from whalesync.settings import Settings
    from whalesync.store.database import Database

SEED = 7
FEED_ROWS = 12
RATE = 100  # requests a second; at the real exchange's 15 nobody would wait for the end
NAMES = ("Moby Dick", "Keiko", "Humphrey")
POLYMARKET_NAMES = ("Moby Dick", "Tilikum", "Migaloo")  # the first is the same wallet on both exchanges

PANEL = "Try it without a key"

app = new_app()


@app.command(cls=Command, rich_help_panel=PANEL)
def demo(
    keep: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to put the database.")] = None,
    publish: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty PostgreSQL database to fill as well.")
    ] = None,
) -> None:
    """Simulate both exchanges on loopback, run the jobs against them, show the result. No key, no network."""
    import shlex
    import tempfile

    from whalesync.exchanges.opinion_trade import API_KEY, API_URL, OPINION_TRADE
    from whalesync.exchanges.opinion_trade import RATE_LIMIT as OPINION_TRADE_RATE
    from whalesync.exchanges.polymarket import DATA_URL, GAMMA_URL, POLYMARKET
    from whalesync.exchanges.polymarket import RATE_LIMIT as POLYMARKET_RATE
    from whalesync.host.crontab import this_program
    from whalesync.jobs.dispatch import perform
    from whalesync.jobs.table import JOBS, PUBLISH
    from whalesync.sandbox import Polymarket, Sandbox, build_worlds
    from whalesync.settings import PUBLISH_URL, SOURCE, Settings
    from whalesync.store import feed, whales
    from whalesync.store.database import open_database
    from whalesync.store.whale_detail import whale_detail
    from whalesync.store.whales import WatchEntry
    from whalesync.views import output, tables
    from whalesync.views import status as view

    if keep is not None and keep.exists():
        raise UsageError(f"{keep} exists already: name a new file for the demo")
    path = (keep or Path(tempfile.mkdtemp(prefix="whalesync-demo-")) / "whalesync.db").absolute()
    ours, theirs = build_worlds(SEED, binary=24, categorical=4, whales=len(NAMES), days=30, trades_per_day=6)
    with Sandbox(ours.books, Polymarket(theirs.books), rate=RATE) as exchange:
        values = {
            API_KEY.name: exchange.key,
            API_URL.name: exchange.url,
            OPINION_TRADE_RATE.name: str(RATE),
            DATA_URL.name: exchange.polymarket_data_url,
            GAMMA_URL.name: exchange.polymarket_gamma_url,
            POLYMARKET_RATE.name: str(RATE),
            **({PUBLISH_URL.name: publish, SOURCE.name: "demo"} if publish else {}),
        }
        settings = Settings(path, values=values)
        print_error(
            f"A simulated Opinion.Trade with {len(ours.whales)} whales answers at {exchange.url}, "
            f"and Polymarket with {len(theirs.whales)} at {exchange.polymarket_data_url}."
        )
        watched = [
            *(WatchEntry(*each, OPINION_TRADE.name) for each in zip(ours.whales, NAMES, strict=True)),
            *(WatchEntry(*each, POLYMARKET.name) for each in zip(theirs.whales, POLYMARKET_NAMES, strict=True)),
        ]
        with open_database(path) as db:
            whales.add(db, watched, now_ms())
            if publish:
                _check_is_free(settings, db)
        # What the user has set up otherwise is not for simulated trades.
        for job in (each for each in JOBS if not each.set_up or (publish and each is PUBLISH)):
            with progress_line() as report_progress:
                run = perform(job, settings, log_step=step_logger(), report_progress=report_progress)
            print_error(f"whalesync {job.command}: {run.summary}")
    now = now_ms()
    with output.standard_output(sys.stdout) as out, open_database(path) as db:
        console = output.console_on(out)
        out.write("\n$ whalesync status\n")
        view.render(view.gather(db, settings, now), console)
        out.write("\n$ whalesync whales list\n")
        tables.render_whales(whales.listed(db), console, now)
        out.write(f"\n$ whalesync whales show '{NAMES[0]}'\n")
        first = next(row for row in whales.addresses(db) if row["label"] == NAMES[0])
        tables.render_whale(whale_detail(db, first["id"], now), console, now)
        out.write(f"\n$ whalesync activity --limit {FEED_ROWS}\n")
        tables.render_activity(feed.activity(db, "pro-plus", now, limit=FEED_ROWS), console, now)
    again = shlex.join([*this_program(), "--db", str(path), "whales", "list"])
    print_error(f"The demo's database is kept at {path}. Try: {again}")


def _check_is_free(settings: Settings, db: Database) -> None:
    """Keep simulated trades away from real ones.

    Raises:
        UsageError: the server has what other hosts have published.
    """
    from whalesync.jobs.publish import serving

    with serving(settings, db) as (server, _):
        if server.standing().others:
            raise UsageError("other hosts have published to this database: name an empty one")


@app.command(cls=Command, rich_help_panel=PANEL)
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0: any free port.")] = 8645,
) -> None:
    """Serve both simulated exchanges, to try a crontab before the key is approved. Ctrl-C ends it.

    Standard output has commands to paste into another terminal: an env file with a database of its own, the whales.
    """
    import shlex

    from whalesync.exchanges.opinion_trade import API_KEY, API_URL, OPINION_TRADE, WEB_URL
    from whalesync.exchanges.polymarket import DATA_URL, GAMMA_URL, POLYMARKET
    from whalesync.host.crontab import this_program
    from whalesync.host.env_file import with_values
    from whalesync.sandbox import Polymarket, Sandbox, build_worlds
    from whalesync.sandbox.polymarket import Limits
    from whalesync.settings import ALERTS_FILE, DB, ENV_FILE, SETTINGS, Settings, default_env_file

    # About a trade a minute, so that whoever tries a crontab sees them arrive.
    ours, theirs = build_worlds(SEED, days=2, trades_per_day=300, stalls=True)
    try:
        exchange = Sandbox(ours.books, Polymarket(theirs.books, limits=Limits()), port=port)
    except OSError as exc:
        raise UsageError(f"port {port} cannot be used ({exc.strerror}): choose another with --port") from exc
    settings = Settings.load()
    file = (settings.env_file or default_env_file()).with_name("sandbox.env")
    alerts = file.with_name("sandbox-alerts.toml")  # the user's own rules would announce simulated trades
    values = {
        API_KEY.name: exchange.key,
        API_URL.name: exchange.url,
        WEB_URL.name: exchange.web_url,
        DATA_URL.name: exchange.polymarket_data_url,
        GAMMA_URL.name: exchange.polymarket_gamma_url,
        DB.name: str(settings.db.with_name("sandbox.db")),
        ALERTS_FILE.name: str(alerts),
    }
    declared = [*SETTINGS, *OPINION_TRADE.settings, *POLYMARKET.settings]
    of_both = ((OPINION_TRADE.name, ours.whales, NAMES), (POLYMARKET.name, theirs.whales, POLYMARKET_NAMES))
    add = shlex.join([*this_program(), "whales", "add"])
    print_data(
        # The environment would win over the env file, and lead into the real database, or a real PostgreSQL server.
        f"unset {' '.join(each.name for each in declared)}\n"
        f"(umask 077; mkdir -p {shlex.quote(str(file.parent))}; : >>{shlex.quote(str(alerts))};"
        f" cat >{shlex.quote(str(file))}) <<'END'\n"
        f"{with_values('', values)}END\n"
        f"export {ENV_FILE.name}={shlex.quote(str(file))}\n"
        + "".join(
            f"{add} {address} --label {shlex.quote(label)} --exchange {platform}\n"
            for platform, addresses, names in of_both
            for address, label in zip(addresses, [*names, "Whale 4", "Whale 5"], strict=True)
        )
    )
    print_error(
        "Paste these lines into another terminal: its commands, and the crontab that they print, then use these "
        "exchanges and a database of its own. Serving; Ctrl-C ends it."
    )
    exchange.serve_forever()
