"""What an alert rule tells of: decided from values alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import pytest
from support.rows import DAY, HOUR, MINUTE, NOW, SECOND

from whalesync import fold
from whalesync.alerts import plan
from whalesync.alerts.model import Message, Quiet, Row, Rule
from whalesync.alerts.plan import Due, Scope, State
from whalesync.fold import Fill
from whalesync.records import TIER_DELAYS_MS

TARGET = "https://example.com/…"
RULE = Rule(name="big", targets=("https://example.com/hook",), min_usd=10_000)


def fill(number: int, at: int = 0, transaction: str = "0xa", **fields: object) -> Fill:
    """A fill of $500 that is made ``at`` ms after NOW."""
    values = {"whale_id": 1, "market_id": 1, "action": "BUY", "outcome": "YES", "amount": 500.0} | fields
    return Fill(id=number, timestamp=NOW + at, tx_hash=transaction, **values)  # type: ignore[arg-type]  # a test names the fields that it is about


@dataclass
class Told:
    """A rule over several runs; ``messages``: when (ms after NOW), why, and the ids of each trade's fills."""

    rule: Rule = RULE
    state: State = field(default_factory=lambda: State(NOW - DAY))
    watched: dict[int, int] = field(default_factory=lambda: {1: NOW - DAY, 2: NOW - DAY})
    stored: list[Fill] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    messages: list[tuple[int, str, list[list[int]]]] = field(default_factory=list)

    def run(self, at: int, *new: Fill) -> None:
        """Store fills, and run at this moment (ms after NOW)."""
        self.stored += new
        now = NOW + at
        delay = TIER_DELAYS_MS[self.rule.tier]
        visible = [each for each in self.stored if each.timestamp + delay <= now]
        decision = plan.decide(
            self.rule,
            Scope(self.watched),
            State.from_json(self.state.since, self.state.to_json()),
            fold.trades(visible),
            new={each.id for each in visible} - self.seen,
            taken=self.taken,
            gathered={each.id: each for each in self.stored},
            now=now,
        )
        assert len(decision.taken) == len({each.id for each in decision.taken})
        assert not {each.id for each in decision.taken} & self.taken
        self.seen |= {each.id for each in visible}
        self.taken |= {each.id for each in decision.taken}
        self.state = decision.state
        self.messages += [(at, due.reason, [list(trade) for trade in due.trades]) for due in decision.due]


def numbered(first: int, last: int, **fields: object) -> list[Fill]:
    """Fills of one transaction."""
    return [fill(number, **fields) for number in range(first, last + 1)]  # type: ignore[arg-type]  # a test names the fields that it is about


def test_forty_fills_that_two_syncs_bring_are_one_message() -> None:
    """Nineteen are too small; with the rest they are $20,000."""
    told = Told()
    told.run(MINUTE, *numbered(1, 19))
    assert told.messages == []
    told.run(2 * MINUTE, *numbered(20, 40))
    assert told.messages == [(2 * MINUTE, "trade", [list(range(1, 41))])]


def test_what_follows_a_sent_trade_counts_by_itself() -> None:
    """Twenty-five are $12,500; the other fifteen are $7,500, and five more make them large enough."""
    told = Told()
    told.run(MINUTE, *numbered(1, 25))
    told.run(2 * MINUTE, *numbered(26, 40))
    assert told.messages == [(MINUTE, "trade", [list(range(1, 26))])]
    told.run(3 * MINUTE, *numbered(41, 45))
    assert told.messages[1:] == [(3 * MINUTE, "trade", [list(range(26, 46))])]


def test_a_backfill_is_not_told_of() -> None:
    """Five thousand trades that are older than max_age when they are first seen."""
    told = Told()
    told.run(0, *(fill(number, -7 * HOUR - number * MINUTE, f"0x{number}", amount=20_000.0) for number in range(5000)))
    assert told.messages == []


@pytest.mark.parametrize(
    ("rule_age", "whale_age", "messages"),
    [(HOUR, HOUR, 1), (5 * MINUTE, HOUR, 0), (HOUR, 5 * MINUTE, 0)],
    ids=["both older than the trade", "a new rule", "a new whale"],
)
def test_nothing_older_than_the_rule_or_the_whale_is_told_of(rule_age: int, whale_age: int, messages: int) -> None:
    """The trade was made ten minutes ago."""
    told = Told(state=State(NOW - rule_age), watched={1: NOW - whale_age})
    told.run(0, fill(1, -10 * MINUTE, amount=20_000.0))
    assert len(told.messages) == messages


