"""Stopwatches, commands in processes of their own, and a writer that notes how long it is kept waiting."""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

WRITER = """
import json, os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("PRAGMA synchronous = NORMAL")
db.execute("PRAGMA wal_autocheckpoint = 0")
waits = []
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    begun = time.perf_counter()
    db.execute("BEGIN IMMEDIATE")
    waits.append(time.perf_counter() - begun)
    db.execute("INSERT INTO facts VALUES ('bench', 1) ON CONFLICT DO UPDATE SET value = value + 1")
    db.execute("COMMIT")
    time.sleep(0.013)
print(json.dumps(waits))
"""


@dataclass
class Report:
    """Prints figures as they come."""

    missed: list[str] = field(default_factory=list)

    def title(self, words: str) -> None:
        print(f"\n{words}", flush=True)

    def line(
        self,
        name: str,
        value: str,
        of: str = "",
        *,
        least: float | None = None,
        most: float | None = None,
        got: float = 0,
    ) -> None:
        """One figure: what it is, its value, what it was measured from, and whether it keeps its bound."""
        bound = "" if least is None and most is None else (f">= {least:g}" if most is None else f"<= {most:g}")
        kept = (least is None or got >= least) and (most is None or got <= most)
        verdict = f"  [{bound}: {'kept' if kept else 'MISSED'}]" if bound else ""
        if not kept:
            self.missed.append(name)
        print(f"  {name:<58} {value:>9}  {of}{verdict}", flush=True)

    def ratio(
        self, name: str, got: float, of: str = "", *, least: float | None = None, most: float | None = None
    ) -> None:
        self.line(name, f"{got:.2f}", of, least=least, most=most, got=got)

    def wait(self, name: str, waits: list[float]) -> None:
        """The longest of a writer's waits (seconds)."""
        worst = max(waits) * 1000
        self.line(name, f"{worst:.0f}", most=250, got=worst)


def environment(db: Path, **more: str) -> dict[str, str]:
    """What a command is started with: nothing but what it is told here."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(db.parent),
        "PYTHONPATH": str(ROOT),
        "WHALESYNC_DB": str(db),
        **more,
    }


def command(db: Path, *words: str, **more: str) -> float:
    """Run a whalesync command; returns its seconds, the whole process.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    return process(["-m", "whalesync", *words], environment(db, **more))


def process(arguments: list[str], env: dict[str, str] | None = None) -> float:
    """Run this Python; returns the seconds of the whole process."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=600, check=False
    )
    took = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return took


def turns(times: int, *sides: Callable[[], float]) -> list[float]:
    """Medians of measurements taken in turn, so that what disturbs one disturbs all."""
    taken: list[list[float]] = [[] for _ in sides]
    for _ in range(times):
        for one, side in zip(taken, sides, strict=True):
            one.append(side())
    return [statistics.median(one) for one in taken]


def bare(db: Path) -> sqlite3.Connection:
    """A plain connection with the settings that whalesync uses."""
    connection = sqlite3.connect(db, timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


@contextmanager
def waiting_writer(db: Path) -> Iterator[list[float]]:
    """A plain sqlite3 writer in another process; its waits (seconds) are in the list after the block."""
    stop = db.with_name("stop")
    stop.unlink(missing_ok=True)
    waits: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(db), str(stop)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            yield waits
        finally:
            stop.touch()
            waits += json.loads(writer.stdout.read())
            stop.unlink()
