"""``verify``: evidence that the file is complete, wallet by wallet, and the repair of what is not.

One request for each wallet says how many trades the exchange counts; the file accounts for them or it does not. Each
row is compared with its own fill key. ``deep`` walks every list again: the trade source compares it with a copy of the
wallet's entries in memory, so that nothing is written and no transaction waits for the network. ``repair`` then walks
the lists of the wallets with a difference once more, while sync-whales is kept out, and writes the difference. What the
exchange does not show is superseded only if a second walk of a list of equal length does not show it either.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from whalesync.errors import AnotherRunActive, AuthenticationError, ExchangeError, OutOfTime
from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.base import (
    Account,
    Call,
    Connection,
    Exchange,
    Pace,
    Reading,
    Request,
    Response,
    Task,
)
from whalesync.exchanges.copy import Copy
from whalesync.jobs.exchanges import all_failed, exchanges_to_ask, retention_cutoff
from whalesync.jobs.pool import Lane, Pool
from whalesync.jobs.repair import match_changed, write_difference
from whalesync.jobs.run import Run
from whalesync.jobs.table import DAY, SECOND, SYNC_WHALES
from whalesync.jobs.verdict import NOT_LOOKED_AT, UNKNOWN_EXCHANGE, Verdict, Walk, judge_walk
from whalesync.store import trades, verify
from whalesync.store.locks import FileLock
from whalesync.store.trades import Stored
from whalesync.store.verify import ChangedRow
from whalesync.store.whales import Whale
from whalesync.text import counted

FIRST_BACKOFF = 0.25  # seconds
LONGEST = 7 * DAY / SECOND  # seconds that a run may take
LOCK_PATIENCE = 5.0  # seconds that a repair waits for sync-whales
HEAD_ATTEMPTS = 5  # a sync may store what a response shows before it is looked at
BUSY_ROUNDS = 10  # after the comparison, to store what has arrived meanwhile
MOST_ROUNDS = 100  # of requests, and one for each trade: more would not come to an end
WALKS = 4  # at most, to find two of equal length that agree on what is not listed

Result = TypeVar("Result")
Steps: TypeAlias = Generator[list[Call], Any, Result]
"""A part of a task, with its result."""


@dataclass(slots=True)
class Asked:
    """One exchange, and the verdicts on its wallets."""

    exchange: Exchange
    connection: Connection
    verdicts: list[Verdict]
    failed: int = 0
    first_failure: str = ""
    error: ExchangeError | None = None


def run(run: Run, verdicts: list[Verdict], *, deep: bool, repair: bool) -> None:
    """Judge the wallets of the ``verdicts``; ``repair`` implies ``deep``.

    Raises:
        AnotherRunActive: sync-whales is running, so nothing was repaired.
    """
    with ExitStack() as stack:
        asked = []
        for exchange in exchanges_to_ask(run, [verdict.whale for verdict in verdicts]):
            until = run.clock.monotonic() + LONGEST
            connection = stack.enter_context(
                exchange.connect(run.settings, first_backoff=FIRST_BACKOFF, until=until, log_step=run.log_step)
            )
            wallets = [verdict for verdict in verdicts if verdict.whale.platform == exchange.name]
            asked.append(Asked(exchange, connection, wallets))
        work = Verification(run, Pool(run.clock.monotonic), asked)
        try:
            work.judge(deep=deep or repair)
            if repair:
                work.repair()
        finally:
            work.finish()


def chosen(tracked: Iterable[Whale], *, whale_id: int | None, platform: str | None) -> list[Verdict]:
    """A verdict to be found for each tracked wallet, or for those that are chosen."""
    return [
        Verdict(whale, problem=NOT_LOOKED_AT if whale.platform in EXCHANGES else UNKNOWN_EXCHANGE)
        for whale in sorted(tracked, key=lambda whale: whale.id)
        if whale_id in (None, whale.id) and platform in (None, whale.platform)
    ]


class Verification:
    """One run over the wallets of all exchanges."""

    def __init__(self, run: Run, pool: Pool, asked: list[Asked]) -> None:
        self.run = run
        self.pool = pool
        self.asked = asked
        self._walks: dict[int, Walk] = {}  # by wallet, to be repaired
        self._done = 0
        self._requests = 0

    def judge(self, *, deep: bool) -> None:
        """Come to a verdict on each wallet."""
        self._run(lambda asked, verdict: self._judge(asked, verdict, deep=deep), lambda verdict: True)

    def repair(self) -> None:
        """Make the rows of the wallets with a difference equal to the exchange's lists.

        Raises:
            AnotherRunActive: sync-whales is running.
        """
        if not self._walks:
            return
        with FileLock(self.run.settings.db, SYNC_WHALES.command) as lock:
            if not lock.try_acquire(LOCK_PATIENCE):
                raise AnotherRunActive(f"{SYNC_WHALES.command} is running, so nothing was repaired: try again")
            self._run(self._repair, lambda verdict: verdict.whale.id in self._walks)

    def finish(self) -> None:
        """Record every fault, every change and what failed in the sync log, and set the summary."""
        for asked in self.asked:
            for verdict in asked.verdicts:
                if verdict.repaired:
                    self.run.record_problem(verdict.whale.name, f"repaired: {verdict.repaired}")
                for fault in verdict.faults:
                    self.run.record_problem(verdict.whale.name, fault)
        verdicts = [verdict for asked in self.asked for verdict in asked.verdicts]
        sound = sum(verdict.ok for verdict in verdicts)
        self.run.summary = f"{sound:,} of {counted(len(verdicts), 'wallet')} add up"
        for asked in self.asked:
            failure = asked.error or all_failed(asked.exchange, asked.failed, len(asked.verdicts), asked.first_failure)
            if failure is not None:
                self.run.record_nothing_done(asked.exchange, failure)

    def _run(self, task: Callable[[Asked, Verdict], Task], wanted: Callable[[Verdict], bool]) -> None:
        """Run a task for each wallet that is wanted, the exchanges side by side."""
        self._done = 0

        def tasks(asked: Asked) -> Iterator[Task]:
            for verdict in filter(wanted, asked.verdicts):
                yield self._guarded(asked, verdict, task(asked, verdict))

        lanes = [(asked, Lane(asked.exchange.title, tasks(asked))) for asked in self.asked if asked.error is None]
        self.pool.run([lane for _, lane in lanes], until=self.run.clock.monotonic() + LONGEST)
        for asked, lane in lanes:
            asked.error = lane.error

    def _guarded(self, asked: Asked, verdict: Verdict, task: Task) -> Task:
        """One wallet's failure is that wallet's alone; a rejected key ends the exchange's part."""
        try:
            yield from task
        except (AuthenticationError, OutOfTime):
            raise
        except ExchangeError as exc:
            verdict.problem = f"it could not be read: {exc}"
            asked.failed += 1
            asked.first_failure = asked.first_failure or f"{verdict.whale.name}: {exc}"
        self._done += 1
        self._report()

    def _report(self) -> None:
        wallets = counted(self._done, "wallet")
        self.run.report_progress(f"{wallets} done, {counted(self._requests, 'request')}")

    def _judge(self, asked: Asked, verdict: Verdict, *, deep: bool) -> Task:
        whale = verdict.whale
        changed = list(verify.changed_rows(self.run.db, whale.id))
        verdict.changed = [row.id for row in changed]
        if not deep:
            account = yield from self._account(asked, whale)
            verdict.listed, verdict.accounted, verdict.arrived, verdict.problem = account
            return
        walk = yield from self._walk(asked, whale, changed)
        judge_walk(verdict, walk)
        if walk.difference is not None and (verdict.faults or walk.account.problem is not None):
            self._walks[whale.id] = walk

    def _account(self, asked: Asked, whale: Whale) -> Steps[Account]:
        """What the exchange counts, and the file accounts for; asked for again if a sync comes in between."""
        db, source = self.run.db, asked.exchange.trades
        left = HEAD_ATTEMPTS
        while True:
            before, left = trades.state(db, whale.id), left - 1
            answered: dict[Request, Response] = {}
            while reading := source.audit(before, answered, Stored(db, whale.id)):
                (responses,) = yield from self._fetch(asked, whale, [reading])
                answered.update(zip(reading, responses, strict=True))
            with db.read():
                state = trades.state(db, whale.id)
                if state == before or not left:
                    return source.account(state, list(answered), list(answered.values()), Stored(db, whale.id))

    def _fetch(self, asked: Asked, whale: Whale, readings: Sequence[Reading]) -> Steps[list[list[Response]]]:
        """The responses to some readings, asked for at once."""
        requests = [request for reading in readings for request in reading]
        self._requests += len(requests)
        responses: Any = yield [partial(asked.connection.fetch_trades, whale.address, each) for each in requests]
        left = iter(responses)
        return [[next(left) for _ in reading] for reading in readings]

    def _walk(self, asked: Asked, whale: Whale, changed: Sequence[ChangedRow]) -> Steps[Walk]:
        """Compare the whole list with a copy of the wallet's entries, in which changed rows are missing."""
        db, source = self.run.db, asked.exchange.trades
        distrusted = {row.id for row in changed}
        with db.read():
            begun, entries = trades.state(db, whale.id), Stored(db, whale.id).entries()
        copy = Copy(entry for entry in entries if isinstance(entry.key, bytes) or entry.id not in distrusted)
        reading = source.poll(begun)
        (responses,) = yield from self._fetch(asked, whale, [reading])
        walk = Walk(begun, source.account(begun, reading, responses, Copy(entries) if changed else copy))
        state, notes = source.recheck(begun), list[str]()
        readings, read, rounds, busy = [reading], [responses], 0, 0
        while True:
            for reading, responses in zip(readings, read, strict=True):
                cutoff = retention_cutoff(self.run, asked.connection)
                taken = source.take(state, reading, responses, copy, now=self.run.now, cutoff=cutoff)
                copy.apply(taken)
                state = taken.state
                notes += taken.notes
                if taken.problem is not None:
                    walk.problem = taken.problem
                    return walk
            progress = source.progress(taken.state)
            readings = [] if taken.pace is Pace.DONE else list(source.next(taken.state, copy))
            rounds, busy = rounds + 1, busy + (progress.compared_at is not None)
            if not readings or busy > BUSY_ROUNDS or rounds > MOST_ROUNDS + (walk.account.listed or rounds):
                break
            self._report()
            read = yield from self._fetch(asked, whale, readings)
        if progress.compared_at is None:
            walk.problem = next(reversed(notes), walk.account.problem or "its comparison does not come to an end")
            return walk
        difference = copy.difference(taken.state)
        batch = difference.batch
        rewritten, batch.new, walk.unlisted = match_changed(batch.new, changed)
        batch.rewritten += rewritten
        walk.total = progress.listed
        walk.difference = difference._replace(missing=difference.missing - len(rewritten))
        return walk

    def _repair(self, asked: Asked, verdict: Verdict) -> Task:
        """Walk the list again, and write the difference."""
        whale, last = verdict.whale, self._walks[verdict.whale.id]
        changed = list(verify.changed_rows(self.run.db, whale.id))
        for _ in range(WALKS - 1):
            walk = yield from self._walk(asked, whale, changed)
            if walk.difference is None:
                break
            agree = walk.removed <= last.removed and (walk.total == last.total or not walk.removed)
            if agree:
                break
            last = walk
        verdict.changed = [row.id for row in changed]
        judge_walk(verdict, walk)
        if walk.difference is not None:
            source = asked.exchange.trades
            write_difference(self.run, source, verdict, walk, walk.difference.batch, remove=agree)
