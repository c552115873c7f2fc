"""Cleanup and statistics killed at any moment: nothing is counted twice, nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from whalesync.store.database import open_database

ROOT = Path(__file__).parents[2]
DAY = 86_400_000
COUNT = 40_000


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Forty thousand trades, nine of ten past retention."""
    path, now = tmp_path / "whalesync.db", int(time.time() * 1000)
    with open_database(path) as database, database.write():
        for table, column in (("whales", "address"), ("markets", "external_id")):
            title = ", title" if table == "markets" else ""
            database.execute_many(
                f"INSERT INTO {table} (id, {column}{title}, created_at, updated_at)"
                f" VALUES (?, ?{', 1' if title else ''}, 1, 1)",
                [(number, str(number)) for number in range(1, 51)],
            )
        database.execute(
            "INSERT INTO sync_logs (type, status, started_at) VALUES ('whales', 'completed', ?)", (now,)
        )
        database.execute_many(
            "INSERT INTO whale_activity (whale_id, market_id, tx_hash, action, amount, timestamp,"
            " visible_to_pro_plus_at, visible_to_pro_at, visible_to_free_at, fill_key)"
            " VALUES (?, ?, '0x', 'BUY', ?, ?, 1, 1, 1, ?)",
            [
                (
                    1 + i % 50,
                    1 + i % 49,
                    i / 1000 if i % 7 else i / 7,
                    now - 900 * DAY * (COUNT - i) // COUNT,
                    i,
                )
                for i in range(COUNT)
            ],
        )
    return path


def start(db: Path, *words: str) -> subprocess.Popen[str]:
    env = {"PATH": os.defpath, "HOME": str(db.parent), "PYTHONPATH": str(ROOT), "WHALESYNC_DB": str(db)}
    return subprocess.Popen(
        [sys.executable, "-m", "whalesync", *words],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_until_done(db: Path, *words: str) -> int:
    """Kill the command a little later each time, until it is quicker; returns how many runs were killed."""
    killed, patience = 0, 0.12
    while True:
        with start(db, *words) as child:
            try:
                child.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                killed += 1
            child.wait()
            if child.returncode == 0:
                return killed
            assert child.returncode == -signal.SIGKILL, child.stderr and child.stderr.read()
        patience *= 1.25


def test_kills_in_statistics_and_cleanup_change_no_figure(db: Path) -> None:
    """After any number of kills the file is sound, the old rows are gone and the totals are those of all trades."""
    with sqlite3.connect(db) as plain:
        expected = {
            whale: float(sum((Decimal(repr(row[0])) for row in plain.execute(
                "SELECT amount FROM whale_activity WHERE whale_id = ?", (whale,)
            )), Decimal(0)))
            for whale in range(1, 51)
        }  # fmt: skip
    assert kill_until_done(db, "compute-stats") + kill_until_done(db, "cleanup") > 1
    with start(db, "compute-stats", "--full") as child:
        assert child.wait() == 0
    with sqlite3.connect(db) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert dict(plain.execute("SELECT id, total_volume FROM whales")) == expected
        assert plain.execute("SELECT error FROM sync_logs ORDER BY id DESC LIMIT 1").fetchone() == (None,)
        assert plain.execute("SELECT count(*) FROM whale_activity").fetchone()[0] < COUNT / 9
        assert plain.execute("PRAGMA freelist_count").fetchone() == (0,)
    plain.close()
