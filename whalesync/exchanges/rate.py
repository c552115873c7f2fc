"""One request rate for all processes that share its file.

What an exchange counts is what *arrives* in any one second. Requests that leave evenly at 13 a second arrive as at
most 15 in the worst second when the network delays each by up to 100 ms: a window of one second can hold what left
within 1.1 s, at most ``floor(13 x 1.1) + 1``. So requests leave at 13/15 of the limit, for any limit. Where the
exchange counts over a longer window, they may leave at the limit itself.

The next free slot is kept in one small file, under a lock that is held for microseconds. The known limiters were
measured first: with SQLite and a file lock ``pyrate-limiter`` starves one of two processes, without the lock it
exceeds the limit; the others need a server.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path

from whalesync.errors import OutOfTime, StoreError

SHARE = 13 / 15
REBOOT_SECONDS = 90.0  # a slot further ahead than any wait of ours: the clock has started anew
LONGEST_HOLD = 60.0
LOCK_PATIENCE = 5.0
LATE_SECONDS = 0.005


class RateLimit:
    """Gives out the slots of one rate; threads and processes share it.

    Args:
        path: the file with the next free slot; created if missing.
        per_second: requests that may arrive in any one second.
        share: at which part of that they leave.
        held_with: the files of other rates that a 429 holds too.
        least_hold: seconds that a 429 holds them at least.
    """

    def __init__(
        self,
        path: Path,
        per_second: float,
        *,
        share: float = SHARE,
        held_with: Sequence[Path] = (),
        least_hold: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.interval = 1 / (per_second * share)
        self._path = path
        self._held_with = held_with
        self._least_hold = least_hold
        self._clock = clock
        self._sleep = sleep
        # One waiter of a process holds one slot at a time, so that processes take turns.
        self._turn = threading.Lock()

    def wait(self, until: float) -> None:
        """Sleep until this caller may send one request.

        Raises:
            OutOfTime: its slot would come after ``until`` (monotonic seconds); no slot is taken.
            StoreError: the file cannot be used.
        """
        with self._turn:
            slot = self._update(self._path, partial(self._take, until)) - self.interval
            while (left := slot - self._clock()) > 0:
                self._sleep(left)
            if self._clock() - slot > LATE_SECONDS:
                # Woken late: the next request must keep its distance from when this one really leaves.
                self._push(self._path, self._clock() + self.interval)

    def hold(self, seconds: float) -> None:
        """After a 429: no process sends for ``seconds`` (at most LONGEST_HOLD), by this rate and those held with it."""
        end = self._clock() + min(max(seconds, self._least_hold), LONGEST_HOLD)
        for path in (self._path, *self._held_with):
            self._push(path, end)

    def _take(self, until: float, free: float) -> float:
        slot = max(free, self._clock())
        if slot > until:
            raise OutOfTime
        return slot + self.interval

    def _push(self, path: Path, earliest: float) -> None:
        self._update(path, lambda free: max(free, earliest))

    def _update(self, path: Path, change: Callable[[float], float]) -> float:
        """Read the next free slot, change it, write it back, all under the lock; returns what was written."""
        try:
            # Opened each time, so that the lock keeps threads apart too, and no thread outlives its descriptor.
            with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
                self._lock(path, file)
                stored = file.read(8)
                free = struct.unpack("<d", stored)[0] if len(stored) == 8 else 0.0
                if not free <= self._clock() + REBOOT_SECONDS:  # also for a NaN in a damaged file
                    free = 0.0
                new = change(free)
                os.pwrite(file.fileno(), struct.pack("<d", new), 0)
                return new
        except OSError as exc:
            raise StoreError(f"cannot use {path} ({exc.strerror}). Check its folder.") from exc

    def _lock(self, path: Path, file: FileIO) -> None:
        end = time.monotonic() + LOCK_PATIENCE
        while True:
            with suppress(BlockingIOError):  # held for microseconds, unless its holder was stopped
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > end:
                raise StoreError(
                    f"another process has locked {path} for over {LOCK_PATIENCE:.0f} s. "
                    "Find it with 'fuser', and end it if it hangs."
                )
            time.sleep(0.001)
