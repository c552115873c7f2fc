"""A large file: statistics, reading, disk, and cleanup."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count as count_from
from pathlib import Path

from . import world
from .measure import Report, bare, command, turns, waiting_writer

DAYS = 900  # of which 90 are kept
TIMES = 5


def everything(report: Report, folder: Path, count: int) -> None:
    """One large world for all of it; each part leaves it as the next one needs it."""
    small = world.make(folder / "small.db", 1_000, days=DAYS)
    large = world.make(folder / "large.db", count, days=DAYS)
    disk(report, large, count)
    statistics(report, small, large, count)
    reading(report, folder, small, large)
    cleanup(report, folder, large)


def disk(report: Report, large: Path, count: int) -> None:
    """Bytes for a stored trade."""
    report.title("Disk, bytes a trade")
    connection = bare(large)
    per = {
        name: size / count
        for name, size in connection.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC"
        )
        if name.startswith("whale_activity")
    }
    shortest = connection.execute(
        "SELECT avg(length(tx_hash) + length(platform) + length(action) + length(outcome) + 5 * 8 + 4 * 6 + 8)"
        " FROM (SELECT * FROM whale_activity LIMIT 10000)"
    ).fetchone()[0]
    connection.close()
    for name, size in per.items():
        report.line(name, f"{size:.0f}")
    total = sum(per.values())
    report.ratio("table and indexes, of the bare values", total / shortest, f"{total:.0f} of {shortest:.0f}")


def statistics(report: Report, small: Path, large: Path, count: int) -> None:
    """The first count of all, then 20 new trades at a time."""
    report.title("compute-stats")
    with waiting_writer(large) as waits:
        took = command(large, "compute-stats")
    worst = max(waits) * 1000
    report.line(f"first run over {count:,} trades: seconds", f"{took:.1f}")
    report.line("first run: worst wait of a plain writer (ms)", f"{worst:.0f}", most=250, got=worst)
    command(small, "compute-stats")
    seeds = count_from(100)

    def again(db: Path) -> float:
        world.add(db, 20, next(seeds))
        return command(db, "compute-stats")

    many, few = turns(TIMES, partial(again, large), partial(again, small))
    report.ratio(f"20 new trades among {count:,}, of 20 among 1,000", many / few, _ms(many, few), most=1.5)

    def after_deletions(db: Path) -> float:
        connection = bare(db)
        connection.execute("DELETE FROM whale_activity WHERE id IN (SELECT id FROM whale_activity LIMIT 20)")
        connection.close()
        return again(db)

    many, few = turns(3, partial(after_deletions, large), partial(after_deletions, small))
    report.ratio("the same after 20 were deleted by hand", many / few, _ms(many, few), most=1.5)
    took = command(large, "compute-stats", "--full")
    report.line("--full: seconds", f"{took:.1f}")


def reading(report: Report, folder: Path, small: Path, large: Path) -> None:
    """What people ask, of a large file and of ten years of one wallet, against a small file."""
    report.title("Reading, whole process, of the same on 1,000 trades")
    old = world.make(folder / "old.db", 36_500, whales=1, days=3_650)
    command(old, "compute-stats")
    questions = {
        "activity": ["activity", "--json"],
        "activity --market": ["activity", "--market", "7", "--json"],
        "status": ["status", "--json"],
        "whales show": ["whales", "show", world.address(1), "--json"],
    }
    for name, words in questions.items():
        one, ten_years, few = turns(TIMES, *(partial(command, db, *words) for db in (large, old, small)))
        report.ratio(f"{name}, large file", one / few, _ms(one, few), most=1.5)
        report.ratio(f"{name}, ten years of one wallet", ten_years / few, _ms(ten_years, few), most=1.5)


def cleanup(report: Report, folder: Path, large: Path) -> None:
    """All that is past 90 days goes, while others write; against one DELETE that locks everybody out."""
    report.title("cleanup, of one DELETE ... WHERE timestamp < ?")
    connection = bare(large)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cut = int(time.time() * 1000) - 90 * world.DAY
    old = connection.execute("SELECT count(*) FROM whale_activity WHERE timestamp < ?", (cut,)).fetchone()[0]
    connection.close()
    before = _single_delete(large, folder / "single.db", cut)
    ours = Path(shutil.copy(large, folder / "ours.db"))
    wal = ours.with_name(ours.name + "-wal")
    with waiting_writer(ours) as waits, _watched(wal) as sizes:
        took = command(ours, "cleanup")
    biggest = max(sizes, default=0)
    after = _single_delete(large, folder / "single.db", cut)
    delete, whole = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
    connection = bare(ours)
    left, free = (
        connection.execute("SELECT count(*) FROM whale_activity WHERE timestamp < ?", (cut,)).fetchone()[0],
        connection.execute("PRAGMA freelist_count").fetchone()[0],
    )
    connection.close()
    rates = f"{old / took:,.0f} of {old / delete:,.0f} rows a second"
    report.ratio(f"{old:,} rows, whole run, of the bare DELETE", delete / took, rates, least=0.5)
    report.ratio("the same, of DELETE, checkpoint and vacuum", whole / took, f"{took:.1f} of {whole:.1f} s")
    worst = max(waits) * 1000
    report.line("worst wait of a plain writer meanwhile (ms)", f"{worst:.0f}", most=250, got=worst)
    report.line("largest WAL (MB)", f"{biggest / 1e6:.0f}", most=64, got=biggest / 1e6)
    report.line("rows left past retention", f"{left}", most=0, got=left)
    report.line("free pages left", f"{free}", most=0, got=free)
    full = command(ours, "compute-stats", "--full")
    report.line("--full afterwards: seconds", f"{full:.1f}")


def _single_delete(source: Path, copy: Path, cut: int) -> tuple[float, float]:
    """Seconds of the one statement, and with giving the space back."""
    for suffix in ("-wal", "-shm"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    shutil.copy(source, copy)
    connection = bare(copy)
    connection.execute(
        "DROP TRIGGER IF EXISTS whale_activity_removed"
    )  # the same tables and indexes, no more
    begun = time.perf_counter()
    connection.execute("DELETE FROM whale_activity WHERE timestamp < ?", (cut,))
    delete = time.perf_counter() - begun
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.executescript("PRAGMA incremental_vacuum")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    whole = time.perf_counter() - begun
    connection.close()
    copy.unlink()
    return delete, whole


@contextmanager
def _watched(file: Path) -> Iterator[list[int]]:
    """The sizes that a file had meanwhile."""
    sizes: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            if file.exists():
                sizes.append(file.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield sizes
    finally:
        done.set()
        watcher.join()


def _ms(one: float, other: float) -> str:
    return f"{one * 1000:.0f} of {other * 1000:.0f} ms"
