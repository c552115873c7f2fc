"""``sync-positions``, and the profit that follows, against an exchange whose books are known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.market_host import NOW, reached
from support.wallet_host import DAY, HOUR, WALLET, Told, WalletHost

from whalesync.errors import JobFailed, ServerError
from whalesync.exchanges.opinion_trade.parsing.wallets import PositionPage
from whalesync.exchanges.opinion_trade.positions import read_all
from whalesync.jobs.sync_positions import reading_order
from whalesync.jobs.table import CLEANUP, COMPUTE_STATS, SYNC_MARKETS, SYNC_POSITIONS, SYNC_WHALES
from whalesync.records import Position
from whalesync.sandbox import make_position
from whalesync.store import positions
from whalesync.store.database import Database
from whalesync.store.positions import Key, Listing, Traded
from whalesync.store.whales import Whale

POSITIONS = f"/positions/user/{WALLET}"
QUARTER = 900


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WalletHost]:
    with reached(WalletHost(tmp_path / "whales.db"), monkeypatch) as made:
        assert isinstance(made, WalletHost)
        made.watch(WALLET)
        yield made


# A wallet that wins, loses, sells whole and in part, splits, merges, and holds what ended without a result.
HISTORY: list[Told] = [
    (100 * HOUR, 1, "Buy", "YES", 100, 0.4, 0),  # wins: 100 - 40
    (100 * HOUR, 2, "Buy", "NO", 50, 0.3, 0),  # loses: 0 - 15
    (90 * HOUR, 3, "Buy", "YES", 200, 0.5, 0),
    (80 * HOUR, 3, "Sell", "YES", 200, 0.6, 20),  # sold: 120 - 100
    (90 * HOUR, 4, "Buy", "YES", 100, 0.2, 0),
    (70 * HOUR, 4, "Sell", "YES", 50, 0.5, 15),  # half of it sold: 25 - 10; open: 50 at 0.55, for 10
    (60 * HOUR, 5, "Split", "BOTH", 100, 0.5, 0),  # a hundred of each for 50
    (50 * HOUR, 5, "Sell", "NO", 100, 0.3, -20),  # 30 - 50; open: 100 at 0.8, for 50
    (60 * HOUR, 6, "Split", "BOTH", 40, 0.5, 0),
    (50 * HOUR, 6, "Merge", "BOTH", 40, 0.5, 0),  # 20 - 20, twice
    (60 * HOUR, 7, "Buy", "YES", 10, 0.5, 0),  # ends without a result
    (60 * HOUR, 8, "Buy", "YES", 30, 0.4, 0),
    (60 * HOUR, 8, "Buy", "NO", 30, 0.5, 0),
    (50 * HOUR, 8, "Merge", "YES", 30, 0.5, 3),  # both sides in one row: 30 - 27
]
BY_HAND = {
    "realized_profit": 20 + 15 - 20 + 0 + 3,
    "settled_profit": 60 - 15,
    "open_profit": (50 * 0.55 - 10) + (100 * 0.8 - 50),
    "open_value": 50 * 0.55 + 100 * 0.8,
    "won_count": 1,
    "lost_count": 1,
    "win_rate": None,  # six are decided, 20 are needed
    "profit_complete": 0,  # because of the one without a result
}
STATES = {
    (1, "YES"): "won", (2, "NO"): "lost", (3, "YES"): "closed", (4, "YES"): "open", (5, "YES"): "open",
    (5, "NO"): "closed", (6, "YES"): "closed", (6, "NO"): "closed", (7, "YES"): "void", (8, "YES"): "closed",
    (8, "NO"): "closed",
}  # fmt: skip


def tell(host: WalletHost) -> None:
    """List the markets with their prices, and what the wallet did in them."""
    for number in range(1, 9):
        host.list_market(number, {4: 0.55, 5: 0.8}.get(number, 0.5))
    for told in HISTORY:
        host.trade(told)
    for market, outcome, shares, paid in ((1, "YES", 100, 0.4), (2, "NO", 50, 0.3), (4, "YES", 50, 0.2),
                                          (5, "YES", 100, 0.5), (7, "YES", 10, 0.5)):  # fmt: skip
        host.hold(market, outcome, shares, paid)


def end(host: WalletHost) -> None:
    """Markets 1, 2 and 7 end; what was won is claimed and listed no longer, what was lost stays."""
    host.resolve(1, "YES")
    host.resolve(2, "YES")
    host.books.update_market(7, status=5)
    host.drop(1, "YES")


def test_the_profit_is_that_of_a_calculation_by_hand(host: WalletHost) -> None:
    """Watched from before the end; then pruned, which changes nothing."""
    tell(host)
    host.run()
    assert host.figures()["open_profit"] == pytest.approx(47.5 + (100 * 0.5 - 40) + (50 * 0.5 - 15) + 0)
    end(host)
    host.elapsed += QUARTER
    host.run()
    assert host.positions("state") == STATES
    assert host.figures() == pytest.approx(BY_HAND)
    host.retention_days = 1
    host.elapsed += HOUR
    host.run(SYNC_WHALES, CLEANUP, SYNC_POSITIONS, COMPUTE_STATS)
    assert host.rows("SELECT count(*) AS n FROM whale_activity") == [{"n": 0}]
    assert host.figures() == pytest.approx(BY_HAND)
    assert host.positions("state") == STATES


def test_what_was_claimed_before_the_wallet_was_watched_follows_from_its_trades(host: WalletHost) -> None:
    """The exchange lists neither what was won nor what was lost any more."""
    tell(host)
    end(host)
    host.drop(2, "NO")
    host.run()
    assert host.figures() == pytest.approx(BY_HAND)
    assert host.positions("state") == STATES


def test_without_the_earliest_trades_the_profit_is_not_complete(host: WalletHost) -> None:
    """What was bought before the retention cut is not known, and its result is not made up."""
    tell(host)
    end(host)
    host.drop(2, "NO")
    host.books.update_market(7, status=2)
    host.retention_days = 3  # 72 hours
    host.run()
    figures = host.figures()
    assert (figures["profit_complete"], figures["settled_profit"], figures["won_count"]) == (0, 0, 0)
    shown = host.rows("SELECT state, shares FROM positions WHERE state IN ('won', 'lost')")
    assert shown == []


def decided(host: WalletHost, number: int) -> None:
    """Sell positions in so many markets, every second one at a loss."""
    for market in range(1, number + 1):
        host.list_market(market)
        host.trade((50 * HOUR, market, "Buy", "YES", 10, 0.5, 0))
        host.trade((40 * HOUR, market, "Sell", "YES", 10, 0.6 if market % 2 else 0.4, 1 if market % 2 else -1))


@pytest.mark.parametrize(("number", "rate"), [(19, None), (20, 0.5)])
def test_a_win_rate_needs_twenty_decided_positions(host: WalletHost, number: int, rate: float | None) -> None:
    """With all trades known the profit is complete."""
    decided(host, number)
    host.run()
    assert (host.figures()["win_rate"], host.figures()["profit_complete"]) == (rate, 1)


def many(host: WalletHost, count: int) -> None:
    """Let the wallet hold so many positions, bought at 0.5, the first one the largest."""
    for number in range(1, count + 1):
        host.list_market(number)
        host.trade((50 * HOUR, number, "Buy", "YES", 1000 - number, 0.5, 0))
        host.hold(number, "YES", 1000 - number, 0.5)


def test_a_row_that_changes_pages_while_they_are_read_closes_nothing(host: WalletHost) -> None:
    """Position 25 becomes the largest after page 1 was read: it is met on no page, and 20 twice."""
    many(host, 30)
    host.run()

    def move(path: str, number: int) -> None:
        if path == POSITIONS and host.asked[-1][1]["page"] == 2 and not moved:
            moved.append(number)
            host.hold(25, "YES", 2000, 0.5)

    moved: list[int] = []
    host.before = move
    for _ in range(2):
        host.elapsed += QUARTER
        host.run(SYNC_POSITIONS)
    assert set(host.positions("state").values()) == {"open"}
    assert host.positions("shares")[25, "YES"] == 2000


@pytest.mark.parametrize("shown", [{"total": 0, "list": []}, {"total": 1, "list": []}])
def test_a_list_that_is_empty_for_a_moment_closes_nothing(host: WalletHost, shown: dict[str, Any]) -> None:
    """Only one that stays so does, if it is whole."""
    many(host, 3)
    host.run()
    host.answers[POSITIONS] = lambda _: shown
    host.elapsed += QUARTER
    host.run(SYNC_POSITIONS)
    assert set(host.positions("state").values()) == {"open"}
    del host.answers[POSITIONS]
    host.elapsed += QUARTER
    host.run(SYNC_POSITIONS)
    assert host.positions("state, unlisted_since") == {(number, "YES"): ("open", None) for number in (1, 2, 3)}


def test_both_outcomes_of_a_market_may_have_the_same_label(host: WalletHost) -> None:
    """They are two positions, told apart by their sides."""
    host.list_market(1)
    for side, token in ((1, "yesTokenId"), (2, "noTokenId")):
        position = make_position(
            marketId=1, outcomeSide=side, outcome="Rain", sharesOwned=str(side), tokenId=host.books.market(1)[token]
        )
        host.books.set_position(WALLET, position)
    host.run()
    assert host.positions("outcome_label, shares") == {(1, "YES"): ("Rain", 1), (1, "NO"): ("Rain", 2)}


def test_a_list_that_names_no_tokens_is_read_whole() -> None:
    """Its rows are told apart by market and side."""
    yes = Position("1", "Rain?", "YES", "Rain", None, 1.0, 0.5)
    page = PositionPage(2, [yes, replace(yes, outcome="NO")])
    assert read_all(lambda _: page).complete


def test_a_market_that_somebody_deleted_stops_neither_the_sync_nor_the_cleanup(host: WalletHost) -> None:
    """Its trades count for no position; the other positions are read."""
    many(host, 2)
    host.trade((60 * HOUR, 3, "Buy", "YES", 10, 0.5, 0))
    host.run(SYNC_WHALES)
    with closing(sqlite3.connect(host.db)) as db, db:
        db.execute("DELETE FROM markets WHERE external_id = '3'")
    host.retention_days = 1
    host.run(SYNC_POSITIONS, CLEANUP)
    assert host.positions("state") == {(1, "YES"): "open", (2, "YES"): "open"}
    assert host.rows("SELECT count(*) AS n FROM whale_activity") == [{"n": 0}]


def test_a_reading_that_fails_half_way_changes_nothing(host: WalletHost) -> None:
    """The run says which wallet; if it was the only one, the run fails."""
    many(host, 30)
    host.run()
    before = host.rows("SELECT * FROM positions")
    for number in range(1, 31):
        host.drop(number, "YES")
    host.hold(1, "YES", 5, 0.5)

    def fail(path: str, number: int) -> None:
        if path == POSITIONS:
            raise ServerError("Opinion.Trade answered 500 (server error)")

    host.before = fail
    host.elapsed += QUARTER
    with pytest.raises(JobFailed, match="500"):
        host.run(SYNC_POSITIONS)
    assert host.rows("SELECT * FROM positions") == before


def test_what_is_sold_is_closed_at_the_next_look(host: WalletHost) -> None:
    """The trades and the list agree; what comes back is open again."""
    many(host, 3)
    host.run()
    host.elapsed += QUARTER
    host.trade((-QUARTER + 1, 2, "Sell", "YES", 998, 0.7, 199.6))
    host.drop(2, "YES")
    host.run(SYNC_WHALES, SYNC_POSITIONS)
    assert host.positions("state")[2, "YES"] == "closed"
    assert host.positions("realized_profit")[2, "YES"] == pytest.approx(199.6)
    host.hold(2, "YES", 10, 0.6)
    host.elapsed += QUARTER
    host.run(SYNC_POSITIONS)
    assert host.positions("state, shares, closed_at")[2, "YES"] == ("open", 10, None)


def test_trades_are_stored_while_those_of_a_wallet_are_added_up(
    host: WalletHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long history takes seconds; what is stored meanwhile counts at the next reading, even if the list stays."""
    many(host, 2)
    host.run(SYNC_WHALES)
    host.trade((50 * HOUR, 2, "Sell", "YES", 10, 0.7, 2))
    add_up = positions.flows

    def meanwhile(db: Database, whale_id: int) -> dict[Key, Traded]:
        found = add_up(db, whale_id)
        assert [run.items for run in host.run(SYNC_WHALES)] == [1]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(positions, "flows", meanwhile)
        host.run(SYNC_POSITIONS)
    assert host.positions("realized_profit") == {(1, "YES"): None, (2, "YES"): None}
    host.elapsed += QUARTER
    host.run(SYNC_POSITIONS)
    assert host.positions("realized_profit") == {(1, "YES"): None, (2, "YES"): 2}


