"""Write data: JSON and CSV, and a standard output that may be closed, full, or limited in its encoding."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from typing import TYPE_CHECKING, Any, TextIO

from whalesync.errors import WhalesyncError
from whalesync.text import csv_cell

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def standard_output(stream: TextIO | None) -> Iterator[TextIO]:
    """Yield the stream to write to and flush it at the end. ``stream`` is ``sys.stdout``: None when it is closed.

    Where the reader has gone (``whalesync activity | head``) the block ends early and silently. What is still buffered
    then goes to /dev/null, as after a failure, so that it does not fail again when the interpreter ends.

    Raises:
        WhalesyncError: it is closed, full or fails in another way.
    """
    if stream is None or stream.closed:
        raise WhalesyncError("standard output is closed")
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?" for other characters
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
    except OSError as exc:
        _discard(stream)
        raise WhalesyncError(f"cannot write to standard output ({exc.strerror or exc})") from exc


def console_on(stream: TextIO, width: int | None = None) -> Console:
    """Make a console for tables that interprets no markup or emoji names and leaves a broken pipe to the caller."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # the error that rich is handling when it calls this; by default rich would exit the program

    return Plain(file=stream, width=width, markup=False, emoji=False, highlight=False)


def write_json(document: Any, stream: TextIO) -> None:
    """Write one JSON document that every parser accepts: ASCII, no NaN."""
    import json

    json.dump(_valid(document), stream, indent=2, allow_nan=False)
    stream.write("\n")


def write_json_lines(rows: Iterable[Mapping[str, Any]], stream: TextIO) -> None:
    """Write one JSON object a line, by the same rules."""
    import json

    for row in rows:
        json.dump(_valid(row), stream, allow_nan=False, separators=(",", ":"))
        stream.write("\n")


def write_csv(
    rows: Iterable[Mapping[str, Any]], stream: TextIO, columns: Sequence[str], *, header: bool = True
) -> None:
    """Write a header and a line for each row (RFC 4180 with LF); text is escaped and never starts a formula."""
    import csv

    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([csv_cell(row[column]) for column in columns] for row in rows)


def _valid(value: Any) -> Any:
    """Replace what JSON cannot hold: NaN and infinities by null, a lone surrogate by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {_valid(name): _valid(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(content) for content in value]
    return value


def _discard(stream: TextIO) -> None:
    """Point the stream's descriptor at /dev/null; a stream without a descriptor has nothing to discard."""
    with suppress(OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
