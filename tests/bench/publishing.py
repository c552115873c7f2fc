"""Publishing to a PostgreSQL server of its own, against bare COPY of the same rows and against an idle job."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from support.postgres import Postgres, Target, binaries
from support.published import fill, plan_of

from . import world
from .measure import Report, command, process, turns

TRADES_PLANNED = 10_000_000


def publishing(report: Report, folder: Path, count: int) -> None:
    """The first publish, idle ones, and a comparison of both sides."""
    programs = binaries()
    if programs is None:
        report.title("Publishing is not measured: there is no PostgreSQL server (Debian's package postgresql)")
        return
    server = Postgres.make(programs)
    server.start()
    try:
        _first(report, server, folder, count)
    finally:
        server.remove()


def _first(report: Report, server: Postgres, folder: Path, count: int) -> None:
    target = server.make_database()
    db = world.make(folder / "publish.db", count, days=90)
    env = {"WHALESYNC_PUBLISH_URL": target.url(), "WHALESYNC_SOURCE": "bench"}
    report.title(f"Publishing {count:,} trades, of bare COPY of the same rows with the same indexes")
    own = command(db, "publish", **env)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    bare = _bare(target)
    report.ratio("rows a second", bare / own, f"{count / own:,.0f} of {count / bare:,.0f}", least=0.4)
    report.line("megabytes of memory of the largest process", f"{memory:.0f}", most=256, got=memory)

    connecting = f"import psycopg; psycopg.connect({target.url()!r}).execute('SELECT 1')"
    command(db, "compute-stats")
    idle, stats, connected, python = turns(
        5,
        lambda: command(db, "publish", **env),
        lambda: command(db, "compute-stats"),
        lambda: process(["-c", connecting]),
        lambda: process(["-c", ""]),
    )
    most = 1.5 * stats + connected - python
    report.line(
        "idle: seconds of the whole process", f"{idle:.2f}", f"1.5 x {stats:.2f} + {connected - python:.2f}", most=most,
        got=idle,
    )  # fmt: skip
    took = command(db, "publish", "--check", **env)
    report.line("publish --check: rows a second", f"{count / took:,.0f}")


def _bare(target: Target) -> float:
    """Seconds to copy the rows that are there into an empty table of the same kind."""
    with target.server.connect(target.name) as connection:
        connection.execute("CREATE TABLE public.bare (LIKE whalesync.whale_activity INCLUDING ALL)")
        with connection.cursor() as cursor, cursor.copy("COPY whalesync.whale_activity TO STDOUT") as copy:
            blocks = [bytes(block) for block in copy]
        begun = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy("COPY public.bare FROM STDIN") as copy:
            for block in blocks:
                copy.write(block)
        took = time.perf_counter() - begun
        connection.execute("DROP TABLE public.bare")
    return took


def plans(report: Report, folder: Path, count: int) -> None:
    """Pages of the feed of a tier on many trades: the plan, and how much is read."""
    programs = binaries()
    if programs is None:
        return
    count = TRADES_PLANNED if count >= 1_000_000 else count
    report.title(f"Pages of 50 trades of activity_free on {count:,} trades of 600 wallets")
    server = Postgres.make(programs)
    server.start()
    try:
        target = server.make_database()
        command(world.make(folder / "empty.db", 0, days=1), "publish", WHALESYNC_PUBLISH_URL=target.url())
        fill(target, count, wallets=600, markets=2_000)
        for name, where in (
            ("the feed", ""),
            ("one whale", f"WHERE whale_id = {target.value('SELECT max(id) FROM whalesync.wallets')}"),
            ("one market", f"WHERE market_id = {target.value('SELECT max(id) FROM whalesync.markets')}"),
        ):
            plan_of(target, where)  # warm
            text, pages = plan_of(target, where)
            (took,) = (line.split(":")[1] for line in text.splitlines() if "Execution Time" in line)
            report.line(f"{name}: pages read", str(pages), took.strip(), most=700, got=pages)
            print("\n".join(f"    {line}" for line in text.splitlines() if "whale_activity" in line or "Limit" in line))
    finally:
        server.remove()
