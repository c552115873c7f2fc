"""The markets of a plausible world, week by week: each week's follow from the seed and its date alone."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from ..prices import Path, some_path
from ..values import DAY, Record
from .books import Books
from .wire import iso, make_event, make_market, plain

WEEK = 7 * DAY
LONGEST_LIFE = 6 * WEEK
NUMBERS_A_WEEK = 100
FEE_RATES = {"Crypto": 0.07, "Sports": 0.05, "Politics": 0.04, "Finance": 0.04, "Tech": 0.04, "Geopolitics": 0.0}

QUESTIONS = (
    ("Politics", "Will the {} government fall by {}?", ("French", "Dutch", "Japanese", "Spanish", "Polish")),
    ("Crypto", "Will {} reach a new high by {}?", ("Bitcoin", "Ethereum", "Solana", "XRP")),
    ("Finance", "Will the {} change its rate by {}?", ("Fed", "ECB", "Bank of England", "Bank of Japan")),
    ("Tech", "Will {} release a new flagship model by {}?", ("OpenAI", "Anthropic", "Google", "xAI", "Meta")),
    ("Geopolitics", "Will {} sign a trade agreement by {}?", ("India", "Brazil", "Switzerland", "Taiwan")),
)
EVENTS = (
    ("Politics", "Who will win the {} primary?", ("Alvarez", "Brandt", "Chen", "Duval")),
    ("Finance", "{} decision at the next meeting?", ("25 bps decrease", "No change", "25 bps increase", "Other")),
    ("Sports", "Who will win the {}?", ("Spain", "France", "Argentina", "Brazil", "Another team")),
)
EVENT_NAMES = {
    "Politics": ("Ohio", "Texas", "Georgia", "Arizona"),
    "Finance": ("Fed", "ECB", "Bank of Japan"),
    "Sports": ("Nations Cup", "Champions Cup", "Super Cup"),
}
COINS = ("Bitcoin", "Ethereum", "Solana")
TEAMS = ("Lakers", "Celtics", "Knicks", "Bulls", "Heat", "Warriors", "Nuggets", "Bucks", "Suns", "Spurs")


@dataclass(eq=False)
class Listed:
    """A market, its prices, and how it ends.

    `opens` is when it is listed and traded, `closed_at` when its winner can be redeemed (Unix seconds). `winner` is the
    index of an outcome, None for a draw. `rivals` are the other markets of a negative-risk event. `fee_rate` is what a
    taker pays times price times its complement.
    """

    record: Record
    path: Path
    opens: float
    closed_at: float
    winner: int | None
    fee_rate: float
    rivals: list["Listed"] = field(default_factory=list)

    def price(self, at: float, index: int) -> float:
        """What a share of an outcome is traded at (USD)."""
        return self.path.thousandths(at, yes=index == 0) / 1000


OpenOn = Callable[[int], list[Listed]]
"""The markets in which one can trade on a whole day, counted since 1970."""


def open_markets(listed: list[Listed]) -> OpenOn:
    """The function that says which markets are open on a day; its answers are cached."""

    @lru_cache(maxsize=400)
    def open_on(day: int) -> list[Listed]:
        start, end = day * DAY, (day + 1) * DAY
        return [each for each in listed if each.opens <= start and end <= each.path.closes]

    return open_on


def fill(books: Books, seed: object, first_day: int, last_day: int) -> list[Listed]:
    """Add every market that is open on any of the days (counted since 1970) to the books."""
    weeks = range((first_day * DAY - LONGEST_LIFE) // WEEK, last_day * DAY // WEEK + 1)
    listed = [each for week in weeks for each in _week(seed, week)]
    for each in listed:
        books.add_market(each.record, price=_path(each), at=each.opens)
        condition = each.record["conditionId"]
        if each.record["version"] == "v1":
            books.update_market(condition, at=each.path.closes, umaResolutionStatus="proposed")
        books.resolve(condition, each.winner, at=each.closed_at)
    return listed


def _path(listed: Listed) -> Callable[[float], float]:
    return lambda at: listed.price(at, 0)


def _week(seed: object, week: int) -> Iterator[Listed]:
    """Four kinds: single questions, an event with one winner, games of two teams, and a coin's day, up or down."""
    rng = Random(f"{seed}/polymarket week/{week}")
    begins = week * WEEK
    numbers = iter(range(week * NUMBERS_A_WEEK, (week + 1) * NUMBERS_A_WEEK))
    for place in range(6):
        category, template, names = rng.choice(QUESTIONS)
        opens = begins + DAY * rng.randrange(7)
        ends = opens + DAY * rng.randint(7, 34)
        question = template.format(rng.choice(names), _date(ends))
        version = "v2" if place == 0 else "v1"
        yield _listed(rng, next(numbers), question, category, opens, ends, version=version)
    yield from _event(rng, numbers, begins, begins + DAY * rng.randint(14, 34))
    for _ in range(4):
        first, second = rng.sample(TEAMS, 2)
        ends = begins + DAY * rng.randint(2, 6) + 3600 * rng.randint(1, 4)
        draw = rng.random() < 0.1
        yield _listed(
            rng, next(numbers), f"{first} vs. {second}", "Sports", begins, ends, outcomes=(first, second), draw=draw
        )
    coin, version = COINS[week % len(COINS)], ("v1", "v2")[week % 2]
    for day in range(7):
        ends = begins + DAY * (day + 1)
        question = f"{coin} Up or Down on {_date(ends - DAY)}?"
        opens = ends - 2 * DAY
        yield _listed(
            rng, next(numbers), question, "Crypto", opens, ends, outcomes=("Up", "Down"), version=version, hours=0.2
        )


