"""What is stored: ``status``, ``activity``, ``markets``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from whalesync.cli import parse
from whalesync.cli.app import (
    Command,
    Csv,
    Json,
    new_app,
    now_ms,
    print_data,
    print_error,
    print_result,
    settings,
)
from whalesync.cli.parse import Category, Exchange, Limit, WhaleName
from whalesync.errors import NoDatabase, UsageError
from whalesync.store.database import open_existing

if TYPE_CHECKING:
    from rich.console import Console

FOLLOW_SECONDS = 1.0

PANEL = "What is stored"

app = new_app()


@app.command(cls=Command, rich_help_panel=PANEL)
def status(
    as_json: Json = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 if a job is late, failing or has not run although due.")
    ] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Print metrics for Prometheus.")] = False,
    limit: Limit = 10,
) -> int:
    """The last runs, and for each job whether it is healthy.

    Examples: whalesync status · whalesync status --check --json · whalesync status --metrics > whalesync.prom
    """
    from whalesync.views import status as view

    parse.only_one(json=as_json, metrics=metrics)
    now, found = now_ms(), settings()
    try:
        with open_existing(found.db) as db:
            state = view.gather(db, found, now, limit)
    except NoDatabase as exc:
        text = f"whalesync status: {exc}"
        document = {"ok": False, "now": now, "error": str(exc), "database": {"path": str(found.db)}}
        print_result(document, lambda _: print_error(text), as_json=as_json)
        return int(check or metrics)  # no metrics at all must not look like those of a healthy file
    if metrics:
        print_data(view.prometheus(state))
    else:
        print_result(view.as_json(state), lambda console: view.render(state, console), as_json=as_json)
    return int(check and not state.ok)


@app.command(cls=Command, rich_help_panel=PANEL)
def activity(
    tier: Annotated[Literal["free", "pro", "pro-plus"], typer.Option(help="Whose view to show.")] = "pro-plus",
    whale: Annotated[
        str | None, typer.Option(metavar="WHALE", help="An address or a label.", click_type=WhaleName())
    ] = None,
    market: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The exchange's id; that of a topic includes its markets."),
    ] = None,
    exchange: Exchange = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="30m, 24h, 7d, or 2026-03-01T12:00.")] = None,
    limit: Limit = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Keep printing trades as they become visible.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The feed of trades as a tier sees it at this moment, newest first.

    Pro Plus sees a trade at once, Pro after 30 s, Free after 15 min.

    Examples: whalesync activity --since 24h · whalesync activity --tier free --follow
    """
    from whalesync.store import feed, whales
    from whalesync.store.markets import market_ids
    from whalesync.views import output, tables

    parse.only_one(json=as_json, csv=as_csv)
    if follow and as_json:
        raise UsageError("--follow does not end, a JSON document does: use --csv or the table")
    now = now_ms()
    earliest = None if since is None else parse.parse_since(since, now)
    with open_existing(settings().db) as db:

        def choose() -> dict[str, Any]:
            ids = market_ids(db, market, exchange) if market else None
            if market and not ids:
                advice = "'whalesync markets --search TEXT' finds ids by title"
                raise UsageError(f"no market has the id {market[:50]!r}: {advice}")
            whale_id = parse.find_whale(db, whale, exchange)["id"] if whale else None
            return {"whale_id": whale_id, "market_ids": ids, "platform": exchange}

        chosen = choose()
        with db.read():
            rows = feed.activity(db, tier, now, **chosen, since=earliest, limit=limit)
            cursor = feed.cursor(db, now)
        tracked = None if rows else len(whales.addresses(db))

        def render(console: Console) -> None:
            narrowed = bool(whale or market or exchange or since)
            tables.render_activity(rows, console, now, tier=tier, narrowed=narrowed, tracked=tracked)

        if follow:
            rows = rows[::-1]  # what is new is printed below
        print_result(rows, render, as_json=as_json, columns=feed.ACTIVITY_COLUMNS if as_csv else None)
        with output.standard_output(sys.stdout) as out:  # ends when the reader goes
            while follow:
                time.sleep(FOLLOW_SECONDS)
                if db.reopen_if_replaced():
                    print_error("whalesync activity: the database was restored; going on with what arrives from now on")
                    chosen, cursor = choose(), feed.cursor(db, now_ms())
                rows, cursor = feed.new_activity(db, tier, cursor, now_ms(), **chosen)
                if as_csv:
                    output.write_csv(rows, out, feed.ACTIVITY_COLUMNS, header=False)
                else:
                    tables.render_new_activity(rows, output.console_on(out))
                out.flush()


@app.command(cls=Command, rich_help_panel=PANEL)
def markets(
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the title, in any case.")] = None,
    category: Annotated[str | None, typer.Option(metavar="C", help="Such as politics.", click_type=Category())] = None,
    status: Annotated[
        Literal["created", "activated", "resolving", "resolved", "failed", "deleted"] | None,
        typer.Option(case_sensitive=False, help="Only markets with this status."),
    ] = None,
    kind: Annotated[
        Literal["market", "topic"],
        typer.Option(help="What can be traded, or the topics that group such markets."),
    ] = "market",
    exchange: Exchange = None,
    limit: Limit = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The market table, highest volume first.

    Examples: whalesync markets --search bitcoin · whalesync markets --status activated --csv --limit 1000
    """
    from whalesync.store import markets as stored
    from whalesync.views import tables

    parse.only_one(json=as_json, csv=as_csv)
    now = now_ms()
    with open_existing(settings().db) as db:
        rows = stored.listed(
            db, search=search, category=category, status=status, kind=kind, platform=exchange, limit=limit
        )
    narrowed = bool(search or category or status or exchange)
    print_result(
        rows,
        lambda console: tables.render_markets(rows, console, now, narrowed=narrowed),
        as_json=as_json,
        columns=stored.MARKET_COLUMNS if as_csv else None,
    )
