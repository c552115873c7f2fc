"""The stand-in exchange as a server: key, rate, limits, faults. `httpx` is the client, never our own."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx
import pytest

from whalesync.sandbox import (
    Books,
    Handler,
    Record,
    Request,
    Sandbox,
    make_market,
)

NOW = 1_760_000_000.0
DAY = 86_400
WALLET = "0x" + "Ab" * 20


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(clock: Clock) -> Books:
    return Books(clock)


@pytest.fixture
def sandbox(books: Books) -> Iterator[Sandbox]:
    with Sandbox(books, key="right", rate=None) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers={"apikey": "right"}) as client:
        yield client


def ask(client: httpx.Client, path: str, **query: str | int) -> Record:
    """The whole envelope."""
    answer: Record = client.get(path, params=query).raise_for_status().json()
    return answer


def test_the_key_is_needed_for_wallets_and_must_be_right_everywhere(sandbox: Sandbox) -> None:
    """A wrong key is refused with 11002; without one, markets answer and wallets do not."""
    paths = ("/market", f"/trade/user/{WALLET}")
    with httpx.Client(base_url=sandbox.url) as client:
        assert [ask(client, path)["errno"] for path in paths] == [0, 401]
        client.headers["apikey"] = "wrong"
        assert [ask(client, path)["errno"] for path in paths] == [11002, 11002]
        client.headers["apikey"] = "right"
        assert [ask(client, path)["errno"] for path in paths] == [0, 0]


def test_the_other_envelope(books: Books) -> None:
    """The reference's wrapping says the same under other names."""
    with Sandbox(books, envelope="code") as sandbox, httpx.Client(base_url=sandbox.url) as client:
        assert ask(client, "/market") == {"code": 0, "msg": "success", "result": {"total": 0, "list": []}}
        assert ask(client, "/market", limit=21)["code"] == 400


def test_paths_outside_the_api_are_http_404(sandbox: Sandbox) -> None:
    """So a wrong base address shows at once."""
    root = sandbox.url.removesuffix("/openapi")
    urls = (f"{root}/market", f"{root}/", f"{sandbox.url}/markets", f"{sandbox.url}/trade/user/x/y")
    assert [httpx.get(url, headers={"apikey": "right"}).status_code for url in urls] == [404] * 4


@pytest.mark.parametrize("retry_after", ["1", None])
def test_the_sixteenth_request_of_a_second_is_refused(books: Books, retry_after: str | None) -> None:
    """Fifteen pass, the rest get 429, with `Retry-After` if set, and a second later there is room."""
    with Sandbox(books, retry_after=retry_after) as sandbox, httpx.Client(base_url=sandbox.url) as client:
        answers = [client.get("/market") for _ in range(18)]
        assert [answer.status_code for answer in answers] == [200] * 15 + [429] * 3
        assert answers[-1].headers.get("Retry-After") == retry_after
        assert answers[-1].json()["errno"] == 429
        assert sandbox.busiest_second() == 18
        time.sleep(1.01 - (time.monotonic() - sandbox.requests[0].arrived))
        assert client.get("/market").status_code == 200


def test_answers_say_their_length_and_the_exchange_s_time(clock: Clock, client: httpx.Client) -> None:
    """`Date` is the books' clock, so that a wrong time can be played; the connection is kept."""
    first, second = client.get("/market"), client.get("/market")
    assert parsedate_to_datetime(first.headers["Date"]).timestamp() == clock.now
    assert int(first.headers["Content-Length"]) == len(first.content)
    assert first.http_version == "HTTP/1.1"
    ports = [answer.extensions["network_stream"].get_extra_info("client_addr") for answer in (first, second)]
    assert ports[0] == ports[1]


def test_every_request_is_recorded(sandbox: Sandbox, client: httpx.Client) -> None:
    """With its arrival, path below the base, query and the status it got; the key is not shown."""
    before = time.monotonic()
    ask(client, "/market", page=2, limit=5)
    client.get("/nowhere")
    seen = [(request.path, request.query, request.status) for request in sandbox.requests]
    assert seen == [("/market", {"page": "2", "limit": "5"}, 200), ("/nowhere", {}, 404)]
    assert all(before <= request.arrived <= time.monotonic() for request in sandbox.requests)
    assert "right" not in repr(sandbox.requests)


