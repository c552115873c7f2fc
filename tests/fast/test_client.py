"""The client: envelopes, errors, retries, limits, the key. The answers are played by pytest-httpx."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from pytest_httpx import HTTPXMock, IteratorStream

from whalesync.errors import (
    ExchangeError,
    KeyRefused,
    OutOfTime,
    RateLimited,
    RequestRefused,
    ServerFault,
    SettingsError,
    Unreachable,
    UnreadableAnswer,
)
from whalesync.exchange import client as module
from whalesync.exchange.client import TRIES, Client
from whalesync.exchange.opinion import KEY_HEADER, unwrap
from whalesync.exchange.pace import Pace

URL = "https://exchange.example/openapi"
KEY = "s3cret/Key+of=tests"

Make = Callable[..., Client]


class Holds(Pace):
    """A pace that writes down what it was asked to hold, and holds nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 10_000)
        self.held: list[float] = []

    def hold(self, seconds: float) -> None:
        self.held.append(seconds)


@pytest.fixture
def pace(tmp_path: Path) -> Iterator[Holds]:
    made = Holds(tmp_path / "rate")
    yield made
    made.close()


@pytest.fixture
def make(pace: Holds) -> Iterator[Make]:
    clients: list[Client] = []

    def build(seconds: float = 60, key: str = KEY, **options: Any) -> Client:
        clients.append(
            Client(
                URL, {KEY_HEADER: key}, pace, unwrap,
                **{"first_backoff": 0.001, "until": time.monotonic() + seconds, **options},
            )
        )  # fmt: skip
        return clients[-1]

    yield build
    for client in clients:
        client.close()


def answers(
    httpx_mock: HTTPXMock, status: int = 200, body: Any = None, times: int = 1, **options: Any
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    for _ in range(times):
        httpx_mock.add_response(status_code=status, content=content, **options)


@pytest.mark.parametrize(
    "body",
    [{"errno": 0, "errmsg": "", "result": {"a": 1}}, {"code": 0, "msg": "success", "result": {"a": 1}},
     {"errno": "0", "result": {"a": 1}}],
)  # fmt: skip
def test_both_envelopes(body: Any, httpx_mock: HTTPXMock, make: Make) -> None:
    """The result is taken out of either."""
    answers(httpx_mock, body=body)
    assert make().get("/market", {"page": 1}) == {"a": 1}
    (request,) = httpx_mock.get_requests()
    assert str(request.url) == f"{URL}/market?page=1"
    assert request.headers["apikey"] == KEY


REFUSALS: list[tuple[int, Any, type[ExchangeError], int]] = [
    (200, {"errno": 11001, "errmsg": "no wallet"}, KeyRefused, 1),
    (200, {"errno": 11002, "errmsg": "invalid"}, KeyRefused, 1),
    (200, {"errno": 401}, KeyRefused, 1),
    (401, b"", KeyRefused, 1),
    (403, b"<html>", KeyRefused, 1),
    (200, {"code": 400, "msg": "bad parameter"}, RequestRefused, 1),
    (200, {"errno": 404}, RequestRefused, 1),
    (404, b"not here", RequestRefused, 1),
    (200, {"errno": 11010}, RequestRefused, 1),
    (200, {"errno": "11002"}, KeyRefused, 1),
    (200, {"errno": "E17"}, RequestRefused, 1),
    (200, {"errno": 429}, RateLimited, TRIES),
    (429, b"", RateLimited, TRIES),
    (200, {"errno": 500}, ServerFault, TRIES),
    (500, b"", ServerFault, TRIES),
    (503, b"<html>", ServerFault, TRIES),
    (200, b"<html>", UnreadableAnswer, 1),
    (200, b"", UnreadableAnswer, 1),
    (200, [], UnreadableAnswer, 1),
    (200, None, UnreadableAnswer, 1),
    (200, {"result": 1}, UnreadableAnswer, 1),
    (200, {"errno": {}, "result": 1}, UnreadableAnswer, 1),
    (200, {"errno": [[1]], "result": 1}, UnreadableAnswer, 1),
    (200, b"[" * 100_000, UnreadableAnswer, 1),
    (200, b'{"errno": 0, "result": ' + b"9" * 5_000 + b"}", UnreadableAnswer, 1),
    (301, b'{"errno": 0, "result": 1}', UnreadableAnswer, 1),
    (204, b"", UnreadableAnswer, 1),
]


@pytest.mark.parametrize(("status", "body", "error", "tries"), REFUSALS)
def test_refusals(
    status: int, body: Any, error: type[ExchangeError], tries: int, httpx_mock: HTTPXMock, make: Make
) -> None:
    """Each is told for what it is; what may pass is tried four times in all, the rest once."""
    answers(httpx_mock, status, body, times=tries)
    with pytest.raises(ExchangeError) as caught:
        make().get("/market", {})
    assert type(caught.value) is error
    assert len(httpx_mock.get_requests()) == tries


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout(""),
        httpx.RemoteProtocolError("cut"),
        httpx.ReadError(""),
    ],
)
def test_a_broken_connection_is_tried_again(error: Exception, httpx_mock: HTTPXMock, make: Make) -> None:
    """And what comes at last is the answer."""
    httpx_mock.add_exception(error)
    httpx_mock.add_exception(error)
    answers(httpx_mock, body={"errno": 0, "result": 7})
    assert make().get("/market", {}) == 7


