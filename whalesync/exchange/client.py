"""HTTP: keep-alive connections, one shared rate, a total deadline, a size cap, and retries of one request.

All that is httpx, httpcore or stamina stays in this file, so that changing over to another is one file.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass  # httpx has loaded it anyway

from whalesync import __version__
from whalesync.errors import (
    ExchangeError,
    OutOfTime,
    RateLimited,
    ServerFault,
    SettingsError,
    Unreachable,
    UnreadableAnswer,
)
from whalesync.exchange.pace import Pace

# Where rich is installed, httpx loads its own command line with it: a quarter of its import, never used here.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is how an import is blocked
import httpcore  # noqa: E402  (after the line above)
import httpx  # noqa: E402

if sys.modules["httpx._main"] is None:
    del sys.modules["httpx._main"]

CONNECT_SECONDS = 5.0
DEADLINE_SECONDS = 12.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
TRIES = 4
SHORTEST_SECRET = 8  # blotting out anything shorter would spoil honest data: it stands in other words too
RETRY_SECONDS = 20.0  # after that it is not tried again: one item that hangs must not take up a whole run
LONGEST_BACKOFF = 10.0
LONGEST_RETRY_AFTER = 60.0
# How long after the time budget a request that is already under way may still take.
GRACE_SECONDS = 4.0

_deadline = threading.local()


class Client:
    """Asks one exchange. Threads may share it.

    Args:
        base_url: without a trailing slash.
        headers: sent with every request; the key is among them, so they are never logged, and blotted out of
            whatever comes back.
        pace: the rate that all processes share.
        unwrap: takes the HTTP status and the parsed body (None if it was no JSON, which only a refusal may
            be), and returns the result in it or raises an ExchangeError.
        first_backoff: seconds before the second try; doubles after each, with jitter.
        until: the moment (monotonic seconds) from which on nothing new is started or tried again.
        say: told what is tried again, for ``-v``.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        pace: Pace,
        unwrap: Callable[[int, Any], Any],
        *,
        first_backoff: float,
        until: float,
        say: Callable[[str], None] = lambda _: None,
        loopback: bool = False,
    ) -> None:
        self._pace = pace
        self._unwrap = unwrap
        self._first_backoff = first_backoff
        self._until = until
        self._say = say
        self._secrets = [value.encode() for value in headers.values() if len(value) >= SHORTEST_SECRET]
        self._lock = threading.Lock()
        self._under_way = 0
        self._closed = False
        self.requests = 0
        #: the exchange's own time in its latest answer (its ``Date``), in milliseconds
        self.latest_date: int | None = None
        # Httpx's log holds whole addresses.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        try:
            proxy = None if loopback else _proxy(httpx.URL(base_url).host)
        except (ValueError, httpx.InvalidURL) as exc:
            raise SettingsError("WHALESYNC_API_URL names no host that there could be") from exc
        try:
            transport = httpx.HTTPTransport(verify=not loopback, proxy=proxy)
        # Without its address, which may hold a password.
        except (ValueError, ImportError, httpx.InvalidURL) as exc:
            raise SettingsError("HTTPS_PROXY must name a proxy such as http://proxy.example:3128") from exc
        # httpx's timeouts are per read, so that a byte a second outlives them all; ours hold for the whole.
        pool = transport._pool
        pool._network_backend = _DeadlineBackend(pool._network_backend)
        self._http = httpx.Client(
            base_url=base_url,
            headers={
                "User-Agent": f"whalesync/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                **headers,
            },
            transport=transport,
            timeout=httpx.Timeout(DEADLINE_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )

    def get(self, path: str, params: Mapping[str, str | int]) -> Any:
        """The result of one request, tried up to TRIES times within RETRY_SECONDS; blocks for the shared rate.

        Raises:
            OutOfTime: the time budget ended before it could be sent.
            Unreachable, RateLimited, ServerFault: also the last try failed.
            ExchangeError: anything else that is wrong with the answer.
        """
        begun = time.monotonic()
        try:
            return self._once(path, params)
        except (Unreachable, RateLimited, ServerFault) as exc:
            return self._again(path, params, exc, begun)

    def _again(self, path: str, params: Mapping[str, str | int], failure: ExchangeError, begun: float) -> Any:
        """The tries after the first, which was made at ``begun`` and ended with ``failure``."""
        # Loaded when it is needed: a run in which nothing fails, as nearly all do, starts a twentieth sooner.
        import stamina
        import stamina.instrumentation

        # Retries are ours to tell about: stamina's own hook would print the arguments to standard error.
        stamina.instrumentation.set_on_retry_hooks([])
        left = min(self._until, begun + RETRY_SECONDS) - time.monotonic()
        if left <= 0:
            self._backoff(
                failure
            )  # without time for another try: a 429 holds the other processes all the same
            raise failure
        first = True
        try:
            for attempt in stamina.retry_context(
                on=self._backoff,
                attempts=TRIES,
                timeout=left,
                wait_initial=self._first_backoff,
                wait_max=min(LONGEST_BACKOFF, left),
                wait_jitter=self._first_backoff,
            ):
                with attempt:
                    if first:
                        first = False
                        raise failure  # the first try has been made: from here on it counts and waits
                    try:
                        return self._once(path, params)
                    except ExchangeError as exc:
                        failure = exc
                        raise
        except OutOfTime:
            # A request that was sent and failed has failed, though there is no time to try it again.
            raise failure from None
        raise AssertionError("stamina ends by returning or raising")

    def close(self) -> None:
        """Close all connections, or let the last request that is under way in another thread do so.

        Closed under its hands, a connection's number could be another file's by then, such as the database's.
        """
        with self._lock:
            self._closed = True
            idle = self._under_way == 0
        if idle:
            self._http.close()

    def _backoff(self, error: Exception) -> bool | float:
        """Whether, or after how many seconds, a failed request is tried again."""
        if isinstance(error, RateLimited):
            wait = error.retry_after
            usable = wait is not None and wait > 0
            seconds = min(wait, LONGEST_RETRY_AFTER) if usable and wait else self._first_backoff * 2
            self._pace.hold(seconds)
            if time.monotonic() + seconds > self._until:
                return False
            self._say(f"{error}; all wait {seconds:.1f} s")
            return seconds
        if isinstance(error, (Unreachable, ServerFault)):
            self._say(f"{error}; trying again")
            return True
        return False

    def _once(self, path: str, params: Mapping[str, str | int]) -> Any:
        self._pace.wait(self._until)
        with self._lock:
            if self._closed:
                raise OutOfTime
            self.requests += 1
            self._under_way += 1
        try:
            return self._exchange(path, params)
        finally:
            with self._lock:
                self._under_way -= 1
                last = self._closed and self._under_way == 0
            if last:
                self._http.close()

    def _exchange(self, path: str, params: Mapping[str, str | int]) -> Any:
        # A request started at the end of the budget must not run into the next minute's run.
        seconds = min(DEADLINE_SECONDS, max(1.0, self._until + GRACE_SECONDS - time.monotonic()))
        _deadline.at = time.monotonic() + seconds
        try:
            with self._http.stream("GET", path, params=params) as response:
                status, headers = response.status_code, response.headers
                text = self._read(response)
        except httpx.TimeoutException as exc:
            raise Unreachable(f"no whole answer from the exchange within {seconds:.0f} s") from exc
        except httpx.TransportError as exc:
            # Its text is httpx's or the system's own ("[Errno -2] Name or service not known"): no address, no key.
            reason = self._blotted(str(exc).encode("utf-8", "replace")).decode()
            raise Unreachable(
                f"the exchange at {self._http.base_url.host} cannot be reached ({reason or type(exc).__name__})"
            ) from exc
        date = _date(headers.get("Date"))
        if date is not None:
            self.latest_date = date
        text = self._blotted(text)
        try:
            return self._unwrap(status, self._parse(text, status, headers))
        except RecursionError as exc:
            raise UnreadableAnswer("an answer that is nested too deeply", _beginning(text)) from exc

    def _blotted(self, text: bytes) -> bytes:
        """What came from the exchange, with our key in it (as it is, or as JSON may spell it) made unreadable."""
        for secret in self._secrets:
            for spelling in (
                secret,
                json.dumps(secret.decode())[1:-1].encode(),
                secret.replace(b"/", rb"\/"),
            ):
                text = text.replace(spelling, b"***")
        return text

    @staticmethod
    def _read(response: httpx.Response) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise UnreadableAnswer("an answer in an encoding that was not asked for")
        # Not httpx's own decoding, which makes a thousand bytes of each before the size can be looked at.
        unzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        body = bytearray()
        for part in response.iter_raw():
            try:
                body += unzip.decompress(part, MAX_ANSWER_BYTES + 1 - len(body)) if unzip else part
            except zlib.error as exc:
                raise UnreadableAnswer("an answer whose compression is broken") from exc
            if len(body) > MAX_ANSWER_BYTES:
                raise UnreadableAnswer(
                    f"an answer of more than {MAX_ANSWER_BYTES // 2**20} MiB", _beginning(bytes(body))
                )
            if time.monotonic() > _deadline.at:
                raise httpx.ReadTimeout("")
        return bytes(body)

    @staticmethod
    def _parse(text: bytes, status: int, headers: Mapping[str, str]) -> Any:
        if status == 429:
            raise RateLimited("the exchange says 429, too many requests", _retry_after(headers))
        if status >= 500:
            raise ServerFault(f"the exchange says {status}, a fault of its own")
        if status != 200 and status < 400:
            raise UnreadableAnswer(f"HTTP status {status} instead of an answer", _beginning(text))
        try:
            return json.loads(text)
        except ValueError as exc:
            if status == 200:
                raise UnreadableAnswer("an answer that is no JSON", _beginning(text)) from exc
            return None


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that obeys the deadline of the request its thread is at."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()


class _DeadlineBackend(httpcore.NetworkBackend):
    """Makes connections that obey the deadline of the request their thread is at."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.connect_tcp(host, port, left, local_address, socket_options))


def _left(timeout: float | None, expired: type[Exception]) -> float:
    """Seconds until the deadline of this thread's request, at most ``timeout``."""
    left: float = _deadline.at - time.monotonic()
    if left <= 0:
        raise expired("the request's deadline has passed")
    return left if timeout is None else min(left, timeout)


def _beginning(text: bytes) -> str:
    return text[:2_000].decode("utf-8", "backslashreplace")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a Retry-After header, in either of its forms; None if there is none that can be read."""
    value = headers.get("Retry-After", "")
    try:
        return float(value) if float(value) >= 0 else None
    except ValueError:
        pass
    wanted, now = _date(value), _date(headers.get("Date"))
    if wanted is None or now is None:
        return None
    return (wanted - now) / 1000


def _date(value: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(value or "").timestamp() * 1000)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _proxy(host: str) -> str | None:
    """The proxy that the environment names for this host (HTTPS_PROXY, NO_PROXY)."""
    proxy = None if proxy_bypass(host) else getproxies().get("https")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
