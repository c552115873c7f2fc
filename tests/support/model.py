"""Everything that may happen around the wallet sync, in any order, against plain lists of what is right.

At every moment: nothing is stored more often than the exchange has it. After a run that nothing disturbed:
all of it is stored, nothing is asked for a second time, and the figures are plain sums.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.exchange import WALLETS, Asked, Row
from support.fills import Fill, as_fill
from support.wallets import UNLIMITED, Office

from whalesync.errors import ExchangeError, JobFailed, StoreError, Unreachable
from whalesync.exchanges import DEFAULT_EXCHANGE
from whalesync.jobs.run import Run
from whalesync.store import whales
from whalesync.store.database import Database, open_database
from whalesync.store.whales import WatchEntry

HOUR, DAY = 3600, 86_400
RETENTION_DAYS = 3
TRACKED = WALLETS[:3]
FIGURES = (
    "total_volume", "trade_count", "last_active_at", "volume_24h", "volume_7d", "volume_30d", "buy_count",
    "sell_count", "realized_profit",
)  # fmt: skip

wallets = st.sampled_from(TRACKED)
seeds = st.integers(0, 2**32 - 1)


Lie = Callable[[Asked, dict[str, Any]], dict[str, Any]]


class Crash(BaseException):
    """The process dies here."""


class ExactSync(RuleBasedStateMachine):
    """The machine; the totals of all its lives stand in ``figures``."""

    figures: ClassVar[Counter[str]] = Counter()

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="exact-"))
        self.office = Office(self.folder, tracked=len(TRACKED), retention_days=RETENTION_DAYS)
        self.exchange = self.office.exchange
        self.random = random.Random(seed)
        self.watched = set(TRACKED)
        #: what was listed at any time, and what cleanup has pruned
        self.ever: dict[str, Counter[Fill]] = {wallet: Counter() for wallet in TRACKED}
        self.gone: dict[str, Counter[Fill]] = {wallet: Counter() for wallet in TRACKED}
        self.cut = 0  # milliseconds: nothing younger may be missing
        self.slow: set[str] = set()  # wallets with records that are or were unreadable
        self.figures["lives"] += 1

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # What happens at the exchange

    def arrive(self, wallet: str, dice: random.Random) -> None:
        """Some trades: new ones, twins, bursts within one second, late ones, unreadable ones."""
        exchange, rows = self.exchange, self.exchange.lists[wallet]
        kind = dice.choice(["one", "one", "few", "burst", "spread", "twin", "twin", "late", "late", "bad"])
        count = {"few": dice.randint(2, 5), "burst": dice.randint(2, 50), "spread": dice.randint(15, 70)}.get(kind, 1)
        for _ in range(count):
            at = exchange.now
            if kind == "spread":
                exchange.now += dice.choice([0, 1, 1, 30])
                at = exchange.now
            elif kind == "late":
                at -= dice.choice([1, 60, HOUR, 12 * HOUR, 2 * DAY, 5 * DAY])
            same = dice.choice(rows).record if kind == "twin" and rows else None
            fields = {
                "side": dice.choice(["Buy", "Sell", "Merge"]),
                "price": dice.choice(["0.5", "0.25"]),
                "outcomeSide": dice.choice([1, 2]),
                "marketId": dice.choice([1, 2]),
                "profit": dice.choice(["0", "0.1", "-7.3"]),
                "txHash": dice.choice(["", "", "0xaa", "0xbb"]),
            }
            if same:
                fields = {name: same[name] for name in fields} | {"profit": dice.choice([same["profit"], "0.2"])}
                at = same["createdAt"]
            row = exchange.add(wallet, at, dice.randint(0, 3), **fields)
            self.ever[wallet][as_fill(row.record)] += 1
            self.figures["trades"] += 1
            self.figures["late or twin"] += kind in ("late", "twin")
            if kind == "bad":
                self.spoil(wallet, row, dice)

    def spoil(self, wallet: str, row: Row, dice: random.Random) -> None:
        row.spoiled = dice.choice(
            [{"amount": "NaN"}, {"status": 1, "statusEnum": "Pending"}, {"createdAt": None}, {"amount": {}}]
        )
        self.slow.add(wallet)
        self.figures["bad records"] += 1

    @rule(wallet=wallets, seed=seeds)
    def trade(self, wallet: str, seed: int) -> None:
        self.arrive(wallet, random.Random(seed))

    @rule(wallet=wallets, seed=seeds)
    def turn_bad(self, wallet: str, seed: int) -> None:
        dice, rows = random.Random(seed), self.exchange.lists[wallet]
        if rows:
            self.spoil(wallet, dice.choice(rows), dice)

    @rule(wallet=wallets, seed=seeds)
    def turn_good(self, wallet: str, seed: int) -> None:
        dice = random.Random(seed)
        for row in self.exchange.lists[wallet]:
            if row.spoiled and dice.random() < 0.7:
                row.spoiled = {}

    @rule(seconds=st.sampled_from([1, 60, HOUR, 20 * HOUR, 2 * DAY]))
    def wait(self, seconds: int) -> None:
        self.exchange.now += seconds

    @rule(wallet=wallets, seed=seeds)
    def shrink(self, wallet: str, seed: int) -> None:
        """The exchange takes trades away: that is reported at once."""
        self.quiet()
        rows, dice = self.exchange.lists[wallet], random.Random(seed)
        if len(rows) < 4 or wallet not in self.watched:
            return
        for _ in range(dice.randint(1, 3)):
            del rows[dice.randrange(len(rows))]
        self.figures["shrunk"] += 1
        with suppress(ExchangeError, JobFailed):
            self.office.sync()
        assert any("were listed before" in error for error in self.office.errors), self.office.errors

    # What happens on the host

    @rule(wallet=wallets)
    def watch_or_not(self, wallet: str) -> None:
        with open_database(self.office.db) as db:
            if wallet in self.watched:
                assert whales.remove(db, DEFAULT_EXCHANGE, wallet, self.office.host_now)
            else:
                whales.add(db, [WatchEntry(wallet)], self.office.host_now)
        self.watched ^= {wallet}

    @rule(hours=st.sampled_from([0, 0, 1, -1, 365 * 24, -365 * 24]))
    def set_clock(self, hours: int) -> None:
        self.office.skew = hours * HOUR
        self.figures["clock steps"] += 1

    @rule()
    def cleanup(self) -> None:
        before = {wallet: self.office.stored(wallet) for wallet in TRACKED}
        try:
            self.office.cleanup()
        except JobFailed:
            synced = self.office.query(
                "SELECT started_at FROM sync_logs WHERE type = 'whales' AND status = 'completed' ORDER BY id"
            )
            assert not synced or abs(self.office.host_now - synced[-1][0]) > DAY * 1000
            return
        # Of a clock that has jumped ahead unseen, an hour counts at most.
        self.cut = max(self.cut, (self.exchange.now + HOUR - RETENTION_DAYS * DAY) * 1000)
        for wallet in TRACKED:
            self.gone[wallet] += before[wallet] - self.office.stored(wallet)
            assert all(fill.timestamp < self.cut for fill in self.gone[wallet])
        self.figures["cleanups"] += 1

    @precondition(lambda self: abs(self.office.skew) <= HOUR)
    @rule()
    def stats(self) -> None:
        """The figures are plain sums over everything that was ever stored."""
        self.office.stats()
        for wallet in TRACKED:
            kept = self.office.stored(wallet)
            total = kept + self.gone[wallet]
            expected = plain_figures(total, kept, self.office.host_now)
            row = self.office.query(f"SELECT {', '.join(FIGURES)} FROM whales WHERE address = ?", wallet)[0]
            assert dict(zip(FIGURES, row, strict=True)) == pytest.approx(expected)
        self.figures["statistics"] += 1

    @rule(seed=seeds, budget=st.sampled_from([1, 3, 6, 12, 40, UNLIMITED]), lie=st.integers(0, 14))
    def disturbed(self, seed: int, budget: int, lie: int) -> None:
        """A run during which things go wrong and trades arrive."""
        dice = random.Random(seed)
        trouble = dice.choice(["", "", "faults", "crash in a request", "crash at a commit", "disk"])
        busy, die_at = dice.choice([0, 0, 0.1, 0.5]), dice.randint(1, 12)
        begun, arriving = len(self.exchange.asked), iter(range(25))

        def before(number: int) -> None:
            while dice.random() < busy and next(arriving, None) is not None:
                self.arrive(dice.choice(TRACKED), dice)
                self.figures["arrivals during runs"] += 1
            if trouble == "faults" and dice.random() < 0.2:
                self.figures["faults"] += 1
                raise Unreachable("no connection")
            if trouble == "crash in a request" and number - begun == die_at:
                self.figures["crashes"] += 1
                raise Crash

        self.exchange.before = before
        if lie < len(LIES):
            self.exchange.lie = LIES[lie](dice)
            budget = min(budget, 300)  # a list without end
            self.figures["lying runs"] += 1
        self.office.prepare = lambda run: self.break_commits(run, trouble, die_at)
        self.figures["runs"] += 1
        with suppress(Crash, ExchangeError, JobFailed, StoreError):
            self.office.sync(budget, order=dice, in_flight=dice.choice([1, 4, 16]))
        self.exchange.before = lambda number: None
        self.office.prepare = lambda run: None
        if lie < len(LIES):
            self.exchange.lie = lambda asked, honest: honest
            # The truth is seen before anything else happens: a lie and a trade that cancel out leave no trace.
            with suppress(ExchangeError, JobFailed):
                self.office.sync()

    def break_commits(self, run: Run, trouble: str, die_at: int) -> None:
        if trouble not in ("crash at a commit", "disk"):
            return
        honest, left = Database.execute, [die_at]

        def execute(sql: str, params: Any = ()) -> int:
            left[0] -= sql == "COMMIT"
            if sql == "COMMIT" and left[0] == 0:
                self.figures["crashes" if trouble != "disk" else "faults"] += 1
                if trouble == "disk":
                    raise StoreError("no room left")
                if die_at % 2:
                    honest(run.db, sql, params)  # it dies just after the commit
                raise Crash
            return honest(run.db, sql, params)

        run.db.execute = execute  # type: ignore[method-assign]  # where a crash is played

    @rule()
    def quiet(self) -> None:
        """Undisturbed, the file comes to hold just what the exchange has, and then one request is enough."""
        runs = 0
        while True:
            try:
                self.office.sync()
                failed = False
            except (ExchangeError, JobFailed):
                failed = True
            runs += 1
            self.figures["runs"] += 1
            wrong = {wallet: found for wallet in self.watched if (found := self.difference(wallet))}
            if not (wrong or failed) and all(map(self.at_rest, self.watched)):
                break
            assert runs < 16, (wrong, self.office.errors)
            # A fallen total is believed after some minutes; unreadable records are looked at again after a day.
            self.exchange.now += 11 * 60 if runs % 5 else DAY + 1
            for wallet in self.slow & self.watched if runs > 6 else ():
                for row in self.exchange.lists[wallet]:
                    row.spoiled = {}
        self.slow = {
            wallet
            for wallet in self.slow
            if wallet not in self.watched or any(row.spoiled for row in self.exchange.lists[wallet])
        }
        if not self.slow & self.watched:
            self.office.sync()
            self.office.sync()
            asked = self.exchange.asked[len(self.exchange.asked) - self.office.requests :]
            assert sorted(each.wallet for each in asked) == sorted(self.watched)
        self.figures["quiet runs"] += 1

    def at_rest(self, wallet: str) -> bool:
        """Whether everything is stored, and the total has not fallen."""
        fallen = "SELECT 1 FROM whales JOIN whale_cursors ON whale_id = id WHERE address = ? AND state LIKE '%fallen%'"
        return self.office.progress(wallet).complete and not self.office.query(fallen, wallet)

    def difference(self, wallet: str) -> Counter[Fill]:
        """What is readable and young enough at the exchange, and not stored."""
        oldest = max(self.cut, (self.exchange.now - RETENTION_DAYS * DAY) * 1000)
        return self.exchange.fills(wallet, since=oldest, readable=True) - self.office.stored(wallet)

    @invariant()
    def nothing_double(self) -> None:
        """Nothing is stored more often than the exchange ever had it, and nothing pruned comes back."""
        if not hasattr(self, "office"):
            return
        for wallet in TRACKED:
            double = self.office.stored(wallet) + self.gone[wallet] - self.ever[wallet]
            self.figures["double"] += double.total()
            assert not double


def plain_figures(total: Counter[Fill], kept: Counter[Fill], now: int) -> dict[str, Any]:
    """A whale's figures, added up from scratch."""

    def volume(trades: Counter[Fill], since: int = 0) -> float:
        return float(
            sum(
                (
                    Decimal(repr(f.amount)) * n
                    for f, n in trades.items()
                    if f.action != "MERGE" and f.timestamp >= since
                ),
                Decimal(0),
            )
        )

    counts = Counter[str]()
    for fill, n in total.items():
        counts[fill.action] += n
    profit = sum((Decimal(repr(f.profit)) * n for f, n in total.items() if f.action != "BUY"), Decimal(0))
    return {
        "total_volume": volume(total),
        "trade_count": counts["BUY"] + counts["SELL"],
        "last_active_at": max((fill.timestamp for fill in total), default=None),
        "volume_24h": volume(kept, now - DAY * 1000),
        "volume_7d": volume(kept, now - 7 * DAY * 1000),
        "volume_30d": volume(kept, now - 30 * DAY * 1000),
        "buy_count": counts["BUY"],
        "sell_count": counts["SELL"],
        "realized_profit": float(profit),
    }


