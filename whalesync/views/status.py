"""How whalesync is doing, in three forms: tables for people, JSON for scripts, metrics for Prometheus."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from whalesync.store import feed, log
from whalesync.store.database import SCHEMA_VERSION, Database
from whalesync.store.locks import is_held
from whalesync.views import health, text
from whalesync.views.grid import Column, print_table
from whalesync.views.health import JOBS, Job, JobHealth, job_health

if TYPE_CHECKING:
    from rich.console import Console

COMMANDS = {job.type: job.name for job in JOBS}

STATE_STYLES = {
    health.GOOD: "green",
    health.RUNNING: "cyan",
    health.SLOW: "yellow",
    health.LATE: "bold red",
    health.FAILING: "bold red",
    health.DIED: "bold red",
    health.CLOCK_FAULT: "bold red",
}
RUN_STYLES = {"completed": "green", "running": "cyan", "failed": "bold red"}


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that ``status`` tells, as it was at ``now``. Times in ms, sizes in bytes."""

    now: int
    database: str
    database_bytes: int
    schema: int
    made_at: int
    backup_at: int | None
    jobs: tuple[JobHealth, ...]
    runs: tuple[feed.Row, ...]
    totals: feed.Totals
    rejected: tuple[feed.Row, ...]

    @property
    def ok(self) -> bool:
        """What ``--check`` goes by."""
        return health.overall_ok(self.jobs)


def gather(db: Database, now: int, limit: int = 10, *, time_budget: float | None = None) -> Status:
    """Look at everything; ``limit`` is how many of the last runs to tell of, ``time_budget`` what the user set."""
    made_at = db.fact("made_at", 0) or 0
    return Status(
        now=now,
        database=str(db.path),
        database_bytes=_bytes_on_disk(db),
        schema=SCHEMA_VERSION,
        made_at=made_at,
        backup_at=db.fact("backup_at"),
        jobs=tuple(_health(db, job, made_at, now, time_budget) for job in JOBS),
        runs=tuple(dict(row) for row in log.last_runs(db, limit)),
        totals=feed.totals(db),
        rejected=tuple(feed.rejected_counts(db)),
    )


def as_json(status: Status) -> dict[str, Any]:
    """The status as one JSON object; jobs by command, times in ms."""
    return {
        "ok": status.ok,
        "now": status.now,
        "database": {
            "path": status.database,
            "bytes": status.database_bytes,
            "schema": status.schema,
            "made_at": status.made_at,
            "backup_at": status.backup_at,
        },
        "jobs": {each.job: asdict(each) for each in status.jobs},
        "totals": asdict(status.totals),
        "rejected_records": list(status.rejected),
        "runs": [{"job": COMMANDS[run["type"]], **run} for run in status.runs],
    }


def render(status: Status, console: Console) -> None:
    """Tables for people: what there is, how the jobs are, what needs attention, the last runs."""
    from rich.text import Text

    def say(words: str = "", style: str = "") -> None:
        console.print(Text(words, style), soft_wrap=True)

    for name, value in _facts(status):
        say(f"{name:<11} {value}")
    say()
    print_table(console, _job_columns(status))
    say()
    for each in status.jobs:
        if each.state != health.GOOD or each.error_count:
            mark, style = ("-", "") if each.ok else ("!", "bold red")
            say(f"{mark} {each.job} {text.plain(each.detail)}", style)
    if status.ok:
        say("All jobs are well.", "green")
    if status.runs:
        say()
        print_table(console, _run_columns(status))


def prometheus(status: Status) -> str:
    """Metrics in the text format, for node_exporter's textfile collector. What is not known has no sample.

    The label is ``command``, since ``job`` is the name that Prometheus gives to what it scrapes.
    """
    totals = status.totals
    series: list[tuple[str, str, dict[str, float | None]]] = [
        (
            "job_ok",
            "Whether the job is well: 0 if it is late, failing, or never ran although due.",
            _of_jobs(status, "ok"),
        ),
        (
            "job_last_success_timestamp_seconds",
            "When the last successful run ended.",
            _of_jobs(status, "last_success_at", 1e-3),
        ),
        ("job_last_duration_seconds", "How long the last run took.", _of_jobs(status, "last_duration", 1e-3)),
        (
            "job_last_run_ok",
            "Whether the last run that ended was successful.",
            _of_jobs(status, "last_run_ok"),
        ),
        ("job_consecutive_failures", "Failed runs since the last success.", _of_jobs(status, "failures")),
        ("job_last_items", "Items that the last run dealt with.", _of_jobs(status, "items")),
        ("trades", "Trades stored.", {"": totals.trades}),
        ("markets", "Markets stored.", {"": totals.markets}),
        ("whales_tracked", "Wallets on the watch list.", {"": totals.tracked}),
        ("whales_filling", "Tracked wallets whose history is not wholly read yet.", {"": totals.filling}),
        ("pending_trades", "Trades known to be missing in those.", {"": totals.pending}),
        (
            "rejected_records",
            "Distinct records that were refused.",
            {f'{{source="{_label(row["source"])}"}}': row["records"] for row in status.rejected},
        ),
        ("database_bytes", "Size of the database on disk, its log included.", {"": status.database_bytes}),
        ("backup_timestamp_seconds", "When the last backup was made.", {"": _scaled(status.backup_at, 1e-3)}),
        ("status_timestamp_seconds", "When these figures were gathered.", {"": _scaled(status.now, 1e-3)}),
    ]
    lines: list[str] = []
    for name, meaning, samples in series:
        known = {labels: value for labels, value in samples.items() if value is not None}
        if known:
            lines += [f"# HELP whalesync_{name} {meaning}", f"# TYPE whalesync_{name} gauge"]
            lines += [f"whalesync_{name}{labels} {value:.15g}" for labels, value in known.items()]
    return "\n".join(lines) + "\n"


