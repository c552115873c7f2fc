"""Fixtures that several suites share."""

from __future__ import annotations

import pytest
from support.clock import StillClock

from whalesync.sandbox import Books


@pytest.fixture
def clock() -> StillClock:
    """A clock that stands still."""
    return StillClock()


@pytest.fixture
def books(clock: StillClock) -> Books:
    """Empty books of an exchange whose clock stands still."""
    return Books(clock)


def pytest_configure(config: pytest.Config) -> None:
    """Register what the real tests are marked with."""
    config.addinivalue_line("markers", "alone: measures rates, so no other test may run meanwhile")
    config.addinivalue_line("markers", "early: waits most of the time, beside whatever runs, so it begins first")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that wait, so that all others run meanwhile; then the real ones, which take longest."""
    items.sort(key=lambda item: (item.get_closest_marker("early") is None, "fast" in item.path.parts))
