"""Which fills are one trade, and which trades are large."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from support.rows import MINUTE, NOW, SECOND

from whalesync import fold
from whalesync.fold import Fill


def fill(number: int, at: int, transaction: str = "", **fields: object) -> Fill:
    """A fill of $10 that is made ``at`` ms after NOW, in a transaction of its own unless it is named."""
    values = {"whale_id": 1, "market_id": 1, "action": "BUY", "outcome": "YES", "amount": 10.0} | fields
    return Fill(id=number, timestamp=NOW + at, tx_hash=transaction or f"0x{number}", **values)  # type: ignore[arg-type]  # a test names the fields that it is about


def folded(*fills: Fill) -> list[list[int]]:
    """The ids of the fills of each trade."""
    return [[each.id for each in trade] for trade in fold.trades(fills)]


def test_a_minute_counts_from_the_first_fill() -> None:
    """Not from the last: fills without a pause do not grow into one trade."""
    assert folded(fill(1, 0), fill(2, 40 * SECOND), fill(3, MINUTE), fill(4, MINUTE + 1), fill(5, 2 * MINUTE)) == [
        [1, 2, 3],
        [4, 5],
    ]


def test_fills_of_one_transaction_are_one_trade() -> None:
    """Across the end of the minute, and without moving it; in any case of letters."""
    fills = [fill(1, 0), fill(2, 59 * SECOND, "0xAB"), fill(3, 61 * SECOND, "0xab"), fill(4, 62 * SECOND)]
    assert folded(*fills) == [[1, 2, 3], [4]]
    assert folded(*reversed(fills)) == [[1, 2, 3], [4]]


def test_no_transaction_is_not_a_transaction() -> None:
    """An empty hash connects nothing."""
    first, second = fill(1, 0)._replace(tx_hash=""), fill(2, 2 * MINUTE)._replace(tx_hash="")
    assert folded(first, second) == [[1], [2]]


@pytest.mark.parametrize("other", [{"whale_id": 2}, {"market_id": 2}, {"action": "SELL"}, {"outcome": "NO"}])
def test_other_whales_markets_actions_and_outcomes_are_other_trades(other: dict[str, object]) -> None:
    """Even within one transaction."""
    assert folded(fill(1, 0, "0xa"), fill(2, 0, "0xa", **other), fill(3, 0, "0xa")) == [[1, 3], [2]]


def test_a_trade_is_as_large_as_its_fills_together() -> None:
    """Ten dimes are a dollar, though their binary fractions are not."""
    dimes = [fill(number, 0, amount=0.1) for number in range(10)]
    assert fold.usd(dimes) == 1.0
    assert len(fold.of_large_trades(dimes, 1.0)) == 10
    assert fold.of_large_trades(dimes[1:], 1.0) == []


@pytest.mark.parametrize("seed", range(40))
def test_the_newest_large_trades_are_those_of_all_fills(seed: int) -> None:
    """Reading back only as far as needed finds what folding the whole history finds."""
    random = Random(seed)
    at = 0
    fills: list[Fill] = []
    for number in range(200):
        at += random.choice([0, 0, SECOND, 20 * SECOND, 45 * SECOND, 3 * MINUTE])
        transaction = fills[-1].tx_hash if fills and at == fills[-1].timestamp - NOW else ""
        where = {
            "whale_id": random.randrange(2),
            "market_id": random.randrange(2),
            "amount": random.choice([1.0, 30.0]),
        }
        fills.append(fill(number, at, transaction, **where))
    newest_first = fills[::-1]
    for since in (0, NOW + at // 2):
        for limit in (None, 1, 7, 50):
            everything = [each for each in fold.of_large_trades(fills, 60.0) if each.timestamp >= since]
            expected = sorted(everything, key=lambda each: each.id, reverse=True)[:limit]
            assert fold.newest_of_large_trades(newest_first, 60.0, since=since, limit=limit) == expected


def test_reading_back_ends_where_the_answer_is_known() -> None:
    """A page of the feed does not cost the whole history; nor does a search that begins at a moment."""
    read = 0

    def history() -> Iterator[Fill]:
        nonlocal read
        for number in range(1000, 0, -1):
            read += 1
            yield fill(number, number * 5 * MINUTE)

    assert [each.id for each in fold.newest_of_large_trades(history(), 10.0, limit=3)] == [1000, 999, 998]
    assert read == 4
    read, since = 0, NOW + 999 * 5 * MINUTE
    assert len(fold.newest_of_large_trades(history(), 10.0, since=since)) == 2
    assert read == 3
