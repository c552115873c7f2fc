"""What jobs that ask exchanges have in common: which they ask, when all has failed, and how the clocks compare."""

from __future__ import annotations

from collections.abc import Iterable

from whalesync.errors import JobFailed
from whalesync.exchanges import asked_for
from whalesync.exchanges.base import Connection, Exchange
from whalesync.jobs.run import Run
from whalesync.records import DAY_MS
from whalesync.settings import RETENTION_DAYS
from whalesync.store.database import Database
from whalesync.store.whales import Whale

TOLERANCE_MS = 60_000
EXCHANGE_TIME_STEP_MS = 10 * 60_000


def exchanges_to_ask(run: Run, tracked: Iterable[Whale]) -> list[Exchange]:
    """The exchanges that are asked for these wallets.

    One that cannot be asked with these settings is left out; the run says so, and fails at its end.
    """
    return [exchange for exchange in asked_for(whale.platform for whale in tracked) if run.can_ask(exchange)]


def all_failed(exchange: Exchange, failed: int, tried: int, reason: str) -> JobFailed | None:
    """The failure of an exchange's part in which no wallet could be served; None if one could, or there was none.

    ``reason`` is the first failure: its wallet and what went wrong.
    """
    if not tried or failed < tried:
        return None
    return JobFailed(f"all {tried} wallets of {exchange.title} failed, the first was {reason}" if tried > 1 else reason)


def retention_cutoff(run: Run, connection: Connection) -> int:
    """From when on trades are stored (ms).

    Of our clock and the exchange's, the slower one counts: one that runs ahead must not make history too old.
    """
    slower = min(run.now, connection.exchange_time() or run.now)
    return slower - run.settings.get(RETENTION_DAYS) * DAY_MS


def clock_ahead(db: Database, exchange: str) -> int:
    """How far the host's clock was ahead of an exchange's (ms) when they were last compared; 0 within tolerance."""
    return db.fact(fact_of(exchange, "clock_ahead")) or 0


def time_heard(db: Database, exchange: str) -> int | None:
    """The latest time that an exchange's own clock gave (ms), to ten minutes; None if it never gave one."""
    return db.fact(fact_of(exchange, "exchange_time"))


def compare_clocks(run: Run, exchange: Exchange, connection: Connection) -> None:
    """Remember ``clock_ahead`` and ``time_heard`` of an exchange: cleanup deletes by no other clock."""
    exchange_time = connection.exchange_time()
    if exchange_time is None:
        return
    ahead = run.clock.now() - exchange_time
    if abs(ahead) <= TOLERANCE_MS:
        ahead = 0
    else:
        how = "ahead of" if ahead > 0 else "behind"
        run.record_problem("clock", f"{abs(ahead) // 1000} s {how} {exchange.title}'s. Set the clock of this host.")
    heard = abs(exchange_time - (time_heard(run.db, exchange.name) or 0)) >= EXCHANGE_TIME_STEP_MS
    if heard or ahead != run.db.fact(fact_of(exchange.name, "clock_ahead"), 0):
        with run.db.write():
            run.db.remember(fact_of(exchange.name, "clock_ahead"), ahead)
            run.db.remember(fact_of(exchange.name, "exchange_time"), exchange_time)


def fact_of(exchange: str, name: str) -> str:
    """The name of a fact of which each exchange has its own."""
    return f"{exchange} {name}"
