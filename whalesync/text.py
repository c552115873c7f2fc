"""Format text and figures for people. Text from outside is data: it is shown, never interpreted.

Conventions: money in USD with cents; a price, which is a probability from 0 to 1, as cents of a dollar with one
decimal (``62.5¢``), the way prediction markets quote outcomes; times in UTC, or in the zone of the host. What is not
known is shown as ``UNKNOWN``, never as zero.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from whalesync.records import BUY, SELL
from whalesync.units import DAY, HOUR, MINUTE, SECOND

UNKNOWN = "–"

# What moves a cursor, starts an escape sequence, breaks a line, changes the reading direction, is invisible, or
# cannot be encoded. The joiners U+200C and U+200D stay: scripts and emoji need them, and they are harmless.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1 controls
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"  # invisible, or direction marks
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"  # separators, bidi overrides and isolates
    "\U000e0000-\U000e0fff\ud800-\udfff]"  # tags, lone surrogates
)

# What a spreadsheet takes for the start of a formula, full-width forms included (OWASP "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")

TOPIC_SEPARATOR = " › "

_LINK = re.compile(r"https://[!-~]{1,2000}")
_SHORT_ID = 10  # as many characters of a long id are shown: 0x and 8 hex digits


def plain(text: str | None) -> str:
    r"""Escape everything harmful, as ``\x1b``, ``\n`` or ``\u202e``; "" for None."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text or "")


def link(url: str | None) -> str | None:
    """Return an address that a terminal may be given as a link: https, printable ASCII; None for any other."""
    return url if url and _LINK.fullmatch(url) else None


def csv_cell(value: object) -> object:
    """Make a value safe for a CSV file: text is escaped and never starts a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return "" if value is None else value
    # Spreadsheets skip spaces in front of a formula, and may take a control character for one.
    starts_formula = value.lstrip().startswith(_FORMULA) or value.startswith(("\t", "\r", "\n"))
    return ("'" if starts_formula else "") + plain(value)


def money(usd: float | None, *, signed: bool = False) -> str:
    """Format as ``$1,234.50``; ``signed`` also shows a plus."""
    if usd is None:
        return UNKNOWN
    figure = f"${abs(usd):,.2f}"
    return _sign(usd if figure != "$0.00" else 0, signed) + figure


def short_money(usd: float | None, *, signed: bool = False) -> str:
    """Format in at most seven characters, for figures that are compared: ``$950``, ``$12.3K``, ``$4.5M``."""
    if usd is None:
        return UNKNOWN
    amount = abs(usd)
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if amount >= 0.9995 * unit:  # from here on the smaller unit would round to 1000
            return f"{_sign(usd, signed)}${amount / unit:.1f}{name}"
    figure = f"${amount:.0f}"
    return _sign(usd if figure != "$0" else 0, signed) + figure


def price(probability: float | None) -> str:
    """Format as cents of a dollar: ``62.5¢``. Only 0 and 1 themselves are shown as 0 and 100 cents."""
    if probability is None:
        return UNKNOWN
    cents = probability * 100
    if 0 < cents < 0.05:
        return "<0.1¢"
    if 99.95 <= cents < 100:
        return ">99.9¢"
    return f"{cents:.1f}¢"


def share(fraction: float | None) -> str:
    """Format a part of a whole as a percentage: ``61.5%``."""
    return UNKNOWN if fraction is None else f"{fraction:.1%}"


def count(number: float | None) -> str:
    """Format a whole number as ``1,234``, a measure such as shares as ``1,234.50``."""
    if number is None:
        return UNKNOWN
    return f"{number:,.2f}" if isinstance(number, float) else f"{number:,}"


def counted(number: int | None, noun: str) -> str:
    """Format as ``1 trade`` or ``1,234 trades``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def id_ranges(ids: Iterable[int]) -> str:
    """Format the ids of rows as ``3, 7-12``."""
    ranges: list[list[int]] = []
    for each in sorted(ids):
        if ranges and each == ranges[-1][1] + 1:
            ranges[-1][1] = each
        else:
            ranges.append([each, each])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def size(byte_count: int) -> str:
    """Format as ``512 bytes`` or ``12.3 MB``."""
    from rich.filesize import decimal

    return decimal(byte_count)


