"""A monitor on loopback, such as healthchecks, for what is pinged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "/0f3e-ping-secret"  # noqa: S105  (the path of the address)


class Monitor(ThreadingHTTPServer):
    """Simulates the monitor: keeps what it is sent, and can answer slowly, wrongly or by the byte."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pings: list[tuple[str, str]] = []
        self.status, self.reason, self.location = 200, "", ""
        self.drip = False
        self.open = threading.Event()  # no start is answered before
        self.open.set()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """The address to ping."""
        return f"http://127.0.0.1:{self.server_port}{SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Monitor

    def do_POST(self) -> None:
        """Keep what was sent, without the secret of the address."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "start" in self.path:
            self.server.open.wait(10)
        self.server.pings.append((self.path.removeprefix(SECRET), body.decode()))
        while self.server.drip and not self.server.closing.wait(0.05):
            try:
                self.wfile.write(b"H")
            except OSError:
                return
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
            server.closing.set()
            server.open.set()
            server.shutdown()
            thread.join()
