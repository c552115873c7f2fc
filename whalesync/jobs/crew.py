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
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

from whalesync.errors import OutOfTime, Unreachable

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


@dataclass
class Crew:
    """Runs tasks until they are done or the time is up.

    Args:
        until: the moment (monotonic seconds) from which on nothing new is begun. What is in flight is waited
            for, at most ``grace`` seconds more; a task that wants to go on gets OutOfTime.
    """

    until: float
    grace: float = 6.0
    in_flight: int = IN_FLIGHT
    _orders: SimpleQueue[tuple[_Batch, int, Request]] = field(default_factory=SimpleQueue)
    _answers: SimpleQueue[tuple[_Batch, int, Any, BaseException | None]] = field(default_factory=SimpleQueue)
    _threads: int = 0
    _busy: int = 0

    def run(self, tasks: Iterable[Task]) -> None:
        """Run ``tasks``, begun in their order. An exception that leaves a task ends the run."""
        waiting: deque[tuple[_Batch, int, Request]] = deque()
        todo = iter(tasks)
        while True:
            while (
                len(waiting) + self._busy < self.in_flight and self.left() > 0 and (task := next(todo, None))
            ):
                self._resume(waiting, task, None)
            while waiting and self.left() <= 0:
                batch, index, _ = waiting.popleft()
                self._settle(waiting, batch, index, None, OutOfTime())
            while waiting and self._busy < self.in_flight:
                self._submit(*waiting.popleft())
            if not self._busy:
                return
            self._collect(waiting)

    def left(self) -> float:
        """Seconds of the time budget that are left; 0 or less: nothing new is begun."""
        return self.until - time.monotonic()

    def _resume(
        self,
        waiting: deque[tuple[_Batch, int, Request]],
        task: Task,
        results: list[Any] | None,
        error: BaseException | None = None,
    ) -> None:
        try:
            requests = task.send(results) if error is None else task.throw(error)
        except StopIteration:
            return
        batch = _Batch(task, [None] * len(requests), len(requests))
        waiting.extend((batch, index, request) for index, request in enumerate(requests))

    def _settle(
        self,
        waiting: deque[tuple[_Batch, int, Request]],
        batch: _Batch,
        index: int,
        result: Any,
        error: BaseException | None,
    ) -> None:
        batch.results[index] = result
        batch.error = batch.error or error
        batch.left -= 1
        if batch.left == 0:
            self._resume(waiting, batch.task, batch.results, batch.error)

    def _submit(self, batch: _Batch, index: int, request: Request) -> None:
        self._busy += 1
        if self._threads < self._busy:
            self._threads += 1
            Thread(target=self._work, daemon=True).start()
        self._orders.put((batch, index, request))

    def _collect(self, waiting: deque[tuple[_Batch, int, Request]]) -> None:
        """Wait for one answer."""
        patience = max(0.0, self.left() + self.grace)
        try:
            batch, index, result, error = self._answers.get(timeout=patience)
        except Empty:
            # Only a name look-up can outlive every deadline of ours; its thread is left behind.
            raise Unreachable("the exchange's name cannot be looked up in time: check the network") from None
        self._busy -= 1
        self._settle(waiting, batch, index, result, error)

    def _work(self) -> None:
        while True:
            batch, index, request = self._orders.get()
            try:
                self._answers.put((batch, index, request(), None))
            except BaseException as exc:  # noqa: BLE001  (handed to the task, which knows what it means)
                self._answers.put((batch, index, None, exc))
