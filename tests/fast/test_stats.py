"""Statistics: equal to plain arithmetic whatever has happened to the rows, at the cost of what is new."""

from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whalesync.errors import JobFailed
from whalesync.jobs import turns
from whalesync.jobs.perform import perform
from whalesync.jobs.run import Clock, Run
from whalesync.jobs.stats import compute_stats
from whalesync.settings import Settings
from whalesync.store.database import Database, open_database

DAY, HOUR = 86_400_000, 3_600_000
NOW = 1_772_323_200_000  # 2026-03-01T00:00:00Z


class Place:
    """A file, a clock that can be set, and the plain arithmetic: every trade that was ever synced."""

    def __init__(self, folder: Path, *, whales: int = 2, retention: int = 90) -> None:
        self.path = folder / "whalesync.db"
        self.settings = Settings(db=self.path, retention_days=retention)
        self.now = NOW
        self.db = open_database(self.path)
        self.ever: dict[int, tuple[int, str, float, float | None, int]] = {}
        self.keys: dict[int, int] = {}
        for number in range(1, whales + 1):
            self.sql(
                "INSERT INTO whales (address, created_at, updated_at) VALUES (?, 1, 1)", f"0x{number:040x}"
            )
        self.sql(
            "INSERT INTO markets (external_id, title, created_at, updated_at) VALUES ('1', 'Rain?', 1, 1)"
        )
        self.synced()

    def sql(self, text: str, *params: Any) -> int:
        return self.db.insert(text, params)

    def synced(self) -> None:
        self.sql(
            "INSERT INTO sync_logs (type, status, started_at) VALUES ('whales', 'completed', ?)", self.now
        )

    def trade(
        self,
        whale: int = 1,
        action: str = "BUY",
        amount: float = 10.0,
        profit: float | None = None,
        at: int | None = None,
        key: int | None = None,
    ) -> int:
        at = self.now if at is None else at
        key = len(self.keys) + 1 if key is None else key
        copy = self.db.value(
            "SELECT coalesce(max(copy), 0) + 1 FROM whale_activity WHERE fill_key = ?", (key,)
        )
        number = self.sql(
            "INSERT INTO whale_activity (whale_id, market_id, tx_hash, action, amount, profit, timestamp,"
            " visible_to_pro_plus_at, visible_to_pro_at, visible_to_free_at, fill_key, copy)"
            " VALUES (?, 1, '0x', ?, ?, ?, ?, 1, 1, 1, ?, ?)",
            *(whale, action, amount, profit, at, key, copy),
        )
        self.ever[number], self.keys[number] = (whale, action, amount, profit, at), key
        return number

    def run(self, command: str = "compute-stats", *, full: bool = False) -> Run:
        return perform(command, self.settings, full=full, clock=Clock(now=lambda: self.now))

    def stored(self) -> set[int]:
        return {row[0] for row in self.db.rows("SELECT id FROM whale_activity")}

    def expected(self, whale: int) -> tuple[Any, ...]:
        """The figures by plain arithmetic over the trades, whole precision."""
        with localcontext(prec=60):
            mine = {i: each for i, each in self.ever.items() if each[0] == whale}
            money = {i: each for i, each in mine.items() if each[1] in ("BUY", "SELL")}
            stored = self.stored()
            windows = [
                sum(
                    (
                        Decimal(repr(each[2]))
                        for i, each in money.items()
                        if i in stored and each[4] >= self.now - width * DAY
                    ),
                    Decimal(0),
                )
                for width in (1, 7, 30)
            ]
            return (
                float(sum((Decimal(repr(each[2])) for each in money.values()), Decimal(0))),
                len(money),
                max((each[4] for each in mine.values()), default=None),
                *map(float, windows),
                sum(each[1] == "BUY" for each in mine.values()),
                sum(each[1] == "SELL" for each in mine.values()),
                float(sum((Decimal(repr(each[3] or 0)) for each in money.values()), Decimal(0))),
            )

    def figures(self, whale: int = 1) -> tuple[Any, ...]:
        return tuple(
            self.db.one(
                "SELECT total_volume, trade_count, last_active_at, volume_24h, volume_7d, volume_30d, buy_count,"
                " sell_count, realized_profit FROM whales WHERE id = ?",
                (whale,),
            )
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.db.close()


amounts = st.one_of(
    st.integers(0, 10**9).map(lambda n: n / 10**5),
    st.sampled_from(
        [0.1 + 0.2, 1e-12, 1 / 3, 123456.78901234567, 999999.99999999, 1e6, 1e14, 37086630.111525]
    ),
    st.floats(0, 1e9, allow_nan=False),
)
profits = (
    st.none() | st.floats(-1e7, 1e7, allow_nan=False) | st.integers(-(10**7), 10**7).map(lambda n: n / 1e5)
)
operations = st.one_of(
    st.tuples(
        st.just("trade"),
        st.integers(1, 2),
        st.sampled_from(["BUY", "SELL", "MERGE"]),
        amounts,
        profits,
        st.integers(0, 45 * 24).map(lambda hours: hours * HOUR),
    ),
    st.tuples(st.just("delete"), st.integers(0, 100)),
    st.tuples(st.just("sync again"), st.integers(0, 100)),
    st.tuples(st.just("clock"), st.integers(-20 * 24, 40 * 24).map(lambda hours: hours * HOUR)),
    st.tuples(st.just("stats")),
    st.tuples(st.just("cleanup")),
    st.tuples(st.just("tracked"), st.integers(0, 1)),
)


@settings(max_examples=60, deadline=None)
@given(plan=st.lists(operations, max_size=30), retention=st.sampled_from([3, 20, 90]))
def test_figures_equal_plain_arithmetic_whatever_happens(plan: list[Any], retention: int) -> None:
    """Late fills, deletions, trades synced again, cleanups, clock steps: the figures are those of the trades."""
    small = {"FIRST": 3, "FEWEST": 3, "MOST": 3}
    with TemporaryDirectory() as folder, patch.multiple(turns, **small):
        place = Place(Path(folder), retention=retention)
        for name, *values in [*plan, ("stats",)]:
            play(place, name, values)
        checked = place.run(full=True)
        assert "all sums confirmed" in checked.summary, checked.errors()
        place.db.close()


def play(place: Place, name: str, values: list[Any]) -> None:
    if name == "trade":
        whale, action, amount, profit, ago = values
        place.trade(whale, action, amount, profit, place.now - ago)
    elif name == "delete" and place.stored():
        victims = sorted(place.stored())
        place.sql("DELETE FROM whale_activity WHERE id = ?", victims[values[0] % len(victims)])
    elif name == "sync again":
        # Only what cleanup has not removed comes back: that lies below the floor.
        gone = [i for i in place.ever if place.db.one("SELECT 1 FROM removed_activity WHERE id = ?", (i,))]
        if gone:
            old = gone[values[0] % len(gone)]
            whale, action, amount, profit, at = place.ever.pop(old)
            place.trade(whale, action, amount, profit, at, key=place.keys[old])
    elif name == "clock":
        place.now += values[0]
        place.synced()
    elif name == "tracked":
        place.sql("UPDATE whales SET tracked = ?", values[0])
    elif name == "cleanup":
        before = place.stored()
        cut = place.now - place.settings.retention_days * DAY
        try:
            place.run("cleanup")
        except JobFailed:
            assert place.stored() == before
        else:
            assert place.stored() == {i for i in before if place.ever[i][4] >= cut}
    elif name == "stats":
        place.run()
        for whale in (1, 2):
            assert place.figures(whale) == place.expected(whale)


def test_totals_do_not_fall_when_rows_are_pruned(place: Place) -> None:
    """Cleanup removes rows; total volume, counts, profit and last activity stay as they were."""
    place.trade(amount=100.0, profit=5.0, at=NOW - 100 * DAY, action="SELL")
    place.trade(amount=7.0)
    place.run()
    before = place.figures()
    place.run("cleanup")
    assert len(place.stored()) == 1
    place.run()
    assert place.figures() == before
    assert before[0] == 107.0


def test_trades_pruned_before_they_were_counted_are_in_the_totals(place: Place) -> None:
    """A cleanup that comes before the first compute-stats loses nothing."""
    place.trade(amount=100.0, at=NOW - 100 * DAY)
    place.trade(amount=7.0)
    place.run("cleanup")
    place.run()
    assert place.figures()[:2] == (107.0, 2)


def test_rows_deleted_by_hand_leave_the_windows_alone(place: Place) -> None:
    """They were synced, so they stay in the totals; they are not stored, so the windows lose them."""
    first = place.trade(amount=3.0)
    place.trade(amount=4.0)
    place.run()
    place.sql("DELETE FROM whale_activity WHERE id = ?", first)
    place.run()
    assert place.figures()[:6] == (7.0, 2, NOW, 4.0, 4.0, 4.0)


def test_a_trade_synced_again_is_not_counted_twice(place: Place) -> None:
    """Somebody deletes a whale's rows and its cursor, so that all is fetched anew."""
    first = place.trade(amount=3.0)
    place.run()
    place.sql("DELETE FROM whale_activity")
    place.run()
    place.trade(amount=3.0, key=place.keys[first])
    place.run()
    assert place.figures()[:4] == (3.0, 1, NOW, 3.0)
    assert place.db.value("SELECT count(*) FROM removed_activity") == 0


def test_rows_put_back_under_their_old_ids_are_found_by_full(place: Place) -> None:
    """A deletion that is undone from a copy."""
    place.trade(amount=3.0)
    place.run()
    place.sql("CREATE TEMP TABLE copy AS SELECT * FROM whale_activity")
    place.sql("DELETE FROM whale_activity")
    place.run()
    place.sql("INSERT INTO whale_activity SELECT * FROM copy")
    assert "confirmed" in place.run(full=True).summary
    assert place.figures() == place.expected(1)


def test_rows_of_a_whale_that_is_gone_are_passed_over(place: Place) -> None:
    """A whale deleted by hand, with foreign keys off, does not stop the figures of the others."""
    place.trade(2, amount=5.0)
    place.trade(1, amount=4.0, at=NOW - 100 * DAY)
    place.trade(1, amount=6.0)
    place.sql("PRAGMA foreign_keys = OFF")
    place.sql("DELETE FROM whales WHERE id = 1")
    place.run()
    place.run("cleanup")
    place.run(full=True)
    assert place.figures(2) == place.expected(2)


def test_a_new_whale_does_not_inherit_the_sums_of_one_that_is_gone(place: Place) -> None:
    """Its id is never given out again."""
    place.sql("PRAGMA foreign_keys = OFF")
    place.sql("DELETE FROM whales WHERE id = 2")
    assert place.sql("INSERT INTO whales (address, created_at, updated_at) VALUES ('0x9', 1, 1)") == 3


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE whale_tallies SET volume = '5'", "volume 5 instead of 10"),
        ("UPDATE whale_tallies SET window_7d = '1', buys = 9", "buys 9 instead of 1, windows 10 / 1 / 10"),
        ("UPDATE whales SET total_volume = 1 WHERE id = 1", "its figures were not those of its sums"),
        ("UPDATE whale_activity SET amount = 11", "volume 10 instead of 11"),
    ],
)
def test_full_repairs_what_is_wrong_and_says_so(place: Place, damage: str, words: str) -> None:
    """Sums, figures or rows that somebody has changed: the figures are made right, the log tells of it."""
    place.trade(amount=10.0)
    place.run()
    place.sql(damage)
    run = place.run(full=True)
    assert "1 whales repaired" in run.summary
    assert words in run.errors()[0]
    amount = place.db.value("SELECT amount FROM whale_activity")
    assert place.figures()[:6] == (amount, 1, NOW, amount, amount, amount)
    assert "confirmed" in place.run(full=True).summary