def test_a_market_that_ends_between_two_looks_settles_what_was_held(host: WalletHost) -> None:
    """Claimed at once, it is never listed as resolved."""
    many(host, 2)
    host.run()
    host.resolve(1, "NO")
    host.resolve(2, "YES")
    host.drop(1, "YES")
    host.drop(2, "YES")
    host.elapsed += QUARTER
    host.run(SYNC_POSITIONS, SYNC_MARKETS)  # in this order the end is not known yet when the list is read
    assert host.positions("state, settled_profit") == {
        (1, "YES"): ("lost", pytest.approx(-499.5)),
        (2, "YES"): ("won", pytest.approx(499.0)),
    }
    host.elapsed += QUARTER
    host.run()
    assert host.positions("state") == {(1, "YES"): "lost", (2, "YES"): "won"}


def test_what_left_the_list_is_not_closed_before_the_markets_were_read(host: WalletHost) -> None:
    """It may have been claimed in a market of whose end nothing is known yet."""
    many(host, 2)
    host.run()
    host.resolve(2, "YES")
    host.drop(2, "YES")
    for _ in range(4):
        host.elapsed += QUARTER
        host.run(SYNC_WHALES, SYNC_POSITIONS)
    assert host.positions("state, closed_at")[2, "YES"] == ("open", None)
    host.run()
    assert host.positions("state, settled_profit")[2, "YES"] == ("won", pytest.approx(499.0))
    assert host.figures()["profit_complete"] == 1


