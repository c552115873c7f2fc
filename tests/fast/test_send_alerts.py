"""``send-alerts`` over a real file, with targets that answer by script."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support import rows
from support.alert_host import HOOK, OTHER_HOOK, AlertHost, Killed
from support.rows import DAY, HOUR, MINUTE, NOW, SECOND

from whalesync import fold
from whalesync.alerts.model import Message, Outcome, Refused, Retry, Sent
from whalesync.errors import SettingsError
from whalesync.jobs import send_alerts
from whalesync.jobs.run import Clock, run_job
from whalesync.jobs.send_alerts import sync_is_due, wait_for_sync
from whalesync.jobs.table import SEND_ALERTS
from whalesync.store import alerts, feed, sync_log, whales
from whalesync.store.database import Database, open_database
from whalesync.store.locks import FileLock
from whalesync.store.whales import WatchEntry


@pytest.fixture
def host(db: Database, tmp_path: Path) -> AlertHost:
    """A rule that has been there for a while."""
    host = AlertHost(tmp_path, db)
    host.write({})
    host.run(0)
    return host


def always(outcome: Outcome) -> Callable[[Message], Outcome]:
    return lambda _: outcome


def test_forty_fills_over_two_syncs_are_one_message(host: AlertHost) -> None:
    """Of $20,000, in the run after the second sync."""
    for _ in range(19):
        host.trade(500, at=MINUTE, tx_hash="0xorder")
    host.run()
    assert host.target().totals == []
    for _ in range(21):
        host.trade(500, at=MINUTE, tx_hash="0xorder")
    host.run()
    assert host.target().totals == [20_000]
    ((_, message),) = host.target().got
    assert (message.kind, message.trade_count, len(message.trades)) == ("whale.trade", 1, 40)
    assert message.whale is not None and message.whale["label"] == "Moby Dick"
    host.run()
    assert host.target().totals == [20_000]


def test_twenty_five_and_fifteen_fills_are_one_message(host: AlertHost) -> None:
    """Of $12,500: the rest is too small by itself."""
    for count in (25, 15):
        for _ in range(count):
            host.trade(500, at=MINUTE, tx_hash="0xorder")
        host.run()
    assert host.target().totals == [12_500]


def test_a_backfill_sends_nothing(host: AlertHost) -> None:
    """Five thousand trades of the days before, and those of the hour before a whale was watched."""
    with host.db.write():
        for number in range(5_000):
            host.trade(20_000, at=-7 * HOUR - number * MINUTE)
    host.run()
    seen = alerts.cursor(host.db)
    assert seen is not None and seen.last_id == 5_000  # the next run does not read them again
    young = rows.whale(host.db, rows.OTHER, tracked_since=NOW)
    for number in range(1, 60):
        host.trade(20_000, at=-number * MINUTE, whale=young)
    host.run()
    assert host.target().got == []
    assert host.deliveries() == []


def test_a_new_rule_sends_no_history(db: Database, tmp_path: Path) -> None:
    """Nor does one whose filters have changed; only what is made from then on."""
    host = AlertHost(tmp_path, db)
    host.write({})
    host.trade(20_000)
    host.run()
    host.trade(20_000)
    host.run()
    assert len(host.target().got) == 1
    host.trade(5_000)
    host.write({"min_usd": 5_000})
    host.run()
    assert len(host.target().got) == 1
    host.trade(5_000)
    host.run()
    assert len(host.target().got) == 2


def test_a_change_of_target_loses_nothing(host: AlertHost) -> None:
    """What was made since the last run goes to the new one."""
    host.trade(20_000)
    host.write({"to": OTHER_HOOK})
    host.run()
    assert (host.target().totals, host.target(OTHER_HOOK).totals) == ([], [20_000])


def test_a_whale_that_is_watched_again_sends_no_history(host: AlertHost) -> None:
    """What it did meanwhile is loaded, and not told of."""
    whales.remove(host.db, "opinion_trade", rows.MOBY, host.now)
    host.run(HOUR)
    whales.add(host.db, [WatchEntry(rows.MOBY)], host.now)
    host.trade(20_000, at=30 * MINUTE)
    host.run()
    assert host.target().got == []
    host.trade(20_000)
    host.run()
    assert len(host.target().got) == 1


def test_an_outage_of_a_day_sends_the_last_hours(host: AlertHost) -> None:
    """max_age is six hours: of thirty trades, one an hour up to now, seven are not older."""
    for hour in range(1, 31):
        host.trade(20_000, at=hour * HOUR)
    host.run(30 * HOUR)
    assert len(host.target().got) == 7


def test_a_superseded_trade_is_not_sent(host: AlertHost) -> None:
    """It was stored, and found missing before it was told of."""
    number = host.trade(20_000)
    host.db.execute("UPDATE whale_activity SET superseded_at = ? WHERE id = ?", (NOW, number))
    host.run()
    assert host.target().got == []


def test_filters_are_by_name(host: AlertHost) -> None:
    """Whales by label or address, categories in any case, markets and topics by the exchange's id."""
    rows.market(host.db, "70", "Gold?", kind="topic")
    child = rows.market(host.db, "7", "$4,000?", parent_external_id="70", category="Commodities")
    other = rows.whale(host.db, rows.OTHER, tracked_since=NOW - DAY)
    rules: dict[str, dict[str, Any]] = {
        "label": {"whales": ["moby dick"]},
        "address": {"whales": [rows.OTHER.upper().replace("X", "x")]},
        "category": {"categories": ["MACRO"]},
        "topic": {"markets": ["70"]},
        "market": {"markets": ["1"]},
        "other exchange": {"markets": ["999"]},
    }
    host.write(*({"name": name, "to": f"https://example.com/{name}".replace(" ", "-")} | rules[name] for name in rules))
    host.run()
    host.trade(20_000)
    host.trade(30_000, whale=other, market=child)
    host.run()
    assert {name: host.target(f"https://example.com/{name}".replace(" ", "-")).totals for name in rules} == {
        "label": [20_000],
        "address": [30_000],
        "category": [20_000],
        "topic": [30_000],
        "market": [20_000],
        "other exchange": [],
    }


