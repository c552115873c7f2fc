"""Parse what people type: addresses, labels, times; and suggest the nearest right word for a wrong one."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import click
import typer
from click.shell_completion import CompletionItem

from whalesync.errors import Ambiguous, UsageError, WhalesyncError
from whalesync.exchanges import EXCHANGES
from whalesync.records import TOPIC
from whalesync.settings import DB, Settings
from whalesync.store import markets, whales
from whalesync.store.database import Database, open_existing
from whalesync.units import parse_span

MAX_LABEL_CHARS = 200
MAX_ROWS = 10**9  # SQLite takes a LIMIT of 64 bits
MOST_CHOICES = 12

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_ENDS = re.compile(r"(0x[0-9a-f]{4,})(?:(?:…|\.\.\.)([0-9a-f]*))?")


class Stored(click.types.StringParamType):
    """A text that the shell completes from what is in the file."""

    def words(self, db: Database) -> list[str]:
        """Return all that it can be."""
        raise NotImplementedError

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin with what was typed, in any case."""
        db = getattr(ctx.find_object(object), "db", None)
        try:
            with open_existing(Settings.load(overrides={DB.name: db}).db) as database:
                words = self.words(database)
        except WhalesyncError:
            return []
        typed = incomplete.casefold()
        return [CompletionItem(_for_shell(word)) for word in words if word.casefold().startswith(typed)]


class WhaleName(Stored):
    """An address or a label of the watch list."""

    name = "whale"

    def words(self, db: Database) -> list[str]:
        """Return the labels and the addresses."""
        return [word for row in whales.addresses(db) for word in (row["label"], row["address"]) if word]


class Category(Stored):
    """A category of markets."""

    name = "category"

    def words(self, db: Database) -> list[str]:
        """Return the categories that the file has."""
        from whalesync.store.markets import categories

        return categories(db)


def _for_shell(word: str) -> str:
    """Quote for bash, which inserts a completion as it is; other shells quote by themselves."""
    typed = os.environ.get("COMP_WORDS", "")
    in_quotes = typed.count('"') % 2 or typed.count("'") % 2
    if os.environ.get("_WHALESYNC_COMPLETE") != "complete_bash" or in_quotes:
        return word
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", word)


Whale = Annotated[
    str, typer.Argument(metavar="WHALE", help="An address or a label, or a part of it.", click_type=WhaleName())
]
Exchange = Annotated[
    str | None,
    typer.Option(metavar="E", help=f"One of {', '.join(EXCHANGES)}.", click_type=click.Choice(list(EXCHANGES))),
]
Local = Annotated[bool, typer.Option("--local", help="Show times in the zone of this host.")]
Limit = Annotated[int, typer.Option(min=1, max=MAX_ROWS, metavar="N", help="Show at most N rows.")]

LimitEach = Annotated[
    int | None, typer.Option(min=1, max=MAX_ROWS, metavar="N", help="Show at most N rows of each table.")
]


def parse_address(text: str) -> str:
    """Return a wallet address in lower case.

    Raises:
        UsageError: it is not an address.
    """
    address = text.strip().lower()
    if _ADDRESS.fullmatch(address):
        return address
    digits = address.removeprefix("0x")
    if not address.startswith("0x"):
        what = f"{text[:50]!r} does not begin with 0x"
    elif wrong := re.search(r"[^0-9a-f]", digits):
        what = f"this one contains {wrong[0]!r}"
    else:
        what = f"this one has {len(digits)} digits"
    raise UsageError(f"an address is 0x and 40 hex digits: {what}")


def parse_label(text: str) -> str:
    """Return a label without spaces around it; "" stands for no label.

    Raises:
        UsageError: it is too long, or not UTF-8.
    """
    label = text.strip()
    if len(label) > MAX_LABEL_CHARS or re.search("[\ud800-\udfff]", label):
        raise UsageError(f"a label is UTF-8 text of at most {MAX_LABEL_CHARS} characters")
    return label


