"""How Polymarket's activity is read where much is missing, for long, or at a wrong time: what is asked, how often."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from whalesync.exchanges.base import Batch, Pace, Reading
from whalesync.exchanges.copy import Copy
from whalesync.exchanges.polymarket.api import STATUS, Api
from whalesync.exchanges.polymarket.clients import Clients
from whalesync.exchanges.polymarket.exact import PolymarketTrades
from whalesync.exchanges.polymarket.pages import ActivityRequest, CountRequest, Entry, Page, Volume, Work
from whalesync.records import BUY, TOKEN_FILL_KEY_RULE, Trade

DAY = 86_400
NOW = 20_000 * DAY + 43_200
SOURCE = PolymarketTrades()


def bought(second: int) -> Trade:
    """A purchase of two shares for a dollar."""
    return Trade(
        f"0x{second:x}", "0x1", "market", BUY, None, 1.0, 0.5, 2.0, 0.0, None, second * 1000, token_id="7",
        fill_key_rule=TOKEN_FILL_KEY_RULE,
    )  # fmt: skip


class Wallet:
    """A wallet that is read as sync-whales would do, all of a span on one page."""

    def __init__(self, seconds: Sequence[int]) -> None:
        self.listed = list(seconds)
        self.stored = Copy([])
        self.state: str | None = None
        self.asked: list[ActivityRequest | CountRequest] = []

    def read(self, at: int, *, oldest: int, healthy: bool = True) -> list[Batch]:
        """Everything that is to be read at a moment."""
        self.asked, batches = [], []
        readings: list[Reading] = [SOURCE.poll(self.state)]
        while readings:
            for reading in readings:
                self.asked += reading
                batch = SOURCE.take(
                    self.state, reading, [self._answer(each, at, healthy=healthy) for each in reading], self.stored,
                    now=at * 1000, cutoff=oldest * 1000,
                )  # fmt: skip
                batch.doubted = []  # a file keeps them
                self.stored.apply(batch)
                self.state = batch.state
                batches.append(batch)
            readings = [] if batch.pace is Pace.DONE else list(SOURCE.next(batch.state, self.stored))
        return batches

    def _answer(self, request: ActivityRequest | CountRequest, at: int, *, healthy: bool) -> Page | Volume:
        if isinstance(request, CountRequest):
            counted = sum(request.first_day <= second // DAY <= request.last_day for second in self.listed)
            return Volume(counted, 2.0 * counted, 1.0 * counted)
        first = at - 600 if request.first is None else request.first
        last = at + 3600 if request.last is None else request.last
        shown = sorted((second for second in self.listed if first <= second <= last), reverse=True)
        return Page(first, last, first, at, healthy, [Entry(second, bought(second)) for second in shown])

    @property
    def seconds(self) -> list[int]:
        """Those of the stored fills that count."""
        rows = self.stored.between(0, 2**62)
        return sorted(row.timestamp // 1000 for row in rows if not row.superseded)


def test_what_a_raised_retention_fetches_again_is_told_from_what_is_new() -> None:
    """So the sums that cleanup has kept of it are dropped, and nothing counts twice."""
    wallet = Wallet([NOW - days * DAY for days in range(1, 20)])
    wallet.read(NOW, oldest=NOW - 30 * DAY)
    pruned_to = NOW - 10 * DAY
    wallet.state = SOURCE.prune(str(wallet.state), pruned_to * 1000, wallet.stored)
    wallet.stored = Copy(row for row in wallet.stored.between(pruned_to * 1000, 2**62))
    batches = wallet.read(NOW + 60, oldest=NOW - 30 * DAY)
    again = [batch for batch in batches if batch.new]
    assert sum(len(batch.new) for batch in again) == 9
    assert {batch.refetched_before for batch in again} == {pruned_to * 1000}


def test_a_retention_that_reaches_back_before_1970_is_kept() -> None:
    """Then everything is read once, and it is known that nothing is older."""
    wallet = Wallet([NOW - days * DAY for days in range(1, 20)])
    wallet.read(NOW, oldest=-(10**9))
    progress = SOURCE.progress(wallet.state)
    assert (progress.complete, progress.known_from) == (True, 0)
    assert all((each.first or 1) <= (each.last or NOW) for each in wallet.asked if isinstance(each, ActivityRequest))
    wallet.read(NOW + 60, oldest=-(10**9))
    assert len(wallet.asked) == 1


def test_one_wrong_answer_costs_few_requests() -> None:
    """When a list that was once empty by mistake is shown again, it is not read row by row."""
    seconds = [NOW - DAY - hours * 7200 for hours in range(500)]
    wallet = Wallet(seconds)
    wallet.read(NOW, oldest=NOW - 90 * DAY)
    wallet.state, wallet.listed = SOURCE.recheck(wallet.state), []
    wallet.read(NOW + 60, oldest=NOW - 90 * DAY)
    wallet.listed = seconds
    wallet.read(NOW + 720, oldest=NOW - 90 * DAY)
    assert len([each for each in wallet.asked if isinstance(each, ActivityRequest)]) < 10
    assert wallet.seconds == sorted(seconds)


def test_polls_stay_small_while_the_index_lags_for_long() -> None:
    """A poll reads about a day however long the exchange does not say that its index keeps up, and nothing is lost."""
    wallet = Wallet([NOW - 3 * DAY])
    wallet.read(NOW, oldest=NOW - 30 * DAY)
    for hours in range(1, 240):
        at = NOW + hours * 3600
        wallet.read(at, oldest=NOW - 30 * DAY, healthy=False)
        first = wallet.asked[0].first if isinstance(wallet.asked[0], ActivityRequest) else None
        assert first is not None and at - first <= 27 * 3600
    late = NOW + 36 * 3600  # it appears when the index has caught up, after all polls that would have read its second
    wallet.listed.append(late)
    wallet.read(NOW + 240 * 3600, oldest=NOW - 30 * DAY)
    assert late in wallet.seconds


class Host:
    """Polymarket's Data API as two clients: no activity, and a status that is held back until ``answer`` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked_for_status = threading.Event()
        self.queries: list[Mapping[str, Any]] = []
        self.activity = self.data = self
        self.latest_date = NOW * 1000

    def get(self, path: str, params: Mapping[str, Any]) -> Any:
        """The body of a response."""
        if path == STATUS:
            self.asked_for_status.set()
            assert self.answer.wait(30)
            return {"age_seconds": 5, "serving": {"lag_seconds": 3}}
        self.queries.append(params)
        return {"data": [], "pagination": {"has_more": False, "next_cursor": None}}