def test_a_tier_hears_when_its_feed_shows_it(host: AlertHost) -> None:
    """Fifteen minutes after the trade for the free tier, however often the job runs before."""
    host.write({"tier": "free"})
    host.run()
    host.trade(20_000)
    for _ in range(14):
        host.run()
    assert host.target().got == []
    host.run()
    ((at, message),) = host.target().got
    assert at == 16 * MINUTE
    assert message.trades[0]["visible_at"] == "2026-03-01T12:16:00Z"


def test_quiet_hours_hold_back_what_is_tried_again_too(host: AlertHost) -> None:
    """A digest at their end; a message of before that a target did not take comes after them as well."""
    quiet = {"quiet": "12:02-13:00"}
    host.write(quiet)
    host.target().answer = always(Retry(None, "answered 500"))
    host.trade(20_000)
    host.run()
    host.target().answer = always(Sent())
    host.trade(30_000, at=5 * MINUTE)
    host.trade(40_000, at=10 * MINUTE)
    for _ in range(58):
        host.run()
    assert host.target().totals == [20_000]
    host.run()
    assert sorted(host.target().totals[1:]) == [20_000, 70_000]
    digest = max((message for _, message in host.target().got), key=lambda message: message.total_usd)
    assert (digest.kind, digest.reason, digest.trade_count, digest.whale) == ("whale.digest", "quiet", 2, None)


def test_no_more_than_twenty_messages_a_minute(host: AlertHost) -> None:
    """Fifty-seven trades at once: nineteen, and one with the other thirty-eight."""
    for number in range(57):
        host.trade(20_000 + number, market=rows.market(host.db, f"m{number}"))
    host.run()
    assert len(host.target().got) == 20
    digests = [message for _, message in host.target().got if message.reason == "limit"]
    assert [(each.trade_count, each.more) for each in digests] == [(38, 18)]
    assert sum(host.target().totals) == sum(20_000 + number for number in range(57))


def test_the_limit_holds_over_runs_and_rules(host: AlertHost) -> None:
    """Two rules with the same target, and a run every 20 s: never more than twenty in any minute, and nothing lost."""
    host.write({"name": "one"}, {"name": "two"})
    host.run()
    sums = 0
    for _ in range(12):
        for number in range(15):
            amount = 20_000 + number
            host.trade(amount, market=rows.market(host.db, f"m{host.now}{number}"))
            sums += 2 * amount
        host.run(20 * SECOND)
    for _ in range(3):
        host.run()
    moments = [at for at, _ in host.target().got]
    assert max(sum(start <= at < start + MINUTE for at in moments) for start in moments) <= 20
    assert sum(host.target().totals) == sums


