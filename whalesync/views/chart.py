"""Draw bought and sold volume by day: buys above the axis, sells below it.

Position and glyph tell the two apart, so the chart reads the same without colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from whalesync.records import BUY, SELL
from whalesync.text import short_money

ROWS = 7  # on each side of the axis, at most
WIDEST_BAR = 5

BOUGHT, SOLD = "█", "▒"


def volume_chart(
    days: Sequence[str], bought: Sequence[float], sold: Sequence[float], *, width: int
) -> list[tuple[str, str]]:
    """Return the lines of the chart, each with the action that it shows or ""; no lines if there is no volume.

    ``days`` are ISO dates, one for each pair of volumes; ``width`` is in cells. Both sides have one scale;
    whatever is not zero shows at least one glyph. Where there is no room for all days, the oldest are left out.
    """
    margin = max(len(short_money(volume)) for volume in (0, *bought, *sold))
    available = max(1, width - margin - 2)
    days, bought, sold = days[-available:], bought[-available:], sold[-available:]
    most = max((*bought, *sold), default=0)
    if most <= 0:
        return []
    bar = max(1, min(WIDEST_BAR, available // len(days)))
    up = [_height(volume, most) for volume in bought]
    down = [_height(volume, most) for volume in sold]

    def line(volumes: Sequence[float], heights: Sequence[int], level: int, glyph: str) -> str:
        # A gap between wide bars; bars of one cell stand side by side. The last line has the largest volume.
        mark = glyph * max(1, bar - 1) + " " * (bar > 1)
        bars = "".join(mark if height >= level else " " * bar for height in heights)
        label = short_money(max(volumes)) if level == max(heights) else ""
        return f"{label:>{margin}} │{bars}".rstrip()

    above = [(BUY, line(bought, up, level, BOUGHT)) for level in range(max(up), 0, -1)]
    below = [(SELL, line(sold, down, level, SOLD)) for level in range(1, max(down) + 1)]
    axis = f"{'┼':>{margin + 2}}{'─' * (bar * len(days))}"
    first, last = days[0][5:], days[-1][5:]  # month and day, below their bars
    dates = f"{'':{margin + 2}}{first}{last.rjust(bar * len(days) - len(first) - (bar > 1))}"
    return [*above, ("", axis), *below, ("", dates)]


def _height(volume: float, most: float) -> int:
    return max(1, round(volume / most * ROWS)) if volume > 0 else 0
