"""What people look at: status, the feed, the markets."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whalesync.cli.app import Command, Json, now_ms, settings, tell
from whalesync.cli.words import complete_whale, find_whale, parse_since
from whalesync.errors import NoDatabase, SettingsError
from whalesync.store.database import open_existing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

PANEL = "Looking"
FOLLOW_SECONDS = 1.0


class Tier(StrEnum):
    """Who looks: trades become visible with a delay."""

    FREE = "free"
    PRO = "pro"
    PRO_PLUS = "pro-plus"


Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many, at most.")]


def add_to(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for function in (status, activity, markets):
        app.command(cls=Command, rich_help_panel=PANEL)(function)


def status(
    as_json: Json = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 if a job is late, failing or never ran.")
    ] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Print Prometheus text.")] = False,
    limit: Limit = 10,
) -> int:
    """The last runs, and for each job whether it is healthy.

    Examples: whalesync status · whalesync status --check --json · whalesync status --metrics > whalesync.prom
    """
    from whalesync.views import output
    from whalesync.views import status as view

    if as_json and metrics:
        raise SettingsError("--json and --metrics cannot both be: take one")
    now, found = now_ms(), settings()
    try:
        with open_existing(found.db) as db:
            state = view.gather(db, now, limit, time_budget=found.time_budget)
    except NoDatabase as exc:
        if as_json:
            with output.standard_output(sys.stdout) as out:
                document = {"ok": False, "now": now, "error": str(exc), "database": {"path": str(found.db)}}
                output.write_json(document, out)
        else:
            tell(f"whalesync status: {exc}")
        return int(check or metrics)  # metrics of nothing must not look like those of a healthy file
    with output.standard_output(sys.stdout) as out:
        if as_json:
            output.write_json(view.as_json(state), out)
        elif metrics:
            out.write(view.prometheus(state))
        else:
            view.render(state, output.console_on(out))
    return int(check and not state.ok)


def activity(
    tier: Annotated[Tier, typer.Option("--tier", help="Who looks.")] = Tier.PRO_PLUS,
    whale: Annotated[
        str | None,
        typer.Option(
            "--whale", metavar="WHALE", help="An address or a label.", autocompletion=complete_whale
        ),
    ] = None,
    market: Annotated[
        str | None,
        typer.Option("--market", metavar="ID", help="The exchange's id; a parent's takes in its children."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="30m, 24h, 7d, or 2026-03-01T12:00.")
    ] = None,
    limit: Limit = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on, with what becomes visible.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The feed of trades as a tier sees it at this moment, newest first.

    Pro Plus sees a trade at once, Pro after 30 s, Free after 15 minutes.

    Examples: whalesync activity --since 24h · whalesync activity --tier free --follow
    """
    from whalesync.store import feed
    from whalesync.views import output, tables

    if follow and as_json:
        raise SettingsError("--follow never ends, one JSON document does: take --csv, or the table")
    now = now_ms()
    earliest = None if since is None else parse_since(since, now)
    with open_existing(settings().db) as db:
        narrow: dict[str, Any] = {"whale": find_whale(db, whale) if whale else None, "market": market}
        with db.read():
            rows = feed.activity(db, tier, now, **narrow, since=earliest, limit=limit)
            seen = feed.mark(db, now)
            tracked = feed.totals(db).tracked if not rows else None

        def show(console: Console) -> None:
            narrowed = bool(whale or market or since)
            tables.render_activity(rows, console, now, tier=tier, narrowed=narrowed, tracked=tracked)

        if follow:
            rows = rows[::-1]  # as on any feed that goes on below, the newest stands last
        _print(rows, feed.ACTIVITY_COLUMNS, show, as_json=as_json, as_csv=as_csv)
        with output.standard_output(sys.stdout) as out:  # ends when the reader goes
            while follow:
                time.sleep(FOLLOW_SECONDS)
                now = now_ms()
                news, seen = feed.news(db, tier, seen, now, **narrow)
                if as_csv:
                    output.write_csv(news, out, feed.ACTIVITY_COLUMNS, header=False)
                elif news:
                    tables.render_news(news, output.console_on(out))
                out.flush()


def markets(
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="A part of the title.")
    ] = None,
    category: Annotated[str | None, typer.Option("--category", metavar="C", help="Such as politics.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="S", help="created, activated, resolving, resolved, …")
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The market table, the biggest volume first.

    Examples: whalesync markets --search bitcoin · whalesync markets --status activated --csv --limit 1000
    """
    from whalesync.store import feed
    from whalesync.views import tables

    now = now_ms()
    with open_existing(settings().db) as db:
        rows = feed.markets(db, search=search, category=category, status=status, limit=limit)
    narrowed = bool(search or category or status)
    _print(
        rows,
        feed.MARKET_COLUMNS,
        lambda console: tables.render_markets(rows, console, now, narrowed=narrowed),
        as_json=as_json,
        as_csv=as_csv,
    )


def _print(
    rows: list[dict[str, Any]],
    columns: Sequence[str],
    show: Callable[[Console], None],
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    from whalesync.views import output

    if as_json and as_csv:
        raise SettingsError("--json and --csv cannot both be: take one")
    with output.standard_output(sys.stdout) as out:
        if as_json:
            output.write_json(rows, out)
        elif as_csv:
            output.write_csv(rows, out, columns)
        else:
            show(output.console_on(out))