@pytest.mark.parametrize(
    ("limits", "fields", "messages"),
    [
        ({"actions": ("SELL",)}, {}, 0),
        ({"actions": ("BUY",)}, {}, 1),
        ({}, {"action": "MERGE"}, 0),
        ({}, {"whale_id": 3}, 0),
        ({"max_price": 0.95}, {"price": 0.95, "shares": 10.0}, 1),
        ({"max_price": 0.95}, {"price": 0.951, "shares": 10.0}, 0),
        ({"min_price": 0.05}, {"price": 0.04, "shares": 10.0}, 0),
        ({"min_price": 0.05}, {"price": None}, 0),
        ({"min_usd": 20_000.01}, {}, 0),
        ({"min_usd": 20_000}, {}, 1),
    ],
)
def test_filters(limits: dict[str, object], fields: dict[str, object], messages: int) -> None:
    """One trade of $20,000."""
    told = Told(replace(RULE, **limits))  # type: ignore[arg-type]  # a test names the fields that it is about
    told.run(MINUTE, fill(1, **({"amount": 20_000.0} | fields)))  # type: ignore[arg-type]  # a test names the fields that it is about
    assert len(told.messages) == messages


def test_the_price_is_that_of_the_whole_trade() -> None:
    """A thousand shares at 94 cents and nine thousand at 96 cents cost 95.8 cents on average."""
    fills = [
        fill(1, amount=940.0, price=0.94, shares=1_000.0),
        fill(2, amount=8_640.0, price=0.96, shares=9_000.0),
    ]
    for most, messages in ((0.957, 0), (0.958, 1)):
        told = Told(replace(RULE, min_usd=0, max_price=most))
        told.run(MINUTE, *fills)
        assert len(told.messages) == messages


@pytest.mark.parametrize(("tier", "delay"), [("pro-plus", 0), ("pro", 30 * SECOND), ("free", 15 * MINUTE)])
def test_no_tier_hears_before_its_feed_shows_it(tier: str, delay: int) -> None:
    """Nor later than the first run after that."""
    told = Told(replace(RULE, tier=tier))
    trade = fill(1, amount=20_000.0)
    told.run(1, *([trade] if delay else []))
    told.run(delay - 1 if delay else 1)
    assert told.messages == []
    told.run(delay + 2, *([] if delay else [trade]))
    assert [message[0] for message in told.messages] == [delay + 2]


def test_a_fold_gathers_what_follows() -> None:
    """However small, in one message at its end; another side is not part of it, and the next trade is told at once."""
    told = Told(replace(RULE, fold_ms=30 * MINUTE))
    told.run(0, *numbered(1, 20))
    told.run(10 * MINUTE, fill(21, 9 * MINUTE, "0xb"), fill(22, 9 * MINUTE, "0xc", outcome="NO", amount=30_000.0))
    told.run(20 * MINUTE, fill(23, 19 * MINUTE, "0xd", amount=50_000.0))
    told.run(29 * MINUTE)
    assert told.messages == [
        (0, "trade", [list(range(1, 21))]),
        (10 * MINUTE, "trade", [[22]]),
    ]
    told.run(30 * MINUTE)
    assert told.messages[2:] == [(30 * MINUTE, "fold", [[21], [23]])]
    told.run(45 * MINUTE, fill(24, 44 * MINUTE, "0xe", amount=10_000.0))
    assert told.messages[3:] == [(45 * MINUTE, "trade", [[24]])]


def test_a_fold_without_anything_that_follows_ends_in_silence() -> None:
    """One message, and no second."""
    told = Told(replace(RULE, fold_ms=30 * MINUTE))
    told.run(0, *numbered(1, 20))
    told.run(HOUR)
    assert len(told.messages) == 1
    assert told.state.folds == ()


def test_what_follows_in_the_same_run_is_gathered() -> None:
    """After an outage, three trades of one side are two messages."""
    told = Told(replace(RULE, fold_ms=30 * MINUTE))
    told.run(0, *(fill(number, -number * 10 * MINUTE, f"0x{number}", amount=10_000.0) for number in (1, 2, 3)))
    told.run(31 * MINUTE)
    assert told.messages == [(0, "trade", [[3]]), (31 * MINUTE, "fold", [[2], [1]])]


