"""Connections for httpx that keep the deadline of a whole request, and the import of httpx itself.

httpx's own timeouts are per read: a server that sends a byte a second never exceeds them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass  # httpx loads it anyway

from whalesync.errors import SettingsError


@contextmanager
def _not_installed(*packages: str) -> Iterator[None]:
    """Let imports of ``packages`` fail, as if they were not installed, unless they are loaded already.

    By a finder on ``sys.meta_path``, see docs.python.org/3/reference/import.html#the-meta-path.
    """

    class Refuse:
        def find_spec(self, fullname: str, path: object, target: object = None) -> None:
            if fullname.partition(".")[0] in packages:
                raise ModuleNotFoundError(name=fullname)

    finder = Refuse()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


# The packages of the optional extra httpx[cli]. Where they are installed, httpx loads its own command line
# with them: 133 ms instead of 80 ms for ``import httpx`` in a fresh process (median of 9).
with _not_installed("click", "pygments", "rich"):
    import httpcore
    import httpx

__all__ = [
    "TIMEOUTS",
    "TRANSPORT_ERRORS",
    "DeadlineTransport",
    "environment_proxy",
    "httpx",
    "seconds_left",
    "set_deadline",
]

MAX_CONNECTIONS = 100
KEEP_ALIVE_SECONDS = 5.0

TIMEOUTS = (httpx.TimeoutException, httpcore.TimeoutException)
TRANSPORT_ERRORS = (
    httpx.TransportError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)

_thread = threading.local()  # .deadline: monotonic seconds, of the request that the thread is making


def set_deadline(moment: float) -> None:
    """Set when this thread's next request must be complete (monotonic seconds)."""
    _thread.deadline = moment


def seconds_left() -> float:
    """Seconds until the deadline of this thread's request."""
    left: float = _thread.deadline - time.monotonic()
    return left


def environment_proxy(host: str) -> httpcore.Proxy | None:
    """The proxy for this host by HTTPS_PROXY and NO_PROXY."""
    address = None if proxy_bypass(host) else getproxies().get("https")
    if address is None:
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        if proxy.url.scheme not in ("http", "https"):
            raise ValueError
        return httpcore.Proxy(str(proxy.url), auth=proxy.auth)
    except (ValueError, httpx.InvalidURL) as exc:
        raise SettingsError(  # without the address, which may hold a password
            "HTTPS_PROXY must be the address of a proxy, such as http://proxy.example:3128"
        ) from exc


class DeadlineTransport(httpx.BaseTransport):
    """httpx's requests over connections that keep the deadline of the thread's request."""

    def __init__(self, *, verify: bool, proxy: httpcore.Proxy | None) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(verify=verify),
            proxy=proxy,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=_DeadlineBackend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raises the exceptions of httpcore."""
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The body of a response, as it comes."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _DeadlineBackend(httpcore.SyncBackend):
    """Makes connections that keep the deadline of their thread's request."""

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(super().connect_tcp(host, port, left, *args, **options))


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that keeps the deadline of its thread's request."""

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


def _left(timeout: float | None, expired: type[Exception]) -> float:
    """Seconds until the deadline of this thread's request, at most ``timeout``."""
    left = seconds_left()
    if left <= 0:
        raise expired("the deadline of the request has passed")
    return left if timeout is None else min(left, timeout)
