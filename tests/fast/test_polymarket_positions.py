"""Polymarket's positions, and the profit that follows, against the simulated exchange and a calculation by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.polymarket_host import DAY, HOUR, NOW, WALLET, PolymarketHost, reached

from whalesync.errors import ContradictoryList
from whalesync.exchanges.base import Holdings
from whalesync.exchanges.polymarket import positions as source
from whalesync.exchanges.polymarket.leaderboard import read
from whalesync.exchanges.polymarket.positions import read_held
from whalesync.jobs.sync_positions import closed_since
from whalesync.jobs.table import COMPUTE_STATS, SYNC_MARKETS, SYNC_POSITIONS, SYNC_WHALES
from whalesync.positions import NOT_LISTED, Holding, as_listed
from whalesync.records import Position
from whalesync.sandbox.polymarket import (
    build_world,
    combo_id,
    condition_id,
    make_activity,
    make_event,
    make_market,
    token_id,
)
from whalesync.store.positions import Kept, Listing

QUARTER = 900
END = 10_000_000  # ms: when a market ended


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PolymarketHost]:
    with reached(PolymarketHost(tmp_path / "whales.db"), monkeypatch) as made:
        yield made


def tell(host: PolymarketHost, hours: float, kind: str, market: int, index: int, size: float, price: float) -> None:
    """Let the wallet act so many hours before the beginning; after it, if they are negative."""
    side: dict[str, Any] = {"side": kind} if kind in ("BUY", "SELL") else {}
    host.books.add(
        WALLET,
        make_activity(
            "TRADE" if side else kind, market=market, index=index, size=size, price=price,
            timestamp=int(NOW - hours * HOUR), **side,
        ),
    )  # fmt: skip


def redeem(host: PolymarketHost, market: int, payout: float) -> None:
    """Let the wallet redeem all that it holds of a market, now."""
    host.books.add(
        WALLET, make_activity("REDEEM", market=market, size=payout, timestamp=int(NOW + host.elapsed), usdc_size=payout)
    )


PRICES = {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.8, 6: 0.5, 7: 0.5, 8: 0.3}


def history(host: PolymarketHost) -> None:
    """A wallet buys, sells whole and in part, splits, merges, and holds what wins, loses, ends half, or is open."""
    for number, price in PRICES.items():
        host.books.add_market(make_market(number, event=make_event(number)), price=price)
    tell(host, 60, "BUY", 1, 0, 100, 0.4)  # wins: 100 - 40
    tell(host, 60, "BUY", 2, 0, 50, 0.3)  # loses: 0 - 15
    tell(host, 60, "BUY", 3, 0, 200, 0.5)
    tell(host, 50, "SELL", 3, 0, 200, 0.6)  # sold: 120 - 100
    tell(host, 60, "BUY", 4, 0, 100, 0.2)
    tell(host, 50, "SELL", 4, 0, 50, 0.5)  # half of it: 25 - 10, then it wins: 50 - 10
    tell(host, 60, "SPLIT", 5, 0, 100, 0)
    tell(host, 50, "SELL", 5, 1, 100, 0.3)  # 30 - 50; open: 100 at 0.8, for 50
    tell(host, 60, "SPLIT", 6, 0, 40, 0)
    tell(host, 50, "MERGE", 6, 0, 40, 0)  # 20 - 20, twice
    tell(host, 60, "BUY", 7, 1, 30, 0.2)  # ends half: 15 - 6
    tell(host, 60, "BUY", 8, 0, 0.05, 0.2)  # a rest that the exchange leaves out unless it is asked for: 0.015 - 0.01


BEFORE_THE_END: dict[str, Any] = {"realized_profit": 20 + 15 - 20, "settled_profit": 0, "won_count": 0, "lost_count": 0}
BY_HAND: dict[str, Any] = {
    "realized_profit": 20 + 15 - 20,
    "settled_profit": (100 - 40) + (0 - 15) + (50 - 10) + (15 - 6),
    "open_profit": (100 * 0.8 - 50) + (0.05 * 0.3 - 0.01),
    "open_value": 100 * 0.8 + 0.05 * 0.3,
    "won_count": 2,
    "lost_count": 1,
    "win_rate": None,
    "profit_complete": 1,
}
STATES = {
    "Market 1?": "won", "Market 2?": "lost", "Market 3?": "closed", "Market 4?": "won", "Market 7?": "void",
    "Market 8?": "open",
}  # fmt: skip


def end(host: PolymarketHost) -> None:
    """Markets 1 and 4 are won, 2 is lost, 7 pays half to each."""
    for number, winner in ((1, 0), (2, 1), (4, 0), (7, None)):
        host.books.resolve(condition_id(number), winner)


def states(host: PolymarketHost) -> dict[str, str]:
    """Of the positions that are alone in their market."""
    found = {title.partition(" › ")[2]: state for (title, _), state in host.positions("state").items()}
    return {title: found[title] for title in STATES}


def test_the_profit_is_that_of_a_calculation_by_hand(host: PolymarketHost) -> None:
    """Seen before the end, after it, and when everything is redeemed."""
    history(host)
    host.run(SYNC_POSITIONS, SYNC_MARKETS)
    figures = host.figures()
    assert {name: figures[name] for name in BEFORE_THE_END} == pytest.approx(BEFORE_THE_END)
    host.elapsed += HOUR
    end(host)
    host.run(SYNC_MARKETS)
    assert host.figures() == pytest.approx(BY_HAND)  # by the market's last prices alone
    host.elapsed += HOUR
    host.run(SYNC_POSITIONS)
    assert host.figures() == pytest.approx(BY_HAND)
    assert states(host) == STATES
    for number, payout in ((1, 100), (2, 0), (4, 50), (7, 15)):
        redeem(host, number, payout)
    host.elapsed += HOUR
    host.run()
    assert host.figures() == pytest.approx(BY_HAND)
    assert states(host) == STATES
    assert host.rows("SELECT count(*) AS n FROM positions WHERE redeemed_profit IS NOT NULL") == [{"n": 4}]


def test_what_was_redeemed_before_the_wallet_was_watched_is_listed_with_its_profit(host: PolymarketHost) -> None:
    """Only how much of it was made before the end is not known: the sum is the same."""
    history(host)
    end(host)
    host.elapsed += HOUR
    for number, payout in ((1, 100), (2, 0), (4, 50), (7, 15)):
        redeem(host, number, payout)
    host.elapsed += HOUR
    for _ in range(2):  # at the first reading nothing is known of the markets
        host.run(SYNC_POSITIONS, SYNC_MARKETS)
        host.elapsed += QUARTER
    moved = {"realized_profit": 20 - 20, "settled_profit": BY_HAND["settled_profit"] + 15}
    assert host.figures() == pytest.approx({**BY_HAND, **moved})
    assert states(host) == STATES


def test_trades_do_not_change_the_realized_profit(host: PolymarketHost) -> None:
    """They bring none of their own; the figure is that of the positions, whichever job computes it."""
    history(host)
    host.run(SYNC_WHALES, SYNC_POSITIONS, COMPUTE_STATS)
    tell(host, -0.1, "SELL", 1, 0, 10, 0.9)
    host.elapsed += HOUR
    host.run(SYNC_WHALES, COMPUTE_STATS)
    assert host.figures()["realized_profit"] == pytest.approx(15)
    host.run(SYNC_POSITIONS)
    assert host.figures()["realized_profit"] == pytest.approx(15 + 10 * (0.9 - 0.4))


def test_the_three_figures_add_up_to_what_the_exchange_counts(host: PolymarketHost) -> None:
    """Of all that wallets did in a month of a living world, redeemed or not; after a day, and another one."""
    world = build_world(1, clock=host.books.clock)
    host.serve(world.books)
    host.watch(*world.whales)
    host.run(SYNC_POSITIONS, SYNC_MARKETS)
    for _ in range(2):
        host.elapsed += DAY
        host.run(SYNC_WHALES, SYNC_MARKETS, SYNC_POSITIONS, SYNC_MARKETS)
        counted = {
            wallet: sum(row["total_pnl"] for row in host.exchange.data.positions(wallet)) for wallet in world.whales
        }
        figures = "address, realized_profit + settled_profit + open_profit AS profit"
        found = {row["address"]: row["profit"] for row in host.rows(f"SELECT {figures} FROM whales WHERE id > 1")}
        assert found == pytest.approx(counted, abs=0.01)
        assert max(map(abs, counted.values())) > 1000


def numbers(count: int) -> list[int]:
    """Numbers of markets of version 1 whose conditions do not look like those of version 2, or like combos."""
    found = (number for number in itertools.count(1) if condition_id(number)[2:4] not in ("01", "02", "03"))
    return list(itertools.islice(found, count))


def statuses(host: PolymarketHost) -> list[str]:
    """Which lists were read by the last job."""
    return ["CLOSED" if "CLOSED" in address else "OPEN" for address in host.asked]


def test_an_idle_wallet_costs_one_request(host: PolymarketHost) -> None:
    """What is held no longer is read at first, and when something has left the other list."""
    history(host)
    host.run(SYNC_POSITIONS)
    assert statuses(host) == ["OPEN", "CLOSED"]
    host.elapsed += QUARTER
    host.run(SYNC_MARKETS, SYNC_POSITIONS)
    assert statuses(host) == ["OPEN"]
    tell(host, -1, "SELL", 1, 0, 100, 0.5)
    host.elapsed += 2 * HOUR
    host.run(SYNC_POSITIONS)
    assert statuses(host) == ["OPEN", "CLOSED"]
    assert f"start={NOW + QUARTER - DAY}" in host.asked[1]
    assert host.positions("state, realized_profit")["Event 1 › Market 1?", "Yes"] == ("closed", 10)
    host.elapsed += QUARTER
    host.run(SYNC_POSITIONS)
    assert statuses(host) == ["OPEN"]


def test_2500_positions_are_read_in_three_pages(host: PolymarketHost) -> None:
    """With their cursors; another 1,500 that are held no longer in two."""
    for place, number in enumerate(numbers(4000)):
        host.books.add_market(make_market(number))
        tell(host, 60, "BUY", number, 0, 10, 0.4)
        if place >= 2500:
            tell(host, 50, "SELL", number, 0, 10, 0.5)
    (run,) = host.run(SYNC_POSITIONS)
    assert (statuses(host), run.items) == (["OPEN"] * 3 + ["CLOSED"] * 2, 2500)
    assert host.figures()["realized_profit"] == pytest.approx(1500)


def test_a_position_that_changes_while_pages_are_read_is_not_missed(host: PolymarketHost) -> None:
    """It moves to the end of the list."""
    held = numbers(1100)
    for place, number in enumerate(held):
        host.books.add_market(make_market(number))
        tell(host, 60 - place / 100, "BUY", number, 0, 10, 0.4)

    def buy(path: str, number: int) -> None:
        if number == 2:
            for each in (held[0], held[1000], held[1099]):
                tell(host, 0, "BUY", each, 0, 10, 0.4)

    host.before = buy
    host.run(SYNC_POSITIONS)
    assert len(host.positions("shares")) == 1100


def test_what_is_traded_and_not_listed_makes_the_profit_incomplete(host: PolymarketHost) -> None:
    """As combos, which are positions of their own."""
    history(host)
    row = make_activity(timestamp=NOW - 50 * HOUR, side="BUY", condition_id=combo_id(1), token_id="77")
    host.books.add(WALLET, row)
    host.run(SYNC_WHALES, SYNC_POSITIONS, SYNC_MARKETS)
    assert host.figures()["profit_complete"] == 0
    assert host.rows("SELECT gap, count(*) AS n FROM positions GROUP BY gap ORDER BY n") == [
        {"gap": NOT_LISTED, "n": 1},
        {"gap": None, "n": 10},
    ]


def test_a_position_keeps_its_row_when_its_side_becomes_known(host: PolymarketHost) -> None:
    """Its token tells it apart, whatever label it was first listed with."""
    tell(host, 60, "BUY", 1, 1, 10, 0.4)
    host.run(SYNC_POSITIONS)  # the exchange knows nothing of the market yet
    assert host.rows("SELECT outcome, outcome_label FROM positions") == [
        {"outcome": None, "outcome_label": token_id(1, 1)}
    ]
    host.books.add_market(make_market(1, outcomes=("Lakers", "Celtics")))
    host.elapsed += QUARTER
    host.run(SYNC_MARKETS, SYNC_POSITIONS)
    assert host.rows("SELECT outcome, outcome_label, state FROM positions") == [
        {"outcome": "NO", "outcome_label": "Celtics", "state": "open"}
    ]


def test_a_side_that_is_named_twice_is_that_of_the_first_until_the_market_is_known(
    host: PolymarketHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange may name a wrong one; both positions are kept."""
    yes, no = (
        replace(listed(shares, 0), market_external_id=condition_id(1), token_id=token_id(1, index))
        for index, shares in ((0, 10), (1, 20))
    )
    held = Holdings([no, yes], [], complete=True, requests=1)
    monkeypatch.setattr(source, "read_held", lambda *_: held)
    shown = "SELECT outcome, outcome_label AS label, shares FROM positions ORDER BY shares"
    host.run(SYNC_POSITIONS)
    assert host.rows(shown) == [
        {"outcome": None, "label": token_id(1, 0), "shares": 10},
        {"outcome": "YES", "label": "Yes", "shares": 20},
    ]
    host.books.add_market(make_market(1))
    host.run(SYNC_MARKETS, SYNC_POSITIONS)
    assert host.rows(shown) == [
        {"outcome": "YES", "label": "Yes", "shares": 10},
        {"outcome": "NO", "label": "No", "shares": 20},
    ]