def find_whale(db: Database, text: str, exchange: str | None = None, *, whole: bool = False) -> Any:
    """Return the row of the whale that an address or a label names, tracked or not.

    A part of a label will do, and the ends of an address, as in ``0x5a68…6428``, unless it must be ``whole``.

    Raises:
        UsageError: there is none, with the nearest label or address.
        Ambiguous: there are several.
    """
    rows = [row for row in whales.addresses(db, everyone=True) if exchange in (None, row["platform"])]
    wanted, part = text.strip().lower(), text.strip().casefold()
    hits = (
        [row for row in rows if row["address"] == wanted]
        or [row for row in rows if row["label"] == text]
        or [row for row in rows if row["label"] and row["label"].casefold() == text.casefold()]
    )
    if not hits and not whole and part:
        ends = _ENDS.fullmatch(wanted)
        hits = [
            row
            for row in rows
            if (ends and row["address"].startswith(ends[1]) and row["address"].endswith(ends[2] or ""))
            or part in (row["label"] or "").casefold()
        ]
    if len(hits) == 1:
        return hits[0]
    if not hits:
        from difflib import get_close_matches

        near = get_close_matches(text, [word for row in rows for word in (row["label"], row["address"]) if word])
        advice = f"; did you mean {near[0]!r}?" if near else ": see 'whalesync whales list --all'"
        raise UsageError(f"no whale {text[:50]!r} on the watch list{advice}")
    one_exchange = len({row["platform"] for row in hits}) == 1
    choices = [
        row["address"] + ("" if one_exchange else f" --exchange {row['platform']}") + f"  {row['label'] or ''}".rstrip()
        for row in hits
    ]
    if len({row["address"] for row in hits}) == 1:
        raise Ambiguous(f"{text[:50]!r} is a wallet of {len(hits)} exchanges; name one of them:", choices)
    raise Ambiguous(f"{len(hits)} whales match {text[:50]!r}; use one of these addresses:", _first(choices))


def find_market(db: Database, text: str, exchange: str | None = None) -> markets.Named:
    """Return the market or topic that an id, the beginning of a long id, or words of the title name.

    Raises:
        UsageError: there is none.
        Ambiguous: there are several.
    """
    hits = markets.named(db, text, exchange)
    if len(hits) == 1:
        return hits[0]
    if not hits:
        raise UsageError(f"no market {text[:50]!r}: 'whalesync markets --search TEXT' finds one by a part of its title")
    one_exchange = len({each.platform for each in hits}) == 1
    choices = [
        each.external_id
        + ("" if one_exchange else f" --exchange {each.platform}")
        + f"  {each.title}{' (topic)' if each.kind == TOPIC else ''}"
        for each in hits
    ]
    raise Ambiguous(f"{len(hits)} markets match {text[:50]!r}; use one of these ids:", _first(choices))


def _first(choices: list[str]) -> list[str]:
    more = len(choices) - MOST_CHOICES
    return choices if more <= 0 else [*choices[:MOST_CHOICES], f"and {more:,} more"]


def parse_since(text: str, now: int) -> int:
    """Return a time in milliseconds, from a span before ``now`` (24h, 7d) or an ISO time (UTC unless it says so).

    Raises:
        UsageError: it is neither.
    """
    if (span := parse_span(text)) is not None:
        return now - span
    try:
        moment = datetime.fromisoformat(text.strip())
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since takes a span such as 30m, 24h or 7d, or a time such as 2026-03-01T12:00, not {text[:40]!r}"
        ) from None


def only_one(**chosen: bool) -> None:
    """Refuse options that exclude each other.

    Raises:
        UsageError: more than one of them is set.
    """
    names = [f"--{name}" for name, wanted in chosen.items() if wanted]
    if len(names) > 1:
        raise UsageError(f"use only one of {' and '.join(names)}")
