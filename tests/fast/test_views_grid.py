"""Which columns fit where, and the picture of volume by day."""

from whalesync.views import chart, grid
from whalesync.views.grid import Column, fit


def test_the_picture_shows_buys_above_and_sells_below() -> None:
    """One scale for both; the smallest volume is seen too; no volume leaves a gap."""
    lines = chart.volume_chart(
        ["2026-02-27", "2026-02-28", "2026-03-01"], [700.0, 1.0, 0.0], [200.0, 0.0, 1.0], width=11
    )
    expected = [
        ("BUY", "$700 │█"),
        *[("BUY", "     │█")] * 5,
        ("BUY", "     │██"),
        ("", "     ┼───"),
        ("SELL", "     │▒ ▒"),
        ("SELL", "$200 │▒"),
        ("", "      03-01"),
    ]
    assert expected == lines


def test_wide_bars_stand_apart_and_dates_below_their_ends() -> None:
    """Where there is room, bars grow up to a limit."""
    lines = [line for _, line in chart.volume_chart(["2026-02-28"] * 3, [7.0] * 3, [0.0] * 3, width=200)]
    assert lines[0] == "$7 │████ ████ ████"
    assert lines[-1] == "    02-28    02-28"


def test_a_narrow_picture_leaves_out_the_oldest_days() -> None:
    """And scales to what it shows."""
    lines = [
        line for _, line in chart.volume_chart(["2026-02-28"] * 9, [99.0, *[7.0] * 8], [0.0] * 9, width=9)
    ]
    assert lines[0] == " $7 │████"
    assert len(lines) == 9


def test_no_volume_is_no_picture() -> None:
    """Not an empty frame."""
    assert chart.volume_chart(["2026-03-01"], [0.0], [0.0], width=80) == []
    assert chart.volume_chart([], [], [], width=80) == []


def test_columns_without_a_single_value_are_left_out() -> None:
    """Labels that nobody gave take no room."""
    kept = fit([Column("A", ["x"]), Column("Label", [""])], 80)
    assert [column.header for column, _ in kept] == ["A"]


def test_the_highest_rank_goes_first() -> None:
    """And what may be narrowed is narrowed before a more important column goes."""
    columns = [
        Column("Name", ["n" * 30], least=10),
        Column("B", ["b" * 10], rank=2),
        Column("C", ["c" * 10], rank=1),
    ]
    assert sizes(columns, 54) == [("Name", 30), ("B", 10), ("C", 10)]
    assert sizes(columns, 53) == [("Name", 29), ("B", 10), ("C", 10)]
    assert sizes(columns, 34) == [("Name", 10), ("B", 10), ("C", 10)]
    assert sizes(columns, 33) == [("Name", 21), ("C", 10)]
    assert sizes([Column("Name", ["n" * 9], least=5)], 20) == [("Name", 9)]


def test_a_luxury_goes_before_a_text_is_cut() -> None:
    """Unless the text is longer than is comfortable anyway."""
    luxury = Column("L", ["l" * 10], rank=grid.LUXURY)
    assert sizes([Column("Name", ["n" * 50], least=10), luxury], 61) == [("Name", 50)]
    assert sizes([Column("Name", ["n" * 90], least=10), luxury], 62) == [("Name", 50), ("L", 10)]


def test_the_widest_text_gives_way_first() -> None:
    """Two texts share the cut only when they are equally wide."""
    columns = [Column("A", ["a" * 40], least=5), Column("B", ["b" * 20], least=5)]
    assert sizes(columns, 42) == [("A", 20), ("B", 20)]
    assert sum(width for _, width in sizes(columns, 32)) == 30


def test_a_room_too_small_for_anything_keeps_what_matters() -> None:
    """Rich then cuts, but nothing fails."""
    assert sizes([Column("A", ["a" * 40]), Column("B", ["b"], rank=1)], 10) == [("A", 40)]


def sizes(columns: list[Column], room: int) -> list[tuple[str, int]]:
    return [(column.header, width) for column, width in fit(columns, room)]
