"""Ways in which an exchange, or the network before it, can answer wrongly. Each is a fault for the sandbox."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

from machine import KEY, envelope, wallet

from whalesync.sandbox import Fault, Handler, Request, Sandbox, make_trade

Answer = Callable[[Request, Handler], None]
LOADED_AT = int(time.time())
GOOD = b'{"errno": 0, "errmsg": "", "result": {"total": 0, "list": []}}'


def head(length: int | str, *more: str) -> bytes:
    """The head of an answer."""
    lines = ("HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {length}", *more)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def says(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """A well-formed answer."""
    return lambda request, handler: handler.send(status, body, headers)


def raw(data: bytes, pause: float = 0.0) -> Answer:
    """Bytes as they are."""
    return lambda request, handler: handler.send_raw(data, pause)


def reset(request: Request, handler: Handler) -> None:
    """Cut off in the midst of the body."""
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
    """Interim answers without an end."""
    handler.close_connection = True
    while not handler.server.sandbox.stopping.wait(0.001):
        handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        handler.wfile.flush()


def silence(request: Request, handler: Handler) -> None:
    """No answer at all."""
    handler.close_connection = True
    handler.server.sandbox.stopping.wait(60)


def listed(change: Callable[[dict[str, Any], Request], None]) -> Answer:
    """The true list, changed."""

    def answer(request: Request, handler: Handler) -> None:
        sandbox: Sandbox = handler.server.sandbox
        result: Any = sandbox.answer(request)
        change(result, request)
        handler.send(200, envelope(result))

    return answer


def first_record(**fields: Any) -> Answer:
    """The true list, with other values in the first record of each page."""
    return listed(lambda result, request: result["list"][0].update(fields) if result["list"] else None)


def bodies(result: str) -> Answer:
    """An envelope with this text as its result."""
    return says(200, b'{"errno": 0, "errmsg": "", "result": ' + result.encode() + b"}")


def page_one(request: Request, handler: Handler) -> None:
    """The number of the page is ignored."""
    sandbox: Sandbox = handler.server.sandbox
    request.query["page"] = "1"
    handler.send(200, envelope(sandbox.answer(request)))


def never_ending(request: Request, handler: Handler) -> None:
    """A list of ten million trades, all of them good."""
    page = int(request.query["page"])
    trades = [make_trade(createdAt=LOADED_AT - (20 * page + i)) for i in range(20)]
    handler.send(200, envelope({"total": 10_000_000, "list": trades}))


def more_total(difference: int) -> Answer:
    """A total that is wrong by so many."""
    return listed(lambda result, request: result.update(total=result["total"] + difference))


#: Of the wire: the request fails, and nothing of it is stored.
WIRE: dict[str, Answer] = {
    "429, Retry-After 0": says(429, b"", {"Retry-After": "0"}),
    "429, Retry-After -1": says(429, b"", {"Retry-After": "-1"}),
    "429, Retry-After a date": says(429, b"", {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
    "429, Retry-After 10^9": says(429, b"", {"Retry-After": "1000000000"}),
    "429, Retry-After nan": says(429, b"", {"Retry-After": "nan"}),
    "429, Retry-After inf": says(429, b"", {"Retry-After": "inf"}),
    "429 under 200": says(200, b'{"errno": 429, "errmsg": "slow down", "result": null}'),
    "500": says(500, b"oops"),
    "503 with HTML": says(503, b"<html>down for maintenance</html>", {"Retry-After": "1000000000"}),
    "500 under 200": says(200, b'{"code": 500, "msg": "oops", "result": null}'),
    "reset": reset,
    "closed without a word": raw(b""),
    "truncated body": raw(head(1000) + GOOD),
    "truncated chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e\r\n" + GOOD),
    "body cut without a length": raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + GOOD[:-1]),
    "a byte a second, in the body": raw(head(1000) + GOOD + b" " * 900, 0.5),
    "a byte a second, in the head": raw(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000, 0.5),
    "endless body": endless_body,
    "endless head": endless_head,
    "endless header": raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000_000),
    "silence": silence,
    "no HTTP": raw(b"220 mail.example ESMTP " + KEY.encode() + b"\r\n"),
    "HTML": says(200, b"<html><title>Just a moment...</title></html>", {"Content-Type": "text/html"}),
    "no body": says(200),
    "NaN": bodies('{"total": NaN, "list": []}'),
    "1e999": bodies('{"total": 1e999, "list": []}'),
    "a number of 5,000 digits": bodies('{"total": ' + "1" * 5_000 + ', "list": []}'),
    "nested 100,000 deep": bodies("[" * 100_000 + "]" * 100_000),
    "nested 900 deep": bodies("[" * 900 + "]" * 900),
    "not UTF-8": says(200, b'{"errno": 0, "errmsg": "\xff\xfe", "result": {"total": 0, "list": []}}'),
    "an array": says(200, b"[]"),
    "null": says(200, b"null"),
    "no envelope": says(200, b'{"total": 0, "list": []}'),
    "result null": bodies("null"),
    "list is text": bodies('{"total": 1, "list": "none"}'),
    "total is text": bodies('{"total": "0", "list": []}'),
    "total is true": bodies('{"total": true, "list": [1]}'),
    "total below 0": bodies('{"total": -1, "list": []}'),
    "total of 10^18": bodies('{"total": 1000000000000000000, "list": []}'),
    "error number is a list": says(200, b'{"errno": [[[]]], "errmsg": "", "result": null}'),
    "error number is an object": says(
        200, b'{"errno": {}, "errmsg": "", "result": {"total": 0, "list": []}}'
    ),
    "redirect": says(302, b"", {"Location": "https://elsewhere.example/"}),
    "204": says(204),
    "304": says(304),
    "wrong content-length, too short": raw(head(len(GOOD) - 5) + GOOD),
    "content-length below 0": raw(head(-1) + GOOD),
    "two content-lengths": raw(head(5, f"Content-Length: {len(GOOD)}") + GOOD),
    "gzip bomb": says(200, gzip.compress(bytes(64 * 2**20)), {"Content-Encoding": "gzip"}),
    "gzip in gzip": says(200, gzip.compress(gzip.compress(GOOD)), {"Content-Encoding": "gzip, gzip"}),
    "broken gzip": says(200, GOOD, {"Content-Encoding": "gzip"}),
    "cut gzip": says(200, gzip.compress(GOOD)[:-20], {"Content-Encoding": "gzip"}),
    "the key in an error": says(400, json.dumps({"errno": 400, "errmsg": f"bad: {KEY}"}).encode()),
    "the key, spelled otherwise": says(
        400, json.dumps({"errno": 400, "errmsg": f"bad: {KEY}"}).replace("/", r"\/").encode()
    ),
}

#: Of the list: it contradicts itself, and nothing of that page is stored.
LIST: dict[str, Answer] = {
    "ignores the page": page_one,
    "total too large": more_total(+5),
    "total too small": more_total(-5),
    "pages of 40": listed(lambda result, request: result["list"].extend(result["list"][:])),
    "pages are empty": listed(lambda result, request: result["list"].clear()),
    "every other trade is missing": listed(lambda result, request: result.update(list=result["list"][::2])),
    "unsorted": listed(lambda result, request: result["list"].reverse()),
}

#: Of one record: it is set aside, all others are stored.
RECORD: dict[str, Answer] = {
    "NaN as amount": first_record(amount=float("nan")),
    "Infinity as price": first_record(price="Infinity"),
    "1e999 as shares": first_record(shares=float("inf")),
    "a lone surrogate as title": first_record(marketTitle="\ud800"),
    "a lone surrogate as hash": first_record(txHash="\udfff"),
    "an object as side": first_record(side={"name": "Buy"}),
    "nothing as side": first_record(side=None),
    "outcome 3": first_record(side="Buy", outcomeSide=3, outcomeSideEnum="Maybe", outcome="Maybe"),
    "text as market": first_record(marketId="drop table"),
    "a time in milliseconds": first_record(marketId=0),
    "a status that is not filled": first_record(status=1, statusEnum="Pending"),
    "a negative amount": first_record(amount="-5"),
    "a record that is text": listed(
        lambda result, request: (
            result["list"].__setitem__(0, request.query["page"]) if result["list"] else None
        )
    ),
    "the key as hash": first_record(txHash=None, note=KEY),
}


PRICE: dict[str, Answer] = {"a price of NaN": bodies('{"price": NaN, "bids": [{}]}')}


def of_wallet(answer: Answer, number: int | None) -> Fault:
    """The fault that answers all requests for a wallet so, or all requests."""

    def fault(request: Request, handler: Handler) -> bool:
        if number is not None and request.path != f"/trade/user/{wallet(number)}":
            return False
        answer(request, handler)
        return True

    return fault