def listed(shares: float, realized: float, closed_at: int | None = None) -> Position:
    """A position as it is listed, bought at 0.5."""
    return Position(
        "0x1", "Rain?", "YES", "Yes", "7", shares, 0.5, cost=shares * 0.5, realized_profit=realized, closed_at=closed_at
    )


HELD = Holding(10.0, 5.0, 2.0)
SOLD = Holding(0.0, 0.0, 2.0, closed_at=END - 10**6)


@pytest.mark.parametrize(
    ("row", "before", "ended_at", "expected"),
    [
        (listed(10, 2), None, None, HELD),
        (listed(10, 2), HELD, END, HELD),
        (listed(0, 3, END - 10**6), HELD, None, Holding(0.0, 0.0, 3.0, closed_at=END - 10**6)),
        (listed(0, 2, END - 10**6), HELD, END, SOLD),
        (listed(0, 7, END), HELD, END, Holding(10.0, 5.0, 2.0, redeemed_profit=5.0)),
        (listed(0, 7, END), None, END, Holding(None, None, None, redeemed_profit=7.0)),
        (listed(0, 7, END - 60_000), HELD, END, Holding(10.0, 5.0, 2.0, redeemed_profit=5.0)),
        (listed(0, 7, END), Holding(10.0, 5.0, 2.0, redeemed_profit=5.0), END,
         Holding(10.0, 5.0, 2.0, redeemed_profit=5.0)),
        (None, Holding(0.0, 0.0, 7.0, closed_at=END + 1), END, Holding(None, None, None, redeemed_profit=7.0)),
        (None, SOLD, END, SOLD),
        (None, HELD, None, Holding(10.0, 5.0, 2.0, NOT_LISTED, unlisted_since=END + 9)),
        (listed(10, 2), Holding(10.0, 5.0, 2.0, NOT_LISTED, unlisted_since=END), None, HELD),
        (None, None, END, None),
    ],
)  # fmt: skip
def test_a_position_is_what_is_listed(
    row: Position | None, before: Holding | None, ended_at: int | None, expected: Holding | None
) -> None:
    """Held, sold, redeemed, or missing."""
    assert as_listed(row, before, ended_at, END + 9) == expected


