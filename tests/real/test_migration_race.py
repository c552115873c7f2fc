"""A file of the first release, opened by several processes at the same moment."""

from __future__ import annotations

from collections import Counter

from support.host import Host
from support.rows import make_old_file, migrations

from whalesync.store.file import SCHEMA_VERSION

OPENERS = (
    "sync-whales",
    "sync-markets",
    "compute-stats",
    "cleanup",
    "status",
    "whales list",
    "activity",
    "markets",
)


def test_eight_processes_open_an_old_file(host: Host) -> None:
    """All succeed, the file is brought up to date once, and every trade is still there."""
    host.start_over()
    make_old_file(host.db, 1)
    before = Counter(host.rows("SELECT id, whale_id, tx_hash, timestamp FROM whale_activity"))
    running = [host.start(*opener.split()) for opener in OPENERS]
    assert [(opener, each.wait().code, each.wait().err) for opener, each in zip(OPENERS, running, strict=True)] == [
        (opener, 0, "") for opener in OPENERS
    ]
    host.check_whole()
    assert migrations(host.db) == [("first",), ("second",), ("third",), ("fourth",), ("fifth",)]
    assert host.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert not before - Counter(host.rows("SELECT id, whale_id, tx_hash, timestamp FROM whale_activity"))