def test_a_million_amounts_below_a_cent_do_not_drift(place: Place) -> None:
    """A tenth, ten thousand times over, is a thousand; in binary fractions it is not."""
    with place.db.write():
        for _ in range(10_000):
            place.trade(amount=0.1)
    place.run()
    assert sum([0.1] * 10_000) != 1000.0
    assert place.figures()[0] == 1000.0


def test_a_run_reads_what_is_new_and_not_what_is_stored(tmp_path: Path) -> None:
    """Twenty new trades, one of them late, and one deletion cost SQLite as many steps with ten times the rows."""
    steps = []
    for count in (1_000, 10_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        place = Place(folder)
        with place.db.write():
            for number in range(count):
                place.trade(at=NOW - 80 * DAY * number // count)
        place.run()
        for number in range(19):
            place.trade(amount=1.0 + number)
        place.trade(at=NOW - 50 * DAY)
        place.sql("DELETE FROM whale_activity WHERE id = 500")
        steps.append(steps_of(place.db, place))
        assert place.figures() == place.expected(1)
        place.db.close()
    assert steps[1] < 1.1 * steps[0]


def steps_of(db: Database, place: Place) -> int:
    """How many hundreds of its virtual machine's instructions SQLite needs for a run."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    db.connection.set_progress_handler(tick, 100)
    compute_stats(Run(db, place.settings, "compute-stats", 0, place.now, print, print))
    db.connection.set_progress_handler(None, 100)
    assert ticks > 5
    return ticks
