"""``publish --check`` and ``--repair``: the file against the server.

The file must be a part of the server: what other hosts have brought, and what was pruned from the file, is there too.
Trades are compared by counts and sums for each wallet and UTC day, and row by row where these differ. What has changed
in the file since it was last published is left out, and what another host has observed later is no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from whalesync.errors import PublishError
from whalesync.jobs.publish import Publishing, is_known
from whalesync.postgres import compare, digest
from whalesync.postgres.compare import COMPARED_MARKETS, COMPARED_TRADES, WHOLE, Compared, DaySum, Key, RowDigest
from whalesync.postgres.server import Server, Source
from whalesync.records import DAY_MS
from whalesync.store import publish_tokens, published
from whalesync.store.changes import ACTIVITY, Row, Table
from whalesync.store.database import Database
from whalesync.store.published import Wallet

_MICROSECONDS_A_DAY = DAY_MS * 1000
_DAYS_TO_2000 = 10_957  # since 1970


@dataclass
class Difference:
    """Rows that the server lacks or has otherwise: those of a table, or of one wallet and day.

    ``day`` counts from 1970. ``rows``: as the file has them.
    """

    table: Table
    wallet: Wallet | None = None
    day: int | None = None
    missing: list[Row] = field(default_factory=list)
    different: list[Row] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """All of them."""
        return [*self.missing, *self.different]


@dataclass
class Comparison:
    """What was compared, and what differs."""

    counts: dict[str, int]
    differences: list[Difference]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def compare_all(db: Database, server: Server, report_progress: Callable[[str], None]) -> Comparison:
    """Compare everything that has been published.

    Raises:
        PublishError: the server does not know this state of the file, or has not got all of it yet.
    """
    source = server.open()
    is_ours = source.token is None or is_known(source, publish_tokens.known(db))  # None: there was nothing to send yet
    if source.revision is None or not is_ours:
        raise PublishError("this file has not been published as a whole yet: run 'whalesync publish' first")
    found = Comparison({}, [])
    for compared in WHOLE:
        found.counts[compared.table.name] = _compare_rows(db, server, source, compared, found.differences)
    found.counts[ACTIVITY.name] = 0
    oldest = published.oldest_trade(db)
    sums = {} if oldest is None else compare.day_sums(server, source, oldest // DAY_MS * DAY_MS)
    for wallet in published.wallets(db):
        report_progress(f"{found.counts[ACTIVITY.name]:,} trades compared")
        theirs = sums.get((wallet.platform, wallet.address), {})
        ours = _sums(published.trades(db, wallet, source.revision))
        found.counts[ACTIVITY.name] += sum(day.trades for day in ours.values())
        for day in sorted(day for day, total in ours.items() if theirs.get(day) != total):
            stored = published.trades_of_day(db, wallet, day, source.revision)
            there = compare.trades_of_day(server, wallet.platform, wallet.address, day)
            _judge(Difference(ACTIVITY, wallet, day), COMPARED_TRADES, _DIGEST, stored, there, found.differences)
    return found


def repair(publishing: Publishing, differences: Iterable[Difference]) -> int:
    """Send again what differs; returns how many rows."""
    sent = 0
    for difference in differences:
        publishing.send_again(difference.table, difference.rows)
        sent += len(difference.rows)
    return sent


_DIGEST = compare.digest_of_trade()
_AT = ACTIVITY.names.index("timestamp")


def _sums(rows: Iterable[Row]) -> dict[int, DaySum]:
    sums: dict[int, DaySum] = {}
    for row in rows:
        day = row[_AT] // _MICROSECONDS_A_DAY + _DAYS_TO_2000
        trades, total = sums.get(day, (0, 0))
        sums[day] = DaySum(trades + 1, total + _DIGEST(row))
    return sums


def _compare_rows(
    db: Database, server: Server, source: Source, compared: Compared, differences: list[Difference]
) -> int:
    """Compare a table row by row; returns how many rows of the file were compared."""
    stored = list(published.rows(db, compared.table, source.revision or 0))
    there = dict(compare.rows(server, source, compared))
    number = digest.of(compared.table, compared.content)
    _judge(Difference(compared.table), compared, number, stored, there, differences)
    return len(stored)


def _judge(
    difference: Difference,
    compared: Compared,
    number: digest.Digest,
    stored: Iterable[Row],
    there: Mapping[Key, RowDigest],
    differences: list[Difference],
) -> None:
    """Add what differs, if anything does."""
    status = compared.table.names.index("status") if compared is COMPARED_MARKETS else None
    for row in stored:
        told = there.get(compared.key_of(row))
        if told is None:
            difference.missing.append(row)
        elif status is not None and row[status] is None:
            continue  # known by its title alone, it gives way to a whole one
        elif told.digest != number(row) and told.observed <= compared.age_of(row):
            difference.different.append(row)
    if difference.rows:
        differences.append(difference)