def _total(by: int) -> Lie:
    return lambda asked, honest: honest | {"total": max(0, honest["total"] + by)}


def _first_page_always(dice: random.Random) -> Lie:
    first: dict[str, dict[str, Any]] = {}

    def lie(asked: Asked, honest: dict[str, Any]) -> dict[str, Any]:
        if asked.number == 1:
            first[asked.wallet] = honest
        return first.get(asked.wallet, honest)

    return lie


def _never_ends(dice: random.Random) -> Lie:
    last: dict[str, Any] = {}

    def lie(asked: Asked, honest: dict[str, Any]) -> dict[str, Any]:
        last[asked.wallet] = honest["list"] or last.get(asked.wallet, [])
        return {"total": 10**6, "list": last[asked.wallet]}

    return lie


def _changed(change: Callable[[list[Any]], list[Any] | None]) -> Callable[[random.Random], Lie]:
    return lambda dice: lambda asked, honest: honest | {"list": change(honest["list"])}


LIES: list[Callable[[random.Random], Lie]] = [
    lambda dice: _total(dice.randint(-30, 30)),
    _first_page_always,
    _never_ends,
    _changed(lambda listed: listed[::-1]),
    _changed(lambda listed: listed[:-1]),
    lambda dice: lambda asked, honest: {"total": 0, "list": None},
]
