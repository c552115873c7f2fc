"""Draw bought and sold volume by day: buys above the axis, sells below it.

Position and glyph tell the two apart, so the chart reads the same without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whalesync.records import BUY, SELL
from whalesync.text import short_money

ROWS = 7  # on each side of the axis, at most
WIDEST_BAR = 5


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a chart."""

    buy: str
    sell: str
    rule: str
    corner: str
    axis: str


UNICODE = Glyphs(buy="█", sell="▒", rule="│", corner="┼", axis="─")
ASCII = Glyphs(buy="#", sell="-", rule="|", corner="+", axis="=")


def volume_chart(
    days: Sequence[str],
    bought: Sequence[float],
    sold: Sequence[float],
    *,
    width: int,
    glyphs: Glyphs = UNICODE,
) -> list[tuple[str, str]]:
    """Return the lines of the chart, each with the action that it shows or ""; no lines if there is no volume.

    ``days`` are ISO dates, one for each pair of volumes; ``width`` is in cells. Both sides have one scale;
    whatever is not zero shows at least one glyph. Where there is no room for all days, the oldest are left out.
    """
    margin = max(len(short_money(volume)) for volume in (0, *bought, *sold))
    room = max(1, width - margin - 2)
    days, bought, sold = days[-room:], bought[-room:], sold[-room:]
    most = max((*bought, *sold), default=0)
    if most <= 0:
        return []
    top, bottom, shown = short_money(max(bought)), short_money(max(sold)), len(days)
    bar = max(1, min(WIDEST_BAR, room // shown))
    up = [_height(volume, most) for volume in bought]
    down = [_height(volume, most) for volume in sold]

    def line(label: str, heights: Sequence[int], level: int, glyph: str) -> str:
        # A gap between wide bars; bars of one cell stand side by side.
        mark = glyph * max(1, bar - 1) + " " * (bar > 1)
        bars = "".join(mark if height >= level else " " * bar for height in heights)
        return f"{label:>{margin}} {glyphs.rule}{bars}".rstrip()

    highest, deepest = max(up), max(down)
    above = [(BUY, line(top if n == highest else "", up, n, glyphs.buy)) for n in range(highest, 0, -1)]
    below = [
        (SELL, line(bottom if n == deepest else "", down, n, glyphs.sell)) for n in range(1, deepest + 1)
    ]
    axis = " " * margin + " " + glyphs.corner + glyphs.axis * (bar * shown)
    return [*above, ("", axis), *below, ("", " " * (margin + 2) + _dates(days, bar))]


def _height(volume: float, most: float) -> int:
    return max(1, round(volume / most * ROWS)) if volume > 0 else 0


def _dates(days: Sequence[str], bar: int) -> str:
    """Place the first and the last day below their bars, as ``02-28``, or the last alone if there is no room."""
    first, last, width = days[0][5:], days[-1][5:], bar * len(days)
    if width < len(first) + len(last) + 1:
        return last
    return first + last.rjust(width - len(first) - (bar > 1))
