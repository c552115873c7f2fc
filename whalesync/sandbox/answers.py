"""What the exchange answers on each of its paths: a pure step from a parsed request to a result."""

from collections.abc import Mapping
from typing import overload

from .books import PAGE_SIZE, Books, Refused
from .wire import BINARY, Record

Query = Mapping[str, str]


def answer(books: Books, path: str, query: Query) -> Record | None:
    """The `result` for a path below the base address, such as "/market/7"; `Refused` if there is none."""
    match path.split("/")[1:]:
        case ["market"]:
            return books.market_page(
                _number(query, "page", 1),
                _number(query, "limit", PAGE_SIZE),
                status=query.get("status"),
                market_type=_number(query, "marketType", BINARY),
                sort_by=_number(query, "sortBy", 0),
                chain_id=query.get("chainId"),
            )
        case ["market", "categorical", market_id]:
            return {"data": books.categorical(_integer("marketId", market_id))}
        case ["market", market_id]:
            return {"data": books.market(_integer("marketId", market_id))}
        case ["token", "latest-price"]:
            return _latest_price(books, _token(query))
        case ["token", "orderbook"]:
            return books.order_book(_token(query))
        case ["token", "price-history"]:
            return books.price_history(
                _token(query),
                query.get("interval", "1d"),
                _number(query, "start_at", None),
                _number(query, "end_at", None),
            )
        case ["trade", "user", wallet]:
            return books.trade_page(
                wallet,
                _number(query, "page", 1),
                _number(query, "limit", PAGE_SIZE),
                market_id=_number(query, "marketId", None),
                chain_id=query.get("chainId"),
            )
    raise Refused(404, "no such path", status=404)


def _latest_price(books: Books, token_id: str) -> Record | None:
    """A token that never traded is answered in one of the ways seen on the exchange, always the same."""
    price = books.latest_price(token_id)
    if price is not None:
        return price
    unpriced = {"tokenId": token_id, "side": "", "size": "", "timestamp": 0}
    match sum(map(ord, token_id)) % 4:
        case 0:
            raise Refused(404, "no trade found for this token")
        case 1:
            return {**unpriced, "price": ""}
        case 2:
            return {**unpriced, "price": None}
    return None


def _token(query: Query) -> str:
    if not query.get("token_id"):
        raise Refused(400, "token_id is required")
    return query["token_id"]


@overload
def _number(query: Query, name: str, default: int) -> int: ...
@overload
def _number(query: Query, name: str, default: None) -> int | None: ...
def _number(query: Query, name: str, default: int | None) -> int | None:
    return _integer(name, query[name]) if name in query else default


def _integer(name: str, text: str) -> int:
    # Digits alone: int() would also take " 7", "+7" and "1_000".
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused(400, f"{name} must be a whole number")
    return int(text)
