"""Decide what each rule tells of, and when. Pure: no clock, no file, no network.

A trade (see ``whalesync.fold``) is judged as far as the rule's tier sees it, again whenever a fill of its run arrives,
so that fills which a later sync brings count together with the earlier ones. For a rule, each fill of a trade is one of

    IGNORED     made before the rule or the wallet was there, or in a trade older than ``max_age`` when it is seen;
    SMALL       not yet told of: what the trade has of such fills is too small, or its price out of the limits;
    DUE         not yet told of, and what the trade has of such fills is large enough: told of now;
    GATHERED    came after a message about its whale, market, action and outcome, within the rule's ``fold``: told of
                when the fold ends, all in one message, however small;
    HELD        due in quiet hours: told of when they end, all in one digest;
    WAITING     due beyond the limit of messages: told of in one digest, as soon as the limit allows it;
    TOLD        in a delivery, which is tried until it is sent or given up.

SMALL needs no memory: it is worked out again from the stored trades. The fills of the last four have been *taken*: the
rule never tells of them again, so what comes after a trade was told of is DUE only if it is large enough by itself.
What is superseded before it is told of is left out.

Whatever is decided is stored in one transaction with the cursor, so a crash changes nothing: either all of it happened
or none. A fill is taken once, so it is in one message of a rule, and the message keeps its id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from math import fsum
from typing import Any

from whalesync import fold
from whalesync.alerts.model import Kind, Message, Reason, Row, Rule
from whalesync.fold import Fill, TradeKey
from whalesync.records import TIER_DELAYS_MS
from whalesync.units import DAY, HOUR, MINUTE

MESSAGES_A_MINUTE = 20  # to one target

MOST_TRADES = 20  # with rows in one message
MOST_ROWS = 1_000  # in one message, unless a single trade has more

FIRST_PAUSE_MS, LONGEST_PAUSE_MS = MINUTE, HOUR
GIVE_UP_AFTER_MS = DAY

Trade = tuple[int, ...]
"""A trade, or what a message tells of it: the ids of its fills."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Trades that are gathered after a message about ``key``, which was decided at ``opened_at`` (ms)."""

    key: TradeKey
    opened_at: int
    fills: Trade = ()