def test_a_fold_does_not_reach_back() -> None:
    """What was too small before the message is no further trade, unless a late fill makes it large enough."""
    told = Told(replace(RULE, fold_ms=30 * MINUTE))
    told.run(2 * MINUTE, fill(1, 0, "0x1"), fill(2, 50 * SECOND, "0x2", amount=6_000.0))
    told.run(3 * MINUTE, fill(3, 70 * SECOND, "0x3", amount=6_000.0))
    told.run(5 * MINUTE, fill(4, 4 * MINUTE, "0x4", amount=20_000.0))
    told.run(6 * MINUTE, fill(5, 4 * MINUTE, "0x4"))
    assert [each.fills for each in told.state.folds] == [(5,)]
    told.run(7 * MINUTE, fill(6, -15 * SECOND, "0x6", amount=1.0))
    assert [each.fills for each in told.state.folds] == [(5, 6, 1, 2, 3)]


def test_the_rest_of_a_sent_trade_is_in_the_closing_message() -> None:
    """Twenty-five fills, then fifteen: one of $12,500, and with a fold one of $7,500 at its end."""
    told = Told(replace(RULE, fold_ms=30 * MINUTE))
    told.run(MINUTE, *numbered(1, 25))
    told.run(2 * MINUTE, *numbered(26, 40))
    told.run(31 * MINUTE)
    assert told.messages == [
        (MINUTE, "trade", [list(range(1, 26))]),
        (31 * MINUTE, "fold", [list(range(26, 41))]),
    ]


def test_quiet_hours_end_in_one_digest() -> None:
    """NOW is noon UTC, 13:00 in Berlin."""
    told = Told(replace(RULE, quiet=Quiet(13 * 60, 14 * 60, "Europe/Berlin"), max_age_ms=10 * MINUTE))
    told.run(0, fill(1, amount=20_000.0))
    told.run(30 * MINUTE, fill(2, 30 * MINUTE, "0xb", amount=30_000.0))
    told.run(HOUR - 1)
    assert told.messages == []
    told.run(HOUR, fill(3, HOUR, "0xc", amount=40_000.0))
    assert told.messages == [(HOUR, "quiet", [[1], [2]]), (HOUR, "trade", [[3]])]
    assert told.state.held == ()


@pytest.mark.parametrize(
    ("quiet", "hour", "expected"),
    [
        (Quiet(22 * 60, 7 * 60, "UTC"), 21, False),
        (Quiet(22 * 60, 7 * 60, "UTC"), 22, True),
        (Quiet(22 * 60, 7 * 60, "UTC"), 3, True),
        (Quiet(22 * 60, 7 * 60, "UTC"), 7, False),
        (Quiet(0, 7 * 60, "Asia/Tokyo"), 16, True),  # one o'clock there
        (Quiet(0, 7 * 60, "Asia/Tokyo"), 23, False),  # eight o'clock
    ],
)
def test_quiet_hours_are_those_of_their_zone(quiet: Quiet, hour: int, expected: bool) -> None:
    """They may pass midnight."""
    midnight = NOW - 12 * HOUR
    assert plan.is_quiet(replace(RULE, quiet=quiet), midnight + hour * HOUR) is expected


def test_a_superseded_fill_is_not_told_of() -> None:
    """Nor does it count towards the size of its trade."""
    told = Told()
    told.run(MINUTE, *numbered(1, 19))
    told.stored = told.stored[:9]
    told.run(2 * MINUTE, *numbered(20, 29))
    assert told.messages == []


def test_a_late_fill_that_redraws_trades() -> None:
    """Z takes A0 out of A's trade, so that A and B are one trade of $12,000, although neither is new."""
    told = Told()
    told.run(2 * MINUTE, fill(1, 0, "0x1"), fill(2, 50 * SECOND, "0x2", amount=6_000.0))
    told.run(3 * MINUTE, fill(3, 70 * SECOND, "0x3", amount=6_000.0))
    assert told.messages == []
    told.run(4 * MINUTE, fill(4, -15 * SECOND, "0x4", amount=1.0))
    assert told.messages == [(4 * MINUTE, "trade", [[2, 3]])]


# --- the limit of messages


def due(*trades: tuple[int, ...]) -> list[Due]:
    return [Due("trade", (trade,)) for trade in trades]


