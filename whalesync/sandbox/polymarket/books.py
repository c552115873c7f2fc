"""What Polymarket holds: markets, the activity of wallets, and from when on each of it shows.

Everything is as of the clock's now (Unix seconds). Rows stay in the shape of the wire, so that a test can compare a
client's database with what the exchange itself holds.
"""

import heapq
import itertools
import json
import math
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from ..values import DAY, Record, digest
from .ledger import Holding, Move, holdings, number
from .wire import UNLABELLED, as_activity_names_it, odd_time, plain, tokens_of

DUST = Decimal("0.01")
"""Shares: a position of no more than these is listed with the closed ones."""
SEQUENCES_A_BLOCK = 10**10
SOME_BLOCK, BLOCK_AT, BLOCK_SECONDS = 93_783_884, 1_789_380_859, 1.5

PricePath = Callable[[float], float]
"""The price (USD) of a market's first outcome at a Unix second; its two outcomes are a dollar together."""


@dataclass(eq=False, slots=True)
class Row:
    """A row of activity: what the chain says of it, its place in the chain, and from when to when it shows.

    Attributes:
        record: the fields of the wire that the chain says; what else is in it is sent over what the market says.
        sequence: the place within the chain, which decides among rows of one second.
        visible_at: when it appears in the activity (Unix seconds).
        counted_at: when user-volume begins to count it.
        labelled_at: until then its outcome is not labelled.
        hidden_at: from then on it is gone.
        moves: the shares that it moves, where they do not follow from the record.
    """

    wallet: str
    record: Record
    sequence: int
    visible_at: float = 0.0
    counted_at: float = 0.0
    labelled_at: float = 0.0
    hidden_at: float = math.inf
    moves: tuple[Move, ...] | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What the rows of a wallet are ordered by: block second, place in the chain."""
        return self.record["timestamp"], self.sequence


class Arrival(NamedTuple):
    """A row that a wallet's feed brings: as `Books.add` takes it."""

    record: Record
    visible_at: float = 0.0
    labelled_at: float = 0.0
    moves: tuple[Move, ...] | None = None


Feed = Iterator[Arrival]
"""Rows in the order of their `timestamp`."""


class Volume(NamedTuple):
    """What user-volume says: shares, USD without fees, number of trades."""

    shares: Decimal
    usdc: Decimal
    trades: int


@dataclass
class _Account:
    rows: list[Row] = field(default_factory=list)
    feed: Feed = field(default_factory=lambda: iter(()))
    upcoming: Arrival | None = None
    version: int = 0
    folded: tuple[object, dict[str, Holding]] | None = None


@dataclass
class Market:
    """A market's record as Gamma has it, when it was closed, and what a share of each outcome pays then (USD)."""

    record: Record
    since: float
    closed_at: float = math.inf
    payouts: tuple[Decimal, ...] = ()
    path: PricePath | None = None

    @property
    def tokens(self) -> list[str]:
        """The ids of its outcomes' tokens."""
        return tokens_of(self.record)

    @property
    def outcomes(self) -> list[str]:
        """The labels of its outcomes."""
        labels: list[str] = json.loads(self.record.get("outcomes") or "[]")
        return labels

    @property
    def condition(self) -> str:
        """Its condition as the Data API writes it."""
        return as_activity_names_it(self.record["conditionId"])


