"""A month of the crontab in minutes: every trade is stored once, and nothing grows that should not.

One process, one simulated clock, the real jobs over real HTTP against the sandbox. What happens in the month (outages,
a host that is off, clocks that jump, wallets that come and go) is listed in SPELLS and WATCHING; what happens by chance
(single bad responses, kills) follows from SEED.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import stamina
from support.fills import query
from support.reckoning import Reckoning
from support.weather import Moment, Weather

from whalesync.errors import Interrupted, WhalesyncError
from whalesync.exchanges import EXCHANGES
from whalesync.jobs.dispatch import perform
from whalesync.jobs.health import State, cleanup_due
from whalesync.jobs.run import Clock
from whalesync.jobs.table import CLEANUP, COMPUTE_STATS, SYNC_MARKETS, SYNC_POSITIONS, SYNC_WHALES, Job
from whalesync.sandbox import Sandbox, World, build_world, make_trade
from whalesync.settings import Settings
from whalesync.store import sync_log, trades, whales
from whalesync.store.database import open_database, open_existing
from whalesync.store.whales import WatchEntry
from whalesync.views import status
from whalesync.views.output import console_on

# A shorter month is the same month, scaled; its outages are as much shorter.
DAYS = int(os.environ.get("WHALESYNC_TEST_DAYS", "30"))
SCALE = DAYS / 30
SEED = int(os.environ.get("WHALESYNC_TEST_SEED", "1"))
RETENTION_DAYS = max(1, DAYS // 3)

START = 1_767_225_600.0  # 2026-01-01, midnight UTC: at the beginning of one of the world's seasons
KEY = "sandbox-key"
EXCHANGE = "opinion_trade"
KILLS_A_RUN = max(0.0015, 5 / (DAYS * 1440))
QUIET_MINUTES = 10  # before each check, and before the host goes off, so that the jobs catch up


class Spell(NamedTuple):
    """Something that lasts, from a day of the month on, for some hours (both scaled)."""

    kind: str
    day: float
    hours: float

    def minutes(self) -> range:
        """The minutes of the calendar that it covers."""
        begin = round(self.day * 1440 * SCALE)
        return range(begin, begin + round(self.hours * 60 * SCALE))


SPELLS = (
    Spell("down 5xx", 4.5, 3),
    Spell("host off", 6.83, 36),
    Spell("clock +1 h", 9.6, 4),
    Spell("storm", 11.4, 6),
    Spell("down reset", 13.4, 5),
    Spell("host off", 17.5, 12),
    Spell("clock -1 h", 19.84, 4),
    Spell("down html", 21.6, 2),
    Spell("storm", 26.2, 6),
)
OFF = {minute for spell in SPELLS if spell.kind == "host off" for minute in spell.minutes()}
GOES_OFF = {minute for minute in OFF if minute - 1 not in OFF}
LAST_MINUTE = DAYS * 1440 + len(OFF) - 1  # the host is on for DAYS days in all

WATCHING = (  # day, what, and the number of the wallet
    (0.0, "add", 0), (0.0, "add", 1), (5.2, "remove", 1), (8.6, "add", 2), (10.7, "add", 1), (15.3, "remove", 2),
    (20.3, "add", 3),
)  # fmt: skip
BURST_DAY, BURST = 7.5, 600  # trades of the first wallet while the host is off

CHECK_DAYS = (2, 5, 9, 11, 12, 15, 18.5, 21, 23, 25, 28, 30)
CHECKS = {*(round(day * 288 * SCALE) * 5 for day in CHECK_DAYS), LAST_MINUTE}

APART = """
import json, sys
from pathlib import Path
from whalesync.jobs.dispatch import perform
from whalesync.jobs.run import Clock
from whalesync.jobs.table import job_named
from whalesync.settings import Settings

