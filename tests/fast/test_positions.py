"""What listed positions and stored trades together say of a position, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from whalesync.positions import (
    EARLIER_TRADES,
    MOVED,
    NO_COST,
    NO_PROFIT,
    UNCERTAIN,
    UNLISTED_LASTS_MS,
    Evidence,
    Flow,
    Holding,
    Unknowns,
    judge,
)
from whalesync.records import Position

NOW = 1_790_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

BOUGHT = Flow(shares_in=100, cost_in=40, shares_out=0, cost_out=0, realized_profit=0, unknown=0, last_at=NOW - HOUR)
HALF_SOLD = Flow(100, 40, 50, 20, 15, 0, NOW - HOUR)
SOLD = Flow(100, 40, 100, 40, 30, 0, NOW - HOUR)
OPEN = Holding(shares=100, cost=40)


def listed(shares: float = 100, avg_price: float | None = 0.4) -> Position:
    return Position("7", "Rain?", "YES", "YES", "70", shares, avg_price)


def seen(**fields: Any) -> Evidence:
    values: dict[str, Any] = {
        "now": NOW, "listed": None, "listing_before": NOW - 15 * MINUTE, "before": None, "flow": None,
        "whole_flow": True, "ended_at": None, "markets_read_at": NOW + DAY,
    }  # fmt: skip
    return Evidence(**values | fields)


def test_what_is_listed_is_as_it_is_listed() -> None:
    """Whatever the trades say; what was sold of it has its profit."""
    assert judge(seen(listed=listed(), flow=BOUGHT)) == Holding(100, 40, None)
    assert judge(seen(listed=listed(50), flow=HALF_SOLD)) == Holding(50, 20, 15)
    assert judge(seen(listed=listed(60), flow=HALF_SOLD)) == Holding(60, 24, 15)
    assert judge(seen(listed=listed(), before=Holding(100, 40, 9, unlisted_since=1))) == Holding(100, 40, 9)


def test_a_sale_that_the_exchange_takes_back_has_no_profit() -> None:
    """Where trades are missing, it may be one of those."""
    sold = Holding(50, 20, 15)
    assert judge(seen(listed=listed(), before=sold, flow=BOUGHT)) == Holding(100, 40)
    assert judge(seen(listed=listed(), before=sold, flow=BOUGHT, whole_flow=False)) == Holding(100, 40, 15)


def test_a_cost_that_is_not_listed_is_that_of_the_trades_if_they_agree() -> None:
    """Otherwise it is not known, and never 0."""
    assert judge(seen(listed=listed(50, None), flow=HALF_SOLD)) == Holding(50, 20, 15)
    unknown = [HALF_SOLD, None]
    assert [judge(seen(listed=listed(70, None), flow=flow, whole_flow=True)) for flow in unknown] == [
        Holding(70, None, 15, gap=NO_COST),
        Holding(70, None, gap=NO_COST),
    ]
    assert judge(seen(listed=listed(50, None), flow=HALF_SOLD, whole_flow=False)) == Holding(50, None, 15, gap=NO_COST)


def test_more_sold_than_was_bought_is_a_gap() -> None:
    """Shares came in without a trade. Where trades are missing, that is no surprise."""
    moved = Flow(100, 40, 150, 60, 30, 0, NOW - HOUR)
    assert judge(seen(listed=listed(), flow=moved)) == Holding(100, 40, 30, gap=MOVED)
    assert judge(seen(listed=listed(), flow=moved, whole_flow=False)) == Holding(100, 40, 30)


def test_a_sale_without_a_profit_is_a_gap() -> None:
    """What is realized is not known then."""
    unknown = Flow(100, 40, 50, 35, 0, 1, NOW - HOUR)
    assert judge(seen(listed=listed(50), flow=unknown)) == Holding(50, 20, 0, gap=NO_PROFIT)


def test_sold_and_no_longer_listed_is_closed_at_once() -> None:
    """Two sources say so; also of a position that was never listed while it was open."""
    expected = Holding(0, 0, 30, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW, closed_at=NOW - HOUR)
    assert judge(seen(before=OPEN, flow=SOLD)) == expected
    assert judge(seen(flow=SOLD)) == Holding(0, 0, 30, unlisted_since=NOW, closed_at=NOW - HOUR)


def test_not_listed_but_not_sold_is_closed_when_it_lasts() -> None:
    """One reading may miss a row that changes pages. What the trades cannot explain is a gap."""
    first = judge(seen(before=OPEN, flow=BOUGHT))
    assert first == Holding(100, 40, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW)
    later = NOW + UNLISTED_LASTS_MS
    assert judge(seen(now=later - 1, before=first, flow=BOUGHT)) == first
    closed = judge(seen(now=later, before=first, flow=BOUGHT))
    assert closed == Holding(0, 0, gap=MOVED, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW, closed_at=later)
    assert judge(seen(now=later, before=first, flow=BOUGHT, whole_flow=False)) == Holding(
        0, 0, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW, closed_at=later
    )
    assert judge(seen(now=later + HOUR, before=closed, listed=listed())) == OPEN


def test_a_list_may_lag_behind_the_trades() -> None:
    """What was bought a moment ago is not missing from a list that was read before."""
    fresh = Flow(100, 40, 0, 0, 0, 0, NOW - MINUTE)
    assert judge(seen(flow=fresh)) is None
    waiting = judge(seen(before=OPEN, flow=fresh))
    assert waiting == Holding(100, 40, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW)


@pytest.mark.parametrize("flow", [None, BOUGHT])
def test_what_was_held_to_the_end_keeps_its_shares(flow: Flow | None) -> None:
    """A claimed position is not listed any more; it was held with the shares that were last listed."""
    held = judge(seen(before=OPEN, flow=flow, ended_at=NOW - MINUTE))
    assert held == Holding(100, 40, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW)
    assert judge(seen(now=NOW + 90 * HOUR, before=held, flow=flow, ended_at=NOW - MINUTE)) == held


def test_a_row_that_stays_listed_with_no_shares_was_held_or_sold_all_the_same() -> None:
    """The exchange may keep the rows of claimed positions."""
    held = judge(seen(listed=listed(0), before=OPEN, flow=BOUGHT, ended_at=NOW - MINUTE))
    assert held == Holding(100, 40, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW)
    sold = judge(seen(listed=listed(0), before=OPEN, flow=SOLD))
    assert sold is not None and sold.closed_at == NOW - HOUR


def test_sold_before_the_end_is_closed() -> None:
    """The trades tell it from held to the end."""
    closed = judge(seen(before=OPEN, flow=SOLD, ended_at=NOW - MINUTE))
    assert closed == Holding(0, 0, 30, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW, closed_at=NOW - HOUR)


def test_trades_after_the_last_listing_count_for_the_end() -> None:
    """Half of it was sold between the last look and the end; where trades are missing, that is uncertain."""
    late = Flow(100, 40, 50, 20, 15, 0, NOW - 5 * MINUTE)
    half = judge(seen(before=OPEN, flow=late, ended_at=NOW - MINUTE))
    assert half == Holding(50, 20, 15, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW)
    unsure = judge(seen(before=OPEN, flow=late, whole_flow=False, ended_at=NOW - MINUTE))
    assert unsure is not None and (unsure.shares, unsure.gap) == (100, UNCERTAIN)


def test_trades_just_before_the_last_listing_count_for_the_end() -> None:
    """That list may not have shown them yet."""
    late = Flow(100, 40, 50, 20, 15, 0, NOW - 16 * MINUTE)
    half = judge(seen(before=OPEN, flow=late, ended_at=NOW - MINUTE))
    assert half == Holding(50, 20, 15, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW)
    unsure = judge(seen(before=OPEN, flow=late, whole_flow=False, ended_at=NOW - MINUTE))
    assert unsure is not None and (unsure.shares, unsure.gap) == (100, UNCERTAIN)


def test_a_small_rest_that_was_listed_was_held_to_the_end() -> None:
    """However little it is of what was bought."""
    nearly_sold = Flow(100_000, 40_000, 99_950, 39_980, 9_995, 0, NOW - HOUR)
    held = judge(seen(before=Holding(50, 20, 9_995), flow=nearly_sold, ended_at=NOW - MINUTE))
    assert held == Holding(50, 20, 9_995, listed_at=NOW - 15 * MINUTE, unlisted_since=NOW)


def test_a_position_that_was_never_listed_is_what_its_trades_leave() -> None:
    """Bought, held to the end and claimed before the wallet was watched; without its first trades nothing is known."""
    assert judge(seen(flow=HALF_SOLD, ended_at=NOW - HOUR)) == Holding(50, 20, 15, unlisted_since=NOW)
    unknown = judge(seen(flow=HALF_SOLD, whole_flow=False, ended_at=NOW - HOUR))
    assert unknown == Holding(None, None, 15, gap=EARLIER_TRADES, unlisted_since=NOW)
    assert judge(seen(ended_at=NOW - HOUR)) is None


def test_more_sold_than_bought_at_the_end_is_not_known() -> None:
    """Shares came in without a trade, and how many is anybody's guess."""
    moved = Flow(100, 40, 150, 60, 30, 0, NOW - HOUR)
    assert judge(seen(flow=moved, ended_at=NOW)) == Holding(None, None, 30, gap=MOVED, unlisted_since=NOW)


