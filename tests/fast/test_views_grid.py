"""Which columns fit, how cells are cut, how sentences wrap, and the chart of volume by day."""

from io import StringIO

import pytest

from whalesync.views import chart, grid
from whalesync.views.grid import Column, cut_title, fit
from whalesync.views.output import console_on


def test_the_chart_shows_buys_above_and_sells_below() -> None:
    """Both sides have one scale; the smallest volume shows; no volume leaves a gap."""
    days = ["2026-02-27", "2026-02-28", "2026-03-01"]
    lines = chart.volume_chart(days, [700.0, 1.0, 0.0], [200.0, 0.0, 1.0], width=20)
    expected = [
        ("BUY", "$700 │███"),
        *[("BUY", "     │███")] * 5,
        ("BUY", "     │███ ███"),
        ("", "     ┼────────────"),
        ("SELL", "     │▒▒▒     ▒▒▒"),
        ("SELL", "$200 │▒▒▒"),
        ("", "      02-27 03-01"),
    ]
    assert expected == lines


def test_a_chart_uses_its_width() -> None:
    """With room to spare, bars grow up to a limit; without it, the oldest days are left out."""
    wide = [line for _, line in chart.volume_chart(["2026-02-28"] * 3, [7.0] * 3, [0.0] * 3, width=200)]
    assert (wide[0], wide[-1]) == ("$7 │████ ████ ████", "    02-28    02-28")
    bought = [99.0, *[7.0] * 8]
    narrow = [line for _, line in chart.volume_chart(["2026-02-28"] * 9, bought, [0.0] * 9, width=9)]
    assert (narrow[0], len(narrow)) == (" $7 │████", 9)


def test_no_volume_has_no_chart() -> None:
    """There is no empty frame."""
    assert chart.volume_chart(["2026-03-01"], [0.0], [0.0], width=80) == []
    assert chart.volume_chart([], [], [], width=80) == []


def sizes(columns: list[Column], room: int) -> list[tuple[str, int]]:
    return [(column.header, width) for column, width in fit(columns, room)]


NAME = Column("Name", ["n" * 30], least=10)
B, C = Column("B", ["b" * 10], rank=2), Column("C", ["c" * 10], rank=1)
TWO_TEXTS = [Column("A", ["a" * 40], least=5), Column("B", ["b" * 20], least=5)]
OPTIONAL = Column("L", ["l" * 10], rank=grid.OPTIONAL)


@pytest.mark.parametrize(
    ("columns", "room", "expected"),
    [
        # An empty column takes no room; a text is never wider than it needs.
        ([Column("A", ["x"], least=5), Column("Label", [""])], 80, [("A", 1)]),
        # What may be narrowed is narrowed before a more important column is dropped; the highest rank goes first.
        ([NAME, B, C], 54, [("Name", 30), ("B", 10), ("C", 10)]),
        ([NAME, B, C], 53, [("Name", 29), ("B", 10), ("C", 10)]),
        ([NAME, B, C], 34, [("Name", 10), ("B", 10), ("C", 10)]),
        ([NAME, B, C], 33, [("Name", 21), ("C", 10)]),
        # An optional column goes before a text is cut, unless that is longer than is comfortable anyway.
        ([Column("Name", ["n" * 50], least=10), OPTIONAL], 61, [("Name", 50)]),
        ([Column("Name", ["n" * 90], least=10), OPTIONAL], 62, [("Name", 50), ("L", 10)]),
        # The widest text is cut first; two share the cut only when they are equally wide.
        (TWO_TEXTS, 42, [("A", 20), ("B", 20)]),
        (TWO_TEXTS, 32, [("A", 15), ("B", 15)]),
        # The columns of rank 0 stay, whole, at any width.
        ([Column("A", ["a" * 40]), Column("B", ["b"], rank=1)], 10, [("A", 40)]),
    ],
)
def test_columns_fit_the_room(columns: list[Column], room: int, expected: list[tuple[str, int]]) -> None:
    """The least important are dropped first, and long texts are cut."""
    assert expected == sizes(columns, room)


def test_an_address_is_shortened_before_a_figure_is_dropped() -> None:
    """A column with a short form uses it as soon as not everything fits."""
    columns = [Column("Address", ["a" * 42], short=["aaaaaa…aaaa"]), Column("Profit", ["+$12.3K"], rank=3)]
    assert sizes(columns, 51) == [("Address", 42), ("Profit", 7)]
    assert sizes(columns, 50) == [("Address", 11), ("Profit", 7)]
    assert next(column.cells for column, _ in fit(columns, 50)) == ["aaaaaa…aaaa"]


def test_what_a_dropped_column_leaves_room_for_is_shown_whole() -> None:
    """The wide column is dropped in any case, so the other one need not be short."""
    columns = [Column("Time", ["a" * 20], short=["a" * 5]), Column("Address", ["b" * 42], rank=3)]
    assert sizes(columns, 64) == [("Time", 20), ("Address", 42)]
    assert sizes(columns, 49) == [("Time", 5), ("Address", 42)]
    assert sizes(columns, 48) == [("Time", 20)]


@pytest.mark.parametrize(
    ("title", "width", "shown"),
    [
        ("Will it rain?", 13, "Will it rain?"),
        ("Will it rain?", 9, "Will it…"),
        ("Gold price in December › $4,000 or more", 30, "Gold price i… › $4,000 or more"),
        ("Gold price in December › $4,000 or more", 18, "Gold price in Dec…"),
        ("比特币三月 › 是", 11, "比特… › 是"),
    ],
)
def test_a_title_is_cut_within_its_topic(title: str, width: int, shown: str) -> None:
    """Markets of one topic differ only in what follows, so that part stays whole where it can."""
    assert shown == cut_title(title, width)


def test_a_sentence_wraps_between_words() -> None:
    """No word is broken, a path longer than the line included; further lines are indented."""
    out = StringIO()
    path = "/a/very/long/path/of-a/database.db"
    grid.print_text(console_on(out, 24), f"Database: {path} (1 MB, schema 2)", indent=4)
    assert out.getvalue().splitlines() == ["Database:", f"    {path}", "    (1 MB, schema 2)"]
