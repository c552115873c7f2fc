"""From a command's name to a finished run: what each job is given to work with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from whalesync.errors import AnotherRunActive
from whalesync.host.ping import Pinger
from whalesync.jobs.run import Clock, Run, describe, run_job
from whalesync.settings import Settings

if TYPE_CHECKING:
    from whalesync.exchange.opinion import OpinionTrade
    from whalesync.jobs.crew import Crew

CLOCK_TOLERANCE_MS = 60_000


def perform(
    command: str,
    settings: Settings,
    *,
    full: bool = False,
    clock: Clock | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> Run:
    """Run one job from lock to log, and tell the monitor of it.

    Raises:
        WhalesyncError, Interrupted: the run failed or did nothing; its row and the monitor know.
    """
    secrets = [settings.api_key] if settings.api_key else []
    pinger, rid = Pinger(settings.ping_url, secrets=secrets, say=say), str(uuid4())
    try:
        with run_job(command, settings, clock=clock, say=say, progress=progress) as run:
            pinger.start(command, rid)
            _work(run, clock or Clock(), full=full)
    except AnotherRunActive:
        raise
    except BaseException as exc:
        pinger.fail(command, describe(exc), rid)
        raise
    pinger.success(command, "\n".join([run.summary, *run.errors()]), rid)
    return run


def _work(run: Run, clock: Clock, *, full: bool) -> None:
    # Imported here: a job that asks no exchange does not load what it takes to ask one.
    if run.command == "sync-whales":
        from whalesync.jobs.whales import WhaleSync

        with _exchange(run, clock, first_backoff=0.25) as (exchange, crew):
            WhaleSync(run, exchange, crew).work()
    elif run.command == "sync-markets":
        from whalesync.jobs.markets import MarketSync

        with _exchange(run, clock, first_backoff=0.5) as (exchange, crew):
            MarketSync(run, exchange, crew).work()
    elif run.command == "compute-stats":
        from whalesync.jobs.stats import compute_stats

        compute_stats(run, full=full)
    else:
        from whalesync.jobs.cleanup import cleanup

        cleanup(run)


@contextmanager
def _exchange(run: Run, clock: Clock, *, first_backoff: float) -> Iterator[tuple[OpinionTrade, Crew]]:
    """The exchange, and a crew to ask it with, until the time budget ends. Checks the key and the address first."""
    key, url = run.settings.checked_key(), run.settings.checked_api_url()

    from whalesync.exchange.connect import connect
    from whalesync.jobs.crew import Crew

    until = time.monotonic() + run.settings.budget(run.command)
    with connect(run.settings, key, url, first_backoff=first_backoff, until=until, say=run.say) as exchange:
        yield exchange, Crew(until)
        _compare_clocks(run, clock.now(), exchange.now())


def _compare_clocks(run: Run, now: int, exchange_now: int | None) -> None:
    """Remember how far our clock runs ahead of the exchange's: cleanup must know."""
    if exchange_now is None:
        return
    ahead = now - exchange_now
    ahead = ahead if abs(ahead) > CLOCK_TOLERANCE_MS else 0
    if ahead:
        run.note("clock", f"it differs from the exchange's by {abs(ahead) // 1000} s: set it right")
    if ahead != (run.db.fact("clock_ahead") or 0):
        with run.db.write():
            run.db.remember("clock_ahead", ahead)
