"""HTTP: keep-alive connections, one shared rate, a total deadline, a size cap, and retries of single requests.

Everything that is httpx, httpcore or stamina stays in this file and in ``transport``.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from whalesync import __version__
from whalesync.errors import (
    ExchangeError,
    InvalidResponse,
    OutOfTime,
    RateLimited,
    ServerError,
    Unreachable,
)
from whalesync.exchanges.rate import RateLimit
from whalesync.exchanges.transport import (
    TIMEOUTS,
    TRANSPORT_ERRORS,
    DeadlineTransport,
    environment_proxy,
    httpx,
    seconds_left,
    set_deadline,
)
from whalesync.redact import redact

CONNECT_SECONDS = 5.0
DEADLINE_SECONDS = 12.0
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
MAX_SKIPPED_BYTES = 64 * 1024
SKIP_SECONDS = 0.5
ATTEMPTS = 4
RETRY_SECONDS = 20.0  # no retry after that: one request that hangs must not take up a whole run
LONGEST_BACKOFF = 10.0
GRACE_SECONDS = 4.0  # how long after the time budget a request that is under way may still take

Params: TypeAlias = Mapping[str, str | int | Sequence[str]]

RETRIED = (Unreachable, RateLimited, ServerError)


class Client:
    """Makes requests to one exchange. Threads may share it.

    Args:
        base_url: without a trailing slash.
        headers: sent with every request. They hold the key, so they are never logged, and their values are
            redacted in whatever comes back.
        rate: the rate that all processes share.
        unwrap: takes the HTTP status and the parsed body (None where the body of a refusal is not JSON), and
            returns the result in it or raises an ExchangeError.
        first_backoff: seconds before the second attempt; doubles after each.
        until: monotonic seconds; nothing is sent or retried after.
        log_step: told what is retried.
        title: the exchange's name in messages.
        loopback: the address names this machine, so certificates and proxies do not matter.
        transport: sends the requests; for tests.

    Raises:
        SettingsError: HTTPS_PROXY is not usable.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        rate: RateLimit,
        unwrap: Callable[[int, Any], Any],
        *,
        first_backoff: float,
        until: float,
        log_step: Callable[[str], None],
        title: str,
        loopback: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._rate = rate
        self._unwrap = unwrap
        self._first_backoff = first_backoff
        self._until = until
        self._log_step = log_step
        self._title = title
        self._host = urlsplit(base_url).hostname or ""
        self._secrets = {
            spelling  # as it is, and as JSON may spell it
            for secret in headers.values()
            for spelling in (secret, json.dumps(secret)[1:-1], secret.replace("/", r"\/"))
        }
        self._lock = threading.Lock()
        self._under_way = 0
        self._closed = False
        self._latest_date: tuple[int, float] | None = None
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", **headers}
        self._http = _open(self._host, headers, base_url, loopback=loopback, transport=transport)

    @property
    def latest_date(self) -> int | None:
        """The exchange's clock now (ms): the ``Date`` of its latest response, and the time since. None without one."""
        if self._latest_date is None:
            return None
        date, received = self._latest_date
        return date + round((time.monotonic() - received) * 1000)

    def get(self, path: str, params: Params) -> Any:
        """The result of one request, with up to ATTEMPTS attempts within RETRY_SECONDS; waits for the shared rate.

        Args:
            params: of the query; a list repeats its name.

        Raises:
            OutOfTime: the time budget ended before the request could be sent.
            Unreachable, RateLimited, ServerError: the last attempt failed too.
            ExchangeError: anything else that is wrong with the response.
        """
        end = min(self._until, time.monotonic() + RETRY_SECONDS)
        try:
            return self._attempt(path, params)
        except RETRIED as exc:
            failure: ExchangeError = exc
        # Loaded when a request has failed: 8 ms of the 103 ms that a run without failures takes for its imports.
        import stamina
        import stamina.instrumentation

        stamina.instrumentation.set_on_retry_hooks([])  # the default ones print the arguments
        left = end - time.monotonic() - self._first_backoff
        if not self._is_retried(failure) or left <= 0:
            raise failure
        if not stamina.is_testing():
            time.sleep(self._first_backoff)
        try:
            for attempt in stamina.retry_context(
                on=self._is_retried,
                attempts=ATTEMPTS - 1,
                timeout=left,
                wait_initial=2 * self._first_backoff,
                wait_max=min(LONGEST_BACKOFF, left),
                wait_jitter=0,  # the shared rate keeps requests apart that failed together
            ):
                with attempt:
                    try:
                        return self._attempt(path, params)
                    except ExchangeError as exc:
                        failure = exc
                        raise
        except OutOfTime:
            raise failure from None  # the request was sent and has failed: no time to retry does not change that
        raise AssertionError("stamina ends by returning or raising")

    def close(self) -> None:
        """Close all connections; if a request is under way in another thread, its end does so.

        A file descriptor that is closed while a thread uses it may be another file's by then, the database's say.
        """
        with self._lock:
            self._closed = True
            if not self._under_way:
                self._http.close()

    def _is_retried(self, error: Exception) -> bool:
        """Whether a failed request is retried; after a 429 the shared rate is held first."""
        if isinstance(error, RateLimited):
            wait = error.retry_after or 2 * self._first_backoff
            self._rate.hold(wait)
            self._log_step(f"{error}; retrying after {wait:.1f} s, as all processes do")
        elif isinstance(error, RETRIED):
            self._log_step(f"{error}; retrying")
        return isinstance(error, RETRIED)

    def _attempt(self, path: str, params: Params) -> Any:
        """Wait for the rate, send the request once, and keep the connections open meanwhile."""
        self._rate.wait(self._until)
        with self._lock:
            if self._closed:
                raise OutOfTime
            self._under_way += 1
        try:
            return self._send(path, params)
        finally:
            with self._lock:
                self._under_way -= 1
                if self._closed and not self._under_way:
                    self._http.close()

    def _send(self, path: str, params: Params) -> Any:
        # A request that starts at the end of the budget must not run into the next minute's run.
        seconds = min(DEADLINE_SECONDS, max(1.0, self._until + GRACE_SECONDS - time.monotonic()))
        set_deadline(time.monotonic() + seconds)
        try:
            with self._http.stream("GET", path, params=params) as response:
                status, headers = response.status_code, response.headers
                body = self._read(response)
        except TIMEOUTS as exc:
            raise Unreachable(f"{self._title} did not answer completely within {seconds:.0f} s") from exc
        except TRANSPORT_ERRORS as exc:
            # The text is the library's or the system's own ("[Errno 111] Connection refused"), without the address.
            reason = redact(str(exc), self._secrets) or type(exc).__name__
            raise Unreachable(f"{self._title} at {self._host} cannot be reached ({reason})") from exc
        date = _date(headers.get("Date"))
        if date is not None:
            self._latest_date = date, time.monotonic()
        try:
            return self._unwrap(status, self._parse(body, status, headers))
        except RecursionError as exc:
            raise InvalidResponse(f"{self._title}: the response is nested too deeply") from exc

    def _read(self, response: httpx.Response) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise InvalidResponse(f"{self._title}: the response has an encoding that was not requested")
        # Not httpx's own decoding, which expands each part before its size can be checked.
        unzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        body = bytearray()
        for part in response.iter_raw():
            try:
                body += unzip.decompress(part, MAX_RESPONSE_BYTES + 1 - len(body)) if unzip else part
            except zlib.error as exc:
                raise InvalidResponse(f"{self._title}: the compression of the response is broken") from exc
            if len(body) > MAX_RESPONSE_BYTES:
                size = MAX_RESPONSE_BYTES // 2**20
                raise InvalidResponse(f"{self._title}: the response is larger than {size} MiB")
            if seconds_left() <= 0:
                raise httpx.ReadTimeout("")
        return bytes(body)

    def _parse(self, body: bytes, status: int, headers: Mapping[str, str]) -> Any:
        if status == 429:
            raise RateLimited(f"{self._title} answered 429 (too many requests)", _retry_after(headers))
        if status >= 500:
            raise ServerError(f"{self._title} answered {status} (server error)")
        if status != 200 and status < 400:
            raise InvalidResponse(f"{self._title} answered {status}, which is neither a result nor an error")
        try:
            return json.loads(redact(body.decode("utf-8-sig"), self._secrets))
        except ValueError as exc:
            if status == 200:
                raise InvalidResponse(f"{self._title}: the response is not valid JSON") from exc
            return None


