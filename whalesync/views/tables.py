"""Tables of activity, markets and whales for people; an empty one says what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from whalesync import text
from whalesync.exchanges import title_of
from whalesync.records import BUY, SELL, TIER_DELAYS_MS, TOPIC
from whalesync.store.stats import FEWEST_DECIDED
from whalesync.store.whale_detail import WhaleDetail
from whalesync.views import chart
from whalesync.views.grid import COMFORT, Column, GrowingTable, cut_end, cut_title, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

SIDE_CELLS = 10  # of the name of an outcome
SHOWN_POSITIONS = 10

ACTION_STYLES = {BUY: "green", SELL: "magenta"}

ADD_A_WHALE = "The watch list is empty: run 'whalesync whales add ADDRESS', then 'whalesync sync-whales'."
NO_TRADES = "No trades are stored yet: run 'whalesync sync-whales', or see 'whalesync status'."


def render_activity(
    rows: Sequence[Row],
    console: Console,
    now: int,
    *,
    tier: str = "pro-plus",
    narrowed: bool = False,
    tracked: int | None = None,
    local: bool = False,
) -> None:
    """Print the feed.

    Args:
        narrowed: by whale, market, size or time.
        tracked: length of the watch list, if known.
        local: with times in the zone of the host.
    """
    if rows:
        print_table(console, _activity_columns(rows, _when(rows, now, local=local)))
    elif tracked == 0:
        print_text(console, ADD_A_WHALE)
    elif narrowed:
        print_text(console, "No matching trades: leave out --whale, --market or --min-usd, or use an earlier --since.")
    elif TIER_DELAYS_MS[tier]:
        delay = text.duration(TIER_DELAYS_MS[tier])
        print_text(console, f"No trades are visible yet: tier {tier} sees a trade {delay} after it is made.")
    else:
        print_text(console, NO_TRADES)


class FollowedTable:
    """The feed bit by bit, oldest first, as one table.

    Each trade has its time, since an age would become wrong on the screen.
    """

    def __init__(self, *, local: bool) -> None:
        self._table = GrowingTable()
        self._local = local

    def print(self, rows: Sequence[Row], console: Console) -> None:
        """Print further trades."""
        if rows:
            self._table.print(console, _activity_columns(rows, [_clock(rows, local=self._local)]))


def render_markets(rows: Sequence[Row], console: Console, now: int, *, narrowed: bool = False) -> None:
    """Print the market table. ``narrowed``: by search, category, status or exchange."""
    if rows:
        print_table(console, market_columns(rows, now))
    elif narrowed:
        print_text(console, "No matching markets: try a shorter --search, or leave out --category or --status.")
    else:
        print_text(console, "No markets are stored yet: run 'whalesync sync-markets'.")


def render_whales(rows: Sequence[Row], console: Console, now: int) -> None:
    """Print the watch list."""
    if not rows:
        print_text(console, ADD_A_WHALE)
        return
    addresses = [row["address"] for row in rows]
    active = [_last_active(row, now) for row in rows]
    columns = [
        Column("Address", list(map(text.plain, addresses)), short=list(map(text.short_address, addresses))),
        Column("Label", [text.plain(row["label"]) for row in rows], least=16),
        exchange([row["platform"] for row in rows], rank=1),
        Column("Volume", [text.short_money(row["total_volume"]) for row in rows], right=True),
        Column("Active", active, short=[each.removesuffix(" ago") for each in active], rank=1),
        Column("Trades", [text.count(row["trade_count"]) for row in rows], right=True, rank=2),
        *(
            Column(header, [text.short_money(row[name], signed=True) for row in rows], right=True, rank=rank)
            for header, name, rank in _PROFITS
        ),
        Column("Won", [text.share(row["win_rate"]) for row in rows], right=True, rank=6),
        Column("24 h", [text.short_money(row["volume_24h"]) for row in rows], right=True, rank=9),
        Column("7 d", [text.short_money(row["volume_7d"]) for row in rows], right=True, rank=7),
        Column("30 d", [text.short_money(row["volume_30d"]) for row in rows], right=True, rank=8),
        Column("Tracked", ["" if row["tracked"] else "no" for row in rows]),
    ]
    print_table(console, columns)
    if incomplete := sum(not row["profit_complete"] for row in rows):
        console.print()
        of = "one whale" if incomplete == 1 else f"{incomplete:,} whales"
        print_text(console, f"The profit of {of} is not complete; 'whalesync whales show WHALE' says what is missing.")


def render_candidates(rows: Sequence[Row], console: Console, *, by: str) -> None:
    """Print the wallets of a leaderboard, which are ranked ``by`` profit or volume."""
    if not rows:
        print_text(console, "The leaderboard is empty: try another --period.")
        return
    addresses = [row["address"] for row in rows]
    known = [row["whale"] for row in rows]
    columns = [
        Column("Rank", [text.count(row["rank"]) for row in rows], right=True),
        Column("Address", list(map(text.plain, addresses))),
        Column("Name", [text.plain(row["name"]) for row in rows], least=12, rank=2),
        Column(by.capitalize(), [_ranked_by(row, by) for row in rows], right=True),
        Column("Watched as", ["" if w is None else text.plain(w["label"]) or "yes" for w in known], least=10, rank=1),
        Column("Stored", ["" if w is None else text.counted(w["trade_count"], "trade") for w in known], rank=3),
    ]
    print_table(console, columns)


def _ranked_by(row: Row, by: str) -> str:
    if row["shares"] is not None:
        return text.counted(round(row["shares"]), "share")
    return text.money(row["usd"], signed=by == "profit")


def render_whale(
    detail: WhaleDetail,
    console: Console,
    now: int,
    *,
    no_trades_hint: str = "",
    limit: int | None = None,
    local: bool = False,
) -> None:
    """Print one whale: figures, what it holds, a chart, its markets, its last trades.

    Args:
        limit: at most so many positions; None: SHOWN_POSITIONS.
        local: with times in the zone of the host.
    """
    for name, value in _whale_facts(detail, now, local=local):
        print_text(console, f"{name:<9} {value}", indent=10)
    if detail.positions:
        console.print()
        shown = detail.positions[: limit or SHOWN_POSITIONS]
        which = f"the most valuable {len(shown)} of " if len(shown) < len(detail.positions) else ""
        print_text(console, f"Open positions ({which}{len(detail.positions):,})", "bold")
        print_table(console, _position_columns(shown))
    if not detail.trades:
        console.print()
        print_text(console, NO_TRADES if detail.listed != 0 else f"{no_trades_hint}.")
        return
    _print_chart(detail, console)
    if detail.markets:
        console.print()
        print_text(console, "Most traded markets", "bold")
        print_table(console, _most_traded_columns(detail.markets))
    console.print()
    print_text(console, "Last trades", "bold")
    columns = _activity_columns(detail.trades, _when(detail.trades, now, local=local))
    print_table(console, [column for column in columns if column.header not in ("Whale", "Address")])


def whale_as_json(detail: WhaleDetail, limit: int | None = None) -> dict[str, Any]:
    """Return the same as one JSON object: the whale's row, and what is shown with it; ``limit``: of positions."""
    return {
        **detail.row,
        "listed_trades": detail.listed,
        "profit_unknown": detail.unknown,
        "decided_positions": detail.decided,
        "positions": detail.positions[:limit],
        "volume_by_day": detail.days,
        "markets": detail.markets,
        "trades": detail.trades,
    }


