"""Print tables and sentences that stay readable at any width.

A table that is too wide first shortens what has a short form (addresses), then drops whole columns, the least
important first, and only then cuts long texts. What need not have been shortened is shown whole again. Nothing breaks
in mid-word. On a terminal a cell may be a link.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from whalesync.text import TOPIC_SEPARATOR

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2  # cells between two columns
OPTIONAL = 5  # columns from this rank on are shown only while no text of up to COMFORT cells is cut for them
COMFORT = 50


def cut_end(text: str, width: int) -> str:
    """Cut a text to ``width`` cells; an ellipsis replaces what is cut."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def cut_title(title: str, width: int) -> str:
    """Cut ``topic › market`` within the topic, because markets of one topic differ only in what follows."""
    from rich.cells import cell_len

    topic, separator, market = title.rpartition(TOPIC_SEPARATOR)
    available = width - cell_len(separator + market)
    return cut_end(topic, available) + separator + market if separator and available > 1 else cut_end(title, width)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of text that is ready to print.

    Args:
        cells: one for each row; already escaped.
        rank: 0 always stays; of the others the highest rank is dropped first (see ``OPTIONAL``).
        right: align numbers to the right.
        least: the narrowest that the column may be cut to, in cells; None leaves it whole.
        short: shorter cells, used before any column is dropped.
        cut: how a cell is cut to a width.
        styles: the style of a cell with that text. Never the only sign of anything: colours may be off.
        links: for each cell what it links to, on a terminal; see ``text.link``.
        usual: the widest that a cell usually is, in cells, for a table that is begun before all its rows are known.
    """

    header: str
    cells: Sequence[str]
    rank: int = 0
    right: bool = False
    least: int | None = None
    short: Sequence[str] | None = None
    cut: Callable[[str, int], str] = cut_end
    styles: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[str | None] = ()
    usual: int = 0


Fitted = list[tuple[Column, int]]


class GrowingTable:
    """A table whose rows come bit by bit: all have the columns and widths that were chosen for the first.

    The header is printed with the first rows, and again, with columns chosen anew, when the console gets another width.
    """

    def __init__(self) -> None:
        self._width: int | None = None
        self._chosen: list[tuple[str, int, bool]] = []

    def print(self, console: Console, columns: Sequence[Column]) -> None:
        """Print further rows. ``columns`` are the same each time, with other cells."""
        begins = console.width != self._width
        if begins:
            self._width = console.width
            has_short = {column.header for column in columns if column.short}
            self._chosen = [
                (column.header, width, column.header in has_short and not column.short)
                for column, width in fit([_with_usual_cell(column) for column in columns], console.width)
            ]
        _print(console, self._as_chosen(columns, console.width), header=begins)

    def _as_chosen(self, columns: Sequence[Column], available: int) -> Fitted:
        """The chosen columns in their widths; a figure that needs more takes it from the longest text."""
        by_header = {column.header: column for column in columns}
        fitted = []
        for header, width, shortened in self._chosen:
            column = by_header[header]
            column = _shortened(column) if shortened else column
            fitted.append((column, max(width, _narrowest(column)) if column.least is None else width))
        least = [width if column.least is None else min(width, column.least) for column, width in fitted]
        widths = _cut_to(available, [width for _, width in fitted], least)
        return [(column, width) for (column, _), width in zip(fitted, widths, strict=True)]


def print_table(console: Console, columns: Sequence[Column]) -> None:
    """Print the columns that fit."""
    _print(console, fit(columns, console.width))


def _print(console: Console, fitted: Fitted, *, header: bool = True) -> None:
    from rich import box
    from rich.style import Style
    from rich.table import Table
    from rich.text import Text

    with_links = console.is_terminal and console.file.isatty()  # the first may be forced by the environment
    table = Table(box=box.SIMPLE_HEAD, show_header=header, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    shown = []
    for column, width in fitted:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(Text(column.header), justify=justify, no_wrap=True, width=width)
        cells = [Text(column.cut(cell, width), column.styles.get(cell, "")) for cell in column.cells]
        for cell, address in zip(cells, column.links, strict=False):
            if address and with_links:
                cell.stylize(Style(link=address))
        shown.append(cells)
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    console.print(table)


def print_text(console: Console, text: str, style: str = "", *, indent: int = 0) -> None:
    """Print a sentence, wrapped between words; the lines after the first are indented."""
    from rich.text import Text

    width, margin = max(console.width, indent + 20), " " * indent
    wrapped = textwrap.fill(text, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False)
    console.print(Text(wrapped, style), soft_wrap=True)


def fit(columns: Sequence[Column], available: int) -> list[tuple[Column, int]]:
    """Choose the columns that fit into ``available`` cells, each with its width."""
    by_header = {column.header: column for column in columns}
    kept = [column for column in columns if any(column.cells)]
    if _width([_comfortable(column) for column in kept]) > available:
        kept = [_shortened(column) for column in kept]
    for narrow, first_rank in ((_comfortable, OPTIONAL), (_narrowest, 1)):
        while _width([narrow(column) for column in kept]) > available:
            least_important = max(kept, key=lambda column: column.rank)
            if least_important.rank < first_rank:
                break
            kept.remove(least_important)
    for at, column in enumerate(kept):  # what is dropped may have made room for them
        whole = [*kept[:at], by_header[column.header], *kept[at + 1 :]]
        if _width([_comfortable(column) for column in whole]) <= available:
            kept = whole
    least = [_narrowest(column) for column in kept]
    widths = [max(_narrowest(column), min(_natural(column), available)) for column in kept]
    return list(zip(kept, _cut_to(available, widths, least), strict=True))


def _cut_to(available: int, widths: Sequence[int], least: Sequence[int]) -> list[int]:
    """Cut the widest columns first, so that short texts stay whole."""
    widths = list(widths)
    while _width(widths) > available and widths != least:
        _, widest = max((width, at) for at, width in enumerate(widths) if width > least[at])
        widths[widest] -= 1
    return widths


def _shortened(column: Column) -> Column:
    return replace(column, cells=column.short or column.cells, short=None)


def _with_usual_cell(column: Column) -> Column:
    usual = "0" * column.usual
    return replace(column, cells=[*column.cells, usual], short=column.short and [*column.short, usual])


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