@dataclass(frozen=True, slots=True)
class State:
    """What a rule remembers. Nothing made before ``since`` (ms), when the rule was first seen, is told of.

    ``waiting``: by the name of the target.
    """

    since: int
    folds: tuple[Fold, ...] = ()
    held: tuple[Trade, ...] = ()
    waiting: Mapping[str, tuple[Trade, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the state as it is stored."""
        return json.dumps(
            {
                "folds": [[each.key, each.opened_at, each.fills] for each in self.folds],
                "held": self.held,
                "waiting": dict(self.waiting),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, since: int, text: str) -> State:
        """Return the state that was stored."""
        stored = json.loads(text)
        return cls(
            since,
            tuple(Fold(_key(key), opened_at, tuple(fills)) for key, opened_at, fills in stored["folds"]),
            tuple(map(tuple, stored["held"])),
            {target: tuple(map(tuple, trades)) for target, trades in stored["waiting"].items()},
        )


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule is about: whales with the moment since when they are watched (ms), and markets; None: all."""

    whales: Mapping[int, int]
    markets: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be told of in one message."""

    reason: Reason
    trades: tuple[Trade, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows for one rule: its new state, the messages that are due, and the fills that were taken."""

    state: State
    due: list[Due]
    taken: list[Fill]


def selection(rule: Rule) -> str:
    """Return what tells whether a rule still selects the same trades; without secrets."""
    values = (
        rule.min_usd, rule.whales, rule.exchanges, rule.markets, rule.categories, rule.actions, rule.min_price,
        rule.max_price, rule.tier, rule.max_age_ms,
    )  # fmt: skip
    return blake2b(repr(values).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def decide(
    rule: Rule,
    scope: Scope,
    state: State,
    trades: Iterable[Sequence[Fill]],
    *,
    new: set[int],
    taken: set[int],
    gathered: Mapping[int, Fill],
    now: int,
) -> Decision:
    """Decide what a rule tells of.

    Args:
        trades: all trades of the runs that have new fills, as far as the rule's tier sees them, the earliest first.
        new: the ids of fills that the tier sees for the first time.
        taken: the ids of fills that the rule has taken.
        gathered: the fills of the state's folds, without those that are superseded.
        now: in ms.
    """
    deciding = _Deciding(rule, state, gathered, now)
    for trade in trades:
        if not _covers(rule, scope, trade[0]):
            continue
        since = max(state.since, scope.whales[trade[0].whale_id])
        fresh = [fill for fill in trade if fill.id not in taken and fill.timestamp >= since]
        if fresh and fresh[-1].timestamp >= now - rule.max_age_ms:
            deciding.judge(fresh, any(fill.id in new for fill in fresh))
    deciding.end_folds()
    due, held = deciding.due, state.held
    if is_quiet(rule, now):
        held += tuple(trade for each in due for trade in each.trades)
        due = []
    elif held:
        due = [Due("quiet", held), *due]
        held = ()
    return Decision(replace(state, folds=tuple(deciding.folds.values()), held=held), due, deciding.taken)


class _Deciding:
    """One rule, while its trades are gone through."""

    def __init__(self, rule: Rule, state: State, gathered: Mapping[int, Fill], now: int) -> None:
        self.folds = {each.key: each for each in state.folds}
        self.due: list[Due] = []
        self.taken: list[Fill] = []
        self._rule = rule
        self._now = now
        self._fills = dict(gathered)

    def judge(self, fresh: Sequence[Fill], is_new: bool) -> None:
        """Judge what a trade has of fills that were not told of."""
        key = fresh[0].key
        is_large = fold.usd(fresh) >= self._rule.min_usd and _price_fits(self._rule, fresh)
        if (opened := self.folds.get(key)) is not None:
            if self._seen_at(fresh[0]) < self._end(opened):
                if is_new or is_large:
                    self.folds[key] = replace(opened, fills=opened.fills + _ids(fresh))
                    self._fills |= {fill.id: fill for fill in fresh}
                    self.taken += fresh
                return
            self._close(key)
        if is_large:
            self.due.append(Due("trade", (_ids(fresh),)))
            self.taken += fresh
            if self._rule.fold_ms is not None:
                self.folds[key] = Fold(key, self._now)

    def end_folds(self) -> None:
        """Close the folds whose time is over; so is that of one from the future, which a wrong clock has opened."""
        for key, opened in list(self.folds.items()):
            if not opened.opened_at <= self._now < self._end(opened):
                self._close(key)

    def _close(self, key: TradeKey) -> None:
        gathered = [self._fills[fill_id] for fill_id in self.folds.pop(key).fills if fill_id in self._fills]
        trades = tuple(_ids(trade) for trade in fold.trades(gathered) if _price_fits(self._rule, trade))
        if trades:
            self.due.append(Due("fold", trades))

    def _end(self, opened: Fold) -> int:
        return opened.opened_at + (self._rule.fold_ms or 0)

    def _seen_at(self, fill: Fill) -> int:
        return fill.timestamp + TIER_DELAYS_MS[self._rule.tier]


def is_quiet(rule: Rule, now: int) -> bool:
    """Whether ``now`` (ms) is in the rule's quiet hours."""
    quiet = rule.quiet
    if quiet is None:
        return False
    zone: tzinfo = UTC
    if quiet.zone != "UTC":
        from zoneinfo import ZoneInfo

        zone = ZoneInfo(quiet.zone)
    local = datetime.fromtimestamp(now / 1000, zone)
    minute = local.hour * 60 + local.minute
    if quiet.start_minute <= quiet.end_minute:
        return quiet.start_minute <= minute < quiet.end_minute
    return minute >= quiet.start_minute or minute < quiet.end_minute


def share_out(wanted: Sequence[int], waiting: Sequence[bool], allowed: int) -> list[int]:
    """Share out the messages that a target still takes in this minute between its rules.

    A rule that has something waiting is served first, so that none waits for ever.

    Args:
        wanted: how many messages each rule would send.
        waiting: whether it has something waiting from an earlier run.
        allowed: how many messages there are to share out.

    Returns:
        How many each rule may send, never more than it wants.
    """
    shares = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda at: not waiting[at])
    while allowed > 0 and any(shares[at] < wanted[at] for at in order):
        for at in order:
            if allowed > 0 and shares[at] < wanted[at]:
                shares[at] += 1
                allowed -= 1
    return shares


def within_limit(
    due: Sequence[Due], waiting: Sequence[Trade], share: int, usd: Mapping[int, float]
) -> tuple[list[Due], tuple[Trade, ...]]:
    """Return what a rule tells a target in ``share`` messages, and what has to wait.

    What does not fit is told of in one digest; the largest get messages of their own.

    Args:
        usd: the amount of each fill.
    """
    if not waiting and len(due) <= share:
        return list(due), ()
    largest = sorted(range(len(due)), key=lambda at: _usd(due[at].trades, usd), reverse=True)
    own = set(largest[: max(0, share - 1)])
    rest = (*waiting, *(trade for at, each in enumerate(due) if at not in own for trade in each.trades))
    if share < 1:
        return [], rest
    told = [each for at, each in enumerate(due) if at in own]
    return ([*told, Due("limit", rest)] if rest else told), ()


def compose(rule: Rule, target: str, due: Due, rows: Mapping[int, Row], whale: Row | None, key: str) -> Message | None:
    """Make the message of what is due; None if nothing of it is left.

    Args:
        target: its name.
        rows: of the activity view, by id, without those that are superseded.
        whale: its row of the watch list, if the message is about one.
        key: tells the fills from all others, the same in a copy of the file; the id is made of it.
    """
    trades = [found for trade in due.trades if (found := [rows[each] for each in trade if each in rows])]
    if not trades:
        return None
    is_digest = due.reason in ("quiet", "limit")
    listed: list[Row] = []
    more = 0
    for number, trade in enumerate(sorted(trades, key=_amount, reverse=True)):
        if number and (number >= MOST_TRADES or len(listed) + len(trade) > MOST_ROWS):
            more = len(trades) - number
            break
        listed += trade
    kind: Kind = "whale.digest" if is_digest else "whale.trade"
    return Message(
        id=message_id(rule.name, target, key),
        kind=kind,
        alert=rule.name,
        trades=sorted(listed, key=lambda row: (row["timestamp"], row["id"])),
        trade_count=len(trades),
        total_usd=round(fsum(map(_amount, trades)), 6),
        whale=None if is_digest else whale,
        more=more,
        reason=due.reason,
    )


def message_id(*parts: str) -> str:
    """Return the id of a message: the same for the same parts."""
    text = json.dumps(parts, ensure_ascii=True)
    return f"msg_{blake2b(text.encode(), digest_size=16).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Later:
    """A delivery is tried again at ``at`` (ms); the target takes nothing before ``hold_until`` (ms), if set."""

    at: int
    hold_until: int | None


def after_failure(attempts: int, retry_after: float | None, give_up_at: int, now: int) -> Later | None:
    """Return when a delivery is tried again; None if it is given up.

    Args:
        attempts: how often it has been tried, this time included.
        retry_after: seconds that the target asked to wait.
        give_up_at: from this moment (ms) on a failure is final.
    """
    if now >= give_up_at:
        return None
    at = now + min(FIRST_PAUSE_MS << min(attempts - 1, 10), LONGEST_PAUSE_MS)
    if retry_after is None or not retry_after > 0:
        return Later(at, None)
    hold_until = now + int(min(retry_after * 1000, GIVE_UP_AFTER_MS))
    return Later(max(at, hold_until), hold_until)


def _covers(rule: Rule, scope: Scope, fill: Fill) -> bool:
    return (
        fill.whale_id in scope.whales
        and fill.action in rule.actions
        and (scope.markets is None or fill.market_id in scope.markets)
    )


def _price_fits(rule: Rule, trade: Sequence[Fill]) -> bool:
    if rule.min_price is None and rule.max_price is None:
        return True
    price = fold.average_price(trade)
    if price is None:
        return False
    least = 0.0 if rule.min_price is None else rule.min_price
    most = 1.0 if rule.max_price is None else rule.max_price
    return least <= round(price, 9) <= most


def _ids(trade: Iterable[Fill]) -> Trade:
    return tuple(fill.id for fill in trade)


def _usd(trades: Iterable[Trade], usd: Mapping[int, float]) -> float:
    return fsum(usd.get(fill_id, 0.0) for trade in trades for fill_id in trade)


def _amount(trade: Iterable[Row]) -> float:
    return fsum(row["amount"] for row in trade)


def _key(stored: Sequence[Any]) -> TradeKey:
    whale_id, market_id, action, outcome = stored
    return whale_id, market_id, action, outcome
