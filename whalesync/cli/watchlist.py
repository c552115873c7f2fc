"""The watch list: ``whales add``, ``discover``, ``remove``, ``list``, ``show``, ``import``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from whalesync.cli import parse
from whalesync.cli.app import Command, Csv, Json, new_app, now_ms, print_error, print_result, settings, step_logger
from whalesync.cli.parse import Exchange, Limit, LimitEach, Local, Whale
from whalesync.errors import NoDatabase, OutOfTime, UsageError, WhalesyncError
from whalesync.exchanges import DEFAULT_EXCHANGE, EXCHANGES, title_of
from whalesync.exchanges.base import Candidate
from whalesync.exchanges.base import Exchange as ExchangeEntry
from whalesync.store import whales
from whalesync.store.database import open_database, open_existing
from whalesync.store.whales import WatchEntry

LOOK_UP_SECONDS = 5.0

whales_app = new_app(help="The watch list: which wallets are tracked.")
app = new_app()
app.add_typer(whales_app, name="whales", rich_help_panel="What is stored")


@whales_app.command(cls=Command)
def add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="0x and 40 hex digits.")],
    label: Annotated[str | None, typer.Option(metavar="TEXT", help='A name for it; "" removes the name.')] = None,
    exchange: Exchange = None,
) -> None:
    """Track a wallet. Adding it again is no error; a new label replaces the old one.

    Without --exchange it is a wallet of Opinion.Trade. The same address may be tracked on several exchanges.

    Example: whalesync whales add 0x5a683d7ec4cb2c638d007d342e38eafaabf56428 --label "Moby Dick"
    """
    name, entry = parse.parse_address(address), EXCHANGES[exchange or DEFAULT_EXCHANGE]
    label = None if label is None else parse.parse_label(label)
    with open_database(settings().db) as db:
        added = whales.add(db, [WatchEntry(name, label, entry.name)], now_ms())
    if added.new:
        print_error(f"Added {name} of {entry.title} to the watch list.")
        _look_up(entry, name)
    elif added.relabelled:
        what = f"Changed the label of {name} to {label!r}" if label else f"Removed the label of {name}"
        print_error(f"{what}; it was already on the watch list.")
    else:
        print_error(f"{name} of {entry.title} was already on the watch list.")


@whales_app.command(cls=Command)
def discover(
    exchange: Exchange = None,
    by: Annotated[Literal["profit", "volume"], typer.Option(help="What they are ranked by.")] = "profit",
    period: Annotated[Literal["day", "week", "month", "all"], typer.Option(help="Over which time.")] = "month",
    limit: Limit = 20,
    add_them: Annotated[bool, typer.Option("--add", help="Put them on the watch list.")] = False,
    as_json: Json = False,
) -> None:
    """Wallets worth watching, from the leaderboard of an exchange (Opinion.Trade unless --exchange says otherwise).

    Examples: whalesync whales discover · whalesync whales discover --by volume --period week --limit 5 --add
    """
    from whalesync.views import tables

    found, platform = settings(), exchange or DEFAULT_EXCHANGE
    candidates = EXCHANGES[platform].discover(found, by=by, period=period, limit=limit, log_step=step_logger())
    try:
        with open_existing(found.db) as db:
            known = {row["address"]: row for row in whales.listed(db) if row["platform"] == platform}
    except NoDatabase:
        known = {}
    rows = [{**each._asdict(), "whale": known.get(each.address)} for each in candidates]
    print_result(rows, lambda console: tables.render_candidates(rows, console, by=by), as_json=as_json)
    if add_them:
        new = [suggestion(each, platform) for each in candidates if each.address not in known]
        with open_database(found.db) as db:
            added = whales.add(db, new, now_ms())
        print_error(_how_many(added.new, len(candidates) - added.new))


@whales_app.command(cls=Command)
def remove(whale: Whale, exchange: Exchange = None) -> None:
    """Stop tracking a wallet; its history stays."""
    with open_database(settings().db) as db:
        row = parse.find_whale(db, whale, exchange, whole=True)
        if not whales.remove(db, row["platform"], row["address"], now_ms()):
            raise UsageError(f"{row['address']} is not tracked any more")
    title = title_of(row["platform"])
    print_error(f"{row['address']} of {title} is no longer tracked; its history stays.")


@whales_app.command(name="list", cls=Command)
def list_(
    by: Annotated[
        Literal["volume", "profit", "7d", "active"],
        typer.Option(
            help="What comes first: the highest volume, realized profit or volume of 7 days, or the last active."
        ),
    ] = "volume",
    exchange: Exchange = None,
    as_json: Json = False,
    as_csv: Csv = False,
    everyone: Annotated[bool, typer.Option("--all", help="Include wallets that are no longer tracked.")] = False,
) -> None:
    """The watch list, sorted as --by says; wallets whose figure is not known come last.

    Examples: whalesync whales list --by profit · whalesync whales list --by 7d --exchange opinion_trade --csv
    """
    from whalesync.views import tables

    parse.only_one(json=as_json, csv=as_csv)
    try:
        with open_existing(settings().db) as db:
            rows = whales.listed(db, everyone=everyone, by=by, platform=exchange)
    except NoDatabase:
        rows = []
    print_result(
        rows,
        lambda console: tables.render_whales(rows, console, now_ms()),
        as_json=as_json,
        columns=whales.COLUMNS if as_csv else None,
    )


@whales_app.command(cls=Command)
def show(
    whale: Whale,
    exchange: Exchange = None,
    limit: LimitEach = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """One whale: statistics, profit, open positions, a chart of its activity, its markets, its last trades.

    Examples: whalesync whales show "Moby Dick" · whalesync whales show moby --limit 50 --local
    """
    from whalesync.store.whale_detail import whale_detail
    from whalesync.views import tables

    now = now_ms()
    with open_existing(settings().db) as db:
        whale_id = parse.find_whale(db, whale, exchange)["id"]
        detail = whale_detail(db, whale_id, now, top_markets=limit or 5, last_trades=limit or 10)
    known = EXCHANGES.get(detail.row["platform"])
    hint = known.no_trades_hint if known else ""
    print_result(
        tables.whale_as_json(detail, limit),
        lambda console: tables.render_whale(detail, console, now, no_trades_hint=hint, limit=limit, local=local),
        as_json=as_json,
    )


@whales_app.command(name="import", cls=Command)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A text file, or - for standard input.")],
    exchange: Exchange = None,
) -> None:
    """Track many wallets: one a line, as ADDRESS, ADDRESS,LABEL or ADDRESS,LABEL,EXCHANGE; # begins a comment.

    --exchange is that of the lines that name none; without it, Opinion.Trade. All or none: if a line cannot be read,
    the error names it and nothing changes.
    """
    from whalesync.text import counted

    entries = list(parse_entries(file, read_list(file), exchange or DEFAULT_EXCHANGE))
    with open_database(settings().db) as db:
        added = whales.add(db, entries, now_ms())
    relabelled = f", {counted(added.relabelled, 'label')} changed" if added.relabelled else ""
    print_error(_how_many(added.new, added.known + added.relabelled, relabelled))


def _how_many(new: int, there: int, more: str = "") -> str:
    from whalesync.text import counted

    return f"Added {counted(new, 'wallet')}; {there:,} {'was' if there == 1 else 'were'} already there{more}."


def _look_up(exchange: ExchangeEntry, address: str) -> None:
    """Say so if an exchange lists no trades of a wallet; where it cannot be asked at once, the jobs will tell."""
    import time

    until = time.monotonic() + LOOK_UP_SECONDS
    try:
        found = settings()
        with exchange.connect(found, first_backoff=LOOK_UP_SECONDS, until=until, log_step=step_logger()) as connection:
            if connection.count_trades(address) == 0:
                print_error(f"{exchange.no_trades_hint}.")
    except (WhalesyncError, OutOfTime):
        return


def suggestion(candidate: Candidate, platform: str) -> WatchEntry:
    """Return a wallet of the leaderboard as an entry; the name that it has there is its label, if it can be one."""
    try:
        label = parse.parse_label(candidate.name or "") or None
    except UsageError:
        label = None
    return WatchEntry(candidate.address, label, platform, is_suggested=True)


def read_list(file: str) -> str:
    """Read a text file, or standard input for ``-``.

    Raises:
        UsageError: it cannot be read, or is not UTF-8 text.
    """
    try:
        if file != "-":
            return Path(file).read_text(encoding="utf-8-sig")
        if sys.stdin is None:
            raise UsageError("standard input is closed: give the name of a file")
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except OSError as exc:
        raise UsageError(f"cannot read {file} ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{file} is not UTF-8 text") from exc


def parse_entries(file: str, text: str, platform: str) -> Iterator[WatchEntry]:
    """Yield the wallets of an import's lines; ``file`` is what errors call it, ``platform`` where no line names one.

    Raises:
        UsageError: a line cannot be read; it is named.
    """
    import csv

    for number, line in enumerate(text.splitlines(), start=1):
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
            address, label, exchange, *_ = [*cells, "", "", ""]
            if not address or address.startswith("#") or (number == 1 and address.lower() == "address"):
                continue
            if exchange and exchange not in EXCHANGES:
                raise UsageError(f"no exchange {exchange[:50]!r}: use {' or '.join(EXCHANGES)}")
            yield WatchEntry(parse.parse_address(address), parse.parse_label(label) or None, exchange or platform)
        except (UsageError, csv.Error) as exc:
            raise UsageError(f"line {number} of {file}: {exc}; nothing was changed") from exc
