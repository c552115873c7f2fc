"""The pool: tasks that yield calls, driven by one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from whalesync.errors import AuthenticationError, JobFailed, OutOfTime, ServerError, StoreError, Unreachable
from whalesync.exchanges.base import Task
from whalesync.jobs.pool import Lane, Pool

PATIENCE = 10.0  # for what must happen


def run(*tasks: Iterable[Task], seconds: float = 60, in_flight: int = 16, grace: float = 6.0) -> list[Lane]:
    """Run each group of tasks as a lane of its own."""
    lanes = [Lane(f"lane {i}", each, in_flight) for i, each in enumerate(tasks)]
    Pool().run(lanes, until=time.monotonic() + seconds, grace=grace)
    return lanes


def fail(error: BaseException) -> Any:
    raise error


def one_call(call: Callable[[], Any], results: list[Any] | None = None) -> Task:
    """A task that makes one call and keeps its result."""
    (result,) = yield [call]
    if results is not None:
        results.append(result)


def test_results_come_in_the_order_of_the_calls() -> None:
    """Whatever order they return in."""
    second_done = threading.Event()
    results: list[Any] = []

    def task() -> Task:
        results.append((yield [lambda: second_done.wait(PATIENCE), second_done.set]))
        results.append((yield [lambda: 3]))
        results.append((yield []))

    run([task()])
    assert results == [[True, None], [3], []]


def test_tasks_run_in_the_calling_thread_only() -> None:
    """So they need no locks; the calls run in others."""
    threads: list[tuple[int, int]] = []

    def task() -> Task:
        (other,) = yield [threading.get_ident]
        threads.append((threading.get_ident(), other))

    run(task() for _ in range(20))
    assert {own for own, _ in threads} == {threading.get_ident()}
    assert threading.get_ident() not in {other for _, other in threads}


def test_each_lane_has_as_many_calls_in_flight_as_it_may() -> None:
    """No call returns before all of both lanes that may be in flight are; there are never more."""
    meet = threading.Barrier(4 + 3)
    lock, under_way, most = threading.Lock(), [0, 0], [0, 0]

    def call(lane: int) -> None:
        with lock:
            under_way[lane] += 1
            most[lane] = max(most[lane], under_way[lane])
        meet.wait(PATIENCE)
        with lock:
            under_way[lane] -= 1

    def task(lane: int) -> Task:
        yield [partial(call, lane), partial(call, lane)]

    lanes = [
        Lane("wide", [task(0) for _ in range(6)], in_flight=4),
        Lane("narrow", [one_call(partial(call, 1)) for _ in range(9)], in_flight=3),
    ]
    Pool().run(lanes, until=time.monotonic() + 60)
    assert most == [4, 3]


def test_tasks_are_begun_in_order_and_only_when_there_is_room() -> None:
    """A list of a million wallets is not begun all at once."""
    begun: list[int] = []

    def tasks() -> Iterator[Task]:
        for number in range(100):
            begun.append(number)
            yield one_call(partial(fail, StoreError("full")) if number == 0 else lambda: None)

    with pytest.raises(StoreError):
        run(tasks(), in_flight=2)
    assert begun == [0, 1, 2, 3][: len(begun)]


def test_a_failed_call_raises_in_its_task() -> None:
    """Once all calls of its batch have returned; other tasks do not notice."""
    seen: list[Any] = []

    def failing() -> Task:
        other_done: list[int] = []
        try:
            yield [partial(fail, Unreachable("gone")), partial(other_done.append, 1)]
        except Unreachable as exc:
            seen.append((str(exc), other_done))

    lanes = run([failing(), one_call(lambda: 2, seen)])
    assert sorted(seen, key=str) == [("gone", [1]), 2]
    assert lanes[0].error is None


def test_an_exchange_error_that_leaves_a_task_ends_only_its_lane() -> None:
    """Nothing more of that lane is begun; the other lane is served."""
    failed = threading.Event()
    begun: list[int] = []
    results: list[Any] = []

    def tasks() -> Iterator[Task]:
        for number in range(100):
            begun.append(number)
            yield one_call(partial(fail, AuthenticationError("no")))

    def other() -> Task:
        yield [lambda: failed.wait(0.2)]
        results.extend((yield [lambda: "served"]))

    broken, served = run(tasks(), [other()], in_flight=2)
    assert str(broken.error) == "no"
    assert len(begun) <= 3
    assert (served.error, results) == (None, ["served"])


def test_any_other_error_that_leaves_a_task_ends_the_run() -> None:
    """And no worker thread stays behind."""
    before = set(threading.enumerate())
    calls: list[int] = []

    def call(number: int) -> None:
        calls.append(number)
        if number == 0:
            raise StoreError("disk full")

    with pytest.raises(StoreError, match="disk full"):
        run((one_call(partial(call, number)) for number in range(100)), in_flight=3)
    assert len(calls) < 100
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_late_result_of_one_run_is_not_taken_for_one_of_the_next() -> None:
    """A pool can be used after a run that failed."""
    pool, release = Pool(), threading.Event()
    results: list[Any] = []

    def late() -> str:
        release.wait(PATIENCE)
        return "of the first run"

    lane = Lane("one", [one_call(late, results), one_call(partial(fail, StoreError("x")))])
    with pytest.raises(StoreError):
        pool.run([lane], until=time.monotonic() + 60)
    release.set()
    pool.run([Lane("two", [one_call(lambda: "of the second", results)])], until=time.monotonic() + 60)
    assert results == ["of the second"]


def test_nothing_new_is_begun_when_the_time_is_up() -> None:
    """What is in flight is waited for; a task that wants to go on gets OutOfTime; it may let that pass."""
    now = 0.0
    seen: list[Any] = []

    def pass_time() -> str:
        nonlocal now
        now = 10.0
        return "in time"

    def task(last: str) -> Task:
        seen.extend((yield [pass_time]))
        try:
            yield [lambda: "never"]
        except OutOfTime:
            seen.append(last)
            raise

    lane = Lane("one", (task(last) for last in ("out of time", "not begun")), in_flight=1)
    Pool(clock=lambda: now).run([lane], until=5.0, grace=100.0)
    assert seen == ["in time", "out of time"]
    assert lane.error is None


def test_calls_that_wait_for_a_worker_when_the_time_is_up_are_not_made() -> None:
    """Their task gets OutOfTime."""
    now = 0.0
    made: list[str] = []

    def pass_time() -> None:
        nonlocal now
        now = 10.0
        made.append("first")

    def task() -> Task:
        with pytest.raises(OutOfTime):
            yield [pass_time, partial(made.append, "second")]

    Pool(clock=lambda: now).run([Lane("one", [task()], in_flight=1)], until=5.0, grace=100.0)
    assert made == ["first"]


def test_a_call_that_never_returns_ends_only_its_lane() -> None:
    """As the look-up of a name can, which obeys no time-out; the message says what may be the cause."""
    release = threading.Event()
    results: list[Any] = []
    begun = time.monotonic()
    stuck, fine = run(
        [one_call(lambda: release.wait(PATIENCE))],
        [one_call(lambda: "served", results)],
        seconds=0.05,
        grace=0.1,
    )
    release.set()
    assert isinstance(stuck.error, Unreachable)
    assert "did not end in time" in str(stuck.error) and str(stuck.error).startswith("lane 0")
    assert (fine.error, results) == (None, ["served"])
    assert time.monotonic() - begun < PATIENCE / 2


def test_a_task_of_an_ended_lane_is_not_resumed() -> None:
    """Not even with a result that comes later."""
    release = threading.Event()
    seen: list[str] = []

    def failing() -> Task:
        try:
            yield [partial(fail, ServerError("no"))]
        finally:
            release.set()

    def waiting() -> Task:
        yield [lambda: release.wait(PATIENCE)]
        seen.append("resumed")

    (lane,) = run([waiting(), failing()])
    assert str(lane.error) == "no"
    assert seen == []


def test_a_system_with_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that can be started do all the work; without a single one the job fails with a message."""
    real, left = threading.Thread.start, 2

    def start(thread: threading.Thread) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    results: list[Any] = []
    run(one_call(partial(int, number), results) for number in range(20))
    assert sorted(results) == list(range(20))
    with pytest.raises(JobFailed, match="thread"):
        run([one_call(lambda: 1)])
