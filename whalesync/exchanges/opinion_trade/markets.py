"""Which of Opinion.Trade's markets are fetched, in which order: the lists, single markets, prices, liquidity.

Every run reads the lists of open markets whole, and the newest entries of the lists of all markets, which are read
whole once a day or when they do not add up (``lists``). Then what the lists do not give is asked for by id
(``lookups``).

There is no request for many prices, only one for each token. Where the time does not suffice for all, those that the
last run left out come first, then the busiest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from whalesync.errors import AuthenticationError, ExchangeChanged, ExchangeError, OutOfTime, RequestRefused
from whalesync.exchanges.base import Catalog, Key, Task, Tradable
from whalesync.exchanges.opinion_trade.lists import OPEN, WHOLE, ListQuery, ListReading, Walk
from whalesync.exchanges.opinion_trade.lookups import LookUp
from whalesync.records import MARKET, Market, RejectedRecord

if TYPE_CHECKING:
    from whalesync.exchanges.opinion_trade.api import Api

MOST_ROUNDS = 3  # of reading pages again
MANY_UNLISTED = 0.5  # of the stored markets that can be traded; some are in no list, and each is looked up

LIST_SHARE = 0.5  # of the time: however long the lists are, prices are asked for
ROUND_SHARE = 0.2
LOOKUP_SHARE = 0.5
PRICE_SHARE = 0.8  # of the time after that: where it is short, there would never be a liquidity


class MarketSync:
    """One run over all markets, as far as the time allows."""

    def __init__(self, api: Api, catalog: Catalog) -> None:
        self._api = api
        self._catalog = catalog
        self._met: set[Key] = set()  # in the lists of open markets
        self._new: set[Key] = set()  # stored by this run first
        self._listed: set[object] = set()  # what tells the entries of the lists apart, children not counted
        self._rejected: set[bytes] = set()
        self._begun = False  # a page has been read
        self._readable = False  # a market could be read

    def run(self) -> str:
        """Sync the lists, what they do not give, the prices, the liquidity; returns a summary.

        Raises:
            AuthenticationError: no other request could succeed.
            ExchangeChanged: a page holds nothing but unreadable records, several or the first.
            ExchangeError, OutOfTime: the first page could not be read.
        """
        self._read_lists()
        lookup = LookUp(self._api, self._catalog, self._met)
        lookup.run(LOOKUP_SHARE)
        self._check_tradable()
        api, catalog = self._api, self._catalog
        prices = self._ask(
            "price", api.fetch_price, catalog.save_price, lambda m: m.price_left_out_since, share=PRICE_SHARE
        )
        books = self._ask(
            "liquidity", api.fetch_liquidity, catalog.save_liquidity, lambda m: m.liquidity_left_out_since
        )
        return (
            f"{len(self._listed)} markets and topics listed, {lookup.count} looked up;"
            f" prices of {prices}, liquidity of {books}"
        )

    def _read_lists(self) -> None:
        opened, whole = ([ListReading(query) for query in queries] for queries in (OPEN, WHOLE))
        run = self._catalog.run
        run([self._page(opened[0], 1)])
        if not opened[0].totals:
            raise OutOfTime("the time budget ended before the first page of the markets was read")
        run([self._page(reading, 1) for reading in (*opened[1:], *whole)], share=LIST_SHARE)
        walks = {reading.query: self._recall(reading.query) for reading in whole}
        due = [reading for reading in whole if self._is_due(reading, walks[reading.query])]
        self._read_whole([*opened, *due])
        for reading in whole:
            walk = walks[reading.query]
            if reading in due:
                self._remember(reading.query, walk.after(reading, self._catalog.now))
            elif reading.totals and walk.accounts_for(reading):
                self._remember(reading.query, walk._replace(total=reading.total))

    def _is_due(self, reading: ListReading, walk: Walk) -> bool:
        """Read a list as far as it has new entries; returns whether to read it whole, from the beginning or on."""
        number = 1
        while reading.goes_on_new and number in reading.totals and not walk.is_old(self._catalog.now):
            number += 1
            self._catalog.run([self._page(reading, number)], share=LIST_SHARE)
        if walk.is_under_way(self._catalog.now):
            reading.go_on_at(walk.next_page)
        return bool(reading.totals) and walk.is_due(reading, self._catalog.now)

    def _read_whole(self, readings: Sequence[ListReading]) -> None:
        run = self._catalog.run
        run((self._page(reading, number) for reading in readings for number in reading.pages()), share=LIST_SHARE)
        for reading in readings:
            while (number := reading.page_past_total()) is not None:
                run([self._page(reading, number)], share=LIST_SHARE)
                if number not in reading.totals:
                    break
            for _ in range(MOST_ROUNDS):
                if again := reading.doubtful_pages():
                    run([self._page(reading, number) for number in again], share=ROUND_SHARE)
            if problem := reading.problem():
                self._catalog.record_problem(reading.query.name, problem)

    def _page(self, reading: ListReading, number: int) -> Task:
        """Fetch and store one page of a list."""
        try:
            (page,) = yield [partial(self._api.fetch_markets, reading.query, number)]
        except AuthenticationError:
            raise
        except ExchangeError as exc:
            if not self._begun:
                raise
            reading.fail(number)
            self._catalog.record_problem(f"page {number} of the {reading.query.name}", exc)
            return
        good = [record for record in page.records if isinstance(record, Market)]
        bad = [record for record in page.records if isinstance(record, RejectedRecord)]
        unseen = [record for record in bad if record.fingerprint not in self._rejected]
        self._new |= self._catalog.save(good, unseen)
        self._rejected |= {record.fingerprint for record in unseen}
        # One market alone on a page, as in a short list, says nothing about the others.
        self._readable = self._readable or bool(good)
        if not good and len(bad) > self._readable:
            raise ExchangeChanged(f"Opinion.Trade has changed: no market of a page can be read ({bad[0].reason})")
        for record in unseen:
            self._catalog.record_problem("markets", f"a record was rejected: {record.reason}")
        if reading.query.only_open:
            self._met |= {market.key for market in good}
        reading.take(number, page, self._new)
        self._begun = True
        self._listed |= reading.listed
        self._catalog.report_progress(f"{len(self._listed)} markets and topics listed")

    def _recall(self, query: ListQuery) -> Walk:
        known = {name: self._catalog.recall(f"{query.name} {name}") for name in Walk._fields}
        return Walk(**{name: value for name, value in known.items() if value is not None})

    def _remember(self, query: ListQuery, walk: Walk) -> None:
        before = self._recall(query)
        new = {
            f"{query.name} {name}": value
            for name, value in walk._asdict().items()
            if value not in (None, getattr(before, name))
        }
        if new:
            self._catalog.remember(new)

    def _check_tradable(self) -> None:
        """Record as a problem that many markets are open and yet not listed as open."""
        stored = self._catalog.tradable()
        unlisted = sum((MARKET, market.external_id) not in self._met for market in stored)
        if unlisted > MANY_UNLISTED * len(stored):
            self._catalog.record_problem(
                "markets", f"{unlisted} of {len(stored)} stored markets that can be traded are no longer listed"
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
