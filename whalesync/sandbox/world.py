"""A seeded, believable exchange: markets of every kind and whales that have traded and go on trading.

Everything follows from the seed and the time alone, day by day, so a world that is built again tomorrow goes
on where today's stopped: a stand-in exchange can be restarted under a running crontab. (Its markets are laid
out anew at the start of each season of 90 days.)
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import NamedTuple

from . import titles
from .books import DAY, Books
from .prices import Path, quote, wander
from .whales import Traded, Whale, open_markets
from .wire import Record, decimal18, make_categorical, make_child, make_market

SEASON = 90 * DAY
CREATED, ACTIVATED, RESOLVING, RESOLVED, FAILED, DELETED = range(1, 7)
FIRST_BINARY, FIRST_CATEGORICAL, FIRST_CHILD = 1_001, 401, 20_001


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
    some wallets more and some fewer. They are made up when first asked for, as far as the clock has come.
    """
    books = Books(clock)
    season = clock() // SEASON * SEASON
    traded = [
        *_binary_markets(books, seed, binary, season),
        *_categorical_markets(books, seed, categorical, season),
    ]
    open_on = open_markets(traded)
    addresses = []
    for number in range(whales):
        rng = Random(f"{seed}/whale/{number}")
        address = f"0x{rng.getrandbits(160):040x}"
        pace, dollars = trades_per_day * rng.uniform(0.5, 1.5), 10 ** rng.uniform(1.7, 4.0)
        # Without a market to trade in or a wish to, the search for the next trade would never end.
        if traded and trades_per_day > 0:
            whale = Whale(f"{seed}/{address}", pace, dollars)
            books.follow(address, whale.trades(open_on, first_day=int(clock() // DAY) - days))
        addresses.append(address)
    return World(books, addresses)


def _binary_markets(books: Books, seed: int, count: int, season: float) -> Iterator[Traded]:
    fates = {3: CREATED, 5: RESOLVED, 7: FAILED, 13: DELETED, 17: RESOLVING}
    for number in range(count):
        rng = Random(f"{seed}/binary/{number}")
        kind = number % 20
        fate = fates.get(kind)
        # Every tenth has no end, so that there is always one to trade in.
        ends = None if kind % 10 == 0 else _some_end(rng, season, fate)
        market = _binary_market(rng, FIRST_BINARY + number, season, ends)
        if kind == 11:
            market["labels"] = None
        if kind == 12:
            del market["labels"], market["labelIds"]
        untraded = fate == CREATED or kind == 9
        if untraded:
            market |= {"volume": "0", "volume24h": "0", "volume7d": "0"}
        books.add_market(market)
        path = wander(rng, ends or math.inf, base=rng.uniform(-2.5, 2.5))
        if fate and fate != RESOLVED:
            books.update_market(market["marketId"], status=fate)
        elif ends:
            _resolve_later(books, rng, market, path)
        if not untraded:
            quote(books, market, path)
            yield Traded(market, market, path)


def _binary_market(rng: Random, market_id: int, season: float, ends: int | None) -> Record:
    category = rng.choice(list(titles.LABELS))
    template = rng.choice((titles.DATED if ends else titles.UNDATED)[category])
    title = titles.fill(template, rng, ends or 0)
    volume = rng.lognormvariate(11, 2)
    return make_market(
        market_id,
        marketTitle=title,
        slug=titles.slug(title, market_id),
        rules=f"This market resolves as official sources report: {title}",
        labels=[category],
        labelIds=[titles.LABELS[category]],
        createdAt=_some_start(rng, season, ends),
        cutoffAt=ends or 0,
        volume=_volume(volume),
        volume24h=_volume(volume * rng.uniform(0, 0.1)),
        volume7d=_volume(volume * rng.uniform(0.1, 0.3)),
    )


def _categorical_markets(books: Books, seed: int, count: int, season: float) -> Iterator[Traded]:
    child_ids = itertools.count(FIRST_CHILD)
    for number in range(count):
        rng = Random(f"{seed}/categorical/{number}")
        category = rng.choice(list(titles.CATEGORICAL))
        template, names = rng.choice(titles.CATEGORICAL[category])
        # The first never ends: a world without binary markets needs one to trade in, too.
        ends = _some_end(rng, season, None) if number else None
        parent_id = FIRST_CATEGORICAL + number
        title = titles.fill(template, rng, ends or season + SEASON)
        slug = titles.slug(title, parent_id)
        created = _some_start(rng, season, ends)
        children = [
            make_child(
                next(child_ids),
                marketTitle=name,
                slug=titles.slug(f"{slug} {name}", place),
                createdAt=created + place,
                volume=_volume(rng.lognormvariate(10, 2)),
            )
            for place, name in enumerate(names)
        ]
        # The last outcome of every other market is one nobody has touched.
        untraded = children[-1] if number % 2 else None
        if untraded:
            untraded["volume"] = "0"
        parent = make_categorical(
            parent_id,
            children,
            marketTitle=title,
            slug=slug,
            rules="Exactly one outcome resolves to YES.",
            labels=[category],
            labelIds=[titles.LABELS[category]],
            # Seen on the exchange: the parent is still announced while its children are traded.
            status=CREATED if number % 3 == 0 else ACTIVATED,
            createdAt=created,
            cutoffAt=ends or 0,
            volume24h=_volume(rng.lognormvariate(8, 1)),
            volume7d=_volume(rng.lognormvariate(10, 1)),
        )
        books.add_market(parent)
        if ends:
            books.update_market(parent_id, at=ends, status=RESOLVING)
            books.update_market(parent_id, at=ends + DAY, status=RESOLVED, resolvedAt=ends + DAY)
        for child, path in zip(children, _rival_paths(rng, len(children), ends or math.inf), strict=True):
            if ends:
                _resolve_later(books, rng, child, path)
            if child is not untraded:
                quote(books, child, path)
                yield Traded(child, parent, path)


def _rival_paths(rng: Random, count: int, closes: float) -> list[Path]:
    """Prices of outcomes of which exactly one will come true: together they start near a dollar."""
    weights = [rng.lognormvariate(0, 0.8) for _ in range(count)]
    chances = [weight / sum(weights) for weight in weights]
    winner = rng.randrange(count)
    return [
        replace(
            wander(rng, closes, base=math.log(chance / (1 - chance))), pull=6.0 if place == winner else -6.0
        )
        for place, chance in enumerate(chances)
    ]


def _some_end(rng: Random, season: float, fate: int | None) -> int:
    """A full hour: of markets without a fate some before this season, some in it, most after it."""
    if fate == CREATED:
        days = rng.uniform(100, 240)
    elif fate:
        days = rng.uniform(-30, -1)
    else:
        days = rng.uniform(-10, 240)
    return int((season + days * DAY) // 3600) * 3600


def _some_start(rng: Random, season: float, ends: int | None) -> int:
    return int(min(ends or season, season) - DAY * rng.uniform(5, 150))


def _resolve_later(books: Books, rng: Random, market: Record, path: Path) -> None:
    market_id, resolved_at = market["marketId"], int(path.closes + rng.uniform(1, 24) * 3600)
    winner = market["yesTokenId" if path.pull > 0 else "noTokenId"]
    books.update_market(market_id, at=path.closes, status=RESOLVING)
    books.update_market(
        market_id, at=resolved_at, status=RESOLVED, resolvedAt=resolved_at, resultTokenId=winner
    )


def _volume(dollars: float) -> str:
    return decimal18(f"{dollars:.6f}")