command, db, values, now = sys.argv[1:]
perform(job_named(command), Settings(Path(db), values=json.loads(values)), clock=Clock(now=lambda: int(now)))
# Not ru_maxrss, which begins with what the parent had.
usage = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(usage["VmHWM"].split()[0])
"""


class Month:
    """The host, its crontab and its user; what they did is kept for the figures."""

    def __init__(self, folder: Path, sandbox: Sandbox, world: World, moment: Moment, weather: Weather) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.world = world
        self.moment = moment
        self.weather = weather
        values = {
            "OPINION_TRADE_API_KEY": KEY,
            "WHALESYNC_API_URL": sandbox.url,
            "WHALESYNC_RATE_LIMIT": "10000",
            "WHALESYNC_RETENTION_DAYS": str(RETENTION_DAYS),
        }
        self.settings = Settings(folder / "whalesync.db", values=values)
        self.clock = Clock(now=moment.host)
        self.rng = Random(SEED)
        self.reckoning = Reckoning(self.settings.db, world.books, RETENTION_DAYS)
        #: of each run in turn: its job, and how it ended; None where a kill left that open
        self.runs: list[tuple[str, str | None]] = []
        self.took: defaultdict[str, list[float]] = defaultdict(list)  # wall seconds of each run
        self.cpu: defaultdict[str, float] = defaultdict(float)  # seconds, the sandbox's included
        self.added: dict[str, int] = {}  # since when each wallet is watched, in ms
        self.apart_mb = 0.0  # the most memory that the last process for a job had
        self.marks: list[dict[str, float]] = []
        with open_database(self.settings.db) as db, db.write():
            db.remember("made_at", moment.host())

    def play(self) -> None:
        """Run the month, minute by minute."""
        for minute in range(LAST_MINUTE + 1):
            self.moment.now = max(self.moment.now, START + minute * 60)
            self.sandbox.requests.clear()
            self.watch(minute)
            spells = {spell.kind: spell.minutes() for spell in SPELLS if minute in spell.minutes()}
            if "host off" not in spells:
                self.set_weather(minute, set(spells))
                self.cron(minute)
            self.look(minute, spells)

    def set_weather(self, minute: int, kinds: set[str]) -> None:
        """Set the faults of this minute."""
        weather = self.weather
        weather.calm = any(0 <= quiet - minute < QUIET_MINUTES for quiet in CHECKS | GOES_OFF)
        down = [kind for kind in kinds if kind.startswith("down ")]
        weather.outage = down[0].removeprefix("down ") if down else None
        weather.share = 0.2 if "storm" in kinds else 0.005
        self.moment.ahead = {"clock +1 h": 3600.0, "clock -1 h": -3600.0}.get(
            next((kind for kind in kinds if kind.startswith("clock")), ""), 0.0
        )

    def watch(self, minute: int) -> None:
        """Change the watch list as the user does; one day, give the first wallet many trades."""
        for day, what, number in WATCHING:
            if minute == round(day * 1440 * SCALE):
                address, now = self.world.whales[number], self.moment.host()
                with open_database(self.settings.db) as db:
                    if what == "add":
                        whales.add(db, [WatchEntry(address, f"whale {number}")], now)
                        self.added.setdefault(address, now)
                    else:
                        whales.remove(db, EXCHANGE, address, now)
        if minute == round(BURST_DAY * 1440 * SCALE):
            for number in range(BURST):
                at = int(self.moment.now) - number // 7
                self.world.books.add_trade(
                    self.world.whales[0],
                    make_trade(marketId=1_001, createdAt=at, shares=str(100 + number % 50)),
                )

    def cron(self, minute: int) -> None:
        """Start what the crontab starts at this minute; in no particular order, as cron does."""
        check = minute in CHECKS
        jobs = [SYNC_WHALES]
        if minute % 5 == 0 or check:
            jobs.append(SYNC_MARKETS)
        if minute % 15 == 3 or check:
            jobs.append(SYNC_POSITIONS)
        if minute % 60 == 0 or check:
            jobs.append(COMPUTE_STATS)
        if minute % 15 == 0:
            jobs.append(CLEANUP)
        self.rng.shuffle(jobs)
        if check:
            jobs.sort(key=[CLEANUP, SYNC_MARKETS, SYNC_WHALES, SYNC_POSITIONS, COMPUTE_STATS].index)
        for job in jobs:
            if job is CLEANUP and not self.cleanup_is_due():
                continue
            asks = job in (SYNC_WHALES, SYNC_MARKETS, SYNC_POSITIONS)
            if asks and (job is SYNC_WHALES if check else self.killing()):
                self.start_apart(job, kill=not check)
            else:
                stop = not self.weather.calm and not self.weather.outage and self.rng.random() < 0.002
                self.start(job, stop=stop)

    def killing(self) -> bool:
        """Whether a run is killed now, by chance."""
        return not self.weather.calm and self.rng.random() < KILLS_A_RUN

    def cleanup_is_due(self) -> bool:
        """What ``cleanup --if-due`` asks; before a cleanup, what it may delete is remembered."""
        with open_database(self.settings.db) as db:
            last = sync_log.last_good_start(db, CLEANUP.type)
            due = cleanup_due(self.moment.host(), last, db.fact("made_at") or 0)
        if due:
            self.reckoning.look()
        return due

    def start(self, job: Job, *, stop: bool) -> None:
        """Run a job in this process, with a SIGTERM at one of its first requests if ``stop``."""
        self.weather.begin_run()
        self.weather.stop_at = self.rng.randint(1, 4) if stop else None
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            run = perform(job, self.settings, clock=self.clock)
        except (WhalesyncError, Interrupted):
            self.runs.append((job.type, "failed"))
        else:
            self.runs.append((job.type, "completed"))
            assert run.id == len(self.runs)
        self.took[job.command].append(time.perf_counter() - begun)
        self.cpu[job.command] += time.process_time() - cpu

    def start_apart(self, job: Job, *, kill: bool) -> None:
        """Run a job in a process of its own, as cron does, and ``kill`` it there."""
        self.weather.begin_run()
        arguments = (
            job.command,
            self.settings.db,
            json.dumps(dict(self.settings.values)),
            self.moment.host(),
        )
        with subprocess.Popen(
            [sys.executable, "-c", APART, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            self.weather.kill = process if kill else None
            printed, _ = process.communicate(timeout=100)
            self.weather.kill = None
        expected = {0: "completed", 1: "failed", -signal.SIGKILL: None}
        self.runs.append((job.type, expected[process.returncode]))
        if not kill:
            self.apart_mb = int(printed) / 1024

    def look(self, minute: int, spells: dict[str, range]) -> None:
        """See what the status says, and in quiet moments compare everything with the exchange's own books."""
        for kind, minutes in spells.items():
            if kind == "host off" and minute - minutes.start in (len(minutes) // 2, len(minutes) - 1):
                assert self.status("late")["sync-whales"] == State.LATE
            if kind.startswith("clock") and minute == minutes.stop - 1:
                ((ahead,),) = query(self.settings.db, "SELECT value FROM facts WHERE name LIKE '% clock_ahead'")
                assert abs(ahead / 1000 - self.moment.ahead) < 60
            if kind.startswith("down") and minute == minutes.stop - 1:
                states = self.status("failing")
                assert states["sync-whales"] == State.FAILING
                assert len(minutes) < 10 or states["sync-markets"] == State.FAILING
        if minute in CHECKS:
            states = self.status("healthy")
            assert states.pop("cleanup") == (State.GOOD if minute >= 180 else State.NEVER_RAN)
            assert set(states.values()) == {State.GOOD}
            self.reckoning.check_rows(self.runs)
            self.reckoning.check_trades(self.moment.host())
            self.check_complete()
            self.reckoning.check_figures(self.moment.host())
            self.reckoning.check_positions()
            self.reckoning.check_pruned(self.moment.host())
            self.mark(minute)

    def check_complete(self) -> None:
        """Every tracked wallet has been read down to the retention cutoff."""
        with open_existing(self.settings.db) as db:
            states = trades.states(db)
            source = EXCHANGES[EXCHANGE].trades
            progress = {whale.name: source.progress(states.get(whale.id)) for whale in whales.tracked(db)}
        assert [name for name, each in progress.items() if not each.complete] == []

    def status(self, name: str) -> dict[str, str]:
        """The state of each job; what a person would see is kept beside the database."""
        with open_existing(self.settings.db) as db:
            gathered = status.gather(db, self.settings, self.moment.host())
        text = StringIO()
        status.render(gathered, console_on(text, width=118))
        (self.folder / f"status-{name}.txt").write_text(text.getvalue())
        assert gathered.ok == (name == "healthy"), text.getvalue()
        assert not gathered.ok or not any(each.error_count for each in gathered.jobs), text.getvalue()
        return {each.job: each.state for each in gathered.jobs}

    def mark(self, minute: int) -> None:
        """Take the sizes of things, at a check."""
        (trades,), (rows,) = (
            query(self.settings.db, f"SELECT count(*) FROM {table}")[0] for table in ("whale_activity", "sync_logs")
        )
        pages, size = (query(self.settings.db, f"PRAGMA {name}")[0][0] for name in ("page_count", "page_size"))
        recent = sorted(self.took["sync-whales"][-1440:])
        now = {
            "day": minute / 1440 / SCALE,
            "runs": len(self.runs),
            "requests": self.weather.requests,
            "trades": trades,
            "log rows": rows,
            "file MB": pages * size / 1e6,
            "WAL MB": self.weather.largest_wal / 1e6,
            "job MB": self.apart_mb,  # at most, a process that runs sync-whales
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "files": len(os.listdir("/dev/fd")),  # noqa: PTH208  (names are enough)
            "threads": threading.active_count(),
            "whales ms": recent[len(recent) // 2] * 1000,
        }
        self.marks.append(now)
        print(", ".join(f"{name} {value:,.1f}".removesuffix(".0") for name, value in now.items()), flush=True)

    def report(self) -> None:
        """Print the figures."""
        print()
        for (job, ended), count in sorted(Counter((job, ended or "killed") for job, ended in self.runs).items()):
            print(f"{job:<8} {ended:<10} {count:>7,}")
        for job, times in self.took.items():
            times.sort()
            p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
            each = self.cpu[job] / len(times) * 1000
            print(
                f"{job:<14} {len(times):>7,} runs, {sum(times):6.1f} s: median {p50:.1f} ms, 99 % {p99:.1f} ms; "
                f"{each:.1f} ms of CPU each"
            )
        for kind, count in self.weather.faults.most_common():
            print(f"{kind:<18} {count:>7,}")
        ever = len(self.reckoning.ever)
        print(f"{self.weather.requests:,} requests; {self.weather.arrived_while_read} trades surfaced while read")
        lost, double = self.reckoning.whole_month(self.added, self.moment.host())
        print(f"{ever:,} trades ever stored; lost {lost}, double {double}")


@pytest.fixture
def ignore_late_signals() -> Iterator[None]:
    """Outside a run, a SIGTERM that came too late for it does nothing."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


def cleanups_due() -> int:
    """How many: one for each 03:00 UTC, but one together for those in a stretch in which the host was off."""
    done = set()
    for minute in range(180, LAST_MINUTE + 1, 1440):
        later = (at for at in range(minute, LAST_MINUTE + 1, 15) if at not in OFF)
        done.add(next(later, None))
    return len(done - {None})


# Slow: some 50,000 runs in about 15 minutes; WHALESYNC_TEST_DAYS=1 does the same in half a minute.
@pytest.mark.slow
@pytest.mark.usefixtures("ignore_late_signals")
def test_a_month_of_schedules_loses_nothing_and_grows_nowhere(tmp_path: Path) -> None:
    """Whatever happens to the exchange, the host, its clock and its processes."""
    moment = Moment(START)
    world = build_world(
        SEED,
        clock=moment.exchange,
        binary=2,
        categorical=1,
        whales=4,
        days=RETENTION_DAYS + 2,
        trades_per_day=40,
    )
    weather = Weather(SEED, moment, world.books, tmp_path / "whalesync.db-wal", latest=3 * 86_400 * SCALE)
    # Retried at once: only the waiting between the attempts is left out.
    with stamina.set_testing(True, attempts=4, cap=True), Sandbox(world.books, key=KEY, rate=None) as sandbox:
        sandbox.fault = weather
        month = Month(tmp_path, sandbox, world, moment, weather)
        month.play()
        month.report()

    assert month.reckoning.whole_month(month.added, moment.host()) == (0, 0)
    runs = Counter(job for job, _ in month.runs)
    assert runs["whales"] == DAYS * 1440
    on = set(range(LAST_MINUTE + 1)) - OFF
    assert runs["markets"] == sum(minute % 5 == 0 or minute in CHECKS for minute in on)
    assert runs["positions"] == sum(minute % 15 == 3 or minute in CHECKS for minute in on)
    assert runs["stats"] == sum(minute % 60 == 0 or minute in CHECKS for minute in on)
    cleanups = sum(run == ("cleanup", "completed") for run in month.runs)
    assert cleanups == cleanups_due()
    assert weather.largest_wal < 8e6
    if DAYS >= 15:
        assert weather.faults.keys() >= {
            "429",
            "5xx",
            "reset",
            "truncated",
            "html under 200",
            "wrong total",
            "kill -9",
        }
        early = next(mark for mark in month.marks if mark["day"] >= 5)
        full = next(mark for mark in month.marks if mark["day"] >= 15)
        last = month.marks[-1]
        assert last["file MB"] < full["file MB"] * 1.15
        assert last["job MB"] < early["job MB"] + 3
        # The sandbox's books, and what is remembered here, grow in this process too.
        assert last["peak MB"] < early["peak MB"] + 40
        assert (last["files"], last["threads"]) <= (early["files"] + 2, early["threads"] + 4)
