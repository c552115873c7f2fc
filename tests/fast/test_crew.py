"""The crew: tasks that yield requests, driven by one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from whalesync.errors import JobFailed, KeyRefused, OutOfTime, Unreachable
from whalesync.jobs.crew import Crew, Task


def crew(seconds: float = 5, **options: Any) -> Crew:
    return Crew(time.monotonic() + seconds, **options)


def answer(value: Any, after: float = 0.0) -> Any:
    time.sleep(after)
    if isinstance(value, BaseException):
        raise value
    return value


def test_results_come_in_the_order_of_the_requests() -> None:
    """However the answers arrive."""
    got: list[Any] = []

    def task() -> Task:
        got.append((yield [partial(answer, 1, 0.05), partial(answer, 2)]))
        got.append((yield [partial(answer, 3)]))

    crew().run([task()])
    assert got == [[1, 2], [3]]


def test_tasks_run_in_the_calling_thread_alone() -> None:
    """So they need no locks; the requests run in others."""
    threads: list[tuple[int, int]] = []

    def task() -> Task:
        (other,) = yield [threading.get_ident]
        threads.append((threading.get_ident(), other))

    crew().run(task() for _ in range(20))
    assert {own for own, _ in threads} == {threading.get_ident()}
    assert threading.get_ident() not in {other for _, other in threads}


def test_no_more_in_flight_than_allowed() -> None:
    """And as many, if there is enough to do."""
    now, most, lock = 0, 0, threading.Lock()

    def request() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    def task() -> Task:
        yield [request, request]

    crew(in_flight=4).run(task() for _ in range(10))
    assert most == 4


def test_tasks_are_begun_when_there_is_room() -> None:
    """A list of a million wallets is not begun all at once."""
    begun: list[int] = []

    def tasks() -> Iterator[Task]:
        for number in range(100):
            begun.append(number)
            yield task(number)

    def task(number: int) -> Task:
        yield [partial(answer, number)]
        if number == 0:
            assert len(begun) <= 3
            raise KeyRefused("no")

    with pytest.raises(KeyRefused):
        crew(in_flight=2).run(tasks())
    assert len(begun) <= 4


def test_an_error_is_thrown_into_its_task() -> None:
    """Once all of its requests are answered; the others do not notice."""
    seen: list[Any] = []

    def failing() -> Task:
        try:
            yield [partial(answer, Unreachable("gone")), partial(answer, 1, 0.02)]
        except Unreachable as exc:
            seen.append(str(exc))

    def other() -> Task:
        seen.extend((yield [partial(answer, 2, 0.05)]))

    crew().run([failing(), other()])
    assert seen == ["gone", 2]


def test_an_error_that_leaves_a_task_ends_all() -> None:
    """At once: what is not under way is not begun any more, and no thread stays behind."""
    made: list[int] = []

    def request(number: int) -> None:
        made.append(number)
        time.sleep(0.02)
        if number == 0:
            raise KeyRefused("no")

    def task(number: int) -> Task:
        yield [partial(request, number)]

    before = set(threading.enumerate())
    with pytest.raises(KeyRefused):
        crew(in_flight=3).run(task(number) for number in range(100))
    assert len(made) <= 6
    end = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


def test_a_crew_can_be_used_after_a_failure() -> None:
    """An answer to the failed run's requests is not taken for one to the next."""
    the_crew = crew()

    def failing(number: int) -> Task:
        yield [partial(answer, number if number else KeyRefused("no"), 0.03 * number)]

    with pytest.raises(KeyRefused):
        the_crew.run(failing(number) for number in range(3))
    got: list[Any] = []

    def task() -> Task:
        got.extend((yield [partial(answer, "mine", 0.15)]))

    the_crew.run([task()])
    assert got == ["mine"]


def test_nothing_new_after_the_time_is_up() -> None:
    """What is in flight is waited for; a task that wants to go on gets OutOfTime; others are not begun."""
    seen: list[Any] = []

    def task(number: int) -> Task:
        try:
            seen.extend((yield [partial(answer, number, 0.1)]))
            yield [partial(answer, "never")]
        except OutOfTime:
            seen.append("out of time")

    crew(0.05, in_flight=1).run(task(number) for number in range(3))
    assert seen == [0, "out of time"]


def test_a_part_with_less_time_waits_for_what_is_under_way() -> None:
    """An earlier end for a part of the work is no earlier end for a request that is being tried again."""
    the_crew = crew(2, grace=0.2)
    seen: list[Any] = []

    def task() -> Task:
        seen.extend((yield [partial(answer, "late", 0.5)]))

    the_crew.until -= 1.95
    the_crew.run([task()])
    assert seen == ["late"]


def test_a_request_that_never_ends_does_not_hold_up_the_end() -> None:
    """As a name look-up can, which obeys no time-out."""
    release = threading.Event()

    def task() -> Task:
        yield [lambda: release.wait(10)]

    begun = time.monotonic()
    with pytest.raises(Unreachable, match="name"):
        crew(0.05, grace=0.1).run([task()])
    assert time.monotonic() - begun < 1
    release.set()


def test_a_system_with_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those there are do all of the work; without a single one the job fails with a word on it."""
    real, left = threading.Thread.start, 2

    def start(thread: threading.Thread) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    got: list[Any] = []

    def task(number: int) -> Task:
        got.extend((yield [partial(answer, number)]))

    crew().run(task(number) for number in range(20))
    assert sorted(got) == list(range(20))
    with pytest.raises(JobFailed, match="thread"):
        crew().run([task(1)])