@pytest.mark.parametrize(
    ("holding", "before", "expected"),
    [
        (HELD, Listing(None, True), 0),
        (HELD, Listing(10 * DAY * 1000, False), 9 * DAY * 1000),
        (SOLD, Listing(10 * DAY * 1000, False), None),
        (SOLD, Listing(10 * DAY * 1000, True), 9 * DAY * 1000),
        (Holding(10.0, 5.0, unlisted_since=10 * DAY * 1000), Listing(10 * DAY * 1000, False), 0),
        (Holding(10.0, 5.0, unlisted_since=9 * DAY * 1000), Listing(10 * DAY * 1000, False), None),
        (Holding(None, None, unlisted_since=10 * DAY * 1000), Listing(10 * DAY * 1000, False), None),
    ],
)
def test_what_is_held_no_longer_is_read_as_far_back_as_something_can_have_joined_it(
    holding: Holding, before: Listing, expected: int | None
) -> None:
    """Here nothing is held."""
    assert closed_since(Holdings([], [], True, 1), [Kept(1, False, holding, "7", None)], before) == expected


def test_a_list_that_does_not_end_is_refused() -> None:
    """A cursor that comes again would be followed for ever."""
    page: dict[str, Any] = {"data": [], "pagination": {"has_more": True, "next_cursor": "x"}}
    with pytest.raises(ContradictoryList):
        read_held(lambda path, params: page, WALLET)


