"""Cleanup and statistics killed at any moment: nothing is counted twice, nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from whalesync.jobs import cleanup
from whalesync.store.database import open_database

ROOT = Path(__file__).parents[2]
DAY = 86_400_000
COUNT = 40_000
WHALES = 50


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Forty thousand trades of 900 days, nine of ten past the retention, every 50th superseded."""
    path, now = tmp_path / "whalesync.db", int(time.time() * 1000)
    numbers = range(1, WHALES + 1)
    with open_database(path) as database, database.write():
        database.execute_many(
            "INSERT INTO whales (id, platform, address, created_at, updated_at) VALUES (?, 'opinion_trade', ?, 1, 1)",
            [(number, str(number)) for number in numbers],
        )
        database.execute_many(
            "INSERT INTO markets (id, platform, kind, external_id, title, created_at, updated_at)"
            " VALUES (?, 'opinion_trade', 'market', ?, 'Rain?', 1, 1)",
            [(number, str(number)) for number in numbers],
        )
        database.execute_many(
            "INSERT INTO whale_activity (whale_id, market_id, platform, tx_hash, action, amount, timestamp,"
            " visible_to_pro_plus_at, visible_to_pro_at, visible_to_free_at, fill_key, superseded_at)"
            " VALUES (?, ?, 'opinion_trade', '0x', 'BUY', ?, ?, 1, 1, 1, ?, ?)",
            [
                (
                    1 + i % WHALES,
                    1 + i % (WHALES - 1),
                    i / 1000 if i % 7 else i / 7,
                    now - 900 * DAY * (COUNT - i) // COUNT,
                    i,
                    None if i % 53 else now,
                )
                for i in range(COUNT)
            ],
        )
    return path


def totals(db: Path) -> dict[int, tuple[float, int]]:
    """Volume and number of the stored trades that count, by whale, by plain arithmetic."""
    sums: dict[int, tuple[Decimal, int]] = {}
    with sqlite3.connect(db) as plain:
        for whale, amount in plain.execute("SELECT whale_id, amount FROM whale_activity WHERE superseded_at IS NULL"):
            volume, count = sums.get(whale, (Decimal(0), 0))
            sums[whale] = (volume + Decimal(amount), count + 1)
    plain.close()
    return {whale: (round(float(volume), 4), count) for whale, (volume, count) in sums.items()}


def start(db: Path, command: str) -> subprocess.Popen[str]:
    # Small batches, so that most kills fall between or into them.
    code = f"from whalesync.jobs import cleanup; cleanup.BATCH_ROWS = {cleanup.BATCH_ROWS // 10}\n"
    code += f"import sys; from whalesync.__main__ import main; sys.argv[1:] = ['{command}']; sys.exit(main())"
    env = {"PATH": os.defpath, "HOME": str(db.parent), "PYTHONPATH": str(ROOT), "WHALESYNC_DB": str(db)}
    return subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True)


def run_once(db: Path, command: str, patience: float | None = None) -> bool:
    """Run the command, and kill it after ``patience`` seconds; returns whether it was done by then."""
    with start(db, command) as child:
        try:
            _, complaint = child.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            _, complaint = child.communicate()
        assert child.returncode in (0, -signal.SIGKILL), complaint
        return child.returncode == 0


def test_kills_in_statistics_and_cleanup_change_no_figure(db: Path) -> None:
    """Killed at random moments, at last undisturbed: the old rows are gone, the totals are those of all trades."""
    expected, moments, kills = totals(db), random.Random(1), 0
    for command in ("compute-stats", "cleanup"):
        longest = 0.15  # about when the work begins; on a fast machine it is soon done
        while not run_once(db, command, moments.uniform(0.1, longest)):
            kills += 1
            longest *= 1.1
    assert kills > 1
    assert run_once(db, "compute-stats")
    with sqlite3.connect(db) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        figures = plain.execute("SELECT id, round(total_volume, 4), trade_count FROM whales").fetchall()
        assert {whale: (volume, count) for whale, volume, count in figures} == expected
        assert plain.execute("SELECT count(*) FROM whale_activity").fetchone()[0] < COUNT / 9
        assert plain.execute("SELECT sum(buys) FROM removed_sums").fetchone()[0] > COUNT * 0.85
        assert plain.execute("PRAGMA freelist_count").fetchone() == (0,)
    plain.close()
