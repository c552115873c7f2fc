"""Alert rules' memory and their deliveries: tables ``alert_states``, ``alert_fills`` and ``alert_deliveries``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from whalesync.alerts.model import Message, Row, Rule
from whalesync.alerts.plan import GIVE_UP_AFTER_MS, Later, State
from whalesync.fold import Fill
from whalesync.store import feed, markets
from whalesync.store.database import Database
from whalesync.store.feed import Cursor
from whalesync.store.whales import COLUMNS as WHALE_COLUMNS
from whalesync.units import DAY

MAX_ERROR_CHARS = 500


class Target(NamedTuple):
    """A target of a rule, as the file knows it: redacted, and counted among those that look alike."""

    alert: str
    name: str
    number: int

    @property
    def key(self) -> str:
        """What it is called among those of its rule."""
        return self.name if self.number == 1 else f"{self.name} ({self.number})"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to one target that is to be sent. Times in ms."""

    message: Message
    target: Target
    attempts: int
    next_attempt_at: int
    give_up_at: int
    hold_until: int | None


class Load(NamedTuple):
    """How busy a target is: messages that are pending or were made, or sent, since a moment."""

    made: int
    sent: int


def cursor(db: Database) -> Cursor | None:
    """How far the rules have seen; None before the first run."""
    last_id, at = db.fact("alerts_last_id"), db.fact("alerts_seen_at")
    return None if last_id is None or at is None else Cursor(at, last_id)


def save_cursor(db: Database, seen: Cursor) -> None:
    """Remember how far the rules have seen; inside a write transaction."""
    db.remember("alerts_last_id", seen.last_id)
    db.remember("alerts_seen_at", seen.at)


def states(db: Database) -> dict[str, tuple[str, State]]:
    """By the name of the rule: its selection, and what it remembers."""
    return {
        alert: (selection, State.from_json(since, state))
        for alert, selection, since, state in db.rows("SELECT alert, selection, since, state FROM alert_states")
    }


def save_state(db: Database, alert: str, selection: str, state: State) -> None:
    """Remember the state of a rule; inside a write transaction."""
    db.execute(
        "INSERT INTO alert_states (alert, selection, since, state) VALUES (?, ?, ?, ?) ON CONFLICT (alert)"
        " DO UPDATE SET selection = excluded.selection, since = excluded.since, state = excluded.state",
        (alert, selection, state.since, state.to_json()),
    )


def forget(db: Database, alerts: Iterable[str]) -> None:
    """Forget rules that are gone; inside a write transaction. Their deliveries stay."""
    for alert in alerts:
        db.execute("DELETE FROM alert_states WHERE alert = ?", (alert,))
        db.execute("DELETE FROM alert_fills WHERE alert = ?", (alert,))


def taken(db: Database, alert: str, ids: str) -> set[int]:
    """Which of these fills (a JSON array of ids) a rule has taken."""
    sql = "SELECT value FROM json_each(?) JOIN alert_fills ON alert = ? AND fill_id = value"
    return {row[0] for row in db.rows(sql, (ids, alert))}


def take(db: Database, alert: str, fills: Sequence[Fill], max_age: int) -> None:
    """Remember that a rule has taken these fills, and forget the old ones; inside a write transaction.

    Old is what no fill that is young enough to count (``max_age``, ms) can be of one trade with, by the times of the
    fills, so that a wrong clock of this host does not matter.
    """
    db.execute_many(
        "INSERT INTO alert_fills (alert, fill_id, timestamp) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        ((alert, fill.id, fill.timestamp) for fill in fills),
    )
    newest = max(fill.timestamp for fill in fills)
    db.execute("DELETE FROM alert_fills WHERE alert = ? AND timestamp < ?", (alert, newest - max_age - DAY))


def watched_since(db: Database) -> dict[int, int]:
    """Since when each wallet of the watch list is on it (ms), by its id."""
    return dict(map(tuple, db.rows("SELECT id, coalesce(tracked_since, created_at) FROM whales WHERE tracked")))


def markets_of(db: Database, rule: Rule, among: Collection[int]) -> frozenset[int] | None:
    """Which of the markets ``among`` a rule is about; None: all."""
    if rule.markets is None and rule.categories is None:
        return None
    found = set(among)
    if rule.markets is not None:
        platforms: tuple[str | None, ...] = rule.exchanges or (None,)
        found &= {
            market_id
            for external_id in rule.markets
            for platform in platforms
            for named in markets.named_by_id(db, external_id, platform)
            for market_id in markets.market_ids(db, named)
        }
    if rule.categories is not None:
        wanted = json.dumps([category.strip().casefold() for category in rule.categories])
        sql = (
            "SELECT id FROM markets WHERE id IN (SELECT value FROM json_each(?))"
            " AND casefold(category) IN (SELECT value FROM json_each(?))"
        )
        found = {row[0] for row in db.rows(sql, (json.dumps(sorted(found)), wanted))}
    return frozenset(found)


def whales(db: Database, ids: Iterable[int]) -> dict[int, Row]:
    """Rows of the watch list by id."""
    sql = f"SELECT {', '.join(WHALE_COLUMNS)} FROM whales WHERE id IN (SELECT value FROM json_each(?))"
    return {row["id"]: dict(row) for row in db.rows(sql, (json.dumps(list(ids)),))}