def _event(rng: Random, numbers: Iterator[int], opens: float, ends: float) -> Iterator[Listed]:
    category, template, names = rng.choice(EVENTS)
    title = template.format(rng.choice(EVENT_NAMES[category]))
    number = next(numbers)
    event = make_event(number, title=title, slug=_slug(title, number))
    weights = [rng.lognormvariate(0, 0.7) for _ in names]
    winner = rng.randrange(len(names))
    closed_at = ends + 3600 * rng.uniform(2, 30)
    rivals = []
    for place, name in enumerate(names):
        base = 1000 * weights[place] / sum(weights)
        rivals.append(
            _listed(
                rng,
                next(numbers),
                f"{title.rstrip('?')}: {name}?",
                category,
                opens,
                ends,
                event=event,
                wins=place == winner,
                base=base,
                closed_at=closed_at,
                groupItemTitle=name,
                negRisk=True,
            )
        )
    for each in rivals:
        each.rivals = [other for other in rivals if other is not each]
    yield from rivals


def _listed(
    rng: Random,
    number: int,
    question: str,
    category: str,
    opens: float,
    ends: float,
    *,
    outcomes: tuple[str, str] = ("Yes", "No"),
    version: str = "v1",
    event: Record | None = None,
    wins: bool | None = None,
    draw: bool = False,
    base: float | None = None,
    hours: float = 24,
    closed_at: float | None = None,
    **fields: object,
) -> Listed:
    """A market that opens and ends at Unix seconds, and is closed up to some hours after its end."""
    wins = rng.random() < 0.5 if wins is None else wins
    path = some_path(rng, rng.uniform(250, 750) if base is None else base, ends, wins)
    rate = FEE_RATES[category]
    record = make_market(
        number,
        version=version,
        outcomes=outcomes,
        event=event or make_event(number, title=question, slug=_slug(question, number)),
        tags=[category],
        volume=plain(rng.lognormvariate(11, 1.5)),
        question=question,
        slug=_slug(question, number),
        startDate=iso(opens),
        endDate=iso(ends),
        feesEnabled=rate > 0,
        feeSchedule={"rate": rate, "exponent": 1, "takerOnly": True, "rebateRate": 0.2},
        **fields,
    )
    late = 3600 * rng.uniform(0.05, hours)
    winner = None if draw else int(not wins)
    return Listed(record, path, opens, ends + late if closed_at is None else closed_at, winner, rate)


def _date(at: float) -> str:
    day = time.gmtime(at)
    return f"{time.strftime('%B', day)} {day.tm_mday}"


def _slug(title: str, number: int) -> str:
    words = "".join(each if each.isalnum() else " " for each in title.lower()).split()
    return "-".join([*words, str(number)])
