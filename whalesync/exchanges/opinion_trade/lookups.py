"""Which of Opinion.Trade's markets are asked for by their id, and what the responses mean.

The lists are not complete: of a topic they give twice the volumes and not all children; a market that has ended
leaves the list of open ones; some markets are in no list. A child does not name its topic, so a child whose topic is
known is looked up through it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from whalesync.errors import AuthenticationError, ExchangeError, InvalidResponse, RequestRefused, UnknownMarket
from whalesync.exchanges.base import Call, Catalog, Key, StoredMarket, Task
from whalesync.exchanges.opinion_trade.parsing.markets import MarketDetail, web_page
from whalesync.records import MARKET, TOPIC, Market, RejectedRecord
from whalesync.units import DAY, MINUTE

if TYPE_CHECKING:
    from whalesync.exchanges.opinion_trade.api import Api


# With the lists (about 20 requests) within a tenth of what the key allows in the five minutes between two runs: 450.
MOST_LOOKUPS = 300
FRESH = 7.5 * MINUTE  # every second run: what happens is seen within ten minutes
RETRY = 50 * MINUTE  # so that, with a run every five minutes, each hour has a look-up
RESULT_DAYS = 7

MANY_GONE = 0.1  # of the stored markets that have not ended
FEW_GONE = 5


class Target(NamedTuple):
    """One look-up by id: of a topic or of a market, for the sake of ``rows``."""

    kind: str
    external_id: str
    rows: list[StoredMarket]


class Wanted(NamedTuple):
    """The stored markets that may have to be looked up, and the keys of those ``met`` in the lists of open ones."""

    not_ended: Sequence[StoredMarket]
    never_looked_up: Sequence[StoredMarket]
    without_result: Sequence[StoredMarket]
    met: Collection[Key]

    def targets(self, now: int) -> list[Target]:
        """What to look up, the most urgent first; each topic once."""
        found: dict[Key, Target] = {}
        for row in self._rows(now):
            topic = row.external_id if row.kind == TOPIC else row.parent_external_id
            key = (MARKET, row.external_id) if topic is None else (TOPIC, topic)
            found.setdefault(key, Target(*key, [])).rows.append(row)
        return list(found.values())

    def missing(self, now: int) -> list[StoredMarket]:
        """What is not among the open ones any more, and has not been looked up just now; longest ago first."""
        rows = [row for row in self.not_ended if row.status is not None and row.key not in self.met]
        return sorted((row for row in rows if _is_due(row, now, FRESH)), key=_latest)

    def _rows(self, now: int) -> Iterator[StoredMarket]:
        yield from (row for row in self.not_ended if row.status is None and _is_due(row, now, RETRY))
        missing = self.missing(now)
        yield from missing
        topics = {row.key: row for row in self.not_ended if row.kind == TOPIC and row.status is not None}
        for row in missing:
            topics.pop(row.key, None)
        yield from sorted((row for row in topics.values() if _is_due(row, now, FRESH)), key=_latest)
        yield from self.never_looked_up
        yield from self.without_result


class LookUp:
    """The look-ups of one run."""

    def __init__(self, api: Api, catalog: Catalog, met: Collection[Key]) -> None:
        self._api = api
        self._catalog = catalog
        self._wanted = Wanted(
            not_ended=catalog.not_ended(),
            never_looked_up=catalog.topics_never_looked_up(MOST_LOOKUPS),
            without_result=catalog.without_result(
                since=catalog.now - RESULT_DAYS * DAY, not_after=catalog.now - int(RETRY), limit=MOST_LOOKUPS
            ),
            met=met,
        )
        self._missing = {row.id for row in self._wanted.missing(catalog.now)}
        self._answered: set[int] = set()
        self._unknown: list[StoredMarket] = []
        self.count = 0

    def run(self, share: float) -> None:
        """Look up what is wanted, as far as ``share`` of the time allows, and mark as deleted what is gone.

        Raises:
            AuthenticationError: no other request could succeed.
        """
        targets = self._wanted.targets(self._catalog.now)[:MOST_LOOKUPS]
        self._catalog.run(map(self._look_up, targets), share=share)
        self._delete()

    def _look_up(self, target: Target) -> Task:
        try:
            rows = target.rows
            if target.kind == TOPIC:
                rows = yield from self._look_up_topic(target)
            for row in rows:
                yield from self._look_up_market(row)
        except AuthenticationError:
            raise
        except ExchangeError as exc:
            self._catalog.record_problem(f"{target.kind} {target.external_id}", exc)
        self.count += 1
        self._catalog.report_progress(f"{self.count} markets and topics looked up")

    def _look_up_topic(self, target: Target) -> Generator[list[Call], Any, list[StoredMarket]]:
        """Look up a topic; returns the markets that it turns out not to have."""
        topics = [row for row in target.rows if row.kind == TOPIC]
        markets = [row for row in target.rows if row.kind == MARKET]
        try:
            (detail,) = yield [partial(self._api.fetch_topic, target.external_id)]
        except UnknownMarket:
            self._not_found(topics)
            return markets
        _check(detail, (TOPIC, target.external_id))
        children = _keys(detail)
        self._save(detail, [*topics, *(row for row in markets if row.key in children)], (TOPIC, target.external_id))
        return [row for row in markets if row.key not in children]

    def _look_up_market(self, row: StoredMarket) -> Task:
        try:
            (detail,) = yield [partial(self._api.fetch_market, row.external_id)]
        except UnknownMarket:
            self._not_found([row])
            return
        _check(detail, row.key)
        if detail.may_be_child and detail.slug:
            try:
                (family,) = yield [partial(self._api.fetch_by_slug, detail.slug)]
            except (RequestRefused, InvalidResponse):
                pass  # what is known without it is stored
            else:
                if row.key in _keys(family) and _is_topic(family):
                    self._save(family, [row])
                    return
        self._save(_as_known(detail, row) if detail.may_be_child else detail, [row])

    def _save(self, detail: MarketDetail, rows: Sequence[StoredMarket], *others: Key) -> None:
        bad = [record for record in detail.records if isinstance(record, RejectedRecord)]
        good = [record for record in detail.records if isinstance(record, Market)]
        self._catalog.save(good, bad, {*others, *(row.key for row in rows)})
        for record in bad:
            self._catalog.record_problem("markets", f"a record was rejected: {record.reason}")
        self._answered.update(row.id for row in rows)

    def _not_found(self, rows: Sequence[StoredMarket]) -> None:
        """The exchange does not know these: what has not ended is perhaps deleted, the rest is asked for later."""
        gone = [row for row in rows if row.id in self._missing]
        self._unknown += gone
        self._answered.update(row.id for row in gone)
        if later := [row.key for row in rows if row not in gone]:
            self._catalog.save([], looked_up=later)

    def _delete(self) -> None:
        """Mark as deleted what the exchange does not know any more, unless it would be too much to be true."""
        # Those that could not be asked for may be gone as well. What stays is asked for again by the next run.
        most = len(self._unknown) + len(self._missing - self._answered)
        stored = sum(row.status is not None for row in self._wanted.not_ended)
        if self._unknown and most > max(FEW_GONE, MANY_GONE * stored):
            self._catalog.record_problem(
                "markets",
                f"Opinion.Trade does not know {len(self._unknown)} of {stored} stored markets that have not ended,"
                " and lists them no longer: they stay as they are",
            )
        elif self._unknown:
            self._catalog.mark_deleted(self._unknown)


def _check(detail: MarketDetail, key: Key) -> None:
    """Raise InvalidResponse if it is another market: a topic and a market may share a number."""
    first = detail.records[0]
    if isinstance(first, Market) and first.key != key:
        raise InvalidResponse(f"Opinion.Trade answered with the {first.kind} {first.external_id:.20}")


def _latest(row: StoredMarket) -> int:
    """When a market was last looked up, by itself or with its topic (ms); 0: never."""
    return max(row.looked_up_at or 0, row.topic_looked_up_at or 0)


def _is_due(row: StoredMarket, now: int, after: float) -> bool:
    """Whether a market was last looked up ``after`` (ms) ago, or at a time that the clock has not reached again."""
    latest = (row.looked_up_at or 0) if row.status is None else _latest(row)
    return not 0 <= now - latest < after


def _keys(detail: MarketDetail) -> set[Key]:
    return {record.key for record in detail.records if isinstance(record, Market)}


def _is_topic(detail: MarketDetail) -> bool:
    first = detail.records[0]
    return isinstance(first, Market) and first.kind == TOPIC


def _as_known(detail: MarketDetail, row: StoredMarket) -> MarketDetail:
    """The detail of what seems to be a child: its topic's category, end and page are kept, which it does not give."""
    (market, *_) = detail.records
    if not isinstance(market, Market):
        return detail
    parent = row.parent_external_id
    known = replace(
        market,
        parent_external_id=parent,
        category=row.category,
        end_date=market.end_date or row.end_date,
        url=row.url or (market.url if parent is None else web_page(parent, is_topic=True)),
    )
    return detail._replace(records=[known])