def _when(rows: Sequence[Row], now: int, *, local: bool) -> list[Column]:
    """How long ago each trade was made, and its time where there is room; in local time if that was asked for."""
    if local:
        return [_clock(rows, local=True)]
    ages = [text.age(row["timestamp"], now) for row in rows]
    return [
        Column("When", [text.ago(row["timestamp"], now) for row in rows], short=ages),
        replace(_clock(rows, local=False), rank=5),
    ]


def _clock(rows: Sequence[Row], *, local: bool) -> Column:
    times = [row["timestamp"] for row in rows]
    return Column(
        "Time (local)" if local else "Time (UTC)",
        [text.iso(at, local=local) for at in times],
        short=[text.short_time(at, local=local) for at in times],
    )


def _activity_columns(rows: Sequence[Row], when: Sequence[Column]) -> list[Column]:
    names = [text.whale_name(row["whale_label"], row["whale_address"]) for row in rows]
    profits = [text.money(text.profit(row["action"], row["profit"]), signed=True) for row in rows]
    return [
        *when,
        Column("Whale", names, least=11, usual=11),
        exchange([row["platform"] for row in rows], rank=3),
        Column("Address", [text.plain(row["whale_address"]) for row in rows], rank=9),
        Column("Action", [text.plain(row["action"]) for row in rows], styles=ACTION_STYLES, least=5, usual=5),
        Column("Side", [side(row) for row in rows], rank=1, least=4, usual=4),
        Column("Amount", [text.money(row["amount"]) for row in rows], right=True, usual=10),
        Column("Price", [_price(row) for row in rows], right=True, rank=3, usual=6),
        Column("Shares", [text.count(row["shares"]) for row in rows], right=True, rank=6, usual=12),
        Column("Fee", [text.money(row["fee"]) for row in rows], right=True, rank=8, usual=7),
        Column("Profit", profits, right=True, rank=4, usual=11),
        market_id(rows, "market_external_id", rank=2),
        title(rows, "market_title", "market_url", least=18),
        Column("Category", [text.plain(row["market_category"]) for row in rows], rank=7, least=8, usual=8),
    ]


