"""Wallets that trade without end, and what they hold; each day follows from the seed and its date alone."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import NamedTuple

from ..prices import Path
from ..values import DAY, Record, digest
from .books import Feed
from .quotes import price
from .wire import decimal18, make_trade, number, plain

PAIR_SIDE = 500  # thousandths of a dollar that each side of a Split or Merge counts


@dataclass(frozen=True, slots=True)
class Traded:
    """A binary market or a child in which whales trade; `root` is its topic, or itself.

    `opens` is when trading begins and `settled_at` when winners can be claimed (Unix seconds, infinity if never).
    """

    market: Record
    root: Record
    path: Path
    opens: float
    settled_at: float


OpenOn = Callable[[int], list[Traded]]
"""The markets in which one can trade on a whole day, counted since 1970."""


def open_markets(traded: list[Traded]) -> OpenOn:
    """The function that says which markets are open on a day; its answers are cached."""

    @lru_cache(maxsize=400)
    def open_on(day: int) -> list[Traded]:
        start, end = day * DAY, (day + 1) * DAY
        return [each for each in traded if each.opens <= start and end <= each.path.closes]

    return open_on


class _Lot(NamedTuple):
    """Shares (in hundredths) of one outcome, bought in one fill, at a cost (in thousandths of a dollar) a share."""

    yes: bool
    hundredths: int
    cost: int


class _Transaction(NamedTuple):
    """Fills that show from the same Unix second on; the hash keeps the order of equal seconds."""

    at: int
    tx_hash: str
    visible_at: float
    fills: list[Record]


@dataclass(frozen=True, slots=True)
class Whale:
    """A wallet: transactions a day, and dollars of a usual fill."""

    seed: str
    pace: float
    dollars: float

    def trades(self, open_on: OpenOn, first_day: int) -> Feed:
        """All its trades from a day (counted since 1970) on, without end; what was bought before is never sold."""
        ahead: list[_Transaction] = []
        for day in itertools.count(first_day):
            if markets := open_on(day):
                for transaction in self._day(day, markets):
                    heapq.heappush(ahead, transaction)
            while ahead and ahead[0].at < (day + 1) * DAY:
                transaction = heapq.heappop(ahead)
                for fill in transaction.fills:
                    yield fill, transaction.visible_at

    def _day(self, day: int, markets: list[Traded]) -> Iterator[_Transaction]:
        """What is bought on a day, and the sales of it on the days after."""
        rng = Random(f"{self.seed}/{day}")
        # About six in ten purchases are sold again. Also below one a day: the fraction becomes a chance.
        count = int(self.pace / 1.6 * rng.uniform(0.5, 1.5) + rng.random())
        hashes = (digest(self.seed, day, place) for place in itertools.count())
        for second in sorted(rng.randrange(DAY) for _ in range(count)):
            # Sometimes several transactions in one second.
            for _ in range(rng.choice((2, 3)) if rng.random() < 0.08 else 1):
                yield from self._round_trip(rng, day * DAY + second, next(hashes), rng.choice(markets))

    def _round_trip(self, rng: Random, at: int, tx_hash: str, traded: Traded) -> Iterator[_Transaction]:
        """A purchase, and its sale a day or two later unless it is held.

        A transaction is mostly one fill, sometimes several, sometimes identical ones, sometimes shown late.
        """
        how = rng.choices(("Buy", "Split", "Buy both"), (90, 6, 4))[0]
        sides = (rng.random() < 0.6,) if how == "Buy" else (True, False)
        costs = {yes: PAIR_SIDE if how == "Split" else traded.path.thousandths(at, yes) for yes in sides}
        shape = rng.random()
        sizes = [
            max(100, int(100_000 * self.dollars * rng.lognormvariate(0, 0.8) / costs[sides[0]]))
            for _ in range(rng.randint(2, 4) if shape < 0.1 else 1)
        ]
        if shape > 0.95:
            sizes *= 2
        lots = [_Lot(yes, size, costs[yes]) for size in sizes for yes in sides]
        bought = "Split" if how == "Split" else "Buy"
        yield self._transaction(rng, at, tx_hash, traded, bought, lots)

        fate = rng.random()
        sold_at = at + int(rng.uniform(1, 2) * DAY)
        if sold_at >= traded.path.closes:
            return
        sold = "Sell"
        if how == "Buy":
            if fate < 0.08:
                lots = [lot._replace(hundredths=lot.hundredths // 2) for lot in lots]
            elif fate > 0.6:
                return
        elif fate < 0.6:
            sold = "Merge"
        elif fate < 0.8:
            lots = [lot for lot in lots if lot.yes]
        else:
            return
        yield self._transaction(rng, sold_at, digest(tx_hash, "sale"), traded, sold, lots)

    def _transaction(
        self, rng: Random, at: int, tx_hash: str, traded: Traded, side: str, lots: list[_Lot]
    ) -> _Transaction:
        visible_at = at + rng.uniform(60, 900) if rng.random() < 0.05 else at
        status = rng.choice(("Filled", "Finished"))
        fills = [_fill(at, tx_hash, traded, side, lot, status) for lot in lots]
        return _Transaction(at, tx_hash, visible_at, fills)


def _fill(at: int, tx_hash: str, traded: Traded, side: str, lot: _Lot, status: str) -> Record:
    """A lot bought or sold at the price of the second; a Merge or Split is a row for each outcome, without a fee."""
    pair = side in ("Merge", "Split")
    thousandths = PAIR_SIDE if pair else traded.path.thousandths(at, lot.yes)
    gain = thousandths - lot.cost if side in ("Sell", "Merge") else 0
    return make_trade(
        txHash=f"0x{tx_hash}",
        marketId=traded.market["marketId"],
        marketTitle=traded.market["marketTitle"],
        rootMarketId=traded.root["marketId"],
        rootMarketTitle=traded.root["marketTitle"],
        side=side,
        outcome=traded.market["yesLabel" if lot.yes else "noLabel"],
        outcomeSide=1 if lot.yes else 2,
        price=price(thousandths),
        shares=f"{lot.hundredths / 100:.2f}",
        amount=decimal18(f"{thousandths * lot.hundredths / 100_000:.5f}"),
        fee="0" if pair else f"{thousandths * lot.hundredths / 10_000_000:.6f}",
        profit=f"{gain * lot.hundredths / 100_000:.5f}",
        statusEnum=status,
        createdAt=at,
    )


_Outcome = tuple[int, int]
"""The number of a market, and the outcome's side: 1 yes, 2 no."""