class PostAnswer(NamedTuple):
    """What came back for a POST: the HTTP status, and the pause that was asked for (seconds), None without one."""

    status: int
    retry_after: float | None


class Poster:
    """Posts to one address, one request at a time, and follows no redirects. The status alone is the answer.

    Args:
        url: may hold a secret, so it is in no message.
        loopback: the address names this machine, so certificates and proxies do not matter.
        transport: sends the requests; for tests.

    Raises:
        SettingsError: HTTPS_PROXY is not usable.
    """

    def __init__(self, url: str, *, loopback: bool = False, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        # A connection for each request: none is left open, and requests to one address are rare.
        headers = {"Accept-Encoding": "identity", "Connection": "close"}
        self._http = _open(urlsplit(url).hostname or "", headers, loopback=loopback, transport=transport)

    def post(self, body: bytes, headers: Mapping[str, str], seconds: float) -> PostAnswer:
        """Send one request; once its status is there, nothing that is wrong with the rest of the response matters.

        Raises:
            Unreachable: no status came within ``seconds``. The text has nothing of the address and the response.
        """
        end = time.monotonic() + seconds
        set_deadline(end)
        try:
            with self._http.stream("POST", self._url, content=body, headers=headers) as response:
                answer = PostAnswer(response.status_code, _retry_after(response.headers))
                set_deadline(min(end, time.monotonic() + SKIP_SECONDS))
                with suppress(*TIMEOUTS, *TRANSPORT_ERRORS):
                    _skip(response)
                return answer
        except TIMEOUTS as exc:
            raise Unreachable(f"no response within {seconds:.0f} s") from exc
        except TRANSPORT_ERRORS as exc:
            raise Unreachable(_reason(exc)) from exc


def _open(
    host: str,
    headers: Mapping[str, str],
    base_url: str = "",
    *,
    loopback: bool,
    transport: httpx.BaseTransport | None,
) -> httpx.Client:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it logs whole addresses
    proxy = None if loopback or transport else environment_proxy(host)
    return httpx.Client(
        base_url=base_url,
        headers={"User-Agent": f"whalesync/{__version__}", **headers},
        transport=transport or DeadlineTransport(verify=not loopback, proxy=proxy),
        timeout=httpx.Timeout(DEADLINE_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,
    )


def _skip(response: httpx.Response) -> None:
    """Read a short body to its end, because a server may take the end of the connection before that for a failure."""
    size = 0
    for part in response.iter_raw():
        size += len(part)
        if size > MAX_SKIPPED_BYTES:
            return


def _reason(exc: BaseException) -> str:
    """Why there is no response, as the system says it; the libraries' own texts may repeat what was received."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "the connection was closed, or the response is not HTTP"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header, in either of its forms; None if it does not say for how long."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        wanted, now = _date(value), _date(headers.get("Date"))
        seconds = 0.0 if wanted is None or now is None else (wanted - now) / 1000
    return seconds if seconds > 0 else None


def _date(value: str | None) -> int | None:
    """An HTTP date as milliseconds since 1970; None if it cannot be read."""
    try:
        return int(parsedate_to_datetime(value or "").timestamp() * 1000)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