def identities(db: Database, ids: Iterable[int]) -> dict[int, tuple[str, str, int, int]]:
    """By its id, what tells a fill from all others in every copy of the file."""
    sql = (
        "SELECT a.id, a.platform, w.address, coalesce(a.fill_key, -a.id), a.copy FROM whale_activity AS a"
        " JOIN whales AS w ON w.id = a.whale_id WHERE a.id IN (SELECT value FROM json_each(?))"
    )
    return {row[0]: tuple(row)[1:] for row in db.rows(sql, (json.dumps(list(ids)),))}


def rows(db: Database, tier: str, ids: Iterable[int]) -> dict[int, Row]:
    """Rows of the activity view by id."""
    return {row["id"]: row for row in feed.rows_of(db, tier, ids)}


def queue(db: Database, message: Message, target: Target, now: int) -> None:
    """Have a message delivered to a target; inside a write transaction.

    One that is there already, as in a file that was restored from a copy, is not delivered twice.
    """
    db.execute(
        "INSERT INTO alert_deliveries (id, alert, target, target_number, trade_count, total_usd, next_attempt_at,"
        " created_at, give_up_at, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            message.id, *target, message.trade_count, message.total_usd, now, now, now + GIVE_UP_AFTER_MS,
            message.to_json(),
        ),
    )  # fmt: skip


def pending(db: Database) -> list[Delivery]:
    """What is to be sent, the least often tried first, and of those the oldest."""
    found = db.rows(
        "SELECT content, alert, target, target_number, attempts, next_attempt_at, give_up_at, hold_until"
        " FROM alert_deliveries WHERE status = 'pending' ORDER BY attempts, created_at, rowid"
    )
    return [
        Delivery(Message.from_json(content), Target(alert, name, number), *times)
        for content, alert, name, number, *times in found
    ]


def load(db: Database, since: int, now: int) -> dict[Target, Load]:
    """How busy each target is, after ``since`` (ms)."""
    found = db.rows(
        "SELECT alert, target, target_number,"
        " count(*) FILTER (WHERE status = 'pending' OR created_at BETWEEN :since AND :now),"
        " count(*) FILTER (WHERE sent_at BETWEEN :since AND :now)"
        " FROM alert_deliveries WHERE rowid IN (SELECT rowid FROM alert_deliveries WHERE status = 'pending'"
        " UNION SELECT rowid FROM alert_deliveries WHERE sent_at BETWEEN :since AND :now"
        " UNION SELECT rowid FROM alert_deliveries WHERE created_at BETWEEN :since AND :now)"
        " GROUP BY alert, target, target_number",
        {"since": since + 1, "now": now},
    )
    return {Target(alert, name, number): Load(made, sent) for alert, name, number, made, sent in found}


def record_sent(db: Database, delivery: Delivery, now: int) -> None:
    """Record that a target has taken a message."""
    with db.write():
        db.execute(
            "UPDATE alert_deliveries SET status = 'sent', sent_at = ?, attempts = attempts + 1, next_attempt_at = NULL,"
            " hold_until = NULL, error = NULL, content = NULL WHERE id = ?",
            (now, delivery.message.id),
        )


def record_failure(db: Database, delivery: Delivery, error: str, later: Later | None) -> None:
    """Record that a message was not taken; it is tried again ``later``, or has failed for good."""
    with db.write():
        db.execute(
            "UPDATE alert_deliveries SET status = ?, attempts = attempts + 1, next_attempt_at = ?, hold_until = ?,"
            " error = ? WHERE id = ?",
            (
                "failed" if later is None else "pending",
                None if later is None else later.at,
                None if later is None else later.hold_until,
                error[:MAX_ERROR_CHARS],
                delivery.message.id,
            ),
        )


def give_up(db: Database, ids: Sequence[str], error: str) -> None:
    """Record that messages have failed for good without another try."""
    with db.write():
        db.execute_many(
            "UPDATE alert_deliveries SET status = 'failed', next_attempt_at = NULL, hold_until = NULL, error = ?"
            " WHERE id = ? AND status = 'pending'",
            [(error[:MAX_ERROR_CHARS], message_id) for message_id in ids],
        )


def retry(db: Database, alert: str, now: int) -> int:
    """Have the failed messages of a rule tried again, for another 24 hours; returns how many."""
    with db.write():
        return db.execute(
            "UPDATE alert_deliveries SET status = 'pending', next_attempt_at = ?, give_up_at = ?"
            " WHERE alert = ? AND status = 'failed' AND content IS NOT NULL",
            (now, now + GIVE_UP_AFTER_MS, alert),
        )


def summary(db: Database) -> list[sqlite3.Row]:
    """By rule and target: ``alert, target, target_number, sent, pending, failed, last_sent_at, last_error``.

    The error is that of the newest message that has one and is not sent.
    """
    return db.rows(
        "SELECT alert, target, target_number, count(*) FILTER (WHERE status = 'sent') AS sent,"
        " count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'failed') AS failed,"
        " max(sent_at) AS last_sent_at, (SELECT error FROM alert_deliveries AS e WHERE e.alert = d.alert"
        " AND e.target = d.target AND e.target_number = d.target_number AND error IS NOT NULL"
        " ORDER BY e.created_at DESC LIMIT 1) AS last_error"
        " FROM alert_deliveries AS d GROUP BY alert, target, target_number ORDER BY alert, target, target_number"
    )


def failed_count(db: Database) -> int:
    """How many messages have failed for good."""
    count: int = db.value("SELECT count(*) FROM alert_deliveries WHERE status = 'failed'")
    return count