def test_no_exception_of_httpx_gets_out(httpx_mock: HTTPXMock, make: Make) -> None:
    """Whatever goes wrong on the way is Unreachable."""
    for error in (httpx.PoolTimeout, httpx.WriteError, httpx.ProxyError, httpx.UnsupportedProtocol):
        for _ in range(TRIES):
            httpx_mock.add_exception(error("why"))
        with pytest.raises(Unreachable):
            make().get("/market", {})


@pytest.mark.parametrize(
    ("header", "held"),
    [("3", 3), ("1e9", 60), ("1000000000", 60), ("inf", 60), ("0", 0.002), ("-1", 0.002), ("nan", 0.002),
     ("soon", 0.002), ("", 0.002), ("Thu, 01 Jan 1970 00:00:05 GMT", 5), ("Fri, 31 Dec 9999 23:59:59 GMT", 60),
     ("Thu, 99 Foo 1970 00:00:05 GMT", 0.002)],
)  # fmt: skip
def test_retry_after(header: str, held: float, httpx_mock: HTTPXMock, make: Make, pace: Holds) -> None:
    """All who share the rate wait for as long, a minute at most; nobody waits beyond the budget."""
    answers(httpx_mock, 429, b"", headers={"Retry-After": header, "Date": "Thu, 01 Jan 1970 00:00:00 GMT"})
    if held < 1:
        answers(httpx_mock, body={"errno": 0, "result": 1})
    client, begun = make(seconds=2), time.monotonic()
    if held < 1:
        assert client.get("/market", {}) == 1
    else:
        with pytest.raises(RateLimited):
            client.get("/market", {})
    assert pace.held == pytest.approx([held])
    assert time.monotonic() - begun < 1


def test_out_of_time_before_the_first_try(make: Make, httpx_mock: HTTPXMock) -> None:
    """Nothing is sent."""
    with pytest.raises(OutOfTime):
        make(seconds=-1).get("/market", {})
    assert httpx_mock.get_requests() == []


def test_out_of_time_after_a_try_is_that_tries_failure(make: Make, httpx_mock: HTTPXMock) -> None:
    """A request that was sent and failed has failed: no run may pass for done because its time was up."""
    httpx_mock.add_exception(httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match="refused"):
        make(seconds=0.2, first_backoff=0.3).get("/market", {})


