"""How a message reads: as text for people, and as JSON for webhooks.

One text serves every service, whatever markup it reads. Text from outside (titles, labels, outcomes) keeps its letters,
but the characters that Markdown, HTML, mentions and links are made of become their full-width forms (``＠``, ``＜``),
which no service interprets; and it never begins a line, where a ``#`` or ``-`` would count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import fsum
from typing import Any

from whalesync import fold, text
from whalesync.alerts.model import Message, Row
from whalesync.fold import Fill
from whalesync.records import BUY, SELL

MAX_CHARS = 1_900  # Discord takes 2,000, and refuses what is longer
TITLE_CHARS, LABEL_CHARS, OUTCOME_CHARS, ACTION_CHARS, URL_CHARS = 300, 60, 60, 20, 200
SAMPLE_TITLE = "This is a sample, no trade was made"

_FULL_WIDTH = {ord(character): ord(character) + 0xFEE0 for character in "@<>[]*_`~|\\"}
_URL = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._/?=&%+,-]*)?")
_VERBS = {BUY: "bought", SELL: "sold"}
_PROFITS = (("realized", "realized_profit"), ("settled", "settled_profit"), ("open", "open_profit"))


def heading(message: Message) -> str:
    """Return the first line, which also serves as the subject of a mail."""
    total = text.money(message.total_usd)
    if message.whale is not None:
        return f"{'Sample: whale' if message.reason == 'sample' else 'Whale'} {_who_did_what(message, total)}"
    if message.reason == "limit":
        return f"And {text.counted(message.trade_count, 'more trade')}, beyond the limit of messages: {total}"
    return f"Quiet hours are over: {text.counted(message.trade_count, 'trade')}, {total}"


def details(message: Message) -> str:
    """Return what follows the heading, together with it at most ``MAX_CHARS``."""
    alert = f"Alert: {harmless(message.alert, LABEL_CHARS)}"
    if message.whale is None:
        return "\n".join([*_digest(message, MAX_CHARS - len(heading(message)) - len(alert) - 2), alert])
    lines = [
        f"Market: {harmless(message.trades[0]['market_title'], TITLE_CHARS)}",
        _figures(message.trades),
        _record(message.whale),
        _times(message.trades),
        alert,
        link(message.trades[0]["market_url"]),
    ]
    return "\n".join(line for line in lines if line)


def whole_text(message: Message) -> str:
    """Return heading and details."""
    return f"{heading(message)}\n{details(message)}"


def body(message: Message) -> bytes:
    """Return the JSON that a webhook gets: the same bytes for the same message."""
    document: dict[str, Any] = {
        "type": message.kind,
        "id": message.id,
        "alert": message.alert,
        "trades": message.trades,
        "total_usd": message.total_usd,
    }
    if message.whale is not None:
        document["whale"] = message.whale
    else:
        document |= {"trade_count": message.trade_count, "more": message.more}
    if message.reason == "sample":
        document["sample"] = True
    document["text"] = whole_text(message)
    return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def harmless(outside: str | None, limit: int) -> str:
    """Return text from outside in at most ``limit`` characters that no service takes for anything but text."""
    shown = text.plain(outside)
    if len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    return shown.translate(_FULL_WIDTH).replace("://", ":／／") or text.UNKNOWN


def link(url: str | None) -> str:
    """Return an address that leads where it seems to, "" for any other."""
    return url if url and len(url) <= URL_CHARS and _URL.fullmatch(url) else ""


def sample(alert: str, message_id: str, now: int) -> Message:
    """Return what ``alerts test`` sends for a rule at ``now`` (ms): a message that says that it is a sample."""
    address = f"0x{0:040x}"
    moment = text.iso(now)
    fill: Row = {
        "id": 0, "time": moment, "whale_label": "Sample", "market_title": SAMPLE_TITLE, "action": BUY,
        "outcome": "YES", "outcome_label": "YES", "amount": 12_500.0, "price": 0.625, "shares": 20_000.0, "fee": None,
        "profit": None, "tx_hash": "", "whale_address": address, "market_category": "sample",
        "market_external_id": "sample", "market_url": None, "whale_id": 0, "market_id": 0, "platform": "sample",
        "timestamp": now, "visible_at": moment,
    }  # fmt: skip
    whale: Row = {"platform": "sample", "address": address, "label": "Sample"}
    return Message(
        id=message_id,
        kind="whale.trade",
        alert=alert,
        trades=[fill],
        trade_count=1,
        total_usd=12_500.0,
        whale=whale,
        reason="sample",
    )


def _who_did_what(message: Message, total: str) -> str:
    first = message.trades[0]
    further = f" in {text.counted(message.trade_count, 'further trade')}" if message.reason == "fold" else ""
    return f"{_name(first)} {_did(first)} for {total}{further}"


def _digest(message: Message, characters: int) -> list[str]:
    """One line for each trade, the largest first, as far as the characters suffice, and how many are left out."""
    rows = {row["id"]: row for row in message.trades}
    trades = [[rows[fill.id] for fill in trade] for trade in fold.trades(map(_fill, message.trades))]
    lines: list[str] = []
    characters -= len(_more(message.trade_count)) + 1
    for trade in sorted(trades, key=_amount, reverse=True):
        line = _short(trade)
        characters -= len(line) + 1
        if characters < 0:
            break
        lines.append(line)
    left = message.more + len(trades) - len(lines)
    return [*lines, _more(left)] if left else lines


def _more(count: int) -> str:
    return f"and {count:,} more"


def _short(trade: Sequence[Row]) -> str:
    first = trade[0]
    at = "" if (average := _average(trade)) is None else f" at {average}"
    line = f"• {_name(first)} {_did(first)} for {text.money(_amount(trade))}{at}"
    if len(trade) > 1:
        line += f" ({text.counted(len(trade), 'fill')})"
    line += f", {_utc(first['timestamp'])}: {harmless(first['market_title'], TITLE_CHARS)}"
    return f"{line} {link(first['market_url'])}".rstrip()


def _fill(row: Row) -> Fill:
    outcome = row["outcome"] or row["outcome_label"]
    return Fill(**{name: row[name] for name in Fill._fields} | {"outcome": outcome})


def _name(row: Row) -> str:
    return harmless(text.whale_name(row["whale_label"], row["whale_address"]), LABEL_CHARS)


def _did(row: Row) -> str:
    """Name action and outcome: ``bought YES``, ``bought Trump (YES)``."""
    label, outcome = row["outcome_label"] or row["outcome"], row["outcome"]
    named = harmless(label, OUTCOME_CHARS)
    if label and outcome and label.casefold() != outcome.casefold():
        named += f" ({harmless(outcome, OUTCOME_CHARS)})"
    action = row["action"]
    return f"{_VERBS.get(action) or 'made a ' + harmless(action, ACTION_CHARS) + ' of'} {named}"


def _amount(fills: Sequence[Row]) -> float:
    return fsum(row["amount"] for row in fills)


def _average(fills: Sequence[Row]) -> str | None:
    """The average price, None where no fill tells one."""
    average = fold.average_price(map(_fill, fills))
    return None if average is None else text.price(average)


def _figures(fills: Sequence[Row]) -> str:
    found = [] if (average := _average(fills)) is None else [f"{'Average price' if fills[1:] else 'Price'} {average}"]
    if all(row["shares"] for row in fills):
        found.append(f"{text.count(fsum(row['shares'] for row in fills))} shares")
    return ", ".join([*found, text.counted(len(fills), "fill")])


def _record(whale: Row) -> str:
    """The whale's win rate and profits, as far as they are known."""
    known = [f"{name} {text.money(whale[column], signed=True)}" for name, column in _PROFITS if _has(whale, column)]
    found = [f"Win rate {text.share(whale['win_rate'])}"] if _has(whale, "win_rate") else []
    if known:
        incomplete = "" if whale.get("profit_complete") else " (not complete)"
        found.append(f"{'profit' if found else 'Profit'} {', '.join(known)}{incomplete}")
    return ", ".join(found)


def _has(whale: Row, column: str) -> bool:
    return whale.get(column) is not None


def _times(fills: Sequence[Row]) -> str:
    first, last = (_utc(pick(row["timestamp"] for row in fills)) for pick in (min, max))
    return first if first == last else f"{first} to {last}"


def _utc(ms: int) -> str:
    return text.iso(ms).replace("T", " ").replace("Z", " UTC")
