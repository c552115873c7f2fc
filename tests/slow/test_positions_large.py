"""Positions, in every longer course of a small world. A minute or two."""

from __future__ import annotations

import pytest
from support.position_world import courses, fault_when_all_is_known, fault_when_trades_are_missing

pytestmark = pytest.mark.slow

LENGTH = 7


def test_every_longer_course() -> None:
    """As the short ones: nothing is wrong, and nothing is made up."""
    for course in courses(LENGTH):
        assert fault_when_all_is_known(course) is None, course
        for unseen in (1, 2):
            assert fault_when_trades_are_missing(course, unseen) is None, course
