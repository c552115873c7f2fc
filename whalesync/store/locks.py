"""Locks between processes: one small file each, beside the database, never removed.

``flock`` because the kernel frees it within milliseconds of a kill -9, and because a lock that is held by
no process number cannot be mistaken for one after a crash. The ``filelock`` package does the same, but
loads asyncio and more with it: a quarter of the start of a job that runs every minute.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from whalesync.errors import StoreError

POLL_SECONDS = 0.01


class FileLock:
    """An exclusive lock named ``name`` that belongs to the database at ``db``."""

    def __init__(self, db: Path, name: str) -> None:
        db = db.resolve()  # one lock for all who come to the file, be it by a link
        self.path = db.with_name(f"{db.name}.{name}.lock")
        self._fd: int | None = None

    def try_acquire(self, patience: float = 0.0) -> bool:
        """Take the lock; False if another process still holds it after ``patience`` seconds.

        Raises:
            StoreError: the lock file cannot be made.
        """
        if self._fd is None:
            try:
                # Not inherited by children (PEP 446): a child that lived on would keep the lock.
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as exc:
                raise StoreError(
                    f"cannot use the lock file {self.path} ({exc.strerror}): this user must be able to write the "
                    "file and its folder"
                ) from exc
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= end:
                    self.release()
                    return False
                time.sleep(POLL_SECONDS)
            except OSError as exc:
                self.release()
                raise StoreError(f"cannot lock {self.path} ({exc.strerror}): choose another file with --db") from exc

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would split waiters into two locks."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(db: Path, name: str) -> bool:
    """Whether a process holds the lock now. Asks with a shared lock that lives for microseconds."""
    try:
        fd = os.open(FileLock(db, name).path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
