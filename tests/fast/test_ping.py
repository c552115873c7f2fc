"""The dead-man's switch, against a real server on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.monitor import SECRET, Monitor, running_monitor

from whalesync.host.ping import Pinger

KEY = "k" * 20


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with running_monitor() as server:
        yield server


def steps_of_a_run(url: str) -> list[str]:
    """Ping the start and the success of a run; returns the steps that were logged."""
    steps: list[str] = []
    pinger = Pinger(url, "cleanup", log_step=steps.append)
    pinger.start()
    pinger.success("")
    return steps


def test_start_and_success_share_a_rid(monitor: Monitor) -> None:
    """A successful run is announced at <url>/<command>/start and closed at <url>/<command>; each run has its own."""
    for _ in range(2):
        pinger = Pinger(monitor.url + "/", "sync-whales")
        pinger.start()
        pinger.success("12 new trades")
    paths, rids = zip(*(path.split("?rid=") for path, _ in monitor.pings), strict=True)
    assert paths == ("/sync-whales/start", "/sync-whales") * 2
    assert rids[0] == rids[1] != rids[2] == rids[3]
    assert [body for _, body in monitor.pings] == ["", "12 new trades"] * 2


def test_failure_has_its_own_address(monitor: Monitor) -> None:
    """A failed run is closed at <url>/<command>/fail, with the reason as the body."""
    Pinger(monitor.url, "cleanup").fail("no space left")
    assert [(path.partition("?")[0], body) for path, body in monitor.pings] == [
        ("/cleanup/fail", "no space left")
    ]


def test_a_job_does_not_wait_for_its_start(monitor: Monitor) -> None:
    """start() returns while the monitor does not answer; its ping still arrives before the end of the run."""
    monitor.open.clear()
    pinger = Pinger(monitor.url, "sync-whales")
    pinger.start()
    assert monitor.pings == []
    monitor.open.set()
    pinger.success("")
    assert [path.partition("?")[0] for path, _ in monitor.pings] == ["/sync-whales/start", "/sync-whales"]


def test_the_body_is_short_and_without_secrets(monitor: Monitor) -> None:
    """The key is redacted before the body is cut to 1000 bytes, so that not even half of it goes out."""
    Pinger(monitor.url, "sync-whales", secrets={KEY}).fail("é" * 495 + KEY + " " + KEY)
    Pinger(monitor.url, "sync-whales").success("x" * 5_000)
    assert [body for _, body in monitor.pings] == ["é" * 495 + "*** ***", "x" * 1_000]


def test_a_response_that_drips_meets_the_deadline(monitor: Monitor) -> None:
    """A monitor that answers by the byte costs the job no more than the deadline."""
    monitor.drip = True
    steps: list[str] = []
    Pinger(monitor.url, "cleanup", log_step=steps.append, deadline=0.3).success("")
    assert steps == ["ping cleanup: failed (no response within 0.3 s)"]


def test_each_ping_is_a_step(monitor: Monitor) -> None:
    """Whether it arrived or not."""
    assert steps_of_a_run(monitor.url) == ["ping cleanup/start: done", "ping cleanup: done"]
    monitor.status = 404
    assert steps_of_a_run(monitor.url)[1] == "ping cleanup: failed (HTTP 404)"


@pytest.mark.parametrize(
    "location", ["", f"{SECRET}/cleanup?rid=r", f"ftp://127.0.0.1{SECRET}", "http://[::1"]
)
def test_a_monitor_that_repeats_the_address_does_not_reveal_it(monitor: Monitor, location: str) -> None:
    """Neither by the reason of an error nor by a redirect."""
    monitor.status = 302 if location else 500
    monitor.reason, monitor.location = f"no {SECRET}", location
    steps = steps_of_a_run(monitor.url)
    assert [step.split(" (")[0] for step in steps] == ["ping cleanup/start: failed", "ping cleanup: failed"]
    assert "secret" not in "".join(steps)


def test_a_monitor_that_is_down_fails_no_job(capfd: pytest.CaptureFixture[str]) -> None:
    """The step says why, and nothing is printed."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        steps = steps_of_a_run(f"http://127.0.0.1:{nobody.getsockname()[1]}{SECRET}")
    why = "failed (Connection refused)"
    assert steps == [f"ping cleanup/start: {why}", f"ping cleanup: {why}"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "nonsense", "http://[::1", "http://a b/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/"],
)  # fmt: skip
def test_an_address_that_cannot_be_used_fails_no_job(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It is named once, without being quoted."""
    (step,) = steps_of_a_run(address)
    assert step.startswith("no pings are sent: WHALESYNC_PING_URL must be ") and address not in step
    assert capfd.readouterr() == ("", "")


def test_an_address_with_a_query_is_not_used(monitor: Monitor) -> None:
    """The command cannot be put behind it, so the monitor would never hear of the job."""
    (step,) = steps_of_a_run(f"{monitor.url}?create=1")
    assert step == (
        "no pings are sent: WHALESYNC_PING_URL must be a plain address, without user, query or fragment"
    )
    assert monitor.pings == []


def test_nothing_is_loaded_without_an_address() -> None:
    """A run without a monitor loads no HTTP library."""
    code = (
        "import json, sys; from whalesync.host.ping import Pinger; p = Pinger(None, 'cleanup', log_step=print);"
        "p.start(); p.success(''); print(json.dumps([m for m in sys.modules if m.split('.')[0] in "
        "('http', 'httpx', 'ssl', 'email') or m == 'urllib.request']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
