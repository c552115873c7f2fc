"""The state of everything, gathered from a real file and shown in three forms."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from whalesync.jobs.table import JOBS
from whalesync.settings import Settings
from whalesync.store.database import Database, open_database
from whalesync.store.file import SCHEMA_VERSION
from whalesync.store.locks import FileLock
from whalesync.store.totals import Totals
from whalesync.views import status
from whalesync.views.output import console_on

NOW = 1_772_366_442_000  # 2026-03-01T12:00:42Z
SECOND, DAY = 1_000, 86_400_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "whalesync.db") as database:
        database.remember("made_at", NOW - 40 * DAY)
        yield database


def run(db: Database, kind: str, state: str, started_at: int, took: int | None = SECOND, **fields: Any) -> int:
    values = {"item_count": 3, "error": None, "error_count": 0} | fields
    return db.insert(
        "INSERT INTO sync_logs (type, status, started_at, ended_at, item_count, error, error_count)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (kind, state, started_at, None if took is None else started_at + took, *values.values()),
    )


def reject(db: Database, source: str) -> None:
    db.execute(
        "INSERT INTO rejected_records (source, reason, payload, first_seen_at, last_seen_at, fingerprint)"
        " VALUES (?, 'no price', '{}', 0, 0, x'00')",
        (source,),
    )


def all_healthy(db: Database) -> None:
    """Add a good run of every job."""
    for kind, seconds in (("cleanup", 8 * 3600), ("stats", 2400), ("positions", 600), ("markets", 90), ("whales", 42)):
        run(db, kind, "completed", NOW - seconds * SECOND)


def gather(db: Database, now: int, limit: int = 10, **settings: str) -> status.Status:
    return status.gather(db, Settings(db.path, values=settings), now, limit)


def rendered(found: status.Status, width: int) -> list[str]:
    out = StringIO()
    status.render(found, console_on(out, width))
    return out.getvalue().splitlines()


def states(found: status.Status) -> dict[str, str]:
    return {job.job: job.state for job in found.jobs}


def samples(text: str) -> dict[str, float]:
    """Return the samples of a Prometheus text, checked against the format: each metric has its help and type first."""
    for name in set(re.findall(r"^whalesync_\w+", text, re.MULTILINE)):
        assert text.count(f"# HELP {name} ") == text.count(f"# TYPE {name} gauge\n{name}") == 1
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r'(whalesync_[a-z0-9_]+(?:\{[a-z]+="(?:[^"\\\n]|\\\\|\\")*"\})?) (\S+)', line)
            assert match, line
            found[match[1]] = float(match[2])
    return found


def test_healthy_jobs_are_ok(db: Database) -> None:
    """--check finds no fault, and a person reads so."""
    all_healthy(db)
    found = gather(db, NOW)
    assert found.ok
    assert {"good"} == {job.state for job in found.jobs}
    assert "All jobs are healthy." in rendered(found, 80)


def test_before_any_run_nothing_is_called_healthy(db: Database) -> None:
    """A file just made has no fault, an old one has; the next commands are named."""
    old = gather(db, NOW)
    assert not old.ok and "whalesync crontab" in " ".join(rendered(old, 80))
    db.remember("made_at", NOW)
    new = gather(db, NOW)
    lines = rendered(new, 80)
    assert new.ok and "whalesync whales add ADDRESS" in " ".join(lines)
    assert "No job has run yet." in lines and "ealthy" not in " ".join(lines) and "good" not in " ".join(lines)
    run(db, "whales", "completed", NOW)
    lines = rendered(gather(db, NOW), 100)
    assert "Not run yet: sync-markets, sync-positions, compute-stats, cleanup. The others are healthy." in lines
    assert "All jobs are healthy." not in lines


def test_totals_and_facts_are_gathered(db: Database) -> None:
    """Size, schema, backup, watch list, what could not be read, and history that is still loading."""
    db.remember("backup_at", NOW - 2 * DAY)
    db.execute("INSERT INTO whales (address, created_at, updated_at) VALUES ('0x1', ?, ?)", (NOW, NOW))
    reject(db, "trades")
    found = gather(db, NOW)
    on_disk = sum(file.stat().st_size for file in db.path.parent.iterdir() if ".db" in file.name)
    assert (on_disk, SCHEMA_VERSION, NOW - 2 * DAY) == (found.database_bytes, found.schema, found.backup_at)
    assert found.totals.tracked == 1
    text = "\n".join(rendered(found, 80))
    assert "2 days ago (2026-02-27T12:00:42Z)" in text
    assert "rejected_records: trades 1" in text
    for missing, shown in ((1234, "5 whales, 1,234 trades still to fetch"), (0, "5 whales")):
        lines = rendered(replace(found, totals=Totals(7, 1, 9, loading=5, missing=missing)), 80)
        assert f"Loading history: {shown}" in lines


def test_an_open_row_is_judged_by_the_lock(db: Database) -> None:
    """Held: running. Free: the run died. The lock has the name of the command."""
    all_healthy(db)
    run(db, "whales", "running", NOW - SECOND, None)
    with FileLock(db.path, "sync-whales") as lock:
        assert lock.try_acquire()
        assert states(gather(db, NOW))["sync-whales"] == "running"
    assert states(gather(db, NOW))["sync-whales"] == "died"


def test_the_time_budget_counts(db: Database) -> None:
    """A budget set by the user moves the limit of lateness."""
    all_healthy(db)
    at = NOW + 4 * 60 * SECOND
    assert states(gather(db, at))["sync-whales"] == "late"
    assert states(gather(db, at, WHALESYNC_TIME_BUDGET="300"))["sync-whales"] == "good"


@pytest.mark.parametrize("width", [80, 200])
def test_everything_fits_the_console(db: Database, width: int) -> None:
    """Sentences wrap between words, tables are cut; only a path is never broken."""
    run(db, "markets", "failed", NOW - SECOND, error="the exchange answers nonsense " * 20, error_count=7)
    lines = rendered(gather(db, NOW), width)
    assert max(cell_len(line) for line in lines if str(db.path) not in line) <= width
    assert any(line.startswith("! sync-markets failed") for line in lines)


def test_an_error_from_outside_is_only_shown(db: Database) -> None:
    """In the table of runs and in the sentence about the job."""
    run(db, "whales", "failed", NOW - SECOND, error="[red]\x1b[2Jx\nmore", error_count=1)
    text = "\n".join(rendered(gather(db, NOW), 300))
    assert text.count(r"[red]\x1b[2Jx\nmore") == 2
    assert "\x1b" not in text


def test_the_json_names_jobs_by_command(db: Database) -> None:
    """A script reads .jobs["sync-whales"].ok."""
    all_healthy(db)
    document = json.loads(json.dumps(status.as_json(gather(db, NOW, limit=2))))
    assert list(document["jobs"]) == [job.command for job in JOBS if not job.set_up]
    whales = {"ok": True, "state": "good", "last_success_at": NOW - 41_000, "items": 3}
    assert document["jobs"]["sync-whales"].items() >= whales.items()
    assert [run["job"] for run in document["runs"]] == ["sync-whales", "sync-markets"]
    found = (document["ok"], document["totals"]["trades"], document["database"]["path"])
    assert found == (True, 0, str(db.path))


def test_metrics_of_healthy_jobs(db: Database) -> None:
    """Times are seconds since 1970, durations seconds, 1 is yes."""
    all_healthy(db)
    db.remember("backup_at", NOW - DAY)
    found = samples(status.prometheus(gather(db, NOW)))
    expected = {
        'whalesync_job_ok{command="sync-whales"}': 1,
        'whalesync_job_last_success_timestamp_seconds{command="sync-whales"}': (NOW - 41_000) / 1000,
        'whalesync_job_last_duration_seconds{command="cleanup"}': 1,
        'whalesync_job_last_run_ok{command="compute-stats"}': 1,
        'whalesync_job_consecutive_failures{command="sync-markets"}': 0,
        'whalesync_job_last_items{command="sync-markets"}': 3,
        "whalesync_trades": 0,
        "whalesync_whales_tracked": 0,
        "whalesync_missing_trades": 0,
        "whalesync_database_bytes": gather(db, NOW).database_bytes,
        "whalesync_backup_timestamp_seconds": (NOW - DAY) / 1000,
        "whalesync_status_timestamp_seconds": NOW / 1000,
    }
    assert expected == {name: found[name] for name in expected}


def test_metrics_of_failures(db: Database) -> None:
    """A job without a success has no sample for it, rather than one of 1970; a quote in a label is escaped."""
    reject(db, 'a"b\\c\n')
    for second in (3, 2):
        run(db, "whales", "failed", NOW - second * SECOND)
    text = status.prometheus(gather(db, NOW))
    found = samples(text)
    for name, value in (("ok", 0), ("last_run_ok", 0), ("consecutive_failures", 2)):
        assert found[f'whalesync_job_{name}{{command="sync-whales"}}'] == value
    assert found['whalesync_rejected_records{source="a\\"b\\\\c\\\\n"}'] == 1
    assert "last_success" not in text and "backup" not in text


def test_each_metric_has_its_help_and_type_first(db: Database) -> None:
    """Once, before the samples, with a line feed at the end, as the format demands."""
    all_healthy(db)
    text = status.prometheus(gather(db, NOW))
    names = list(dict.fromkeys(re.findall(r"^(whalesync_\w+)", text, re.MULTILINE)))
    for name in names:
        head = f"# HELP {name} "
        assert text.count(head) == text.count(f"# TYPE {name} gauge\n{name}") == 1
    assert text.endswith("\n") and "\n\n" not in text
