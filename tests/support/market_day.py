"""An exchange whose markets come, change and end, and what must be stored of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.market_host import BUDGET, NOW, Host

from whalesync.records import Trade
from whalesync.sandbox import Record, make_categorical, make_child, make_market
from whalesync.sandbox.opinion_trade.listing import listing
from whalesync.sandbox.opinion_trade.queries import page
from whalesync.store import markets
from whalesync.store.database import open_database

RUN_SECONDS = 300
SECONDS_A_REQUEST = 1 / 13
NAMES = {1: "created", 2: "activated", 3: "resolving", 4: "resolved", 5: "failed", 6: "deleted"}
LATER = 3  # the markets of a series that are announced

Row = tuple[str, str]


@dataclass
class Shown:
    """What must be stored of a market. ``volume`` is that of topics."""

    status: str
    result: str | None = None
    parent: str | None = None
    volume: float | None = None


@dataclass(eq=False)
class MarketDay(Host):
    """Topics and tradeable markets are numbered from 1 on, each kind by itself.

    Args:
        open_topics: with four children each, of which one has been decided.
        ended_topics: with three children each.
        series: binary markets, of which each has a current one, ``past`` ones and three later ones.
        unlisted: binary markets, and as many children, that are known from trades alone.
    """

    db: Path
    open_topics: int
    ended_topics: int
    series: int
    past: int
    unlisted: int
    random: random.Random = field(default_factory=lambda: random.Random(5))

    def __post_init__(self) -> None:
        super().__init__(self.db)
        self.requests: Counter[str] = Counter()
        self._listings: dict[tuple[Any, Any], list[Record]] = {}
        self._topics = 0
        self._markets = 0
        self.gone: dict[Row, Shown] = {}
        for _ in range(self.ended_topics):
            self.add_topic(4, [4, 4, 4])
        for _ in range(self.open_topics):
            self.add_topic(self.random.choice([1, 2]), [2, 2, 1, 4])
        self.running: list[list[int]] = []
        for _ in range(self.series):
            numbers = [self.add_market(self.series_status(place)) for place in range(self.past + 1 + LATER)]
            self.running.append(numbers)
            self.tell_series(numbers)
        for _ in range(self.unlisted):
            self.add_unlisted()

    # The exchange

    def series_status(self, place: int) -> int:
        return 4 if place < self.past else 2 if place == self.past else 1

    def add_market(self, status: int, *, listed: bool = True) -> int:
        """Add a binary market; returns its number."""
        self._markets += 1
        fields = self._fields(self._markets, status)
        self.books.add_market(make_market(self._markets, **fields), listed=listed)
        self._listings.clear()
        return self._markets

    def add_topic(self, status: int, children: list[int], *, listed: bool = True) -> int:
        """Add a topic with children of these statuses; returns its number."""
        self._topics += 1
        made = []
        for each in children:
            self._markets += 1
            made.append(make_child(self._markets, **self._fields(self._markets, each)))
        topic = make_categorical(self._topics, made, status=status, createdAt=self._second())
        self.books.add_market(topic, listed=listed)
        self._listings.clear()
        return self._topics

    def add_unlisted(self) -> None:
        """Add a binary market and a topic that are in no list, and store a trade in each of its tradeable markets."""
        binary = self.add_market(2, listed=False)
        topic = self.add_topic(2, [2, 4], listed=False)
        first, second = (child["marketId"] for child in self.topic(topic)["childMarkets"])
        # One of the children's trades does not name the topic.
        self.trade_in(binary)
        self.trade_in(first, str(topic))
        self.trade_in(second)

    def trade_in(self, number: int, parent: str | None = None) -> None:
        """Store a stub of a market, as a trade in it does."""
        trade = Trade(
            "0x1", str(number), "a title", "BUY", "YES", 1.0, 0.5, 2.0, None, None, NOW * 1000,
            parent_external_id=parent, parent_title="a topic" if parent else None,
        )  # fmt: skip
        with open_database(self.db) as db, db.write():
            markets.ids_for(db, "opinion_trade", [trade], int(self._second() * 1000), {})

    def settle(self, number: int) -> None:
        """Resolve a market."""
        token = self.books.market(number)[self.random.choice(["yesTokenId", "noTokenId"])]
        self.change(number, status=4, resultTokenId=token)

    def change(self, number: int, *, topic: bool = False, **fields: Any) -> None:
        self.books.update_market(number, topic=topic, **fields)
        self._listings.clear()

    def trade(self, topic: int) -> None:
        """Let the volume of a topic's first child grow, and so the topic's."""
        children = self.topic(topic)["childMarkets"]
        volumes = [int(child["volume"]) for child in children]
        volumes[0] += 1 + self.random.randrange(10**6)
        self.change(children[0]["marketId"], volume=str(volumes[0]))
        self.change(topic, topic=True, volume=str(sum(volumes)))

    def remove(self, number: int) -> None:
        """Forget a binary market."""
        self.gone["market", str(number)] = Shown("deleted")
        self.books.remove_market(number)
        self._listings.clear()

    def move_series(self, numbers: list[int]) -> None:
        """Settle the current market of a series, open the next one and announce another."""
        current = numbers[-1 - LATER]
        self.settle(current)
        self.change(numbers[-LATER], status=2)
        numbers.append(self.add_market(1))
        self.tell_series(numbers)

    def tell_series(self, numbers: list[int]) -> None:
        current = {"marketId": numbers[-1 - LATER]}
        for number in numbers:
            self.change(number, collection={"title": "Up or down?", "current": current, "next": []})

    def topic(self, number: int) -> Record:
        found: Record = self.books.answer(f"/market/categorical/{number}", {})["data"]
        return found

    def honest(self, path: str, params: Any) -> Any:
        """Lists are made once for each change: thousands of markets take long to sort."""
        if path != "/market":
            return super().honest(path, params)
        query = {name: str(value) for name, value in params.items()}
        key = (query.get("status"), query.get("collectionType"))
        if key not in self._listings:
            self._listings[key] = listing(self.books.markets(), query)
        return page(self._listings[key], query)

    def get(self, path: str, params: Any) -> Any:
        """Prices take all the time that is left: they are not what is tested here."""
        if path.startswith("/token"):
            self.elapsed = self._begun + BUDGET
            return {"price": "0.5", "bids": [], "asks": []}
        self.requests["lists" if path == "/market" else "by id"] += 1
        self.elapsed += SECONDS_A_REQUEST
        return super().get(path, params)

    # The job

    def runs(self, count: int) -> Iterator[int]:
        """Run the job every five minutes; gives the number of listing requests of each run."""
        for _ in range(count):
            self._begun = self.elapsed
            before = self.requests.total()
            errors = self.sync().errors()
            assert not errors, errors
            self.elapsed = self._begun + RUN_SECONDS
            yield self.requests.total() - before

    # What must be stored

    def expected(self) -> dict[Row, Shown]:
        """Of each market, by its kind and number; what was looked up to be unknown is deleted."""
        rows = dict(self.gone)
        for market in self.books.markets(unlisted=True):
            number = str(market["marketId"])
            if not market["marketType"]:
                rows["market", number] = self._shown(market)
                continue
            children = market["childMarkets"]
            opened = any(child["status"] == 2 for child in children)
            volume = float(sum(Decimal(child["volume"]) for child in children))
            rows["topic", number] = Shown("activated" if opened else NAMES[market["status"]], volume=volume)
            rows |= {("market", str(child["marketId"])): self._shown(child, number) for child in children}
        return rows

    def stored_rows(self) -> dict[Row, Shown]:
        """What is stored of each market."""
        found = self.rows("SELECT * FROM markets")
        return {
            (row["kind"], row["external_id"]): Shown(
                row["status"],
                row["result"],
                row["parent_external_id"],
                row["volume"] if row["kind"] == "topic" else None,
            )
            for row in found
        }

    def differences(self) -> dict[Row, tuple[Shown | None, Shown | None]]:
        """What is expected and what is stored, where they differ."""
        expected, stored = self.expected(), self.stored_rows()
        keys = expected.keys() | stored.keys()
        return {k: (expected.get(k), stored.get(k)) for k in keys if expected.get(k) != stored.get(k)}

    def _shown(self, market: Record, parent: str | None = None) -> Shown:
        won = market["resultTokenId"]
        result = {market["yesTokenId"]: "yes", market["noTokenId"]: "no"}.get(won) if won else None
        return Shown(NAMES[market["status"]], result, parent)

    def _fields(self, number: int, status: int) -> dict[str, Any]:
        yes, no = (make_child(number)[name] for name in ("yesTokenId", "noTokenId"))
        return {
            "status": status,
            "resultTokenId": self.random.choice([yes, no]) if status == 4 else "",
            "volume": str(number),
            "createdAt": self._second(),
            "resolvedAt": self._second() if status == 4 and number % 2 else 0,
        }

    def _second(self) -> int:
        return NOW - 10**6 + self._markets if not self.elapsed else int(NOW + self.elapsed)


def hour_passes(day: MarketDay) -> None:
    """Markets are made, change, end and vanish, of each kind; a trade is in an unlisted one."""
    day.add_topic(2, [2, 2, 1])
    day.add_market(2)
    opened = [topic for topic in day.books.markets() if topic["marketType"] and topic["status"] in (1, 2)]
    first, second, *_ = day.random.sample(opened, 2)
    for child in first["childMarkets"]:
        if child["status"] != 4:
            day.settle(child["marketId"])
    day.change(first["marketId"], topic=True, status=4)
    early = [child["marketId"] for child in second["childMarkets"] if child["status"] == 2]
    if len(early) > 1:
        day.settle(early[0])
    day.trade(second["marketId"])
    day.move_series(day.random.choice(day.running))
    day.add_unlisted()
    vanished = day.add_market(2)
    for _ in day.runs(1):
        pass
    day.remove(vanished)