def test_what_was_closed_after_an_end_that_becomes_known_later_was_held_to_it(host: WalletHost) -> None:
    """The exchange showed the market as open for an hour after it had ended."""
    many(host, 2)
    host.run()
    ended_at = int(host.books.clock())
    host.drop(2, "YES")
    for _ in range(3):
        host.elapsed += QUARTER
        host.run()
    assert host.positions("state")[2, "YES"] == "closed"
    token = host.books.market(2)["yesTokenId"]
    host.books.update_market(2, status=4, resolvedAt=ended_at, resultTokenId=token)
    host.run()
    assert host.positions("state, settled_profit")[2, "YES"] == ("won", pytest.approx(499.0))
    assert host.figures()["profit_complete"] == 1


def test_what_is_sold_and_bought_back_has_its_new_cost(host: WalletHost) -> None:
    """The number of shares is the same as before; the list shows the new average price a reading later."""
    many(host, 1)
    host.run()
    host.trade((-60, 1, "Sell", "YES", 999, 0.6, 99.9))
    host.trade((-61, 1, "Buy", "YES", 999, 0.7, 0))
    for paid in (0.5, 0.7):
        host.hold(1, "YES", 999, paid)
        host.elapsed += QUARTER
        host.run()
    assert host.positions()[1, "YES"] == ("open", 999, pytest.approx(699.3))


