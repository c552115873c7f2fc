"""The exact sync in larger small worlds: some millions of courses, an hour or two.

Each scope prints how many courses it tried (``-s``).
"""

from __future__ import annotations

import time

import pytest
from support.small_world import KINDS, Scope, courses, lists

pytestmark = pytest.mark.slow

SCOPES = {
    "two arrivals, a cut": (Scope(arrivals=2, cuts=1), 5),
    "two arrivals, two cuts, pages of four": (Scope(arrivals=2, cuts=2, largest_page=4), 5),
    "three arrivals, a few requests a run": (Scope(arrivals=3, cuts=0, budgets=(1, 2, 3), runs=3), 4),
    "moving cutoffs, two cleanups": (Scope(arrivals=1, cuts=0, cutoffs=(0, 3, 1), cleanups=2), 4),
    "two removals, an arrival, a cut": (Scope(arrivals=1, cuts=1, removals=2), 4),
    "a correction, a removal, a repair, an arrival": (
        Scope(arrivals=1, cuts=0, corrections=1, removals=1, repairs=1),
        3,
    ),
    "two repairs, an arrival, a cut": (Scope(arrivals=1, cuts=1, repairs=2), 3),
}


@pytest.mark.parametrize("name", SCOPES)
def test_every_course_of_a_larger_world(name: str) -> None:
    """Whatever happens before whichever request, nothing is lost, invented or repeated, and the sync comes to rest."""
    scope, longest = SCOPES[name]
    begun, tried = time.monotonic(), 0
    for initial in lists(longest, KINDS):
        tried += courses(initial, scope)
    print(f"\n{name}: {tried:,} courses in {time.monotonic() - begun:.0f} s")
    assert tried > 1_000
