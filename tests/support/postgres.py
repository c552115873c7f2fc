"""A real PostgreSQL server for the tests, from Debian's package ``postgresql``, and hosts that publish into it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg

PASSWORD = "the-Secret.of_the-server"  # noqa: S105  (of servers that live as long as a test)
ADMIN = "admin"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "wal_level": "replica",
    "log_min_messages": "fatal",
}
ADMITTED = """
local all all trust
hostnossl all needs_tls all reject
host all all 127.0.0.1/32 scram-sha-256
"""
_numbers = count(1)


def binaries() -> Path | None:
    """The folder of the newest server's programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A cluster in a folder of its own. It refuses to run as root, so root's tests start it as another user."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self._programs = programs
        self.folder = folder
        self.port = port

    @classmethod
    def make(cls, programs: Path) -> Postgres:
        """Make a cluster; the folder is that of the user who runs it, below one that everybody may enter."""
        is_root = os.geteuid() == 0
        folder = Path(tempfile.mkdtemp(prefix="whalesync-postgres-", dir="/tmp" if is_root else None))  # noqa: S108  (made for one user)
        made = cls(programs, folder, free_port())
        if is_root:
            os.chown(folder, *made._user())
        made._run("initdb", "--no-sync", "-A", "trust", "-U", ADMIN, "-E", "UTF8", "--locale=C", "-D", str(made.data))
        with open(made.data / "postgresql.conf", "a") as file:
            settings = {**SETTINGS, "port": str(made.port), "unix_socket_directories": str(folder)}
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (made.data / "pg_hba.conf").write_text(ADMITTED)
        return made

    @property
    def data(self) -> Path:
        """The folder of the data."""
        return self.folder / "data"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-s", "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate``: as in a crash."""
        self._run("pg_ctl", "-D", str(self.data), "-s", "-w", "-m", mode, "stop")

    def remove(self) -> None:
        """Stop the server and delete everything."""
        self.stop()
        shutil.rmtree(self.folder)

    def set(self, **settings: str) -> None:
        """Change settings of the running server."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def execute(self, sql: str, *, database: str = "postgres", user: str = ADMIN) -> list[Any]:
        """Run a statement on a connection of its own; returns its rows."""
        with self.connect(database, user) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str, user: str = ADMIN) -> psycopg.Connection[Any]:
        """Connect through the socket, without a password."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, dbname=database, user=user, autocommit=True, prepare_threshold=None
        )

    def make_role(self, name: str, attributes: str = "CREATEROLE") -> None:
        """Make a user with PASSWORD, if it does not exist."""
        self.execute(
            f"DO $$ BEGIN CREATE ROLE {name} LOGIN {attributes} PASSWORD '{PASSWORD}';"
            " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )

    def make_database(self, owner: str = "hosts", options: str = "") -> Target:
        """Make an empty database of a user."""
        self.make_role(owner)
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER {owner} {options}")
        return Target(self, name, owner)

    def _run(self, program: str, *arguments: str) -> None:
        user, group = self._user() if os.geteuid() == 0 else (None, None)
        done = subprocess.run(
            [str(self._programs / program), *arguments], user=user, group=group,
            extra_groups=[] if user is not None else None, cwd=self.folder, env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @staticmethod
    def _user() -> tuple[int, int]:
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = names.get("postgres") or names["nobody"]
        return entry.pw_uid, entry.pw_gid


class Target:
    """A database that hosts publish into."""

    def __init__(self, server: Postgres, name: str, owner: str) -> None:
        self.server = server
        self.name = name
        self.owner = owner

    def url(self, *, port: int | None = None, password: str = PASSWORD, user: str | None = None, **more: str) -> str:
        """The address, over TCP with a password; ``more``: parameters of libpq."""
        place = f"127.0.0.1:{port or self.server.port}/{self.name}"
        return f"postgresql://{user or self.owner}:{password}@{place}{'?' if more else ''}{urlencode(more)}"

    def rows(self, sql: str, *, role: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query, as the administrator or as a role."""
        with self.server.connect(self.name) as connection:
            if role is not None:
                connection.execute(f"SET ROLE {role}")
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *, role: str | None = None) -> Any:
        """The first column of the first row."""
        return self.rows(sql, role=role)[0][0]

    def drop(self) -> None:
        """Delete the database, whoever is connected."""
        self.server.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


def published(target: Target) -> Sequence[tuple[Any, ...]]:
    """What identifies and makes up each trade on the server, sorted."""
    return target.rows(
        "SELECT w.address, m.external_id, a.tx_hash, a.action, a.outcome, a.amount, a.price, a.shares, a.fee, a.profit,"
        " (extract(epoch FROM a.timestamp) * 1000)::bigint, a.fill_key, a.superseded_at IS NOT NULL"
        " FROM whalesync.whale_activity AS a JOIN whalesync.wallets AS w ON w.id = a.whale_id"
        " JOIN whalesync.markets AS m ON m.id = a.market_id"
    )
