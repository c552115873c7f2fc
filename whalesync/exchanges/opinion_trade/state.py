"""The state of one wallet's list of trades, which is stored as JSON. Pure; see ``exact``."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from whalesync.exchanges.opinion_trade.pages import AFTER_ALL, Slice


class Phase(StrEnum):
    """How a wallet stands."""

    LOADING = "loading"  # what is listed has never been stored whole, down to the retention cutoff
    CURRENT = "current"  # all of it is stored
    CATCHING_UP = "catching up"  # more has arrived since than has been stored
    DOUBTFUL = "doubtful"  # more may be stored than is listed: to be compared whole


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one wallet. Times in ms; an index counts entries from the head of the list.

    ``listed``: the length of the list. ``accounted``: how much of it is accounted for, None before it was ever
    complete, down to ``complete_to``. ``known_from``: everything since then is or was stored, 0 if nothing is older.
    ``pruned_to``: what is older has been deleted by cleanup. ``older``: how many listed entries are older than
    ``older_than``, so that they and the stored ones from there on make up the list; None until a complete list has been
    seen to that end. ``stored``: how many entries were stored when the search last went on. ``fallen_since``: since
    when the total has been below ``listed``.

    The search for what is missing: ``next_index`` is read next. ``descending``: the last page ended with new
    fills. ``complete_above`` and ``gap_above`` (a boundary of index ``gap_index``): where nothing was missing
    above, and where something was; it is between them. ``span``: how many entries from ``next_index`` on
    are to be read in several ways. ``unproductive``: pages in a row that brought nothing.

    The comparison: every second newer than ``compared_above`` has been compared, None if none is running;
    ``compare_at`` and ``compare_span`` are its ``next_index`` and ``span``. ``compared_at``: when the last one ended.
    ``rejected_since``: since when there have been records that cannot be read.
    """

    listed: int = 0
    accounted: int | None = None
    complete_to: int | None = None
    known_from: int | None = None
    pruned_to: int | None = None
    older: int | None = None
    older_than: int = 0
    stored: int = 0
    fallen_since: int | None = None
    next_index: int = 0
    descending: bool = False
    complete_above: int | None = None
    gap_above: int | None = None
    gap_index: int = 0
    span: int = 0
    unproductive: int = 0
    compared_above: int | None = None
    compare_at: int = 0
    compare_span: int = 0
    compared_at: int | None = None
    rejected_since: int | None = None

    @property
    def phase(self) -> Phase:
        """The state's name."""
        if self.accounted is None:
            return Phase.LOADING if self.compared_above is None else Phase.DOUBTFUL
        return Phase.CURRENT if self.accounted == self.listed else Phase.CATCHING_UP

    def without_search(self) -> State:
        """The state without a search."""
        return replace(
            self,
            next_index=0,
            descending=False,
            complete_above=None,
            gap_above=None,
            gap_index=0,
            span=0,
            unproductive=0,
        )

    def comparing(self) -> State:
        """A comparison begins at the head."""
        return replace(self, compared_above=AFTER_ALL, compare_at=0, compare_span=0)

    def with_older(self, part: Slice, cutoff: int) -> State:
        """A slice that reaches the cutoff shows how many entries are older."""
        return replace(self, older=part.total - part.boundaries[-1].index, older_than=cutoff)

    def doubted(self) -> State:
        """All is to be compared before anything is counted again."""
        return replace(self.without_search().comparing(), accounted=None, fallen_since=None)


UNREAD = State()
FIELDS = tuple(field.name for field in fields(State))


def parse_state(state: str) -> State:
    """The state that ``dump_state`` has written."""
    return State(**json.loads(state))


def dump_state(state: State) -> str:
    """The fields that differ from a new state's."""
    kept = {name: value for name in FIELDS if (value := getattr(state, name)) != getattr(UNREAD, name)}
    return json.dumps(kept)
