"""The simulated exchanges as one real HTTP/1.1 server on loopback, with key, limits and rates enforced."""

import json
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from .opinion_trade.books import Books
from .opinion_trade.queries import Refused
from .polymarket import Polymarket
from .polymarket.service import Answer

API, WEB, DATA, GAMMA = "api", "web", "data", "gamma"
BASES = {API: "/openapi", WEB: "/api/bsc/api/v2", DATA: "/polymarket/data", GAMMA: "/polymarket/gamma"}
"""The base addresses: Opinion.Trade's API and its front end's own, and both of Polymarket's."""
NEED_KEY = ("/trade/", "/positions/")
INVALID_KEY, NO_KEY, TOO_MANY = 11002, 401, 429
MOST_RECORDED = 100_000


@dataclass(slots=True)
class Request:
    """A request as it arrived; `arrived` is on the monotonic clock, in seconds."""

    arrived: float
    path: str  # below the base address: "/market/7"
    query: dict[str, str]  # of a repeated parameter the last value
    key: str | None = field(repr=False)
    status: int = 0  # of the answer; stays 0 if none was sent, or only raw bytes
    service: str = API


Fault = Callable[[Request, "Handler"], bool]
"""Asked before each answer; it may answer itself, in any broken way, and returns True if it did."""


class Sandbox:
    """Serves Opinion.Trade's `books` and `polymarket`, from entering the context to leaving it, or by `serve_forever`.

    `key`: the one API key that Opinion.Trade knows. `rate`: its requests answered in any one second, None for no limit;
    the rest get HTTP 429 with a `Retry-After` of a second. Its front end's own API is served beside, of which the real
    exchange knows neither the key nor the rate. Polymarket has limits of its own. `port`: 0 for any that is free.
    `latency`: seconds before each answer. `fault`, which can be set at any time, is asked before each answer.
    """

    def __init__(
        self,
        books: Books | None = None,
        polymarket: Polymarket | None = None,
        *,
        key: str = "sandbox-key",
        rate: int | None = 15,
        port: int = 0,
        latency: float = 0.0,
        fault: Fault | None = None,
    ) -> None:
        self.polymarket = polymarket or Polymarket()
        self.books = books or Books(self.polymarket.books.clock)
        self.key = key
        self.rate = rate
        self.latency = latency
        self.fault = fault
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._admitted: deque[float] = deque()
        self._lock = threading.Lock()
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)

    @property
    def url(self) -> str:
        """The base address of Opinion.Trade's API, with the port that was free if none was asked for."""
        return self._address(API)

    @property
    def web_url(self) -> str:
        """The base address of the front end's own API."""
        return self._address(WEB)

    @property
    def polymarket_data_url(self) -> str:
        """The base address of Polymarket's Data API, for clients that add the /v2 to it, and for those that do not."""
        return self._address(DATA)

    @property
    def polymarket_gamma_url(self) -> str:
        """The base address of Polymarket's Gamma."""
        return self._address(GAMMA)

    def _address(self, service: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{BASES[service]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve_forever(self) -> None:
        """Serve in this thread, until an exception such as KeyboardInterrupt ends it."""
        try:
            self._serve()
        finally:
            self.stopping.set()
            self._server.server_close()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def counts(self) -> Counter[tuple[str, str]]:
        """How many requests came to each service and path."""
        return Counter((request.service, request.path) for request in list(self.requests))

    def busiest_second(self) -> int:
        """The most requests to Opinion.Trade's API that arrived within any one second, refused ones included."""
        arrivals = sorted(request.arrived for request in list(self.requests) if request.service == API)
        most = first = 0
        for last, arrived in enumerate(arrivals):
            while arrived - arrivals[first] >= 1:
                first += 1
            most = max(most, last - first + 1)
        return most

    def record(self, request: Request) -> None:
        """Keep a request, of which at most MOST_RECORDED are kept."""
        with self._lock:
            self.requests.append(request)
            if len(self.requests) > MOST_RECORDED:
                del self.requests[: MOST_RECORDED // 2]

    def admit(self, request: Request) -> bool:
        """Whether the limits of its service allow a request. Opinion.Trade does not count those that it refuses."""
        arrived = request.arrived
        if request.service in (DATA, GAMMA):
            with self._lock:
                limits = self.polymarket.limits
                return limits is None or limits.admit(request.service, request.path, arrived)
        if self.rate is None or request.service == WEB:
            return True
        with self._lock:
            while self._admitted and arrived - self._admitted[0] >= 1:
                self._admitted.popleft()
            if len(self._admitted) >= self.rate:
                return False
            self._admitted.append(arrived)
            return True

    def answer(self, request: Request) -> Any:
        """Opinion.Trade's result; raises Refused. Only wallets need a key, but a wrong key is refused everywhere."""
        if request.service == WEB:
            return self.books.answer_web(request.path, request.query)
        if request.key is None and request.path.startswith(NEED_KEY):
            raise Refused(NO_KEY, "apikey is required")
        if request.key not in (None, self.key):
            raise Refused(INVALID_KEY, "Invalid API key")
        return self.books.answer(request.path, request.query)

    def wrap(self, result: Any, number: int = 0, message: str = "") -> bytes:
        """Put a result or an error number into the envelope."""
        return json.dumps({"errno": number, "errmsg": message, "result": result}).encode()


class Handler(BaseHTTPRequestHandler):
    """One connection. Faults answer by its `send` and `send_raw`."""

    server: "_Server"
    protocol_version = "HTTP/1.1"
    server_version = "sandbox"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet

    def do_GET(self) -> None:
        """Answer one request."""
        arrived = time.monotonic()
        sandbox = self.server.sandbox
        parts = urlsplit(self.path)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        # A path outside the base addresses must not match a path inside.
        service, path = API, f"/..{parts.path}"
        for each, base in BASES.items():
            if parts.path.startswith(f"{base}/"):
                service, path = each, parts.path.removeprefix(base)
        if service == DATA and not path.startswith("/v2/"):
            path = f"/v2{path}"
        self.request_seen = Request(arrived, path, dict(pairs), self.headers["apikey"], service=service)
        sandbox.record(self.request_seen)
        polymarket = service in (DATA, GAMMA)
        if not sandbox.admit(self.request_seen):
            if polymarket:
                self._send_answer(sandbox.polymarket.over_limit())
            else:
                self.send(429, sandbox.wrap(None, TOO_MANY, "Too many requests"), {"Retry-After": "1"})
            return
        if sandbox.latency:
            sandbox.stopping.wait(sandbox.latency)
        if sandbox.fault and sandbox.fault(self.request_seen, self):
            return
        if polymarket:
            agent = self.headers["User-Agent"] or ""
            self._send_answer(sandbox.polymarket.answer(service, path, pairs, self.path, agent))
            return
        try:
            self.send(200, sandbox.wrap(sandbox.answer(self.request_seen)))
        except Refused as refusal:
            self.send(refusal.status, sandbox.wrap(None, refusal.number, str(refusal)))

    def _send_answer(self, answer: Answer) -> None:
        self.send(answer.status, answer.body, answer.headers)

    def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a well-formed answer; `headers` go over the usual ones."""
        self.request_seen.status = status
        self.send_response_only(status)
        usual = {
            "Date": formatdate(self.server.sandbox.books.clock(), usegmt=True),
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(body)),
        }
        for name, value in {**usual, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def send_raw(self, data: bytes, pause: float = 0.0) -> None:
        """Send bytes as they are, or one at a time `pause` seconds apart; then close the connection."""
        self.close_connection = True
        for start in range(len(data)) if pause else (0,):
            self.wfile.write(data[start : start + 1] if pause else data)
            self.wfile.flush()
            if pause and self.server.sandbox.stopping.wait(pause):
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the requests are recorded in the sandbox."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.sandbox = sandbox
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self) -> None:
        """Bind without looking up our own name, which can take seconds on a host without a network."""
        super(ThreadingHTTPServer, self).server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a bug; a client that closes its connection is not one."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
