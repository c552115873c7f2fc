"""The state of everything, in three forms: tables for people, JSON for scripts, metrics for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from whalesync import text
from whalesync.exchanges import title_of
from whalesync.jobs.health import JobHealth, State, job_health, overall_ok
from whalesync.jobs.table import JOBS, Job, command_of
from whalesync.settings import TIME_BUDGET, Settings
from whalesync.store import alerts, rejected, sync_log, totals
from whalesync.store.database import Database
from whalesync.store.file import SCHEMA_VERSION, beside
from whalesync.store.locks import is_held
from whalesync.store.totals import Totals
from whalesync.views.grid import Column, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

STATE_STYLES: Mapping[str, str] = {
    **dict.fromkeys((State.LATE, State.FAILING, State.DIED, State.CLOCK_FAULT), "bold red"),
    State.GOOD: "green",
    State.RUNNING: "cyan",
    State.SLOW: "yellow",
}
RUN_STYLES = {"completed": "green", "running": "cyan", "failed": "bold red"}


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that ``status`` shows, as it was at ``now``. Times in ms, sizes in bytes.

    ``failed_alerts``: messages that were given up.
    """

    now: int
    database: str
    database_bytes: int
    schema: int
    made_at: int
    backup_at: int | None
    jobs: tuple[JobHealth, ...]
    runs: tuple[Row, ...]
    totals: Totals
    rejected: tuple[Row, ...]
    failed_alerts: int

    @property
    def ok(self) -> bool:
        """Whether ``--check`` finds no fault."""
        return overall_ok(self.jobs)


def gather(db: Database, settings: Settings, now: int, limit: int = 10) -> Status:
    """Gather the state; ``limit``: how many of the last runs to show."""
    made_at = db.fact("made_at", 0) or 0
    files = [db.path, *beside(db.path)]
    return Status(
        now=now,
        database=str(db.path),
        database_bytes=sum(file.stat().st_size for file in files if file.exists()),
        schema=SCHEMA_VERSION,
        made_at=made_at,
        backup_at=db.fact("backup_at"),
        jobs=tuple(
            _health(db, job, made_at, now, settings.get(TIME_BUDGET)) for job in JOBS if job.is_set_up(settings)
        ),
        runs=tuple(dict(row) for row in sync_log.last_runs(db, limit)),
        totals=totals.totals(db),
        rejected=tuple(dict(row) for row in rejected.counts(db)),
        failed_alerts=alerts.failed_count(db),
    )


def _health(db: Database, job: Job, made_at: int, now: int, time_budget: float | None) -> JobHealth:
    runs = sync_log.runs_since_success(db, job.type)
    held = False
    if runs and runs[0]["status"] == "running":
        held = is_held(db.path, job.command)
        if not held:
            # A run closes its row before it releases the lock: it may just have ended.
            runs = sync_log.runs_since_success(db, job.type)
    rows = [dict(run) for run in runs]
    return job_health(job, rows, held=held, made_at=made_at, now=now, time_budget=time_budget, title_of=title_of)


def as_json(status: Status) -> dict[str, Any]:
    """Return the status as one JSON object; jobs by command, their exchanges by name, times in ms."""
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
        "failed_alerts": status.failed_alerts,
        "runs": [
            {"job": command_of(run["type"]), **run, "exchanges": run["exchanges"] and json.loads(run["exchanges"])}
            for run in status.runs
        ],
    }


def render(status: Status, console: Console) -> None:
    """Print what there is, the state of each job, what needs attention, and the last runs."""
    for name, value in _facts(status):
        print_text(console, f"{name + ':':<17}{value}", indent=17)
    console.print()
    print_table(console, _job_columns(status))
    console.print()
    for each in status.jobs:
        if not each.ok:
            print_text(console, f"! {each.job} {text.plain(each.detail)}", "bold red", indent=2)
        elif (each.state != State.GOOD or each.error_count) and each.last_started_at is not None:
            print_text(console, f"- {each.job} {text.plain(each.detail)}", indent=2)
    waiting = [each.job for each in status.jobs if each.last_started_at is None]
    if len(waiting) == len(status.jobs):
        print_text(console, "No job has run yet.")
    elif status.ok and waiting:
        print_text(console, f"Not run yet: {', '.join(waiting)}. The others are healthy.")
    elif status.ok:
        print_text(console, "All jobs are healthy.", "green")
    if status.runs:
        console.print()
        print_table(console, _run_columns(status))