class Books:
    """Markets and wallets. Threads may share it; records are copied on their way in and on their way out.

    `volume_lag` is how long (seconds) after it shows a trade is counted by user-volume. `status_age` is the age that
    the status says of itself, and None before it was first measured.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.volume_lag = 900.0
        self.status_age: float | None = 4.0
        self.lock = threading.RLock()
        self._markets: dict[str, Market] = {}  # by condition
        self._of_token: dict[str, tuple[Market, int]] = {}
        self._changes: list[tuple[float, int, str, Record]] = []
        self._accounts: dict[str, _Account] = {}
        self._serial = itertools.count(1)
        self._stalls: list[tuple[float, float]] = []

    # Filling the books

    def add_market(self, record: Record, *, price: float | PricePath | None = 0.5, at: float = 0.0) -> Market:
        """Add a market, or replace the one of the same condition. Nobody knows it before the Unix second `at`."""
        market = Market(dict(record), at)
        with self.lock:
            self._markets[market.condition] = market
            for index, token in enumerate(market.tokens):
                self._of_token[token] = market, index
            if price is not None:
                self.set_price(market.condition, price)
        return market

    def update_market(self, condition: str, at: float = 0.0, **fields: Any) -> None:
        """Change fields of a market once the clock reaches `at`; raises KeyError if there is none."""
        with self.lock:
            market = self._markets[as_activity_names_it(condition)]
            heapq.heappush(self._changes, (at, next(self._serial), market.condition, fields))

    def set_price(self, condition: str, price: float | PricePath) -> None:
        """Set the price of the first outcome, or let it follow a path; raises KeyError if there is no such market."""
        with self.lock:
            market = self._markets[as_activity_names_it(condition)]
            market.path = price if callable(price) else lambda at: price

    def resolve(self, condition: str, winner: int | None, at: float | None = None) -> None:
        """Close a market at a Unix second (now) with the outcome that won, None for a draw; raises KeyError."""
        at = self.clock() if at is None else at
        with self.lock:
            market = self._markets[as_activity_names_it(condition)]
            count = len(market.outcomes)
            market.closed_at = at
            market.payouts = tuple(
                Decimal(1) / count if winner is None else Decimal(int(index == winner)) for index in range(count)
            )
            status = "umaResolutionStatus" if market.record["version"] == "v1" else "resolutionStatus"
            self.update_market(
                condition, at, closed=True, closedTime=odd_time(at), acceptingOrders=False, **{status: "resolved"}
            )

    def add(
        self,
        wallet: str,
        record: Record,
        *,
        visible_at: float = 0.0,
        counted_at: float | None = None,
        labelled_at: float = 0.0,
        place: int | None = None,
        moves: tuple[Move, ...] | None = None,
    ) -> Row:
        """Add a row of activity, shown from the Unix second `visible_at` on: later than its own makes it late.

        `counted_at`: when user-volume begins to count it, if not when it shows. `place`: its place within its block,
        which must be free, otherwise behind all that were added before.
        """
        wallet = wallet.lower()
        row = Row(
            wallet,
            dict(record),
            sequence(record["timestamp"], next(self._serial) if place is None else place),
            visible_at,
            visible_at if counted_at is None else counted_at,
            labelled_at,
            moves=moves,
        )
        with self.lock:
            self._insert(row)
        return row

    def remove(self, row: Row, at: float | None = None) -> None:
        """Show a row no longer, from a Unix second (now) on."""
        with self.lock:
            row.hidden_at = self.clock() if at is None else at
            self._accounts[row.wallet].version += 1

    def mine_again(self, rows: Iterable[Row], timestamp: int) -> None:
        """Let the rows of a transaction be in another second's block, as after a reorganization of the chain."""
        with self.lock:
            for row in rows:
                self._accounts[row.wallet].rows.remove(row)
                row.record["timestamp"] = timestamp
                row.sequence = sequence(timestamp, next(self._serial))
                self._insert(row)

    def rewrite(self, row: Row, **fields: Any) -> None:
        """Change what a row says: its label, or even what must never change."""
        with self.lock:
            row.record.update(fields)
            self._accounts[row.wallet].version += 1

    def follow(self, wallet: str, feed: Feed) -> None:
        """Let a wallet act on its own. An endless feed is read only as far as the clock has come."""
        with self.lock:
            account = self._accounts.setdefault(wallet.lower(), _Account())
            account.feed, account.upcoming = feed, next(feed, None)

    def stall(self, since: float | None = None, until: float = math.inf) -> None:
        """Let the index stand still from a Unix second (now) on: nothing new shows, and the status says how long."""
        with self.lock:
            self._stalls.append((self.clock() if since is None else since, until))

    def resume(self) -> None:
        """End every stall now."""
        with self.lock:
            now = self.clock()
            self._stalls = [(since, min(until, now)) for since, until in self._stalls]

    # Reading them

    def wallets(self) -> list[str]:
        """Every wallet that was ever added."""
        with self.lock:
            return list(self._accounts)

    def rows(self, wallet: str) -> list[Row]:
        """Every row of a wallet up to now in the order of the chain, shown or not."""
        with self.lock:
            return list(self._caught_up(wallet).rows)

    def shown(self, wallet: str) -> list[Row]:
        """The rows that show now, in the order of the chain."""
        with self.lock:
            rows, now, reach = self._caught_up(wallet).rows, self.clock(), self._reach()
            return [row for row in rows if row.visible_at <= reach and now < row.hidden_at]

    def activity(self, wallet: str) -> list[Record]:
        """The rows that show now as they are sent, in the order of the chain; without tips, but with deposits."""
        return [self.as_sent(row) for row in self.shown(wallet) if row.record["type"] != "TIP"]

    def rows_after(self, wallet: str, key: tuple[int, int], *, ascending: bool) -> Iterator[Row]:
        """The rows that show now behind a key of the order, or before it from the newest on; read under the lock."""
        rows, now, reach = self._caught_up(wallet).rows, self.clock(), self._reach()
        place = bisect_left(rows, key, key=lambda row: row.key)
        if ascending and place < len(rows) and rows[place].key == key:
            place += 1
        order = range(place, len(rows)) if ascending else range(place - 1, -1, -1)
        found = (rows[index] for index in order)
        return (row for row in found if row.visible_at <= reach and now < row.hidden_at)

    def as_sent(self, row: Row) -> Record:
        """A row with everything that is sent of it: also what is known of its market and of the wallet."""
        record = row.record
        return {
            "proxy_wallet": row.wallet,
            **self._known_of(record, labelled=row.labelled_at <= self._reach()),
            **profile(row.wallet),
            **record,
        }

    def volume(self, wallet: str, first: float = 0.0, last: float = math.inf) -> Volume:
        """What is counted now of the trades from the UTC day of one Unix second to that of another."""
        begin = first // DAY * DAY
        end = (last // DAY + 1) * DAY if last < math.inf else math.inf
        shares = usdc = Decimal(0)
        trades = 0
        with self.lock:
            rows, now, reach = self._caught_up(wallet).rows, self.clock(), self._reach()
            for row in rows:
                record = row.record
                counted = (not row.counted_at or row.counted_at + self.volume_lag <= reach) and now < row.hidden_at
                if counted and record["type"] == "TRADE" and begin <= record["timestamp"] < end:
                    shares += number(record["size"])
                    usdc += number(record["size"]) * number(record["price"])
                    trades += 1
        return Volume(shares, usdc, trades)

    def holdings(self, wallet: str) -> dict[str, Holding]:
        """By token what the wallet holds, and has gained, by the rows that show now."""
        with self.lock:
            account = self._caught_up(wallet)
            shown = self.shown(wallet)
            state = account.version, len(shown), sum(market.closed_at <= self.clock() for market in self.markets())
            if account.folded is None or account.folded[0] != state:
                rows = ((row.record, row.moves) for row in shown)
                account.folded = state, holdings(rows, self._tokens_of, self._payouts_of)
            return account.folded[1]

    def markets(self) -> list[Market]:
        """Every market that exists now, as it is now, in the order of adding."""
        with self.lock:
            self._apply_changes()
            now = self.clock()
            return [market for market in self._markets.values() if market.since <= now]

    def market(self, condition: str) -> Market | None:
        """The market of a condition, in either of its forms; None if there is none yet."""
        with self.lock:
            self._apply_changes()
            market = self._markets.get(as_activity_names_it(condition.lower()))
            return market if market and market.since <= self.clock() else None

    def of_token(self, token: str) -> tuple[Market, int] | None:
        """The market of a token, and the index of its outcome."""
        with self.lock:
            self._apply_changes()
            return self._of_token.get(token)

    def prices(self, market: Market, at: float | None = None) -> list[float]:
        """The price (USD) of each outcome: what it pays once the market is closed. Empty if it was never traded."""
        at = self.clock() if at is None else at
        if at >= market.closed_at:
            return [float(payout) for payout in market.payouts]
        if market.path is None:
            return []
        first = plain(market.path(at))
        return [first, plain(1 - first)]

    def stalled_for(self) -> float:
        """Seconds for which the index has stood still; 0 if it does not."""
        return self.clock() - self._reach()

    # What has happened up to now

    def _reach(self) -> float:
        """Up to which Unix second the index has come: now, unless it stands still."""
        now = self.clock()
        return min((since for since, until in self._stalls if since <= now < until), default=now)

    def _insert(self, row: Row) -> None:
        account = self._accounts.setdefault(row.wallet, _Account())
        insort(account.rows, row, key=lambda each: each.key)
        account.version += 1

    def _caught_up(self, wallet: str) -> _Account:
        account = self._accounts.get(wallet.lower())
        if account is None:
            return _Account()
        now = self.clock()
        while account.upcoming and account.upcoming.record["timestamp"] <= now:
            record, visible_at, labelled_at, moves = account.upcoming
            self.add(wallet, record, visible_at=visible_at, labelled_at=labelled_at, moves=moves)
            account.upcoming = next(account.feed, None)
        return account

    def _apply_changes(self) -> None:
        now = self.clock()
        while self._changes and self._changes[0][0] <= now:
            _, _, condition, fields = heapq.heappop(self._changes)
            self._markets[condition].record.update(fields)

    def _tokens_of(self, condition: str) -> tuple[str, ...]:
        market = self._markets.get(condition)
        return tuple(market.tokens) if market else ()

    def _payouts_of(self, condition: str) -> tuple[Decimal, ...]:
        market = self._markets.get(condition)
        return market.payouts if market else ()

    def _known_of(self, record: Record, *, labelled: bool) -> Record:
        """What is known of a row's market: nothing of a combination's, and no outcome before it is labelled."""
        outcome: Record = {"outcome": "", "outcome_index": UNLABELLED}
        market = self.market(record["condition_id"]) if record["condition_id"] else None
        if market is None:
            return {**dict.fromkeys(("title", "slug", "icon", "event_slug"), ""), **outcome}
        if labelled and record["token_id"] in market.tokens:
            index = market.tokens.index(record["token_id"])
            outcome = {"outcome": market.outcomes[index], "outcome_index": index}
        event = market.record["events"][0] if market.record.get("events") else {}
        return {
            "title": market.record["question"],
            "slug": market.record["slug"],
            "icon": market.record["icon"],
            "event_slug": event.get("slug", "") if labelled else "",
            **outcome,
        }


def sequence(timestamp: int, place: int) -> int:
    """The place in the chain of a log, by its block's second and its place within the block."""
    block = SOME_BLOCK + math.floor((timestamp - BLOCK_AT) / BLOCK_SECONDS)
    return block * SEQUENCES_A_BLOCK + place


def block_of(at: float) -> int:
    """The number of the block of a Unix second."""
    return sequence(int(at), 0) // SEQUENCES_A_BLOCK


def profile(wallet: str) -> Record:
    """What the exchange shows of a wallet's owner, the same for the same wallet."""
    name = f"trader-{digest('polymarket name', wallet)[:6]}"
    return {
        "name": name,
        "pseudonym": name.title(),
        "bio": "",
        "profile_image": "",
        "profile_image_optimized": "",
    }