def test_something_that_hangs_is_not_tried_for_ever(
    make: Make, httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After RETRY_SECONDS it is given up, so that others get their turn."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)

    def hang(_: httpx.Request) -> httpx.Response:
        time.sleep(0.1)
        raise httpx.ReadTimeout("")

    httpx_mock.add_callback(hang)
    with pytest.raises(Unreachable):
        make().get("/market", {})
    assert len(httpx_mock.get_requests()) == 1


def test_size_cap(httpx_mock: HTTPXMock, make: Make) -> None:
    """An answer that is too large is refused, and only its beginning is kept."""
    answers(httpx_mock, body=b"[" * (module.MAX_ANSWER_BYTES + 1))
    with pytest.raises(UnreadableAnswer, match="4 MiB") as caught:
        make().get("/market", {})
    assert len(caught.value.payload) == 2_000


def test_gzip(httpx_mock: HTTPXMock, make: Make) -> None:
    """What was asked for is understood."""
    body = gzip.compress(b'{"errno": 0, "result": 1}')
    httpx_mock.add_response(stream=IteratorStream([body]), headers={"Content-Encoding": "GZIP"})
    assert make().get("/market", {}) == 1
    assert httpx_mock.get_requests()[0].headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (gzip.compress(bytes(2**28)), "gzip", "4 MiB"),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", "encoding"),
        (b"{}", "br", "encoding"),
        (b"{}", "gzip", "compression"),
        (gzip.compress(b'{"errno": 0, "result": 1}' * 50)[:-30], "gzip", "no JSON"),
    ],
)
def test_bad_compression(body: bytes, encoding: str, words: str, httpx_mock: HTTPXMock, make: Make) -> None:
    """A bomb does not go off; what is broken or was not asked for is refused."""
    # As a stream: httpx would decode content that it is given whole.
    httpx_mock.add_response(stream=IteratorStream([body]), headers={"Content-Encoding": encoding})
    begun = time.monotonic()
    with pytest.raises(UnreadableAnswer, match=words):
        make().get("/market", {})
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("spelled", [KEY, KEY.replace("/", r"\/")])
def test_the_key_is_blotted_out(spelled: str, httpx_mock: HTTPXMock, make: Make) -> None:
    """An exchange that repeats it in an answer or an error does not get it into our log."""
    said: list[str] = []
    answers(httpx_mock, 400, f'{{"errno": 400, "errmsg": "bad key {spelled}"}}'.encode())
    answers(httpx_mock, 200, f"<html>{spelled}".encode())
    answers(httpx_mock, 200, f'{{"errno": 0, "result": "{spelled}"}}'.encode())
    httpx_mock.add_exception(httpx.RemoteProtocolError(f"illegal status line: {KEY}"))
    answers(httpx_mock, body={"errno": 0, "result": 1})
    client = make(say=said.append)
    with pytest.raises(RequestRefused) as refused:
        client.get("/market", {})
    with pytest.raises(UnreadableAnswer) as unreadable:
        client.get("/market", {})
    assert client.get("/market", {}) == "***"
    client.get("/market", {})
    everything = f"{refused.value} {unreadable.value} {unreadable.value.payload} {said}"
    assert "***" in str(refused.value)
    assert KEY not in everything and spelled not in everything


def test_nothing_is_printed_or_logged(
    httpx_mock: HTTPXMock, make: Make, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A retry is told to nobody but ``say``: cron would mail it."""
    said: list[str] = []
    answers(httpx_mock, 500, b"", times=2)
    answers(httpx_mock, body={"errno": 0, "result": 1})
    make(say=said.append).get("/market", {"token": "of-somebody"})
    assert said == ["the exchange says 500, a fault of its own; trying again"] * 2
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert stamina.is_active()


def test_the_exchanges_time(httpx_mock: HTTPXMock, make: Make) -> None:
    """It is that of the latest answer; one that cannot be read changes nothing."""
    client = make()
    assert client.latest_date is None
    for date in ("Thu, 01 Jan 1970 00:00:05 GMT", "yesterday", "Thu, 01 Jan 99999 00:00:05 GMT", ""):
        answers(httpx_mock, body={"errno": 0, "result": 1}, headers={"Date": date})
        client.get("/market", {})
        assert client.latest_date == 5_000


def test_closing_leaves_connections_that_are_in_use_to_their_user(httpx_mock: HTTPXMock, make: Make) -> None:
    """The last request under way closes them; none is begun after."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: httpx.Request) -> httpx.Response:
        begun.set()
        go_on.wait(5)
        return httpx.Response(200, content=b'{"errno": 0, "result": 1}')

    httpx_mock.add_callback(wait)
    client = make()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(client.get("/market", {})))
    thread.start()
    assert begun.wait(5)
    client.close()
    assert not client._http.is_closed
    go_on.set()
    thread.join()
    assert client._http.is_closed
    assert results == [1]
    with pytest.raises(OutOfTime):
        client.get("/market", {})


@pytest.mark.parametrize("proxy", ["nonsense://x", "http://user:secret@[::1"])
def test_a_proxy_that_cannot_be(proxy: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, without the address: that may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(SettingsError, match="HTTPS_PROXY") as caught:
        make()
    assert "secret" not in str(caught.value)


def test_a_proxy_without_a_scheme(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken as curl takes it."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    make()


def test_a_short_key_spoils_no_data(httpx_mock: HTTPXMock, make: Make) -> None:
    """A key of a few letters stands in other words too: what the exchange sends arrives as it was sent."""
    httpx_mock.add_response(json={"errno": 0, "result": {"marketTitle": "Will the talks take place?"}})
    assert make(key="k").get("/market", {}) == {"marketTitle": "Will the talks take place?"}