def exchange(platforms: Sequence[str], *, rank: int) -> Column:
    """Return the column of exchanges, which is empty, and so is not shown, where all are the same."""
    several = len(set(platforms)) > 1
    return Column("Exchange", [text.plain(title_of(name)) if several else "" for name in platforms], rank=rank)


def title(rows: Sequence[Row], name: str, url: str, *, least: int = 24) -> Column:
    """Return the column of market titles, which links to the markets' pages."""
    titles, links = [text.plain(row[name]) for row in rows], [text.link(row[url]) for row in rows]
    return Column("Market", titles, least=least, cut=cut_title, links=links, usual=COMFORT)


def market_id(rows: Sequence[Row], name: str, *, rank: int = 0) -> Column:
    """Return the column of the exchange's ids of markets."""
    ids = [row[name] for row in rows]
    return Column("ID", list(map(text.plain, ids)), short=list(map(text.short_id, ids)), rank=rank, usual=5)


def _price(row: Row) -> str:
    """The price; a conversion such as SPLIT or MERGE has none, which the exchange gives as 0."""
    converted = row["action"] not in (BUY, SELL) and not row["price"]
    return text.UNKNOWN if converted else text.price(row["price"])


def side(row: Row) -> str:
    """YES or NO, or the outcome as the exchange names it where that says more: a team, or "Up"."""
    outcome, label = row["outcome"] or "", text.plain(row["outcome_label"])
    named = outcome if not label or label.casefold() == outcome.casefold() else label
    return cut_end(named, SIDE_CELLS) or text.UNKNOWN


