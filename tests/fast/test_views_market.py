"""One market, as text."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from support.rows import DAY, HOUR, NOW

from whalesync.store.market_detail import MarketDetail
from whalesync.views.market import market_as_json, render_market
from whalesync.views.output import console_on

MOBY = "0x" + "a1" * 20
NASTY = "\x1b[31m[red]evil[/red]\u202e"


def market(**fields: Any) -> dict[str, Any]:
    """A row of the market table."""
    return {
        "platform": "opinion_trade", "kind": "market", "external_id": "1", "title": "Rain?", "market_title": "Rain?",
        "category": "Weather", "status": "activated", "yes_label": "Yes", "no_label": "Stays dry", "yes_price": 0.65,
        "no_price": 0.35, "price_updated_at": NOW - HOUR, "volume": 1234.5, "volume_24h": 10.0, "volume_7d": None,
        "liquidity": None, "end_date": NOW + DAY, "resolved_at": None, "result": None, "url": "https://example.com/1",
    } | fields  # fmt: skip


def position(**fields: Any) -> dict[str, Any]:
    """What a whale holds."""
    return {
        "whale_address": MOBY, "whale_label": "Moby Dick", "market_title": "Rain?", "market_external_id": "1",
        "market_url": None, "outcome": "NO", "outcome_label": "NO", "state": "open", "shares": 1000.0,
        "avg_price": 0.6, "cost": 600.0, "value": 620.0, "unrealized_profit": 20.0, "settled_profit": 7.0,
        "realized_profit": -3.0, "gap": None, "first_seen": "2026-02-27T10:00:00Z",
    } | fields  # fmt: skip


def trader(**fields: Any) -> dict[str, Any]:
    """What a whale traded."""
    return {
        "whale_address": MOBY, "whale_label": None, "market_title": "Rain?", "market_external_id": "1",
        "market_url": None, "outcome": "YES", "outcome_label": "YES", "trades": 3, "bought": 50.0, "sold": 0.0,
        "first_trade_at": NOW - DAY, "last_trade_at": NOW - 3 * HOUR,
    } | fields  # fmt: skip


def page(detail: MarketDetail, width: int = 80, limit: int | None = None) -> str:
    """What is printed."""
    out = StringIO()
    render_market(detail, console_on(out, width), NOW, limit=limit)
    assert max(map(cell_len, out.getvalue().splitlines())) <= width
    return out.getvalue()


def test_a_market_is_shown_with_the_whales_in_it() -> None:
    """Prices with their outcomes, what is not known as a dash, who holds which side at what price, who traded last."""
    text = page(MarketDetail(market(), [], [position()], [trader()]))
    for part in (
        "1 (market on Opinion.Trade)",
        "YES 65.0¢, NO (Stays dry) 35.0¢ (first seen 1 h ago)",
        "$1,234.50 in all, $10.00 in 24 h, – in 7 days",
        "Liquidity –",
        "in 24 h (2026-03-02T12:00:00Z)",
        "https://example.com/1",
        "Positions of watched whales (1)",
        "Trades of watched whales (1)",
    ):
        assert part in text
    held, traded = (line.split() for line in text.splitlines() if line.startswith(("Moby", "0xa1a1…a1a1")))
    assert held == ["Moby", "Dick", "NO", "open", "1,000.00", "60.0¢", "$620.00", "+$20.00", "$600.00", "2026-02-27"]
    assert traded == ["0xa1a1…a1a1", "YES", "$50.00", "$0.00", "3", "3", "h", "ago", "24", "h", "ago"]


@pytest.mark.parametrize(
    ("state", "profit"),
    [("open", "+$20.00"), ("won", "+$7.00"), ("lost", "+$7.00"), ("closed", "-$3.00"), ("void", "–")],
)
def test_a_position_has_the_profit_of_its_state(state: str, profit: str) -> None:
    """Open, settled or realized; of a market without a result it is not known."""
    assert f"{profit}  $600.00  2026" in page(MarketDetail(market(), [], [position(state=state)], []))


def test_a_topic_is_shown_with_its_markets() -> None:
    """Their prices; which of them a whale is in, without the topic's title before each."""
    topic = market(kind="topic", title="Gold?", market_title="Gold?")
    child = market(title="$4,000", market_title="Gold? › $4,000")
    text = page(MarketDetail(topic, [child], [position(market_title="Gold? › $4,000")], []))
    assert "topic of 1 market on" in text and "Price" not in text and "65.0¢" in text
    assert text.count("$4,000") == 2 and "› $4,000" not in text


def test_of_many_rows_the_first_are_shown() -> None:
    """How many there are is said; as many as are asked for, also in JSON."""
    detail = MarketDetail(market(), [], [position()] * 25, [trader()] * 3)
    assert "Positions of watched whales (the first 20 of 25)" in page(detail)
    assert "(the first 2 of 25)" in page(detail, limit=2) and "(the first 2 of 3)" in page(detail, limit=2)
    document = market_as_json(detail, 2)
    assert (document["title"], len(document["positions"]), len(document["traders"])) == ("Rain?", 2, 2)


def test_a_market_without_whales_says_so() -> None:
    """Nor is there an empty table; a market that is known from a trade alone has no status."""
    text = page(MarketDetail(market(status=None, url=None, yes_price=None, price_updated_at=None), [], [], []))
    assert "No watched whale is known to hold or trade it." in text and "(0)" not in text
    assert "– (known from a trade alone)" in text and "YES –" in text and "Page" not in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_text_from_outside_is_only_shown(width: int) -> None:
    """Escapes and direction marks are plain text, and no line is wider than the console."""
    names = ("market_title", "title", "category", "status", "yes_label", "url", "external_id")
    evil = market(**dict.fromkeys(names, NASTY), kind="topic")
    held = position(whale_label=NASTY, market_title=NASTY, gap=NASTY, outcome=None, outcome_label=NASTY)
    text = page(MarketDetail(evil, [evil], [held], [trader(market_title=NASTY, market_url=NASTY)]), width)
    assert not set(text) & {"\x1b", "\u202e"}


def test_a_narrow_page_drops_columns_before_it_cuts_a_label() -> None:
    """Labels that begin alike stay apart at 80 columns; what is dropped is the day a position was first seen."""
    big = {"shares": 496_347.14, "value": 160_058.0, "unrealized_profit": -16_265.19, "cost": 166_323.2}
    rows = [position(whale_label=label, **big) for label in ("trader-ee3700", "trader-ee3711")]
    text = page(MarketDetail(market(), [], rows, []))
    assert "trader-ee3700" in text and "trader-ee3711" in text and "Since" not in text
