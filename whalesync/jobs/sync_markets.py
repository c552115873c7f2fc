"""``sync-markets``: the markets of every exchange, then their prices and liquidity.

The exchange decides what is fetched, and in which order (``Connection.sync_markets``); here is what it works with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from whalesync.errors import ExchangeError, OutOfTime, StoreError
from whalesync.exchanges.base import Exchange, Key, StoredMarket, Task, Tradable
from whalesync.jobs.exchanges import compare_clocks, exchanges_to_ask, fact_of
from whalesync.jobs.pool import GRACE_SECONDS, Lane, Pool
from whalesync.jobs.run import Run
from whalesync.records import Market, RejectedRecord
from whalesync.store import markets, rejected, stats, whales

FIRST_BACKOFF = 0.5  # seconds


def run(run: Run) -> None:
    """Run the job. An exchange that fails, or takes all its time, does not keep the others from being served."""
    asked = exchanges_to_ask(run, whales.tracked(run.db))
    summaries: list[str] = []
    for served, exchange in enumerate(asked):
        now = run.clock.monotonic()
        # An equal part of the time that is left.
        until = now + max(0.0, run.deadline - now) / (len(asked) - served)
        connected = exchange.connect(run.settings, first_backoff=FIRST_BACKOFF, until=until, log_step=run.log_step)
        try:
            with connected as connection:
                summary = connection.sync_markets(StoredCatalog(run, exchange, until))
                summaries.append(f"{exchange.title}: {summary}" if len(asked) > 1 else summary)
                compare_clocks(run, exchange, connection)
        except (ExchangeError, OutOfTime) as exc:
            run.record_nothing_done(exchange, exc)
    stats.update_positions(run.db, run.now)  # what is held has another price, or has ended
    run.summary = "; ".join(summaries)


class StoredCatalog:
    """The markets of one exchange in the file, and the run's log (``whalesync.exchanges.base.Catalog``)."""

    def __init__(self, run: Run, exchange: Exchange, until: float) -> None:
        self._run = run
        self._exchange = exchange
        self._until = until
        self._pool = Pool(run.clock.monotonic)
        self._received: set[Key] = set()
        self.now = run.now
        self.record_problem = run.record_problem
        self.report_progress = run.report_progress

    def save(
        self, received: Sequence[Market], bad: Sequence[RejectedRecord] = (), looked_up: Iterable[Key] = ()
    ) -> set[Key]:
        """Store markets, rejected records, and which markets have been looked up, in one transaction."""
        db, name, now = self._run.db, self._exchange.name, self._run.clock.now()
        with db.write():
            parentless = {market.key for market in received if market.parent_external_id is None}
            unknown = markets.without_status(db, name, parentless)
            markets.record_looked_up(db, name, looked_up, now)  # first: it does not make a revision
            markets.save(db, name, received, now)
            rejected.keep(db, "markets", bad, run_id=self._run.id, now=now)
        new = {market.key for market in received} - self._received
        self._received |= new
        self._run.items += len(new)
        return unknown

    def not_ended(self) -> list[StoredMarket]:
        """The stored markets and topics whose end is not known."""
        return markets.not_ended(self._run.db, self._exchange.name)

    def topics_never_looked_up(self, limit: int) -> list[StoredMarket]:
        """Topics that have ended and were never looked up, newest first."""
        return markets.topics_never_looked_up(self._run.db, self._exchange.name, limit)

    def without_result(self, since: int, not_after: int, limit: int) -> list[StoredMarket]:
        """Markets resolved after ``since`` without a result, and not looked up after ``not_after`` (both ms)."""
        return markets.without_result(self._run.db, self._exchange.name, since, not_after, limit)

    def end_topics(self) -> None:
        """Give topics whose stored markets have all ended the status ``resolved``."""
        with self._run.db.write():
            markets.end_topics(self._run.db, self._exchange.name, self._run.clock.now())

    def mark_deleted(self, gone: Iterable[StoredMarket]) -> None:
        """Give markets the status ``deleted``."""
        with self._run.db.write():
            markets.mark_deleted(self._run.db, [market.id for market in gone], self._run.clock.now())

    def recall(self, name: str) -> int | None:
        """A number that an earlier run remembered."""
        return self._run.db.fact(fact_of(self._exchange.name, name))

    def remember(self, facts: Mapping[str, int]) -> None:
        """Keep numbers for later runs, by name."""
        with self._run.db.write():
            for name, value in facts.items():
                self._run.db.remember(fact_of(self._exchange.name, name), value)

    def tradable(self) -> list[Tradable]:
        """The stored markets that can be traded now."""
        return markets.tradable(self._run.db, self._exchange.name)

    def save_price(self, market: Tradable, yes_price: float | None) -> None:
        """Store the price of a market's YES outcome; None: the exchange knows none."""
        markets.save_price(self._run.db, market.id, yes_price, self._run.clock.now())

    def save_liquidity(self, market: Tradable, usd: float) -> None:
        """Store the USD resting in a market's order book."""
        markets.save_liquidity(self._run.db, market.id, usd, self._run.clock.now())

    def left_out(self, what: str, asked: Iterable[int], left_out: Iterable[int]) -> None:
        """Remember for which markets (ids) there was no time to ask for ``what``."""
        # Not to cover a failure under way: only the next run's order depends on it.
        with suppress(StoreError):
            markets.record_left_out(self._run.db, what, asked, left_out, self._run.now)

    def run(self, tasks: Iterable[Task], *, share: float = 1.0) -> None:
        """Run tasks until they are done, or until ``share`` of the time that is left has passed.

        Raises:
            ExchangeError: it left a task.
        """
        now = self._run.clock.monotonic()
        until = now + max(0.0, self._until - now) * share
        lane = Lane(self._exchange.title, tasks)
        # An earlier end for a part of the work is not an earlier end for a request that is being retried.
        self._pool.run([lane], until=until, grace=self._until - until + GRACE_SECONDS)
        if lane.error is not None:
            raise lane.error
