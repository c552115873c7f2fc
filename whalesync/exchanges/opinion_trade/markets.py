"""Which of Opinion.Trade's markets are fetched, in which order: the list, then prices, then liquidity.

The list moves while it is read: a new market pushes all others one place down, a deletion pulls them up, and the
``total`` of each response shows it. No market is missed between two neighbouring pages if the upper one was read when
the list was not longer than when the lower one was read. Pages for which that does not hold are read again.

There is no request for many prices, only one for each token. Where the time does not suffice for all, those that the
last run left out come first, then the busiest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from math import ceil, inf
from typing import TYPE_CHECKING

from whalesync.errors import AuthenticationError, ExchangeChanged, ExchangeError, OutOfTime, RequestRefused
from whalesync.exchanges.base import Catalog, Task, Tradable
from whalesync.exchanges.opinion_trade.pages import LARGEST_PAGE
from whalesync.records import MARKET, Market, RejectedRecord

if TYPE_CHECKING:
    from whalesync.exchanges.opinion_trade.api import Api

MOST_PAGES = 5_000
MOST_BARREN_PAGES = 10  # in a row that list nothing new: the list has ended, or the exchange repeats itself
MOST_ROUNDS = 3  # of reading pages again
MANY_GONE = 0.1  # of the stored markets that can be traded

LIST_SHARE = 0.5  # of the time: however long the list is, prices are asked for
ROUND_SHARE = 0.2
PRICE_SHARE = 0.8  # of the time after the list: where it is short, there would never be a liquidity


class MarketSync:
    """One run over all markets, as far as the time allows."""

    def __init__(self, api: Api, catalog: Catalog) -> None:
        self._api = api
        self._catalog = catalog
        self._received: set[str] = set()  # external ids of markets, topics not counted
        self._listed: set[str] = set()  # what tells the entries of the list apart, children not counted
        self._totals: dict[int, list[int]] = {}  # the totals that the responses for each page named
        self._lengths: dict[int, int] = {}  # how many entries each page has
        self._total = 0  # by the latest response
        self._barren = 0  # pages in a row that listed nothing new
        self._ended = False  # before the page that the total makes the last one

    def run(self) -> str:
        """Sync the list, the prices, the liquidity; returns a summary.

        Raises:
            AuthenticationError: no other request could succeed.
            ExchangeChanged: a page holds nothing but unreadable records.
            ExchangeError, OutOfTime: the first page could not be read.
        """
        self._read_list()
        self._check_list()
        api, catalog = self._api, self._catalog
        prices = self._ask(
            "price", api.fetch_price, catalog.save_price, lambda m: m.price_left_out_since, share=PRICE_SHARE
        )
        books = self._ask(
            "liquidity", api.fetch_liquidity, catalog.save_liquidity, lambda m: m.liquidity_left_out_since
        )
        return f"{len(self._listed)} markets and topics listed; prices of {prices}, liquidity of {books}"

    def _read_list(self) -> None:
        self._catalog.run([self._page(1)])
        if not self._totals:
            raise OutOfTime("the time budget ended before the first page of the markets was read")
        self._catalog.run(map(self._page, self._pages()), share=LIST_SHARE)
        # A total may be too small: go on where the last page is full and not a repetition.
        number = self._last_page() + 1
        while self._lengths.get(number - 1) == LARGEST_PAGE and not self._barren and number <= MOST_PAGES:
            self._catalog.run([self._page(number)], share=LIST_SHARE)
            number += 1
        for _ in range(MOST_ROUNDS):
            if again := self._doubtful_pages():
                self._catalog.run(map(self._page, again), share=ROUND_SHARE)

    def _pages(self) -> Iterator[int]:
        """The pages behind the first one, as far as the latest total reaches and the list goes on."""
        for number in range(2, MOST_PAGES + 1):
            if number > self._last_page():
                return
            if self._barren >= MOST_BARREN_PAGES:
                self._ended = True
                return
            yield number

    def _last_page(self) -> int:
        return ceil(self._total / LARGEST_PAGE)

    def _doubtful_pages(self) -> list[int]:
        """The pages to read again: where markets can have been missed between two pages, and where new ones stand."""
        totals = self._totals
        again = {
            number
            for upper, lower in pairwise(sorted(totals))
            if min(totals[upper]) > max(totals[lower])
            for number in (upper, lower)
        }
        if max(totals[1]) < max(map(max, totals.values())):
            again.add(1)
        return sorted(again)

    def _page(self, number: int) -> Task:
        """Fetch and store one page of the list."""
        try:
            (page,) = yield [partial(self._api.fetch_markets, number)]
        except AuthenticationError:
            raise
        except ExchangeError as exc:
            if not self._totals:
                raise
            self._catalog.record_problem(f"page {number} of the markets", exc)
            return
        good = [record for record in page.records if isinstance(record, Market)]
        bad = [record for record in page.records if isinstance(record, RejectedRecord)]
        self._catalog.save(good, bad)
        if bad and not good:
            raise ExchangeChanged(f"Opinion.Trade has changed: no market of a page can be read ({bad[0].reason})")
        for record in bad:
            self._catalog.record_problem("markets", f"a record was rejected: {record.reason}")
        before = len(self._listed)
        self._listed |= {f"{m.kind} {m.external_id}" for m in good if m.parent_external_id is None}
        self._listed |= {record.payload for record in bad}
        self._received |= {market.external_id for market in good if market.kind == MARKET}
        self._barren = 0 if len(self._listed) > before else self._barren + 1
        self._total = page.total
        self._totals.setdefault(number, []).append(page.total)
        self._lengths[number] = page.length
        self._catalog.report_progress(f"{len(self._listed)} of {self._total} markets and topics listed")

    def _check_list(self) -> None:
        """Record as a problem what may be missing."""
        listed, total, pages = len(self._listed), self._total, self._last_page()
        unread = 0 if self._ended else pages - len(self._totals.keys() & range(1, pages + 1))
        if unread:
            self._catalog.record_problem("markets", f"{unread} of {pages} pages were not read")
        elif not total <= listed < total + LARGEST_PAGE:
            self._catalog.record_problem("markets", f"{listed} are listed, but the exchange counts {total}")
        elif self._doubtful_pages():
            self._catalog.record_problem("markets", "the list changed while it was read; some may be missing")
        stored = self._catalog.tradable()
        gone = sum(market.external_id not in self._received for market in stored)
        if not unread and gone > MANY_GONE * len(stored):
            self._catalog.record_problem(
                "markets", f"{gone} of {len(stored)} stored markets that can be traded are no longer listed"
            )

    def _ask(
        self,
        what: str,
        fetch: Callable[[str], float | None],
        save: Callable[[Tradable, float], None],
        left_out_since: Callable[[Tradable], int | None],
        share: float = 1.0,
    ) -> str:
        """Ask about every market that can be traded; returns of how many, "3/4"."""
        # First those that earlier runs had no time for, longest left out first; then the busiest.
        markets = sorted(self._catalog.tradable(), key=lambda m: (left_out_since(m) or inf, -m.volume_24h, m.id))
        asked: set[int] = set()
        known = False
        unknown: list[Tradable] = []
        refusals: list[RequestRefused] = []

        def ask(market: Tradable) -> Task:
            nonlocal known
            try:
                (value,) = yield [partial(fetch, market.yes_token_id)]
            except AuthenticationError:
                raise
            except RequestRefused as exc:  # one of the ways to say that it is unknown
                refusals.append(exc)
            except ExchangeError as exc:
                self._catalog.record_problem(f"{what} of market {market.external_id}", exc)
            else:
                if value is None:
                    unknown.append(market)
                else:
                    save(market, value)
                    known = True
            asked.add(market.id)
            self._catalog.report_progress(f"{what} of {len(asked)} markets")

        try:
            self._catalog.run(map(ask, markets), share=share)
        finally:
            made_up_for = [m.id for m in markets if m.id in asked and left_out_since(m) is not None]
            left_out = [m.id for m in markets if m.id not in asked]
            if made_up_for or left_out:
                self._catalog.left_out(what, made_up_for, left_out)
        if known:
            for market in unknown:
                self._catalog.save_price(market, None)
        elif unknown or refusals:
            # That nothing has a price is a fault of the exchange: what is stored stays.
            reason = refusals[0] if refusals else "unknown, says Opinion.Trade"
            self._catalog.record_problem(what, f"not known for any of {len(asked)} markets ({reason})")
        return f"{len(asked)}/{len(markets)}"