def test_latency_holds_each_answer_back(books: Books) -> None:
    """As a slow network would."""
    with Sandbox(books, latency=0.1) as sandbox:
        start = time.monotonic()
        httpx.get(f"{sandbox.url}/market")
        assert time.monotonic() - start >= 0.1


def test_a_fault_may_answer_by_status(sandbox: Sandbox, client: httpx.Client) -> None:
    """A fault sees the request, may send any status and headers, or decline and let the books answer."""

    def fault(request: Request, handler: Handler) -> bool:
        if request.query.get("page") == "2":
            handler.send(503, b"<html>", {"Retry-After": "-1", "Content-Type": "text/html"})
            return True
        return False

    sandbox.fault = fault
    assert client.get("/market").status_code == 200
    broken = client.get("/market", params={"page": 2})
    assert (broken.status_code, broken.text, broken.headers["Retry-After"]) == (503, "<html>", "-1")
    assert [request.status for request in sandbox.requests] == [200, 503]


def test_a_fault_may_break_the_answer_off(sandbox: Sandbox, client: httpx.Client) -> None:
    """Raw bytes go out as they are and the connection closes: here a body shorter than it says."""

    def truncate(request: Request, handler: Handler) -> bool:
        handler.send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        return True

    sandbox.fault = truncate
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/market")

    def hang_up(request: Request, handler: Handler) -> bool:
        handler.send_raw(b"")
        return True

    sandbox.fault = hang_up
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/market")


def test_a_dripping_answer_does_not_hold_up_the_end(books: Books) -> None:
    """Bytes leave one by one; leaving the context ends drips and idle connections at once."""
    dripping = threading.Event()

    def drip(request: Request, handler: Handler) -> bool:
        dripping.set()
        handler.send_raw(b"HTTP/1.1 200 OK\r\n", pause=0.05)
        return True

    with Sandbox(books, fault=drip) as sandbox:
        host, port = sandbox.url.removeprefix("http://").removesuffix("/openapi").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /openapi/market HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100) == b"H"
            assert dripping.is_set()
            start = time.monotonic()
            sandbox.__exit__(None, None, None)
            while connection.recv(100):
                pass
            assert time.monotonic() - start < 0.5
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{sandbox.url}/market")


def test_it_listens_on_loopback_alone_and_serves_many_at_once(books: Books) -> None:
    """Eight slow requests take the time of one."""
    with Sandbox(books, latency=0.2) as sandbox:
        assert sandbox.url.startswith("http://127.0.0.1:")
        start = time.monotonic()
        threads = [threading.Thread(target=httpx.get, args=(f"{sandbox.url}/market",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - start < 8 * 0.2
        assert [request.status for request in sandbox.requests] == [200] * 8


def test_it_serves_in_the_foreground_until_interrupted() -> None:
    """`serve_forever` answers, prints nothing by itself, and lets KeyboardInterrupt through."""
    script = (
        "from whalesync.sandbox import Books, Sandbox\n"
        "sandbox = Sandbox(Books())\n"
        "print(sandbox.url, flush=True)\n"
        "try: sandbox.serve_forever()\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/market").json()["errno"] == 0
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=5) == ("interrupted\n", "")


def test_it_keeps_up_with_a_load_test(books: Books, client: httpx.Client) -> None:
    """Far more than the rate of the exchange: 500 small answers a second on one connection."""
    market = make_market(7)
    books.add_market(market)
    books.set_price(market["yesTokenId"], "0.5")
    url = client.base_url.copy_with(
        raw_path=b"/openapi/token/latest-price?token_id=" + market["yesTokenId"].encode()
    )
    # Over a bare socket: most of the time would be httpx's.
    request = b"GET " + url.raw_path + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((url.host, url.port or 80)) as connection:
        start = time.monotonic()
        for _ in range(500):
            connection.sendall(request)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - start < 1


def test_it_imports_nothing_of_the_rest() -> None:
    """The standard library and itself alone: our own mistakes cannot reach it."""
    script = (
        "import sys, json, whalesync; before = set(sys.modules)\n"
        "import whalesync.sandbox\n"
        "print(json.dumps(sorted({n for n in set(sys.modules) - before})))"
    )
    loaded = json.loads(
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    )
    ours = {name for name in loaded if name.startswith("whalesync")}
    assert {name for name in ours if not name.startswith("whalesync.sandbox")} == set()
    assert {name.split(".")[0] for name in set(loaded) - ours} - sys.stdlib_module_names == set()
