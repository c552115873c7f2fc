"""The dead-man's switch, against a real server on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from whalesync.host.ping import Pinger, hide

KEY = "k" * 20


class Monitor(ThreadingHTTPServer):
    """Plays the monitor: keeps what it is told, and can answer slowly, wrongly or by the byte."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[tuple[str, str]] = []
        self.status = 200
        self.slow: set[str] = set()
        self.drip = False
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/ping-key"


class _Handler(BaseHTTPRequestHandler):
    server: Monitor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if any(part in self.path for part in self.server.slow):
            self.server.closing.wait(0.3)
        self.server.told.append((self.path, body.decode()))
        if self.server.drip:
            while not self.server.closing.wait(0.05):
                try:
                    self.wfile.write(b"H")
                except OSError:
                    return
            return
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with Monitor() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def test_start_and_success_share_a_rid(monitor: Monitor) -> None:
    """A good run is announced at <url>/<command>/start and closed at <url>/<command>."""
    pinger = Pinger(monitor.url + "/")
    pinger.start("sync-whales", "r-1")
    pinger.success("sync-whales", "12 new trades", "r-1")
    assert monitor.told == [
        ("/ping-key/sync-whales/start?rid=r-1", ""),
        ("/ping-key/sync-whales?rid=r-1", "12 new trades"),
    ]


def test_failure_has_its_own_address(monitor: Monitor) -> None:
    """A failed run is closed at <url>/<command>/fail, with the reason as the body."""
    Pinger(monitor.url).fail("cleanup", "no room", "r-2")
    assert monitor.told == [("/ping-key/cleanup/fail?rid=r-2", "no room")]


def test_job_does_not_wait_for_its_start(monitor: Monitor) -> None:
    """start() returns at once however slow the monitor is, and still arrives before the end of the run."""
    monitor.slow = {"start"}
    pinger = Pinger(monitor.url)
    began = time.monotonic()
    pinger.start("sync-whales", "r")
    assert time.monotonic() - began < 0.2
    pinger.success("sync-whales", "", "r")
    assert [path.partition("?")[0] for path, _ in monitor.told] == [
        "/ping-key/sync-whales/start",
        "/ping-key/sync-whales",
    ]


def test_body_is_short_and_without_secrets(monitor: Monitor) -> None:
    """The key is blotted out before the body is cut to 1000 bytes, so that not even half of it goes out."""
    body = "é" * 495 + KEY + " " + KEY
    Pinger(monitor.url, secrets={KEY}).fail("sync-whales", body, "r")
    assert monitor.told[0][1] == "é" * 495 + "*** ***"
    Pinger(monitor.url).success("sync-whales", "x" * 5_000, "r")
    assert monitor.told[1][1] == "x" * 1_000


def test_an_answer_that_drips_meets_the_deadline(monitor: Monitor) -> None:
    """A monitor that answers by the byte costs the job no more than the deadline."""
    monitor.drip = True
    said: list[str] = []
    began = time.monotonic()
    Pinger(monitor.url, say=said.append, deadline=0.4).success("cleanup", "", "r")
    assert time.monotonic() - began < 1.0
    assert said == ["ping cleanup: failed (no answer within 0.4 s)"]


def test_verbose_mode_hears_of_each_ping(monitor: Monitor) -> None:
    """Each ping is reported in one line that does not hold the address, which may be a secret."""
    said: list[str] = []
    pinger = Pinger(monitor.url, say=said.append)
    pinger.start("cleanup", "r")
    pinger.success("cleanup", "", "r")
    monitor.status = 404
    pinger.fail("cleanup", "", "r")
    assert said == [
        "ping cleanup/start: done",
        "ping cleanup: done",
        "ping cleanup/fail: failed (HTTP Error 404: Not Found)",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
        "nonsense",
        "http://[::1",
        "http://a b/",
        "ftp://127.0.0.1/",
    ],
)
def test_an_address_that_cannot_work_fails_no_job(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong or dead address is silent, except in verbose mode."""
    said: list[str] = []
    pinger = Pinger(url, say=said.append)
    pinger.start("cleanup", "r")
    pinger.success("cleanup", "", "r")
    assert len(said) == 2
    assert all("failed (" in line and url not in line for line in said)
    assert capfd.readouterr() == ("", "")


def test_loads_nothing_until_an_address_is_set() -> None:
    """Without an address a run loads no HTTP library and says nothing."""
    code = (
        "import json, sys; from whalesync.host.ping import Pinger; p = Pinger(None, say=print); p.start('c', 'r');"
        "p.success('c', '', 'r'); print(json.dumps([m for m in sys.modules if m.split('.')[0] in "
        "('http', 'httpx', 'ssl', 'email') or m == 'urllib.request']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_longest_secret_is_hidden_first() -> None:
    """A secret that is a part of another leaves no remainder of the longer one."""
    assert hide("secret-key-and-more secret-key", {"secret-key", "secret-key-and-more", ""}) == "*** ***"