# As the official client recorded it.
LEADERBOARD = [
    {"rank": 1, "user_id": "0x31E5d54aded22aa7cd80dbe9e33102abe2504879", "pnl": 966725.5781960003,
     "volume": 1491184.383039, "user_name": "Noprajsk", "profile_image": "", "x_username": "", "verified": False},
    {"rank": 2, "user_id": "0xf0318c32136c2db7fec88b84869aee6a1106c80c", "pnl": -4.5, "volume": 74566.884519,
     "user_name": "0xf0318C32136C2DB7FEC88B84869AEE6A1106C80C-1766317541188", "verified": False},
]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "asked", "expected"),
    [
        ("profit", "PNL", [(966725.578196, None), (-4.5, None)]),
        ("volume", "VOLUME", [(None, 1491184.383039), (None, 74566.884519)]),
    ],
)
def test_the_leaderboard_ranks_by_usd_or_by_shares(by: str, asked: str, expected: list[Any]) -> None:
    """What the exchange calls volume is shares; a name that is the address is none."""
    queries: list[Any] = []

    def get(path: str, params: Any) -> Any:
        queries.append(params)
        return {"data": LEADERBOARD, "pagination": {"has_more": False, "next_cursor": None}}

    found = read(get, by=by, period="week", limit=2)
    assert queries == [{"time_period": "week", "sort_by": asked, "limit": 2}]
    assert [(each.usd, each.shares) for each in found] == expected
    assert [(each.address, each.name) for each in found] == [
        ("0x31e5d54aded22aa7cd80dbe9e33102abe2504879", "Noprajsk"),
        ("0xf0318c32136c2db7fec88b84869aee6a1106c80c", None),
    ]
