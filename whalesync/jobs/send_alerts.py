"""``send-alerts``: tell the targets of the alert rules of new trades.

Cron starts it together with ``sync-whales``, so it waits until that is done. What is to be told of is stored first, in
one transaction with how far the rules have seen; then it is sent, each target beside the others, and each answer is
stored. A run that is killed between the two leaves messages that the next run sends; one that is killed between an
answer and its storing leaves a message that is sent again, under the same id.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from whalesync import fold
from whalesync.alerts import plan
from whalesync.alerts import rules as alert_rules
from whalesync.alerts.model import Message, Outcome, Retry, Row, Rule, Sent, Target, redacted
from whalesync.alerts.plan import MESSAGES_A_MINUTE, Due, Scope, State
from whalesync.errors import SettingsError
from whalesync.exchanges.base import Task
from whalesync.fold import Fill
from whalesync.jobs.run import Run
from whalesync.jobs.table import SYNC_WHALES
from whalesync.records import TIER_DELAYS_MS
from whalesync.store import alerts, feed, sync_log, whales
from whalesync.store.alerts import Delivery
from whalesync.store.database import Database
from whalesync.store.feed import Cursor
from whalesync.store.locks import is_held
from whalesync.text import counted
from whalesync.units import MINUTE, SECOND

WAIT_SHARE = 0.9  # of the time budget, at most, to wait for sync-whales
WAIT_POLL_SECONDS = 0.05
START_SECONDS = 3.0  # that cron may start sync-whales later than this job
DUE_AFTER_MS, OVERDUE_AFTER_MS = 40 * SECOND, 130 * SECOND  # since sync-whales last started
LEAST_SENDING_SECONDS = 2.0  # before the deadline no request is begun
FAILURES_IN_A_ROW = 2  # after which a target is left alone until the next run

TargetFor = Callable[[str, str | None], Target]


def run(run: Run, *, target_for: TargetFor | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
    """Run the job. ``target_for`` makes what delivers to an address; None: that of ``whalesync.alerts.targets``.

    Raises:
        SettingsError: the alerts file is wrong, or a target cannot be served; the others have been.
    """
    rules = alert_rules.load(run.settings)
    alert_rules.check_whales(rules, whales.addresses(run.db), alert_rules.alerts_file(run.settings))
    wait_for_sync(run, sleep)
    targets = targets_of(rules)
    queued = Queueing(run, rules, targets).queue()
    sending = Sending(run, targets, target_for)
    sending.send()
    run.summary = f"{counted(run.items, 'message')} delivered, {counted(queued, 'new message')}"
    if sending.unusable is not None:
        raise sending.unusable


@dataclass(frozen=True, slots=True)
class Address:
    """Where a target of a rule is, and what signs the messages to it."""

    rule: Rule
    address: str = field(repr=False)


Targets = Mapping[alerts.Target, Address]


def targets_of(rules: Sequence[Rule]) -> dict[alerts.Target, Address]:
    """Return the targets of all rules; those of a rule that look alike when redacted are counted."""
    found: dict[alerts.Target, Address] = {}
    for rule in rules:
        numbers: dict[str, int] = defaultdict(int)
        for address in rule.targets:
            name = redacted(address)
            numbers[name] += 1
            found[alerts.Target(rule.name, name, numbers[name])] = Address(rule, address)
    return found


def sync_is_due(last_started: int | None, now: int) -> bool:
    """Return whether cron is about to start sync-whales: it does so every minute, and not yet in this one (ms)."""
    return last_started is not None and DUE_AFTER_MS <= now - last_started <= OVERDUE_AFTER_MS


def wait_for_sync(run: Run, sleep: Callable[[float], None]) -> None:
    """Wait until sync-whales is done, without holding anything; another command may hold its lock for longer."""
    monotonic, command = run.clock.monotonic, SYNC_WHALES.command
    begun = monotonic()
    until = begun + (run.deadline - begun) * WAIT_SHARE
    before = _last_sync(run.db)
    if sync_is_due(before[1], run.now):
        until_started = min(until, begun + START_SECONDS)
        while _last_sync(run.db) == before and not is_held(run.db.path, command) and monotonic() < until_started:
            sleep(WAIT_POLL_SECONDS)
    while is_held(run.db.path, command) and monotonic() < until:
        sleep(WAIT_POLL_SECONDS)
    if waited := round(monotonic() - begun, 1):
        run.log_step(f"waited {waited} s for {command}")


def _last_sync(db: Database) -> tuple[int | None, int | None]:
    """The id of the last run of sync-whales, and when it started (ms)."""
    runs = sync_log.runs_of(db, SYNC_WHALES.type, 1)
    return (runs[0]["id"], runs[0]["started_at"]) if runs else (None, None)


def _now(run: Run) -> int:
    """The time (ms): a run waits for others, so that of its start may be long ago."""
    return run.clock.now()


@dataclass(slots=True)
class _Planned:
    """What follows for one rule."""

    rule: Rule
    selection: str
    before: State | None
    state: State
    due: list[Due] = field(default_factory=list)
    taken: list[Fill] = field(default_factory=list)


class Queueing:
    """From new trades to stored deliveries."""

    def __init__(self, run: Run, rules: Sequence[Rule], targets: Targets) -> None:
        self._db = run.db
        self._run = run
        self._rules = rules
        self._targets = targets
        self._now = _now(run)
        self._fills: dict[int, Fill] = {}

    def queue(self) -> int:
        """Decide, and store what was decided, in one transaction; returns how many messages are to be sent."""
        db, now = self._db, self._now
        with db.read():
            stored = alerts.states(db)
            seen = alerts.cursor(db) or feed.cursor(db, now)
            reached = Cursor(now, max(seen.last_id, feed.cursor(db, now).last_id))
            planned = self._decide(stored, seen)
            messages = self._within_limits(planned)
            gone = sorted(set(stored) - {rule.name for rule in self._rules})
        changed = [each for each in planned if each.state != each.before or each.selection != stored[each.rule.name][0]]
        has_moved = bool(self._fills) or reached.last_id > seen.last_id or reached.at < seen.at
        if has_moved or gone or changed or messages:
            with db.write():
                alerts.save_cursor(db, reached)
                alerts.forget(db, gone)
                for each in changed:
                    alerts.save_state(db, each.rule.name, each.selection, each.state)
                for each in planned:
                    if each.taken:
                        alerts.take(db, each.rule.name, each.taken, each.rule.max_age_ms)
                for target, message in messages:
                    alerts.queue(db, message, target, now)
        for target, message in messages:
            self._run.log_step(f"{target.alert}: {counted(message.trade_count, 'trade')} for {target.name}")
        return len(messages)

    def _decide(self, stored: Mapping[str, tuple[str, State]], seen: Cursor) -> list[_Planned]:
        db, now = self._db, self._now
        known, since = whales.addresses(db), alerts.watched_since(db)
        oldest = now - max((rule.max_age_ms for rule in self._rules), default=0)
        planned: list[_Planned] = []
        for tier in TIER_DELAYS_MS:
            rules = [rule for rule in self._rules if rule.tier == tier]
            new = feed.new_fills(db, tier, seen, now, since=oldest) if rules else []
            runs = feed.runs(db, now - TIER_DELAYS_MS[tier], new) if new else set()
            self._fills |= {fill.id: fill for fill in runs}
            trades = fold.trades(runs)
            ids = json.dumps([fill.id for fill in runs])
            markets = {fill.market_id for fill in runs}
            new_ids = {fill.id for fill in new}
            for rule in rules:
                selection = plan.selection(rule)
                before_selection, before = stored.get(rule.name, ("", None))
                state = before or State(now)
                if before_selection != selection:
                    state = replace(state, since=now)
                covered = alert_rules.whales_of(rule, known, alert_rules.alerts_file(self._run.settings))
                scope = Scope({each: since[each] for each in covered}, alerts.markets_of(db, rule, markets))
                gathered = feed.fills(db, (each for opened in state.folds for each in opened.fills))
                decision = plan.decide(
                    rule, scope, state, trades, new=new_ids, taken=alerts.taken(db, rule.name, ids) if runs else set(),
                    gathered={fill.id: fill for fill in gathered}, now=now,
                )  # fmt: skip
                planned.append(_Planned(rule, selection, before, decision.state, decision.due, decision.taken))
        return planned

    def _within_limits(self, planned: Sequence[_Planned]) -> list[tuple[alerts.Target, Message]]:
        """Share out what each target takes in this minute; adds what has to wait to the rules' states."""
        by_address: dict[str, list[tuple[alerts.Target, _Planned]]] = defaultdict(list)
        by_name = {each.rule.name: each for each in planned}
        for target, where in self._targets.items():
            by_address[where.address].append((target, by_name[target.alert]))
        usd = self._amounts(planned)
        load = alerts.load(self._db, self._now - MINUTE, self._now)
        found: list[tuple[alerts.Target, Due]] = []
        waiting: dict[str, dict[str, tuple[plan.Trade, ...]]] = defaultdict(dict)
        for served in by_address.values():
            waits = [each.state.waiting.get(target.key, ()) for target, each in served]
            wanted = [len(each.due) + bool(wait) for (_, each), wait in zip(served, waits, strict=True)]
            allowed = MESSAGES_A_MINUTE - sum(load[target].made for target, _ in served if target in load)
            shares = plan.share_out(wanted, [bool(wait) for wait in waits], max(0, allowed))
            for (target, each), wait, share in zip(served, waits, shares, strict=True):
                told, rest = plan.within_limit(each.due, wait, share, usd)
                found += [(target, due) for due in told]
                if rest:
                    waiting[each.rule.name][target.key] = rest
        for each in planned:
            each.state = replace(each.state, waiting=waiting[each.rule.name])
        return self._messages(found, by_name)

    def _amounts(self, planned: Sequence[_Planned]) -> dict[int, float]:
        """The amount of each fill that is due or waits."""
        wanted = {
            fill_id
            for each in planned
            for trades in (*(due.trades for due in each.due), *each.state.waiting.values())
            for trade in trades
            for fill_id in trade
        }
        usd = {fill_id: self._fills[fill_id].amount for fill_id in wanted & self._fills.keys()}
        return usd | {fill.id: fill.amount for fill in feed.fills(self._db, wanted - usd.keys())}

    def _messages(
        self, due: Sequence[tuple[alerts.Target, Due]], by_name: Mapping[str, _Planned]
    ) -> list[tuple[alerts.Target, Message]]:
        rows: dict[str, dict[int, Row]] = {}
        ids: dict[str, set[int]] = defaultdict(set)
        for target, each in due:
            ids[by_name[target.alert].rule.tier].update(fill_id for trade in each.trades for fill_id in trade)
        for tier, wanted in ids.items():
            rows[tier] = alerts.rows(self._db, tier, wanted)
        identities = alerts.identities(self._db, set().union(*ids.values()))
        about = {row["whale_id"] for found in rows.values() for row in found.values()}
        known = alerts.whales(self._db, about) if about else {}
        messages: list[tuple[alerts.Target, Message]] = []
        for target, each in due:
            rule = by_name[target.alert].rule
            fills = [fill_id for trade in each.trades for fill_id in trade if fill_id in rows[rule.tier]]
            if not fills:
                continue  # superseded meanwhile
            identity = json.dumps(sorted(identities[fill_id] for fill_id in fills))
            whale = known[rows[rule.tier][fills[0]]["whale_id"]]
            message = plan.compose(rule, target.key, each, rows[rule.tier], whale, identity)
            if message is not None:
                messages.append((target, message))
        return messages


