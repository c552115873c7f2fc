"""The pure parts of exactness: the sum, the way down a moving list, and what is new on a page."""

from __future__ import annotations

from collections import deque

import pytest

from whalesync.errors import ContradictoryList
from whalesync.ledger import (
    LONGEST_RECHECK_MS,
    MAX_RETREATS,
    Held,
    Ledger,
    Walk,
    all_bad,
    check_length,
    fresh,
)
from whalesync.records import PAGE_SIZE, BadRecord, Page, Trade

NOW = 1_790_000_000_000


def fill(second: int, tx: str = "", *, fee: float | None = 0.0) -> Trade:
    return Trade(tx or f"0x{second}", "1", None, "M", "BUY", "YES", 1.0, 0.5, 2.0, fee, None, second * 1000)


def page(number: int, records: list[Trade | BadRecord], total: int | None = None) -> Page[Trade]:
    """Page ``number`` of a whole list, or with a ``total``: just these records."""
    if total is not None:
        return Page(number, total, records, listed=len(records))
    window = records[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return Page(number, len(records), window, listed=len(window))


def listed(*seconds: int) -> list[Trade | BadRecord]:
    return [fill(second, f"0x{i}") for i, second in enumerate(seconds)]


def falling(count: int, top: int = 1000) -> list[Trade | BadRecord]:
    return listed(*range(top, top - count, -1))


# The sum


def test_missing_is_what_no_part_of_the_sum_accounts_for() -> None:
    """total = held + rejected + pending + missing."""
    assert Ledger(held=5, rejected=2, pending=3).missing(14) == 4


def test_what_is_found_at_the_head_is_no_longer_missing() -> None:
    """Stored and rejected records move into their parts of the sum."""
    after = Ledger(held=5).found(2, 1, NOW)
    assert (after.held, after.rejected, after.missing(8)) == (7, 1, 0)


def test_what_is_dug_up_leaves_the_sum_as_it_was() -> None:
    """A dig turns pending into held and rejected."""
    after = Ledger(held=5, pending=10).dug(4, 1, NOW)
    assert (after.held, after.rejected, after.pending, after.accounted) == (9, 1, 5, 15)


def test_a_dig_may_find_more_than_was_pending() -> None:
    """A late fill met before the total was seen to grow makes the sum longer, and pending never negative."""
    after = Ledger(held=5, pending=1).dug(3, 0, NOW)
    assert (after.pending, after.accounted) == (0, 8)


def test_a_surplus_is_taken_from_the_pending_before_the_rejected() -> None:
    """Whatever is taken wrongly must be something that is looked for again: rejected records are."""
    after = Ledger(held=8, rejected=1, pending=1).without_surplus(9)
    assert (after.held, after.rejected, after.pending) == (8, 1, 0)
    after = after.found(1, 0, NOW).without_surplus(9)
    assert (after.held, after.rejected) == (9, 0)


def test_a_surplus_that_nothing_explains_remains() -> None:
    """It is the sign of a list that has shrunk."""
    assert Ledger(held=10).without_surplus(8).missing(8) == -2


def test_a_recount_is_ended_by_the_floor_alone() -> None:
    """Nothing that is found makes its pending 0, and the sum stands still meanwhile."""
    ledger = Ledger(held=10, rejected=2).recounting(9)
    assert ledger.missing(9) == 0
    ledger = ledger.dug(3, 1, NOW)
    assert ledger.pending < 0 and ledger.missing(9) == 0
    done = ledger.bottomed(7, NOW)
    assert (done.held, done.rejected, done.pending, done.floor) == (8, 1, 0, 7)


def test_polls_during_a_recount_leave_it_going() -> None:
    """What a poll finds beyond the total was lost before; the recount goes on."""
    ledger = Ledger(held=10).recounting(10).found(2, 0, NOW).without_surplus(10)
    assert ledger.pending == -3 and ledger.missing(10) == 0


def test_what_a_poll_does_not_find_is_pending_from_its_frontier_on() -> None:
    """The next dig goes on where the poll ended."""
    walk = Walk()
    walk.take(page(1, falling(50)))
    after = Ledger(held=20).postponed(50, walk)
    assert (after.pending, after.frontier, after.below) == (30, 981_000, 31)


def test_a_poll_does_not_throw_back_a_dig() -> None:
    """The dig goes on at its own frontier, and begins again at the head when it has arrived at the floor."""
    walk = Walk()
    walk.take(page(1, falling(60)))
    deep = Ledger(held=30, pending=29, frontier=960_000, below=20).postponed(60, walk)
    assert (deep.pending, deep.frontier, deep.again) == (30, 960_000, 1)
    above = deep.bottomed(0, NOW)
    assert (above.pending, above.frontier, above.again) == (30, None, 0)
    assert above.bottomed(0, NOW).pending == 0


def test_a_poll_that_got_deeper_than_the_dig_moves_it_on() -> None:
    """All above its frontier has just been compared."""
    walk = Walk()
    walk.take(page(1, falling(60)))
    assert Ledger(held=1, pending=5, frontier=990_000, below=50, again=1).postponed(60, walk) == Ledger(
        held=1, pending=59, frontier=981_000, below=41
    )


def test_settling_never_lowers_the_floor() -> None:
    """What cleanup has pruned stays pruned, whatever the clock says."""
    assert Ledger(floor=500).settled(10, 400, NOW).floor == 500
    assert Ledger(floor=500).settled(10, 600, NOW).floor == 600


def test_unreadable_records_are_looked_at_again_in_the_next_run_and_then_less_often() -> None:
    """After as long as there have been any, at most a day."""
    ledger = Ledger().found(0, 1, NOW)
    assert not ledger.recheck_due(NOW) and ledger.recheck_due(NOW + 1)
    for age, wait in ((60_000, 60_000), (3_600_000, 3_600_000), (10**10, LONGEST_RECHECK_MS)):
        later = ledger.recounting(1).found(0, 1, NOW + age).settled(1, 0, NOW + age)
        assert not later.recheck_due(NOW + age + wait) and later.recheck_due(NOW + age + wait + 1)


def test_a_recheck_is_not_put_off_by_a_clock_that_was_ahead() -> None:
    """A moment further off than any recheck is ever put counts as passed."""
    assert Ledger(rejected=1, rejected_since=NOW, recheck_at=NOW + 400 * LONGEST_RECHECK_MS).recheck_due(NOW)


def test_rechecks_go_on_until_all_was_compared_and_nothing_unreadable_found() -> None:
    """A count that came down to 0 by a surplus may be wrong; a comparison to the floor is not."""
    ledger = Ledger(held=9).found(0, 1, NOW).found(1, 0, NOW).without_surplus(10)
    assert ledger.rejected == 0 and ledger.recheck_due(NOW + 1)
    assert not ledger.recounting(10).bottomed(0, NOW).recheck_due(NOW + 10 * LONGEST_RECHECK_MS)


# The way down


def test_a_walk_reads_page_after_page_to_the_end() -> None:
    """Each page is given whole, with the fills of the second at the seam before it."""
    records = listed(9, *[8] * 25, 7)
    walk = Walk()
    assert walk.take(page(1, records)) == records[:20]
    assert walk.take(page(2, records)) == records[1:]
    assert walk.ended and walk.at_floor(0)


def test_the_frontier_stays_above_a_second_that_is_not_read_whole() -> None:
    """It moves when the second's end has been seen, and counts what is at or below."""
    records = listed(9, *[8] * 45, *range(7, -10, -1))
    walk = Walk()
    for number in (1, 2):
        walk.take(page(number, records))
        assert (walk.frontier, walk.below) == (8_000, 62)
    walk.take(page(3, records))
    assert walk.frontier is not None and walk.frontier < 8_000


def test_arrived_at_the_floor_means_below_it() -> None:
    """A second at the floor itself may go on."""
    walk = Walk()
    walk.take(page(1, falling(50)))
    assert not walk.at_floor(981_000) and walk.at_floor(981_001)


def test_when_the_list_moves_the_walk_goes_back_to_the_second_at_the_seam() -> None:
    """Page 2 of another state begins with a second that page 1 had begun."""
    records = falling(60)
    walk = Walk()
    walk.take(page(1, records))
    moved = [fill(2000), *records]
    assert walk.take(page(2, moved)) is None and walk.next == 1
    assert walk.take(page(1, moved)) == moved[:20]
    assert walk.frontier == 981_000, "the frontier never rises"
    assert walk.take(page(2, moved)) == moved[19:40]


def test_a_moved_page_that_begins_above_the_frontier_needs_no_way_back() -> None:
    """It shows the second at the frontier from its beginning."""
    records = falling(60)
    walk = Walk()
    walk.take(page(1, records))
    moved = [*falling(2, 2000), *records]
    assert walk.take(page(2, moved)) == moved[20:40]


def test_a_walk_gets_on_although_trades_arrive_between_any_two_requests() -> None:
    """Three requests a page, and every fill is seen."""
    records: list[Trade | BadRecord] = falling(200)
    first = list(records)
    walk, seen, requests = Walk(), set[Trade | BadRecord](), 0
    while not walk.ended:
        seen.update(walk.take(page(walk.next, records)) or [])
        requests += 1
        records.insert(0, fill(2000 + requests))
    assert seen >= set(first) and requests < 40


def test_a_burst_that_never_stands_still_is_given_up_and_told() -> None:
    """A second longer than a page, of which each look shows another state."""
    records: list[Trade | BadRecord] = listed(9, *[8] * 50)
    walk = Walk()

    def look(i: int) -> None:
        walk.take(page(walk.next, records))
        records.insert(0, fill(100 + i))

    with pytest.raises(ContradictoryList, match="moved"):
        deque(map(look, range(10 * MAX_RETREATS)))


def test_a_dig_lands_on_the_page_above_its_frontier() -> None:
    """However many trades have arrived at the head meanwhile."""
    walk = Walk(Ledger(held=150, pending=50, frontier=900_000, below=60))
    assert walk.next == 7  # 140 are newer: the last of them stands on page 7


def test_a_dig_that_lands_too_deep_steps_back_ever_further() -> None:
    """Late fills above the frontier move it down the list unseen."""
    records = falling(400)
    walk = Walk(Ledger(held=100, pending=300, frontier=990_000, below=300))
    tried = [walk.next]
    while walk.take(page(walk.next, records)) is None:
        tried.append(walk.next)
    assert tried == [5, 4, 2, 1]


def test_records_without_a_time_do_not_stop_a_walk() -> None:
    """A page of nothing else moves no frontier, and the walk goes on."""
    records = [*falling(20), *[BadRecord("?", f"{i}") for i in range(20)], *falling(20, 900)]
    walk = Walk()
    for number in (1, 2):
        walk.take(page(number, records))
        assert walk.frontier == 981_000
    assert walk.take(page(3, records)) == [records[19], *records[40:]]


def test_a_page_that_is_not_sorted_is_refused() -> None:
    """Within itself, or against the page before it."""
    with pytest.raises(ContradictoryList, match="sorted"):
        Walk().take(page(1, listed(5, 6)))
    walk = Walk()
    walk.take(page(1, falling(40)))
    with pytest.raises(ContradictoryList, match="sorted"):
        walk.take(page(2, falling(20, 990), 40))


@pytest.mark.parametrize(("number", "count", "total"), [(1, 19, 20), (1, 1, 0), (2, 1, 20), (2, 0, 21)])
def test_a_page_that_is_not_the_slice_its_total_makes_it_is_refused(
    number: int, count: int, total: int
) -> None:
    """Neither more nor fewer entries, and none beyond the end."""
    with pytest.raises(ContradictoryList, match="holds"):
        check_length(page(number, falling(count), total))


def test_a_page_that_shows_again_what_stood_before_its_seam_is_suspect() -> None:
    """Within one segment: a moved list shows fills again by its nature."""
    twins = listed(*[5] * 41)
    twins[35] = twins[7]
    walk = Walk()
    walk.take(page(1, twins))
    assert walk.repeats(page(2, twins))
    assert not walk.repeats(page(3, twins)) and not walk.repeats(page(2, twins[:40]))


# What is new


def test_twins_are_each_kept() -> None:
    """As many copies as one segment shows, numbered from 1."""
    twin = fill(5)
    assert fresh([twin, twin, twin], {}) == [(twin, 1), (twin, 2), (twin, 3)]


def test_only_the_copies_that_are_not_held_are_new() -> None:
    """They are numbered after those that are."""
    twin = fill(5)
    assert fresh([twin, twin, twin], {twin.fill_key: [Held(1, 0.0, None), Held(2, 0.0, None)]}) == [(twin, 3)]
    assert fresh([twin], {twin.fill_key: [Held(1, 0.0, None), Held(2, 0.0, None)]}) == []


def test_of_copies_the_one_whose_fee_is_not_held_is_new() -> None:
    """Fills may agree in all but the fee."""
    cheap, dear = fill(5, fee=1.0), fill(5, fee=2.0)
    assert cheap.fill_key == dear.fill_key
    for seen in ([cheap, dear], [dear, cheap]):
        assert fresh(seen, {cheap.fill_key: [Held(1, 1.0, None)]}) == [(dear, 2)]


def test_a_corrected_fee_makes_no_new_fill() -> None:
    """The exchange may settle a fee later."""
    assert fresh([fill(5, fee=2.0)], {fill(5).fill_key: [Held(1, 1.0, None)]}) == []


def test_a_page_is_all_bad_only_without_a_single_good_record() -> None:
    """And an empty page is not bad."""
    bad = BadRecord("why", "{}")
    assert all_bad(page(1, [bad, bad])) is bad
    assert all_bad(page(1, [bad, fill(1)])) is None
    assert all_bad(page(1, [])) is None
