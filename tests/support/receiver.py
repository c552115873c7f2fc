"""A real HTTP server on loopback that takes what alerts send, and answers by script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


@dataclass(frozen=True)
class Received:
    """One request: ``headers`` in lower case, ``at`` in seconds since 1970."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """Records a request and answers it."""

    server: Receiver

    def do_POST(self) -> None:
        """Record the request, then do what the script says."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Received(time.time(), self.path, headers, content))
        self.server.next_answer()(self)

    do_PUT = do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class Receiver(ThreadingHTTPServer):
    """Use as a context manager. Gives the answers in order, and the last one again and again."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Received] = []
        self.answers = list(answers) or [status(204)]
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def next_answer(self) -> Answer:
        """Take the next answer of the script."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


def status(code: int, headers: Mapping[str, str] | None = None, content: bytes = b"") -> Answer:
    """A well-formed response."""

    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def hang(handler: Handler) -> None:
    """No response at all."""
    handler.server.stopping.wait(60)


def cut_off(handler: Handler) -> None:
    """A connection that ends without a response."""


def not_http(handler: Handler) -> None:
    """Another protocol, which repeats the request."""
    handler.wfile.write(b"220 mail.example " + handler.path.encode() + b"\r\n")


def drip(handler: Handler) -> None:
    """The head of a response, a byte at a time."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
        handler.wfile.write(bytes([byte]))
        if handler.server.stopping.wait(0.05):
            return


def huge_body(handler: Handler) -> None:
    """200, and a body without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while not handler.server.stopping.is_set():
        handler.wfile.write(b"x" * 65536)


def slow_body(handler: Handler) -> None:
    """200, and a body that never comes."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    hang(handler)