def test_a_dead_target_gets_one_digest_when_it_is_back(host: AlertHost) -> None:
    """Not the hundreds of messages that it missed, and each of the trades once."""
    host.target().answer = always(Retry(None, "refused"))
    for _ in range(60):
        for number in range(3):
            host.trade(20_000, market=rows.market(host.db, f"m{host.now}{number}"))
        host.run()
    assert len(host.deliveries()) == 20
    host.target().got.clear()
    host.target().answer = always(Sent())
    for _ in range(62):
        host.run()
    assert len(host.target().got) <= 22
    assert sum(message.trade_count for _, message in host.target().got) == 180


def test_a_dead_target_holds_up_no_other(host: AlertHost) -> None:
    """The one hangs until its deadline; the others have theirs at once."""
    dead, alive = host.target(), host.target(OTHER_HOOK)
    host.write({"to": [HOOK, OTHER_HOOK]})
    came = threading.Event()
    waited: list[bool] = []

    def hang(_: Message) -> Outcome:
        waited.append(came.wait(5))
        return Retry(None, "no response within 10 s")

    def take(_: Message) -> Outcome:
        came.set()
        return Sent()

    dead.answer, alive.answer = hang, take
    host.trade(20_000)
    host.run()
    assert waited == [True]
    assert host.deliveries("target, target_number, status") == [
        ("https://example.com/…", 1, "pending"),
        ("https://example.com/…", 2, "sent"),
    ]


