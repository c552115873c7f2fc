"""The connection to the server, its transactions, and PostgreSQL's errors in our words.

Each transaction sets its own timeouts, and no temporary table or prepared statement outlives one, so that a pool of
connections in between (PgBouncer in transaction mode) is no obstacle.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from whalesync.errors import PublishError, SettingsError
from whalesync.settings import PUBLISH_URL

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60
SCHEMA_SECONDS = 1_800  # a step of the schema may build an index over all trades
LOCK_SECONDS = 30
IDLE_SECONDS = 15  # that a host which has vanished keeps the lock: less than others wait for it
SILENCE_SECONDS = 30  # after which a peer that does not acknowledge what was sent is given up

# What fails after a failure, such as a rollback on a broken connection, would be printed otherwise.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

CATCHES_UP = "nothing is lost, the next run catches up"

Connection = psycopg.Connection[tuple[Any, ...]]

_DEFAULTS: dict[str, Any] = {
    "application_name": "whalesync",
    "connect_timeout": CONNECT_SECONDS,
    "target_session_attrs": "read-write",
    "keepalives_idle": SILENCE_SECONDS,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_SECONDS * 1_000,
}

# What libpq says where it gives no SQLSTATE: while it connects. Texts of the server may be in its own language.
_CONNECTING = (
    (
        r"read-only|hot standby",
        f"it is a replica, or set to read only: {PUBLISH_URL.name} must name the primary server",
    ),
    (r"password authentication failed|no password supplied", f"check user and password in {PUBLISH_URL.name}"),
    (r"no encryption|SSL off|requires SSL|SSL required", f"it wants TLS: add ?sslmode=require to {PUBLISH_URL.name}"),
    (r"does not support SSL", f"it has no TLS, but {PUBLISH_URL.name} asks for it"),
    (r"certificate", f"check its certificate, and sslrootcert in {PUBLISH_URL.name}"),
    (r'database ".*" does not exist', f"make the database, or correct {PUBLISH_URL.name}"),
    (r'role ".*" does not exist|pg_hba.conf|not permitted to log in', "let the server admit this user from this host"),
    (r"too many (clients|connections)|connection slots", f"it has no connection left; {CATCHES_UP}"),
)
_ADVICE: dict[str, str] = {
    "53100": f"its disk is full: free some space there; {CATCHES_UP}",
    "53200": f"it is out of memory; {CATCHES_UP}",
    "25006": f"it is a replica or set to read only: let {PUBLISH_URL.name} name the primary",
    "42501": "let the user of the schema grant it, or publish as the user who made the schema",
    "57014": f"a statement was canceled, or took longer than {STATEMENT_SECONDS} s; {CATCHES_UP}",
    "55P03": f"another session kept a lock for over {LOCK_SECONDS} s: pg_stat_activity shows which; {CATCHES_UP}",
}


def connect(url: str) -> Connection:
    """Connect to the server. What the address sets itself comes before our own parameters.

    Raises:
        SettingsError: the address cannot be read; it is never repeated.
        PublishError: there is no way in.
    """
    try:
        params = conninfo_to_dict(url)
    except psycopg.Error:
        params = {}
    if not url.startswith(("postgresql://", "postgres://")) or not params:
        raise SettingsError(
            f"{PUBLISH_URL.name} must be an address such as postgresql://user:password@host:5432/database"
        )
    with translated():
        connection = psycopg.connect(
            **{**_DEFAULTS, **params, "client_encoding": "UTF8"}, autocommit=True, prepare_threshold=None
        )
    # Whatever the default: who has waited for another host must see what that one has committed.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection


@contextmanager
def transaction(connection: Connection, seconds: float | None = None) -> Iterator[None]:
    """A transaction in which a statement may take ``seconds``; None: STATEMENT_SECONDS.

    Raises:
        PublishError: it was rolled back; or, if the connection broke at its end, that is not known.
    """
    with translated(), connection.transaction():
        # Names mean PostgreSQL's own functions, whatever a schema on the user's search_path has under them.
        connection.execute(
            "SET LOCAL search_path = pg_catalog;"
            f" SET LOCAL statement_timeout = '{seconds or STATEMENT_SECONDS}s';"
            f" SET LOCAL lock_timeout = '{LOCK_SECONDS}s';"
            f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
        )
        yield


@contextmanager
def translated() -> Iterator[None]:
    """Raise what psycopg raises in our words; a misuse of SQL is a bug and stays what it is."""
    try:
        yield
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.IntegrityError) as exc:
        if isinstance(exc, errors.InsufficientPrivilege):
            raise PublishError(_text(exc, _ADVICE["42501"])) from exc
        raise
    except psycopg.Error as exc:
        raise PublishError(_text(exc, _ADVICE.get(exc.sqlstate or "", "") or _advice(str(exc)))) from exc


def _advice(text: str) -> str:
    found = next((advice for pattern, advice in _CONNECTING if re.search(pattern, text, re.IGNORECASE)), None)
    return found or f"check that it runs and can be reached from here; {CATCHES_UP}"


def _text(exc: psycopg.Error, advice: str) -> str:
    """One line: of several attempts to connect the last, without the hints below it."""
    lines = (exc.diag.message_primary or str(exc)).splitlines()
    told = [line.strip() for line in lines if line.strip() and line[0] != "\t"] or [type(exc).__name__]
    said = told[0] if exc.diag.message_primary else told[-1]
    return f"PostgreSQL: {said.removeprefix('- ').removeprefix('connection failed: ').removesuffix('.')}: {advice}"
