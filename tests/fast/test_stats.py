"""Statistics: equal to plain arithmetic whatever has happened to the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.history import NOW, History

from whalesync.jobs import cleanup
from whalesync.jobs.table import DAY, HOUR
from whalesync.settings import RETENTION_DAYS
from whalesync.store import stats


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.db.close()


amounts = st.one_of(
    st.integers(0, 10**9).map(lambda n: n / 10**5),
    st.sampled_from([0.1 + 0.2, 1e-12, 1 / 3, 123456.78901234567, 999999.99999999, 37086630.111525]),
    st.floats(0, 1e8, allow_nan=False),
)
profits = st.none() | st.integers(-(10**12), 10**12).map(lambda n: n / 1e5)
rows = st.integers(0, 100)
operations = st.one_of(
    st.tuples(
        st.just("trade"),
        st.integers(1, 2),
        st.sampled_from(["BUY", "SELL", "MERGE"]),
        amounts,
        profits,
        st.integers(0, 45 * 24).map(lambda hours: hours * HOUR),
    ),
    st.tuples(st.just("delete"), rows),
    st.tuples(st.just("sync again"), rows),
    st.tuples(st.just("supersede"), rows, st.sampled_from([None, NOW])),
    st.tuples(st.just("fetch again"), rows),
    st.tuples(st.just("clock"), st.integers(-20 * 24, 40 * 24).map(lambda hours: hours * HOUR)),
    st.tuples(st.just("track"), st.integers(0, 1)),
    st.tuples(st.just("cleanup")),
    st.tuples(st.just("stats")),
)


class Play:
    """Does to a file whatever can happen to it, and compares after each run of a job."""

    def __init__(self, folder: Path, retention_days: int) -> None:
        self.history = History(folder, retention_days=retention_days)
        self.deleted: list[Any] = []

    def step(self, name: str, *values: Any) -> None:
        history, stored = self.history, self.history.stored()
        if name == "trade":
            whale, action, amount, profit, ago = values
            history.trade(whale, action=action, amount=amount, profit=profit, at=history.now - ago)
        elif name == "delete" and stored:
            self.deleted.append(history.delete(stored[values[0] % len(stored)]))
        elif name == "sync again" and self.deleted:
            self.store(self.deleted.pop(values[0] % len(self.deleted)))
        elif name == "supersede" and stored:
            history.supersede(stored[values[0] % len(stored)], values[1])
        elif name == "fetch again":
            self.fetch_again(values[0])
        elif name == "clock":
            history.now += values[0]
            history.hear_exchange(history.now)
        elif name == "track":
            history.sql("UPDATE whales SET tracked = ?", values[0])
        elif name == "cleanup":
            cut = history.now - history.settings.get(RETENTION_DAYS) * DAY
            history.cleanup()
            assert history.stored() == [row_id for row_id in stored if history.rows[row_id].at >= cut]
        elif name == "stats":
            history.compute_stats()
            for whale in (1, 2):
                expected = pytest.approx(history.expected(whale), abs=0.001)  # a tenth of a cent
                assert history.figures(whale) == expected

    def store(self, row: Any) -> None:
        self.history.trade(row.whale, action=row.action, amount=row.amount, profit=row.profit, at=row.at)

    def fetch_again(self, number: int) -> None:
        """A raised retention: all of one pruned day of one whale is stored once more."""
        pruned = {(row.whale, row.at // DAY) for row in self.history.rows.values() if row.pruned}
        if not pruned:
            return
        whale, day = sorted(pruned)[number % len(pruned)]
        with self.history.db.write():
            stats.drop_removed_days(self.history.db, whale, [day * DAY])
        for row_id, row in list(self.history.rows.items()):
            if row.pruned and (row.whale, row.at // DAY) == (whale, day):
                del self.history.rows[row_id]
                if not row.superseded:
                    self.store(row)


@settings(max_examples=60, deadline=None)
@given(plan=st.lists(operations, max_size=30), retention_days=st.sampled_from([3, 20, 90]))
def test_figures_equal_plain_arithmetic_whatever_happens(plan: list[Any], retention_days: int) -> None:
    """Late fills, deletions, cleanups, days fetched again, clock steps: all figures are those of the trades."""
    with TemporaryDirectory() as folder, patch.object(cleanup, "BATCH_ROWS", 3):
        play = Play(Path(folder), retention_days)
        for step in [*plan, ("stats",)]:
            play.step(*step)
        play.history.db.close()


def test_totals_do_not_fall_through_cleanup(history: History) -> None:
    """Cleanup removes rows, counted before or not; the figures are the same to the last digit."""
    history.trade(amount=100.1, profit=5.2, at=NOW - 100 * DAY, action="SELL")
    history.trade(amount=0.2, at=NOW - 100 * DAY)
    history.trade(amount=7.3)
    history.compute_stats()
    before = history.figures()
    history.cleanup()
    assert len(history.stored()) == 1
    history.compute_stats()
    assert history.figures() == before == (107.6, 3, NOW, 7.3, 7.3, 7.3, 2, 1, 5.2)


def test_windows_end_at_the_clock_wherever_it_goes(history: History) -> None:
    """A trade leaves each window to the millisecond, and is back in it when the clock is set back."""
    history.trade(amount=3.0)
    windows = []
    for now in (NOW + DAY, NOW + DAY + 1, NOW + 7 * DAY + 1, NOW + 30 * DAY + 1, NOW):
        history.now = now
        history.compute_stats()
        windows.append(history.figures()[3:6])
    assert windows == [(3.0, 3.0, 3.0), (0.0, 3.0, 3.0), (0.0, 0.0, 3.0), (0.0, 0.0, 0.0), (3.0, 3.0, 3.0)]


def test_only_whales_whose_figures_changed_are_touched(history: History) -> None:
    """So that ``updated_at`` and ``revision`` tell a reader what changed; removed wallets are computed like others."""
    history.trade(2)
    history.sql("UPDATE whales SET tracked = 0")
    run = history.compute_stats()
    assert (run.items, run.summary) == (2, "2 whales, 1 changed")
    touched = "SELECT id, updated_at, revision > 0 FROM whales"
    assert history.table(touched) == [(1, 1, 0), (2, NOW, 1)]
    history.now += 1
    revision = history.db.fact("revision")
    assert history.compute_stats().summary == "2 whales, 0 changed"
    assert history.table(touched) == [(1, 1, 0), (2, NOW, 1)]
    assert history.db.fact("revision") == revision


def test_sums_whose_days_are_not_known_count(history: History) -> None:
    """Schema 1 kept one sum for each whale."""
    history.sql("INSERT INTO removed_sums VALUES (1, NULL, 100.0, 5.0, 3, 2, ?)", NOW - 99 * DAY)
    history.compute_stats()
    assert history.figures() == (100.0, 5, NOW - 99 * DAY, 0.0, 0.0, 0.0, 3, 2, 5.0)


def test_ten_thousand_tenths_are_a_thousand(history: History) -> None:
    """Adding up binary fractions leaves a rest, which does not show."""
    with history.db.write():
        for _ in range(10_000):
            history.trade(amount=0.1)
    history.compute_stats()
    assert sum([0.1] * 10_000) != 1000.0
    assert history.figures()[0] == 1000.0
