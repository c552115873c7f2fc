"""The parameters of a request: how they are read and refused, and how they cut a list into pages."""

from collections.abc import Mapping, Sequence

from ..values import Record

PAGE_SIZE, LARGEST_PAGE = 10, 20

Query = Mapping[str, str | int]


class Refused(Exception):
    """The exchange declines a request, with its error `number` under the HTTP `status`."""

    def __init__(self, number: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.number = number
        # What the exchange refuses was seen under HTTP 200.
        self.status = status


def integer(name: str, text: str) -> int:
    """A whole number; raises Refused."""
    # Digits alone: int() would also take " 7", "+7" and "1_000".
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused(400, f"{name} must be a whole number")
    return int(text)


def choice(query: Query, name: str, allowed: Sequence[int]) -> int:
    """A parameter that must be one of `allowed`, of which the first is the default; raises Refused."""
    chosen = integer(name, str(query[name])) if name in query else allowed[0]
    if chosen not in allowed:
        raise Refused(400, f"{name} must be one of {', '.join(map(str, allowed))}")
    return chosen


def page(records: Sequence[Record], query: Query) -> Record:
    """A page of records, copied, and how many there are on all pages; raises Refused."""
    number, limit = (
        integer(name, str(query.get(name, default))) for name, default in (("page", 1), ("limit", PAGE_SIZE))
    )
    if not 1 <= limit <= LARGEST_PAGE:
        raise Refused(400, f"limit must be between 1 and {LARGEST_PAGE}")
    if number < 1:
        raise Refused(400, "page must be at least 1")
    return {
        "total": len(records),
        "list": [dict(record) for record in records[(number - 1) * limit : number * limit]],
    }


def of_market(records: Sequence[Record], query: Query) -> Sequence[Record]:
    """The records that name the market of the query; all of them if it has none. Raises Refused."""
    if "marketId" not in query:
        return records
    number = integer("marketId", str(query["marketId"]))
    return [record for record in records if record.get("marketId") == number]