def market_columns(rows: Sequence[Row], now: int) -> list[Column]:
    ends = [text.UNKNOWN if row["end_date"] is None else text.ago(row["end_date"], now) for row in rows]
    columns = [
        market_id(rows, "external_id"),
        title(rows, "market_title", "url"),
        exchange([row["platform"] for row in rows], rank=2),
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
    without_prices = all(row["kind"] == TOPIC for row in rows)
    return [column for column in columns if not (without_prices and column.header in ("Yes", "No", "Liquidity"))]


def _most_traded_columns(rows: Sequence[Row]) -> list[Column]:
    return [
        Column("Volume", [text.money(row["volume"]) for row in rows], right=True),
        Column("Trades", [text.count(row["trades"]) for row in rows], right=True),
        title(rows, "market_title", "url"),
        Column("Category", [text.plain(row["category"]) for row in rows], least=8, rank=2),
        market_id(rows, "external_id", rank=1),
    ]


def _position_columns(rows: Sequence[Row]) -> list[Column]:
    return [
        Column("Side", [side(row) for row in rows], least=4),
        Column("Shares", [text.count(row["shares"]) for row in rows], right=True),
        Column("Paid", [text.price(row["avg_price"]) for row in rows], right=True, rank=3),
        Column("Price", [text.price(row["price"]) for row in rows], right=True, rank=2),
        Column("Value", [text.money(row["value"]) for row in rows], right=True),
        Column("Profit", [text.money(row["unrealized_profit"], signed=True) for row in rows], right=True, rank=1),
        title(rows, "market_title", "market_url"),
        market_id(rows, "market_external_id", rank=4),
        Column("Not certain", [text.plain(row["gap"]) for row in rows], least=12, rank=5),
    ]


def _whale_facts(detail: WhaleDetail, now: int, *, local: bool) -> list[tuple[str, str]]:
    row = detail.row
    on = text.plain(title_of(row["platform"]))
    trades = text.counted(row["trade_count"], "trade")
    buys, sells = text.counted(row["buy_count"], "buy"), text.counted(row["sell_count"], "sell")
    windows = [f"{text.money(row[column])} in {name}" for column, name in _WINDOWS]
    last = row["last_active_at"]
    return [
        ("Whale", text.plain(row["label"]) or "(no label)"),
        ("Address", text.plain(row["address"]) + ("" if row["tracked"] else " (no longer tracked)")),
        ("Exchange", on),
        (
            "Active",
            _last_active(row, now) if last is None else f"{text.ago(last, now)} ({text.iso(last, local=local)})",
        ),
        ("Volume", f"{text.money(row['total_volume'])} in {trades} ({buys}, {sells})"),
        ("", ", ".join(windows)),
        *_profit_facts(detail, on),
    ]


def _last_active(row: Row, now: int) -> str:
    """How long ago a whale was last active; a wallet whose trades were never counted may have been."""
    known = row["last_active_at"] is not None or row["trade_count"] is not None
    return text.ago(row["last_active_at"], now) if known else text.UNKNOWN


def _profit_facts(detail: WhaleDetail, exchange: str) -> list[tuple[str, str]]:
    row = detail.row
    realized, settled, unrealized = (text.money(row[name], signed=True) for _, name, _ in _PROFITS)
    won, lost = (text.count(row[name]) for name in ("won_count", "lost_count"))
    held = text.counted(len(detail.positions), "open position")
    decided = "" if row["settled_profit"] is None else f", {won} won, {lost} lost"
    is_known = row["open_profit"] is not None or detail.positions
    value = f"{text.money(row['open_value'])} in {held} " if is_known else ""
    facts = [
        ("Profit", f"{realized} realized: what {exchange} says of sales and merges"),
        ("", f"{settled} settled: held to the end{decided}"),
        ("", f"{unrealized} open: {value}at the latest prices"),
    ]
    facts += [("", f"{'not complete: ' if not place else ''}{why}") for place, why in enumerate(detail.unknown)]
    if row["win_rate"] is None:
        rate = f"not known: {text.counted(detail.decided, 'position')} decided, {FEWEST_DECIDED} are needed"
    else:
        rate = f"{text.share(row['win_rate'])} of {text.counted(detail.decided, 'decided position')} made money"
    return [*facts, ("Win rate", rate)]


#: header, column, and rank among the columns of a narrow table
_PROFITS = (("Realized", "realized_profit", 3), ("Settled", "settled_profit", 4), ("Open", "open_profit", 5))
_WINDOWS = (("volume_24h", "24 h"), ("volume_7d", "7 days"), ("volume_30d", "30 days"))


def _print_chart(detail: WhaleDetail, console: Console) -> None:
    days = detail.days
    bought, sold = [day["buy"] for day in days], [day["sell"] for day in days]
    lines = chart.volume_chart([day["day"] for day in days], bought, sold, width=console.width)
    console.print()
    if not lines:
        print_text(console, f"Nothing bought or sold in the last {len(days)} days.")
        return
    print_text(console, f"Volume by day, last {len(days)} days (UTC)", "bold")
    legend = f"{chart.BOUGHT} bought {text.money(sum(bought))}, above   "
    print_text(console, legend + f"{chart.SOLD} sold {text.money(sum(sold))}, below")
    for action, line in lines:
        console.print(line, style=ACTION_STYLES.get(action, ""), soft_wrap=True)
