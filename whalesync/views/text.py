"""Words and figures for people. Text from outside is data: it is shown, never obeyed.

Conventions: money in USD with cents; a price, which is a probability from 0 to 1, as cents of a dollar with one
decimal (``62.5¢``), the way the field quotes outcomes; times in UTC. What is not known is shown as ``UNKNOWN``,
never as zero.
"""

from __future__ import annotations

import itertools
import re
import time

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

UNKNOWN = "–"

# What moves a cursor, starts an escape sequence, breaks a line, turns the reading direction, cannot be seen, or
# cannot be encoded. The joiners U+200C and U+200D stay: scripts and emoji need them, and they do no harm.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1 controls
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"  # invisible, or direction marks
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"  # separators, bidi overrides and isolates
    "\U000e0000-\U000e0fff\ud800-\udfff]"  # tags, lone surrogates
)

# What a spreadsheet takes for the start of a formula, its full-width forms included (OWASP "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def plain(text: str | None) -> str:
    r"""The text with everything harmful made visible, as ``\x1b``, ``\n`` or ``\u202e``; "" for None."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text or "")


def csv_cell(value: object) -> object:
    """A value for a CSV file: text is made plain and never starts a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return "" if value is None else value
    quote = "'" if value.startswith(_FORMULA) else ""
    return quote + plain(value)


def money(usd: float | None, *, signed: bool = False) -> str:
    """``$1,234.50``; ``signed`` also shows a plus."""
    if usd is None:
        return UNKNOWN
    figure = f"${abs(usd):,.2f}"
    return _sign(usd if figure != "$0.00" else 0, signed) + figure


def short_money(usd: float | None, *, signed: bool = False) -> str:
    """At most seven characters, for figures that are compared rather than added: ``$950``, ``$12.3K``, ``$4.5M``."""
    if usd is None:
        return UNKNOWN
    amount = abs(usd)
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if amount >= 0.9995 * unit:  # from here on the smaller unit would read "1000"
            return f"{_sign(usd, signed)}${amount / unit:.1f}{name}"
    figure = f"${amount:.0f}"
    return _sign(usd if figure != "$0" else 0, signed) + figure


def price(probability: float | None) -> str:
    """Cents of a dollar: ``62.5¢``. What is not quite nothing, or not quite certain, is never shown as if it were."""
    if probability is None:
        return UNKNOWN
    cents = probability * 100
    if 0 < cents < 0.05:
        return "<0.1¢"
    if 99.95 <= cents < 100:
        return ">99.9¢"
    return f"{cents:.1f}¢"


def percent(share: float | None) -> str:
    """``62.5%`` for 0.625."""
    return UNKNOWN if share is None else f"{share * 100:.1f}%"


def count(number: float | None) -> str:
    """``1,234`` for a whole number, ``1,234.50`` for a measure such as shares."""
    if number is None:
        return UNKNOWN
    return f"{number:,.2f}" if isinstance(number, float) else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """``1 trade``, ``1,234 trades``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(byte_count: int) -> str:
    """``512 bytes``, ``12.3 MB``."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if byte_count >= unit:
            return f"{byte_count / unit:.1f} {name}"
    return counted(byte_count, "byte")


def iso(ms: int | None) -> str:
    """``2026-03-01T12:00:00Z``; a number that no calendar holds is shown as it is."""
    if ms is None:
        return UNKNOWN
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // SECOND))
    except (OverflowError, OSError, ValueError):
        return str(ms)


def ago(ms: int | None, now: int) -> str:
    """``3 min ago``, ``in 2 h``, ``just now`` or ``never``: the moment ``ms`` as seen at ``now``."""
    if ms is None:
        return "never"
    distance = abs(now - ms)
    if distance < 2 * SECOND:
        return "just now"
    return f"in {_coarse(distance)}" if ms > now else f"{_coarse(distance)} ago"


def duration(ms: int | None) -> str:
    """``0.4 s``, ``42 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if ms is None:
        return UNKNOWN
    if ms < 10 * SECOND:
        return f"{ms / SECOND:.1f} s"
    units = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"))
    for (unit, name), (smaller, smaller_name) in itertools.pairwise(units):
        if ms >= unit:
            rest = ms % unit // smaller
            return f"{ms // unit} {name} {rest} {smaller_name}" if rest else f"{ms // unit} {name}"
    return f"{ms // SECOND} s"


def short_address(address: str) -> str:
    """``0x1234…abcd``; what is no address is made plain and left whole."""
    address = plain(address)
    return f"{address[:6]}…{address[-4:]}" if len(address) == 42 else address


def whale_name(label: str | None, address: str) -> str:
    """What a whale is called where space is short: its label, or its short address."""
    return plain(label) or short_address(address)


def _coarse(ms: int) -> str:
    if ms < MINUTE:
        return f"{ms // SECOND} s"
    if ms < HOUR:
        return f"{ms // MINUTE} min"
    if ms < 2 * DAY:
        return f"{ms // HOUR} h"
    return f"{ms // DAY} days"


def _sign(number: float, signed: bool) -> str:
    return "-" if number < 0 else "+" if signed and number > 0 else ""