def prometheus(status: Status) -> str:
    """Return metrics in the text format, for node_exporter's textfile collector. Unknown values have no sample.

    The label is ``command``, because Prometheus itself sets a label ``job``.
    """
    series: list[tuple[str, str, dict[str, float | None]]] = [
        (f"job_{name}", meaning, {f'{{command="{each.job}"}}': getattr(each, field) for each in status.jobs})
        for name, meaning, field in _JOB_METRICS
    ]
    series += [
        (
            f"job_exchange_{name}",
            f"For one exchange: {meaning[0].lower()}{meaning[1:]}",
            {
                f'{{command="{job.job}",exchange="{_label(exchange)}"}}': getattr(part, field)
                for job in status.jobs
                for exchange, part in job.exchanges.items()
            },
        )
        for name, meaning, field in _JOB_METRICS
        if field in _EXCHANGE_FIELDS
    ]
    found = status.totals
    sources = {f'{{source="{_label(row["source"])}"}}': row["records"] for row in status.rejected}
    series += [
        ("trades", "Trades stored.", {"": found.trades}),
        ("markets", "Markets stored.", {"": found.markets}),
        ("whales_tracked", "Wallets on the watch list.", {"": found.tracked}),
        ("whales_loading", "Tracked wallets whose history is not complete yet.", {"": found.loading}),
        ("missing_trades", "Trades of those wallets known to be missing.", {"": found.missing}),
        ("rejected_records", "Distinct records that could not be read.", sources),
        ("failed_alerts", "Messages of alerts that were given up.", {"": status.failed_alerts}),
        ("database_bytes", "Size of the database on disk, its log included.", {"": status.database_bytes}),
        ("backup_timestamp_seconds", "When the last backup was made.", {"": status.backup_at}),
        ("status_timestamp_seconds", "When these figures were gathered.", {"": status.now}),
    ]
    lines: list[str] = []
    for name, meaning, samples in series:
        scale = 1e-3 if name.endswith("_seconds") else 1
        known = {labels: value * scale for labels, value in samples.items() if value is not None}
        if known:
            lines += [f"# HELP whalesync_{name} {meaning}", f"# TYPE whalesync_{name} gauge"]
            lines += [f"whalesync_{name}{labels} {value:.15g}" for labels, value in known.items()]
    return "\n".join(lines) + "\n"


_JOB_METRICS = (
    ("ok", "Whether the job is healthy: 0 if it is late, failing, or never ran although due.", "ok"),
    ("last_success_timestamp_seconds", "When the last successful run ended.", "last_success_at"),
    ("last_duration_seconds", "How long the last run took.", "last_duration"),
    ("last_run_ok", "Whether the last run that ended was successful.", "last_run_ok"),
    ("consecutive_failures", "Failed runs since the last success.", "failures"),
    ("last_items", "Items that the last run processed.", "items"),
)


# What is measured for each exchange, too; the rest is of the whole run.
_EXCHANGE_FIELDS = ("ok", "last_success_at", "last_run_ok", "failures")


def _label(value: str) -> str:
    return text.plain(value).replace("\\", r"\\").replace('"', r"\"")


def _facts(status: Status) -> list[tuple[str, str]]:
    found = status.totals
    size = f"{text.size(status.database_bytes)}, schema {status.schema}"
    backup = "none yet: 'whalesync backup FILE' copies the database while jobs run"
    if status.backup_at is not None:
        backup = f"{text.ago(status.backup_at, status.now)} ({text.iso(status.backup_at)})"
    watching = "no whales yet: add one with 'whalesync whales add ADDRESS'"
    facts = [
        ("Database", f"{text.plain(status.database)} ({size})"),
        ("Backup", backup),
        ("Watch list", text.counted(found.tracked, "whale") if found.tracked else watching),
        ("Stored", f"{text.counted(found.trades, 'trade')}, {text.counted(found.markets, 'market')}"),
    ]
    if found.loading:
        missing = f", {text.counted(found.missing, 'trade')} still to fetch" if found.missing else ""
        facts.append(("Loading history", text.counted(found.loading, "whale") + missing))
    if status.rejected:
        sources = (f"{text.plain(row['source'])} {text.count(row['records'])}" for row in status.rejected)
        facts.append(("Unreadable", f"records kept in rejected_records: {', '.join(sources)}"))
    if status.failed_alerts:
        facts.append(("Alerts", f"{text.counted(status.failed_alerts, 'message')} failed: see 'whalesync alerts'"))
    return facts


def _job_columns(status: Status) -> list[Column]:
    now = status.now
    rows = [row for job in status.jobs for row in _rows_of(job)]
    jobs = [each for _, each in rows]
    due = ["now" if (each.next_due_at or 0) <= now else text.ago(each.next_due_at, now) for each in jobs]
    return [
        Column("Job", [name for name, _ in rows]),
        Column("State", [each.state for each in jobs], styles=STATE_STYLES),
        Column("Last success", [text.ago(each.last_success_at, now) for each in jobs]),
        Column("Took", [text.duration(each.last_duration) for each in jobs], right=True, rank=1),
        Column("Items", [text.count(each.items) for each in jobs], right=True, rank=2),
        Column("Next due", due, rank=3),
        Column("Last success (UTC)", [text.iso(each.last_success_at) for each in jobs], rank=4),
    ]


def _rows_of(job: JobHealth) -> list[tuple[str, JobHealth]]:
    """Return a job with its name, or its part for each exchange where they differ."""
    if not job.differs:
        return [(job.job, job)]
    return [(f"{job.job} {title_of(name)}", part) for name, part in job.exchanges.items()]


def _run_columns(status: Status) -> list[Column]:
    runs = status.runs
    took = [run["ended_at"] and max(0, run["ended_at"] - run["started_at"]) for run in runs]
    errors = [text.count(run["error_count"]) if run["error_count"] else "" for run in runs]
    return [
        Column("Last runs", [text.iso(run["started_at"]) for run in runs]),
        Column("Job", [command_of(run["type"]) for run in runs]),
        Column("Status", [run["status"] for run in runs], styles=RUN_STYLES),
        Column("Took", list(map(text.duration, took)), right=True, rank=2),
        Column("Items", [text.count(run["item_count"]) for run in runs], right=True, rank=1),
        Column("Errors", errors, right=True, rank=3),
        Column("Error", [text.plain(run["error"]) for run in runs], least=10, rank=4),
    ]
