"""``sync-markets``: every market and child of every status, then prices, then liquidity.

There is no bulk price: one request a token. Where the time budget does not do for all, those that the last
run left out come first, then the busiest.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Protocol

from whalesync.errors import ExchangeChanged, ExchangeError, JobFailed, KeyRefused, OutOfTime, StoreError
from whalesync.jobs.crew import Crew, Task
from whalesync.jobs.run import Run
from whalesync.records import PAGE_SIZE, Market, Page
from whalesync.store import log, markets
from whalesync.store.markets import Tradable

LIQUIDITY_SHARE = (
    0.2  # of the time after the list is kept for liquidity, or many markets would never have any
)


class Exchange(Protocol):
    """What this job needs of an exchange."""

    def markets(self, number: int) -> Page[Market]:
        """Page ``number`` (from 1) of all markets, newest first, children behind their parents."""

    def price(self, token_id: str) -> float | None:
        """The latest price of a token, from 0 to 1; None if it never traded."""

    def liquidity(self, token_id: str) -> float | None:
        """USD resting in a token's book; None if it has none."""


def asking_order(
    tradable: list[Tradable], left_out_since: Callable[[Tradable], int | None]
) -> list[Tradable]:
    """First those that earlier runs had no time for, longest left out first; then the busiest."""
    return sorted(
        tradable,
        key=lambda m: (left_out_since(m) is None, left_out_since(m) or 0, -m.volume_24h, m.id),
    )


class MarketSync:
    """One run over all markets, as far as the time budget allows."""

    def __init__(self, run: Run, exchange: Exchange, crew: Crew) -> None:
        self.run = run
        self.exchange = exchange
        self.crew = crew
        self.received: set[str] = set()  # ids of all markets
        self.top_level: set[str] = set()  # what tells the entries of the list apart, children not counted
        self.total: int | None = None  # by the latest page
        self.pages_failed = 0
        self.asked: set[int] = set()

    def work(self) -> None:
        """The list, the prices, the liquidity.

        Raises:
            KeyRefused: at once; no other request could succeed.
            ExchangeChanged: a page held nothing but unreadable records.
            JobFailed: not one page of the list could be read.
        """
        self.read_list()
        self.run.items = len(self.received)

        until = self.crew.until
        self.crew.until -= max(0.0, self.crew.left()) * LIQUIDITY_SHARE
        prices = self.ask("price", self.price, lambda market: market.price_left_out_since)
        self.crew.until = until
        books = self.ask("liquidity", self.liquidity, lambda market: market.liquidity_left_out_since)
        self.run.summary = f"{self.run.items} markets; prices of {prices}, liquidity of {books}"

    def read_list(self) -> None:
        """All pages. Markets that are made meanwhile come first in the list and push its end onto another page."""
        self.crew.run([self.list_page(1)])
        if self.total is None:
            raise JobFailed(next(iter(self.run.errors()), "the time budget ended before the first page"))
        read = self.last_page
        self.crew.run(self.list_page(number) for number in range(2, read + 1))
        if len(self.top_level) < self.total:
            pushed = range(read + 1, self.last_page + 1)
            self.crew.run(self.list_page(number) for number in (1, *pushed))
        if self.pages_failed:
            self.run.note("markets", f"{self.pages_failed} of {self.last_page} pages were not read")
        elif len(self.top_level) < self.total:
            self.run.note("markets", f"{len(self.top_level)} were listed where the total says {self.total}")

    @property
    def last_page(self) -> int:
        """The number of pages that the list's total makes."""
        return ceil((self.total or 0) / PAGE_SIZE)

    def list_page(self, number: int) -> Task:
        """Fetch and store one page of the list."""
        try:
            (page,) = yield [partial(self.exchange.markets, number)]
        except OutOfTime:
            self.pages_failed += 1
            return
        except KeyRefused:
            raise
        except ExchangeError as exc:
            self.pages_failed += 1
            self.run.note(f"page {number} of the markets", exc)
            return
        if page.bad and not page.good:
            self.set_aside(page)
            raise ExchangeChanged(
                f"no record of a page can be read ({page.bad[0].reason}): the exchange has changed"
            )
        self.total = page.total
        with self.run.db.write():
            markets.save(self.run.db, page.good, self.run.now)
        if page.bad:
            self.set_aside(page)
        self.received.update(market.external_id for market in page.good)
        self.top_level.update(market.external_id for market in page.good if market.parent_external_id is None)
        self.top_level.update(bad.payload for bad in page.bad)
        self.run.progress(f"{len(self.received)} markets received")

    def set_aside(self, page: Page[Market]) -> None:
        """Keep the unreadable records of a page, and say so."""
        with self.run.db.write():
            log.set_aside(self.run.db, "markets", page.bad, run=self.run.id, now=self.run.now)
        for bad in page.bad:
            self.run.note("markets", f"a record was set aside: {bad.reason}")

    def ask(
        self, what: str, about: Callable[[Tradable], Task], left_out_since: Callable[[Tradable], int | None]
    ) -> str:
        """Ask about every tradable market; returns how many were asked about of how many."""
        listed = asking_order(markets.tradable(self.run.db), left_out_since)
        self.asked = set()
        try:
            self.crew.run(self.guarded(what, market, about(market)) for market in listed)
        finally:
            left_out = {market.id for market in listed} - self.asked
            if left_out or any(left_out_since(market) is not None for market in listed):
                with suppress(
                    StoreError
                ):  # not to cover what is going on; only the next run's order hangs on it
                    markets.note_left_out(self.run.db, what, self.asked, left_out, self.run.now)
        return f"{len(self.asked)}/{len(listed)}"

    def guarded(self, what: str, market: Tradable, task: Task) -> Task:
        """One market's failure is that market's alone."""
        try:
            yield from task
        except OutOfTime:
            return
        except KeyRefused:
            raise
        except ExchangeError as exc:
            self.run.note(f"{what} of market {market.external_id}", exc)
        self.asked.add(market.id)
        self.run.progress(f"{what} of {len(self.asked)} markets")

    def price(self, market: Tradable) -> Task:
        """Ask for a market's latest price; an unknown one leaves what was known."""
        (price,) = yield [partial(self.exchange.price, market.yes_token_id)]
        if price is not None:
            markets.save_price(self.run.db, market.id, price, self.run.now)

    def liquidity(self, market: Tradable) -> Task:
        """Ask for a market's order book."""
        (amount,) = yield [partial(self.exchange.liquidity, market.yes_token_id)]
        if amount is not None:
            markets.save_liquidity(self.run.db, market.id, amount)
