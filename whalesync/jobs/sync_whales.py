"""``sync-whales``: new trades of every tracked wallet, of all exchanges.

The order and the meaning of what is read are the trade source's (``whalesync.exchanges``); here it is fetched and
stored. First every wallet is polled, which is one request when nothing is new. What a poll leaves (history, a search, a
comparison) is read in the time that is left, over as many runs as it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from whalesync.errors import (
    AuthenticationError,
    ExchangeChanged,
    ExchangeError,
    JobFailed,
    OutOfTime,
    StoreError,
    WhalesyncError,
)
from whalesync.exchanges.base import (
    Batch,
    Connection,
    Exchange,
    Pace,
    Progress,
    Reading,
    Request,
    Response,
    Task,
)
from whalesync.jobs.exchanges import all_failed, compare_clocks, exchanges_to_ask, retention_cutoff
from whalesync.jobs.pool import Lane, Pool
from whalesync.jobs.run import Run
from whalesync.store import stats, trades, whales
from whalesync.store.trades import Stored
from whalesync.store.whales import Whale
from whalesync.text import counted

FIRST_BACKOFF = 0.25  # seconds
URGENT_READINGS = 25  # how far a poll goes for new trades before the other wallets have their turn
BACKLOG_SHARE = 0.15  # of the time budget is kept for history and searches, when there are any
IDLE_READINGS = 8  # a run, of comparisons that only check what is stored: a hundredth of the rate


def run(run: Run) -> None:
    """Run the job. An exchange that fails does not keep the others from being served."""
    with ExitStack() as stack:
        work = WhaleSync(run, Pool(run.clock.monotonic), connect(run, stack))
        work.work()
        for served in work.served:
            compare_clocks(run, served.exchange, served.connection)
            if trouble := served.connection.trouble():
                run.record_problem(served.exchange.title, trouble)
    work.finish()


@dataclass(slots=True)
class Served:
    """One exchange in one run: its wallets, and what became of them (by id)."""

    exchange: Exchange
    connection: Connection
    listed: list[Whale]
    paces: dict[int, Pace] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    first_failure: str = ""
    markets: dict[str, int] = field(default_factory=dict)
    ended_by: ExchangeError | None = None
    changed: ExchangeChanged | None = None

    @property
    def looked_at(self) -> set[int]:
        """The wallets that were polled, or failed."""
        return self.failed | set(self.paces)

    def failure(self) -> WhalesyncError | None:
        """Why nothing could be done for the exchange; None if something could."""
        if failure := self.ended_by or self.changed:
            return failure
        if self.listed and not self.looked_at:
            return JobFailed(f"{self.exchange.title}: the time budget ended before the first wallet was read")
        return all_failed(self.exchange, len(self.failed), len(self.looked_at), self.first_failure)


def connect(run: Run, stack: ExitStack) -> list[Served]:
    """Connect to the exchanges that are asked, each with its wallets."""
    tracked = whales.tracked(run.db)
    served = []
    for exchange in exchanges_to_ask(run, tracked):
        connection = stack.enter_context(
            exchange.connect(run.settings, first_backoff=FIRST_BACKOFF, until=run.deadline, log_step=run.log_step)
        )
        listed = polling_order(whale for whale in tracked if whale.platform == exchange.name)
        served.append(Served(exchange, connection, listed))
    return served


def polling_order(listed: Iterable[Whale]) -> list[Whale]:
    """First those that earlier runs had no time for, longest left out first; then the most recently active."""
    return sorted(
        listed,
        key=lambda w: (w.left_out_since is None, w.left_out_since or 0, -(w.last_trade_at or 0), w.id),
    )


def backlog_order(listed: Iterable[Whale], progress: Mapping[int, Progress]) -> list[Whale]:
    """The quickest to finish first: what is complete but for a search, then the shortest list.

    Where the length is not known, those that traded longest ago, who mostly have the fewest trades.
    """
    return sorted(
        listed,
        key=lambda w: (not progress[w.id].complete, progress[w.id].missing or 0, w.last_trade_at or 0, w.id),
    )


class WhaleSync:
    """One run over all wallets, as far as the time budget allows."""

    def __init__(self, run: Run, pool: Pool, served: list[Served]) -> None:
        self.run = run
        self.pool = pool
        self.served = served
        self._told: set[tuple[int, str]] = set()  # rejected records that this run has named
        self._changed: set[int] = set()  # wallets whose stored trades have changed

    def work(self) -> None:
        """Poll every wallet; then load history and search; then compare what is stored."""
        states = trades.states(self.run.db)
        backlog = any(
            not served.exchange.trades.progress(states.get(whale.id)).complete
            for served in self.served
            for whale in served.listed
        )
        left = max(0.0, self.run.deadline - self.run.clock.monotonic())
        try:
            self._run(self._polls, self.run.deadline - left * BACKLOG_SHARE * backlog)
        finally:
            for served in self.served:
                self._record_left_out(served)
        self._run(self._backlog, self.run.deadline)
        self._run(self._comparisons, self.run.deadline)

    def finish(self) -> None:
        """Bring the figures of the wallets that have changed up to date, set the summary, and record what failed."""
        if self._changed:
            stats.update_trades(self.run.db, self.run.now, self._changed)
        listed = sum(len(served.listed) for served in self.served)
        looked_at = sum(len(served.looked_at) for served in self.served)
        self.run.summary = (
            f"{counted(self.run.items, 'new trade')}; polled {looked_at:,} of {counted(listed, 'wallet')}"
        )
        loading = sum(pace in (Pace.NOW, Pace.LATER) for served in self.served for pace in served.paces.values())
        if loading:
            self.run.summary += f", {loading:,} still loading"
        for served in self.served:
            if failure := served.failure():
                self.run.record_nothing_done(served.exchange, failure)

    def _run(self, tasks: Callable[[Served], Iterable[Task]], until: float) -> None:
        """Run tasks for each exchange that can still be asked, side by side."""
        lanes = [
            (served, Lane(served.exchange.title, tasks(served))) for served in self.served if served.ended_by is None
        ]
        self.pool.run([lane for _, lane in lanes], until=until)
        for served, lane in lanes:
            if lane.error is not None:
                served.ended_by = lane.error
                self.run.record_nothing_done(served.exchange, lane.error)

    def _polls(self, served: Served) -> Iterator[Task]:
        for whale in served.listed:
            yield self._guarded(served, whale, self._poll(served, whale))

    def _backlog(self, served: Served) -> Iterator[Task]:
        """History and searches."""
        wanted = [whale for whale in served.listed if served.paces.get(whale.id) in (Pace.NOW, Pace.LATER)]
        states = trades.states(self.run.db)
        progress = {whale.id: served.exchange.trades.progress(states.get(whale.id)) for whale in wanted}
        for whale in backlog_order(wanted, progress):
            yield self._guarded(served, whale, self._go_on(served, whale))

    def _comparisons(self, served: Served) -> Iterator[Task]:
        """Comparisons that only check what is stored, the one longest ago first: a few readings, if nobody waits."""
        if len(served.looked_at) < len(served.listed):
            return
        states = trades.states(self.run.db)
        wanted = [whale for whale in served.listed if served.paces.get(whale.id) is Pace.IDLE]
        compared = {whale.id: served.exchange.trades.progress(states.get(whale.id)).compared_at for whale in wanted}
        for whale in sorted(wanted, key=lambda whale: compared[whale.id] or 0)[:IDLE_READINGS]:
            yield self._guarded(served, whale, self._go_on(served, whale, at_most=IDLE_READINGS // len(wanted) or 1))

    def _guarded(self, served: Served, whale: Whale, task: Task) -> Task:
        """One wallet's failure is that wallet's alone; a rejected key ends the exchange's part."""
        try:
            yield from task
        except OutOfTime:
            self.run.log_step(f"{whale.name}: no time left; the next run continues")
        except AuthenticationError:
            raise
        except ExchangeError as exc:
            self._fail(served, whale, exc)

    def _fail(self, served: Served, whale: Whale, problem: object) -> None:
        served.failed.add(whale.id)
        served.first_failure = served.first_failure or f"{whale.name}: {problem}"
        self.run.record_problem(whale.name, problem)

    def _poll(self, served: Served, whale: Whale) -> Task:
        """The head of the list, and what is new behind it."""
        source = served.exchange.trades
        readings: Sequence[Reading] = [source.poll(trades.state(self.run.db, whale.id))]
        for _ in range(URGENT_READINGS):
            yield from self._read(served, whale, readings)
            if served.paces.get(whale.id) is not Pace.NOW:
                return
            readings = self._next(served, whale)

    def _go_on(self, served: Served, whale: Whale, at_most: int | None = None) -> Task:
        """Whatever the source wants to read next, until nothing is left (or ``at_most`` readings)."""
        done = 0
        while (at_most is None or done < at_most) and (readings := self._next(served, whale)):
            yield from self._read(served, whale, readings)
            done += 1
            if served.paces[whale.id] is Pace.DONE or (at_most is None and served.paces[whale.id] is Pace.IDLE):
                return

    def _next(self, served: Served, whale: Whale) -> Sequence[Reading]:
        state = trades.state(self.run.db, whale.id)
        return [] if state is None else served.exchange.trades.next(state, Stored(self.run.db, whale.id))

    def _read(self, served: Served, whale: Whale, readings: Sequence[Reading]) -> Task:
        """Make the requests of some readings at once, and store what each brings."""
        responses: dict[int, Response] = {}

        def fetch(number: int, request: Request) -> None:
            responses[number] = served.connection.fetch_trades(whale.address, request)

        requests = [request for reading in readings for request in reading]
        failure: Exception | None = None
        try:
            yield [partial(fetch, number, request) for number, request in enumerate(requests)]
        except (OutOfTime, ExchangeError) as exc:
            failure = exc  # what has been read up to there is stored
        first = 0
        for reading in readings:
            numbers = range(first, first + len(reading))
            if not all(number in responses for number in numbers):
                break
            self._store(served, whale, reading, [responses[number] for number in numbers])
            first += len(reading)
        if failure is not None:
            raise failure

    def _store(self, served: Served, whale: Whale, reading: Reading, responses: Sequence[Response]) -> None:
        """Compare and store in one transaction, so that nothing changes in between."""
        db, now = self.run.db, self.run.now
        cutoff = retention_cutoff(self.run, served.connection)
        known = dict(served.markets)
        with db.write():
            batch = served.exchange.trades.take(
                trades.state(db, whale.id), reading, responses, Stored(db, whale.id), now=now, cutoff=cutoff
            )
            if trades.store(db, whale, batch, known, run_id=self.run.id, now=now):
                self._changed.add(whale.id)
        served.markets = known
        served.paces[whale.id] = batch.pace
        self.run.items += len(batch.new)
        polled = counted(len(served.looked_at), "wallet")
        self.run.report_progress(f"{polled}, {counted(self.run.items, 'new trade')}")
        self._report(served, whale, batch)

    def _report(self, served: Served, whale: Whale, batch: Batch) -> None:
        """Log a batch's changes, and record its problems."""
        changes = [
            f"{len(rows)} {name}"
            for name, rows in (
                ("new", batch.new),
                ("superseded", batch.superseded),
                ("listed again", batch.revived),
                ("corrected", batch.corrected),
            )
            if rows
        ]
        self.run.log_step(f"{whale.name}: {', '.join(changes) or 'nothing new'}")
        for each in batch.rejected:
            if (whale.id, each.record.payload) not in self._told:
                self._told.add((whale.id, each.record.payload))
                self.run.record_problem(whale.name, f"a record was rejected: {each.record.reason}")
        if batch.superseded:
            self.run.record_problem(
                whale.name,
                f"{counted(len(batch.superseded), 'stored trade')} no longer listed by {served.exchange.title}:"
                " superseded",
            )
        for note in batch.notes:
            self.run.record_problem(whale.name, note)
        if batch.problem is not None:
            self._fail(served, whale, batch.problem)
        if batch.exchange_changed:
            served.changed = ExchangeChanged(f"{served.exchange.title}: {batch.problem}")

    def _record_left_out(self, served: Served) -> None:
        """Remember for whom there was no time; the next run begins with them."""
        left_out = {whale.id for whale in served.listed} - served.looked_at
        if left_out or any(whale.left_out_since is not None for whale in served.listed):
            # Not to cover what is going on: only the next run's order depends on it.
            with suppress(StoreError):
                whales.record_left_out(self.run.db, served.looked_at, left_out, self.run.now)
