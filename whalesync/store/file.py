"""The database file from outside: whether it is ours and ready for use, and what SQLite keeps beside it.

The header is read as bytes and not through SQLite, which would leave its traces on a file that is not ours. Never while
this process has the file open: closing it here would take SQLite's locks away (sqlite.org/howtocorrupt.html).
"""

from __future__ import annotations

from pathlib import Path

from whalesync.errors import ForeignDatabase, StoreError

APPLICATION_ID = 0x7768616C  # "whal", at byte 68 of the file (sqlite.org/fileformat.html)
SCHEMA_VERSION = 5  # the number of steps in migrations/

RESTORE = (
    "'whalesync restore FILE --force' puts a copy made with 'whalesync backup' in its place; or name another file with"
    " --db"
)


def is_ready(path: Path) -> bool:
    """Whether the file is there, of this schema and in WAL mode, as its header says.

    Our header always stands in the main file: it is written before the file goes over to WAL.
    """
    first = header(path)
    if not first:
        return False
    # Without WAL: restored from a copy that is not in WAL mode, or killed on the way to it.
    is_wal = first[18:19] == b"\2" and not size(path, "-journal")
    return _schema(path, first, RESTORE) == SCHEMA_VERSION and is_wal


def check_is_ours(path: Path, advice: str) -> None:
    """Check by its header that a file is a database of ours that this version can use; ``advice``: what to do if not.

    Raises:
        ForeignDatabase: it is not.
        StoreError: it cannot be read.
    """
    _schema(path, header(path), advice)


def beside(path: Path) -> list[Path]:
    """What SQLite keeps beside a database file while it is in use, whether it exists or not."""
    return [path.with_name(path.name + suffix) for suffix in ("-journal", "-wal", "-shm")]


def identity(path: Path) -> tuple[int, int] | None:
    """What tells the file at the path from another one; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def header(path: Path) -> bytes:
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


def size(path: Path, suffix: str) -> int:
    """The size of what SQLite keeps beside the file; 0 if there is none."""
    path = path.resolve()  # beside the file itself, not beside a link to it
    try:
        return path.with_name(path.name + suffix).stat().st_size
    except OSError:
        return 0


def _schema(path: Path, first: bytes, advice: str) -> int:
    """The schema of a file with these first bytes; raises as ``check_is_ours``."""
    if len(first) < 100 or not first.startswith(b"SQLite format 3\0"):
        raise ForeignDatabase(f"{path} is not an SQLite database, or its header is damaged: {advice}")
    # sqlite.org/fileformat.html
    version, application = (int.from_bytes(first[offset : offset + 4], "big") for offset in (60, 68))
    if application != APPLICATION_ID:
        raise ForeignDatabase(f"{path} is the database of another program and was not touched: {advice}")
    if version > SCHEMA_VERSION:
        raise ForeignDatabase(
            f"{path} was written by a newer whalesync (schema {version}, this one knows {SCHEMA_VERSION}) and was "
            "not touched: upgrade whalesync"
        )
    return version
