"""The simulated exchange as a server: key, rate, limits, faults. `httpx` is the client, never our own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx
import pytest
from support.clock import StillClock

from whalesync.sandbox import Books, Handler, Record, Request, Sandbox, make_market, make_trade

WALLET = "0x" + "Ab" * 20


@pytest.fixture
def sandbox(books: Books) -> Iterator[Sandbox]:
    """The exchange with one known key and no rate limit."""
    with Sandbox(books, key="right", rate=None) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client with the right key."""
    with httpx.Client(base_url=sandbox.url, headers={"apikey": "right"}) as client:
        yield client


def ask(client: httpx.Client, path: str, **query: str | int) -> Record:
    """The whole envelope of a response."""
    envelope: Record = client.get(path, params=query).raise_for_status().json()
    return envelope


def test_a_market_travels_field_for_field(books: Books, client: httpx.Client) -> None:
    """What is added is what is sent, odd and unknown fields included; a refusal is a number in the same envelope."""
    market = make_market(7, marketTitle="10–15s \ud83d", volume="37086630.111525", labels=None, new=[1])
    books.add_market(market)
    assert ask(client, "/market") == {"errno": 0, "errmsg": "", "result": {"total": 1, "list": [market]}}
    assert ask(client, "/market/7")["result"] == {"data": market}
    assert ask(client, "/market", limit=21)["errno"] == 400


def test_the_key_is_needed_for_wallets_and_must_be_right_everywhere(sandbox: Sandbox) -> None:
    """A wrong key is refused with 11002; without a key, markets are answered and wallets are not."""
    paths = ("/market", f"/trade/user/{WALLET}", f"/positions/user/{WALLET}")
    with httpx.Client(base_url=sandbox.url) as client:
        assert [ask(client, path)["errno"] for path in paths] == [0, 401, 401]
        client.headers["apikey"] = "wrong"
        assert [ask(client, path)["errno"] for path in paths] == [11002] * 3
        client.headers["apikey"] = "right"
        assert [ask(client, path)["errno"] for path in paths] == [0, 0, 0]


def test_the_front_end_s_api_needs_no_key(books: Books) -> None:
    """It has a base address of its own, is not held to the rate, and its requests are recorded with the others."""
    books.add_trade(WALLET, make_trade(amount="5"))
    with Sandbox(books, rate=1) as sandbox, httpx.Client(base_url=sandbox.web_url) as client:
        for _ in range(2):
            envelope = ask(client, "/leaderboard", dataType="volume", period=0, chainId=56, limit=100)
        (row,) = envelope["result"]["list"]
        assert (envelope["errno"], row["walletAddress"], row["rankingValue"]) == (0, WALLET.lower(), "5")
        assert ask(client, "/leaderboard", period=2)["errno"] == 10000
        assert client.get("/market").status_code == 404
        assert client.get(f"{sandbox.url}/leaderboard").status_code == 404
        seen = [(request.path, request.service, request.key) for request in sandbox.requests]
        assert seen == [("/leaderboard", "web", None)] * 3 + [("/market", "web", None), ("/leaderboard", "api", None)]
        assert sandbox.busiest_second() == 1


def test_an_unknown_market_is_refused_under_http_200(client: httpx.Client) -> None:
    """By number, as a topic and by slug, in the words of the exchange."""
    for path in ("/market/7", "/market/categorical/7", "/market/slug/seven"):
        assert ask(client, path) == {"errno": 10200, "errmsg": "Topic ID does not exist", "result": None}


def test_paths_outside_the_api_are_http_404(sandbox: Sandbox) -> None:
    """A wrong base address shows at once."""
    root = sandbox.url.removesuffix("/openapi")
    urls = (f"{root}/market", f"{root}/", f"{sandbox.url}/markets", f"{sandbox.url}/trade/user/x/y")
    assert [httpx.get(url, headers={"apikey": "right"}).status_code for url in urls] == [404] * 4


def test_the_sixteenth_request_of_a_second_is_refused(books: Books) -> None:
    """Fifteen pass, the rest get 429 with `Retry-After`, and a second later requests pass again."""
    with Sandbox(books) as sandbox, httpx.Client(base_url=sandbox.url) as client:
        responses = [client.get("/market") for _ in range(18)]
        assert [response.status_code for response in responses] == [200] * 15 + [429] * 3
        assert responses[-1].headers["Retry-After"] == "1"
        assert responses[-1].json()["errno"] == 429
        assert sandbox.busiest_second() == 18
        time.sleep(1.01 - (time.monotonic() - sandbox.requests[0].arrived))
        assert client.get("/market").status_code == 200


def test_the_date_header_is_the_books_clock(clock: StillClock, client: httpx.Client) -> None:
    """A test can give the exchange any time of day."""
    clock.now += 12_345
    response = client.get("/market")
    assert parsedate_to_datetime(response.headers["Date"]).timestamp() == clock.now


def test_every_request_is_recorded(sandbox: Sandbox, client: httpx.Client) -> None:
    """A request is kept with its path below the base, query and status; the key is not shown."""
    ask(client, "/market", page=2, limit=5)
    client.get("/nowhere")
    seen = [(request.path, request.query, request.status) for request in sandbox.requests]
    assert seen == [("/market", {"page": "2", "limit": "5"}, 200), ("/nowhere", {}, 404)]
    assert "right" not in repr(sandbox.requests)


def test_a_fault_may_answer_or_decline(sandbox: Sandbox, client: httpx.Client) -> None:
    """A fault sees each request, may send any status and headers, or let the books answer."""

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


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b""])
def test_a_fault_may_break_the_response_off(data: bytes, sandbox: Sandbox, client: httpx.Client) -> None:
    """Raw bytes are sent as they are, and then the connection closes."""

    def fault(request: Request, handler: Handler) -> bool:
        handler.send_raw(data)
        return True

    sandbox.fault = fault
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/market")


def test_it_imports_nothing_of_the_rest() -> None:
    """It loads the standard library and itself alone, so that our own mistakes cannot reach it."""
    script = (
        "import sys, json, whalesync; before = set(sys.modules)\n"
        "import whalesync.sandbox\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = [name for name in json.loads(done.stdout) if not name.startswith("whalesync.sandbox")]
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == set()
