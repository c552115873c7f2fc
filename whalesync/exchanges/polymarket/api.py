"""Polymarket's endpoints: paths and parameters. Facts: see ``parsing``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from whalesync.errors import ContradictoryList, ExchangeError, RequestRefused
from whalesync.exchanges.base import Candidate, Catalog, Holdings
from whalesync.exchanges.polymarket import leaderboard, markets, parsing, positions
from whalesync.exchanges.polymarket.clients import Clients
from whalesync.exchanges.polymarket.pages import ActivityRequest, CountRequest, Page, Volume, Work

ACTIVITY, VOLUME, STATUS = "/activity", "/user-volume", "/status"

OVERLAP_SECONDS = 600  # of the first poll of a wallet
CACHE_SECONDS = 15  # a page may be as old
AHEAD_SECONDS = 3600  # the end of what is asked for; it changes each second, so the cache seldom has the page
HEALTHY_LAG, HEALTHY_AGE = 120.0, 300.0  # seconds
STATUS_SECONDS = 60.0
MOST_PAGES = 1000  # of rows of one second
CURSOR_ATTEMPTS = 3

DAY = 86_400
NOBODY = "0x" + 40 * "0"


class Api:
    """The connection (``whalesync.exchanges.base.Connection``).

    Args:
        clients: make the requests.
        log_step: told when the exchange's index lags.
        clock: this host's clock (s).
    """

    def __init__(
        self, clients: Clients, log_step: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._clients = clients
        self._log_step = log_step
        self._clock = clock
        self._status_lock = threading.Lock()
        self._status: tuple[float, bool] | None = None

    def fetch_trades(self, wallet: str, request: ActivityRequest | CountRequest) -> Page | Volume:
        """Some seconds of a wallet's activity, or what is counted of some days.

        Raises:
            OutOfTime, ExchangeError: see ``whalesync.exchanges.base.Connection``.
        """
        if isinstance(request, CountRequest):
            return self._fetch_volume(wallet, request.first_day, request.last_day)
        for attempt in range(1, CURSOR_ATTEMPTS + 1):
            try:
                return self._fetch_activity(wallet, request)
            except CursorRefused:
                if attempt == CURSOR_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def count_trades(self, wallet: str) -> int:
        """How many trades the exchange counts of a wallet; those of today, which are counted late, may be missing."""
        counted = self._fetch_volume(wallet, 0, int(self._clock()) // DAY).trades
        return counted or len(self._fetch_activity(wallet, ActivityRequest(Work.POLL, 1, None)).entries)

    def list_positions(self, wallet: str) -> Holdings:
        """Read all pages of what a wallet holds; see ``positions``."""
        return positions.read_held(self._clients.positions.get, wallet)

    def list_closed_positions(self, wallet: str, since: int) -> Holdings:
        """Read all pages of what a wallet holds no longer; see ``positions``."""
        return positions.read_closed(self._clients.positions.get, wallet, since)

    def exchange_time(self) -> int | None:
        """The exchange's own clock now (ms), as a response gave it; None if none did. No request."""
        return self._clients.latest_date

    def sync_markets(self, catalog: Catalog) -> str:
        """Bring the markets up to date; see ``markets``."""
        return markets.MarketSync(self._clients.gamma.get, catalog).run()

    def fetch_leaderboard(self, *, by: str, period: str, limit: int) -> list[Candidate]:
        """The leaderboard, the best first; see ``leaderboard``."""
        return leaderboard.read(self._clients.data.get, by=by, period=period, limit=limit)

    def check(self) -> None:
        """Make a request to each host."""
        self._clients.activity.get(ACTIVITY, {"user": NOBODY, "limit": 1})
        self._clients.gamma.get(markets.PATH, {"limit": 1})

    def _fetch_activity(self, wallet: str, request: ActivityRequest) -> Page:
        """One page of whole seconds; more pages only while all that they show is of one second."""
        healthy = self._is_healthy()
        here, there = int(self._clock()), (self.exchange_time() or 0) // 1000
        at = min(here, there or here) - CACHE_SECONDS  # a clock that runs ahead must not make a page too new
        first = max(1, at - OVERLAP_SECONDS if request.first is None else request.first)
        last = max(here, there) + AHEAD_SECONDS if request.last is None else request.last
        params = activity_params(wallet, first, last)
        rows, cursor = parsing.parse_list(self._clients.activity.get(ACTIVITY, params))
        cursors: set[str] = set()
        while cursor is not None and not _has_whole_second(parsing.seconds_of(rows, at)):
            if cursor in cursors or len(cursors) == MOST_PAGES:
                raise ContradictoryList("Polymarket: the activity of one second does not come to an end")
            cursors.add(cursor)
            try:
                body = self._clients.activity.get(ACTIVITY, {**params, "cursor": cursor})
            except RequestRefused as exc:
                raise CursorRefused("Polymarket: a cursor was refused, although it is new") from exc
            more, cursor = parsing.parse_list(body)
            rows += more
        return parsing.parse_page(rows, first, last, more=cursor is not None, at=at, healthy=healthy)

    def _fetch_volume(self, wallet: str, first_day: int, last_day: int) -> Volume:
        params = volume_params(wallet, first_day, last_day)
        return parsing.parse_volume(self._clients.data.get(VOLUME, params))

    def _is_healthy(self) -> bool:
        """Whether the index keeps up with the chain, as it was within the last minute; not, if it does not say."""
        with self._status_lock:
            now = time.monotonic()
            if self._status is None or now - self._status[0] > STATUS_SECONDS:
                self._status = now, self._fetch_status()
            return self._status[1]

    def _fetch_status(self) -> bool:
        try:
            lag, age = parsing.parse_lag(self._clients.data.get(STATUS, {}))
        except ExchangeError as exc:
            self._log_step(f"Polymarket does not say how far its index is behind: {exc}")
            return False
        healthy = lag <= HEALTHY_LAG and age <= HEALTHY_AGE
        if not healthy:
            self._log_step(f"Polymarket's index is {lag:.0f} s behind, as it was {age:.0f} s ago")
        return healthy


class CursorRefused(RequestRefused):
    """The exchange refuses to go on where a page ended; what was asked for has to be asked again."""


def activity_params(wallet: str, first: int, last: int, direction: str = "DESC") -> dict[str, str | int]:
    """The query for a wallet's rows from second ``first`` to ``last``; ``direction`` DESC: the newest first."""
    return {
        "user": wallet,
        "start": first,
        "end": last,
        "limit": parsing.LARGEST_PAGE,
        "sort_by": "TIMESTAMP",
        "sort_direction": direction,
        "exclude_deposits_withdrawals": "false",
    }


def volume_params(wallet: str, first_day: int, last_day: int) -> dict[str, str | int]:
    """The query for the counts of some UTC days, numbered since 1970, both included."""
    return {"user": wallet, "start": max(1, first_day * DAY), "end": last_day * DAY}


def _has_whole_second(seconds: list[int]) -> bool:
    return bool(seconds) and seconds[0] != seconds[-1]