class Sending:
    """From stored deliveries to answers, which are stored."""

    def __init__(self, run: Run, targets: Targets, target_for: TargetFor | None) -> None:
        self.unusable: SettingsError | None = None
        self._run = run
        self._db = run.db
        self._targets = targets
        self._target_for = target_for
        self._connected: dict[tuple[str, str | None], Target] = {}

    def send(self) -> None:
        """Send what is due, each target in a lane of its own."""
        pending = alerts.pending(self._db)
        if not pending:
            return
        now = _now(self._run)
        gone = [each.message.id for each in pending if each.target not in self._targets]
        if gone:
            alerts.give_up(self._db, gone, "the alerts file no longer has this rule with this target")
        lanes: dict[str, list[Delivery]] = defaultdict(list)
        for each in pending:
            where = self._targets.get(each.target)
            if where is not None and not plan.is_quiet(where.rule, now):
                lanes[where.address].append(each)
        load = alerts.load(self._db, now - MINUTE, now)
        served = [lane for address, deliveries in lanes.items() if (lane := self._lane(address, deliveries, load, now))]
        if not served:
            return
        from whalesync.jobs.pool import Lane, Pool  # most runs have nothing to send

        until = self._run.deadline - LEAST_SENDING_SECONDS
        running = [(lane, Lane(lane.deliveries[0].target.name, lane.tasks(), in_flight=1)) for lane in served]
        Pool(self._run.clock.monotonic).run([lane for _, lane in running], until=until)
        for lane, done in running:
            if done.error is not None and lane.sending is not None:
                lane.settle(lane.sending, Retry(None, "no response in time"))

    def _lane(
        self, address: str, deliveries: Sequence[Delivery], load: Mapping[alerts.Target, alerts.Load], now: int
    ) -> _Lane | None:
        """What a target takes now, None if nothing; after a clock was set back, nobody waits for longer than before."""
        if any(
            each.hold_until is not None and now < each.hold_until <= now + plan.GIVE_UP_AFTER_MS for each in deliveries
        ):
            return None
        latest = now + plan.GIVE_UP_AFTER_MS
        due = [each for each in deliveries if not now < each.next_attempt_at <= latest]
        of_address = [target for target, where in self._targets.items() if where.address == address]
        sent = sum(load[target].sent for target in of_address if target in load)
        due = due[: max(0, MESSAGES_A_MINUTE - sent)]
        return _Lane(self._run, self._connect, due) if due else None

    def _connect(self, delivery: Delivery) -> Target:
        """Make what serves a target.

        Raises:
            SettingsError: it cannot be served.
        """
        if self._target_for is None:
            from whalesync.alerts.targets import target_for  # loads what it takes to make requests

            self._target_for = target_for
        where = self._targets[delivery.target]
        key = where.address, where.rule.secret
        if key not in self._connected:
            try:
                self._connected[key] = self._target_for(*key)
            except SettingsError as exc:
                self.unusable = self.unusable or exc
                raise
        return self._connected[key]


