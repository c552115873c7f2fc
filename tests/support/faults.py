"""Ways in which an exchange, or the network before it, can answer wrongly. Each is a fault for the sandbox."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.host import KEY, wallet

from whalesync.sandbox import Fault, Handler, Request, Sandbox, make_trade

Answer = Callable[[Request, Handler], None]
LOADED_AT = int(time.time())
GOOD = b'{"errno": 0, "errmsg": "", "result": {"total": 0, "list": []}}'


def head(length: int | str, *more: str) -> bytes:
    """The head of a response."""
    lines = ("HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {length}", *more)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def send(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """A well-formed response."""
    return lambda request, handler: handler.send(status, body, headers)


def raw(data: bytes, pause: float = 0.0) -> Answer:
    """Bytes as they are."""
    return lambda request, handler: handler.send_raw(data, pause)


def reset(request: Request, handler: Handler) -> None:
    """A reset connection, within the body."""
    handler.send_raw(head(1000) + GOOD)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def endless_body(request: Request, handler: Handler) -> None:
    """Bytes without an end, as fast as they go."""
    handler.close_connection = True
    handler.wfile.write(head(10**12))
    while True:
        handler.wfile.write(b"[" * 65536)


def endless_head(request: Request, handler: Handler) -> None:
    """Interim responses without an end."""
    handler.close_connection = True
    while not handler.server.sandbox.stopping.wait(0.001):
        handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        handler.wfile.flush()


def silence(request: Request, handler: Handler) -> None:
    """No response at all."""
    handler.close_connection = True
    handler.server.sandbox.stopping.wait(60)


def changed(change: Callable[[dict[str, Any], Request], None]) -> Answer:
    """The true list, changed."""

    def answer(request: Request, handler: Handler) -> None:
        sandbox: Sandbox = handler.server.sandbox
        result = sandbox.answer(request)
        assert result is not None
        change(result, request)
        handler.send(200, sandbox.wrap(result))

    return answer


def bad_records(spoil: Callable[[dict[str, Any], int], object]) -> Answer:
    """The true list with every twentieth record spoiled; which ones does not depend on the size of a page."""

    def change(result: dict[str, Any], request: Request) -> None:
        first = (int(request.query["page"]) - 1) * int(request.query["limit"])
        result["list"] = [
            record if place % 20 else spoil(record, place) for place, record in enumerate(result["list"], start=first)
        ]

    return changed(change)


def with_fields(**fields: Any) -> Answer:
    """Every twentieth record with other values in these fields."""
    return bad_records(lambda record, place: record | fields)


def result(text: str) -> Answer:
    """An envelope with this text as its result."""
    return send(200, b'{"errno": 0, "errmsg": "", "result": ' + text.encode() + b"}")


def first_page(request: Request, handler: Handler) -> None:
    """The first page, whatever page is asked for."""
    request.query["page"] = "1"
    handler.send(200, handler.server.sandbox.wrap(handler.server.sandbox.answer(request)))


def never_ending(request: Request, handler: Handler) -> None:
    """A page of a list of ten million trades, all of them good."""
    limit = int(request.query["limit"])
    first = (int(request.query["page"]) - 1) * limit
    trades = [make_trade(createdAt=LOADED_AT - place) for place in range(first, first + limit)]
    handler.send(200, handler.server.sandbox.wrap({"total": 10_000_000, "list": trades}))


def more_total(difference: int) -> Answer:
    """A total that is wrong by so many."""
    return changed(lambda result, request: result.update(total=result["total"] + difference))


def of_wallets(answers: Sequence[Answer]) -> Fault:
    """The fault that answers the requests for the trades of the first wallets so, each with its own answer."""
    by_path = {f"/trade/user/{wallet(number)}": answer for number, answer in enumerate(answers, 1)}

    def fault(request: Request, handler: Handler) -> bool:
        answer = by_path.get(request.path)
        if answer is not None:
            answer(request, handler)
        return answer is not None

    return fault


KEY_IN_JSON = json.dumps({"errno": 400, "errmsg": f"bad: {KEY}"})

RETRY_AFTER: dict[str, Answer] = {
    f"429, Retry-After {value}": send(429, b"", {"Retry-After": value})
    for value in ("-1", "Fri, 31 Dec 2100 23:59:59 GMT", "1000000000", "nan")
}
"""The exchange asks to wait: what it puts off for one wallet, it may put off for the other too."""

STATUSES: dict[str, Answer] = {
    "429 under 200": send(200, b'{"errno": 429, "errmsg": "slow down", "result": null}'),
    "500": send(500, b"oops"),
    "503 with HTML": send(503, b"<html>down for maintenance</html>", {"Retry-After": "1000000000"}),
    "500 under 200": send(200, b'{"code": 500, "msg": "oops", "result": null}'),
    "redirect": send(302, b"", {"Location": "https://elsewhere.example/"}),
    "204": send(204),
    "304": send(304),
    "the key in an error": send(400, KEY_IN_JSON.encode()),
    "the key in an error, spelled otherwise": send(400, KEY_IN_JSON.replace("/", r"\/").encode()),
}

STREAMS: dict[str, Answer] = {
    "reset": reset,
    "closed without a byte": raw(b""),
    "truncated body": raw(head(1000) + GOOD),
    "truncated chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e\r\n" + GOOD),
    "body cut without a length": raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + GOOD[:-1]),
    "slow body": raw(head(1000) + GOOD + b" " * 900, 0.5),
    "slow head": raw(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000, 0.5),
    "endless body": endless_body,
    "endless head": endless_head,
    "endless header": raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000_000),
    "silence": silence,
    "another protocol": raw(b"220 mail.example ESMTP " + KEY.encode() + b"\r\n"),
    "content-length too short": raw(head(len(GOOD) - 5) + GOOD),
    "content-length below 0": raw(head(-1) + GOOD),
    "two content-lengths": raw(head(5, f"Content-Length: {len(GOOD)}") + GOOD),
    "gzip bomb": send(200, gzip.compress(bytes(16 * 2**20)), {"Content-Encoding": "gzip"}),
    "gzip in gzip": send(200, gzip.compress(gzip.compress(GOOD)), {"Content-Encoding": "gzip, gzip"}),
    "broken gzip": send(200, GOOD, {"Content-Encoding": "gzip"}),
    "truncated gzip": send(200, gzip.compress(GOOD)[:-20], {"Content-Encoding": "gzip"}),
}

BODIES: dict[str, Answer] = {
    "HTML": send(200, b"<html><title>Just a moment...</title></html>", {"Content-Type": "text/html"}),
    "no body": send(200),
    "NaN": result('{"total": NaN, "list": []}'),
    "1e999": result('{"total": 1e999, "list": []}'),
    "a number of 5,000 digits": result('{"total": ' + "1" * 5_000 + ', "list": []}'),
    "nested 100,000 deep": result("[" * 100_000 + "]" * 100_000),
    "nested 900 deep": result("[" * 900 + "]" * 900),
    "not UTF-8": send(200, b'{"errno": 0, "errmsg": "\xff\xfe", "result": {"total": 0, "list": []}}'),
    "an array": send(200, b"[]"),
    "null": send(200, b"null"),
    "no envelope": send(200, b'{"total": 0, "list": []}'),
    "result null": result("null"),
    "list is text": result('{"total": 1, "list": "none"}'),
    "total is text": result('{"total": "0", "list": []}'),
    "total is true": result('{"total": true, "list": [1]}'),
    "total below 0": result('{"total": -1, "list": []}'),
    "total of 10^18": result('{"total": 1000000000000000000, "list": []}'),
    "error number is a list": send(200, b'{"errno": [[[]]], "errmsg": "", "result": null}'),
    "error number is an object": send(200, b'{"errno": {}, "errmsg": "", "result": {"total": 0, "list": []}}'),
}

LISTS: dict[str, Answer] = {
    "the page is ignored": first_page,
    "total too large": more_total(+5),
    "total too small": more_total(-5),
    "pages too long": changed(lambda result, request: result["list"].extend(result["list"][:])),
    "pages are empty": changed(lambda result, request: result["list"].clear()),
    "every other trade is missing": changed(lambda result, request: result.update(list=result["list"][::2])),
    "unsorted": changed(lambda result, request: result["list"].reverse()),
}
"""The list contradicts itself: the run says so, and stores nothing that is not listed."""

RECORDS: dict[str, Answer] = {
    "NaN as amount": with_fields(amount=float("nan")),
    "Infinity as price": with_fields(price="Infinity"),
    "1e999 as shares": with_fields(shares=float("inf")),
    "a lone surrogate as title": with_fields(marketTitle="\ud800"),
    "a lone surrogate as hash": with_fields(txHash="\udfff"),
    "an object as side": with_fields(side={"name": "Buy"}),
    "nothing as side": with_fields(side=None),
    "outcome 3": with_fields(side="Buy", outcomeSide=3, outcomeSideEnum="Maybe", outcome="Maybe"),
    "text as market": with_fields(marketId="drop table"),
    "market 0": with_fields(marketId=0),
    "a status that is not filled": with_fields(status=1, statusEnum="Pending"),
    "a negative amount": with_fields(amount="-5"),
    "a record that is text": bad_records(lambda record, place: f"record {place}"),
    "the key beside a missing hash": with_fields(txHash=None, note=KEY),
}
"""One record is bad: it is rejected, and all others are stored."""

WIRE = RETRY_AFTER | STATUSES | STREAMS | BODIES
"""The request fails, and nothing of the response is stored."""

PRICE: dict[str, Answer] = {"a price of NaN": result('{"price": NaN, "bids": [{}]}')}
