"""Data on its way out: JSON and CSV, and a standard output that may be closed, full, or not take every letter.

A command writes inside ``standard_output``, and nothing else happens in there::

    with standard_output(sys.stdout) as out:
        write_json(rows, out)

- The reader has gone (``whalesync activity | head``): the block ends early and in silence; the command ends as it
  would have.
- Standard output is closed or full: ``WhalesyncError``, one line and exit code 1 as for every other failure.

In both cases the descriptor then leads to /dev/null, so that what is still buffered does not fail once more when the
interpreter ends. The jobs write nothing to standard output and are not affected.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, TextIO

from whalesync.errors import WhalesyncError
from whalesync.views.text import csv_cell

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def standard_output(stream: TextIO | None) -> Iterator[TextIO]:
    """The stream to write to, flushed at the end. ``stream`` is ``sys.stdout``, which is None when it is closed.

    Raises:
        WhalesyncError: it is closed, full or broken in another way.
    """
    if stream is None or stream.closed:
        raise WhalesyncError("standard output is closed: nowhere to write the result to")
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?" for what it lacks
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
    except OSError as exc:
        _discard(stream)
        raise WhalesyncError(f"cannot write to standard output ({exc.strerror or exc})") from exc


def console_on(stream: TextIO, width: int | None = None) -> Console:
    """A console for tables. It interprets no markup and no emoji names, and leaves a broken pipe to the caller."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # the error that rich is handling when it calls this; by itself it would exit the program

    return Plain(file=stream, width=width, markup=False, emoji=False, highlight=False)


def write_json(document: Any, stream: TextIO) -> None:
    """One JSON document that every parser takes: ASCII only, no NaN, no lone surrogates. Dataclasses become objects."""
    import json

    json.dump(_sound(document), stream, indent=2, allow_nan=False)
    stream.write("\n")


def write_csv(
    rows: Iterable[Mapping[str, Any]], stream: TextIO, columns: Sequence[str], *, header: bool = True
) -> None:
    """A header and a line for each row (RFC 4180 with LF); text never starts a formula and is made plain."""
    import csv

    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([csv_cell(row[column]) for column in columns] for row in rows)


def _sound(value: Any) -> Any:
    """The same with what JSON cannot say replaced: a number that is none by null, a lone surrogate by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {_sound(name): _sound(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(content) for content in value]
    if is_dataclass(value):
        return {field.name: _sound(getattr(value, field.name)) for field in fields(value)}
    return value


def _discard(stream: TextIO) -> None:
    """Let the stream's descriptor lead nowhere; one without a descriptor has nothing to discard."""
    with suppress(OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
