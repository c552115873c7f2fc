"""Positions, in every course of a small world."""

from __future__ import annotations

import pytest
from support.position_world import courses, fault_when_all_is_known, fault_when_trades_are_missing, played

LENGTH = 5


def test_with_all_trades_known_everything_is_right() -> None:
    """Shares, cost and profit; closed is just what was sold; whatever was looked at, and when."""
    faults = {course: fault for course in courses(LENGTH) if (fault := fault_when_all_is_known(course))}
    assert faults == {}


@pytest.mark.parametrize("unseen", [1, 2])
def test_with_trades_missing_nothing_is_made_up(unseen: int) -> None:
    """Shares and cost of what is not closed are right, or said not to be certain. Some are certain."""
    faults = {course: fault for course in courses(LENGTH) if (fault := fault_when_trades_are_missing(course, unseen))}
    assert faults == {}
    held = played(("buy", "look", "look", "end", "claim"), unseen=1).known
    assert held is not None and held.gap is None and held.shares == 8
