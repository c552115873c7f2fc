"""Which of Polymarket's markets are fetched: those that are known and have not ended, and open ones of some volume.

There are over a million markets, so they are never listed as a whole. Every run reads the list of open markets above a
volume, the largest first, which also shows what is not traded by anybody on the watch list. Whatever else is stored and
has not ended is looked up by its condition id, many at once: what trades and positions have brought, then what was
looked up longest ago, so that a run that is cut off is continued by the next one.

A market is in one of two lists, of open or of closed markets, and for some minutes after its end in neither: then it
stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from whalesync.errors import (
    AuthenticationError,
    ExchangeChanged,
    ExchangeError,
    InvalidResponse,
    OutOfTime,
    RequestRefused,
)
from whalesync.exchanges.base import Catalog, StoredMarket, Task
from whalesync.exchanges.http import Params
from whalesync.exchanges.polymarket.gamma import MarketPage, is_listed, parse_markets
from whalesync.records import DAY_MS, MARKET, RejectedRecord
from whalesync.text import counted

PATH = "/markets/keyset"
PAGE = 100
BATCH = 50  # condition ids in one request: 4.1 KB of address, of which 8 KB are allowed
VOLUME_FLOOR = 100_000  # USD
MOST_PAGES = 60  # of open markets above it, in one run
LIST_SHARE = 0.3  # of the time
GONE_AFTER = DAY_MS
NAMED = 5  # markets in one message

LISTED_DOWN_TO = "open markets listed down to"  # USD of volume; 0: to the floor
GONE_SAID_AT = "unlisted markets said at"

BOTH_VERSIONS: Params = {"version": ["v1", "v2"], "include_tag": "true", "limit": PAGE}
"""Without a version those of version 1 alone are listed."""

Get = Callable[[str, Params], Any]
"""``whalesync.exchanges.http.Client.get`` for Gamma."""


class MarketSync:
    """One run, as far as the time allows."""

    def __init__(self, get: Get, catalog: Catalog) -> None:
        self._get = get
        self._catalog = catalog
        self._met: set[str] = set()  # condition ids that this run has found
        self._rejected: set[bytes] = set()
        self._gone: list[StoredMarket] = []
        self._begun = False  # a page has been read
        self._failure: ExchangeError | None = None
        self.requests = 0

    def run(self) -> str:
        """Read the list, then look up what it does not give; returns a summary.

        Raises:
            ExchangeChanged: a page holds nothing but unreadable records.
            ExchangeError, OutOfTime: no page could be read.
        """
        catalog = self._catalog
        catalog.run([self._list()], share=LIST_SHARE)
        listed = len(self._met)
        wanted = look_up_order(row for row in catalog.not_ended() if row.external_id not in self._met)
        catalog.run(self._look_up(wanted[first : first + BATCH]) for first in range(0, len(wanted), BATCH))
        if not self._begun:
            raise self._failure or OutOfTime("the time budget ended before the first page of the markets was read")
        catalog.end_topics()
        self._report_gone()
        return f"{listed} open markets listed, {len(self._met) - listed} of {len(wanted)} others looked up"

    def _list(self) -> Task:
        """Read the open markets above the floor, the largest first, from where the last run was cut off."""
        begun_at = self._catalog.recall(LISTED_DOWN_TO) or 0
        query: dict[str, Any] = {
            **BOTH_VERSIONS, "closed": "false", "order": "volumeNum", "ascending": "false",
            "volume_num_min": VOLUME_FLOOR,
        }  # fmt: skip
        if begun_at:
            query["volume_num_max"] = begun_at
        down_to = begun_at
        try:
            for _ in range(MOST_PAGES):
                try:
                    (page,) = yield [partial(self._fetch, query)]
                except ExchangeError as exc:
                    # A refused list is no reason not to look up what wallets have traded.
                    if not (self._begun or isinstance(exc, (RequestRefused, InvalidResponse))):
                        raise
                    self._fail("open markets", exc)
                    return
                known = len(self._met)
                self._take(page)
                # The list has ended, or repeats itself.
                if page.next_cursor is None or len(self._met) == known:
                    down_to = 0
                    return
                down_to = int(min((m.volume or 0 for m in page.markets if m.kind == MARKET), default=0)) + 1
                query["after_cursor"] = page.next_cursor
            down_to = 0  # what is smaller is left out
        finally:
            if down_to != begun_at:
                self._catalog.remember({LISTED_DOWN_TO: down_to})

    def _look_up(self, rows: Sequence[StoredMarket]) -> Task:
        """Look up markets in the list of open ones, then what is not there in that of closed ones."""
        wanted = {row.external_id: row for row in rows}
        try:
            for closed in ("false", "true"):
                (page,) = yield [
                    partial(self._fetch, {**BOTH_VERSIONS, "closed": closed, "condition_ids": list(wanted)})
                ]
                self._take(page)
                wanted = {key: row for key, row in wanted.items() if key not in self._met}
                if not wanted:
                    return
        except AuthenticationError:
            raise
        except ExchangeError as exc:
            self._fail(f"{counted(len(wanted), 'market')}, {next(iter(wanted))} first", exc)
            return
        self._gone += [
            row for row in wanted.values() if self._catalog.now - (row.looked_up_at or row.created_at) >= GONE_AFTER
        ]

    def _fail(self, item: str, problem: ExchangeError) -> None:
        self._failure = self._failure or problem
        self._catalog.record_problem(item, problem)

    def _fetch(self, query: Params) -> MarketPage:
        return parse_markets(self._get(PATH, query))

    def _take(self, page: MarketPage) -> None:
        """Store a page, whether it was asked for by ids or not."""
        self._begun = True
        self.requests += 1
        good = page.markets
        bad = [record for record in page.records if isinstance(record, RejectedRecord)]
        unseen = [record for record in bad if record.fingerprint not in self._rejected]
        self._rejected |= {record.fingerprint for record in unseen}
        self._catalog.save(good, unseen, [market.key for market in good])
        self._met |= {market.external_id for market in good if market.kind == MARKET}
        if len(bad) > 1 and not good:
            raise ExchangeChanged(f"Polymarket has changed: no market of a page can be read ({bad[0].reason})")
        for record in unseen:
            self._catalog.record_problem("markets", f"a record was rejected: {record.reason}")
        self._catalog.report_progress(f"{counted(len(self._met), 'market')}")

    def _report_gone(self) -> None:
        """Record as a problem, once a day, which markets have been in neither list for a day."""
        said_at = self._catalog.recall(GONE_SAID_AT)
        if not self._gone or (said_at is not None and 0 <= self._catalog.now - said_at < GONE_AFTER):
            return
        names = ", ".join(row.external_id for row in self._gone[:NAMED])
        others = f" and {len(self._gone) - NAMED} others" if len(self._gone) > NAMED else ""
        self._catalog.record_problem(
            "markets", f"in no list of Polymarket for a day: {names}{others}. They stay as they are."
        )
        self._catalog.remember({GONE_SAID_AT: self._catalog.now})


def look_up_order(rows: Iterable[StoredMarket]) -> list[StoredMarket]:
    """The markets that can be looked up: first those known from a trade alone, then those looked up longest ago."""
    return sorted(
        (row for row in rows if row.kind == MARKET and is_listed(row.external_id)),
        key=lambda row: (row.status is not None, row.looked_up_at or 0, row.id),
    )
