"""The status of everything, gathered from a real file and told in three forms."""

import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from whalesync.store.database import Database, open_database
from whalesync.store.locks import FileLock
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


def all_well(db: Database) -> None:
    """A good run of every job."""
    for kind, ago in (
        ("cleanup", 8 * HOUR),
        ("stats", 40 * 60 * SECOND),
        ("markets", 90 * SECOND),
        ("whales", 42_000),
    ):
        run(db, kind, "completed", NOW - ago)


def rendered(found: status.Status, width: int) -> list[str]:
    out = StringIO()
    status.render(found, console_on(out, width))
    return out.getvalue().splitlines()


def samples(text: str) -> dict[str, float]:
    """The samples of a Prometheus text, each line checked against the format."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(
                r'(whalesync_[a-z0-9_]+(?:\{[a-z]+="(?:[^"\\\n]|\\\\|\\")*"\})?) (\S+)', line
            )
            assert match, line
            found[match[1]] = float(match[2])
    return found


def test_everything_well_is_ok(db: Database) -> None:
    """What --check goes by, and what a person reads."""
    all_well(db)
    found = status.gather(db, NOW)
    assert found.ok
    assert {"good"} == {job.state for job in found.jobs}
    assert "All jobs are well." in rendered(found, 80)


def test_a_new_file_tells_what_to_do_first(db: Database) -> None:
    """No whale, no run: the next commands are named, and overdue jobs are a fault."""
    found = status.gather(db, NOW)
    text = "\n".join(rendered(found, 80))
    assert not found.ok
    assert "whalesync whales add ADDRESS" in text
    assert "whalesync crontab" in text
    assert "All jobs are well." not in text


def test_totals_and_facts_are_gathered(db: Database) -> None:
    """Size, schema, backup, watch list, what is missing and what was refused."""
    db.remember("backup_at", NOW - 2 * DAY)
    whale = db.insert("INSERT INTO whales (address, created_at, updated_at) VALUES ('0x1', ?, ?)", (NOW, NOW))
    db.execute("INSERT INTO whale_cursors (whale_id, held, pending) VALUES (?, 5, 300)", (whale,))
    db.execute(
        "INSERT INTO rejected_records (source, reason, payload, first_seen_at, last_seen_at, fingerprint)"
        " VALUES ('trades', 'no price', '{}', ?, ?, x'00')",
        (NOW, NOW),
    )
    found = status.gather(db, NOW)
    on_disk = sum(
        file.stat().st_size for file in db.path.parent.iterdir() if file.name.endswith((".db", "-wal"))
    )
    assert (on_disk, 1, NOW - 2 * DAY) == (found.database_bytes, found.schema, found.backup_at)
    text = "\n".join(rendered(found, 80))
    assert "1 whale: 300 trades still to fetch" in text
    assert "2 days ago (2026-02-27T12:00:42Z)" in text
    assert "rejected_records: trades 1" in text


def test_the_last_runs_are_limited_and_newest_first(db: Database) -> None:
    """As many as asked for."""
    all_well(db)
    newest = run(db, "whales", "failed", NOW - SECOND, error="no network", error_count=1)
    assert [newest, newest - 1] == [row["id"] for row in status.gather(db, NOW, 2).runs]


def test_an_open_row_is_judged_by_the_lock(db: Database) -> None:
    """Held: running. Free: the run died. The lock bears the name of the command."""
    all_well(db)
    run(db, "whales", "running", NOW - SECOND, None)
    with FileLock(db.path, "sync-whales") as lock:
        lock.acquire(0)
        assert {"sync-whales": "running"}.items() <= states(status.gather(db, NOW)).items()
    assert {"sync-whales": "died"}.items() <= states(status.gather(db, NOW)).items()


def test_a_run_that_ends_while_we_look_is_not_taken_for_dead(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes its row before it gives the lock back, so the row is read once more."""
    all_well(db)
    row = run(db, "whales", "running", NOW - SECOND, None)

    def ends_now(*_: object) -> bool:
        db.execute("UPDATE sync_logs SET status = 'completed', ended_at = ? WHERE id = ?", (NOW, row))
        return False

    monkeypatch.setattr(status, "is_held", ends_now)
    assert states(status.gather(db, NOW))["sync-whales"] == "good"


