"""The HTTP client: errors, retries, deadlines, limits, the key."""

from __future__ import annotations

import gzip
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from whalesync.errors import (
    AuthenticationError,
    ExchangeError,
    InvalidResponse,
    OutOfTime,
    RateLimited,
    RequestRefused,
    ServerError,
    SettingsError,
    Unreachable,
)
from whalesync.exchanges import http
from whalesync.exchanges.http import ATTEMPTS, Client
from whalesync.exchanges.opinion_trade.api import KEY_HEADER, unwrap
from whalesync.exchanges.rate import RateLimit

URL = "https://exchange.example/openapi"
KEY = "s3cret/Key+of=tests"

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
Make = Callable[..., Client]


class Replies(httpx.BaseTransport):
    """Gives prepared replies, in order; the last one again and again."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.is_closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else reply(request)

    def close(self) -> None:
        self.is_closed = True


def body(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    """A response that is read as it comes from the network, not decoded before."""
    return httpx.Response(status, content=iter([content]), headers=headers)


def result(value: str = "1") -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: body(f'{{"errno": 0, "result": {value}}}'.encode())


@pytest.fixture
def rate(tmp_path: Path) -> Iterator[RateLimit]:
    made = RateLimit(tmp_path / "rate", 10_000)
    yield made
    made.close()


@pytest.fixture
def make(rate: RateLimit) -> Iterator[Make]:
    clients: list[Client] = []

    def build(
        transport: httpx.BaseTransport | None = None,
        seconds: float = 60,
        key: str = KEY,
        url: str = URL,
        **options: Any,
    ) -> Client:
        settings: dict[str, Any] = {
            "first_backoff": 0.001,
            "log_step": lambda _: None,
            "title": "Opinion.Trade",
        }
        settings |= {"until": time.monotonic() + seconds, "transport": transport, **options}
        clients.append(Client(url, {KEY_HEADER: key}, rate, unwrap, **settings))
        return clients[-1]

    yield build
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "envelope",
    ['{"errno": 0, "errmsg": "", "result": {"a": 1}}', '{"code": 0, "msg": "success", "result": {"a": 1}}',
     '{"errno": "0", "result": {"a": 1}}'],
)  # fmt: skip
def test_the_result_is_taken_out_of_either_envelope(envelope: str, make: Make) -> None:
    """And the request has the address, the parameters and the key."""
    replies = Replies(body(envelope.encode()))
    assert make(replies).get("/market", {"page": 1}) == {"a": 1}
    (request,) = replies.requests
    assert str(request.url) == f"{URL}/market?page=1"
    assert request.headers["apikey"] == KEY


FAILURES: list[tuple[int, bytes, type[ExchangeError], int]] = [
    (200, b'{"errno": 11001, "errmsg": "no wallet"}', AuthenticationError, 1),
    (200, b'{"errno": 11002, "errmsg": "invalid"}', AuthenticationError, 1),
    (200, b'{"errno": "11002"}', AuthenticationError, 1),
    (200, b'{"errno": 401}', AuthenticationError, 1),
    (401, b"", AuthenticationError, 1),
    (403, b"<html>", AuthenticationError, 1),
    (403, b'{"errno": 10403, "errmsg": "geoblocked"}', RequestRefused, 1),
    (200, b'{"code": 400, "msg": "bad parameter"}', RequestRefused, 1),
    (200, b'{"errno": 11010}', RequestRefused, 1),
    (200, b'{"errno": "E17"}', RequestRefused, 1),
    (404, b"not here", RequestRefused, 1),
    (200, b'{"errno": 429}', RateLimited, ATTEMPTS),
    (429, b"", RateLimited, ATTEMPTS),
    (200, b'{"errno": 500}', ServerError, ATTEMPTS),
    (503, b"<html>", ServerError, ATTEMPTS),
    (200, b"<html>", InvalidResponse, 1),
    (200, b"", InvalidResponse, 1),
    (200, b"[]", InvalidResponse, 1),
    (200, b"null", InvalidResponse, 1),
    (200, b'{"result": 1}', InvalidResponse, 1),
    (200, b'{"errno": {}, "result": 1}', InvalidResponse, 1),
    (200, b'{"errno": [[1]], "result": 1}', InvalidResponse, 1),
    (200, b"[" * 100_000, InvalidResponse, 1),
    (200, b'{"errno": 0, "result": ' + b"9" * 5_000 + b"}", InvalidResponse, 1),
    (200, b'{"errno": 0, "result": "\xff"}', InvalidResponse, 1),
    (301, b'{"errno": 0, "result": 1}', InvalidResponse, 1),
    (204, b"", InvalidResponse, 1),
]


@pytest.mark.parametrize(("status", "content", "error", "attempts"), FAILURES)
def test_each_failure_has_its_type_and_number_of_attempts(
    status: int, content: bytes, error: type[ExchangeError], attempts: int, make: Make
) -> None:
    """What may pass is attempted four times in all, the rest once; each message names the exchange."""
    replies = Replies(lambda _: body(content, status))
    with pytest.raises(ExchangeError, match=r"^Opinion\.Trade") as caught:
        make(replies).get("/market", {})
    assert type(caught.value) is error
    assert len(replies.requests) == attempts


def test_a_geoblock_is_not_reported_as_a_rejected_key(make: Make) -> None:
    """It has its own message, and does not ask anyone to check the key."""
    replies = Replies(body(b'{"errno": 10403, "errmsg": "forbidden"}', 403))
    with pytest.raises(RequestRefused, match="country") as caught:
        make(replies).get("/market", {})
    assert "KEY" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout(""),
        httpx.RemoteProtocolError("cut"),
        httpx.ReadError(""),
    ],
)
def test_a_broken_connection_is_retried(error: Exception, make: Make) -> None:
    """The result of a later attempt is the result."""
    assert make(Replies(error, error, result("7"))).get("/market", {}) == 7


def test_no_exception_of_the_library_gets_out(make: Make) -> None:
    """Whatever goes wrong on the way is Unreachable."""
    for error in (httpx.PoolTimeout, httpx.WriteError, httpx.ProxyError, httpx.UnsupportedProtocol):
        with pytest.raises(Unreachable):
            make(Replies(error("why"))).get("/market", {})


@pytest.mark.parametrize(
    ("header", "held"),
    [("3", 3), ("1e9", 60), ("inf", 60), ("Thu, 01 Jan 1970 00:00:05 GMT", 5), ("Fri, 31 Dec 9999 23:59:59 GMT", 60)],
)  # fmt: skip
def test_all_who_share_the_rate_wait_for_retry_after(
    header: str, held: float, make: Make, tmp_path: Path
) -> None:
    """At most a minute; where that is longer than the time budget, the request has failed at once."""
    limited = body(b"", 429, {"Retry-After": header, "Date": "Thu, 01 Jan 1970 00:00:00 GMT"})
    begun = time.monotonic()
    with pytest.raises(RateLimited):
        make(Replies(limited, result()), seconds=2).get("/market", {})
    assert time.monotonic() - begun < 1
    (next_slot,) = struct.unpack("<d", (tmp_path / "rate").read_bytes())
    assert next_slot - begun == pytest.approx(held, abs=1)


@pytest.mark.parametrize("header", ["0", "-1", "nan", "soon", "", "Thu, 99 Foo 1970 00:00:05 GMT"])
def test_a_retry_after_that_says_nothing_is_a_short_wait(header: str, make: Make) -> None:
    """The request is retried like any other."""
    limited = body(b"", 429, {"Retry-After": header, "Date": "Thu, 01 Jan 1970 00:00:00 GMT"})
    assert make(Replies(limited, result()), seconds=2).get("/market", {}) == 1


def test_nothing_is_sent_after_the_time_budget(make: Make) -> None:
    """OutOfTime, and no request."""
    replies = Replies(result())
    with pytest.raises(OutOfTime):
        make(replies, seconds=-1).get("/market", {})
    assert replies.requests == []


def test_a_failure_stays_a_failure_when_there_is_no_time_to_retry(make: Make) -> None:
    """No run may pass for done because its time was up."""
    with pytest.raises(Unreachable, match="refused"):
        make(Replies(httpx.ConnectError("refused")), seconds=0.2, first_backoff=0.3).get("/market", {})


def test_a_request_that_hangs_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """After RETRY_SECONDS there is no further attempt, so that others have their turn."""
    monkeypatch.setattr(http, "RETRY_SECONDS", 0.05)

    def hang(_: httpx.Request) -> httpx.Response:
        time.sleep(0.1)
        raise httpx.ReadTimeout("")

    replies = Replies(hang)
    with pytest.raises(Unreachable):
        make(replies).get("/market", {})
    assert len(replies.requests) == 1


def test_the_requested_compression_is_understood(make: Make) -> None:
    """A gzip response is expanded."""
    replies = Replies(body(gzip.compress(b'{"errno": 0, "result": 1}'), headers={"Content-Encoding": "GZIP"}))
    assert make(replies).get("/market", {}) == 1
    assert replies.requests[0].headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"[" * (http.MAX_RESPONSE_BYTES + 1), "identity", "larger than 4 MiB"),
        (gzip.compress(bytes(2**28)), "gzip", "larger than 4 MiB"),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", "encoding"),
        (b"{}", "br", "encoding"),
        (b"{}", "gzip", "compression"),
        (gzip.compress(b'{"errno": 0, "result": 1}' * 50)[:-30], "gzip", "not valid JSON"),
    ],
)
def test_a_response_too_large_or_badly_compressed_is_refused(
    content: bytes, encoding: str, message: str, make: Make
) -> None:
    """Its size is checked while it is expanded."""
    with pytest.raises(InvalidResponse, match=message):
        make(Replies(body(content, headers={"Content-Encoding": encoding}))).get("/market", {})


@pytest.mark.parametrize("spelled", [KEY, KEY.replace("/", r"\/")])
def test_the_key_is_redacted_in_whatever_comes_back(spelled: str, make: Make) -> None:
    """In errors, results and what is said about retries."""
    said: list[str] = []
    replies = Replies(
        body(f'{{"errno": 400, "errmsg": "bad key {spelled}"}}'.encode(), 400),
        body(f'{{"errno": 0, "result": "{spelled}"}}'.encode()),
        httpx.RemoteProtocolError(f"illegal status line: {KEY}"),
        result(),
    )
    client = make(replies, log_step=said.append)
    with pytest.raises(RequestRefused, match=r"bad key \*\*\*"):
        client.get("/market", {})
    assert client.get("/market", {}) == "***"
    client.get("/market", {})
    assert len(said) == 1 and "***" in said[0] and KEY not in said[0]


def test_a_short_key_is_not_redacted(make: Make) -> None:
    """A key of a few letters occurs in other words too: data arrive as they were sent."""
    title = '"Will the talks take place?"'
    assert f'"{make(Replies(result(title)), key="k").get("/market", {})}"' == title


def test_a_retry_is_neither_printed_nor_logged(
    make: Make, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Only log_step is told: cron would mail anything else."""
    said: list[str] = []
    make(Replies(body(b"", 500), body(b"", 500), result()), log_step=said.append).get(
        "/market", {"token": "of-somebody"}
    )
    assert said == ["Opinion.Trade answered 500 (server error); retrying"] * 2
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert stamina.is_active()