def test_failures_are_tried_again_with_growing_pauses(host: AlertHost) -> None:
    """With the same id, for 24 hours; then it has failed, which the row says."""
    host.target().answer = always(Retry(None, "answered 500 (Internal Server Error)"))
    host.trade(20_000)
    for _ in range(185):
        host.run()
    for _ in range(23 * 6):
        host.run(10 * MINUTE)
    minutes = [at // MINUTE for at, _ in host.target().got]
    assert minutes[:9] == [1, 2, 4, 8, 16, 32, 64, 124, 184]
    assert len({message.id for _, message in host.target().got}) == 1
    assert 24 * 60 <= minutes[-1] - minutes[0] < 25 * 60
    assert host.deliveries("status, attempts, error, next_attempt_at") == [
        ("failed", len(minutes), "answered 500 (Internal Server Error)", None)
    ]


def test_a_pause_that_is_asked_for_is_for_the_whole_target(host: AlertHost) -> None:
    """Nothing else is sent to it meanwhile."""
    answers: list[Outcome] = [Retry(300.0, "answered 429 (Too Many Requests)")]
    host.target().answer = lambda _: answers.pop() if answers else Sent()
    host.trade(20_000)
    host.trade(25_000, market=rows.market(host.db, "2"))
    host.run()
    host.trade(30_000)
    for _ in range(6):
        host.run()
    assert [at // MINUTE for at, _ in host.target().got] == [1, 6, 6, 6]


def test_one_bad_message_does_not_hold_up_the_next(host: AlertHost) -> None:
    """A target may fail on one message alone."""
    host.target().answer = lambda message: Retry(None, "answered 500") if message.total_usd == 20_000 else Sent()
    host.trade(20_000)
    host.trade(30_000, market=rows.market(host.db, "2"))
    host.run()
    assert host.deliveries() == [("pending", 1), ("sent", 1)]


def test_a_refusal_is_final_and_visible(host: AlertHost) -> None:
    """Until it is asked to be tried again."""
    host.target().answer = always(Refused("answered 410 (Gone)"))
    host.trade(20_000)
    run = host.run()
    assert run.errors() == ["big to https://example.com/…: answered 410 (Gone)"]
    host.run()
    assert host.deliveries("status, attempts, error") == [("failed", 1, "answered 410 (Gone)")]
    assert alerts.failed_count(host.db) == 1
    host.target().answer = always(Sent())
    assert alerts.retry(host.db, "big", host.now) == 1
    host.run()
    assert host.deliveries() == [("sent", 2)]
    assert len({message.id for _, message in host.target().got}) == 1


def test_what_is_tried_again_keeps_to_the_limit(host: AlertHost) -> None:
    """Forty messages that were refused come back in two minutes, and have another day."""
    host.target().answer = always(Refused("answered 403 (Forbidden)"))
    for minute in range(2):
        for number in range(20):
            host.trade(20_000, market=rows.market(host.db, f"m{minute}-{number}"))
        host.run()
    host.run(25 * HOUR)
    host.target().answer = always(Retry(None, "answered 500"))
    alerts.retry(host.db, "big", host.now)
    host.run()
    assert alerts.failed_count(host.db) == 0
    host.target().answer = always(Sent())
    host.target().got.clear()
    counts = []
    for _ in range(4):
        host.run()
        counts.append(len(host.target().got))
    assert counts[0] == 20 and counts[-1] == 40


def test_what_has_no_target_any_more_is_given_up(host: AlertHost) -> None:
    """The rule is gone from the file; another rule's messages are not concerned."""
    host.target().answer = always(Retry(None, "refused"))
    host.trade(20_000)
    host.run()
    host.write({"name": "other"})
    host.run()
    assert host.deliveries("alert, status") == [("big", "failed")]
    assert host.db.rows("SELECT * FROM alert_fills") == []


def test_a_target_that_cannot_be_served_fails_the_run(host: AlertHost) -> None:
    """After the others were served."""
    host.write({"to": [HOOK, "tgram://1:secret/2"]})
    host.trade(20_000)
    host.now += MINUTE

    def target_for(address: str, secret: str | None) -> Any:
        if address != HOOK:
            raise SettingsError("alerts to tgram://… need apprise")
        return host.target()

    with (
        pytest.raises(SettingsError, match="apprise"),
        run_job(SEND_ALERTS, host.settings, clock=Clock(lambda: host.now)) as run,
    ):
        send_alerts.run(run, target_for=target_for)
    assert host.deliveries("target, status") == [("https://example.com/…", "sent"), ("tgram://…", "pending")]


def test_a_bug_in_a_target_is_that_targets_alone(host: AlertHost) -> None:
    """Its text, which may hold a secret, is not kept."""

    def fail(_: Message) -> Outcome:
        raise ValueError("T0ken")

    host.target().answer = fail
    host.trade(20_000)
    run = host.run()
    assert run.errors() == ["big to https://example.com/…: unexpected ValueError"]


@pytest.mark.parametrize("name", ["queue", "save_state", "take", "record_sent"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_loses_nothing(host: AlertHost, monkeypatch: pytest.MonkeyPatch, name: str, when: str) -> None:
    """Wherever it strikes, each alert is sent, and repeated under the same id only if it struck after the sending."""
    host.write({"fold": "10m"})
    real = getattr(alerts, name)
    state = {"armed": True}

    def crash(*arguments: Any) -> Any:
        if when == "before" and state.pop("armed", False):
            raise Killed
        result = real(*arguments)
        if state.pop("armed", False):
            raise Killed
        return result

    host.trade(20_000)
    monkeypatch.setattr(alerts, name, crash)
    with pytest.raises(Killed):
        host.run()
    host.run()
    host.run()
    assert set(host.target().totals) == {20_000}
    assert len({message.id for _, message in host.target().got}) == 1
    assert len(host.target().got) == (2 if (name, when) == ("record_sent", "before") else 1)


def test_nothing_secret_is_in_the_file(host: AlertHost) -> None:
    """Neither an address nor the secret that signs."""
    secret = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIz"
    host.write({"secret": secret, "to": [HOOK, "https://example.com/in?key=T0ken"]})
    host.target().answer = always(Retry(None, "refused"))
    host.trade(20_000)
    host.run()
    host.db.checkpoint()
    content = host.db.path.read_bytes() + host.db.path.with_name(host.db.path.name + "-wal").read_bytes()
    assert len(host.deliveries()) == 2
    assert b"T0ken" not in content
    assert secret.removeprefix("whsec_").encode() not in content


def test_a_minute_without_news_writes_nothing_but_its_own_row(host: AlertHost) -> None:
    """The cursor stays where it is."""
    host.trade(20_000)
    host.run()
    before = [tuple(row) for row in host.db.rows("SELECT * FROM facts UNION ALL SELECT alert, since FROM alert_states")]
    host.run()
    assert [
        tuple(row) for row in host.db.rows("SELECT * FROM facts UNION ALL SELECT alert, since FROM alert_states")
    ] == before


@pytest.mark.parametrize(
    ("ago", "expected"), [(None, False), (5, False), (39, False), (60, True), (130, True), (600, False)]
)
def test_sync_is_due_when_cron_starts_it_every_minute(ago: int | None, expected: bool) -> None:
    """Not in a minute in which it ran already, nor where nobody starts it."""
    assert sync_is_due(None if ago is None else NOW - ago * SECOND, NOW) is expected


def test_it_waits_for_the_lock_of_sync_whales(host: AlertHost) -> None:
    """And tells of what that stored; meanwhile it holds nothing."""
    lock = FileLock(host.db.path, "sync-whales")
    assert lock.try_acquire()
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            host.trade(20_000)  # another connection's write: nothing is in the way
            lock.release()

    host.now += MINUTE
    with run_job(SEND_ALERTS, host.settings, clock=Clock(lambda: host.now)) as run:
        send_alerts.run(run, target_for=host.target_for, sleep=sleep)
    assert len(naps) == 3
    assert host.target().totals == [20_000]


def test_it_waits_for_sync_whales_to_start(host: AlertHost) -> None:
    """Cron starts both at once; sync-whales may take its lock a moment later."""
    sync_log.start_run(host.db, "whales", host.now)
    host.now += MINUTE
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            sync_log.start_run(host.db, "whales", host.now)

    with run_job(SEND_ALERTS, host.settings, clock=Clock(lambda: host.now)) as run:
        wait_for_sync(run, sleep)
    assert len(naps) == 2


def test_it_does_not_wait_for_ever(host: AlertHost) -> None:
    """What has been stored up to there is told of before its minute ends."""
    lock = FileLock(host.db.path, "sync-whales")
    assert lock.try_acquire()
    host.trade(20_000)
    elapsed = 0.0

    def sleep(seconds: float) -> None:
        nonlocal elapsed
        elapsed += seconds

    with run_job(SEND_ALERTS, host.settings, clock=Clock(lambda: host.now, lambda: elapsed)) as run:
        send_alerts.run(run, target_for=host.target_for, sleep=sleep)
    lock.release()
    assert 49 < elapsed < 50
    assert host.target().totals == [20_000]


def test_the_clock_was_set_back_by_a_year(host: AlertHost) -> None:
    """Nothing is sent twice, and what comes next is sent."""
    host.write({"tier": "free"})
    host.run()
    host.trade(20_000)
    host.run(20 * MINUTE)
    host.trade(25_000)
    host.run()
    host.trade(1, at=0)
    host.run(365 * DAY)
    host.run(-365 * DAY)
    for _ in range(15):
        host.run()
    host.trade(30_000)
    for _ in range(15):
        host.run()
    assert host.target().totals == [20_000, 25_000, 30_000]


def test_without_rules_it_is_not_set_up(host: AlertHost) -> None:
    """A file without rules counts as none; one with a fault does not."""
    host.alerts_file.write_text("# nothing yet\n", encoding="utf-8")
    assert SEND_ALERTS.is_set_up(host.settings) is False
    host.alerts_file.write_text("[[alert]]\n", encoding="utf-8")
    assert SEND_ALERTS.is_set_up(host.settings) is True


@pytest.mark.parametrize("seed", range(6))
def test_fills_in_any_order_over_many_runs(host: AlertHost, seed: int) -> None:
    """Late ones among them: each is told of once at most by each rule, and no trade keeps enough to be told of.

    Which fills are one trade is as the whole history says at the end.
    """
    random = Random(seed)
    tiers = {"pro-plus": HOOK, "free": OTHER_HOOK}
    host.write(*({"name": tier, "tier": tier, "to": to, "max_age": "23h"} for tier, to in tiers.items()))
    host.run()
    times = sorted(random.randrange(2 * MINUTE, 20 * MINUTE, 1_000) for _ in range(60))
    late = [(at + random.choice([0, 1, 1, 20]) * MINUTE, at) for at in times]
    for minute in range(3, 60):
        for arrives, at in late:
            if minute - 1 <= arrives / MINUTE < minute:
                amount = random.choice([1_000.0, 4_000.0, 6_000.0])
                host.trade(amount, at=at, tx_hash=f"0x{at // (15 * SECOND)}-{at}")
        host.run()
    fills = feed.fills(host.db, range(1, 61))
    assert len(fills) == 60
    for to in tiers.values():
        told = [row["id"] for _, message in host.target(to).got for row in message.trades]
        assert told and len(told) == len(set(told))
        assert all(message.total_usd >= 10_000 for _, message in host.target(to).got if message.reason == "trade")
        kept = [[each for each in trade if each.id not in told] for trade in fold.trades(fills)]
        assert max(fold.usd(trade) for trade in kept) < 10_000


def test_two_connections_see_the_same(host: AlertHost) -> None:
    """What one run stored, the next one reads from the file alone."""
    host.trade(20_000)
    host.target().answer = always(Retry(None, "refused"))
    host.run()
    with open_database(host.db.path) as other:
        ((delivery,), message) = alerts.pending(other), host.target().got[0][1]
    assert delivery.message == message
