"""Whatever happens to Polymarket's activity and to the host, in any order: each row is stored once.

The real job, store and adapter over an exchange in memory (``support.data_host``), by seeded chance.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.data_host import DAY, DataOffice, activity_row

from whalesync.errors import ExchangeError, JobFailed, StoreError, Unreachable
from whalesync.exchanges.polymarket import parsing
from whalesync.store.database import Database

WALLETS = ["0x" + 39 * "0" + digit for digit in "123"]
HOUR = 3600
RETENTION_DAYS = 6
STEPS = 40
FIGURES: Counter[str] = Counter()


class Crash(BaseException):
    """The process dies here."""


class Course:
    """One course of events."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.office = DataOffice(folder, WALLETS, retention_days=RETENTION_DAYS)
        self.host = self.office.host
        self.host.largest_page = parsing.LARGEST_PAGE
        self.number = 0
        self.cut = 0  # seconds: what is older, cleanup may have deleted

    def trade(self) -> None:
        """Rows appear: new ones, equal ones, many in one second, late ones, some without a market."""
        dice, host = self.dice, self.host
        wallet = dice.choice(WALLETS)
        kind = dice.choice(["one", "burst", "spread", "twin", "late", "very late", "income", "split"])
        second = host.now - dice.choice([0, 1, 20, 200])
        if kind == "late":
            second = host.now - dice.randint(0, 20 * HOUR)
        elif kind == "very late":
            second = host.now - dice.randint(DAY, 4 * DAY)
        fields: dict[str, Any] = {"side": dice.choice(["BUY", "SELL"]), "size": dice.choice([1.5, 10.0, 0.000008])}
        if kind == "income":
            fields = {"type": "REWARD", "condition_id": "", "token_id": "", "side": ""}
        elif kind == "split" or (kind == "late" and dice.random() < 0.5):
            fields = {"type": dice.choice(["SPLIT", "MERGE", "REDEEM", "CONVERSION"]), "token_id": "", "side": ""}
        rows = host.rows.setdefault(wallet, [])
        if kind == "twin" and rows:
            raw = dice.choice(rows).raw
            if host.now - raw["timestamp"] < 20 * HOUR:
                host.add(wallet, dict(raw), place=dice.randrange(10**6))
            return
        for _ in range(dice.randint(2, 30) if kind in ("burst", "spread") else 1):
            self.number += dice.choice([1, 1, 0])
            at = second - dice.choice([0, 1, 50]) if kind == "spread" else second
            self.number += at != second
            fields["outcome_index"], fields["outcome"] = dice.choice([(0, "Lakers"), (1, "Celtics"), (999, "")])
            row = activity_row(self.number * 10 + int(second % 7), at, **fields)
            if any(r.raw["transaction_hash"] == row["transaction_hash"] and r.raw["timestamp"] != at for r in rows):
                continue
            host.add(wallet, row, place=dice.randrange(10**6))
            FIGURES["rows"] += 1
            FIGURES["late rows"] += at < host.now - 600

    def change(self) -> None:
        """A row vanishes, a transaction is mined again, or a row is labelled."""
        dice = self.dice
        wallet = dice.choice(WALLETS)
        rows = self.host.rows.get(wallet, [])
        young = [row for row in rows if self.host.now - row.raw["timestamp"] < HOUR]
        if not young:
            return
        row = dice.choice(young)
        what = dice.choice(["vanish", "mined again", "label"])
        FIGURES[what] += 1
        if what == "vanish":
            rows.remove(row)
        elif what == "mined again":
            step = dice.choice([-5, -1, 1, 5])
            for each in rows:
                if each.raw["transaction_hash"] == row.raw["transaction_hash"]:
                    each.raw["timestamp"] += step
                    each.order = (each.raw["timestamp"], each.order[1])
            self.host.changed(wallet)
        else:
            row.raw |= {"outcome_index": 0, "outcome": "Lakers"}

    def lag(self) -> None:
        """The index falls behind, or catches up."""
        self.host.lag = 0.0 if self.host.lag else 500.0
        if not self.host.lag:
            for wallet, rows in self.host.rows.items():
                for row in rows:
                    row.hidden = False
                self.host.changed(wallet)
        FIGURES["lags"] += 1

    def run(self) -> None:
        """A run during which rows appear, requests fail, the process dies or the time ends."""
        dice, host = self.dice, self.host
        trouble = dice.choice(["", "", "faults", "crash in a request", "crash at a commit", "disk"])
        die_at, begun, busy = dice.randint(1, 12), len(host.asked), dice.choice([0, 0.1, 0.4])
        left = [die_at]

        def before(number: int) -> None:
            if dice.random() < busy:
                self.trade()
                FIGURES["changes during runs"] += 1
            if dice.random() < busy / 4:
                self.change()
            if dice.random() < 0.05:
                host.secret += 1  # every cursor is void
            host.now += dice.choice([0, 0, 1])
            if trouble == "faults" and dice.random() < 0.2:
                FIGURES["faults"] += 1
                raise Unreachable("no connection")
            if trouble == "crash in a request" and number - begun == die_at:
                FIGURES["crashes"] += 1
                raise Crash

        def execute(db: Database, sql: str, params: Any = ()) -> int:
            left[0] -= sql == "COMMIT"
            if sql == "COMMIT" and left[0] == 0:
                FIGURES["crashes"] += 1
                if trouble == "disk":
                    raise StoreError("no room left")
                if die_at % 2:
                    Database.execute(db, sql, params)  # it dies just after the commit
                raise Crash
            return Database.execute(db, sql, params)

        def prepare(run: Any) -> None:
            if trouble in ("crash at a commit", "disk"):
                run.db.execute = lambda sql, params=(): execute(run.db, sql, params)

        host.before, self.office.prepare = before, prepare
        FIGURES["runs"] += 1
        with suppress(Crash, ExchangeError, JobFailed, StoreError):
            self.office.sync(dice.choice([1, 3, 8, 30, 500]), order=dice)
        host.before, self.office.prepare = lambda number: None, lambda run: None
        self.check_nothing_invented()

    def cleanup(self) -> None:
        """What is too old is deleted."""
        with suppress(JobFailed):
            self.office.cleanup()
            self.cut = max(self.cut, self.host.now + HOUR - RETENTION_DAYS * DAY)

    def check_nothing_invented(self) -> None:
        """Nothing is stored more often than it was ever listed at one moment; it may since have moved."""
        for wallet in WALLETS:
            stored = without_time(self.office.stored(wallet))
            double = stored - most_without_time(self.host.most.get(wallet, Counter()))
            FIGURES["double"] += double.total()
            assert not double

    def settle(self) -> None:
        """Undisturbed, the file comes to hold just what the exchange lists."""
        if self.host.lag:
            self.lag()
        for hours in (0, 1, 1, 2, 12, 12, 12, 12, 1, 1, 1):
            self.host.now += hours * HOUR + 61
            for _ in range(2):
                self.office.sync()
                FIGURES["runs"] += 1
                self.host.now += 601
        for wallet in WALLETS:
            since = max(self.cut, self.host.now - RETENTION_DAYS * DAY)
            listed, stored = self.host.kept(wallet, since), self.office.stored(wallet, since)
            FIGURES["compared"] += listed.total()
            FIGURES["lost"] += (listed - stored).total()
            FIGURES["surplus"] += (stored - listed).total()
            assert listed == stored, (listed - stored, stored - listed, self.office.errors)
        verdicts = self.office.verify()
        assert [verdict.faults for verdict in verdicts] == [[], [], []]
        assert [verdict.faults for verdict in self.office.verify(deep=True)] == [[], [], []]
        self.office.sync()
        self.office.sync()
        assert self.office.requests == 1 + len(WALLETS)  # the status, and one for each wallet


def without_time(rows: Counter[Any]) -> Counter[Any]:
    """Counted by all but the time."""
    found: Counter[Any] = Counter()
    for row, count in rows.items():
        found[row[:-1]] += count
    return found


def most_without_time(rows: Counter[Any]) -> Counter[Any]:
    """The most of each in one second: a transaction that was mined again has been in several."""
    found: Counter[Any] = Counter()
    for row, count in rows.items():
        found[row[:-1]] = max(found[row[:-1]], count)
    return found


@pytest.mark.parametrize("seed", range(16))
def test_each_row_is_stored_once(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 lost, 0 double, through arrivals, kills, faults, lag, rows that vanish or move, and cleanups."""
    monkeypatch.setattr(parsing, "LARGEST_PAGE", 7)
    course = Course(tmp_path, seed)
    for _ in range(STEPS):
        step = course.dice.choice([course.trade] * 5 + [course.run] * 4 + [course.change, course.lag, course.cleanup])
        step()
        if course.dice.random() < 0.5:
            course.host.now += course.dice.choice([1, 30, 60, 60, 700, 2 * HOUR, 9 * HOUR])
    course.settle()
