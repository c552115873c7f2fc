"""A number of 64 bits that stands for what a row says, computed alike here and by the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from struct import Struct
from typing import Any

from whalesync.store.changes import Column, Row, Table, Type

_BETWEEN, _NULL = "\x1f", "\x1e"
_NO_NUMBER = -(2**63)  # what PostgreSQL sends for a moment of minus infinity
_SENT = {
    Type.FLOAT: ("d", float("nan"), "float8send(coalesce({}, 'NaN'))"),
    Type.INTEGER: ("q", _NO_NUMBER, f"int8send(coalesce({{}}, {_NO_NUMBER})::bigint)"),
    Type.MOMENT: ("q", _NO_NUMBER, "timestamptz_send(coalesce({}, '-infinity'))"),
}


Digest = Callable[[Row], int]


def sql(table: Table, names: Iterable[str], prefix: str) -> str:
    """What computes the number of a row on the server, from the columns ``names`` of ``table``."""
    texts, numbers = _parts(table, names)
    joined = ", ".join(f"coalesce({prefix}{column.name}, E'\\x1e')" for _, column in texts)
    sent = [_SENT[column.type][2].format(f"{prefix}{column.name}") for _, column in numbers]
    data = " || ".join([f"convert_to(concat_ws(E'\\x1f', {joined}), 'UTF8')", *sent])
    return f"('x' || encode(substr(sha256({data}), 1, 8), 'hex'))::bit(64)::bigint"


def of(table: Table, names: Iterable[str]) -> Digest:
    """What computes the same number of a row that was read from the file."""
    texts, numbers = _parts(table, names)
    places = [place for place, _ in texts]
    others = [(place, _SENT[column.type][1]) for place, column in numbers]
    pack = Struct(">" + "".join(_SENT[column.type][0] for _, column in numbers)).pack

    def digest(row: Row) -> int:
        text = _BETWEEN.join([_NULL if row[place] is None else row[place] for place in places])
        values: list[Any] = [none if row[place] is None else row[place] for place, none in others]
        return int.from_bytes(sha256(text.encode() + pack(*values)).digest()[:8], "big", signed=True)

    return digest


_Placed = list[tuple[int, Column]]


def _parts(table: Table, names: Iterable[str]) -> tuple[_Placed, _Placed]:
    wanted = set(names)
    placed = [(place, column) for place, column in enumerate(table.columns) if column.name in wanted]
    texts = [each for each in placed if each[1].type is Type.TEXT]
    return texts, [each for each in placed if each[1].type is not Type.TEXT]