@pytest.mark.parametrize(
    ("wanted", "waiting", "room", "expected"),
    [
        ([3, 2], [False, False], 20, [3, 2]),
        ([57], [False], 20, [20]),
        ([57, 1], [False, False], 20, [19, 1]),
        ([5, 5], [False, True], 1, [0, 1]),
        ([5, 5, 5], [False, False, False], 4, [2, 1, 1]),
        ([5], [False], 0, [0]),
    ],
)
def test_rules_share_the_limit_of_a_target(
    wanted: list[int], waiting: list[bool], room: int, expected: list[int]
) -> None:
    """No rule takes it all, and one that waits comes first."""
    assert plan.share_out(wanted, waiting, room) == expected


def test_what_is_beyond_the_limit_is_one_digest() -> None:
    """Of fifty-seven the nineteen largest get messages of their own, the other thirty-eight share the twentieth."""
    usd = {number: float(number) for number in range(57)}
    told, rest = plan.within_limit(due(*((number,) for number in range(57))), (), 20, usd)
    assert rest == ()
    assert [each.trades for each in told[:-1]] == [((number,),) for number in range(38, 57)]
    assert (told[-1].reason, told[-1].trades) == ("limit", tuple((number,) for number in range(38)))


def test_what_has_no_room_at_all_waits() -> None:
    """And comes first in the digest that is made when there is room."""
    told, rest = plan.within_limit(due((1,), (2,)), ((9,),), 0, {})
    assert (told, rest) == ([], ((9,), (1,), (2,)))
    told, rest = plan.within_limit([], rest, 1, {})
    assert (told, rest) == ([Due("limit", ((9,), (1,), (2,)))], ())


# --- retries


