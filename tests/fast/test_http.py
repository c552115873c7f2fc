"""The HTTP client: errors, retries, deadlines, limits, the key."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import stamina

from whalesync.errors import (
    AuthenticationError,
    ExchangeError,
    InvalidResponse,
    NotServed,
    OutOfTime,
    RateLimited,
    RequestRefused,
    ServerError,
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
def make(tmp_path: Path) -> Iterator[Make]:
    rate = RateLimit(tmp_path / "rate", 10_000)
    clients: list[Client] = []

    def build(
        transport: httpx.BaseTransport | None = None, seconds: float = 60, url: str = URL, **options: Any
    ) -> Client:
        options.setdefault("first_backoff", 0.001)
        options.setdefault("log_step", lambda _: None)
        options |= {"until": time.monotonic() + seconds, "title": "Opinion.Trade", "transport": transport}
        clients.append(Client(url, {KEY_HEADER: KEY}, rate, unwrap, **options))
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
    assert make(replies).get("/market", {"page": 1, "ids": ["7", "8"]}) == {"a": 1}
    (request,) = replies.requests
    assert str(request.url) == f"{URL}/market?page=1&ids=7&ids=8"
    assert request.headers["apikey"] == KEY


FAILURES: list[tuple[int, bytes, type[ExchangeError], int]] = [
    (200, b'{"errno": 11001, "errmsg": "no wallet"}', AuthenticationError, 1),
    (200, b'{"errno": 11002, "errmsg": "invalid"}', AuthenticationError, 1),
    (200, b'{"errno": "11002"}', AuthenticationError, 1),
    (200, b'{"errno": 401}', AuthenticationError, 1),
    (401, b"", AuthenticationError, 1),
    (403, b"<html>", AuthenticationError, 1),
    (403, b'{"errno": 10403, "errmsg": "geoblocked"}', NotServed, 1),
    (200, b'{"errno": 10014, "errmsg": "Please enable trading first"}', AuthenticationError, 1),
    (200, b'{"code": 400, "msg": "bad parameter"}', RequestRefused, 1),
    (200, b'{"errno": 11010}', RequestRefused, 1),
    (200, b'{"errno": "E17"}', RequestRefused, 1),
    (404, b"not here", RequestRefused, 1),
    (200, b'{"errno": 429}', RateLimited, ATTEMPTS),
    (429, b"", RateLimited, ATTEMPTS),
    (200, b'{"errno": 500}', ServerError, ATTEMPTS),
    (503, b"<html>", ServerError, ATTEMPTS),
    (200, b"<html>", InvalidResponse, 1),
    (200, b"[]", InvalidResponse, 1),
    (200, b'{"result": 1}', InvalidResponse, 1),
    (200, b'{"errno": {}, "result": 1}', InvalidResponse, 1),
    (200, b"[" * 100_000, InvalidResponse, 1),
    (200, b'{"errno": 0, "result": ' + b"9" * 5_000 + b"}", InvalidResponse, 1),
    (200, b'{"errno": 0, "result": "\xff"}', InvalidResponse, 1),
    (301, b'{"errno": 0, "result": 1}', InvalidResponse, 1),
]


@pytest.mark.parametrize(("status", "content", "error", "attempts"), FAILURES)
def test_each_failure_has_its_type_and_number_of_attempts(
    status: int, content: bytes, error: type[ExchangeError], attempts: int, make: Make
) -> None:
    """What may pass is attempted four times, the rest once; only a rejected key, not a geoblock, blames the key."""
    replies = Replies(lambda _: body(content, status))
    with pytest.raises(ExchangeError, match=r"^Opinion\.Trade") as caught:
        make(replies).get("/market", {})
    assert type(caught.value) is error
    blames_key = error is AuthenticationError and b"10014" not in content
    assert ("Check OPINION_TRADE_API_KEY" in str(caught.value)) == blames_key
    assert len(replies.requests) == attempts


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError, httpx.PoolTimeout, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError,
     httpx.WriteError, httpx.ProxyError, httpx.UnsupportedProtocol, httpcore.ReadError, httpcore.ConnectTimeout],
)  # fmt: skip
def test_a_broken_connection_is_retried(error: type[Exception], make: Make) -> None:
    """Whatever the library raises; the result of a later attempt is the result."""
    assert make(Replies(error(""), error(""), result("7"))).get("/market", {}) == 7


@pytest.mark.parametrize(
    ("header", "held"),
    [("3", 3), ("1e9", 60), ("inf", 60), ("Thu, 01 Jan 1970 00:00:05 GMT", 5), ("Fri, 31 Dec 9999 23:59:59 GMT", 60)],
)  # fmt: skip
def test_all_who_share_the_rate_wait_for_retry_after(header: str, held: float, make: Make, tmp_path: Path) -> None:
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
        (gzip.compress(bytes(2**24)), "gzip", "larger than 4 MiB"),
        (b"{}", "br", "encoding"),
        (b"{}", "gzip", "compression"),
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


@contextmanager
def one_connection(response: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server on loopback that accepts one connection; its address, and the requests that it has answered."""
    heard: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            while request := connection.recv(65_536):
                heard.append(request)
                connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", heard


def test_connections_are_kept_and_used_again(make: Make) -> None:
    """Two requests, one connection."""
    response = b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{"errno": 0, "result": 1}'
    with one_connection(response) as (address, heard):
        client = make(url=f"http://{address}", loopback=True)
        assert [client.get("/a", {}), client.get("/b", {})] == [1, 1]
        assert len(heard) == 2
        client.close()


def test_requests_go_through_the_proxy_of_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is taken without a scheme too, as curl takes it."""
    with one_connection(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as (address, heard):
        monkeypatch.setenv("HTTPS_PROXY", f"user:secret@{address}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setattr(http, "RETRY_SECONDS", 0.0)
        with pytest.raises(Unreachable, match="407"):
            make().get("/market", {})
    assert heard[0].startswith(b"CONNECT exchange.example:443 ")
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in heard[0]
