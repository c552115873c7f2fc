"""Text and figures for people, and text from outside that a terminal or a spreadsheet would interpret."""

import pytest

from whalesync import text

NOW = 1_772_366_442_000  # 2026-03-01T12:00:42Z
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\x9b2J"),
        ("two\nlines\r\tand\x00more\x7f", r"two\nlines\r\tand\x00more\x7f"),
        ("pay \u202eeur\u202c \u2066x\u2069 \u200f", r"pay \u202eeur\u202c \u2066x\u2069 \u200f"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("half \ud83d", r"half \ud83d"),
        ("tag \U000e0041 gap\u200b bom\ufeff", r"tag \U000e0041 gap\u200b bom\ufeff"),
    ],
)
def test_harmful_characters_are_escaped(outside: str, shown: str) -> None:
    """What controls a terminal, breaks a line, changes the direction or cannot be encoded is spelled out."""
    assert shown == text.plain(outside)


@pytest.mark.parametrize(
    "ordinary", ["Will it rain?", "比特币 🐋", "👩‍🚀", "café – “so”", "[red]x[/red] :boom:", "می‌خواهم", ""]
)
def test_ordinary_text_stays_as_it_is(ordinary: str) -> None:
    """Every script, emoji with joiners, and what looks like markup are kept."""
    assert ordinary == text.plain(ordinary)


def test_no_text_is_empty() -> None:
    """None from the database is an empty cell."""
    assert text.plain(None) == ""


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ('=HYPERLINK("x")', '\'=HYPERLINK("x")'),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("＝1", "'＝1"),
        (" =1+1", "' =1+1"),
        ("\u00a0@SUM(A1)", "'\u00a0@SUM(A1)"),
        (" \u3000-1", "' \u3000-1"),
        ("a=1", "a=1"),
        ("\x1b[2J", r"\x1b[2J"),
        (-1.5, -1.5),
        (7, 7),
        (None, ""),
    ],
)
def test_a_csv_cell_is_never_a_formula(value: object, cell: object) -> None:
    """Text that a spreadsheet would compute is quoted, spaces in front or not; numbers stay numbers."""
    assert cell == text.csv_cell(value)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(1234.5, "$1,234.50"), (-0.5, "-$0.50"), (0.0, "$0.00"), (-0.001, "$0.00"), (None, "–")],
)
def test_money_has_cents(usd: float | None, shown: str) -> None:
    """Thousands are grouped, the sign stands before the dollar, and nothing is not "-$0.00"."""
    assert shown == text.money(usd)


@pytest.mark.parametrize(("usd", "shown"), [(3.0, "+$3.00"), (-3.0, "-$3.00"), (0.0, "$0.00")])
def test_signed_money_shows_gain_and_loss(usd: float, shown: str) -> None:
    """A profit has its sign both ways; zero has none."""
    assert shown == text.money(usd, signed=True)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0.0, "$0"),
        (0.4, "$0"),
        (-0.4, "$0"),
        (999.4, "$999"),
        (999.6, "$1.0K"),
        (12_345.0, "$12.3K"),
        (999_960.0, "$1.0M"),
        (-4_560_000.0, "-$4.6M"),
        (2e9, "$2.0B"),
        (3e12, "$3.0T"),
        (None, "–"),
    ],
)
def test_short_money_fits_a_column(usd: float | None, shown: str) -> None:
    """The unit changes where rounding would write a thousand of the smaller one."""
    assert shown == text.short_money(usd)


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (0.625, "62.5¢"),
        (0.0, "0.0¢"),
        (1.0, "100.0¢"),
        (0.0002, "<0.1¢"),
        (0.9997, ">99.9¢"),
        (0.999, "99.9¢"),
        (None, "–"),
    ],
)
def test_prices_are_cents_and_never_overstate(probability: float | None, shown: str) -> None:
    """What is almost 0 or almost 1 is not rounded to it."""
    assert shown == text.price(probability)


@pytest.mark.parametrize(("share", "shown"), [(0.625, "62.5%"), (1.0, "100.0%"), (None, "–")])
def test_percent(share: float | None, shown: str) -> None:
    """A share of one, in percent."""
    assert shown == text.percent(share)


