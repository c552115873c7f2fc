"""``send-alerts`` killed at a write, while it sends, and between the sending and the storing of the answer."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import receiver, rows
from support.host import Host, Running
from support.kills import end_at, stretches
from support.receiver import Handler, Receiver

from whalesync.store.database import open_database

JOB = ["send-alerts"]
TRADES = 5


@pytest.fixture
def target() -> Iterator[Receiver]:
    """A webhook that takes everything."""
    with Receiver() as server:
        yield server


@pytest.fixture
def content(tmp_path: Path, target: Receiver) -> bytes:
    """A file with a rule that is known, and five large trades that are new."""
    host = host_of(tmp_path)
    file = tmp_path / "alerts.toml"
    file.touch(mode=0o600)
    file.write_text(f'[[alert]]\nname = "big"\nto = "http://{target.host}/hook"\nmin_usd = 10000\nfold = "1h"')
    with open_database(host.db) as db:
        whale = rows.whale(db, tracked_since=0)
        markets = [rows.market(db, str(number)) for number in range(TRADES)]
    host.succeed("send-alerts")
    now = int(time.time() * 1000)
    with open_database(host.db) as db:
        for number, market in enumerate(markets):
            rows.trade(db, whale, market, now, amount=20_000.0 + number, outcome="YES")
        db.checkpoint()
    return host.db.read_bytes()


def host_of(folder: Path) -> Host:
    """A machine whose alerts file is not beside its database."""
    (folder / "host").mkdir(exist_ok=True)
    return Host(folder / "host", "http://127.0.0.1:9", environ={"WHALESYNC_ALERTS_FILE": str(folder / "alerts.toml")})


def check(host: Host, target: Receiver) -> int:
    """After the next run each alert has come, under one id; returns how many came again."""
    host.succeed("send-alerts")
    host.succeed("send-alerts")
    ids: dict[float, set[str]] = {}
    # A request that was cut off by the kill is none.
    whole = [each for each in target.received if len(each.body) == int(each.headers["content-length"])]
    for each in whole:
        ids.setdefault(json.loads(each.body)["total_usd"], set()).add(each.headers["webhook-id"])
    assert set(ids) == {20_000.0 + number for number in range(TRADES)}
    assert all(len(found) == 1 for found in ids.values())
    assert host.rows("SELECT status, count(*) FROM alert_deliveries GROUP BY status") == [("sent", TRADES)]
    return len(whole) - TRADES


def test_killed_at_a_system_call(tmp_path: Path, content: bytes, target: Receiver, strace: str) -> None:
    """At the Nth call, for N all over the run."""
    host = host_of(tmp_path)
    host.start_over(content)
    killed = repeated = 0
    for stretch in list(stretches(strace, host, JOB, ["pwrite64", "openat", "sendto"], tmp_path / "trace", "")):
        for moment in stretch.moments():
            host.start_over(content)
            target.received.clear()
            killed += end_at(strace, host, JOB, stretch.call, moment).code != 0
            repeated += check(host, target)
    assert killed
    print(f"killed {killed} times, {repeated} messages came twice")


@pytest.mark.parametrize("number", [0, 2, TRADES - 1])
@pytest.mark.parametrize("answers", [True, False])
def test_killed_between_the_sending_and_the_commit(
    number: int, answers: bool, tmp_path: Path, content: bytes, target: Receiver
) -> None:
    """With the Nth message at the target, whether or not the answer comes back: that one alone may come twice."""
    host = host_of(tmp_path)
    host.start_over(content)
    running: list[Running] = []

    def kill(handler: Handler) -> None:
        while not running:  # the process may be faster than this test
            time.sleep(0.001)
        if answers:
            receiver.status(204)(handler)
        os.kill(running[0].pid, signal.SIGKILL)

    target.answers = [*[receiver.status(204)] * number, kill, receiver.status(204)]
    running.append(host.start("send-alerts"))
    assert running[0].wait().code == -signal.SIGKILL
    repeated = check(host, target)
    assert repeated <= 1 if answers else repeated == 1
