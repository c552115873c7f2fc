"""A monitor on loopback, such as healthchecks, for what is pinged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "/0f3e-ping-secret"  # noqa: S105  (the path of the address)


class Monitor(ThreadingHTTPServer):
    """Simulates the monitor: keeps what it is sent, and answers as it is told to, or not at all."""

    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}{SECRET}"
        self.pings: list[tuple[str, str]] = []  # path and body
        self.rids: list[str] = []
        self.status, self.reason, self.location = 200, "", ""
        self.answers = threading.Event()  # until it is set, only a byte arrives now and then
        self.answers.set()


class _Handler(BaseHTTPRequestHandler):
    server: Monitor

    def do_POST(self) -> None:
        """Keep what was sent, without the secret of the address."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        while not self.server.answers.wait(0.05):
            self.wfile.write(b"H")
        path, _, rid = self.path.removeprefix(SECRET).partition("?rid=")
        self.server.pings.append((path, body.decode()))
        self.server.rids.append(rid)
        self.send_response(self.server.status, self.server.reason or None)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def running_monitor() -> Iterator[Monitor]:
    """A monitor that answers while the context is open."""
    with Monitor() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            thread.join()
