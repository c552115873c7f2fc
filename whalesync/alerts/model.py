"""What alerts are about: rules, the messages that they lead to, and how a target answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from whalesync.units import HOUR

Row = dict[str, Any]

WEBHOOK_SCHEMES = ("https", "http")

Kind = Literal["whale.trade", "whale.digest"]
Reason = Literal["trade", "fold", "quiet", "limit", "sample"]


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours in which nothing is sent: minutes after local midnight, the end not included; ``zone`` as in the IANA list.

    An end before the start is on the next day.
    """

    start_minute: int
    end_minute: int
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the alerts file. ``None`` in a filter: no limit. Amounts in USD, times in milliseconds.

    Args:
        targets: addresses, which may hold secrets; so may ``secret``, which signs webhooks.
        markets: external ids; that of a topic stands for its children.
        fold_ms: how long further trades of a whale in one market, outcome and action are gathered, if they are.
        max_age_ms: a trade that is older when it is first seen is not sent.
    """

    name: str
    targets: tuple[str, ...]
    secret: str | None = None
    min_usd: float = 0.0
    whales: tuple[str, ...] | None = None
    exchanges: tuple[str, ...] | None = None
    markets: tuple[str, ...] | None = None
    categories: tuple[str, ...] | None = None
    actions: tuple[str, ...] = ("BUY", "SELL")
    min_price: float | None = None
    max_price: float | None = None
    tier: str = "pro-plus"
    fold_ms: int | None = None
    quiet: Quiet | None = None
    max_age_ms: int = 6 * HOUR

    def __repr__(self) -> str:
        return f"Rule({self.name!r})"  # never with what is secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one target is told at once.

    Args:
        id: stays the same over retries; each target has its own.
        alert: the name of the rule.
        trades: one row for each fill, with the columns of the activity view, oldest first. ``whalesync.fold`` tells
            which of them are one trade.
        trade_count: how many trades the message is about.
        total_usd: of all of them.
        whale: a row of the watch list; None in a digest.
        more: how many of the trades have no rows in ``trades``.
        reason: why it is sent: a trade; the trades that followed one (``fold``); those held back in quiet hours; or
            those beyond the limit of messages a minute. The latter two are digests. A ``sample`` is no real trade.
    """

    id: str
    kind: Kind
    alert: str
    trades: list[Row]
    trade_count: int
    total_usd: float
    whale: Row | None = None
    more: int = 0
    reason: Reason = "trade"

    def to_json(self) -> str:
        """Return the message as it is stored."""
        return json.dumps(asdict(self), ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Return the message that was stored."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Sent:
    """The target has taken the message."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The target may take it later; ``after``: the pause (seconds) that it asked for, if it named one."""

    after: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The target will never take this message. ``reason`` holds no secret, as that of ``Retry``."""

    reason: str


Outcome = Sent | Retry | Refused


class Target(Protocol):
    """Where messages go."""

    @property
    def name(self) -> str:
        """The address without what may be secret (``redacted``)."""

    def send(self, message: Message, until: float) -> Outcome:
        """Deliver a message; runs in a worker thread. Returns by ``until`` (monotonic seconds), whatever happens."""


def is_webhook(address: str) -> bool:
    """Whether this program posts to the address itself; apprise serves all others."""
    return address.partition("://")[0].lower() in WEBHOOK_SCHEMES


def redacted(address: str) -> str:
    """Return of an address what cannot be secret: the scheme, and a webhook's host and port."""
    scheme = address.partition("://")[0].lower()
    if not is_webhook(address):
        return f"{scheme}://…"
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{scheme}://{host}/…" if parts.path.strip("/") or parts.query or parts.fragment else f"{scheme}://{host}"
