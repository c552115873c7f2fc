"""What is stored: ``status``, ``activity``, ``markets``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from click import Choice
from click.core import ParameterSource

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
from whalesync.cli.parse import Category, Exchange, Limit, LimitEach, Local, WhaleName
from whalesync.errors import NoDatabase, UsageError
from whalesync.records import KINDS, MARKET, STATUSES, TIER_DELAYS_MS
from whalesync.store.database import Database, open_existing

if TYPE_CHECKING:
    from rich.console import Console

    from whalesync.store.feed import Cursor, Row

FOLLOW_SECONDS = 1.0

PANEL = "What is stored"

app = new_app()
markets_app = new_app()
app.add_typer(markets_app, name="markets", rich_help_panel=PANEL)


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
    tier: Annotated[
        str, typer.Option(help="Whose view to show.", click_type=Choice(list(TIER_DELAYS_MS)))
    ] = "pro-plus",
    whale: Annotated[
        str | None,
        typer.Option(metavar="WHALE", help="An address or a label, or a part of it.", click_type=WhaleName()),
    ] = None,
    market: Annotated[
        str | None, typer.Option(metavar="MARKET", help="An id or words of a title; a topic stands for its markets.")
    ] = None,
    exchange: Exchange = None,
    min_usd: Annotated[
        float | None,
        typer.Option(min=0, metavar="N", help="Only trades of at least N USD; fills within a minute count together."),
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="30m, 24h, 7d, or 2026-03-01T12:00.")] = None,
    limit: Limit = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Keep printing trades as they become visible.")] = False,
    local: Local = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with --follow one object a line.")
    ] = False,
    as_csv: Csv = False,
) -> None:
    """The feed of trades as a tier sees it at this moment, newest first.

    Pro Plus sees a trade at once, Pro after 30 s, Free after 15 min. --min-usd finds trades as a person sees them: the
    fills of one whale in one market, side and action within one transaction, or within a minute of the first, together.

    Examples: whalesync activity --since 24h --min-usd 1000 · whalesync activity --market "fed march" --follow
    """
    from whalesync.store import feed, whales
    from whalesync.store.markets import market_ids
    from whalesync.text import iso
    from whalesync.views import tables

    parse.only_one(json=as_json, csv=as_csv)
    now = now_ms()
    earliest = None if since is None else parse.parse_since(since, now)
    with open_existing(settings().db) as db:

        def choose() -> dict[str, Any]:
            return {
                "whale_id": parse.find_whale(db, whale, exchange)["id"] if whale else None,
                "market_ids": market_ids(db, parse.find_market(db, market, exchange)) if market else None,
                "platform": exchange,
            } | ({"min_usd": min_usd} if min_usd else {})

        with db.read():
            if min_usd:
                rows, searched_from = feed.large_trades(db, tier, now, **choose(), since=earliest, limit=limit)
            else:
                rows, searched_from = feed.activity(db, tier, now, **choose(), since=earliest, limit=limit), None
            cursor = feed.cursor(db, now)
            tracked = None if rows else len(whales.addresses(db))

        def render(console: Console) -> None:
            narrowed = bool(whale or market or exchange or min_usd or since)
            tables.render_activity(rows, console, now, tier=tier, narrowed=narrowed, tracked=tracked, local=local)

        if searched_from is not None:
            print_error(
                f"Searched the newest {feed.MOST_READ:,} fills, back to {iso(searched_from)}: to search further, use "
                "--whale or --market."
            )
        if not follow or not (rows or as_json or as_csv):
            print_result(rows, render, as_json=as_json, columns=feed.ACTIVITY_COLUMNS if as_csv else None)
        if follow:
            _follow(db, tier, rows[::-1], cursor, choose, _writer(as_json=as_json, as_csv=as_csv, local=local))


def _writer(*, as_json: bool, as_csv: bool, local: bool) -> Callable[[Sequence[Row], TextIO], None]:
    """Return what writes the rows of a feed bit by bit."""
    from whalesync.store.feed import ACTIVITY_COLUMNS
    from whalesync.views import output, tables

    if as_json:
        return output.write_json_lines
    if as_csv:
        header = True

        def write_csv(rows: Sequence[Row], out: TextIO) -> None:
            nonlocal header
            output.write_csv(rows, out, ACTIVITY_COLUMNS, header=header)
            header = False

        return write_csv
    table = tables.FollowedTable(local=local)
    return lambda rows, out: table.print(rows, output.console_on(out))


def _follow(
    db: Database,
    tier: str,
    rows: Sequence[Row],
    cursor: Cursor,
    choose: Callable[[], dict[str, Any]],
    write: Callable[[Sequence[Row], TextIO], None],
) -> None:
    """Write these rows, then what becomes visible of what ``choose`` says, until the reader goes."""
    from whalesync.store import feed
    from whalesync.views import output

    chosen = choose()
    with output.standard_output(sys.stdout) as out:
        while True:
            write(rows, out)
            out.flush()
            time.sleep(FOLLOW_SECONDS)
            if db.reopen_if_replaced():
                print_error("whalesync activity: the database was restored; continuing with new trades")
                chosen, cursor = choose(), feed.cursor(db, now_ms())
            rows, cursor = feed.new_activity(db, tier, cursor, now_ms(), **chosen)


@markets_app.callback(invoke_without_command=True, no_args_is_help=False)
def markets(
    ctx: typer.Context,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the title, in any case.")] = None,
    category: Annotated[str | None, typer.Option(metavar="C", help="Such as politics.", click_type=Category())] = None,
    status: Annotated[
        str | None,
        typer.Option(help="Only markets with this status.", click_type=Choice(STATUSES, case_sensitive=False)),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(help="What can be traded, or the topics that group such markets.", click_type=Choice(KINDS)),
    ] = MARKET,
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

    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is not ParameterSource.DEFAULT for name in ctx.params):
            raise UsageError(f"'{ctx.invoked_subcommand}' takes its options after it")
        return
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


@markets_app.command(cls=Command)
def show(
    market: Annotated[str, typer.Argument(metavar="MARKET", help="An id, or words of the title.")],
    exchange: Exchange = None,
    limit: LimitEach = None,
    as_json: Json = False,
) -> None:
    """One market: its price, the markets of a topic, and what the watched whales hold and trade in it.

    Examples: whalesync markets show 1009 · whalesync markets show "fed march"
    """
    from whalesync.store.market_detail import market_detail
    from whalesync.views import market as view

    now = now_ms()
    with open_existing(settings().db) as db:
        detail = market_detail(db, parse.find_market(db, market, exchange))
    print_result(
        view.market_as_json(detail, limit),
        lambda console: view.render_market(detail, console, now, limit=limit),
        as_json=as_json,
    )