def iso(ms: int | None, *, local: bool = False) -> str:
    """Format as ``2026-03-01T12:00:00Z``, ``local`` as ``2026-03-01T13:00:00+01:00``, in the host's zone.

    A number outside the calendar is shown as it is.
    """
    if ms is None:
        return UNKNOWN
    try:
        if local:
            return datetime.fromtimestamp(ms // SECOND, UTC).astimezone().isoformat()
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // SECOND))
    except (OverflowError, OSError, ValueError):
        return str(ms)


def short_time(ms: int | None, *, local: bool = False) -> str:
    """Format as ``03-01 12:00``."""
    return re.sub(r"^\d+-(\d\d-\d\d)T(\d\d:\d\d).*", r"\1 \2", iso(ms, local=local))


def minute(ms: int) -> str:
    """Format as ``2026-03-01 12:00 UTC``."""
    return f"{iso(ms)[:16].replace('T', ' ')} UTC"


def ago(ms: int | None, now: int) -> str:
    """Format the time ``ms`` as seen at ``now``: ``3 min ago``, ``in 2 h``, ``just now``; ``never`` for None."""
    if ms is None:
        return "never"
    distance = abs(now - ms)
    if distance < 2 * SECOND:
        return "just now"
    return f"in {_coarse(distance)}" if ms > now else f"{_coarse(distance)} ago"


def age(ms: int, now: int) -> str:
    """Format the time ``ms`` before ``now``, where it is clear that it is in the past: ``3 min``, ``now``."""
    return ago(ms, now).removeprefix("just ").removesuffix(" ago")


def duration(ms: int | None) -> str:
    """Format as ``0.4 s``, ``42 s``, ``3 min 20 s``, ``2 h 5 min`` or ``3 d 4 h``."""
    if ms is None:
        return UNKNOWN
    if ms < 10 * SECOND:
        return f"{ms / SECOND:.1f} s"
    days, hours, minutes, seconds = ms // DAY, ms % DAY // HOUR, ms % HOUR // MINUTE, ms % MINUTE // SECOND
    amounts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    while not amounts[0][0]:
        del amounts[0]
    return " ".join(f"{amount} {unit}" for amount, unit in amounts[:2] if amount)


def short_address(address: str) -> str:
    """Format as ``0x1234…abcd``; other text is escaped and left whole."""
    address = plain(address)
    return f"{address[:6]}…{address[-4:]}" if len(address) == 42 else address


def short_id(external_id: str) -> str:
    """Format a long id of a market as ``0x1234abcd…``; it is escaped."""
    shown = plain(external_id)
    return shown if len(shown) <= _SHORT_ID + 10 else f"{shown[:_SHORT_ID]}…"


def whale_name(label: str | None, address: str) -> str:
    """Return the label, or the short address of a whale without one."""
    return plain(label) or short_address(address)


def profit(action: str, usd: float | None) -> float | None:
    """Return the profit that a trade has realized, None where there is none to speak of.

    A buy realizes nothing. For other actions than a sell the exchange sends 0 where it has no figure.
    """
    return None if action == BUY or (action != SELL and not usd) else usd


def _coarse(ms: int) -> str:
    for limit, unit, name in ((MINUTE, SECOND, "s"), (HOUR, MINUTE, "min"), (2 * DAY, HOUR, "h")):
        if ms < limit:
            return f"{ms // unit} {name}"
    return f"{ms // DAY} days"


def _sign(number: float, signed: bool) -> str:
    return "-" if number < 0 else "+" if signed and number > 0 else ""
