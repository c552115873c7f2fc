"""The rate that threads and processes share, mostly with a clock that is moved by hand."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from whalesync.errors import OutOfTime, StoreError
from whalesync.exchanges.rate import LONGEST_HOLD, REBOOT_SECONDS, SHARE, RateLimit

NEVER = 1e9


class FakeTime:
    """A clock that only sleeping moves; ``oversleep`` seconds further than asked."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.oversleep = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.oversleep


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "whalesync.db.rate"


@pytest.fixture
def make(file: Path, clock: FakeTime) -> Callable[[], RateLimit]:
    """Makes the rate of 15 a second, as one process after the other would."""
    return lambda: RateLimit(file, 15, clock=clock, sleep=clock.sleep)


def test_requests_of_all_processes_leave_evenly_at_13_for_a_limit_of_15(
    make: Callable[[], RateLimit], clock: FakeTime
) -> None:
    """A slot that one process has taken the other does not get."""
    one, other = make(), make()
    slots = []
    for rate in [one, other] * 20:
        rate.wait(NEVER)
        slots.append(clock.now)
    assert [b - a for a, b in pairwise(slots)] == pytest.approx([1 / 13] * 39)


@pytest.mark.parametrize("limit", [2, 5, 15, 100])
def test_jitter_of_the_network_does_not_break_the_limit(limit: int) -> None:
    """What leaves within 1.1 s and arrives within one is not more than the limit."""
    assert int(limit * SHARE * 1.1) + 1 <= limit


def test_no_slot_is_taken_when_time_is_up(make: Callable[[], RateLimit], clock: FakeTime) -> None:
    """A caller that would come too late gets OutOfTime, and the next one still gets that slot."""
    rate = make()
    rate.wait(NEVER)
    for _ in range(5):
        with pytest.raises(OutOfTime):
            rate.wait(clock.now + 0.01)
    rate.wait(NEVER)
    assert clock.now - 1_000 == pytest.approx(1 / 13)


@pytest.mark.parametrize(
    ("asked", "held"), [(-5, 0), (0, 0), (7, 7), (1e9, LONGEST_HOLD), (float("inf"), LONGEST_HOLD)]
)
def test_a_hold_is_for_all_and_for_a_minute_at_most(
    asked: float, held: float, make: Callable[[], RateLimit], clock: FakeTime
) -> None:
    """After a 429 no process sends for as long as was asked for."""
    one, other = make(), make()
    one.hold(asked)
    other.wait(NEVER)
    assert clock.now == pytest.approx(1_000 + held)


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", struct.pack("<d", float("nan")), struct.pack("<d", float("inf")), struct.pack("<d", -1e300),
     struct.pack("<d", 1_000 + REBOOT_SECONDS + 1), b"\xff" * 8, b"x" * 100],
)  # fmt: skip
def test_a_file_with_an_impossible_slot_delays_nobody(
    content: bytes, file: Path, make: Callable[[], RateLimit], clock: FakeTime
) -> None:
    """A slot of before a reboot, or garbage, is ignored."""
    file.write_bytes(content)
    rate = make()
    rate.wait(NEVER)
    assert clock.now == 1_000
    rate.wait(NEVER)
    assert clock.now == pytest.approx(1_000 + 1 / 13)


def test_a_caller_that_wakes_late_delays_the_next(make: Callable[[], RateLimit], clock: FakeTime) -> None:
    """The distance is kept from when a request really left."""
    rate = make()
    rate.wait(NEVER)
    clock.oversleep = 0.05
    rate.wait(NEVER)
    late = clock.now
    clock.oversleep = 0.0
    rate.wait(NEVER)
    assert clock.now - late == pytest.approx(1 / 13)


def test_threads_of_one_process_lose_no_update(file: Path) -> None:
    """A hold that got lost would break a Retry-After."""
    rate = RateLimit(file, 10_000)
    begun = time.monotonic()

    def work() -> None:
        for _ in range(100):
            rate.wait(NEVER)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    rate.hold(0.5)
    for thread in threads:
        thread.join()
    (free,) = struct.unpack("<d", file.read_bytes())
    assert free >= begun + 0.5


WORKER = """
import sys, time
from pathlib import Path
from whalesync.exchanges.rate import RateLimit
rate = RateLimit(Path(sys.argv[1]), 60)
for _ in range(40):
    rate.wait(1e9)
    print(time.monotonic())
"""


def test_three_processes_share_one_rate(file: Path) -> None:
    """Together they are not faster than one, and none is left behind."""
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, file], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = [[float(line) for line in worker.communicate(timeout=30)[0].split()] for worker in workers]
    sent = sorted(moment for output in outputs for moment in output)
    assert len(sent) == 120
    assert sent[-1] - sent[0] >= 119 / 52 - 0.05
    assert max(sum(first <= moment < first + 1 for moment in sent) for first in sent) <= 60
    for output in outputs:
        assert output[-1] - output[0] > 0.4 * (sent[-1] - sent[0])


def test_a_missing_folder_is_a_failure_of_the_store(tmp_path: Path) -> None:
    """Its message says what to check."""
    with pytest.raises(StoreError, match="Check its folder"):
        RateLimit(tmp_path / "none" / "rate", 15).wait(NEVER)
