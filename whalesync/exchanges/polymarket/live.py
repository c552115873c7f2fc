"""Check on the live Polymarket, with one wallet, what the package assumes of it.

The package was written from Polymarket's documentation, its official client and what others have recorded, without
a live request. Each check compares one assumption with what the exchange answers now. Some can only be made by asking
again after an hour or a day: what they compare with is remembered.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from whalesync.errors import ExchangeError, OutOfTime, RequestRefused
from whalesync.exchanges.polymarket import leaderboard, markets, positions
from whalesync.exchanges.polymarket.api import ACTIVITY, STATUS, VOLUME, activity_params, volume_params
from whalesync.exchanges.polymarket.gamma import is_listed
from whalesync.exchanges.polymarket.parsing import market_id
from whalesync.text import counted, minute

HOUR, DAY = 3_600, 86_400
MOST_PAGES = 5  # of one walk
CURSOR_PAGE = 100
SETTLED = HOUR  # rows that are younger may still appear
DAYS = 3
LEAST_SUM_ERROR = 1e-5
LOOKED_UP = 20

#: what says that two rows are the same: everything that is final on the chain
KEY = ("transaction_hash", "timestamp", "type", "condition_id", "token_id", "side", "size", "usdc_size")

Row = Mapping[str, Any]
Get = Callable[[str, Mapping[str, str | int]], Any]
"""Makes a request: path and parameters; returns the parsed body, or raises an ExchangeError."""


class Outcome(StrEnum):
    """What a check has found."""

    OK = "OK"
    DIFFERS = "differs"
    NOT_ASKED = "could not be asked"
    LATER = "later"


class Check(NamedTuple):
    """One assumption, and in one line how it stands."""

    name: str
    outcome: Outcome
    text: str


@dataclass
class Memory:
    """What later checks of a wallet compare with. Times in seconds.

    ``counts``: by the number of a day since 1970, the trades, shares and USD counted. ``cursor``: of a page, with the
    parameters of the walk, and ``following``: what the next page showed.
    """

    counted_at: int | None = None
    counts: dict[str, list[float]] = field(default_factory=dict)
    cursor_at: int | None = None
    cursor: str = ""
    params: dict[str, str | int] = field(default_factory=dict)
    following: str = ""


class Differs(Exception):
    """The exchange answers otherwise than assumed; the text says how."""


class CannotAsk(Exception):
    """The check cannot be made with this wallet, or not now."""


class Later(Exception):
    """The check compares with something that is not old enough yet."""


def check_all(wallet: str, data: Get, gamma: Get, memory: Memory, *, now: int) -> list[Check]:
    """Make all checks; ``memory`` is brought up to date. ``now``: seconds."""
    checks = Checks(wallet, data, gamma, memory, now)
    return [_outcome(name, check) for name, check in checks.all().items()]


def _outcome(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, Outcome.OK, check())
    except Differs as exc:
        return Check(name, Outcome.DIFFERS, str(exc))
    except Later as exc:
        return Check(name, Outcome.LATER, str(exc))
    except OutOfTime:
        return Check(name, Outcome.NOT_ASKED, "there was no time left")
    except (ExchangeError, CannotAsk) as exc:
        return Check(name, Outcome.NOT_ASKED, str(exc))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        return Check(name, Outcome.DIFFERS, f"the response has another form ({type(exc).__name__}: {exc})")


class Checks:
    """The checks of one wallet. Each returns what it found, or raises why it did not find that."""

    def __init__(self, wallet: str, data: Get, gamma: Get, memory: Memory, now: int) -> None:
        self._wallet = wallet
        self._data = data
        self._gamma = gamma
        self._memory = memory
        self._now = now
        self._until = now - SETTLED
        self._walked: tuple[int, list[Row]] | None = None

    def all(self) -> dict[str, Callable[[], str]]:
        """The checks by name, in their order."""
        return {
            "paths": self.paths,
            "status": self.status,
            "directions": self.directions,
            "types": self.types,
            "counts after a day": self.counts_again,  # before they are remembered anew
            "counts": self.counts,
            "cursor": self.cursor,
            "market ids": self.market_ids,
            "closed markets": self.closed_markets,
            "market versions": self.market_versions,
        }

    def paths(self) -> str:
        """Every path that the package uses answers, in the form that it reads."""
        user: dict[str, str | int] = {"user": self._wallet, "limit": 1}
        asked: list[tuple[Get, str, Mapping[str, str | int], str]] = [
            (self._data, ACTIVITY, user, "data"),
            (self._data, positions.PATH, {**user, "filter_amount": 0}, "data"),
            (self._data, leaderboard.PATH, {"limit": 1, "time_period": "month", "sort_by": "PNL"}, "data"),
            (self._gamma, markets.PATH, {"limit": 1}, "markets"),
        ]
        for get, path, params, name in asked:
            if not isinstance(get(path, params).get(name), list):
                raise Differs(f"{path} answers without a list {name!r}")
        self._count(self._now // DAY - 2)
        return f"{len(asked) + 1} paths answer as assumed"

    def status(self) -> str:
        """It says how far the index is behind the chain."""
        body = self._data(STATUS, {})
        fields = body.get("data", body)
        lag, age = fields["serving"]["lag_seconds"], fields["age_seconds"]
        return f"the index is {lag:.0f} s behind the chain, as measured {age:.0f} s ago"

    def directions(self) -> str:
        """A walk from the newest row on and one from the oldest show the same rows."""
        first, newest_first = self._walk()
        oldest_first, more = self._rows(first, self._until, "ASC", MOST_PAGES + 1)
        if more or _multiset(newest_first) != _multiset(oldest_first):
            one, other = _multiset(newest_first), _multiset(oldest_first)
            raise Differs(
                f"of {len(newest_first):,} and {len(oldest_first):,} rows, {(one - other).total():,} and"
                f" {(other - one).total():,} are shown by one walk only"
            )
        return f"both walks show the same {counted(len(newest_first), 'row')}"

    def types(self) -> str:
        """Naming types filters by them. The package names none."""
        first, rows = self._walk()
        named, more = self._rows(first, self._until, "DESC", MOST_PAGES + 1, type="TRADE,REDEEM")
        wanted = [row for row in rows if row["type"] in ("TRADE", "REDEEM")]
        if more or _multiset(named) != _multiset(wanted):
            raise Differs(f"type=TRADE,REDEEM shows {counted(len(named), 'row')}, {len(wanted):,} are of these types")
        return f"type=TRADE,REDEEM shows just the {len(wanted):,} of {counted(len(rows), 'row')}"

    def counts(self) -> str:
        """What the exchange counts of closed days are the trades that it lists."""
        first, rows = self._walk()
        last = (self._now - DAY // 4) // DAY - 1  # a day is counted some hours after its end
        by_day: dict[int, list[Row]] = {}
        for row in rows:
            if row["type"] == "TRADE" and -(-first // DAY) <= row["timestamp"] // DAY <= last:
                by_day.setdefault(row["timestamp"] // DAY, []).append(row)
        days = sorted(by_day)[-DAYS:]
        if not days:
            raise CannotAsk(f"the wallet has no whole day with trades among its newest {counted(len(rows), 'row')}")
        found = {day: self._count(day) for day in days}
        if self._memory.counted_at is None or self._now - self._memory.counted_at >= DAY:
            self._memory.counted_at = self._now
            self._memory.counts = {str(day): list(each) for day, each in found.items()}
        for day, (trades, shares, usd) in found.items():
            listed = by_day[day]
            expected = (
                len(listed), sum(row["size"] for row in listed), sum(row["size"] * row["price"] for row in listed)
            )  # fmt: skip
            if trades != expected[0] or not (_alike(shares, expected[1]) and _alike(usd, expected[2])):
                said = f"{trades:,} trades, {shares:.6f} shares, {usd:.6f} USD"
                raise Differs(
                    f"{minute(day * DAY * 1000)[:10]} counts {said}, but lists {expected[0]:,}, {expected[1]:.6f},"
                    f" {expected[2]:.6f}"
                )
        return f"{counted(len(days), 'day')} with {counted(sum(len(by_day[day]) for day in days), 'trade')} add up"

    def counts_again(self) -> str:
        """A day later, the same days count the same."""
        at = self._memory.counted_at
        if at is None or self._now - at < DAY:
            raise Later(f"after {minute(((at or self._now) + DAY) * 1000)}: run this again then")
        changed = [day for day, before in self._memory.counts.items() if list(self._count(int(day))) != before]
        if changed:
            raise Differs(f"{len(changed)} of {counted(len(self._memory.counts), 'day')} count otherwise than before")
        return f"{counted(len(self._memory.counts), 'day')} count as on {minute(at * 1000)}"

    def cursor(self) -> str:
        """A cursor is taken after an hour, and after a day. The package keeps none for longer than a moment."""
        memory = self._memory
        if memory.cursor_at is None:
            params = activity_params(self._wallet, 1, self._until) | {"limit": CURSOR_PAGE}
            cursor = self._data(ACTIVITY, params)["pagination"]["next_cursor"]
            if not cursor:
                raise CannotAsk(f"the wallet has no more than {CURSOR_PAGE} rows")
            memory.following = _digest(self._data(ACTIVITY, {**params, "cursor": cursor})["data"])
            memory.cursor_at, memory.cursor, memory.params = self._now, cursor, params
        age = self._now - memory.cursor_at
        if age < HOUR:
            raise Later(f"after {minute((memory.cursor_at + HOUR) * 1000)}: run this again then, and a day later")
        try:
            rows = self._data(ACTIVITY, {**memory.params, "cursor": memory.cursor})["data"]
        except RequestRefused as exc:
            raise Differs(f"after {age / HOUR:.0f} h it is refused ({exc})") from exc
        if _digest(rows) != memory.following:
            raise Differs(f"after {age / HOUR:.0f} h it shows other rows")
        if age < DAY:
            return f"it shows the same rows after {age / HOUR:.0f} h; run this again after a day"
        return f"it shows the same rows after {age / HOUR:.0f} h"

    def market_ids(self) -> str:
        """The markets of trades are found in the market data by the id that the activity gives."""
        _, rows = self._walk()
        traded = dict.fromkeys(market_id(row["condition_id"]) for row in rows if row["type"] == "TRADE")
        ids = [each for each in traded if is_listed(each)][:LOOKED_UP]
        if not ids:
            raise CannotAsk("the wallet has no trade")
        found = {each: self._market(each) for each in ids}
        missing = [each for each, market in found.items() if market is None or market["conditionId"].lower() != each]
        if missing:
            raise Differs(f"{len(missing)} of {counted(len(ids), 'market')} are not found, such as {missing[0]}")
        versions = Counter(str(market.get("version", "none said")) for market in found.values() if market)
        return f"{counted(len(ids), 'market')} found ({', '.join(f'version {v}: {n}' for v, n in versions.items())})"

    def closed_markets(self) -> str:
        """Without ``closed`` a look-up finds open markets only, so that both have to be asked for."""
        (market,) = self._gamma(markets.PATH, {"closed": "true", "limit": 1})["markets"]
        if market["closed"] is not True:
            raise Differs("closed=true lists an open market")
        if self._gamma(markets.PATH, {"condition_ids": market["conditionId"], "limit": 1})["markets"]:
            raise Differs("a closed market is found without closed=true")
        return "a closed market is found with closed=true alone"

    def market_versions(self) -> str:
        """Without ``version`` the market data show V1 alone, so that both have to be named."""
        listed = self._gamma(markets.PATH, {"version": "v2", "limit": 1})["markets"]
        if not listed:
            raise CannotAsk("no open market of V2 is listed")
        found = self._gamma(markets.PATH, {"condition_ids": listed[0]["conditionId"], "limit": 1})["markets"]
        if found:
            raise Differs("a market of V2 is found without version=v2, so naming both is needless")
        return "a market of V2 is found with version=v2 alone"

    def _walk(self) -> tuple[int, list[Row]]:
        """The newest rows that no longer change, and the second from which on they are all."""
        if self._walked is None:
            rows, more = self._rows(1, self._until, "DESC", MOST_PAGES)
            if not rows:
                raise CannotAsk("the wallet has no activity that is older than an hour")
            oldest = rows[-1]["timestamp"]
            whole = [row for row in rows if not more or row["timestamp"] > oldest]
            self._walked = (oldest + 1 if more else 1), whole
        return self._walked

    def _rows(self, first: int, last: int, direction: str, pages: int, **more: str) -> tuple[list[Row], bool]:
        """The rows of some seconds, of so many pages; and whether there are more."""
        params = activity_params(self._wallet, first, last, direction) | more
        rows: list[Row] = []
        cursor = None
        for _ in range(pages):
            body = self._data(ACTIVITY, params if cursor is None else {**params, "cursor": cursor})
            rows += body["data"]
            cursor = body["pagination"]["next_cursor"]
            if not cursor:
                break
        return rows, bool(cursor)

    def _count(self, day: int) -> tuple[float, float, float]:
        body = self._data(VOLUME, volume_params(self._wallet, day, day))
        fields = body.get("data", body)
        return float(fields["trade_count"]), float(fields["volume"]), float(fields["volume_usdc"])

    def _market(self, condition: str) -> Row | None:
        """A market by its id, open or closed, of either version."""
        for version in ("v1", "v2"):
            for closed in ("false", "true"):
                params: dict[str, str | int] = {"condition_ids": condition, "closed": closed, "version": version}
                if found := self._gamma(markets.PATH, params)["markets"]:
                    market: Row = found[0]
                    return market
        return None


def _multiset(rows: list[Row]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row[name] for name in KEY) for row in rows)


def _digest(rows: list[Row]) -> str:
    keys = [[row[name] for name in KEY] for row in rows]
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= max(LEAST_SUM_ERROR, 1e-9 * abs(other))
