"""Messages to send, and titles that try to be more than text."""

from __future__ import annotations

from typing import Any

from whalesync.alerts.message import sample
from whalesync.alerts.model import Message, Row

NOW = 1_772_366_442_000  # 2026-03-01T12:00:42Z
LINK = "https://app.opinion.trade/detail?topicId=12&type=multi"

HOSTILE = (
    "@everyone @here <!channel> <@U123> <@&42> <#5> @all",
    "[safe](https://evil.example) <https://evil.example|safe> ![x](https://evil.example/p.png)",
    "<a href='https://evil.example'>safe</a><script>alert(1)</script><img src=x>",
    "**bold** __under__ _it_ `code` ```block``` ~~no~~ ||spoiler|| \\* tg://user?id=1",
    "# heading\n> quote\n- item\r\n@here",
    "\u202etxt.exe\u200b\x1b[31m\u2028x",
)


def fill(number: int = 1, **changes: Any) -> Row:
    """A fill of $500 at 62.5 cents in the row of the activity view; one second apart."""
    row = sample("x", "x", NOW + (number - 1) * 1000).trades[0] | {
        "id": number, "whale_label": "Moby Dick", "market_title": "Gold price? › $4,000 or more", "amount": 500.0,
        "shares": 800.0, "tx_hash": "0xab", "whale_address": "0x" + "5a" * 20, "market_external_id": "12",
        "market_url": LINK, "whale_id": 1, "market_id": 1, "platform": "opinion_trade",
    }  # fmt: skip
    return row | changes


WHALE: Row = {
    "address": "0x" + "5a" * 20, "label": "Moby Dick", "win_rate": 0.615, "realized_profit": 1234.5,
    "settled_profit": -20.0, "open_profit": None, "profit_complete": 1,
}  # fmt: skip


def trade(*fills: Row, **changes: Any) -> Message:
    """A message about one trade."""
    rows = list(fills) or [fill()]
    values: dict[str, Any] = {
        "id": "msg_1", "kind": "whale.trade", "alert": "big buys", "trades": rows, "trade_count": 1,
        "total_usd": sum(row["amount"] for row in rows), "whale": WHALE,
    }  # fmt: skip
    return Message(**values | changes)


def digest(*fills: Row, **changes: Any) -> Message:
    """A message about the trades that were held back, each of one fill."""
    values: dict[str, Any] = {"kind": "whale.digest", "trade_count": len(fills), "whale": None, "reason": "quiet"}
    return trade(*fills, **values | changes)


def hostile(text: str) -> Message:
    """A message in which everything that comes from outside is this text."""
    outside: Row = {"whale_label": text, "market_title": text, "outcome_label": text, "market_url": text}
    return trade(fill(**outside, action=text), whale=WHALE | {"label": text})
