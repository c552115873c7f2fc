"""``publish`` as a process: killed at each step of a commit, without a server, and beside the other jobs."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host import KEY, Host, wallet
from support.postgres import PASSWORD, Target, free_port, published
from support.publisher import STORED

BEFORE = """
import os, signal
from whalesync.jobs import publish
from whalesync.postgres import server
publish.BATCH_ROWS = 40
left = {commits}
def die(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def dying(function, when):
    def call(*arguments):
        if when == "before":
            die()
        result = function(*arguments)
        if when == "after":
            die()
        return result
    return call
{patch}
"""
PATCHES = {
    "before it is sent": 'server.Server.send = dying(server.Server.send, "before")',
    "while rows are copied": 'server.Server._stage = dying(server.Server._stage, "after")',
    "after the commit": 'server.Server.send = dying(server.Server.send, "after")',
}


@pytest.fixture
def publisher(host: Host, target: Target) -> Iterator[Host]:
    """The machine, which has synced both wallets and may publish."""
    host.environ |= {"WHALESYNC_PUBLISH_URL": target.url(), "WHALESYNC_SOURCE": "host"}
    host.succeed("sync-whales")
    yield host
    for file in host.folder.iterdir():
        assert PASSWORD.encode() not in file.read_bytes(), file


def check_published(host: Host, target: Target) -> None:
    """The server has the trades of the file, each as often as the file."""
    stored = Counter((*row[:12], bool(row[12])) for row in host.rows(STORED))
    assert stored and stored == Counter(published(target))


@pytest.mark.parametrize("moment", PATCHES)
def test_killed_at_a_commit(publisher: Host, target: Target, moment: str) -> None:
    """The next run sends what is missing, and nothing else."""
    for commits in (1, 4):
        code = BEFORE.format(commits=commits, patch=PATCHES[moment])
        ended = publisher.run("publish", code_before=code)
        assert (ended.code, ended.err) == (-signal.SIGKILL, "")
    publisher.succeed("publish")
    check_published(publisher, target)
    newest = publisher.rows("SELECT status FROM sync_logs WHERE type = 'publish' ORDER BY id")
    assert newest == [("failed",), ("failed",), ("completed",)]
    total = target.value("SELECT max(id) FROM whalesync.whale_activity")
    assert total == target.value("SELECT count(*) FROM whalesync.whale_activity")  # none was inserted twice


def test_no_server_is_one_line_and_stops_no_other_job(publisher: Host, target: Target) -> None:
    """Exit 1; the sync goes on, and the next run catches up."""
    line = publisher.fail("publish", env={"WHALESYNC_PUBLISH_URL": target.url(port=free_port())})
    assert line.startswith("whalesync publish: PostgreSQL: ") and PASSWORD not in line and KEY not in line
    publisher.succeed("sync-whales")
    publisher.succeed("publish")
    check_published(publisher, target)
    assert len(publisher.stored(1)) and target.value(
        f"SELECT count(*) FROM whalesync.whales WHERE address = '{wallet(1)}'"
    )


def test_stopped_by_sigterm(publisher: Host, target: Target) -> None:
    """While it waits for another host: exit 143, the row says so, and the server is free."""
    with target.server.connect(target.name) as other:
        publisher.succeed("publish", code_before="from whalesync.store import changes\nchanges.TABLES = ()")
        other.execute("SELECT pg_advisory_lock(2003329388)")
        running = publisher.start("publish")
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
        while running.process.poll() is None and not target.value(waits):
            pass
        running.send(signal.SIGTERM)
        ended = running.wait()
        assert (ended.code, ended.err) == (143, "")
    publisher.succeed("publish")
    check_published(publisher, target)


def test_a_wrong_address_is_a_wrong_setting(publisher: Host, tmp_path: Path) -> None:
    """Exit 2, for this job alone; the address is not repeated."""
    env = {"WHALESYNC_PUBLISH_URL": "mysql://me:a-Secret@a.example/b"}
    line = publisher.fail("publish", code=2, env=env)
    assert "WHALESYNC_PUBLISH_URL must be" in line and "a-Secret" not in line
    publisher.succeed("sync-whales", env=env)
    assert tmp_path.exists()
