"""Start-up: whole processes against the import of the libraries that whalesync is made with."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from whalesync.sandbox import Books, Sandbox, make_market, make_trade

from . import world
from .measure import Report, command, process, turns
from .syncing import watching

NAIVE = ["-c", "import typer, httpx, sqlite_utils, stamina, rich.table"]
TIMES = 7


def start_up(report: Report, folder: Path, _: int) -> None:
    """Every command that cron or a script starts often, on a small file."""
    report.title(f"Start-up, whole process, of: python -c '{NAIVE[1]}'")
    db = world.make(folder / "small.db", 1_000, days=80)
    idle = watching(folder / "idle.db", [world.address(1)])
    books = Books()
    books.add_market(make_market(1))
    books.add_trade(world.address(1), make_trade(marketId=1, createdAt=int(time.time()) - 60))
    with Sandbox(books) as sandbox:
        asking = {
            "OPINION_TRADE_API_KEY": sandbox.key,
            "WHALESYNC_API_URL": sandbox.url,
            "WHALESYNC_RATE_LIMIT": "10000",
        }
        sides = {
            "--version": (partial(command, db, "--version"), 0.3),
            "status --json": (partial(command, db, "status", "--json"), 0.6),
            "compute-stats": (partial(command, db, "compute-stats"), 0.6),
            "cleanup": (partial(command, db, "cleanup"), 0.6),
            "sync-whales, nothing new": (partial(command, idle, "sync-whales", **asking), 0.6),
        }
        for side, _goal in sides.values():
            side()  # the first run compiles, and fetches what is new
        naive, *took = turns(TIMES, partial(process, NAIVE), *(side for side, _goal in sides.values()))
    for (name, (_side, goal)), seconds in zip(sides.items(), took, strict=True):
        report.ratio(name, seconds / naive, f"{seconds * 1000:.0f} of {naive * 1000:.0f} ms", most=goal)
