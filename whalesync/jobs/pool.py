"""Many requests in flight, driven by one thread.

A task is a generator: it yields the calls whose results it needs next, and is resumed with the results. All tasks,
and so all database work, run in the calling thread; only the calls run in worker threads. So a task needs no locks
and reads from top to bottom.

Threads rather than asyncio: asyncio takes longer to load than everything else in a run that finds nothing new. Not
``concurrent.futures``: at exit it waits for its threads, and a name look-up obeys no time-out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from whalesync.errors import ExchangeError, JobFailed, OutOfTime, Unreachable
from whalesync.exchanges.base import Call, Task

IN_FLIGHT = 16  # fills a rate of 13 requests a second up to a latency of 1.2 s
GRACE_SECONDS = 6.0


@dataclass(eq=False)
class Lane:
    """The tasks of one exchange, for one run.

    ``in_flight``: how many of its calls run at once. ``error``: after the run, the failure that ended the lane.
    """

    name: str
    tasks: Iterable[Task]
    in_flight: int = IN_FLIGHT
    error: ExchangeError | None = None


class Pool:
    """Runs tasks until they are done or the time is up.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def run(self, lanes: Iterable[Lane], *, until: float, grace: float = GRACE_SECONDS) -> None:
        """Run the tasks of all lanes side by side; those of one lane are begun in order.

        From ``until`` (monotonic seconds) on no task is begun, and one that yields further calls gets OutOfTime,
        which it may let pass. A failed call raises in its task. An ExchangeError that leaves a task ends the task's
        lane; anything else ends the run. A call that is not back ``grace`` seconds after ``until`` is left behind.

        Raises:
            JobFailed: no thread can be started.
        """
        workers = _Workers()
        running = [_LaneRun(lane, workers) for lane in lanes]
        try:
            while True:
                for lane in running:
                    lane.advance(lambda: self._clock() < until)
                if not any(lane.busy for lane in running):
                    return
                try:
                    order = workers.wait(max(0.0, until + grace - self._clock()))
                except Empty:
                    for lane in running:
                        lane.give_up()
                    return
                order.lane.busy -= 1
                order.lane.settle(order)
        finally:
            workers.stop()


@dataclass(eq=False)
class _Order:
    """One call of a task, to be made by a worker, and what came of it."""

    lane: _LaneRun
    task: Task
    batch: list[_Order]
    call: Call
    is_settled: bool = False
    result: Any = None
    error: BaseException | None = None


class _LaneRun:
    """A lane while it runs: its tasks, the calls that wait for a worker, and how many are in flight."""

    def __init__(self, lane: Lane, workers: _Workers) -> None:
        self.busy = 0
        self._lane = lane
        self._workers = workers
        self._tasks = iter(lane.tasks)
        self._waiting: deque[_Order] = deque()

    def advance(self, in_time: Callable[[], bool]) -> None:
        """Submit what may be in flight; begin tasks while no call waits."""
        while True:
            if self._waiting and not in_time():
                order = self._waiting.popleft()
                order.error = OutOfTime()
                self.settle(order)
            elif self.busy >= self._lane.in_flight:
                return
            elif self._waiting:
                self.busy += 1
                self._workers.submit(self._waiting.popleft())
            elif in_time() and (task := next(self._tasks, None)) is not None:
                self._resume(task, None)
            else:
                return

    def settle(self, order: _Order) -> None:
        """Resume the call's task if the call was the last of its batch."""
        order.is_settled = True
        if self._lane.error is None and all(each.is_settled for each in order.batch):
            error = next((each.error for each in order.batch if each.error), None)
            self._resume(order.task, [each.result for each in order.batch], error)

    def give_up(self) -> None:
        """Leave behind what is still in flight."""
        if self.busy:
            problem = "a request did not end in time. The connection or the name look-up hangs."
            self._fail(Unreachable(f"{self._lane.name}: {problem} Check the network."))

    def _resume(self, task: Task, results: list[Any] | None, error: BaseException | None = None) -> None:
        try:
            calls = task.send(results) if error is None else task.throw(error)
            while not calls:
                calls = task.send([])
        except (StopIteration, OutOfTime):
            return
        except ExchangeError as exc:
            self._fail(exc)
            return
        batch: list[_Order] = []
        batch.extend(_Order(self, task, batch, call) for call in calls)
        self._waiting.extend(batch)

    def _fail(self, error: ExchangeError) -> None:
        """End the lane: nothing of it is begun or resumed any more."""
        self._lane.error = error
        self._tasks = iter(())
        self._waiting.clear()


class _Workers:
    """The threads of one run. What it leaves behind does not disturb a later one."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._returned: SimpleQueue[_Order] = SimpleQueue()
        self._busy = 0
        self._threads = 0
        self._over = False

    def submit(self, order: _Order) -> None:
        """Have a call made, by a new thread if all are busy."""
        self._busy += 1
        if self._threads < self._busy:
            self._threads += 1  # before it starts: a signal that comes meanwhile must not hide it
            try:
                Thread(target=self._serve, daemon=True).start()
            except RuntimeError as exc:  # the system gives no more: the existing ones do all the work
                self._threads -= 1
                if not self._threads:
                    raise JobFailed("no thread can be started: too little memory or too many processes") from exc
        self._orders.put(order)

    def wait(self, seconds: float) -> _Order:
        """The next call that has returned; raises queue.Empty if none does in time."""
        order = self._returned.get(timeout=seconds)
        self._busy -= 1
        return order

    def stop(self) -> None:
        """Stop the threads; one that is in a call stops when the call returns."""
        self._over = True
        for _ in range(self._threads):
            self._orders.put(None)

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            if self._over:
                continue
            try:
                order.result = order.call()
            except BaseException as exc:  # noqa: BLE001  (raised in the task, which knows what it means)
                order.error = exc
            self._returned.put(order)
