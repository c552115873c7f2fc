"""The watch list: ``whales add``, ``remove``, ``list``, ``show``, ``import``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from whalesync.cli.app import Command, Json, new_app, now_ms, settings, tell
from whalesync.cli.words import complete_whale, did_you_mean, find_whale, parse_address
from whalesync.errors import NoDatabase, SettingsError
from whalesync.store import whales
from whalesync.store.database import open_database, open_existing

MAX_LABEL_CHARS = 200

app = new_app("The watch list: which wallets are tracked.")

Known = Annotated[
    str, typer.Argument(metavar="WHALE", help="An address or a label.", autocompletion=complete_whale)
]


@app.command(cls=Command)
def add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="0x and 40 hex digits.")],
    label: Annotated[str | None, typer.Option("--label", metavar="TEXT", help="What to call it.")] = None,
) -> None:
    """Track a wallet. Adding it twice is no error; a new label replaces the old one.

    Example: whalesync whales add 0x5a683d7ec4cb2c638d007d342e38eafaabf56428 --label "Moby Dick"
    """
    entry = (parse_address(address), _label(label))
    with open_database(settings().db) as db:
        new, _ = whales.add(db, [entry], now_ms())
    tell(f"{entry[0]} is {'now' if new else 'already'} on the watch list")


@app.command(cls=Command)
def remove(whale: Known) -> None:
    """Stop tracking a wallet; its history stays."""
    with open_database(settings().db) as db:
        address = find_whale(db, whale)
        if not whales.remove(db, address, now_ms()):
            known = [row["address"] for row in whales.addresses(db)]
            raise SettingsError(f"{address} is not on the watch list{did_you_mean(address, known)}")
    tell(f"{address} is no longer tracked; its history stays")


@app.command(name="list", cls=Command)
def list_(
    as_json: Json = False,
    everyone: Annotated[bool, typer.Option("--all", help="Also those that are no longer tracked.")] = False,
) -> None:
    """The watch list, the biggest volume first."""
    from whalesync.store import feed
    from whalesync.views import output, tables

    try:
        with open_existing(settings().db) as db:
            rows = feed.whales(db, everyone=everyone)
    except NoDatabase:
        rows = []
    with output.standard_output(sys.stdout) as out:
        if as_json:
            output.write_json(rows, out)
        else:
            tables.render_whales(rows, output.console_on(out), now_ms())


@app.command(cls=Command)
def show(whale: Known, as_json: Json = False) -> None:
    """One whale: statistics, a picture of its activity, its markets, its last trades."""
    from whalesync.store import feed
    from whalesync.views import output, tables

    now = now_ms()
    with open_existing(settings().db) as db:
        address = find_whale(db, whale)
        detail = feed.whale(db, address, now)
        known = [row["address"] for row in whales.addresses(db)]
    if detail is None:
        raise SettingsError(f"{address} was never on the watch list{did_you_mean(address, known)}")
    with output.standard_output(sys.stdout) as out:
        if as_json:
            output.write_json(tables.whale_as_json(detail), out)
        else:
            tables.render_whale(detail, output.console_on(out), now)


@app.command(name="import", cls=Command)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A text file, or - for standard input.")],
) -> None:
    """Track many wallets: one a line, as ADDRESS or ADDRESS,LABEL; # begins a comment.

    All or none: a line that cannot be read is named, and nothing is changed.
    """
    entries = _read_list(file)
    with open_database(settings().db) as db:
        new, known = whales.add(db, entries, now_ms())
    tell(f"{new} wallets are new on the watch list, {known} were on it")


def _read_list(file: str) -> list[tuple[str, str | None]]:
    import csv

    try:
        if file == "-":
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        else:
            with open(file, encoding="utf-8-sig") as stream:
                text = stream.read()
    except OSError as exc:
        raise SettingsError(f"{file} cannot be read ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{file} is not UTF-8 text") from exc
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
        if (
            not cells
            or not cells[0]
            or cells[0].startswith("#")
            or (number == 1 and cells[0].lower() == "address")
        ):
            continue
        try:
            entries.append((parse_address(cells[0]), _label(cells[1] if len(cells) > 1 else None)))
        except SettingsError as exc:
            raise SettingsError(f"line {number} of {file}: {exc}; nothing was changed") from exc
    return entries


def _label(text: str | None) -> str | None:
    label = (text or "").strip()
    if len(label) > MAX_LABEL_CHARS:
        raise SettingsError(f"a label has at most {MAX_LABEL_CHARS} characters")
    try:
        label.encode()
    except UnicodeEncodeError:
        raise SettingsError("a label must be UTF-8 text") from None
    return label or None
