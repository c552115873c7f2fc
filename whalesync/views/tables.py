"""Tables of activity, markets and whales for people; an empty one says what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whalesync.records import BUY, SELL
from whalesync.store.feed import Row, WhaleDetail
from whalesync.views import chart, text
from whalesync.views.grid import Column, print_table

if TYPE_CHECKING:
    from rich.console import Console

TIER_DELAYS_IN_WORDS = {"free": "15 min after they are made", "pro": "30 s after they are made"}

ACTION_STYLES = {BUY: "green", SELL: "magenta"}

ADD_A_WHALE = (
    "No whale is watched yet: add one with 'whalesync whales add ADDRESS', then run 'whalesync sync-whales'."
)


def render_activity(
    rows: Sequence[Row],
    console: Console,
    now: int,
    *,
    tier: str = "pro-plus",
    narrowed: bool = False,
    tracked: int | None = None,
) -> None:
    """The feed. ``narrowed``: by whale, market or time; ``tracked``: how long the watch list is, if known."""
    if rows:
        print_table(console, _activity_columns(rows, now))
        return
    if tracked == 0:
        _say(console, ADD_A_WHALE)
    elif narrowed:
        _say(console, "No trade fits: leave out --whale or --market, or look further back with --since.")
    elif tier in TIER_DELAYS_IN_WORDS:
        _say(console, f"No trade is visible yet: tier {tier} sees trades {TIER_DELAYS_IN_WORDS[tier]}.")
    else:
        _say(console, "No trade is stored yet: run 'whalesync sync-whales', or see 'whalesync status'.")


def render_news(rows: Sequence[Row], console: Console) -> None:
    """Trades that have become visible, one line each, as they come."""
    for row in rows:
        cells = [
            text.iso(row["timestamp"]),
            text.whale_name(row["whale_label"], row["whale_address"]),
            text.plain(row["action"]),
            row["outcome"] or text.UNKNOWN,
            text.money(row["amount"]),
            text.price(row["price"]),
            text.plain(row["market_title"]),
        ]
        _say(console, "  ".join(cells))


def render_markets(rows: Sequence[Row], console: Console, now: int, *, narrowed: bool = False) -> None:
    """The market table. ``narrowed``: by search, category or status."""
    if rows:
        print_table(console, _market_columns(rows, now))
    elif narrowed:
        _say(console, "No market fits: try a shorter --search, or leave out --category or --status.")
    else:
        _say(console, "No market is stored yet: run 'whalesync sync-markets'.")


def render_whales(rows: Sequence[Row], console: Console, now: int) -> None:
    """The watch list."""
    if not rows:
        _say(console, ADD_A_WHALE)
        return
    profits = [text.short_money(row["realized_profit"], signed=True) for row in rows]
    print_table(
        console,
        [
            Column("Address", [text.plain(row["address"]) for row in rows]),
            Column("Label", [text.plain(row["label"]) for row in rows], least=8),
            Column("Volume", [text.short_money(row["total_volume"]) for row in rows], right=True),
            Column("Last active", [text.ago(row["last_active_at"], now) for row in rows], rank=1),
            Column("Trades", [text.count(row["trade_count"]) for row in rows], right=True, rank=2),
            Column("Profit", profits, right=True, rank=3),
            Column("24 h", [text.short_money(row["volume_24h"]) for row in rows], right=True, rank=6),
            Column("7 d", [text.short_money(row["volume_7d"]) for row in rows], right=True, rank=4),
            Column("30 d", [text.short_money(row["volume_30d"]) for row in rows], right=True, rank=5),
            Column("Tracked", ["" if row["tracked"] else "no more" for row in rows]),
        ],
    )


def render_whale(detail: WhaleDetail, console: Console, now: int) -> None:
    """One whale: figures, a picture, its markets, its last trades."""
    for name, value in _whale_facts(detail, now):
        _say(console, f"{name:<9} {value}")
    if not detail.trades:
        _say(console, "\nNo trade is stored: run 'whalesync sync-whales', or see 'whalesync status'.")
        return
    _picture(detail, console)
    if detail.markets:
        _say(console, "\nMost traded markets", "bold")
        print_table(console, _most_traded_columns(detail.markets))
    _say(console, "\nLast trades", "bold")
    whale_columns = ("Whale", "Address")
    columns = [
        column for column in _activity_columns(detail.trades, now) if column.header not in whale_columns
    ]
    print_table(console, columns)


def whale_as_json(detail: WhaleDetail) -> dict[str, Any]:
    """The same as one JSON object: the whale's row, and what is shown beside it."""
    rate = detail.win_rate
    return {
        **detail.row,
        "win_rate": {"share": rate.share, "won": rate.won, "known": rate.known, "sells": rate.sells},
        "volume_by_day": detail.days,
        "markets": detail.markets,
        "trades": detail.trades,
    }


