"""The pool: tasks that yield calls, driven by one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from whalesync.errors import AuthenticationError, JobFailed, OutOfTime, StoreError, Unreachable
from whalesync.exchanges.base import Task
from whalesync.jobs.pool import Lane, Pool

PATIENCE = 10.0  # for what must happen


def run(*tasks: Iterable[Task], in_flight: int = 16) -> list[Lane]:
    """Run each group of tasks as a lane of its own."""
    lanes = [Lane(f"lane {i}", each, in_flight) for i, each in enumerate(tasks)]
    Pool().run(lanes, until=time.monotonic() + 60)
    return lanes


def fail(error: BaseException) -> Any:
    raise error


def one_call(call: Callable[[], Any], results: list[Any] | None = None) -> Task:
    """A task that makes one call and keeps its result."""
    (result,) = yield [call]
    if results is not None:
        results.append(result)


def test_results_come_in_the_order_of_the_calls() -> None:
    """Whatever order they return in. The calls run in other threads, the tasks in the calling one."""
    second_done = threading.Event()
    results: list[Any] = []

    def task() -> Task:
        results.append((yield [lambda: second_done.wait(PATIENCE), second_done.set]))
        results.append((yield []))
        (other,) = yield [threading.get_ident]
        results.append(other != threading.get_ident() == own)

    own = threading.get_ident()
    run([task()])
    assert results == [[True, None], [], True]


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
    """Nothing more of that lane is begun or resumed; the other lane is served."""
    failed = threading.Event()
    begun: list[int] = []
    results: list[Any] = []

    def tasks() -> Iterator[Task]:
        yield one_call(lambda: failed.wait(PATIENCE), results)
        for number in range(100):
            begun.append(number)
            yield failing()

    def failing() -> Task:
        try:
            yield [partial(fail, AuthenticationError("no"))]
        finally:
            failed.set()

    broken, served = run(tasks(), [one_call(lambda: failed.wait(PATIENCE) and "served", results)], in_flight=3)
    assert str(broken.error) == "no"
    assert len(begun) <= 3
    assert (served.error, results) == (None, ["served"])


def test_any_other_error_that_leaves_a_task_ends_the_run() -> None:
    """Tasks are begun only as they can run, and no worker thread stays behind."""
    before = set(threading.enumerate())
    begun: list[int] = []

    def tasks() -> Iterator[Task]:
        for number in range(100):
            begun.append(number)
            yield one_call(partial(fail, StoreError("disk full")) if number == 0 else lambda: None)

    with pytest.raises(StoreError, match="disk full"):
        run(tasks(), in_flight=2)
    assert begun == [0, 1, 2, 3][: len(begun)]
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_nothing_new_is_begun_when_the_time_is_up() -> None:
    """What is in flight is waited for; a call that is not begun yet raises OutOfTime, which its task may pass on."""
    now = 0.0
    passed = threading.Event()
    seen: set[str] = set()

    def pass_time() -> str:
        nonlocal now
        now = 10.0
        passed.set()
        return "in time"

    def further() -> Task:
        seen.update((yield [pass_time]))
        try:
            yield [partial(seen.add, "made")]
        except OutOfTime:
            seen.add("further")
            raise

    def batch() -> Task:
        with pytest.raises(OutOfTime):
            yield [lambda: passed.wait(PATIENCE), partial(seen.add, "made")]
        seen.add("batch")

    lanes = [
        Lane("one", [further(), one_call(partial(seen.add, "made"))], in_flight=1),
        Lane("two", [batch()], in_flight=1),
    ]
    Pool(clock=lambda: now).run(lanes, until=5.0, grace=100.0)
    assert seen == {"in time", "further", "batch"}
    assert [lane.error for lane in lanes] == [None, None]


def test_a_call_that_never_returns_ends_only_its_lane() -> None:
    """A name look-up obeys no time-out. The result that comes late is not taken for one of the pool's next run."""
    release = threading.Event()
    results: list[Any] = []
    pool = Pool()
    stuck = Lane("stuck", [one_call(lambda: release.wait(PATIENCE), results)])
    fine = Lane("fine", [one_call(lambda: "served", results)])
    pool.run([stuck, fine], until=time.monotonic() + 0.05, grace=0.1)
    release.set()
    assert isinstance(stuck.error, Unreachable)
    assert str(stuck.error).startswith("stuck: a request did not end in time")
    assert fine.error is None
    pool.run([Lane("next", [one_call(lambda: "next", results)])], until=time.monotonic() + 60)
    assert results == ["served", "next"]


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