def test_closed_by_mistake_before_the_end_was_known_is_set_right() -> None:
    """It was claimed before the market's end was seen here. What had been moved away before the end stays closed."""
    closed = Holding(
        0, 0, gap=MOVED, listed_at=NOW - HOUR, unlisted_since=NOW - 30 * MINUTE, closed_at=NOW - 15 * MINUTE
    )
    held = judge(seen(before=closed, flow=BOUGHT, ended_at=NOW - 20 * MINUTE))
    assert held is not None and (held.shares, held.cost, held.gap, held.closed_at) == (100, 40, None, None)
    assert judge(seen(before=closed, flow=BOUGHT, ended_at=NOW - 10 * MINUTE)) == closed


def test_a_sale_that_is_stored_late_explains_what_was_closed_before_the_end() -> None:
    """The list was read before the trades, and the market has ended since."""
    closed = Holding(
        0, 0, gap=MOVED, listed_at=NOW - HOUR, unlisted_since=NOW - 30 * MINUTE, closed_at=NOW - 15 * MINUTE
    )
    explained = judge(seen(before=closed, flow=SOLD, ended_at=NOW - 10 * MINUTE))
    assert explained is not None and (explained.gap, explained.realized_profit) == (None, 30)


def test_each_unknown_is_named() -> None:
    """Nothing is named of a whale of which all is known."""
    assert Unknowns(True, 0, NOW).reasons() == []
    assert Unknowns(False, None, None, 2, 1, {NO_COST: 3}).reasons() == [
        "its positions have not been read yet",
        "not all of its trades are stored yet",
        "2 positions in a market that ended without a result",
        "1 open position without a price",
        f"3 positions: {NO_COST}",
    ]
    assert Unknowns(True, NOW, NOW).reasons() == ["its trades before 2026-09-21 are not stored"]
