"""Long work on the file that nobody notices: one short write transaction at a time, and room between them.

A writer that waits asks again and again until it finds the lock free. Ours ask every 2 ms; SQLite's own busy
handler sleeps 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, then 100 ms between its tries, so from 33 ms to 128 ms
after it began to wait it looks every 25 ms. A pause of more than 25 ms after at most 100 ms is therefore never
missed, however often the work takes the lock again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from whalesync.store.database import Database

# Measured with 200,000 rows going and another writer at work, on 2 cores, SQLite 3.40: rows a second, of those of a
# single DELETE, and that writer's worst wait. On a quiet machine 0.71 and 109 to 129 ms; 130 ms with pauses of 53 give
# 0.68 and 179 ms. On a busy one, when the work for a row was still twice as much, 70 ms gave 0.25 to 0.35, 90 ms 0.32
# to 0.40 with waits up to 196 ms. Longer turns are quicker because most of a turn's cost is that of the index pages it
# touches, and 10,000 rows touch hardly more of them than 5,000 do.
HOLD_SECONDS = 0.09
PAUSE_SECONDS = 0.028
TOO_LONG, LONG_PAUSE_SECONDS = 0.1, 0.053  # a waiter looks every 50 ms by then
FEWEST, MOST, FIRST = 250, 20_000, 2_000
# A checkpoint holds the lock too: 30 ms for 6 MB, 55 for 13, 85 for 26, since the same pages stand in it again and
# again: the larger it may become, the less there is to do for each row.
WAL_BYTES = 32 * 1024 * 1024
CHECKPOINT_PATIENCE = 0.02  # how long it waits for readers, holding the lock


class Turns:
    """Hands out write transactions, and the number of rows that one may touch.

    The number follows from how long the turns before have taken, so that it is right for any disk.
    """

    def __init__(self, db: Database, sleep: Callable[[float], None] = time.sleep) -> None:
        self._db = db
        self._sleep = sleep
        self._held = 0.0  # since the last pause
        self._wal_limit = WAL_BYTES
        self.rows = FIRST

    @contextmanager
    def turn(self) -> Iterator[int]:
        """A write transaction; gives the number of rows for it. Pauses after it, if others may be waiting."""
        with self._db.write():
            begun = time.monotonic()
            yield self.rows
        took = time.monotonic() - begun
        wanted = self.rows * HOLD_SECONDS / max(took, 0.001)
        self.rows = round(min(max(wanted, FEWEST), 2 * self.rows, MOST))
        self._held += took
        # Many short turns in a row keep others out like a long one.
        if self._held > HOLD_SECONDS / 4:
            self._pause()
        if self._db.wal_bytes() > self._wal_limit:
            begun = time.monotonic()
            self._db.checkpoint(CHECKPOINT_PATIENCE)
            self._held = time.monotonic() - begun
            # What a long reader has kept in it must not be tried again after every turn.
            self._wal_limit = self._db.wal_bytes() + WAL_BYTES
            self._pause()

    def _pause(self) -> None:
        self._sleep(PAUSE_SECONDS if self._held < TOO_LONG else LONG_PAUSE_SECONDS)
        self._held = 0.0