def _activity_columns(rows: Sequence[Row], now: int) -> list[Column]:
    return [
        Column("When", [text.ago(row["timestamp"], now) for row in rows]),
        Column("Time (UTC)", [text.iso(row["timestamp"]) for row in rows], rank=4),
        Column(
            "Whale", [text.whale_name(row["whale_label"], row["whale_address"]) for row in rows], least=11
        ),
        Column("Address", [text.plain(row["whale_address"]) for row in rows], rank=8),
        Column("Action", [text.plain(row["action"]) for row in rows], styles=ACTION_STYLES, least=5),
        Column("Side", [text.plain(row["outcome"]) for row in rows], rank=1),
        Column("Amount", [text.money(row["amount"]) for row in rows], right=True),
        Column("Price", [text.price(row["price"]) for row in rows], right=True, rank=2),
        Column("Shares", [text.count(row["shares"]) for row in rows], right=True, rank=5),
        Column("Fee", [text.money(row["fee"]) for row in rows], right=True, rank=7),
        Column("Profit", [text.money(row["profit"], signed=True) for row in rows], right=True, rank=3),
        Column("Market", [text.plain(row["market_title"]) for row in rows], least=22),
        Column("Category", [text.plain(row["market_category"]) for row in rows], rank=6, least=8),
    ]


def _market_columns(rows: Sequence[Row], now: int) -> list[Column]:
    ends = [text.ago(row["end_date"], now) if row["end_date"] is not None else text.UNKNOWN for row in rows]
    return [
        Column("ID", [text.plain(row["external_id"]) for row in rows]),
        Column("Market", [text.plain(row["title"]) for row in rows], least=24),
        Column("Category", [text.plain(row["category"]) for row in rows], least=8, rank=3),
        Column("Status", [text.plain(row["status"]) or text.UNKNOWN for row in rows], rank=2),
        Column("Yes", [text.price(row["yes_price"]) for row in rows], right=True),
        Column("No", [text.price(row["no_price"]) for row in rows], right=True, rank=5),
        Column("Volume", [text.short_money(row["volume"]) for row in rows], right=True),
        Column("24 h", [text.short_money(row["volume_24h"]) for row in rows], right=True, rank=4),
        Column("7 d", [text.short_money(row["volume_7d"]) for row in rows], right=True, rank=7),
        Column("Liquidity", [text.short_money(row["liquidity"]) for row in rows], right=True, rank=6),
        Column("Ends", ends, rank=1),
        Column("Result", [text.plain(row["result"]) for row in rows], rank=8),
    ]


def _most_traded_columns(rows: Sequence[Row]) -> list[Column]:
    return [
        Column("Volume", [text.money(row["volume"]) for row in rows], right=True),
        Column("Trades", [text.count(row["trades"]) for row in rows], right=True),
        Column("Market", [text.plain(row["title"]) for row in rows], least=24),
        Column("Category", [text.plain(row["category"]) for row in rows], least=8, rank=1),
        Column("ID", [text.plain(row["external_id"]) for row in rows], rank=2),
    ]


def _whale_facts(detail: WhaleDetail, now: int) -> list[tuple[str, str]]:
    row, rate = detail.row, detail.win_rate
    trades = text.counted(row["trade_count"], "trade")
    buys, sells = text.counted(row["buy_count"], "buy"), text.counted(row["sell_count"], "sell")
    windows = [f"{text.money(row[column])} in {name}" for column, name in _WINDOWS]
    won = "not known: the exchange has told the profit of no sell yet"
    if rate.known:
        won = f"{text.percent(rate.share)} ({rate.won:,} of the {rate.known:,} sells whose profit is known)"
    facts = [
        ("Whale", text.plain(row["label"]) or "(no label)"),
        ("Address", text.plain(row["address"]) + ("" if row["tracked"] else " (no longer tracked)")),
        ("Active", _active(row["last_active_at"], now)),
        ("Volume", f"{text.money(row['total_volume'])} in {trades} ({buys}, {sells})"),
        ("", ", ".join(windows)),
        ("Profit", f"{text.money(row['realized_profit'], signed=True)} realized"),
        ("Win rate", won),
    ]
    if detail.trades and not row["trade_count"]:
        facts.append(("", "The figures are not computed yet: run 'whalesync compute-stats'."))
    return facts


_WINDOWS = (("volume_24h", "24 h"), ("volume_7d", "7 days"), ("volume_30d", "30 days"))


def _active(last: int | None, now: int) -> str:
    return "never" if last is None else f"{text.ago(last, now)} ({text.iso(last)})"


def _picture(detail: WhaleDetail, console: Console) -> None:
    days = detail.days
    bought, sold = [day["buy"] for day in days], [day["sell"] for day in days]
    glyphs = chart.UNICODE if (console.encoding or "").lower().startswith("utf") else chart.ASCII
    lines = chart.volume_chart([day["day"] for day in days], bought, sold, width=console.width, glyphs=glyphs)
    if not lines:
        _say(console, f"\nNothing bought or sold in the last {len(days)} days.")
        return
    _say(console, f"\nVolume by day, last {len(days)} days (UTC)", "bold")
    legend = f"{glyphs.buy} bought {text.money(sum(bought))}, upwards   "
    _say(console, legend + f"{glyphs.sell} sold {text.money(sum(sold))}, downwards")
    for action, line in lines:
        _say(console, line, ACTION_STYLES.get(action, ""))


def _say(console: Console, words: str, style: str = "") -> None:
    from rich.text import Text

    console.print(Text(words, style), soft_wrap=True)
