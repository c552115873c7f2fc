"""As many requests in flight as the rate allows, driven by one thread.

A task is a generator: it yields the requests it needs next and is resumed with their results. All tasks and
all database work run in the calling thread; only the requests run in others. So a task reads like a story,
needs no locks, and can be driven by hand in a test.

Threads and not asyncio, because asyncio and its network layer cost more to load than all the rest of an idle
run; no pool of the standard library, because it would wait at exit for a name look-up that hangs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

from whalesync.errors import JobFailed, OutOfTime, Unreachable

IN_FLIGHT = 16  # fills a rate of 13 a second up to a latency of 1.2 s

Request: TypeAlias = Callable[[], Any]
Task: TypeAlias = Generator[list[Request], Any, None]


@dataclass(eq=False)
class _Batch:
    """The requests a task waits for."""

    task: Task
    results: list[Any]
    left: int
    error: BaseException | None = None


class Crew:
    """Runs tasks until they are done or the time is up.

    Args:
        until: the moment (monotonic seconds) from which on nothing new is begun; a task that wants to go on
            gets OutOfTime. It may be set anew, to an earlier moment, for a part of the work.
        grace: what is in flight is waited for until this many seconds after the first ``until``.
    """

    def __init__(self, until: float, *, grace: float = 6.0, in_flight: int = IN_FLIGHT) -> None:
        self.until = until
        self._end = until + grace
        self._in_flight = in_flight

    def run(self, tasks: Iterable[Task]) -> None:
        """Run ``tasks``, begun in their order. An exception that leaves a task ends the run."""
        shift = _Shift(self, self._end, self._in_flight)
        try:
            shift.work(iter(tasks))
        finally:
            shift.dismiss()

    def left(self) -> float:
        """Seconds of the time budget that are left; 0 or less: nothing new is begun."""
        return self.until - time.monotonic()


class _Shift:
    """The threads and queues of one call of ``Crew.run``: what it leaves behind disturbs no later one."""

    def __init__(self, crew: Crew, end: float, in_flight: int) -> None:
        self._crew = crew
        self._end = end
        self._in_flight = in_flight
        self._waiting: deque[tuple[_Batch, int, Request]] = deque()
        self._orders: SimpleQueue[tuple[_Batch, int, Request] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[_Batch, int, Any, BaseException | None]] = SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._over = False

    def work(self, todo: Iterable[Task]) -> None:
        tasks = iter(todo)
        while True:
            while len(self._waiting) + self._busy < self._in_flight and self._crew.left() > 0:
                task = next(tasks, None)
                if task is None:
                    break
                self._resume(task, None)
            while self._waiting and self._crew.left() <= 0:
                batch, index, _ = self._waiting.popleft()
                self._settle(batch, index, None, OutOfTime())
            while self._waiting and self._busy < self._in_flight:
                self._submit(*self._waiting.popleft())
            if not self._busy:
                return
            self._collect()

    def dismiss(self) -> None:
        """Send the threads home: at once, or when the request is answered that they are at."""
        self._over = True
        for _ in range(self._threads):
            self._orders.put(None)

    def _resume(self, task: Task, results: list[Any] | None, error: BaseException | None = None) -> None:
        try:
            requests = task.send(results) if error is None else task.throw(error)
        except StopIteration:
            return
        batch = _Batch(task, [None] * len(requests), len(requests))
        self._waiting.extend((batch, index, request) for index, request in enumerate(requests))

    def _settle(self, batch: _Batch, index: int, result: Any, error: BaseException | None) -> None:
        batch.results[index] = result
        batch.error = batch.error or error
        batch.left -= 1
        if batch.left == 0:
            self._resume(batch.task, batch.results, batch.error)

    def _submit(self, batch: _Batch, index: int, request: Request) -> None:
        self._busy += 1
        if self._threads < self._busy:
            self._threads += 1  # before it starts: a signal that comes meanwhile must not hide it
            try:
                Thread(target=self._serve, daemon=True).start()
            except RuntimeError as exc:  # the system gives no more: those there are do it all
                self._threads -= 1
                if not self._threads:
                    raise JobFailed(
                        "no thread can be started: too little memory, or too many processes"
                    ) from exc
        self._orders.put((batch, index, request))

    def _collect(self) -> None:
        """Wait for one answer."""
        try:
            batch, index, result, error = self._answers.get(timeout=max(0.0, self._end - time.monotonic()))
        except Empty:
            # Only a name look-up can outlive every deadline of ours; its thread is left behind.
            raise Unreachable("the exchange's name cannot be looked up in time: check the network") from None
        self._busy -= 1
        self._settle(batch, index, result, error)

    def _serve(self) -> None:
        """What each thread does."""
        while (order := self._orders.get()) is not None:
            batch, index, request = order
            if self._over:
                continue
            try:
                self._answers.put((batch, index, request(), None))
            except BaseException as exc:  # noqa: BLE001  (handed to the task, which knows what it means)
                self._answers.put((batch, index, None, exc))
