"""A day of ``sync-markets`` on an exchange of today's size."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.market_day import MarketDay, hour_passes
from support.market_host import reached

RUNS_A_DAY = 288
A_RUN = 15 * 300  # requests of a key in five minutes
ALLOWED = A_RUN * RUNS_A_DAY


@pytest.mark.slow
def test_every_market_is_held_for_a_tenth_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All rows agree with the exchange's own books after a day, and every change is stored within two runs."""
    day = MarketDay(tmp_path / "day.db", open_topics=260, ended_topics=6_700, series=40, past=20, unlisted=10)
    counts: list[int] = []
    with reached(day, monkeypatch):
        counts += day.runs(80)
        assert day.differences() == {}
        while len(counts) < RUNS_A_DAY - 12:
            hour_passes(day)
            counts += day.runs(2)
            assert day.differences() == {}
            counts += day.runs(9)
        counts += day.runs(RUNS_A_DAY - len(counts))
    with capsys.disabled():
        steady = counts[100:]
        print(
            f"\n{sum(counts)} requests in the first day, {sum(counts) / ALLOWED:.1%} of the key's; later"
            f" {sum(steady) / len(steady):.0f} a run, {sum(steady) / len(steady) / A_RUN:.1%}; most {max(counts)};"
            f" {dict(day.requests)}"
        )
    assert sum(counts) < ALLOWED / 10
    assert sum(steady) / len(steady) < A_RUN * 0.055
