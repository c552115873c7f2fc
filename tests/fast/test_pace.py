"""The rate that threads and processes share, mostly with a clock that is moved by hand."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from whalesync.errors import OutOfTime, StoreError
from whalesync.exchange import pace as module
from whalesync.exchange.pace import LONGEST_HOLD, PACE, REBOOT_SECONDS, Pace

NEVER = 1e9


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "whalesync.db.rate"


def paced(file: Path, clock: FakeTime, limit: int = 15) -> Pace:
    return Pace(file, limit, clock=clock, sleep=clock.sleep)


def test_evenly_at_13_for_a_limit_of_15(file: Path, clock: FakeTime) -> None:
    """A hundred requests take a hundred intervals, the first none."""
    pace = paced(file, clock)
    for _ in range(101):
        pace.wait(NEVER)
    assert clock.now - 1_000 == pytest.approx(100 / 13)
    pace.close()


@pytest.mark.parametrize("limit", [1, 2, 5, 15, 100])
def test_jitter_of_the_network_does_not_break_the_limit(limit: int) -> None:
    """What leaves within 1.1 s and arrives within one is not more than the limit."""
    assert int(limit * PACE * 1.1) + 1 <= limit or limit == 1


def test_two_of_one_file_take_turns(file: Path, clock: FakeTime) -> None:
    """What one has taken the other does not get."""
    one, other = paced(file, clock), paced(file, clock)
    slots = []
    for pace in (one, other, one, other):
        pace.wait(NEVER)
        slots.append(clock.now)
    assert [b - a for a, b in pairwise(slots)] == pytest.approx([1 / 13] * 3)
    one.close()
    other.close()


def test_no_slot_is_taken_when_time_is_up(file: Path, clock: FakeTime) -> None:
    """Who would come too late gets OutOfTime, and the next one still gets that slot."""
    pace = paced(file, clock)
    pace.wait(NEVER)
    for _ in range(5):
        with pytest.raises(OutOfTime):
            pace.wait(clock.now + 0.01)
    pace.wait(NEVER)
    assert clock.now - 1_000 == pytest.approx(1 / 13)
    pace.close()


def test_hold_is_for_all(file: Path, clock: FakeTime) -> None:
    """After a 429 nobody sends for as long as was asked for."""
    one, other = paced(file, clock), paced(file, clock)
    one.hold(7)
    other.wait(NEVER)
    assert clock.now == pytest.approx(1_007)
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("asked", "held"), [(-5, 0), (0, 0), (1e9, LONGEST_HOLD), (float("inf"), LONGEST_HOLD)]
)
def test_hold_is_clamped(asked: float, held: float, file: Path, clock: FakeTime) -> None:
    """No answer of the exchange can stop everything for longer than a minute."""
    pace = paced(file, clock)
    pace.hold(asked)
    pace.wait(NEVER)
    assert clock.now == pytest.approx(1_000 + held)
    pace.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", struct.pack("<d", float("nan")), struct.pack("<d", float("inf")), struct.pack("<d", -1e300),
     struct.pack("<d", 1_000 + REBOOT_SECONDS + 1), b"\xff" * 8, b"x" * 100],
)  # fmt: skip
def test_a_file_that_makes_no_sense_holds_up_nobody(content: bytes, file: Path, clock: FakeTime) -> None:
    """A slot of before a reboot, or garbage, is no slot."""
    file.write_bytes(content)
    pace = paced(file, clock)
    pace.wait(NEVER)
    assert clock.now == 1_000
    pace.wait(NEVER)
    assert clock.now == pytest.approx(1_000 + 1 / 13)
    pace.close()


def test_who_wakes_late_pushes_the_next(file: Path, clock: FakeTime) -> None:
    """The distance is kept from when a request really left."""
    pace = paced(file, clock)
    pace.wait(NEVER)
    pace._sleep = lambda seconds: clock.sleep(seconds + 0.05)
    pace.wait(NEVER)
    late = clock.now
    pace._sleep = clock.sleep
    pace.wait(NEVER)
    assert clock.now - late == pytest.approx(1 / 13)
    pace.close()


def test_threads_of_one_process_lose_no_update(file: Path) -> None:
    """The file's lock does not keep threads apart; that a hold gets lost would break a Retry-After."""
    pace = Pace(file, 10_000)
    begun = time.monotonic()

    def work() -> None:
        for _ in range(100):
            pace.wait(NEVER)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    pace.hold(0.5)
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= 0.5
    (free,) = struct.unpack("<d", file.read_bytes())
    assert free >= begun + 0.5
    pace.close()


WORKER = """
import sys, time
from pathlib import Path
from whalesync.exchange.pace import Pace
pace = Pace(Path(sys.argv[1]), 60)
for _ in range(40):
    pace.wait(1e9)
    print(time.monotonic())
"""


def test_processes_share_one_rate(file: Path) -> None:
    """Three processes together are not faster than one, and none is left behind."""
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, file], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [[float(line) for line in worker.communicate(timeout=30)[0].split()] for worker in workers]
    sent = sorted(moment for output in outputs for moment in output)
    assert len(sent) == 120
    assert sent[-1] - sent[0] >= 119 / 52 - 0.05
    most = max(sum(first <= moment < first + 1 for moment in sent) for first in sent)
    assert most <= 60
    for output in outputs:
        assert output[-1] - output[0] > 0.4 * (sent[-1] - sent[0])


def test_a_closed_pace_touches_no_file(file: Path, tmp_path: Path) -> None:
    """A thread that wakes up after the end does not write into whatever has got the number since."""
    pace = Pace(file, 2)
    pace.wait(NEVER)
    ended: list[OutOfTime] = []

    def late() -> None:
        try:
            pace.wait(NEVER)
            pace.hold(1)
        except OutOfTime as exc:
            ended.append(exc)

    thread = threading.Thread(target=late)
    thread.start()
    time.sleep(0.1)
    number = pace._fd
    pace.close()
    other = os.open(tmp_path / "database", os.O_RDWR | os.O_CREAT)
    if other != number:
        os.dup2(other, number)
    os.write(number, b"SQLite format 3\0")
    thread.join()
    assert (tmp_path / "database").read_bytes() == b"SQLite format 3\0"
    for each in {other, number}:
        os.close(each)
    assert len(ended) == 1


def test_a_lock_that_is_not_given_back(file: Path, clock: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for it ends with a line that says what to do."""
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.05)
    pace = paced(file, clock)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(flush=True);"
         "input()", file],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StoreError, match="fuser"):
        pace.wait(NEVER)
    holder.communicate(b"\n")
    pace.wait(NEVER)
    pace.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is told as a failure of the store."""
    with pytest.raises(StoreError, match="writable"):
        Pace(tmp_path / "none" / "rate", 15)