class Portfolio:
    """What a wallet holds, as its trades leave it. What has won is claimed some hours after it is settled."""

    def __init__(self, seed: str, traded: Iterable[Traded]) -> None:
        self._seed = seed
        self._traded = {each.market["marketId"]: each for each in traded}
        self._counted = 0
        self._held: dict[_Outcome, tuple[Decimal, Decimal]] = {}

    def __call__(self, trades: Sequence[Record], at: float) -> list[Record]:
        """The rows at a Unix second, from all trades that show by then."""
        # Trades never go away, so those that show are the same ones as long as there are as many.
        if len(trades) != self._counted:
            self._held, self._counted = _holdings(trades), len(trades)
        rows = []
        for (market, side), (shares, cost) in self._held.items():
            traded = self._traded.get(market)
            if traded and shares > 0 and not self._claimed(traded, yes=side == 1, at=at):
                token = traded.market["yesTokenId" if side == 1 else "noTokenId"]
                rows.append({"tokenId": token, "sharesOwned": plain(shares), "avgEntryPrice": plain(cost / shares)})
        return rows

    def _claimed(self, traded: Traded, *, yes: bool, at: float) -> bool:
        if at < traded.settled_at or traded.path.wins != yes:
            return False
        hours = Random(f"{self._seed}/claim/{traded.market['marketId']}").uniform(1, 12)
        return at >= traded.settled_at + 3600 * hours


def _holdings(trades: Iterable[Record]) -> dict[_Outcome, tuple[Decimal, Decimal]]:
    """Shares of each outcome and what they cost: a sale takes away the cost of the lot that it sells."""
    shares: defaultdict[_Outcome, Decimal] = defaultdict(Decimal)
    costs: defaultdict[_Outcome, Decimal] = defaultdict(Decimal)
    for trade in trades:
        outcome = trade["marketId"], trade["outcomeSide"]
        sign = 1 if trade["side"] in ("Buy", "Split") else -1
        shares[outcome] += sign * number(trade["shares"])
        costs[outcome] += sign * (number(trade["amount"]) - number(trade["profit"]))
    return {outcome: (shares[outcome], costs[outcome]) for outcome in shares}
