"""Prints all figures; exits with 1 if one misses its goal."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # what several suites share

from . import keeping, publishing, starting, storing, syncing
from .measure import Report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller world: 100,000 trades, not 1,000,000")
    parser.add_argument(
        "--large",
        action="store_true",
        help="also 5,000,000 trades, and 10,000,000 in PostgreSQL",
    )
    usual = [starting.start_up, syncing.rate, syncing.memory, storing.ingest, publishing.publishing, keeping.everything]
    large = [publishing.plans, keeping.largest]
    parser.add_argument("--only", choices=[part.__name__ for part in (*usual, *large)], help="one part alone")
    options = parser.parse_args()
    count = 100_000 if options.quick else 1_000_000
    parts = [
        part
        for part in (*usual, *large)
        if options.only == part.__name__ or (options.only is None and (part in usual or options.large))
    ]
    begun = time.monotonic()
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {platform.system()} {platform.machine()}; load {os.getloadavg()[0]:.1f}; {count:,} trades"
    )
    report = Report()
    with tempfile.TemporaryDirectory(prefix="whalesync-bench-") as folder:
        for part in parts:
            place = Path(folder) / part.__name__
            place.mkdir()
            part(report, place, count)
    print(f"\n{time.monotonic() - begun:.0f} s. ", end="")
    print(f"Missed: {', '.join(report.missed)}" if report.missed else "All goals are kept.")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
