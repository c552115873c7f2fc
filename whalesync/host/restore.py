"""Putting a copy in the place of the database, so that whoever has it open sees the old content or the new one.

A sound database keeps its file: its content is replaced in one transaction through SQLite's backup interface, so
followers, Datasette and other readers go on with the new content, and a kill leaves the old or the new one. Replacing
the file itself would leave them on the old one, and SQLite finds the WAL by name: a connection being opened
could read the old file with the new WAL (sqlite.org/howtocorrupt.html, 2.2 to 2.5).

Only what is damaged or another program's is replaced as a file. Everything of it, the WAL included, gets a second name
first, and the WAL is gone before the new file appears: the two never meet. There is a file under the name at every
moment, so no job makes an empty one.

All jobs are kept out meanwhile by their own locks. A restore that was killed leaves its folder, which the next one
removes and ``doctor`` names.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from whalesync.errors import DamagedDatabase, DatabaseBusy, ForeignDatabase, JobActive, StoreError
from whalesync.host.backup import PAGES_AT_A_TIME, sync
from whalesync.jobs.run import LOCK_PATIENCE
from whalesync.jobs.table import JOBS, SECOND, VERIFY
from whalesync.store.copying import continue_numbers, copy_pages, damage_of, overwrite
from whalesync.store.database import Database, open_database
from whalesync.store.file import RESTORE, beside, check_is_ours
from whalesync.store.locks import FileLock, is_held
from whalesync.store.retention import newest_trade
from whalesync.store.totals import totals

LOCK = "restore"
OPEN_PATIENCE = 10.0  # seconds for another process that makes the file or brings it up to date
OTHER_COPY = "choose a copy made with 'whalesync backup'"


@dataclass(frozen=True)
class RestoreResult:
    """What was restored: the file, its trades, the time of the newest (ms), and where the old file is, if any."""

    path: Path
    trades: int
    newest: int | None
    kept: Path | None


def restore(
    source: Path,
    target: Path,
    *,
    force: bool,
    now: int,
    pages: int = PAGES_AT_A_TIME,
    on_pages: Callable[[], object] = lambda: None,
) -> RestoreResult:
    """Put the copy ``source`` in the place of the database ``target``, and remember ``now`` (ms) as ``restored_at``.

    The old file is kept beside it as ``<name>.before-restore-<time>``. ``force``: also where the old file is damaged or
    another program's. ``on_pages`` is called after each ``pages`` pages.

    Raises:
        JobActive: a job or another restore is running; nothing was changed.
        StoreError: it could not be done; nothing was changed.
    """
    source, target = source.absolute(), target.resolve()
    with _translated(target), ExitStack() as stack:
        _check_source(source, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        for name in (LOCK, *(each.command for each in (*JOBS, VERIFY))):
            if not stack.enter_context(FileLock(target, name)).try_acquire(LOCK_PATIENCE):
                raise JobActive(f"{name} is running: try again when it has ended; nothing was changed")
        folder = stack.enter_context(_folder(target))
        copy, kept = folder / "copy", _free_name(target, now)
        _take_copy(source, copy)
        if old := _open_sound(target, force):
            stack.enter_context(old)
        trades, newest = _prepare(copy, source, old, now)
        if old is not None:
            _put_in(old, copy, folder / "old", kept, pages, on_pages)
        else:
            _put_in_place(copy, target, kept)
        return RestoreResult(target, trades, newest, kept if kept.exists() else None)


def interrupted(target: Path) -> Path | None:
    """The folder that a restore has left which was killed; None if there is none."""
    folder = _folder_of(target.resolve())
    return folder if os.path.isdir(folder) and not is_held(target, LOCK) else None  # noqa: PTH112  (never raises)


def _check_source(source: Path, target: Path) -> None:
    if not source.is_file():
        raise StoreError(f"there is no file {source}: {OTHER_COPY}")
    if source.resolve() in (target, *beside(target)) or (target.exists() and source.samefile(target)):
        raise StoreError(f"{source} is the database itself: {OTHER_COPY}")
    if _folder_of(target) in source.resolve().parents:  # which is removed before anything is read
        raise StoreError(f"{source} was left by an interrupted restore: {OTHER_COPY}")
    check_is_ours(source, OTHER_COPY)


def _folder_of(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.restoring")


@contextmanager
def _folder(target: Path) -> Iterator[Path]:
    """A folder beside the target that only this user may enter, so that a rename is enough to put a file in place."""
    folder = _folder_of(target)
    if folder.exists():  # of one that was killed
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_name(target: Path, now: int) -> Path:
    """The name for the old file; in one second there may have been another restore."""
    while True:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now // SECOND))
        kept = target.with_name(f"{target.name}.before-restore-{moment}")
        if not os.path.lexists(kept):
            return kept
        now += SECOND


def _take_copy(source: Path, copy: Path) -> None:
    """Copy a file with its WAL or journal, if it has one, byte by byte: SQLite would leave traces beside the source."""
    files = [source, *(file for file in beside(source)[:2] if file.exists())]

    def state() -> list[tuple[int, int]]:
        return [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)]

    before = state()
    for file in files:
        shutil.copyfile(file, copy.with_name(copy.name + file.name.removeprefix(source.name)))
    if state() != before:
        raise StoreError(f"{source} is being written: {OTHER_COPY}")


def _open_sound(target: Path, force: bool) -> Database | None:
    """Open the old file; None if there is none, or one to be replaced as a file.

    Raises:
        DamagedDatabase, ForeignDatabase: it is not sound, and ``force`` was not given.
    """
    if not target.exists() or not target.stat().st_size:
        return None
    try:
        old = open_database(target)
        try:
            fault = damage_of(old)
            if fault is None:
                return old
            raise DamagedDatabase(f"{target} is damaged ({fault}): {RESTORE}")
        except BaseException:
            old.close()
            raise
    except (DamagedDatabase, ForeignDatabase):
        if not force:
            raise
        return None


def _prepare(copy: Path, source: Path, old: Database | None, now: int) -> tuple[int, int | None]:
    """Check the private copy and bring it up to date; returns its trades, and the time of the newest (ms)."""
    try:
        with open_database(copy) as new:
            fault = damage_of(new)
            if fault is not None:
                raise StoreError(f"{source} is damaged ({fault}): {OTHER_COPY}")
            if old is not None:
                continue_numbers(new, old)
            with new.write():
                new.remember("restored_at", now)
            trades, newest = totals(new).trades, newest_trade(new)
            new.checkpoint()
    except DamagedDatabase as exc:
        raise StoreError(f"{source} is damaged: {OTHER_COPY}") from exc
    sync(copy)
    return trades, newest


def _put_in(old: Database, copy: Path, private: Path, kept: Path, pages: int, on_pages: Callable[[], object]) -> None:
    """Replace the content of a sound database, and keep the old content under another name."""

    def keep() -> None:
        with old.connect_again() as reading:  # it still sees the old content
            copy_pages(reading, private, pages, on_pages)
        _give_owner_and_mode(old.path, private)
        sync(private)
        private.rename(kept)
        sync(kept.parent)

    restored_before = old.fact("restored_at")
    try:
        overwrite(old, copy, pages, keep, on_pages)
    except BaseException:
        with suppress(StoreError):
            if old.fact("restored_at") == restored_before:  # a signal may come when it is done
                kept.unlink(missing_ok=True)
        raise
    with suppress(StoreError):
        old.checkpoint()


def _put_in_place(copy: Path, target: Path, kept: Path) -> None:
    """Replace the file itself; what was there is kept under another name."""
    with FileLock(target, "open") as lock:  # nobody makes a file meanwhile
        if not lock.try_acquire(OPEN_PATIENCE):
            raise DatabaseBusy(f"another process is making {target} or bringing it up to date: try again")
        names = {
            file: kept.with_name(kept.name + file.name.removeprefix(target.name))
            for file in (target, *beside(target))
            if file.exists()
        }
        if target in names:
            _give_owner_and_mode(target, copy)
        try:
            for file, name in names.items():
                _name_again(file, name)
            sync(target.parent)
            for file in beside(target):
                file.unlink(missing_ok=True)
            copy.replace(target)
        except BaseException:
            if copy.exists():  # else a signal came when it was done
                for file, name in names.items():
                    if file.exists():
                        name.unlink(missing_ok=True)
                    else:
                        name.replace(file)
            raise
        with suppress(OSError):  # it is done, if perhaps not for a power cut
            sync(target.parent)


def _name_again(file: Path, name: Path) -> None:
    try:
        name.hardlink_to(file)
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        shutil.copy2(file, name)  # a file system without links
        sync(name)


def _give_owner_and_mode(old: Path, file: Path) -> None:
    status = old.stat()
    with suppress(PermissionError):  # only root can give files away; or a file system without modes
        os.chown(file, status.st_uid, status.st_gid)
    with suppress(PermissionError):
        file.chmod(status.st_mode & 0o777)


@contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except (StoreError, sqlite3.DatabaseError, OSError) as exc:
        cause = exc.__cause__ if isinstance(exc, StoreError) else exc
        is_full = (
            cause.errno in (errno.ENOSPC, errno.EDQUOT)
            if isinstance(cause, OSError)
            else getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        )
        if is_full:
            raise StoreError(
                f"no space left in {target.parent}, which must hold the database three times for a while: free some "
                "disk space; nothing was changed"
            ) from exc
        if isinstance(exc, StoreError):
            raise
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise StoreError(f"cannot restore {target} ({why}): check the permissions of its folder") from exc