def test_the_exchange_s_clock_runs_on_after_its_latest_response(make: Make) -> None:
    """A response without a readable Date changes nothing; time that passes afterwards counts."""
    dates = ["Thu, 01 Jan 1970 00:00:05 GMT", "yesterday", "Thu, 01 Jan 99999 00:00:05 GMT", ""]
    client = make(Replies(*(body(b'{"errno": 0, "result": 1}', headers={"Date": date}) for date in dates)))
    assert client.latest_date is None
    begun = time.monotonic()
    for _ in dates:
        client.get("/market", {})
    time.sleep(0.05)
    assert client.latest_date is not None
    assert 5_050 <= client.latest_date <= 5_001 + (time.monotonic() - begun) * 1000


def test_closing_leaves_connections_in_use_to_their_user(make: Make) -> None:
    """The last request under way closes them; none is begun after."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: httpx.Request) -> httpx.Response:
        begun.set()
        go_on.wait(5)
        return body(b'{"errno": 0, "result": 1}')

    replies = Replies(wait)
    client = make(replies)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(client.get("/market", {})))
    thread.start()
    assert begun.wait(5)
    client.close()
    assert not replies.is_closed
    go_on.set()
    thread.join()
    assert replies.is_closed
    assert results == [1]
    with pytest.raises(OutOfTime):
        client.get("/market", {})


@pytest.mark.parametrize("proxy", ["nonsense://x", "socks5://proxy.example", "http://user:secret@[::1"])
def test_an_invalid_proxy_is_named_without_its_address(
    proxy: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(SettingsError, match="HTTPS_PROXY") as caught:
        make()
    assert "secret" not in str(caught.value)


class Server:
    """A server on loopback that sends ``parts``, ``pause`` seconds apart, to each connection."""

    def __init__(self, *parts: bytes, pause: float = 0.0) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self._parts = parts
        self._pause = pause
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                with connection, suppress(OSError):
                    while request := connection.recv(65_536):
                        self.heard.append(request)
                        for part in self._parts:
                            connection.sendall(part)
                            time.sleep(self._pause)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n"
BODY = b'{"errno": 0, "result": 1}'


def test_connections_are_kept_and_used_again(make: Make) -> None:
    """Two requests, one connection."""
    with Server(HEAD + BODY) as server:
        client = make(url=f"http://{server.address}", loopback=True)
        assert [client.get("/a", {}), client.get("/b", {})] == [1, 1]
        assert server.connections == 1
        client.close()


@pytest.mark.parametrize(
    "parts",
    [[bytes([byte]) for byte in HEAD + BODY], [HEAD, *(bytes([byte]) for byte in BODY)], [b""]],
    ids=["headers", "body", "silence"],
)
def test_the_deadline_holds_for_a_whole_request(
    parts: list[bytes], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of the response comes byte by byte, or not at all."""
    monkeypatch.setattr(http, "DEADLINE_SECONDS", 0.25)
    monkeypatch.setattr(http, "RETRY_SECONDS", 0.0)
    with Server(*parts, pause=0.1) as server:
        client = make(url=f"http://{server.address}", loopback=True)
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer completely"):
            client.get("/market", {})
        assert 0.2 < time.monotonic() - begun < 2


def test_requests_go_through_the_proxy_of_the_environment(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY is taken without a scheme too, as curl takes it."""
    with Server(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"user:secret@{proxy.address}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(Unreachable, match="407"):
            make().get("/market", {})
        assert proxy.heard[0].startswith(b"CONNECT exchange.example:443 ")
        assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in proxy.heard[0]


def test_the_client_loads_nothing_that_it_does_not_need() -> None:
    """Neither httpx's command line nor, before a request fails, the retries."""
    code = "import sys, whalesync.exchanges.http; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"httpx", "httpcore"} <= loaded
    assert loaded & {"click", "rich", "pygments", "stamina", "tenacity", "asyncio", "whalesync.cli"} == set()
