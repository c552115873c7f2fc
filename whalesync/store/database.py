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

from whalesync.errors import DamagedDatabase, DatabaseBusy, ForeignDatabase, NoDatabase, StoreError
from whalesync.store.locks import FileLock

APPLICATION_ID = 0x7768616C  # "whal", at byte 68 of the file (sqlite.org/fileformat.html)
SCHEMA_VERSION = 5  # the number of steps in migrations/
BUSY_SECONDS = 10.0
BUSY_AGAIN_SECONDS = 1.0
BUSY_POLL_SECONDS = 0.002
OPEN_SECONDS = 300.0  # another process may be bringing a large file up to date: a million trades take 15 s

RESTORE = (
    "'whalesync restore FILE --force' puts a copy made with 'whalesync backup' in its place; or name another file with"
    " --db"
)

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
        with self._translated():
            return self.connection.execute(sql, params).fetchall()

    def each(self, sql: str, params: Params = ()) -> Iterator[sqlite3.Row]:
        """The rows of a query one by one, for more than memory should hold."""
        with self._translated():
            yield from self.connection.execute(sql, params)

    def one(self, sql: str, params: Params = ()) -> Any:
        """The first row of a query, or None."""
        with self._translated():
            return self.connection.execute(sql, params).fetchone()

    def value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.one(sql, params)
        return None if row is None else row[0]

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run one writing statement; returns the number of rows it touched."""
        with self._translated():
            return self.connection.execute(sql, params).rowcount

    def insert(self, sql: str, params: Params = ()) -> int:
        """Run one INSERT; returns the id of the new row."""
        with self._translated():
            return self.connection.execute(sql, params).lastrowid or 0

    def execute_many(self, sql: str, rows: Iterable[Params]) -> int:
        """Run one writing statement for many rows; returns how many it touched."""
        with self._translated():
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
        if _identity(self.path) == self._identity and self.fact("restored_at") == self._restored_at:
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
        return _connect(self.path)

    def allow_writing(self) -> None:
        """Allow writing to a file that was opened by ``open_existing``."""
        self.execute("PRAGMA query_only = OFF")

    def wal_bytes(self) -> int:
        """The size of the WAL beside the file."""
        return _size(self.path, "-wal")

    def close(self) -> None:
        """Close the connection; what is not committed is rolled back."""
        with self._translated():
            self.connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as exc:
            translate(exc, self.path)


def open_database(path: Path) -> Database:
    """Open the file for work; make it, or bring it up to date, if need be.

    Two processes may do so at once: making and updating happens under a lock.

    Raises:
        ForeignDatabase: the file is not ours or from a newer version; it was not touched.
        DamagedDatabase, StoreError: it cannot be read or made.
        DatabaseBusy: another process is still making it or bringing it up to date after OPEN_SECONDS.
    """
    if not _is_ready(path):
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
            if not _is_ready(path):
                _bring_up_to_date(path)
    database = _connect(path)
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
    if not _header(path):
        raise NoDatabase(f"there is no database at {path} yet: the first job or 'whalesync whales add' makes it")
    database = open_database(path)
    database.execute("PRAGMA query_only = ON")
    return database


def _connect(path: Path) -> Database:
    identity = _identity(path)  # before it is opened: if it is replaced between the two, that is noticed
    try:
        # autocommit: transactions are begun by write() and read() alone
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as exc:
        translate(exc, path)
    connection.row_factory = sqlite3.Row
    # For searches: LIKE folds ASCII only, and takes % and _ for wildcards.
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    database = Database(path, connection, identity)
    try:
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA wal_autocheckpoint = 0")  # checkpoint() is the one place
    except StoreError:
        connection.close()
        raise
    return database


def _is_ready(path: Path) -> bool:
    """Whether the file is there, of this schema and in WAL mode, as its header says.

    Read as bytes and not through SQLite, which would leave its traces on a file that is not ours. Our
    header always stands in the main file: it is written before the file goes over to WAL. Never called while
    this process has the file open: closing it here would take SQLite's locks away (sqlite.org/howtocorrupt.html).
    """
    header = _header(path)
    if not header:
        return False
    # Without WAL: restored from a copy that is not in WAL mode, or killed on the way to it.
    is_wal = header[18:19] == b"\2" and not _size(path, "-journal")
    return _schema(path, header, RESTORE) == SCHEMA_VERSION and is_wal


def check_is_ours(path: Path, advice: str) -> None:
    """Check by its header that a file is a database of ours that this version can use; ``advice``: what to do if not.

    Raises:
        ForeignDatabase: it is not.
        StoreError: it cannot be read.
    """
    _schema(path, _header(path), advice)


def _schema(path: Path, header: bytes, advice: str) -> int:
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise ForeignDatabase(f"{path} is not an SQLite database, or its header is damaged: {advice}")
    # sqlite.org/fileformat.html
    version, application = (int.from_bytes(header[offset : offset + 4], "big") for offset in (60, 68))
    if application != APPLICATION_ID:
        raise ForeignDatabase(f"{path} is the database of another program and was not touched: {advice}")
    if version > SCHEMA_VERSION:
        raise ForeignDatabase(
            f"{path} was written by a newer whalesync (schema {version}, this one knows {SCHEMA_VERSION}) and was "
            "not touched: upgrade whalesync"
        )
    return version


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells the file at the path from another one; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _header(path: Path) -> bytes:
    """The first bytes of the file; none if it does not exist or is empty."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise StoreError(f"{path} is not a regular file: name another with --db")
        with open(path, "rb") as file:
            return file.read(100)
    except FileNotFoundError:
        return b""
    except OSError as exc:
        raise StoreError(
            f"cannot open {path} ({exc.strerror}): this user needs permission to read it; or name another file"
        ) from exc


