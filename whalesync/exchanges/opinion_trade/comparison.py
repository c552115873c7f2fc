"""The comparison of a wallet's whole list with the file: when one is due, and how it goes on. Pure; see ``exact``."""

from __future__ import annotations

from dataclasses import replace

from whalesync.exchanges.opinion_trade.pages import Slice
from whalesync.exchanges.opinion_trade.state import State
from whalesync.units import DAY, WEEK

COMPARE_EVERY_MS = WEEK


def compare_if_due(state: State, *, now: int, has_rejected: bool) -> State:
    """Begin a comparison now and then.

    While records cannot be read (``has_rejected``), soon, and then less and less often, up to once a day.
    """
    if state.compared_above is not None:
        return state
    rejected_since = (state.rejected_since or now) if has_rejected else None
    state = replace(state, rejected_since=rejected_since)
    every = COMPARE_EVERY_MS if rejected_since is None else min(abs(now - rejected_since), DAY)
    unknown = state.compared_at is None or state.older is None  # of a version that did not count the older ones
    is_due = unknown or abs(now - (state.compared_at or 0)) >= max(every, 1)
    return state.comparing() if is_due else state


def go_on_comparing(state: State, part: Slice, *, largest: int, span: int, now: int, cutoff: int) -> State:
    """A running comparison goes on below, if the slice joins what has been compared.

    Args:
        part: a sound slice, with which the file has been made equal.
        largest: the most entries that a page may have.
        span: how many entries the slice shows in several ways.
        now, cutoff: ms.
    """
    above, at = state.compared_above, state.compare_at
    if above is None:
        return state
    if not (part.first <= at < part.end or at >= part.total):
        return state  # not a page that was read for the comparison
    last = part.boundaries[-1] if part.boundaries else None
    if last is not None:
        if part.boundaries[0].index > 0 and part.boundaries[0].time < above:
            # The list has become shorter further up.
            return replace(state, compare_at=max(0, part.first - largest))
        if part.reaches_cutoff:
            return replace(state.with_older(part, cutoff), compared_above=None, compare_at=0, compared_at=now)
        if last.index - 1 > at or last.time < above:
            return replace(state, compared_above=min(above, last.time), compare_at=max(0, last.index - 1))
    # One second fills the page, or more: how much of the list to read in several ways.
    longer = min(max(2 * largest, 2 * span), max(1, state.listed - at))
    return replace(state, compare_span=longer)