def test_what_was_bought_held_and_claimed_between_two_looks_is_not_lost(host: WalletHost) -> None:
    """Markets may last a few minutes: at the first look after that, their end is not known yet."""
    host.list_market(1)
    host.run()
    host.trade((-60, 1, "Buy", "YES", 100, 0.4, 0))
    host.elapsed += 120
    host.resolve(1, "YES")
    host.run(SYNC_WHALES, SYNC_POSITIONS)
    assert host.positions() == {}
    host.elapsed += QUARTER
    host.run()
    assert host.positions() == {(1, "YES"): ("won", 100, 40)}
    assert (host.figures()["settled_profit"], host.figures()["profit_complete"]) == (60, 1)


def test_a_first_list_that_is_empty_for_a_moment_closes_nothing(host: WalletHost) -> None:
    """Nor does a market that ends before the next one make that final."""
    many(host, 2)
    host.answers[POSITIONS] = lambda _: {"total": 0, "list": []}
    host.run()
    assert host.positions() == {}
    del host.answers[POSITIONS]
    host.elapsed += 60
    host.resolve(2, "YES")
    host.drop(2, "YES")
    host.elapsed += QUARTER
    host.run()
    assert host.positions("state, settled_profit") == {(1, "YES"): ("open", None), (2, "YES"): ("won", 499)}


