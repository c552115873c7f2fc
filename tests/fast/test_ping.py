"""The dead-man's switch, against a real server on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from support.monitor import SECRET, Monitor, running_monitor

from whalesync.jobs.ping import Pinger

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
    pinger.success("3 rows")
    return steps


def test_start_and_success_share_a_rid(monitor: Monitor) -> None:
    """A successful run is announced at <url>/<command>/start and closed at <url>/<command>; each run has its own."""
    for _ in range(2):
        assert steps_of_a_run(monitor.url + "/") == ["ping cleanup/start: done", "ping cleanup: done"]
    assert monitor.pings == [("/cleanup/start", ""), ("/cleanup", "3 rows")] * 2
    first, first_end, second, second_end = monitor.rids
    assert first == first_end != second == second_end


def test_a_job_does_not_wait_for_its_start(monitor: Monitor) -> None:
    """start() returns while the monitor does not answer; its ping still arrives before the end of the run."""
    monitor.answers.clear()
    pinger = Pinger(monitor.url, "sync-whales")
    pinger.start()
    assert monitor.pings == []
    monitor.answers.set()
    pinger.success("")
    assert monitor.pings == [("/sync-whales/start", ""), ("/sync-whales", "")]


def test_the_body_is_short_and_without_secrets(monitor: Monitor) -> None:
    """The key is redacted before the body is cut to 1000 bytes, so that not even half of it goes out."""
    Pinger(monitor.url, "sync-whales", secrets={KEY}).fail("é" * 495 + KEY + " " + KEY)
    Pinger(monitor.url, "sync-whales").success("x" * 5_000)
    assert monitor.pings == [("/sync-whales/fail", "é" * 495 + "*** ***"), ("/sync-whales", "x" * 1_000)]


def test_a_response_that_drips_meets_the_deadline(monitor: Monitor) -> None:
    """A monitor that answers by the byte costs the job no more than the deadline."""
    monitor.answers.clear()
    steps: list[str] = []
    Pinger(monitor.url, "cleanup", log_step=steps.append, deadline=0.3).success("")
    assert steps == ["ping cleanup: failed (no response within 0.3 s)"]


@pytest.mark.parametrize("location", ["", f"{SECRET}/cleanup?rid=r", f"ftp://127.0.0.1{SECRET}", "http://[::1"])
def test_a_monitor_that_repeats_the_address_does_not_reveal_it(monitor: Monitor, location: str) -> None:
    """Neither by the reason of an error nor by a redirect."""
    monitor.status = 302 if location else 500
    monitor.reason, monitor.location = f"no {SECRET}", location
    steps = steps_of_a_run(monitor.url)
    assert steps[1].startswith("ping cleanup: failed (") and "secret" not in "".join(steps)


def test_a_monitor_that_is_down_fails_no_job(capfd: pytest.CaptureFixture[str]) -> None:
    """The step says why, and nothing is printed."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        steps = steps_of_a_run(f"http://127.0.0.1:{nobody.getsockname()[1]}{SECRET}")
    why = "failed (Connection refused)"
    assert steps == [f"ping cleanup/start: {why}", f"ping cleanup: {why}"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://[::1", "http://127.0.0.1/uuid?create=1"])
def test_an_address_that_cannot_be_used_fails_no_job(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It is named once, without being quoted."""
    (step,) = steps_of_a_run(address)
    assert step.startswith("no pings are sent: WHALESYNC_PING_URL must be ") and address not in step
    assert capfd.readouterr() == ("", "")
