"""A seeded, plausible exchange: markets of every kind, and whales that have traded and go on trading.

Everything follows from the seed and the time alone, day by day, so a world that is built again tomorrow continues
where today's stopped: a sandbox can be restarted under a running crontab. (Its markets are replaced at the start of
each season of 90 days.)
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from . import titles
from .books import DAY, Books
from .prices import Path, quote, some_path
from .whales import Traded, Whale, open_markets
from .wire import Record, decimal18, make_categorical, make_child, make_market

SEASON = 90 * DAY
CREATED, ACTIVATED, RESOLVING, RESOLVED, FAILED, DELETED = range(1, 7)
# Topics are numbered apart from what can be traded: the first ones have the numbers of binary markets, too.
FIRST_BINARY, FIRST_TOPIC, FIRST_CHILD = 1_001, 1_001, 20_001


class World(NamedTuple):
    """The books, and the addresses of the wallets worth watching, in lower case."""

    books: Books
    whales: list[str]


def build_world(
    seed: int,
    *,
    clock: Callable[[], float] = time.time,
    binary: int = 40,
    categorical: int = 8,
    whales: int = 5,
    days: int = 30,
    trades_per_day: float = 12,
) -> World:
    """Build a world of `binary` and `categorical` markets and `whales` wallets with `days` of history.

    From 20 binary markets on, every status occurs. A wallet makes `trades_per_day` transactions on average,
    some wallets more and some fewer; they are made when first asked for, as far as the clock has come.
    """
    books = Books(clock)
    season = clock() // SEASON * SEASON
    traded = [
        *_binary_markets(books, seed, binary, season),
        *_topics(books, seed, categorical, season),
    ]
    open_on = open_markets(traded)
    addresses = []
    for number in range(whales):
        rng = Random(f"{seed}/whale/{number}")
        address = f"0x{rng.getrandbits(160):040x}"
        pace, dollars = trades_per_day * rng.uniform(0.5, 1.5), 10 ** rng.uniform(1.7, 4.0)
        # Without markets or trades the search for the next trade would never end.
        if traded and trades_per_day > 0:
            whale = Whale(f"{seed}/{address}", pace, dollars)
            books.follow(address, whale.trades(open_on, first_day=int(clock() // DAY) - days))
        addresses.append(address)
    return World(books, addresses)


def _binary_markets(books: Books, seed: int, count: int, season: float) -> Iterator[Traded]:
    statuses = {3: CREATED, 5: RESOLVED, 7: FAILED, 13: DELETED, 17: RESOLVING}
    for number in range(count):
        rng = Random(f"{seed}/binary/{number}")
        kind = number % 20
        status = statuses.get(kind, ACTIVATED)
        # Every tenth has no end, so that there is always a market to trade in.
        ends = None if kind % 10 == 0 else _some_end(rng, season, status)
        category = rng.choice(list(titles.LABELS))
        title = titles.fill((titles.DATED if ends else titles.UNDATED)[category], rng, ends or 0)
        untraded = status == CREATED or kind == 9
        market = make_market(
            FIRST_BINARY + number,
            **_common(rng, FIRST_BINARY + number, title, category, season, ends),
            volume="0" if untraded else _some_volume(rng, 11),
        )
        if kind == 11:
            market["labels"] = None
        if kind == 12:
            del market["labels"], market["labelIds"]
        books.add_market(market)
        path = some_path(rng, rng.uniform(100, 800), ends or math.inf, rng.random() < 0.5)
        if status not in (ACTIVATED, RESOLVED):
            books.update_market(market["marketId"], status=status)
        elif ends:
            _resolve_later(books, rng, market, path)
        if not untraded:
            quote(books, market, path)
            yield Traded(market, market, path)


def _topics(books: Books, seed: int, count: int, season: float) -> Iterator[Traded]:
    child_ids = itertools.count(FIRST_CHILD)
    for number in range(count):
        rng = Random(f"{seed}/categorical/{number}")
        category, template, names = rng.choice(titles.TOPICS)
        # The first never ends: a world without binary markets needs one to trade in too.
        ends = _some_end(rng, season, ACTIVATED) if number else None
        topic_id = FIRST_TOPIC + number
        title = titles.fill(template, rng, ends or season + SEASON)
        common = _common(rng, topic_id, title, category, season, ends)
        children = [
            make_child(
                next(child_ids),
                marketTitle=name,
                slug=titles.slug(f"{common['slug']} {name}", place),
                createdAt=common["createdAt"] + place,
                # In every other topic the last outcome has never been traded.
                volume="0" if number % 2 and name == names[-1] else _some_volume(rng, 10),
            )
            for place, name in enumerate(names)
        ]
        # Seen on the exchange: a topic that is still "Created" while its children are traded.
        topic = make_categorical(topic_id, children, **common, status=ACTIVATED if number % 3 else CREATED)
        books.add_market(topic)
        if ends:
            books.update_market(topic_id, at=ends, topic=True, status=RESOLVING)
            books.update_market(topic_id, at=ends + DAY, topic=True, status=RESOLVED, resolvedAt=ends + DAY)
        for child, path in zip(children, _rival_paths(rng, len(children), ends or math.inf), strict=True):
            if ends:
                _resolve_later(books, rng, child, path)
            if child["volume"] != "0":
                quote(books, child, path)
                yield Traded(child, topic, path)


def _common(rng: Random, number: int, title: str, category: str, season: float, ends: int | None) -> dict[str, Any]:
    """What binary markets and topics have in common."""
    return {
        "marketTitle": title,
        "slug": titles.slug(title, number),
        "labels": [category],
        "labelIds": [titles.LABELS[category]],
        "createdAt": int(min(ends or season, season) - DAY * rng.uniform(5, 150)),
        "cutoffAt": ends or 0,
        "volume24h": _some_volume(rng, 8),
        "volume7d": _some_volume(rng, 10),
    }


def _rival_paths(rng: Random, count: int, closes: float) -> list[Path]:
    """Prices of outcomes of which exactly one wins: together they start near a dollar."""
    weights = [rng.lognormvariate(0, 0.8) for _ in range(count)]
    winner = rng.randrange(count)
    return [
        some_path(rng, 1000 * weight / sum(weights), closes, place == winner) for place, weight in enumerate(weights)
    ]


def _some_end(rng: Random, season: float, status: int) -> int:
    """A full hour, by the status: of those that are open some end before this season, some in it, most after it."""
    days = {ACTIVATED: (-10, 240), CREATED: (100, 240)}.get(status, (-30, -1))
    return int((season + rng.uniform(*days) * DAY) // 3600) * 3600


def _resolve_later(books: Books, rng: Random, market: Record, path: Path) -> None:
    number, resolved_at = market["marketId"], int(path.closes + rng.uniform(1, 24) * 3600)
    winner = market["yesTokenId" if path.wins else "noTokenId"]
    books.update_market(number, at=path.closes, status=RESOLVING)
    books.update_market(number, at=resolved_at, status=RESOLVED, resolvedAt=resolved_at, resultTokenId=winner)


def _some_volume(rng: Random, mean: float) -> str:
    return decimal18(f"{rng.lognormvariate(mean, 2):.6f}")