@pytest.mark.parametrize(("number", "shown"), [(1234, "1,234"), (1234.5, "1,234.50"), (0, "0"), (None, "–")])
def test_counts_are_grouped(number: float | None, shown: str) -> None:
    """Whole numbers stay whole, measures have two decimals."""
    assert shown == text.count(number)


def test_counted_things_agree_with_their_number() -> None:
    """One trade, no trades, many trades."""
    assert [text.counted(n, "trade") for n in (1, 0, 1234)] == ["1 trade", "0 trades", "1,234 trades"]


@pytest.mark.parametrize(
    ("byte_count", "shown"), [(1, "1 byte"), (999, "999 bytes"), (12_345_678, "12.3 MB"), (5e9, "5.0 GB")]
)
def test_sizes(byte_count: int, shown: str) -> None:
    """In decimal units, as disks are sold."""
    assert shown == text.size(byte_count)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (NOW, "2026-03-01T12:00:42Z"),
        (0, "1970-01-01T00:00:00Z"),
        (NOW + 999, "2026-03-01T12:00:42Z"),
        (None, "–"),
    ],
)
def test_iso_times_are_utc(ms: int | None, shown: str) -> None:
    """Whole seconds, never rounded up."""
    assert shown == text.iso(ms)


def test_a_time_beyond_all_calendars_is_shown_as_its_number() -> None:
    """A number from outside that is not a time does not end the program."""
    assert str(10**21) == text.iso(10**21)


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        (0, "just now"),
        (-1_500, "just now"),
        (2 * SECOND, "2 s ago"),
        (59 * SECOND, "59 s ago"),
        (3 * MINUTE + 59_999, "3 min ago"),
        (47 * HOUR, "47 h ago"),
        (48 * HOUR, "2 days ago"),
        (-5 * HOUR, "in 5 h"),
        (-30 * DAY, "in 30 days"),
    ],
)
def test_times_are_relative_to_now(before: int, shown: str) -> None:
    """Past and future are given in the largest fitting unit."""
    assert shown == text.ago(NOW - before, NOW)


def test_no_time_is_never() -> None:
    """None is what never happened."""
    assert text.ago(None, NOW) == "never"


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (430, "0.4 s"),
        (42_700, "42 s"),
        (200 * SECOND, "3 min 20 s"),
        (2 * HOUR, "2 h"),
        (2 * HOUR + 5 * MINUTE, "2 h 5 min"),
        (3 * DAY + 4 * HOUR, "3 d 4 h"),
        (None, "–"),
    ],
)
def test_durations_have_two_units_at_most(ms: int | None, shown: str) -> None:
    """Short ones are in tenths of a second; long ones drop what no longer matters."""
    assert shown == text.duration(ms)


def test_addresses_are_shortened_to_both_ends() -> None:
    """An address keeps what people compare; anything else stays whole, escaped."""
    assert text.short_address("0x1234" + "0" * 32 + "abcd") == "0x1234…abcd"
    assert text.short_address("not\x1ban address") == r"not\x1ban address"


def test_a_whale_is_named_by_its_label() -> None:
    """A label is shown if there is one, the short address if not."""
    assert text.whale_name("Moby\n", "0x" + "a" * 40) == r"Moby\n"
    assert text.whale_name(None, "0x" + "a" * 40) == "0xaaaa…aaaa"


@pytest.mark.parametrize(
    ("action", "usd", "shown"),
    [
        ("BUY", 0.0, None),
        ("BUY", 5.0, None),
        ("SELL", 0.0, 0.0),
        ("SELL", -5.0, -5.0),
        ("SELL", None, None),
        ("MERGE", 0.0, None),
        ("MERGE", 5.0, 5.0),
    ],
)
def test_a_profit_is_shown_where_a_trade_has_one(action: str, usd: float | None, shown: float | None) -> None:
    """A buy realizes nothing; the 0 that the exchange sends for other actions than a sell is no figure."""
    assert text.profit(action, usd) == shown
