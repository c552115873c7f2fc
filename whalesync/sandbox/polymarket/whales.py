"""Wallets that trade without end; each day follows from the seed and its date alone."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import NamedTuple

from ..values import DAY, Record, digest
from .books import Arrival, Feed
from .catalogue import Listed, OpenOn
from .ledger import Move
from .wire import as_activity_names_it, combo_id, make_activity, plain, tokens_of

INCOME = {"REWARD": 0.25, "MAKER_REBATE": 0.3, "TAKER_REBATE": 0.1, "YIELD": 0.15, "REFERRAL_REWARD": 0.03}
"""How likely each is on a day."""
CASH = {"DEPOSIT": 0.08, "WITHDRAWAL": 0.05, "TIP": 0.03, "MIGRATION": 0.01}


class _Leg(NamedTuple):
    """Millionths of shares of an outcome that a trade buys, or sells if negative."""

    outcome: int
    millionths: int


class _Transaction(NamedTuple):
    """Rows of one second that show together; the hash keeps the order of equal seconds.

    `type` says what it is: rows of its kind in a market for each leg, a redemption of whatever is held then, or,
    without a market, finished records.
    """

    at: int
    tx_hash: str
    type: str
    market: Listed | None = None
    legs: tuple[_Leg, ...] = ()
    records: tuple[Record, ...] = ()


@dataclass
class Whale:
    """A wallet: transactions a day, dollars of a usual trade, and the share of its trades in which it takes."""

    seed: str
    pace: float
    dollars: float
    taking: float
    _held: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    _planned: set[str] = field(default_factory=set)

    def feed(self, open_on: OpenOn, first_day: int) -> Feed:
        """All its rows from a day (counted since 1970) on, without end; what was bought before is never sold."""
        ahead: list[_Transaction] = []
        for day in itertools.count(first_day):
            for transaction in self._day(day, open_on(day)):
                heapq.heappush(ahead, transaction)
            while ahead and ahead[0].at < (day + 1) * DAY:
                transaction = heapq.heappop(ahead)
                yield from self._arrivals(transaction, ahead)

    def _day(self, day: int, markets: list[Listed]) -> Iterator[_Transaction]:
        """What begins on a day: purchases with what follows from each, and what is paid to the wallet or by it."""
        rng = Random(f"{self.seed}/{day}")
        hashes = (digest(self.seed, day, place) for place in itertools.count())
        for type, chance in {**INCOME, **CASH}.items():
            if rng.random() < chance:
                at = day * DAY + rng.randrange(600, 7200 if type in INCOME else DAY)
                size = 0 if type == "MIGRATION" else plain(rng.lognormvariate(3 if type in INCOME else 7, 1))
                side = rng.choice(("IN", "OUT")) if type == "TIP" else ""
                record = make_activity(type, timestamp=at, size=size, side=side, transaction_hash=f"0x{next(hashes)}")
                yield _Transaction(at, next(hashes), type, records=(record,))
        # Below one a day the fraction becomes a chance.
        count = int(self.pace / 1.7 * rng.uniform(0.5, 1.5) + rng.random())
        for second in sorted(rng.randrange(DAY) for _ in range(count)):
            at = day * DAY + second
            if rng.random() < 0.02:
                yield from self._combo(rng, at, next(hashes))
            # Sometimes several transactions in one second.
            for _ in range(2 if rng.random() < 0.06 else 1):
                if markets:
                    yield from self._round_trip(rng, at, next(hashes), rng.choice(markets))

    def _round_trip(self, rng: Random, at: int, tx_hash: str, market: Listed) -> Iterator[_Transaction]:
        """A purchase, and its sale unless it is held to the end; or a split, and what becomes of its two sides.

        A transaction is mostly one row, sometimes several, sometimes identical ones.
        """
        index = int(rng.random() < 0.4)
        split = rng.random() < 0.06
        price = 0.5 if split else market.price(at, index)
        shape = rng.random()
        sizes = [
            max(5_000_000, int(1e4 * self.dollars * rng.lognormvariate(0, 0.8) / price) * 100)
            for _ in range(rng.randint(2, 4) if shape < 0.12 else 1)
        ]
        if shape > 0.94:
            sizes *= 2
        total = sum(sizes)
        bought = tuple(_Leg(index, size) for size in (sizes[:1] if split else sizes))
        yield _Transaction(at, tx_hash, "SPLIT" if split else "TRADE", market, bought)
        later = at + int(rng.uniform(0.02, 1.5) * DAY)
        fate = rng.random()
        if later >= market.path.closes:
            return
        tx_hash = digest(tx_hash, "later")
        if split:
            held = sizes[0]
            if fate < 0.5:
                yield _Transaction(later, tx_hash, "MERGE", market, (_Leg(0, held),))
            elif fate < 0.8:
                yield _Transaction(later, tx_hash, "TRADE", market, (_Leg(0, -held),))
        elif market.rivals and index == 1 and fate < 0.25:
            yield _Transaction(later, tx_hash, "CONVERSION", market, (_Leg(1, total),))
        elif fate < 0.55:
            sold = total // 2 if fate < 0.08 else total - 5_000 if fate < 0.1 else total
            yield _Transaction(later, tx_hash, "TRADE", market, (_Leg(index, -sold),))

    def _combo(self, rng: Random, at: int, tx_hash: str) -> Iterator[_Transaction]:
        """A combination of markets, bought and, some days later, redeemed; most of them for nothing."""
        number = rng.randrange(10**9)
        size, price = plain(rng.lognormvariate(5, 1)), round(rng.uniform(0.05, 0.4), 3)
        common: Record = {"condition_id": combo_id(number), "is_combo": True}
        token = str(int(digest("combo token", number), 16))
        bought = make_activity(
            size=size, price=price, timestamp=at, token_id=token, transaction_hash=f"0x{tx_hash}", **common
        )
        yield _Transaction(at, tx_hash, "TRADE", records=(bought,))
        if rng.random() < 0.3:
            later, redeemed = at + rng.randint(1, 4) * DAY, digest(tx_hash, "redeemed")
            record = make_activity(
                "REDEEM", size=size, timestamp=later, token_id=token, transaction_hash=f"0x{redeemed}", **common
            )
            yield _Transaction(later, redeemed, "REDEEM", records=(record,))

    def _arrivals(self, transaction: _Transaction, ahead: list[_Transaction]) -> Iterator[Arrival]:
        """The rows of a transaction; what it leaves to redeem is put among those ahead."""
        at, tx_hash, type, market, legs, records = transaction
        rng = Random(tx_hash)
        visible_at = at + _lateness(rng)
        labelled_at = visible_at + (rng.uniform(20, 120) if rng.random() < 0.06 else 0)
        if market is None:
            for record in records:
                yield Arrival(record, visible_at, labelled_at)
            return
        condition = as_activity_names_it(market.record["conditionId"])
        held = self._held[condition]
        common: Record = {"timestamp": at, "transaction_hash": f"0x{tx_hash}", "condition_id": condition}
        match type:
            case "TRADE":
                for leg in legs:
                    held[leg.outcome] += leg.millionths
                    # Rows of one transaction come through several streams: they may appear at different times.
                    late = rng.uniform(0, 90) if len(legs) > 1 and rng.random() < 0.1 else 0
                    yield Arrival(self._trade(rng, market, leg, common), visible_at + late, labelled_at + late)
            case "SPLIT" | "MERGE":
                millionths = legs[0].millionths if type == "SPLIT" else -legs[0].millionths
                held[0] += millionths
                held[1] += millionths
                yield Arrival(make_activity(type, size=abs(millionths) / 1e6, **common), visible_at, labelled_at)
            case "CONVERSION":
                record, moves = self._convert(market, legs[0], common)
                yield Arrival(record, visible_at, labelled_at, moves)
            case "REDEEM":
                yield from (Arrival(each, visible_at, labelled_at) for each in self._redeem(rng, market, common))
                return
        for each in (market, *market.rivals) if type == "CONVERSION" else (market,):
            self._redeem_later(each, ahead)

    def _trade(self, rng: Random, market: Listed, leg: _Leg, common: Record) -> Record:
        size = abs(leg.millionths) / 1e6
        price = market.price(common["timestamp"], leg.outcome)
        notional = plain(size * price)
        fee = 0.0
        if rng.random() < self.taking:
            fee = round(size * market.fee_rate * price * (1 - price), 5)
            # The difference is right, not the formula: some orders carry the fee of whoever built them.
            fee += round(rng.uniform(0.01, 0.09), 5) if fee and rng.random() < 0.1 else 0
        buys = leg.millionths > 0
        return make_activity(
            size=size,
            price=round(notional / size, 10),
            side="BUY" if buys else "SELL",
            token_id=tokens_of(market.record)[leg.outcome],
            usdc_size=plain(notional + (fee if buys else -fee)),
            **common,
        )

    def _convert(self, market: Listed, leg: _Leg, common: Record) -> tuple[Record, tuple[Move, ...]]:
        """Shares of NO become as many shares of YES of each rival, at what these are traded at; no cash moves."""
        at, shares = common["timestamp"], Decimal(leg.millionths) / 1_000_000
        moves = [Move(tokens_of(market.record)[1], -shares, Decimal(str(market.price(at, 1))))]
        self._held[common["condition_id"]][1] -= leg.millionths
        for rival in market.rivals:
            moves.append(Move(tokens_of(rival.record)[0], shares, Decimal(str(rival.price(at, 0)))))
            self._held[as_activity_names_it(rival.record["conditionId"])][0] += leg.millionths
        return make_activity("CONVERSION", size=float(shares), usdc_size=0.0, **common), tuple(moves)

    def _redeem(self, rng: Random, market: Listed, common: Record) -> Iterator[Record]:
        """Everything that is held of a market, for what it pays; what pays nothing has a row of nothing, or none."""
        held, winner = self._held[common["condition_id"]], market.winner
        paid = sum(held) / 2 if winner is None else held[winner]
        if not any(held) or (not paid and rng.random() < 0.6):
            return
        held[:] = 0, 0
        token = "" if rng.random() < 0.55 or winner is None else tokens_of(market.record)[winner]
        yield make_activity("REDEEM", size=plain(paid / 1e6), token_id=token, **common)

    def _redeem_later(self, market: Listed, ahead: list[_Transaction]) -> None:
        """Plan the redemption of a market's shares, some hours after it is closed; a few are forgotten."""
        number = market.record["id"]
        if number in self._planned:
            return
        self._planned.add(number)
        rng = Random(f"{self.seed}/redeem/{number}")
        if rng.random() < 0.92:
            at = int(market.closed_at + 3600 * rng.uniform(0.1, 30))
            heapq.heappush(ahead, _Transaction(at, digest(self.seed, "redeem", number), "REDEEM", market))


def _lateness(rng: Random) -> float:
    """Seconds from a block until its rows show: mostly some, rarely minutes, very rarely hours."""
    chance = rng.random()
    if chance < 0.9:
        return rng.uniform(2, 14)
    if chance < 0.98:
        return rng.uniform(14, 120)
    return rng.uniform(120, 3000) if chance < 0.995 else rng.uniform(3600, 20 * 3600)
