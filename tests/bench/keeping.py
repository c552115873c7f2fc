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
GROUP_BY = (
    "SELECT whale_id, count(*), sum(amount), sum(profit), max(timestamp),"
    " sum(amount) FILTER (WHERE timestamp >= ?), sum(amount) FILTER (WHERE timestamp >= ?),"
    " sum(amount) FILTER (WHERE timestamp >= ?) FROM whale_activity GROUP BY +whale_id"
)


def everything(report: Report, folder: Path, count: int) -> None:
    """One large world for all of it; each part leaves it as the next one needs it."""
    large = world.make(folder / "large.db", count, days=DAYS)
    disk(report, large, count)
    statistics(report, large, count)
    reading(report, folder, large)
    cleanup(report, folder, large)


def largest(report: Report, folder: Path, _: int) -> None:
    """Statistics of five million trades."""
    statistics(report, world.make(folder / "largest.db", 5_000_000, days=DAYS), 5_000_000)


def disk(report: Report, large: Path, count: int) -> None:
    """Bytes for a stored trade."""
    report.title("Disk, bytes a trade")
    connection = bare(large)
    per = {
        name: size / count
        for name, size in connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC")
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


def statistics(report: Report, large: Path, count: int) -> None:
    """All of it anew after a few trades, against one query that adds up the same columns."""
    report.title(f"compute-stats of {count:,} trades, of the bare GROUP BY")
    seeds = count_from(100)

    def ours() -> float:
        world.add(large, 20, next(seeds))
        return command(large, "compute-stats")

    own, raw = turns(3, ours, partial(_group_by, large))
    # Of a small file the start of the process takes longer than the query.
    most = 1.5 if count >= 1_000_000 else None
    report.ratio("compute-stats, whole process", own / raw, f"{own:.2f} of {raw:.2f} s", most=most)
    with waiting_writer(large) as waits:
        ours()
    report.wait("compute-stats: worst wait of a plain writer (ms)", waits)


def _group_by(db: Path) -> float:
    connection = bare(db)
    now = int(time.time() * 1000)
    begun = time.perf_counter()
    connection.execute(GROUP_BY, [now - days * world.DAY for days in (1, 7, 30)]).fetchall()
    took = time.perf_counter() - begun
    connection.close()
    return took


def reading(report: Report, folder: Path, large: Path) -> None:
    """What people ask, of a large file and of ten years of one wallet, against a small file."""
    report.title("Reading, whole process, of the same on 1,000 trades")
    small = world.make(folder / "small.db", 1_000, days=DAYS)
    old = world.make(folder / "old.db", 36_500, whales=1, days=3_650)
    for db in (small, old):
        command(db, "compute-stats")
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
    cut = int(time.time() * 1000) - 90 * world.DAY
    connection = bare(large)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    old = connection.execute("SELECT count(*) FROM whale_activity WHERE timestamp < ?", (cut,)).fetchone()[0]
    connection.close()
    before = _single_delete(large, folder / "single.db", cut)
    ours = Path(shutil.copy(large, folder / "ours.db"))
    with waiting_writer(ours) as waits, _watched(ours.with_name("ours.db-wal")) as sizes:
        took = command(ours, "cleanup")
    biggest = max(sizes, default=0) / 1e6
    after = _single_delete(large, folder / "single.db", cut)
    delete, whole = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
    connection = bare(ours)
    left, free, removed = (
        connection.execute(sql).fetchone()[0]
        for sql in (
            f"SELECT count(*) FROM whale_activity WHERE timestamp < {cut}",
            "PRAGMA freelist_count",
            "SELECT count(*) FROM removed_sums",
        )
    )
    connection.close()
    rates = f"{old / took:,.0f} of {old / delete:,.0f} rows a second"
    report.ratio(f"{old:,} rows, whole run, of the bare DELETE", delete / took, rates, least=0.5)
    report.ratio("the same, of DELETE, checkpoint and vacuum", whole / took, f"{took:.1f} of {whole:.1f} s")
    report.wait("cleanup: worst wait of a plain writer (ms)", waits)
    report.line("largest WAL (MB)", f"{biggest:.0f}", most=64, got=biggest)
    report.line("rows left past the retention", f"{left}", most=0, got=left)
    report.line("free pages left", f"{free}", most=0, got=free)
    report.line(f"compute-stats afterwards, {removed:,} sums: s", f"{command(ours, 'compute-stats'):.1f}")


def _single_delete(source: Path, copy: Path, cut: int) -> tuple[float, float]:
    """Seconds of the one statement, and with giving the space back."""
    for suffix in ("-wal", "-shm"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    shutil.copy(source, copy)
    connection = bare(copy)
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
