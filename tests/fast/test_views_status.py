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

from whalesync.settings import Settings
from whalesync.store.database import SCHEMA_VERSION, Database, open_database
from whalesync.store.locks import FileLock
from whalesync.store.totals import Totals
from whalesync.views import status
from whalesync.views.output import console_on

NOW = 1_772_366_442_000  # 2026-03-01T12:00:42Z
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "whalesync.db") as database:
        database.remember("made_at", NOW - 40 * DAY)
        yield database


def run(
    db: Database, kind: str, state: str, started_at: int, took: int | None = SECOND, **fields: Any
) -> int:
    values = {"item_count": 3, "error": None, "error_count": 0} | fields
    return db.insert(
        "INSERT INTO sync_logs (type, status, started_at, ended_at, item_count, error, error_count)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (kind, state, started_at, None if took is None else started_at + took, *values.values()),
    )


def all_healthy(db: Database) -> None:
    """Add a good run of every job."""
    for kind, ago in (
        ("cleanup", 8 * HOUR),
        ("stats", 40 * 60 * SECOND),
        ("markets", 90 * SECOND),
        ("whales", 42_000),
    ):
        run(db, kind, "completed", NOW - ago)


def gather(db: Database, now: int, limit: int = 10, **settings: str) -> status.Status:
    return status.gather(db, Settings(db.path, values=settings), now, limit)


def rendered(found: status.Status, width: int) -> list[str]:
    out = StringIO()
    status.render(found, console_on(out, width))
    return out.getvalue().splitlines()


def samples(text: str) -> dict[str, float]:
    """Return the samples of a Prometheus text, each line checked against the format."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(
                r'(whalesync_[a-z0-9_]+(?:\{[a-z]+="(?:[^"\\\n]|\\\\|\\")*"\})?) (\S+)', line
            )
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


def test_a_new_file_says_what_to_do_first(db: Database) -> None:
    """No whale, no run: the next commands are named, and overdue jobs are a fault."""
    found = gather(db, NOW)
    text = " ".join(rendered(found, 80))
    assert not found.ok
    assert "whalesync whales add ADDRESS" in text
    assert "whalesync crontab" in text


def test_before_any_run_nothing_is_called_healthy(db: Database) -> None:
    """A file just made has no fault, and no job that has run."""
    db.remember("made_at", NOW)
    found = gather(db, NOW)
    assert found.ok
    lines = rendered(found, 80)
    assert "No job has run yet." in lines and "All jobs are healthy." not in lines


def test_totals_and_facts_are_gathered(db: Database) -> None:
    """Size, schema, backup, watch list and what could not be read."""
    db.remember("backup_at", NOW - 2 * DAY)
    db.execute("INSERT INTO whales (address, created_at, updated_at) VALUES ('0x1', ?, ?)", (NOW, NOW))
    db.execute(
        "INSERT INTO rejected_records (source, reason, payload, first_seen_at, last_seen_at, fingerprint)"
        " VALUES ('trades', 'no price', '{}', ?, ?, x'00')",
        (NOW, NOW),
    )
    found = gather(db, NOW)
    on_disk = sum(file.stat().st_size for file in db.path.parent.iterdir() if ".db" in file.name)
    assert (on_disk, SCHEMA_VERSION, NOW - 2 * DAY) == (found.database_bytes, found.schema, found.backup_at)
    assert found.totals.tracked == 1
    text = "\n".join(rendered(found, 80))
    assert "2 days ago (2026-02-27T12:00:42Z)" in text
    assert "rejected_records: trades 1" in text


def test_history_that_is_still_loading_is_shown(db: Database) -> None:
    """How many whales, and how many trades where that is known."""
    found = gather(db, NOW)
    for missing, shown in ((1234, "5 whales, 1,234 trades still to fetch"), (0, "5 whales")):
        lines = rendered(replace(found, totals=Totals(7, 1, 9, loading=5, missing=missing)), 80)
        assert f"Loading history: {shown}" in lines


def test_the_last_runs_are_limited_and_newest_first(db: Database) -> None:
    """As many as were asked for."""
    all_healthy(db)
    newest = run(db, "whales", "failed", NOW - SECOND, error="no network", error_count=1)
    assert [newest, newest - 1] == [row["id"] for row in gather(db, NOW, 2).runs]


def test_an_open_row_is_judged_by_the_lock(db: Database) -> None:
    """Held: running. Free: the run died. The lock has the name of the command."""
    all_healthy(db)
    run(db, "whales", "running", NOW - SECOND, None)
    with FileLock(db.path, "sync-whales") as lock:
        assert lock.try_acquire()
        assert {"sync-whales": "running"}.items() <= states(gather(db, NOW)).items()
    assert {"sync-whales": "died"}.items() <= states(gather(db, NOW)).items()


def test_the_time_budget_counts(db: Database) -> None:
    """A budget set by the user moves the limit of lateness."""
    all_healthy(db)
    at = NOW + 4 * 60 * SECOND
    assert states(gather(db, at))["sync-whales"] == "late"
    assert states(gather(db, at, WHALESYNC_TIME_BUDGET="300"))["sync-whales"] == "good"


@pytest.mark.parametrize("width", [80, 200])
def test_everything_fits_the_console(db: Database, width: int) -> None:
    """Sentences wrap between words, tables are cut; only a path is never broken."""
    all_healthy(db)
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
    document = json.loads(json.dumps(status.as_json(gather(db, NOW))))
    assert document["ok"] is True
    assert list(document["jobs"]) == ["sync-markets", "sync-whales", "compute-stats", "cleanup"]
    whales = document["jobs"]["sync-whales"]
    assert tuple(whales[k] for k in ("ok", "state", "last_success_at", "items")) == (
        True,
        "good",
        NOW - 41_000,
        3,
    )
    assert document["runs"][0]["job"] == "sync-whales"
    assert document["totals"]["trades"] == 0
    assert document["database"]["path"] == str(db.path)


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
    """A job without a success has no sample for it, rather than one of 1970."""
    for second in (3, 2):
        run(db, "whales", "failed", NOW - second * SECOND)
    text = status.prometheus(gather(db, NOW))
    found = samples(text)
    assert found['whalesync_job_ok{command="sync-whales"}'] == 0
    assert found['whalesync_job_last_run_ok{command="sync-whales"}'] == 0
    assert found['whalesync_job_consecutive_failures{command="sync-whales"}'] == 2
    assert "last_success" not in text
    assert "backup" not in text


def test_each_metric_has_its_help_and_type_first(db: Database) -> None:
    """Once, before the samples, with a line feed at the end, as the format demands."""
    all_healthy(db)
    text = status.prometheus(gather(db, NOW))
    names = list(dict.fromkeys(re.findall(r"^(whalesync_\w+)", text, re.MULTILINE)))
    for name in names:
        head = f"# HELP {name} "
        assert text.count(head) == text.count(f"# TYPE {name} gauge\n{name}") == 1
    assert text.endswith("\n") and "\n\n" not in text


def test_a_source_in_a_metric_is_escaped(db: Database) -> None:
    """A quote would end the label early."""
    db.execute(
        "INSERT INTO rejected_records (source, reason, payload, first_seen_at, last_seen_at, fingerprint)"
        " VALUES (?, 'x', '{}', 0, 0, x'00')",
        ('a"b\\c\n',),
    )
    found = samples(status.prometheus(gather(db, NOW)))
    assert found['whalesync_rejected_records{source="a\\"b\\\\c\\\\n"}'] == 1


def states(found: status.Status) -> dict[str, str]:
    return {job.job: job.state for job in found.jobs}