def _health(db: Database, job: Job, made_at: int, now: int, time_budget: float | None) -> JobHealth:
    runs = feed.runs_since_success(db, job.type)
    held = False
    if runs and runs[0]["status"] == "running":
        held = is_held(db.path, job.name)
        if not held:
            # A run closes its row before it gives the lock back: it may just have ended.
            runs = feed.runs_since_success(db, job.type)
    return job_health(job, runs, held=held, made_at=made_at, now=now, time_budget=time_budget)


def _bytes_on_disk(db: Database) -> int:
    files = (db.path, db.path.with_name(db.path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _facts(status: Status) -> list[tuple[str, str]]:
    totals = status.totals
    watching = "no whales yet: add one with 'whalesync whales add ADDRESS'"
    if totals.tracked:
        watching = text.counted(totals.tracked, "whale")
    facts = [
        (
            "Database",
            f"{text.plain(status.database)} ({text.size(status.database_bytes)}, schema {status.schema})",
        ),
        ("Backup", _backup(status)),
        ("Watching", watching),
        ("Stored", f"{text.counted(totals.trades, 'trade')}, {text.counted(totals.markets, 'market')}"),
    ]
    if totals.filling:
        missing = f": {text.counted(totals.pending, 'trade')} still to fetch" if totals.pending else ""
        facts.append(("Filling in", f"{text.counted(totals.filling, 'whale')}{missing}"))
    if status.rejected:
        sources = ", ".join(
            f"{text.plain(row['source'])} {text.count(row['records'])}" for row in status.rejected
        )
        facts.append(("Set aside", f"unreadable records in rejected_records: {sources}"))
    return facts


def _backup(status: Status) -> str:
    if status.backup_at is None:
        return "none made yet: 'whalesync backup FILE' copies the database while jobs run"
    return f"{text.ago(status.backup_at, status.now)} ({text.iso(status.backup_at)})"


def _job_columns(status: Status) -> list[Column]:
    jobs, now = status.jobs, status.now
    return [
        Column("Job", [each.job for each in jobs]),
        Column("State", [each.state for each in jobs], styles=STATE_STYLES),
        Column("Last success", [text.ago(each.last_success_at, now) for each in jobs]),
        Column("Took", [text.duration(each.last_duration) for each in jobs], right=True, rank=1),
        Column("Items", [text.count(each.items) for each in jobs], right=True, rank=2),
        Column(
            "Next due",
            ["now" if (each.next_due_at or 0) <= now else text.ago(each.next_due_at, now) for each in jobs],
            rank=3,
        ),
        Column("Last success (UTC)", [text.iso(each.last_success_at) for each in jobs], rank=4),
    ]


def _run_columns(status: Status) -> list[Column]:
    runs = status.runs
    return [
        Column("Last runs", [text.iso(run["started_at"]) for run in runs]),
        Column("Job", [COMMANDS[run["type"]] for run in runs]),
        Column("Status", [run["status"] for run in runs], styles=RUN_STYLES),
        Column("Took", [text.duration(_took(run)) for run in runs], right=True, rank=2),
        Column("Items", [text.count(run["item_count"]) for run in runs], right=True, rank=1),
        Column(
            "Errors",
            [text.count(run["error_count"]) if run["error_count"] else "" for run in runs],
            right=True,
            rank=3,
        ),
        Column("Error", [text.plain(run["error"]) for run in runs], least=10, rank=4),
    ]


def _took(run: feed.Row) -> int | None:
    return None if run["ended_at"] is None else max(0, run["ended_at"] - run["started_at"])


def _of_jobs(status: Status, field: str, scale: float = 1) -> dict[str, float | None]:
    return {f'{{command="{each.job}"}}': _scaled(getattr(each, field), scale) for each in status.jobs}


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _label(value: str) -> str:
    return text.plain(value).replace("\\", r"\\").replace('"', r"\"")
