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

from ..prices import Path, some_path
from ..values import DAY, Record
from . import titles
from .books import Books
from .quotes import quote
from .whales import Portfolio, Traded, Whale, open_markets
from .wire import (
    ACTIVATED,
    CREATED,
    DELETED,
    FAILED,
    RESOLVED,
    RESOLVING,
    decimal18,
    make_categorical,
    make_child,
    make_market,
)

SEASON, WEEK = 90 * DAY, 7 * DAY
SERIES_WEEKS = range(-4, 15)  # counted from the start of the season


class Group(NamedTuple):
    """The first numbers of markets that are in the lists, or that are not."""

    binary: int
    topic: int
    child: int
    listed: bool


# Topics are numbered apart from what can be traded: the first ones have the numbers of binary markets, too.
LISTED = Group(binary=1_001, topic=1_001, child=20_001, listed=True)
UNLISTED = Group(binary=4_001, topic=4_001, child=40_001, listed=False)
FIRST_OF_SERIES, NUMBERS_OF_SERIES = 5_001, 50


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

    From 20 binary markets on, every status occurs, and there is a weekly series and a binary market that is in no
    list; from 40 on, a second series and a topic that is in no list. A wallet makes `trades_per_day` transactions on
    average, some wallets more and some fewer; they are made when first asked for, as far as the clock has come.
    """
    books = Books(clock)
    season = clock() // SEASON * SEASON
    extra = binary // 20
    traded = [
        *_binary_markets(books, f"{seed}/binary", binary, season, LISTED),
        *_topics(books, f"{seed}/categorical", categorical, season, LISTED),
        *_series(books, seed, min(extra, len(titles.SERIES)), season),
        *_binary_markets(books, f"{seed}/unlisted binary", min(extra, 1), season, UNLISTED),
        *_topics(books, f"{seed}/unlisted topic", min(extra - 1, 1), season, UNLISTED),
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
            trades = whale.trades(open_on, first_day=int(clock() // DAY) - days)
            books.follow(address, trades, Portfolio(whale.seed, traded))
        addresses.append(address)
    return World(books, addresses)


def _binary_markets(books: Books, seed: str, count: int, season: float, group: Group) -> Iterator[Traded]:
    statuses = {3: CREATED, 5: RESOLVED, 7: FAILED, 13: DELETED, 17: RESOLVING}
    for number in range(count):
        rng = Random(f"{seed}/{number}")
        kind = number % 20
        status = statuses.get(kind, ACTIVATED)
        # Every tenth has no end, so that there is always a market to trade in.
        ends = None if kind % 10 == 0 else _some_end(rng, season, status)
        category = rng.choice(list(titles.LABELS))
        title = titles.fill((titles.DATED if ends else titles.UNDATED)[category], rng, ends or 0)
        untraded = status == CREATED or kind == 9
        market = make_market(
            group.binary + number,
            **_common(rng, group.binary + number, title, category, season, ends),
            **_volumes(rng, traded=not untraded),
        )
        if kind == 11:
            market["labels"] = None
        if kind == 12:
            del market["labels"], market["labelIds"]
        books.add_market(market, listed=group.listed)
        path = some_path(rng, rng.uniform(100, 800), ends or math.inf, rng.random() < 0.5)
        settled_at = math.inf
        if status not in (ACTIVATED, RESOLVED):
            books.update_market(market["marketId"], status=status)
        elif ends:
            settled_at = _resolve_later(books, rng, market, path)
        if not untraded:
            quote(books, market, path)
            yield Traded(market, market, path, market["createdAt"], settled_at)


def _topics(books: Books, seed: str, count: int, season: float, group: Group) -> Iterator[Traded]:
    child_ids = itertools.count(group.child)
    for number in range(count):
        rng = Random(f"{seed}/{number}")
        category, template, names = rng.choice(titles.TOPICS)
        # The first never ends: a world without binary markets needs one to trade in too.
        ends = _some_end(rng, season, ACTIVATED) if number else None
        topic_id = group.topic + number
        title = titles.fill(template, rng, ends or season + SEASON)
        common = _common(rng, topic_id, title, category, season, ends)
        children = [
            make_child(
                next(child_ids),
                marketTitle=name,
                slug=titles.slug(f"{common['slug']} {name}", place),
                createdAt=common["createdAt"] + place,
                # In every other topic the last outcome has never been traded.
                **_volumes(rng, traded=number % 2 == 0 or name != names[-1]),
            )
            for place, name in enumerate(names)
        ]
        # Seen on the exchange: a topic that is still "Created" while its children are traded.
        topic = make_categorical(topic_id, children, **common, status=ACTIVATED if number % 3 else CREATED)
        books.add_market(topic, listed=group.listed)
        if ends:
            books.update_market(topic_id, at=ends, topic=True, status=RESOLVING)
            books.update_market(topic_id, at=ends + DAY, topic=True, status=RESOLVED)
        # In every fourth topic an outcome is out before the others.
        early = (common["createdAt"] + min(ends or season, season)) / 2 if number % 4 == 0 else None
        for child, path in zip(children, _rival_paths(rng, len(children), ends or math.inf, early), strict=True):
            settled_at = math.inf
            if path.closes < math.inf:
                # Seen on the exchange: resolved children without a time.
                settled_at = _resolve_later(books, rng, child, path, timed=path.closes == ends or number % 8 > 0)
            if child["volume"] != "0":
                quote(books, child, path)
                yield Traded(child, topic, path, child["createdAt"], settled_at)


def _series(books: Books, seed: int, count: int, season: float) -> Iterator[Traded]:
    """Weekly markets, of which every third is void in the end: it fails, or is resolved without a result."""
    for number, (title, symbol, each_title) in enumerate(titles.SERIES[:count]):
        rng = Random(f"{seed}/series/{number}")
        first = FIRST_OF_SERIES + NUMBERS_OF_SERIES * number - SERIES_WEEKS.start
        about = {"title": title, "symbol": symbol, "frequency": "weekly"}
        states = [about | _current_and_next(week, first, season) for week in SERIES_WEEKS]
        for week in SERIES_WEEKS:
            begins, ends = int(season + week * WEEK), int(season + (week + 1) * WEEK)
            name = titles.fill(each_title, rng, begins)
            market = make_market(
                first + week,
                marketTitle=name,
                slug=titles.slug(name, first + week),
                labels=["Crypto"],
                labelIds=[titles.LABELS["Crypto"]],
                createdAt=begins - 2 * WEEK,
                cutoffAt=ends,
                status=CREATED,
                collection=states[0],
                **_volumes(rng),
            )
            books.add_market(market, at=market["createdAt"])
            books.update_market(first + week, at=begins, status=ACTIVATED)
            for current, state in zip(SERIES_WEEKS, states, strict=True):
                books.update_market(first + week, at=season + current * WEEK, collection=state)
            path = some_path(rng, rng.uniform(300, 700), ends, rng.random() < 0.5)
            settled_at = _resolve_later(books, rng, market, path, void={1: FAILED, 4: RESOLVED}.get(week % 6))
            quote(books, market, path)
            yield Traded(market, market, path, begins, settled_at)


def _current_and_next(current: int, first: int, season: float) -> Record:
    """What each market of a series says of it in a week; the weeks after have no prices yet."""
    entries = [
        {
            "marketId": first + week,
            "period": "weekly",
            "startTime": int(season + week * WEEK),
            "endTime": int(season + (week + 1) * WEEK),
            "startPrice": str(1000 + first + week) if week == current else "",
            "endPrice": "",
        }
        for week in range(current, current + 3)
        if week in SERIES_WEEKS
    ]
    return {"current": entries[0], "next": entries[1:]}


def _common(rng: Random, number: int, title: str, category: str, season: float, ends: int | None) -> dict[str, Any]:
    """What binary markets and topics have in common."""
    return {
        "marketTitle": title,
        "slug": titles.slug(title, number),
        "labels": [category],
        "labelIds": [titles.LABELS[category]],
        "createdAt": int(min(ends or season, season) - DAY * rng.uniform(5, 150)),
        "cutoffAt": ends or 0,
    }


def _volumes(rng: Random, traded: bool = True) -> dict[str, str]:
    names = ("volume", "volume7d", "volume24h")
    if not traded:
        return dict.fromkeys(names, "0")
    # A span has at least the volume of the shorter one within it.
    volumes = sorted((rng.lognormvariate(mean, 1) for mean in (15, 13, 11)), reverse=True)
    return {name: decimal18(f"{volume:.6f}") for name, volume in zip(names, volumes, strict=True)}


def _rival_paths(rng: Random, count: int, closes: float, early: float | None) -> list[Path]:
    """Prices of outcomes of which one wins, and another is out at `early`: together they start near a dollar."""
    weights = [rng.lognormvariate(0, 0.8) for _ in range(count)]
    winner = rng.randrange(count)
    out = (winner + 1) % count if early else None
    return [
        some_path(rng, 1000 * weight / sum(weights), early if early and place == out else closes, place == winner)
        for place, weight in enumerate(weights)
    ]


def _some_end(rng: Random, season: float, status: int) -> int:
    """A full hour, by the status: of those that are open some end before this season, some in it, most after it."""
    days = {ACTIVATED: (-10, 240), CREATED: (100, 240)}.get(status, (-30, -1))
    return int((season + rng.uniform(*days) * DAY) // 3600) * 3600


def _resolve_later(
    books: Books, rng: Random, market: Record, path: Path, void: int | None = None, *, timed: bool = True
) -> float:
    """Resolve a market some hours after its close; returns when its winners can be claimed, infinity if it is `void`.

    `void` is the status of a market without a result. Without `timed` the exchange does not say when it was resolved.
    """
    number, resolved_at = market["marketId"], int(path.closes + rng.uniform(1, 24) * 3600)
    winner = market["yesTokenId" if path.wins else "noTokenId"]
    books.update_market(number, at=path.closes, status=RESOLVING)
    books.update_market(
        number,
        at=resolved_at,
        status=void or RESOLVED,
        resolvedAt=resolved_at if timed and void != FAILED else 0,
        resultTokenId="" if void else winner,
    )
    return math.inf if void else resolved_at
