"""Several processes at once: one run of a job, one rate for all, no locked database, one making of the file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from machine import KEY, Host, fill_books, wait_until, wallet

from whalesync.sandbox import Handler, Request, Sandbox
from whalesync.store.database import SCHEMA_VERSION


def test_the_same_job_twice(host: Host, exchange: Sandbox) -> None:
    """The second ends with 75, in silence, and leaves no row."""
    exchange.latency = 0.5
    first = host.start("sync-whales")
    wait_until(lambda: exchange.requests)
    second = host.run("sync-whales")
    assert (second.code, second.out, second.err) == (75, "", "")
    assert first.wait().code == 0
    assert host.rows("SELECT status FROM sync_logs") == [("completed",)]


def test_the_lock_of_a_killed_run_is_free_at_once(host: Host, exchange: Sandbox) -> None:
    """After a kill -9 the next run does not find the job still running."""
    exchange.latency = 0.5
    for number in (1, 2, 3):
        running = host.start("sync-whales")
        wait_until(
            lambda number=number: host.rows(
                "SELECT 1 FROM sync_logs WHERE status = 'running' AND id = ?", number
            )
        )
        os.kill(running.pid, 9)
        running.wait()
    exchange.latency = 0
    host.succeed("sync-whales")
    assert host.rows("SELECT status, count(*) FROM sync_logs GROUP BY status ORDER BY status") == [
        ("completed", 1), ("failed", 3),
    ]  # fmt: skip


def test_both_syncs_share_one_rate(tmp_path: Path) -> None:
    """Never over 15 arrivals in a second, near 13 sustained, and neither job starves the other."""
    books = fill_books(40, 60, markets=150)
    with Sandbox(books, key=KEY, rate=15, latency=0.08) as exchange:
        host = Host(
            tmp_path, exchange.url, environ={"WHALESYNC_RATE_LIMIT": "15", "WHALESYNC_TIME_BUDGET": "14"}
        )
        host.watch(*(wallet(number) for number in range(1, 41)))
        running = [host.start(job) for job in ("sync-markets", "sync-whales")]
        ended = [each.wait() for each in running]
    assert [(each.code, each.err) for each in ended] == [(0, "")] * 2
    arrivals = sorted(request.arrived for request in exchange.requests)
    busiest = exchange.busiest_second()
    assert busiest <= 15
    assert [request for request in exchange.requests if request.status == 429] == []
    # From the second second on, when both are at it, to the last when both still are.
    span = [arrived for arrived in arrivals if arrivals[0] + 1 <= arrived <= arrivals[0] + 13]
    rate = len(span) / 12
    of_whales = sum(
        request.path.startswith("/trade/")
        for request in exchange.requests
        if arrivals[0] + 1 <= request.arrived <= arrivals[0] + 13
    )
    print(f"busiest second {busiest}; {rate:.2f}/s sustained, {of_whales} of {len(span)} for the whales")
    assert rate >= 11.5  # 12.5 and more on a machine that does nothing else
    assert 0.35 <= of_whales / len(span) <= 0.65
    host.check_whole()
    assert host.rows("SELECT count(*) FROM sync_logs WHERE status = 'completed'") == [(2,)]
    assert host.rows("SELECT count(*) FROM rejected_records") == [(0,)]


def test_both_back_off_after_a_429(tmp_path: Path) -> None:
    """Retry-After of one job's 429 holds for the other job too."""
    refused_at: list[float] = []

    def once(request: Request, handler: Handler) -> bool:
        if refused_at or len(exchange.requests) < 20:
            return False
        refused_at.append(request.arrived)
        handler.send(429, exchange.wrap(None, 429, "Too many requests"), {"Retry-After": "2"})
        return True

    books = fill_books(30, 20, markets=80)
    with Sandbox(books, key=KEY, rate=None, latency=0.02, fault=once) as exchange:
        host = Host(
            tmp_path, exchange.url, environ={"WHALESYNC_RATE_LIMIT": "15", "WHALESYNC_TIME_BUDGET": "7"}
        )
        host.watch(*(wallet(number) for number in range(1, 31)))
        running = [host.start(job) for job in ("sync-markets", "sync-whales")]
        assert [each.wait().code for each in running] == [0, 0]
    (at,) = refused_at
    arrivals = [request.arrived - at for request in exchange.requests]
    # One request of each may be on its way already.
    assert len([after for after in arrivals if 0.05 < after < 1.95]) <= 2
    assert len([after for after in arrivals if 2 <= after < 4]) >= 15
    assert exchange.busiest_second() <= 15


def test_many_open_a_new_file_at_once(host: Host) -> None:
    """Whoever comes while another makes the file waits for it; all succeed."""
    for _ in range(3):
        for file in host.folder.iterdir():
            file.unlink()
        running = [
            host.start(job) for job in ("sync-markets", "sync-whales", "compute-stats") for _ in range(3)
        ]
        codes = sorted(each.wait().code for each in running)
        assert set(codes) <= {0, 75}
        assert codes.count(0) >= 3
        assert [each.wait().err for each in running] == [""] * 9
        host.check_whole()
        assert host.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]
        assert host.rows("PRAGMA journal_mode") == [("wal",)]
        assert host.rows("SELECT count(DISTINCT type) FROM sync_logs WHERE status = 'completed'") == [(3,)]


@pytest.mark.parametrize("jobs", [("sync-markets", "sync-whales", "compute-stats", "cleanup")])
def test_all_jobs_over_and_over_at_once(host: Host, jobs: tuple[str, ...]) -> None:
    """Nobody ever meets a locked database."""
    end = time.monotonic() + 4
    runs = 0
    while time.monotonic() < end:
        running = [host.start(job) for job in jobs]
        assert [(each.wait().code, each.wait().err) for each in running] == [(0, "")] * len(jobs)
        runs += len(jobs)
    print(f"{runs} runs")
    host.check_whole()


def test_one_lock_however_the_file_is_named(host: Host, exchange: Sandbox, tmp_path: Path) -> None:
    """Two names of one file, by a link, are one database: the same job does not run twice."""
    link = tmp_path / "link.db"
    link.symlink_to(host.db)
    exchange.latency = 0.5
    first = host.start("sync-whales")
    wait_until(lambda: exchange.requests)
    assert host.run("sync-whales", env={"WHALESYNC_DB": str(link)}).code == 75
    assert first.wait().code == 0
