"""Tables and the picture, as text on consoles of several widths."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from whalesync.store.feed import WhaleDetail, WinRate
from whalesync.views import tables
from whalesync.views.output import console_on

NOW = 1_772_366_442_000  # 2026-03-01T12:00:42Z
MINUTE, DAY = 60_000, 86_400_000
MOBY = "0x" + "a1" * 20
NASTY = "\x1b[31m[red]evil[/red] :boom:\u202e\nnext"
NASTY_SHOWN = r"\x1b[31m[red]evil[/red] :boom:\u202e\nnext"
LONG_TITLE = "Will the very long question of this market ever come to an end before the decade does?"


def shown(width: int, render: Callable[..., None], *args: Any, **kwargs: Any) -> list[str]:
    """What ``render`` prints on a console of that width, line by line."""
    out = StringIO()
    render(*args, console=console_on(out, width), **kwargs)
    return out.getvalue().splitlines()


def trade(**fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": 1,
        "time": "2026-03-01T11:57:42Z",
        "whale_address": MOBY,
        "whale_label": "Moby Dick",
        "market_title": LONG_TITLE,
        "market_category": "Macro",
        "action": "BUY",
        "outcome": "YES",
        "amount": 1234.5,
        "price": 0.625,
        "shares": 1975.2,
        "fee": 0.5,
        "profit": None,
        "timestamp": NOW - 3 * MINUTE,
    }
    return row | fields


def market(**fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "external_id": "1001",
        "title": LONG_TITLE,
        "category": "Macro",
        "status": "activated",
        "yes_price": 0.625,
        "no_price": 0.375,
        "volume": 1_234_567.0,
        "volume_24h": 1_234.0,
        "volume_7d": None,
        "liquidity": 500.0,
        "end_date": NOW + 9 * DAY,
        "result": None,
    }
    return row | fields


def whale(**fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "address": MOBY,
        "label": "Moby Dick",
        "tracked": 1,
        "total_volume": 123_456.78,
        "trade_count": 1234,
        "buy_count": 800,
        "sell_count": 434,
        "last_active_at": NOW - 3 * MINUTE,
        "volume_24h": 1200.0,
        "volume_7d": 8000.0,
        "volume_30d": 45000.0,
        "realized_profit": -378.5,
    }
    return row | fields


def detail(**fields: Any) -> WhaleDetail:
    values: dict[str, Any] = {
        "row": whale(),
        "win_rate": WinRate(won=5, known=8, sells=12),
        "days": [{"day": f"2026-02-{day:02}", "buy": 100.0 * day, "sell": 50.0} for day in range(1, 29)],
        "markets": [
            {"external_id": "1", "title": LONG_TITLE, "category": "Macro", "trades": 7, "volume": 900.0}
        ],
        "trades": [trade(), trade(action="SELL", profit=-5.0)],
    }
    return WhaleDetail(**values | fields)


EVERYTHING = [
    (tables.render_activity, [trade(), trade(whale_label=None, action="MERGE", outcome=None, price=None)]),
    (
        tables.render_markets,
        [market(), market(external_id="2", title="比特币会在三月突破十五万美元吗 🐋" * 4)],
    ),
    (tables.render_whales, [whale(), whale(label="A very long label of a whale " * 5)]),
    (tables.render_whale, detail()),
]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize(("render", "what"), EVERYTHING)
def test_no_line_is_wider_than_the_console(render: Callable[..., None], what: Any, width: int) -> None:
    """Columns go and titles are cut; nothing wraps."""
    lines = shown(width, render, what, now=NOW)
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize(("render", "what"), EVERYTHING[:3])
def test_a_table_has_one_line_for_each_row(render: Callable[..., None], what: Any, width: int) -> None:
    """A header, a rule, and no row broken in two."""
    assert len(shown(width, render, what, now=NOW)) == 2 + len(what)


def test_at_80_columns_the_least_important_columns_go() -> None:
    """What happened, who, how much and where stay."""
    header, _, row = shown(80, tables.render_activity, [trade()], now=NOW)
    assert header.split() == ["When", "Whale", "Action", "Side", "Amount", "Price", "Market"]
    assert row.split()[:9] == ["3", "min", "ago", "Moby", "Dick", "BUY", "YES", "$1,234.50", "62.5¢"]
    assert row.rstrip().endswith("…")


def test_at_200_columns_there_is_room_for_all_and_the_whole_title() -> None:
    """Times, fees, profit and category are back."""
    header, _, row = shown(200, tables.render_activity, [trade(market_title="Will it rain?")], now=NOW)
    for name in ("Time (UTC)", "Shares", "Fee", "Profit", "Category", "Address"):
        assert name in header
    for value in ("2026-03-01T11:57:42Z", "1,975.20", "$0.50", "Macro", MOBY, "Will it rain?"):
        assert value in row


def test_numbers_stand_to_the_right() -> None:
    """Cents below cents."""
    _, _, small, large = shown(
        80, tables.render_activity, [trade(amount=1.5), trade(amount=22_333.25)], now=NOW
    )
    assert small.index(".50  ") == large.index(".25  ")


@pytest.mark.parametrize(
    ("render", "what"),
    [
        (
            tables.render_activity,
            [trade(market_title=NASTY, whale_label=NASTY, action=NASTY, market_category=NASTY)],
        ),
        (tables.render_markets, [market(title=NASTY, category=NASTY, status=NASTY, external_id=NASTY)]),
        (tables.render_whales, [whale(label=NASTY, address=NASTY)]),
        (
            tables.render_whale,
            detail(
                row=whale(label=NASTY),
                trades=[trade(market_title=NASTY)],
                markets=[
                    {"external_id": NASTY, "title": NASTY, "category": NASTY, "trades": 1, "volume": 1.0}
                ],
            ),
        ),
    ],
)
def test_text_from_outside_is_only_shown(render: Callable[..., None], what: Any) -> None:
    """Escapes, markup, emoji names, line breaks and direction marks stand there as letters."""
    text = "\n".join(shown(600, render, what, now=NOW))
    assert NASTY_SHOWN in text
    assert not set(text) & {"\x1b", "\u202e", "💥"}


@pytest.mark.parametrize(
    ("render", "options", "advice"),
    [
        (tables.render_activity, {"tracked": 0}, "whalesync whales add ADDRESS"),
        (tables.render_activity, {"narrowed": True}, "--since"),
        (tables.render_activity, {"tier": "free"}, "15 min after"),
        (tables.render_activity, {}, "whalesync sync-whales"),
        (tables.render_markets, {}, "whalesync sync-markets"),
        (tables.render_markets, {"narrowed": True}, "--search"),
        (tables.render_whales, {}, "whalesync whales add ADDRESS"),
    ],
)
def test_nothing_to_show_says_what_to_do(
    render: Callable[..., None], options: dict[str, Any], advice: str
) -> None:
    """One line, that fits the reason."""
    lines = shown(80, render, [], now=NOW, **options)
    assert len(lines) == 1
    assert advice in lines[0]


def test_a_whale_is_told_in_full() -> None:
    """Label, totals, windows, win rate with what it is based on, markets and trades."""
    text = "\n".join(shown(80, tables.render_whale, detail(), now=NOW))
    for part in (
        "Moby Dick",
        MOBY,
        "3 min ago (2026-03-01T11:57:42Z)",
        "$123,456.78 in 1,234 trades (800 buys, 434 sells)",
        "$1,200.00 in 24 h, $8,000.00 in 7 days, $45,000.00 in 30 days",
        "-$378.50 realized",
        "62.5% (5 of the 8 sells whose profit is known)",
        "Most traded markets",
        "Last trades",
        "█ bought $40,600.00, upwards",
        "▒ sold $1,400.00, downwards",
    ):
        assert part in text


def test_a_whale_without_trades_says_what_to_do() -> None:
    """No picture of nothing, no win rate of nothing."""
    empty = detail(row=whale(last_active_at=None), win_rate=WinRate(0, 0, 0), days=[], markets=[], trades=[])
    text = "\n".join(shown(80, tables.render_whale, empty, now=NOW))
    assert "whalesync sync-whales" in text
    assert "not known" in text and "%" not in text
    assert "never" in text


def test_figures_that_wait_for_compute_stats_say_so() -> None:
    """Trades are stored, but the hourly job has not counted them."""
    text = "\n".join(shown(80, tables.render_whale, detail(row=whale(trade_count=0)), now=NOW))
    assert "whalesync compute-stats" in text


def test_a_whale_that_is_no_longer_tracked_says_so() -> None:
    """Its history is kept."""
    text = "\n".join(shown(80, tables.render_whale, detail(row=whale(tracked=0)), now=NOW))
    assert "(no longer tracked)" in text


def test_a_quiet_month_has_no_picture() -> None:
    """It says so instead."""
    quiet = detail(days=[{"day": "2026-03-01", "buy": 0.0, "sell": 0.0}] * 30)
    assert "Nothing bought or sold in the last 30 days." in shown(80, tables.render_whale, quiet, now=NOW)


def test_a_whale_that_only_merges_has_no_most_traded_market() -> None:
    """Merges are no volume; its trades are shown all the same."""
    merges = detail(markets=[], trades=[trade(action="MERGE")])
    text = "\n".join(shown(80, tables.render_whale, merges, now=NOW))
    assert "MERGE" in text
    assert "Most traded" not in text


def test_a_console_that_lacks_block_letters_gets_a_picture_in_ascii() -> None:
    """As under LANG=C without UTF-8."""

    class Ascii(StringIO):
        encoding = "ascii"

    out = Ascii()
    tables.render_whale(detail(), Console(file=out, width=80), NOW)
    assert "# bought $40,600.00" in out.getvalue()
    assert "█" not in out.getvalue()


def test_the_json_of_a_whale_is_one_object() -> None:
    """Its row, and beside it what is computed."""
    document = tables.whale_as_json(detail())
    assert document["address"] == MOBY
    assert document["win_rate"] == {"share": 0.625, "won": 5, "known": 8, "sells": 12}
    assert len(document["volume_by_day"]) == 28
    assert {"markets", "trades"} <= set(document)
