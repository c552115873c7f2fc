"""Polymarket as a whole: both of its APIs, what a content delivery network keeps of them, and their limits."""

import itertools
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..values import digest
from .books import Books
from .cursors import Cursors
from .data import DataApi
from .gamma import GammaApi
from .queries import Problem

DATA, GAMMA = "data", "gamma"
WINDOW = 10.0  # seconds
LONGEST_URL = 8192
CACHED: Mapping[str, float] = {"/v2/activity": 15, "/v2/positions": 5, "/v2/trades": 300, "gamma": 300}
"""For how many seconds the same address is answered with the same body."""
HOST_LIMITS = {DATA: 800, GAMMA: 4000}
"""Requests in any ten seconds, of a host and of what begins with a path."""
PATH_LIMITS = {
    (DATA, "/v2/activity"): 200,
    (DATA, "/v2/positions"): 200,
    (DATA, "/v2/trades"): 300,
    (DATA, "/v2/status"): 100,
    (GAMMA, "/markets"): 300,
    (GAMMA, "/events"): 500,
}


class Answer(NamedTuple):
    """A status, a body, and the headers beside the usual ones."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass
class Limits:
    """How many requests are answered in any ten seconds, times `scale`.

    A request too many blocks its whole host for `block` seconds, and each further one prolongs that. The real service
    first delays requests; refusing at once is harder on a client.
    """

    scale: float = 1.0
    block: float = WINDOW

    def __post_init__(self) -> None:
        self._arrivals: dict[str, deque[float]] = {}
        self._blocked_until: dict[str, float] = {}

    def admit(self, service: str, path: str, arrived: float) -> bool:
        """Whether a request that arrived at a monotonic second is answered."""
        buckets = {service: HOST_LIMITS[service]}
        buckets |= {
            f"{service}{prefix}": limit
            for (host, prefix), limit in PATH_LIMITS.items()
            if host == service and path.startswith(prefix)
        }
        admitted = arrived >= self._blocked_until.get(service, 0.0)
        for name, limit in buckets.items():
            arrivals = self._arrivals.setdefault(name, deque())
            while arrivals and arrived - arrivals[0] >= WINDOW:
                arrivals.popleft()
            arrivals.append(arrived)
            admitted = admitted and len(arrivals) <= limit * self.scale
        if not admitted:
            self._blocked_until[service] = arrived + self.block
        return admitted


class _Cached(NamedTuple):
    stored_at: float
    answer: Answer


class Polymarket:
    """Answers the requests to both APIs from its books.

    `cached`: seconds by path for which the same address is answered with the same body, by the books' clock; empty for
    none. `limits`: None for none. `cursor_lifetime`: seconds, None for ever. `cursors`, `gamma` and `books` may be
    changed at any time.
    """

    def __init__(
        self,
        books: Books | None = None,
        *,
        cached: Mapping[str, float] = CACHED,
        limits: Limits | None = None,
        cursor_lifetime: float | None = None,
    ) -> None:
        self.books = books or Books()
        self.cached = cached
        self.limits = limits
        self.cursors = Cursors(self.books.clock, cursor_lifetime)
        self.data = DataApi(self.books, self.cursors)
        self.gamma = GammaApi(self.books)
        self._stored: dict[str, _Cached] = {}
        self._traces = itertools.count()

    def answer(self, service: str, path: str, pairs: list[tuple[str, str]], target: str, agent: str = "") -> Answer:
        """The answer to a request of one of the services; `target` is its whole address, `agent` its User-Agent."""
        if service == GAMMA and agent.startswith("Python-urllib"):
            return Answer(403, b"error code: 1010", {"Content-Type": "text/plain; charset=UTF-8"})
        if service == GAMMA and len(target) > LONGEST_URL:
            return Answer(414, b"URI Too Long", {"Content-Type": "text/plain"})
        now = self.books.clock()
        seconds = self.cached.get("gamma" if service == GAMMA else path, 0)
        stored = self._stored.get(target)
        if stored and now - stored.stored_at < seconds:
            age = {"x-cache": "Hit from cloudfront", "age": str(int(now - stored.stored_at))}
            return stored.answer._replace(headers={**stored.answer.headers, **age})
        answer = self._fresh(service, path, pairs)
        if seconds and answer.status == 200:
            self._forget(now)
            headers = {**answer.headers, "cache-control": f"public, max-age={seconds:.0f}"}
            answer = answer._replace(headers=headers)
            self._stored[target] = _Cached(now, answer)
            answer = answer._replace(headers={**headers, "x-cache": "Miss from cloudfront"})
        return answer

    def over_limit(self) -> Answer:
        """The answer to a request too many: from the edge, so it is not JSON."""
        headers = {"Content-Type": "text/plain; charset=UTF-8", "Retry-After": "0", "Server": "cloudflare"}
        return Answer(429, b"error code: 1015", headers)

    def refusal(self, service: str, problem: Problem) -> Answer:
        """The error document of a service."""
        if service == GAMMA:
            return Answer(problem.status, json.dumps({"type": problem.code, "error": str(problem)}).encode(), {})
        trace = self._trace()
        retryable = problem.status in (429, 503)
        document = {"error": str(problem), "code": problem.code, "retryable": retryable, "trace_id": trace}
        if problem.parameter:
            document["parameter"] = problem.parameter
        headers = {"x-trace-id": trace} | ({"Retry-After": "1"} if retryable else {})
        return Answer(problem.status, json.dumps(document).encode(), headers)

    def _fresh(self, service: str, path: str, pairs: list[tuple[str, str]]) -> Answer:
        try:
            document = (self.gamma if service == GAMMA else self.data).answer(path, pairs)
        except Problem as problem:
            return self.refusal(service, problem)
        headers = {"x-trace-id": self._trace()} if service == DATA else {}
        return Answer(200, json.dumps(document).encode(), headers)

    def _trace(self) -> str:
        return digest("trace", next(self._traces))[:32]

    def _forget(self, now: float) -> None:
        """Drop what is older than anything is kept."""
        if len(self._stored) > 1000:
            oldest = now - max(self.cached.values())
            self._stored = {target: each for target, each in self._stored.items() if each.stored_at > oldest}
