"""What ``publish`` asks of the server: where a source stands, and to take rows together with its new cursor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from whalesync.errors import PublishError
from whalesync.postgres import schema
from whalesync.postgres.connection import Connection, connect, transaction
from whalesync.records import FILL_KEY_RULE_MASK, TIER_DELAYS_MS, TOKEN_FILL_KEY_RULE
from whalesync.store.changes import ACTIVITY, MARKETS, POSITIONS, WHALES, Cursor, Row, Table, Type

CHANNEL = "whalesync_activity"
FARTHEST_MOVE = "20 minutes"  # of a trade in time, between two publishes of it
SHARED_NAME_MINUTES = 10  # since a source last published, within which another file under its name is a mistake

Cursors = Mapping[str, Cursor]


@dataclass(frozen=True)
class Source:
    """Where a source stands on the server.

    ``token``: of its last commit, None before the first. ``revision``: of the file, up to which all is there.
    ``lately``: it has published within SHARED_NAME_MINUTES, by the server's clock.
    """

    id: int
    cursors: Cursors
    revision: int | None
    token: int | None
    lately: bool


@dataclass(frozen=True)
class Standing:
    """How a server is prepared.

    ``version``: of the server. ``schema``: 0 without one. ``may_write``: this user may make the schema, or write to it.
    ``missing_roles``: of the tiers. ``published``: seconds since this source was last there, None if it never was.
    ``others``: how many other sources there are.
    """

    version: str
    schema: int
    may_write: bool
    missing_roles: Sequence[str]
    published: float | None
    others: int


@dataclass(frozen=True)
class _Merge:
    """How the staged rows of a table get to their place; statements that come before the one that counts."""

    before: tuple[str, ...]
    sql: str


class Server:
    """A connection that publishes for one source."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self._name = name

    def open(self) -> Source:
        """Return where the source stands; makes the schema and the source's row if need be.

        Raises:
            PublishError: the schema is newer than this program knows, ...
        """
        with transaction(self.connection):
            known = schema.version(self.connection)
            if known == schema.VERSION and (found := self._source()):
                return found
        if known < schema.VERSION:
            schema.bring_up_to_date(self.connection)
        with transaction(self.connection):
            sql = "INSERT INTO whalesync.sources (name) VALUES (%s) ON CONFLICT DO NOTHING"
            self.connection.execute(sql, [self._name])
            if (found := self._source()) is None:
                raise PublishError(f"the row of {self._name!r} was removed from whalesync.sources meanwhile")
            return found

    def _source(self) -> Source | None:
        row = self.connection.execute(
            "SELECT id, cursor, revision, token,"
            f" coalesce(now() - last_publish_at < interval '{SHARED_NAME_MINUTES} minutes', false)"
            " FROM whalesync.sources WHERE name = %s",
            [self._name],
        ).fetchone()
        if row is None:
            return None
        number, cursors, revision, token, lately = row
        return Source(number, {name: (at, last) for name, (at, last) in cursors.items()}, revision, token, lately)

    def standing(self) -> Standing:
        """Return how the server is prepared, without changing anything.

        Raises:
            PublishError: as for ``open``.
        """
        connection = self.connection
        with transaction(connection):
            row = connection.execute(
                "SELECT has_database_privilege(current_database(), 'CREATE'),"
                " (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'whalesync')"
            ).fetchone()
            may_write, may_use = row or (False, None)
            known = schema.version(connection) if may_use else 0
            if known:
                sql = "SELECT has_table_privilege('whalesync.whale_activity', 'INSERT')"
                (may_write,) = connection.execute(sql).fetchone() or (False,)
            return Standing(
                connection.info.parameter_status("server_version") or "",
                known,
                may_write and may_use is not False,
                schema.missing_roles(connection),
                *(self._published() if known and may_write else (None, 0)),
            )

    def _published(self) -> tuple[float | None, int]:
        row = self.connection.execute(
            "SELECT (max(extract(epoch FROM now() - last_publish_at)) FILTER (WHERE name = %(name)s))::float8,"
            " count(*) FILTER (WHERE name <> %(name)s) FROM whalesync.sources",
            {"name": self._name},
        ).fetchone()
        return row or (None, 0)

    def send(self, source: Source, table: Table, rows: Iterable[Row], cursors: Cursors, token: int) -> int:
        """Commit rows together with the cursors behind them; returns how many were new or have changed.

        Hosts take turns, so that ids are given in the order of commits and no two wait for each other.

        Args:
            source: where it stands; its token is compared once more. Its revision is None if its cursors are not ours.
            token: of this commit.

        Raises:
            PublishError: another process has published under this name since; or the server failed.
        """
        connection = self.connection
        with transaction(connection):
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [schema.LOCK])
            moved = connection.execute(
                "UPDATE whalesync.sources SET cursor = %s, token = %s, revision = %s, last_publish_at = now()"
                " WHERE id = %s AND token IS NOT DISTINCT FROM %s",
                [json.dumps(cursors), token, source.revision, source.id, source.token],
            )
            if moved.rowcount != 1:
                raise PublishError(
                    f"another file is published under the name {self._name!r} at the same time:"
                    " give each host its own WHALESYNC_SOURCE"
                )
            self._stage(table, rows)
            merge = _MERGES[table.name]
            for sql in merge.before:
                connection.execute(sql)
            taken = connection.execute(merge.sql, {"source": source.id}).rowcount
            if table is ACTIVITY and taken:
                connection.execute(f"NOTIFY {CHANNEL}")
        return taken

    def finish(self, source: Source, revision: int) -> None:
        """Record that everything up to a revision of the file is there, and that the source has just been here."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE whalesync.sources SET revision = %s, last_publish_at = now()"
                " WHERE id = %s AND token IS NOT DISTINCT FROM %s",
                [revision, source.id, source.token],
            )

    def _stage(self, table: Table, rows: Iterable[Row]) -> None:
        """Copy rows into a temporary table that ends with the transaction."""
        columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
        self.connection.execute(f"CREATE TEMPORARY TABLE staged ({columns}) ON COMMIT DROP")
        with (
            self.connection.cursor() as cursor,
            cursor.copy("COPY pg_temp.staged FROM STDIN (FORMAT binary)") as copy,
        ):
            # A moment is sent in the form in which PostgreSQL has it: microseconds since 2000.
            copy.set_types([Type.INTEGER if column.type is Type.MOMENT else column.type for column in table.columns])
            for row in rows:
                copy.write_row(row)


@contextmanager
def serving(url: str, name: str) -> Iterator[Server]:
    """Connect as a source, and disconnect.

    Raises:
        SettingsError: the address cannot be read.
        PublishError: there is no way in.
    """
    with connect(url) as connection:
        yield Server(connection, name)


def _replace(columns: Iterable[str], age: str, counts: str = "{newer}", confirms: str = "false") -> str:
    """What happens to a row that is there already: the newer one stays, and one that says the same is not written.

    ``confirms``: unless this is true, because its age counts against what another host has seen in between.
    """
    newer = counts.format(newer=f"excluded.{age} >= t.{age}")
    names = [name for name in columns if name != age]
    old, new = ", ".join(f"t.{name}" for name in names), ", ".join(f"excluded.{name}" for name in names)
    updates = ", ".join(f"{name} = excluded.{name}" for name in [*names, age])
    return f"DO UPDATE SET {updates} WHERE {newer} AND (({old}) IS DISTINCT FROM ({new}) OR {confirms})"


def _names(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name}" for name in columns)


_OWN_MARKETS = [name for name in MARKETS.names if name not in MARKETS.key]
# A market that was met in a trade and is known by its title alone gives way to a whole one, however old that is.
_WHOLE_FIRST = "CASE WHEN (excluded.status IS NULL) = (t.status IS NULL) THEN {newer} ELSE t.status IS NULL END"
_OWN_WHALES = [name for name in WHALES.names if name not in WHALES.key]
_OWN_POSITIONS = [name for name in POSITIONS.names if name not in ("address", "market_kind", "market_external_id")]
_OWN_ACTIVITY = [name for name in ACTIVITY.names if name not in ("address", "market_kind", "market_external_id")]
_ACTIVITY_KEY = ("whale_id", "timestamp", "fill_key", "copy")
_ACTIVITY_CONTENT = ["market_id", *(name for name in _OWN_ACTIVITY if name not in (*_ACTIVITY_KEY, "stored_at"))]
# Not of trades that were stored and have not changed since: nearly all of those that two hosts have.
_CHANGED_SINCE = "excluded.observed_at > greatest(t.observed_at, excluded.stored_at)"
_VISIBLE = {
    f"visible_to_{tier.replace('-', '_')}_at": f"s.timestamp + interval '{delay} milliseconds'"
    for tier, delay in TIER_DELAYS_MS.items()
}
_NUMBERED = (
    " FROM pg_temp.staged AS s"
    " JOIN whalesync.wallets AS w ON w.address = s.address AND w.platform = s.platform"
    " JOIN whalesync.markets AS m ON m.external_id = s.market_external_id AND m.platform = s.platform"
    " AND m.kind = s.market_kind"
)
# A token is on one side of its market: a position that had another, or none, has taken that one since.
_DROP_OTHER_SIDES = (
    f"DELETE FROM whalesync.positions AS t USING (SELECT s.*, w.id AS whale_id, m.id AS market_id{_NUMBERED}) AS s"
    " WHERE t.whale_id = s.whale_id AND t.market_id = s.market_id AND t.token_id = s.token_id"
    " AND coalesce(t.outcome, t.outcome_label) <> coalesce(s.outcome, s.outcome_label)"
    " AND t.updated_at <= s.updated_at"
)
# All fills of a transaction are in one block. Where that is mined again, a stored trade gets another time, and so
# another row: the one at the time before counts no longer.
_SUPERSEDE_MOVED = (
    "UPDATE whalesync.whale_activity AS t SET superseded_at = s.observed_at, observed_at = s.observed_at"
    f" FROM (SELECT s.*, w.id AS whale_id{_NUMBERED}) AS s"
    f" WHERE s.fill_key & {FILL_KEY_RULE_MASK} = {TOKEN_FILL_KEY_RULE} AND s.superseded_at IS NULL"
    " AND s.observed_at > coalesce(s.stored_at, s.timestamp)"
    " AND t.whale_id = s.whale_id AND t.fill_key = s.fill_key AND t.timestamp <> s.timestamp"
    f" AND t.timestamp BETWEEN s.timestamp - interval '{FARTHEST_MOVE}' AND s.timestamp + interval '{FARTHEST_MOVE}'"
    " AND t.superseded_at IS NULL AND t.observed_at < s.observed_at"
)

_MERGES = {
    MARKETS.name: _Merge(
        (),
        f"INSERT INTO whalesync.markets AS t ({_names(MARKETS.names)}) SELECT {_names(MARKETS.names)}"
        f" FROM pg_temp.staged ON CONFLICT (external_id, platform, kind)"
        f" {_replace(_OWN_MARKETS, 'updated_at', _WHOLE_FIRST)}",
    ),
    WHALES.name: _Merge(
        (
            "INSERT INTO whalesync.wallets (platform, address) SELECT platform, address FROM pg_temp.staged"
            " ON CONFLICT DO NOTHING",
        ),
        f"INSERT INTO whalesync.whales AS t (id, source_id, {_names(WHALES.names)})"
        f" SELECT w.id, %(source)s, {_names(WHALES.names, 's.')} FROM pg_temp.staged AS s"
        " JOIN whalesync.wallets AS w ON w.address = s.address AND w.platform = s.platform"
        f" ON CONFLICT (id, source_id) {_replace(_OWN_WHALES, 'updated_at')}",
    ),
    POSITIONS.name: _Merge(
        (_DROP_OTHER_SIDES,),
        f"INSERT INTO whalesync.positions AS t (whale_id, market_id, {_names(_OWN_POSITIONS)})"
        f" SELECT w.id, m.id, {_names(_OWN_POSITIONS, 's.')}{_NUMBERED}"
        " ON CONFLICT (whale_id, market_id, md5(coalesce(outcome, outcome_label)))"
        f" {_replace(_OWN_POSITIONS, 'updated_at', confirms='excluded.updated_at > t.updated_at')}",
    ),
    ACTIVITY.name: _Merge(
        (_SUPERSEDE_MOVED,),
        f"INSERT INTO whalesync.whale_activity AS t (whale_id, market_id, {_names(_OWN_ACTIVITY)}, {_names(_VISIBLE)})"
        f" SELECT w.id, m.id, {_names(_OWN_ACTIVITY, 's.')}, {_names(_VISIBLE.values())}{_NUMBERED}"
        f" ON CONFLICT ({_names(_ACTIVITY_KEY)}) {_replace(_ACTIVITY_CONTENT, 'observed_at', confirms=_CHANGED_SINCE)}",
    ),
}