def _size(path: Path, suffix: str) -> int:
    """The size of what SQLite keeps beside the file; 0 if there is none."""
    path = path.resolve()  # beside the file itself, not beside a link to it
    try:
        return path.with_name(path.name + suffix).stat().st_size
    except OSError:
        return 0


def _bring_up_to_date(path: Path) -> None:
    if not _header(path):
        _make(path.resolve())
        return
    with _connect(path) as database:
        # A commit that was killed before its checkpoint stands in the WAL, where the header does not show it.
        if database.value("PRAGMA user_version") != SCHEMA_VERSION:
            # Tables are replaced under the rows and views that refer to them; all references are checked afterwards.
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute("PRAGMA legacy_alter_table = ON")
            _apply_steps(database)
        database.value("PRAGMA journal_mode = WAL")
        database.checkpoint()


def _make(path: Path) -> None:
    """Make the file under another name: under its own there is all of it, or nothing, whatever happens meanwhile."""
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, *beside(new), *beside(path)):
            leftover.unlink(missing_ok=True)  # SQLite would play an old journal into the new file
        with _connect(new) as database:
            # So that cleanup can give pages back to the file system; it takes effect on an empty file only.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _apply_steps(database)
            database.value("PRAGMA journal_mode = WAL")
        if path.exists():
            new.chmod(path.stat().st_mode & 0o777)
        new.replace(path)
    except OSError as exc:
        raise StoreError(
            f"cannot make the database {path} ({exc.strerror}): this user must be able to write the folder"
        ) from exc


def beside(path: Path) -> list[Path]:
    """What SQLite keeps beside a database file while it is in use, whether it exists or not."""
    return [path.with_name(path.name + suffix) for suffix in ("-journal", "-wal", "-shm")]


def bindable(text: str) -> str:
    """Text from a command line as SQLite takes it: bytes that are not UTF-8 arrive as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _apply_steps(database: Database) -> None:
    from sqlite_utils import Database as SqliteUtils  # slow to load, and needed only here

    from whalesync.store.migrations import steps

    with database.write():
        dangling = len(database.rows("PRAGMA foreign_key_check"))  # rows that somebody has deleted by hand
        with database._translated():
            steps.apply(SqliteUtils(database.connection, execute_plugins=False))
        if len(database.rows("PRAGMA foreign_key_check")) > dangling:
            raise DamagedDatabase(f"{database.path} has rows that refer to missing rows: {RESTORE}")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if database.fact("made_at") is None:
            database.remember("made_at", int(time.time() * 1000))


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