def test_the_time_budget_is_heeded(db: Database) -> None:
    """A budget set by the user moves the limit of lateness."""
    all_well(db)
    at = NOW + 4 * 60 * SECOND
    assert states(status.gather(db, at))["sync-whales"] == "late"
    assert states(status.gather(db, at, time_budget=300.0))["sync-whales"] == "good"


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit_the_console(db: Database, width: int) -> None:
    """Only sentences may be longer than a line: they are left to the terminal, which can be resized."""
    all_well(db)
    run(db, "markets", "failed", NOW - SECOND, error="the exchange answers nonsense " * 20, error_count=7)
    lines = rendered(status.gather(db, NOW), width)
    tables = [line for line in lines if not line.startswith(("Database", "Backup", "Watching", "!"))]
    assert max(map(cell_len, tables)) <= width
    assert any(line.startswith("! sync-markets failed") for line in lines)


def test_an_error_from_outside_is_only_shown(db: Database) -> None:
    """In the table of runs and in the sentence about the job."""
    run(db, "whales", "failed", NOW - SECOND, error="[red]\x1b[2Jx\nmore", error_count=1)
    text = "\n".join(rendered(status.gather(db, NOW), 300))
    assert text.count(r"[red]\x1b[2Jx\nmore") == 2
    assert "\x1b" not in text


def test_the_json_names_jobs_by_command(db: Database) -> None:
    """A script asks for .jobs["sync-whales"].ok."""
    all_well(db)
    document = json.loads(json.dumps(status.as_json(status.gather(db, NOW))))
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


def test_metrics_of_a_file_where_all_is_well(db: Database) -> None:
    """Seconds since 1970, seconds of duration, ones for yes."""
    all_well(db)
    db.remember("backup_at", NOW - DAY)
    found = samples(status.prometheus(status.gather(db, NOW)))
    expected = {
        'whalesync_job_ok{command="sync-whales"}': 1,
        'whalesync_job_last_success_timestamp_seconds{command="sync-whales"}': (NOW - 41_000) / 1000,
        'whalesync_job_last_duration_seconds{command="cleanup"}': 1,
        'whalesync_job_last_run_ok{command="compute-stats"}': 1,
        'whalesync_job_consecutive_failures{command="sync-markets"}': 0,
        'whalesync_job_last_items{command="sync-markets"}': 3,
        "whalesync_trades": 0,
        "whalesync_whales_tracked": 0,
        "whalesync_pending_trades": 0,
        "whalesync_database_bytes": status.gather(db, NOW).database_bytes,
        "whalesync_backup_timestamp_seconds": (NOW - DAY) / 1000,
        "whalesync_status_timestamp_seconds": NOW / 1000,
    }
    assert expected == {name: found[name] for name in expected}


def test_metrics_of_failures(db: Database) -> None:
    """What was never successful has no sample for its success, rather than one of 1970."""
    for second in (3, 2):
        run(db, "whales", "failed", NOW - second * SECOND)
    text = status.prometheus(status.gather(db, NOW))
    found = samples(text)
    assert found['whalesync_job_ok{command="sync-whales"}'] == 0
    assert found['whalesync_job_last_run_ok{command="sync-whales"}'] == 0
    assert found['whalesync_job_consecutive_failures{command="sync-whales"}'] == 2
    assert "last_success" not in text
    assert "backup" not in text


def test_each_metric_has_its_help_and_type_first(db: Database) -> None:
    """As the format wants it: once, before the samples, and a line feed at the end."""
    all_well(db)
    text = status.prometheus(status.gather(db, NOW))
    names = list(dict.fromkeys(re.findall(r"^(whalesync_\w+)", text, re.MULTILINE)))
    for name in names:
        head = f"# HELP {name} "
        assert text.count(head) == text.count(f"# TYPE {name} gauge\n{name}") == 1
    assert text.endswith("\n") and "\n\n" not in text


def test_a_source_in_a_metric_is_escaped(db: Database) -> None:
    """Quotes and backslashes would end the label early."""
    db.execute(
        "INSERT INTO rejected_records (source, reason, payload, first_seen_at, last_seen_at, fingerprint)"
        " VALUES (?, 'x', '{}', 0, 0, x'00')",
        ('a"b\\c\n',),
    )
    found = samples(status.prometheus(status.gather(db, NOW)))
    assert found['whalesync_rejected_records{source="a\\"b\\\\c\\\\n"}'] == 1


def states(found: status.Status) -> dict[str, str]:
    return {job.job: job.state for job in found.jobs}