def test_a_clock_that_runs_ahead_hides_no_sale(host: WalletHost) -> None:
    """Half of it is sold after the last look and before the end; the host dates that look two hours later."""
    many(host, 1)
    host.ahead = 2 * HOUR
    host.run()
    host.trade((-700, 1, "Sell", "YES", 499.5, 0.6, 49.95))
    host.elapsed += QUARTER
    host.resolve(1, "YES")
    host.drop(1, "YES")
    host.run()
    assert host.positions("state, shares, settled_profit")[1, "YES"] == ("won", 499.5, pytest.approx(249.75))


def test_prices_are_followed_without_another_look(host: WalletHost) -> None:
    """A market without a price makes the value unknown, not 0."""
    many(host, 2)
    host.run()
    host.books.set_price(host.token(1), "0.9")
    host.books.set_price(host.token(2), None)
    host.run(SYNC_MARKETS)
    assert host.positions("price, value") == {(1, "YES"): (0.9, pytest.approx(899.1)), (2, "YES"): (None, None)}
    host.run(COMPUTE_STATS)
    assert host.figures()["profit_complete"] == 0
    assert host.figures()["open_profit"] == pytest.approx(399.6)


def test_a_row_that_cannot_be_read_is_kept_and_closes_nothing(host: WalletHost) -> None:
    """It may be any of those that are missing."""
    many(host, 2)
    host.run()
    good = host.books.positions(WALLET)
    host.answers[POSITIONS] = lambda _: {"total": 2, "list": [good[0], good[1] | {"sharesOwned": "many"}]}
    for _ in range(2):
        host.elapsed += QUARTER
        (run,) = host.run(SYNC_POSITIONS)
    assert "sharesOwned is 'many'" in str(run.errors())
    assert set(host.positions("state").values()) == {"open"}
    assert host.rows("SELECT source FROM rejected_records") == [{"source": f"positions {WALLET}"}]


def test_those_who_wait_longest_and_those_who_traded_come_first() -> None:
    """Whoever has waited for two hours comes before all who traded; a clock set back makes nobody wait."""
    listings = {
        1: Listing(NOW - 600, trades_changed=False),
        2: Listing(NOW - 900, trades_changed=False),
        3: Listing(NOW - 300, trades_changed=True),
        4: Listing(NOW - 3 * 3_600_000, trades_changed=False),
        6: Listing(NOW + 9 * 3_600_000, trades_changed=False),
    }
    wallets = [Whale(number, "opinion_trade", f"0x{number:040x}", None, None, None) for number in range(1, 7)]
    assert [whale.id for whale in reading_order(wallets, listings, NOW)] == [5, 6, 4, 3, 2, 1]


def test_a_run_keeps_to_its_share_of_the_requests(host: WalletHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of what is allowed in a quarter of an hour; the next run goes on with the others."""
    wallets = [f"0x{number:040x}" for number in range(1, 30)]
    host.watch(*wallets)
    monkeypatch.setattr("whalesync.jobs.sync_positions.SHARE", 10 / (15 * QUARTER))
    for _ in range(3):
        host.elapsed += QUARTER
        host.run(SYNC_POSITIONS)
        assert sum(path.startswith("/positions/") for path, _ in host.asked[-10:]) == 10
    assert len({path for path, _ in host.asked if path.startswith("/positions/")}) == 30
    assert host.elapsed < DAY


def test_a_status_that_is_not_known_ends_no_market(host: WalletHost) -> None:
    """The exchange may have new ones; what is held in such a market stays open."""
    many(host, 1)
    host.run()
    host.books.update_market(1, status=9, statusEnum="Paused")
    for _ in range(3):
        host.elapsed += QUARTER
        host.run(SYNC_MARKETS, SYNC_POSITIONS)
    assert host.rows("SELECT status FROM markets") == [{"status": "paused"}]
    assert host.positions("state, shares") == {(1, "YES"): ("open", 999)}