class _Lane:
    """The deliveries to one address in this run, one after another."""

    def __init__(self, run: Run, connect: Callable[[Delivery], Target], deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self.sending: Delivery | None = None
        self._run = run
        self._connect = connect
        self._failures = 0
        self._is_over = False

    def tasks(self) -> Iterator[Task]:
        """One task for each delivery, as long as the target takes them."""
        for delivery in self.deliveries:
            if self._is_over:
                return
            yield self._deliver(delivery)

    def _deliver(self, delivery: Delivery) -> Task:
        try:
            target = self._connect(delivery)
        except SettingsError as exc:
            self.settle(delivery, Retry(None, str(exc)))
            return
        self.sending = delivery
        (outcome,) = yield [partial(_send, target, delivery.message, self._run.deadline)]
        self.settle(delivery, outcome)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Store what became of a delivery."""
        db, now = self._run.db, _now(self._run)
        self.sending = None
        if isinstance(outcome, Sent):
            alerts.record_sent(db, delivery, now)
            self._run.items += 1
            self._failures = 0
            self._run.log_step(f"{_called(delivery)}: sent {delivery.message.id}")
            return
        later = None
        if isinstance(outcome, Retry):
            later = plan.after_failure(delivery.attempts + 1, outcome.after, delivery.give_up_at, now)
            self._failures += 1
            self._is_over = self._failures >= FAILURES_IN_A_ROW or (later is not None and later.hold_until is not None)
        alerts.record_failure(db, delivery, outcome.reason, later)
        end = "; given up" if later is None and isinstance(outcome, Retry) else ""
        self._run.record_problem(_called(delivery), f"{outcome.reason}{end}")


def _send(target: Target, message: Message, until: float) -> Outcome:
    """Send a message; a bug in one target must not hold up the others."""
    try:
        return target.send(message, until)
    except Exception as exc:  # noqa: BLE001  (its text may hold a secret)
        return Retry(None, f"unexpected {type(exc).__name__}")


def _called(delivery: Delivery) -> str:
    return f"{delivery.target.alert} to {delivery.target.key}"
