"""Text and figures for people, and text from outside that a terminal or a spreadsheet would interpret."""

import pytest

from whalesync import text

NOW = 1_772_366_442_000  # 2026-03-01T12:00:42Z
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("\x1b[31mred\x1b[0m \x9b2J", r"\x1b[31mred\x1b[0m \x9b2J"),
        ("two\nlines\r\tand\x00more\x7f", r"two\nlines\r\tand\x00more\x7f"),
        ("pay \u202eeur\u202c \u2066x\u2069 \u200f", r"pay \u202eeur\u202c \u2066x\u2069 \u200f"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("half \ud83d", r"half \ud83d"),
        ("tag \U000e0041 gap\u200b bom\ufeff", r"tag \U000e0041 gap\u200b bom\ufeff"),
        (None, ""),
    ],
)
def test_harmful_characters_are_escaped(outside: str | None, shown: str) -> None:
    """What controls a terminal, breaks a line, changes the direction or cannot be encoded is spelled out."""
    assert shown == text.plain(outside)


@pytest.mark.parametrize(
    "ordinary", ["比特币\u3000🐋", "👩‍🚀", "café\u00a0– “so”", "[red]x[/red] :boom:", "می‌خواهم", ""]
)
def test_ordinary_text_stays_as_it_is(ordinary: str) -> None:
    """Every script, emoji with joiners, wide spaces, and what looks like markup are kept."""
    assert ordinary == text.plain(ordinary)


@pytest.mark.parametrize("value", ["=1", "+1", "-1", "@SUM(A1)", "＝1", " =1", "\u00a0@SUM(A1)", " \u3000-1"])
def test_a_csv_cell_is_never_a_formula(value: str) -> None:
    """Text that a spreadsheet would compute is quoted, with spaces in front or not."""
    assert f"'{value}" == text.csv_cell(value)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a=1", "a=1"),
        (-1.5, -1.5),
        (None, ""),
    ],
)
def test_a_csv_cell_is_escaped_text_or_a_number(value: object, cell: object) -> None:
    """Numbers stay numbers, negative ones too."""
    assert cell == text.csv_cell(value)


def test_money_has_cents() -> None:
    """Thousands are grouped, the sign stands before the dollar, and nothing is not "-$0.00"."""
    shown = [text.money(usd) for usd in (1234.5, -0.5, 0.0, -0.001, None)]
    assert shown == ["$1,234.50", "-$0.50", "$0.00", "$0.00", "–"]
    assert [text.money(usd, signed=True) for usd in (3.0, -3.0, 0.0)] == ["+$3.00", "-$3.00", "$0.00"]


def test_short_money_fits_a_column() -> None:
    """The unit changes where rounding would write a thousand of the smaller one."""
    amounts = (-0.4, 999.4, 999.6, 12_345.0, 999_960.0, -4_560_000.0, 2e9, 3e12, None)
    expected = ["$0", "$999", "$1.0K", "$12.3K", "$1.0M", "-$4.6M", "$2.0B", "$3.0T", "–"]
    assert expected == list(map(text.short_money, amounts))


def test_prices_are_cents_and_never_overstate() -> None:
    """What is almost 0 or almost 1 is not rounded to it."""
    shown = list(map(text.price, (0.625, 0.0, 1.0, 0.0002, 0.9997, 0.999, None)))
    assert shown == ["62.5¢", "0.0¢", "100.0¢", "<0.1¢", ">99.9¢", "99.9¢", "–"]


def test_counts_are_grouped() -> None:
    """Whole numbers stay whole, measures have two decimals; a noun agrees with its number."""
    assert list(map(text.count, (1234, 1234.5, 0, None))) == ["1,234", "1,234.50", "0", "–"]
    assert [text.counted(n, "trade") for n in (1, 0, 1234)] == ["1 trade", "0 trades", "1,234 trades"]


def test_sizes_are_decimal() -> None:
    """As disks are sold."""
    assert list(map(text.size, (1, 999, 12_345_678))) == ["1 byte", "999 bytes", "12.3 MB"]


def test_iso_times_are_utc() -> None:
    """Whole seconds, never rounded up; a number beyond all calendars is shown as it is."""
    shown = list(map(text.iso, (NOW + 999, 0, None, 10**21)))
    assert shown == ["2026-03-01T12:00:42Z", "1970-01-01T00:00:00Z", "–", str(10**21)]


def test_times_are_relative_to_now() -> None:
    """Past and future are given in the largest fitting unit."""
    ages = (-1_500, 2 * SECOND, 59 * SECOND, 3 * MINUTE + 59_999, 47 * HOUR, 48 * HOUR, -5 * HOUR)
    expected = ["just now", "2 s ago", "59 s ago", "3 min ago", "47 h ago", "2 days ago", "in 5 h"]
    assert expected == [text.ago(NOW - age, NOW) for age in ages]


def test_durations_have_two_units_at_most() -> None:
    """Short ones are in tenths of a second; long ones drop what no longer matters."""
    durations = (430, 42_700, 200 * SECOND, 2 * HOUR, 2 * HOUR + 5 * MINUTE, 76 * HOUR, None)
    expected = ["0.4 s", "42 s", "3 min 20 s", "2 h", "2 h 5 min", "3 d 4 h", "–"]
    assert expected == list(map(text.duration, durations))


def test_a_whale_is_named_by_its_label_or_both_ends_of_its_address() -> None:
    """Both are escaped; what is not an address stays whole."""
    assert text.whale_name("Moby\n", "0x" + "a" * 40) == r"Moby\n"
    assert text.whale_name(None, "0x1234" + "0" * 32 + "abcd") == "0x1234…abcd"
    assert text.whale_name(None, "not\x1ban address") == r"not\x1ban address"


@pytest.mark.parametrize(
    ("before", "shown"), [(0, "now"), (42 * 1000, "42 s"), (3 * 60_000, "3 min"), (50 * 3_600_000, "2 days")]
)
def test_an_age_is_short(before: int, shown: str) -> None:
    """In a column whose header says what it is."""
    assert text.age(NOW - before, NOW) == shown


def test_a_short_time_leaves_out_year_and_seconds() -> None:
    """A number outside the calendar is shown as it is."""
    assert text.short_time(1_772_366_442_000) == "03-01 12:00"
    assert text.short_time(10**30) == str(10**30)
    assert text.iso(10**30, local=True) == str(10**30)


def test_only_a_long_id_is_shortened() -> None:
    """To a beginning that still names it; it is escaped."""
    assert text.short_id("20015") == "20015"
    assert text.short_id("0x" + "ab" * 32) == "0xabababab…"
    assert text.short_id("\x1b1") == r"\x1b1"
