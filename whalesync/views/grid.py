"""Tables that stay readable at any width: whole columns go before anything wraps, the least important first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2  # cells between two columns
LUXURY = 5  # columns from this rank on are only shown while no text of up to COMFORT cells is cut for them
COMFORT = 50


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ready text.

    Args:
        cells: one for each row; already made plain.
        rank: 0 always stays; of the others the highest rank goes first when room is short (see ``LUXURY``).
        right: numbers stand to the right.
        least: how narrow the column may be cut, in cells; None leaves it whole.
        styles: how a cell of that text looks. Never the only sign of anything: colours may be off.
    """

    header: str
    cells: Sequence[str]
    rank: int = 0
    right: bool = False
    least: int | None = None
    styles: Mapping[str, str] | None = None


def print_table(console: Console, columns: Sequence[Column]) -> None:
    """Print the columns that fit."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = fit(columns, console.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column, width in kept:
        table.add_column(
            Text(column.header),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for number in range(len(columns[0].cells)):
        cells = [(column.cells[number], column.styles or {}) for column, _ in kept]
        table.add_row(*(Text(text, styles.get(text, "")) for text, styles in cells))
    console.print(table)


def fit(columns: Sequence[Column], room: int) -> list[tuple[Column, int]]:
    """The columns that fit into ``room`` cells, each with its width."""
    kept = [column for column in columns if any(column.cells)]
    for narrow, first_rank in ((_comfortable, LUXURY), (_narrowest, 1)):
        while _width([narrow(column) for column in kept]) > room:
            least_important = max(kept, key=lambda column: column.rank)
            if least_important.rank < first_rank:
                break
            kept.remove(least_important)
    widths = [_natural(column) for column in kept]
    while (excess := _width(widths) - room) > 0:
        # The widest gives way first, down to the next widest, so that short texts stay whole.
        spare = [(width, at) for at, width in enumerate(widths) if width > _narrowest(kept[at])]
        if not spare:
            break
        width, at = max(spare)
        next_widest = max((other for other, place in spare if place != at), default=0)
        widths[at] = max(_narrowest(kept[at]), min(next_widest, width - 1), width - excess)
    return list(zip(kept, widths, strict=True))


def _natural(column: Column) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in (column.header, *column.cells))


def _comfortable(column: Column) -> int:
    return max(_narrowest(column), min(_natural(column), COMFORT))


def _narrowest(column: Column) -> int:
    natural = _natural(column)
    return natural if column.least is None else min(natural, max(column.least, len(column.header)))


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)
