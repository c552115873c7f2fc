"""``publish``: copy what is new or changed to PostgreSQL, each row exactly once, whatever dies.

The server keeps how far a source is (its cursors) and commits that together with the rows. Each such commit has a
random token, which the file remembers before the commit is sent. So the next run finds out whether a commit whose
answer was lost has happened; and whether the server's cursors are about this file at all: if it has been restored,
copied or made anew, the server has a token that the file does not know, and everything is sent again. Rows have natural
keys and the newest observation wins, so that repeats nothing and takes nothing back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from whalesync.errors import SettingsError
from whalesync.jobs.run import Run
from whalesync.postgres import check_driver
from whalesync.settings import PUBLISH_URL, SOURCE, Settings
from whalesync.store import changes, publish_tokens
from whalesync.store.changes import ACTIVITY, POSITIONS, START, TABLES, Cursor, Row, Table
from whalesync.store.database import Database
from whalesync.store.publish_tokens import Tokens
from whalesync.text import counted

if TYPE_CHECKING:
    from whalesync.postgres.server import Server, Source

BATCH_ROWS = 10_000  # of a commit: some 10 MB of memory, and a second on the server
LONGEST_NAME = 100
TOKEN_BITS = 62


def run(run: Run) -> None:
    """Publish everything that has changed up to the start of the run.

    Raises:
        SettingsError: the address or the name of the source is wrong, or psycopg is not installed.
        PublishError: the server, or the way to it, failed; what was committed stays.
    """
    with serving(run.settings, run.db) as (server, name):
        Publishing(run, server, name).publish()


@contextmanager
def serving(settings: Settings, db: Database) -> Iterator[tuple[Server, str]]:
    """Connect to the server under the name of this file's source.

    Raises:
        SettingsError, PublishError: as for ``run``.
    """
    name = source_name(settings, db)
    check_driver()
    from whalesync.postgres import server

    with server.serving(settings.get(PUBLISH_URL) or "", name) as connected:
        yield connected, name


def source_name(settings: Settings, db: Database) -> str:
    """Return the name under which this file is published.

    Raises:
        SettingsError: it cannot be shown in one line.
    """
    name = settings.get(SOURCE)
    if name is None:
        return f"{db.fact('file_id') or 0:016x}"
    if not name.isprintable() or name != name.strip() or len(name) > LONGEST_NAME:
        raise SettingsError(f"{SOURCE.name} must be a name of up to {LONGEST_NAME} printable characters")
    return name


def is_known(source: Source, tokens: Tokens) -> bool:
    """Return whether the server's cursors are about this file as it is now."""
    return source.token is not None and source.token in tokens


class Publishing:
    """From the changes of the file to commits on the server."""

    def __init__(self, run: Run, server: Server, name: str) -> None:
        self._run = run
        self._db = run.db
        self._server = server
        self._name = name
        self._taken = 0
        self._source = server.open()
        tokens = publish_tokens.known(self._db)
        self._is_known = is_known(self._source, tokens)
        self._confirmed = self._source.token if self._is_known else tokens.confirmed
        self._cursors: dict[str, Cursor] = dict(self._source.cursors) if self._is_known else {}

    def publish(self) -> None:
        """Send what the server does not have."""
        if not self._is_known:
            if self._source.token is not None:
                self._say_unknown()
            self._source = replace(self._source, revision=None)
        # What trades and positions refer to is sent before them: of these no more than there was by now.
        until = changes.revision(self._db)
        if self._source.revision == until:
            self._server.finish(self._source, until)
            self._run.summary = "nothing new"
            return
        for table in TABLES:
            self._send_all(table, until if table in (POSITIONS, ACTIVITY) else None)
        self._server.finish(self._source, until)
        self._source = replace(self._source, revision=until)
        self._run.summary = f"{counted(self._run.items, 'row')} sent, {self._taken:,} of them new or changed there"

    def send_again(self, table: Table, rows: Sequence[Row]) -> None:
        """Send rows that were sent before."""
        for first in range(0, len(rows), BATCH_ROWS):
            self._commit(table, rows[first : first + BATCH_ROWS])

    def _send_all(self, table: Table, until: int | None) -> None:
        """Send a table's changes, batch by batch."""
        while True:
            found = changes.read(self._db, table, self._cursors.get(table.name, START), BATCH_ROWS, until)
            if not found.changed:
                return
            self._cursors[table.name] = found.cursor
            self._commit(table, found.rows)

    def _commit(self, table: Table, rows: Sequence[Row]) -> None:
        """Commit rows and cursors under a new token, which the file knows before."""
        token = secrets.randbits(TOKEN_BITS) or 1
        publish_tokens.remember(self._db, Tokens(self._confirmed, token))
        self._taken += self._server.send(self._source, table, rows, self._cursors, token)
        self._source, self._confirmed = replace(self._source, token=token), token
        self._run.items += len(rows)
        self._run.report_progress(f"{self._run.items:,} rows published")
        self._run.log_step(f"{table.name}: {counted(len(rows), 'row')} sent")

    def _say_unknown(self) -> None:
        """Everything is sent again; if somebody was there under this name just now, say so."""
        if not self._source.lately:
            self._run.log_step("the server does not know this state of the file: everything is sent again")
            return
        self._run.record_problem(
            f"source {self._name}",
            "the server has a newer state under this name than this file knows, so everything is sent again; expected"
            f" after a restore, otherwise two files have one name: give each host its own {SOURCE.name}",
        )
