"""What jobs that ask exchanges have in common: which of them are asked, and whether their clock agrees with ours."""

from __future__ import annotations

from collections.abc import Iterable

from whalesync.exchanges import DEFAULT_EXCHANGE, EXCHANGES
from whalesync.exchanges.base import Connection, Exchange
from whalesync.jobs.run import Run
from whalesync.records import DAY_MS
from whalesync.settings import RETENTION_DAYS
from whalesync.store.whales import Whale

TOLERANCE_MS = 60_000
EXCHANGE_TIME_STEP_MS = 10 * 60_000


def exchanges_to_ask(run: Run, tracked: Iterable[Whale]) -> list[Exchange]:
    """The exchanges that have wallets on the watch list; if it is empty, the default one.

    One that cannot be asked with these settings is left out; the run says so, and fails at its end.
    """
    watched = {whale.platform for whale in tracked} or {DEFAULT_EXCHANGE}
    return [exchange for name, exchange in EXCHANGES.items() if name in watched and run.can_ask(exchange)]


def retention_cutoff(run: Run, connection: Connection) -> int:
    """From when on trades are stored (ms).

    Of our clock and the exchange's, the slower one counts: one that runs ahead must not make history too old.
    """
    slower = min(run.now, connection.exchange_time() or run.now)
    return slower - run.settings.get(RETENTION_DAYS) * DAY_MS


def compare_clocks(run: Run, exchange_title: str, connection: Connection) -> None:
    """Remember how far the host's clock is ahead of the exchange's (fact ``clock_ahead``, ms; 0 within tolerance).

    And the exchange's time itself (fact ``exchange_time``, ms, to ten minutes): cleanup deletes by no other clock.
    """
    exchange_time = connection.exchange_time()
    if exchange_time is None:
        return
    ahead = run.clock.now() - exchange_time
    if abs(ahead) <= TOLERANCE_MS:
        ahead = 0
    else:
        how = "ahead of" if ahead > 0 else "behind"
        run.record_problem("clock", f"{abs(ahead) // 1000} s {how} {exchange_title}'s. Set the clock of this host.")
    heard = abs(exchange_time - (run.db.fact("exchange_time") or 0)) >= EXCHANGE_TIME_STEP_MS
    if heard or ahead != run.db.fact("clock_ahead", 0):
        with run.db.write():
            run.db.remember("clock_ahead", ahead)
            run.db.remember("exchange_time", exchange_time)
