"""One market for people: its price, its children if it is a topic, and the watched whales in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from whalesync import text
from whalesync.exchanges import title_of
from whalesync.records import TOPIC
from whalesync.store.market_detail import MarketDetail
from whalesync.views.grid import Column, print_table, print_text
from whalesync.views.tables import market_id, side, title

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

SHOWN = 20

#: which of a position's profits counts in its state
_PROFITS = {
    "open": "unrealized_profit",
    "won": "settled_profit",
    "lost": "settled_profit",
    "closed": "realized_profit",
}


def render_market(detail: MarketDetail, console: Console, now: int, *, limit: int | None = None) -> None:
    """Print one market; of its children, positions and traders at most ``limit`` (None: SHOWN)."""
    for name, value in _facts(detail, now):
        print_text(console, f"{name:<9} {value}", indent=10)
    topic = detail.row["title"] if detail.row["kind"] == TOPIC else None
    for heading, rows, columns in (
        ("Markets", detail.children, _child_columns),
        ("Positions of watched whales", detail.positions, partial(_position_columns, topic=topic)),
        ("Trades of watched whales", detail.traders, partial(_trader_columns, now=now, topic=topic)),
    ):
        if rows:
            shown = rows[: limit or SHOWN]
            which = f"the first {len(shown):,} of " if len(shown) < len(rows) else ""
            console.print()
            print_text(console, f"{heading} ({which}{len(rows):,})", "bold")
            print_table(console, columns(shown))
    if not detail.positions and not detail.traders:
        console.print()
        print_text(console, "No watched whale is known to hold or trade it.")


def market_as_json(detail: MarketDetail, limit: int | None = None) -> dict[str, Any]:
    """Return the same as one JSON object: the market's row, and what is shown with it."""
    return {
        **detail.row,
        "children": detail.children[:limit],
        "positions": detail.positions[:limit],
        "traders": detail.traders[:limit],
    }


def _facts(detail: MarketDetail, now: int) -> list[tuple[str, str]]:
    row = detail.row
    kind = f"topic of {text.counted(len(detail.children), 'market')}" if row["kind"] == TOPIC else "market"
    status = text.plain(row["status"]) or f"{text.UNKNOWN} (known from a trade alone)"
    if row["resolved_at"] is not None:
        status += f" {_moment(row['resolved_at'], now)}"
    facts = [
        ("Market", text.plain(row["market_title"])),
        (
            "ID",
            f"{text.plain(row['external_id'])} ({kind} on {text.plain(title_of(row['platform']))})",
        ),
        ("Category", text.plain(row["category"])),
        ("Status", status),
    ]
    if row["kind"] != TOPIC:
        prices = [f"{_outcome(row, side)} {text.price(row[f'{side}_price'])}" for side in ("yes", "no")]
        seen = "" if row["price_updated_at"] is None else f" (first seen {text.ago(row['price_updated_at'], now)})"
        facts += [
            ("Result", text.plain(row["result"]).upper() or text.UNKNOWN),
            ("Price", f"{', '.join(prices)}{seen}"),
        ]
    volumes = [f"{text.money(row[name])} in {span}" for name, span in (("volume_24h", "24 h"), ("volume_7d", "7 days"))]
    facts.append(("Volume", f"{text.money(row['volume'])} in all, {', '.join(volumes)}"))
    if row["kind"] != TOPIC:
        facts.append(("Liquidity", text.money(row["liquidity"])))
    facts.append(("Ends", text.UNKNOWN if row["end_date"] is None else _moment(row["end_date"], now)))
    if address := text.link(row["url"]):
        facts.append(("Page", address))
    return facts


def _outcome(row: Row, name: str) -> str:
    """YES or NO, with the label that the market has for it if that is another."""
    label = text.plain(row[f"{name}_label"])
    return name.upper() + (f" ({label})" if label and label.casefold() != name else "")


def _moment(ms: int, now: int) -> str:
    return f"{text.ago(ms, now)} ({text.iso(ms)})"


def _child_columns(rows: Sequence[Row]) -> list[Column]:
    return [
        market_id(rows, "external_id"),
        title(rows, "title", "url"),
        Column("Status", [text.plain(row["status"]) or text.UNKNOWN for row in rows], rank=2),
        Column("Result", [text.plain(row["result"]).upper() or text.UNKNOWN for row in rows], rank=3),
        Column("Yes", [text.price(row["yes_price"]) for row in rows], right=True),
        Column("No", [text.price(row["no_price"]) for row in rows], right=True, rank=5),
        Column("Volume", [text.short_money(row["volume"]) for row in rows], right=True, rank=1),
        Column("24 h", [text.short_money(row["volume_24h"]) for row in rows], right=True, rank=4),
        Column("Liquidity", [text.short_money(row["liquidity"]) for row in rows], right=True, rank=6),
    ]


def _position_columns(rows: Sequence[Row], *, topic: str | None) -> list[Column]:
    profits = [row[_PROFITS[row["state"]]] if row["state"] in _PROFITS else None for row in rows]
    return [
        *_whales(rows),
        Column("Side", [side(row) for row in rows], least=4),
        Column("State", [text.plain(row["state"]) for row in rows], rank=3),
        Column("Shares", [text.count(row["shares"]) for row in rows], right=True),
        Column("Paid", [text.price(row["avg_price"]) for row in rows], right=True),
        Column("Value", [text.money(row["value"]) for row in rows], right=True),
        Column("Profit", [text.money(profit, signed=True) for profit in profits], right=True),
        Column("Cost", [text.money(row["cost"]) for row in rows], right=True, rank=5),
        Column("Since", [row["first_seen"][:10] for row in rows], rank=4),
        *_market(rows, topic),
        Column("Not certain", [text.plain(row["gap"]) for row in rows], least=12, rank=6),
    ]


def _trader_columns(rows: Sequence[Row], *, now: int, topic: str | None) -> list[Column]:
    return [
        *_whales(rows),
        Column("Side", [side(row) for row in rows], least=4),
        Column("Bought", [text.money(row["bought"]) for row in rows], right=True),
        Column("Sold", [text.money(row["sold"]) for row in rows], right=True),
        Column("Fills", [text.count(row["trades"]) for row in rows], right=True, rank=1),
        Column("Last trade", [text.ago(row["last_trade_at"], now) for row in rows]),
        Column("First trade", [text.ago(row["first_trade_at"], now) for row in rows], rank=4),
        *_market(rows, topic),
    ]


def _whales(rows: Sequence[Row]) -> list[Column]:
    names = [text.whale_name(row["whale_label"], row["whale_address"]) for row in rows]
    return [Column("Whale", names, least=16)]


def _market(rows: Sequence[Row], topic: str | None) -> list[Column]:
    """Return which of a topic's markets it is, without the title of the topic; nothing where there is one market."""
    if topic is None:
        return []
    own = [{**row, "title": row["market_title"].removeprefix(topic + text.TOPIC_SEPARATOR)} for row in rows]
    return [market_id(rows, "market_external_id", rank=2), title(own, "title", "market_url", least=12)]