def test_pauses_grow_to_an_hour_for_a_day() -> None:
    """1, 2, 4, … 60 minutes, and every 60 minutes from then on, until 24 hours are over."""
    now, pauses = NOW, []
    for attempts in range(1, 100):
        later = plan.after_failure(attempts, None, NOW + DAY, now)
        if later is None:
            break
        pauses.append((later.at - now) // MINUTE)
        now = later.at
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(pauses[7:]) == {60}
    assert 24 * HOUR <= now - NOW < 25 * HOUR


@pytest.mark.parametrize(
    ("asked", "minutes"),
    [(90.0, 1.5), (7_200.0, 120), (0.0, 1), (-5.0, 1), (5.0, 1), (1e9, 24 * 60), (float("nan"), 1)],
)
def test_a_pause_that_was_asked_for_is_held(asked: float, minutes: float) -> None:
    """Up to a day; a shorter one than ours does not shorten ours."""
    later = plan.after_failure(1, asked, NOW + DAY, NOW)
    assert later is not None
    assert later.at - NOW == minutes * MINUTE


# --- messages


def row(number: int, amount: float) -> Row:
    return {"id": number, "timestamp": NOW + number, "amount": amount, "whale_id": 1}


def test_a_digest_lists_the_largest() -> None:
    """Twenty trades have rows; the total is that of all."""
    rows = {number: row(number, float(number)) for number in range(1, 31)}
    digest = Due("limit", tuple((number,) for number in rows))
    message = plan.compose(RULE, TARGET, digest, rows, {"id": 1}, "key")
    assert message is not None
    assert (message.kind, message.whale, message.more, message.trade_count) == ("whale.digest", None, 10, 30)
    assert [each["id"] for each in message.trades] == list(range(11, 31))
    assert message.total_usd == 465.0
    assert Message.from_json(message.to_json()) == message


def test_the_id_is_of_the_fills_the_rule_and_the_target() -> None:
    """Each target has its own, whenever it is made."""
    names = [("big", TARGET, "a"), ("big", TARGET, "b"), ("big", "x", "a"), ("small", TARGET, "a")]
    assert len({plan.message_id(*parts) for parts in names}) == 4
    assert plan.message_id(*names[0]) == plan.message_id(*names[0])


# --- all orders of arrival, and a crash at each point


@dataclass
class World:
    """A rule with what is stored of it; ``sent``: each message as its target got it."""

    now: int = NOW + MINUTE
    stored: list[Fill] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    state: State = field(default_factory=lambda: State(NOW - HOUR))
    pending: dict[str, Message] = field(default_factory=dict)
    sent: list[tuple[str, tuple[int, ...], float]] = field(default_factory=list)

    def run(self, crash: str) -> None:
        """One run; it may be killed ``before`` what it decided is stored, ``after`` it, or at the ``answer``."""
        trades = fold.trades(self.stored)
        decision = plan.decide(
            RULE_OF_WORLD, Scope({1: 0}), self.state, trades,
            new={each.id for each in self.stored} - self.seen, taken=self.taken, gathered={}, now=self.now,
        )  # fmt: skip
        if crash == "before":
            return
        rows = {each.id: row(each.id, each.amount) for each in self.stored}
        for each in decision.due:
            message = plan.compose(RULE_OF_WORLD, TARGET, each, rows, None, str(sorted(each.trades)))
            assert message is not None
            assert message.id not in self.pending
            self.pending[message.id] = message
        self.taken |= {each.id for each in decision.taken}
        self.seen = {each.id for each in self.stored}
        self.state = decision.state
        if crash == "after":
            return
        for message in list(self.pending.values()):
            self.sent.append((message.id, tuple(each["id"] for each in message.trades), message.total_usd))
            if crash == "answer":
                return
            del self.pending[message.id]


RULE_OF_WORLD = Rule(name="world", targets=("https://example.com",), min_usd=10)


def orders(ids: Sequence[int]) -> Iterator[list[list[int]]]:
    """All ways in which fills may arrive in runs, one or several at once."""
    for assigned in product(range(len(ids)), repeat=len(ids)):
        if set(assigned) == set(range(max(assigned) + 1)):
            yield [
                [each for each, at in zip(ids, assigned, strict=True) if at == run] for run in range(max(assigned) + 1)
            ]


WORLDS = {
    "one transaction": [fill(number, 0, "0xa", amount=amount) for number, amount in enumerate((4, 3, 6, 5, 12))],
    "two transactions within a minute": [
        fill(number, at * SECOND, f"0x{at}", amount=amount)
        for number, (at, amount) in enumerate(((0, 4), (0, 7), (59, 6), (59, 3), (59, 10)))
    ],
    "two trades": [
        fill(number, at * SECOND, f"0x{at}", amount=amount)
        for number, (at, amount) in enumerate(((-61, 4), (-61, 7), (0, 6), (0, 3), (0, 10)))
    ],
}


def expected_amounts(trades: list[list[Fill]], arrivals: list[list[int]]) -> list[float]:
    """By hand: what a trade has got and was not told of adds up, until it is large enough."""
    amounts = []
    untold = [0.0] * len(trades)
    for arrived in arrivals:
        for number, trade in enumerate(trades):
            untold[number] += sum(each.amount for each in trade if each.id in arrived)
            if untold[number] >= 10:
                amounts.append(untold[number])
                untold[number] = 0.0
    return sorted(amounts)


@pytest.mark.parametrize("name", WORLDS)
def test_all_orders_of_arrival_with_a_crash_anywhere(name: str) -> None:
    """Each alert at least once, without a crash exactly once; a fill is in one message, and a message has one id."""
    fills = {each.id: each for each in WORLDS[name]}
    trades = [[each for each in fills.values() if (each.timestamp < NOW) == early] for early in (True, False)]
    checked = 0
    for arrivals in orders(list(fills)):
        for crash_at, crash in [(-1, ""), *product(range(len(arrivals)), ("before", "after", "answer"))]:
            world = World()
            for number, arrived in enumerate(arrivals):
                world.stored += [fills[each] for each in arrived]
                world.run(crash if number == crash_at else "")
            world.run("")
            contents = {(message_id, ids, usd) for message_id, ids, usd in world.sent}
            assert len(contents) == len({message_id for message_id, _, _ in contents})
            told = [each for _, ids, _ in contents for each in ids]
            assert len(told) == len(set(told))
            assert all(usd == sum(fills[each].amount for each in ids) for _, ids, usd in contents)
            assert world.pending == {}
            judged = [list(arrived) for arrived in arrivals]
            if crash == "before":  # the next run judges the fills of both
                judged[crash_at : crash_at + 2] = [[each for two in judged[crash_at : crash_at + 2] for each in two]]
            assert sorted(usd for _, _, usd in contents) == expected_amounts(trades, judged)
            if crash != "answer":
                assert max(Counter(message_id for message_id, _, _ in world.sent).values(), default=1) == 1
            checked += 1
    assert checked == 541 + 3 * sum(len(arrivals) for arrivals in orders(list(fills)))