def connection(host: Host) -> Api:
    return Api(cast(Clients, host), clock=lambda: NOW)


def test_a_status_that_does_not_come_keeps_one_wallet_waiting_alone(monkeypatch: Any) -> None:
    """The others are read without it, as if the index lagged; once it is there, it counts."""
    monkeypatch.setattr("whalesync.exchanges.polymarket.api.STATUS_PATIENCE", 0.05)
    host = Host()
    api, poll = connection(host), ActivityRequest(Work.POLL, NOW - 600, None)
    first = threading.Thread(target=api.fetch_trades, args=("0x1", poll), daemon=True)
    first.start()
    assert host.asked_for_status.wait(10)
    others = [api.fetch_trades(f"0x{number}", poll) for number in range(2, 5)]
    assert [isinstance(page, Page) and page.healthy for page in others] == [False] * 3
    host.answer.set()
    first.join(10)
    page = api.fetch_trades("0x5", poll)
    assert isinstance(page, Page) and page.healthy


def test_a_start_that_a_fast_clock_has_set_is_not_after_the_end() -> None:
    """An exchange may refuse such a span, until its own clock has come as far."""
    host = Host()
    host.answer.set()
    connection(host).fetch_trades("0x1", ActivityRequest(Work.POLL, NOW + 2 * DAY, None))
    (query,) = host.queries
    assert query["start"] <= query["end"]
