"""Opening the file, transactions, checkpoints, and SQLite's errors in our words.

WAL with ``synchronous=NORMAL``: always consistent and durable across crashes of the process; a power cut
may roll back the last commits, which the next run fetches again. Write transactions begin as
``BEGIN IMMEDIATE``, since a read that turns into a write fails at once whatever the busy timeout.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from whalesync.errors import DamagedDatabase, DatabaseBusy, NoDatabase, StoreError
from whalesync.store.file import RESTORE, header, identity, is_ready, size
from whalesync.store.locks import FileLock

BUSY_SECONDS = 10.0
BUSY_AGAIN_SECONDS = 1.0
BUSY_POLL_SECONDS = 0.002
OPEN_SECONDS = 300.0  # another process may be bringing a large file up to date: a million trades take 15 s

Params = Sequence[Any] | dict[str, Any]


class Database:
    """One connection to the file at ``path``; all SQL of the program goes through here.

    ``connection`` is the bare one, for libraries that want it (backup, schema steps).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, identity: tuple[int, int] | None = None) -> None:
        self.path = path
        self.connection = connection
        self._identity = identity
        self._restored_at: int | None = None
        self._patience = BUSY_SECONDS
        self._revision: int | None = None
        self._changes = 0

    def rows(self, sql: str, params: Params = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with translated(self.path):
            return self.connection.execute(sql, params).fetchall()

    def each(self, sql: str, params: Params = ()) -> Iterator[sqlite3.Row]:
        """The rows of a query one by one, for more than memory should hold."""
        with translated(self.path):
            yield from self.connection.execute(sql, params)

    def one(self, sql: str, params: Params = ()) -> Any:
        """The first row of a query, or None."""
        with translated(self.path):
            return self.connection.execute(sql, params).fetchone()

    def value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.one(sql, params)
        return None if row is None else row[0]

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run one writing statement; returns the number of rows it touched."""
        with translated(self.path):
            return self.connection.execute(sql, params).rowcount

    def insert(self, sql: str, params: Params = ()) -> int:
        """Run one INSERT; returns the id of the new row."""
        with translated(self.path):
            return self.connection.execute(sql, params).lastrowid or 0

    def execute_many(self, sql: str, rows: Iterable[Params]) -> int:
        """Run one writing statement for many rows; returns how many it touched."""
        with translated(self.path):
            return self.connection.executemany(sql, rows).rowcount

    @contextmanager
    def write(self) -> Iterator[None]:
        """A short write transaction: whole or not at all. Never hold it over a network wait.

        Raises:
            DatabaseBusy: another process kept the write lock for BUSY_SECONDS.
            StoreError: the disk is full, the file is read-only, ...
        """
        self._revision = None
        try:
            self._begin()
            yield
            if self._revision is not None and self.connection.total_changes > self._changes:
                self.remember("revision", self._revision)
            self.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                # The first error is the one that counts, so a failing rollback stays silent; closing rolls back.
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
            raise

    def _begin(self) -> None:
        """BEGIN IMMEDIATE, asking every few milliseconds.

        SQLite's own waiting asks ever more rarely, up to 0.1 s apart, and so misses the short pauses of a
        writer that works in batches; it also cannot be interrupted by a signal.
        """
        end = time.monotonic() + self._patience
        self.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    self.execute("BEGIN IMMEDIATE")
                    self._patience = BUSY_SECONDS
                    return
                except DatabaseBusy:
                    if time.monotonic() >= end:
                        # What a failed run still wants to write must not wait as long again for each of it.
                        self._patience = BUSY_AGAIN_SECONDS
                        raise
                    time.sleep(BUSY_POLL_SECONDS)
        finally:
            self.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")

    @contextmanager
    def read(self) -> Iterator[None]:
        """A read transaction: all queries inside see one state of the file. Part of a transaction that is under way."""
        if self.connection.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")

    def fact(self, name: str, default: int | None = None) -> int | None:
        """A number that the program remembers about the file, such as ``made_at``."""
        value: int | None = self.value("SELECT value FROM facts WHERE name = ?", (name,))
        return default if value is None else value

    def remember(self, name: str, value: int) -> None:
        """Set a fact; inside a write transaction."""
        self.execute(
            "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def revision(self) -> int:
        """The number that the rows changed in this write transaction get: larger than any that was committed.

        It is used up only if something changes, so that a transaction that changes nothing writes nothing.
        """
        if self._revision is None:
            self._revision = (self.fact("revision") or 0) + 1
            self._changes = self.connection.total_changes
        return self._revision

    def checkpoint(self, patience: float = 0.2) -> None:
        """Move the WAL into the file and empty it, unless another process is at it or reading.

        Readers are waited for ``patience`` seconds, with SQLite's writer lock held.

        The only place where checkpoints happen. TRUNCATE holds SQLite's writer lock, and our lock keeps
        checkpoints apart, so no two connections write and reset the WAL at one moment: that is the rare
        corruption of SQLite 3.7.0 to 3.51.2 (sqlite.org/wal.html#walresetbug).
        """
        with FileLock(self.path, "checkpoint") as lock:
            if lock.try_acquire():
                self.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")
                try:
                    self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
                except DatabaseBusy:
                    pass  # the next run does it
                finally:
                    self.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")

    def reopen_if_replaced(self) -> bool:
        """Open the file anew if ``restore`` has replaced its content, or the file, since; returns whether it has.

        SQLite does not notice another file at the path: the connection would stay on the old one.

        Raises:
            StoreError: as ``open_existing``.
        """
        if identity(self.path) == self._identity and self.fact("restored_at") == self._restored_at:
            return False
        may_write = not self.value("PRAGMA query_only")
        self.close()
        anew = open_existing(self.path)
        if may_write:
            anew.allow_writing()
        self.connection, self._identity, self._restored_at = anew.connection, anew._identity, anew._restored_at
        return True

    def connect_again(self) -> Database:
        """Make a second connection to the same file in this process, which must not open the file in another way."""
        return connect(self.path)

    def allow_writing(self) -> None:
        """Allow writing to a file that was opened by ``open_existing``."""
        self.execute("PRAGMA query_only = OFF")

    def wal_bytes(self) -> int:
        """The size of the WAL beside the file."""
        return size(self.path, "-wal")

    def close(self) -> None:
        """Close the connection; what is not committed is rolled back."""
        with translated(self.path):
            self.connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_database(path: Path) -> Database:
    """Open the file for work; make it, or bring it up to date, if need be.

    Two processes may do so at once: making and updating happens under a lock.

    Raises:
        ForeignDatabase: the file is not ours or from a newer version; it was not touched.
        DamagedDatabase, StoreError: it cannot be read or made.
        DatabaseBusy: another process is still making it or bringing it up to date after OPEN_SECONDS.
    """
    if not is_ready(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"cannot make the folder {path.parent} ({exc.strerror}): choose one with --db") from exc
        with FileLock(path, "open") as lock:
            if not lock.try_acquire(OPEN_SECONDS):
                raise DatabaseBusy(
                    f"another process has been making {path} or bringing it up to date for over {OPEN_SECONDS:.0f} s: "
                    f"wait until it is done; 'fuser {lock.path}' shows which it is"
                )
            if not is_ready(path):
                from whalesync.store.making import bring_up_to_date  # slow to load, and rarely needed

                bring_up_to_date(path)
    database = connect(path)
    try:
        database._restored_at = database.fact("restored_at")
    except StoreError:
        database.connection.close()
        raise
    return database


def open_existing(path: Path) -> Database:
    """Open the file for those who only look; an older file is brought up to date first.

    Raises:
        NoDatabase: there is none yet.
        StoreError: as ``open_database``.
    """
    if not header(path):
        raise NoDatabase(f"there is no database at {path} yet: 'whalesync setup' or 'whalesync whales add' makes it")
    database = open_database(path)
    database.execute("PRAGMA query_only = ON")
    return database


def connect(path: Path) -> Database:
    """A connection to the file as it is."""
    found = identity(path)  # before it is opened: if it is replaced between the two, that is noticed
    try:
        # autocommit: transactions are begun by write() and read() alone
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as exc:
        translate(exc, path)
    connection.row_factory = sqlite3.Row
    # For searches: LIKE folds ASCII only, and takes % and _ for wildcards.
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    database = Database(path, connection, found)
    try:
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA wal_autocheckpoint = 0")  # checkpoint() is the one place
    except StoreError:
        connection.close()
        raise
    return database


def bindable(text: str) -> str:
    """Text from a command line as SQLite takes it: bytes that are not UTF-8 arrive as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors in our words, as ``translate``."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        translate(exc, path)


def translate(exc: sqlite3.Error, path: Path) -> NoReturn:
    """Raise what SQLite says in our words; a misuse of SQL is a bug and stays what it is."""
    code = (getattr(exc, "sqlite_errorcode", 0) or 0) & 0xFF
    # Python's own error, which has no code: the file holds text that is not UTF-8.
    if not code and "decode to UTF-8" in str(exc):
        code = sqlite3.SQLITE_CORRUPT
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise DatabaseBusy(
            f"another process has kept {path} locked for over {BUSY_SECONDS:.0f} s: see which with 'fuser', "
            "and end it if it hangs; the next run catches up"
        ) from exc
    if code == sqlite3.SQLITE_FULL:
        raise StoreError(f"no room left for {path}: free some disk space; the next run catches up") from exc
    if code == sqlite3.SQLITE_IOERR:
        raise StoreError(
            f"the disk failed on {path} ({exc}): check the disk, its free space and limits; nothing that was stored is "
            "lost, and the next run catches up; if it happens again, " + RESTORE
        ) from exc
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        raise StoreError(
            f"cannot write {path} ({exc}): this user needs permission to write the file and its folder; or name "
            "another file with --db"
        ) from exc
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise DamagedDatabase(f"{path} is damaged ({exc}): {RESTORE}") from exc
    if code == sqlite3.SQLITE_NOMEM:
        raise StoreError(f"not enough memory to work on {path}") from exc
    raise exc
