"""The machine of ``tests/support/model.py`` for minutes instead of seconds; WHALESYNC_SOAK sets for how many lives."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from support.model import ExactSync

LIVES = int(os.environ.get("WHALESYNC_SOAK", "600"))


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_double_in_a_long_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Every undisturbed run finds all that the exchange has, and no trade is ever stored twice."""
    ExactSync.figures.clear()
    run_state_machine_as_test(
        ExactSync,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures = ExactSync.figures
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {count}" for name, count in sorted(figures.items())))
    assert figures["lives"] >= LIVES
    assert figures["quiet runs"] and figures["crashes"] and figures["lying runs"]
    assert figures["double"] == 0
