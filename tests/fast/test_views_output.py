"""JSON and CSV that every reader accepts, and standard outputs that accept nothing."""

import csv
import json
import os
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from whalesync.errors import WhalesyncError
from whalesync.views.output import console_on, standard_output, write_csv, write_json

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], []),
        ({"a": [1, 2.5, None, True, "café 🐋"], "b": {"c": ("x",)}},) * 2,
        # What JSON cannot hold: numbers that are not finite, and lone surrogates; a pair of them is a character.
        ([NAN, INF, -INF], [None, None, None]),
        ({"x\udc00": "a\ud83db", "whole": "\ud83d\udc0b"}, {"x\ufffd": "a\ufffdb", "whole": "🐋"}),
    ],
)
def test_json_is_one_document_that_every_parser_accepts(document: Any, expected: Any) -> None:
    """In ASCII, with a line feed at its end; null and U+FFFD stand for what JSON cannot hold."""
    out = StringIO()
    write_json(document, out)
    text = out.getvalue()
    assert text.isascii() and text.endswith("\n")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found == json.loads(json.dumps(expected))  # which makes lists of tuples


def test_csv_comes_back_as_it_was() -> None:
    """Quotes and commas are quoted; None is empty; only the columns asked for, in their order."""
    out = StringIO()
    write_csv([{"b": 'say "hi", you', "a": 1.5, "c": 0}, {"a": None, "b": "é", "c": 0}], out, ["a", "b"])
    assert list(csv.reader(StringIO(out.getvalue()))) == [["a", "b"], ["1.5", 'say "hi", you'], ["", "é"]]


def test_csv_has_a_header_and_one_safe_line_for_each_row() -> None:
    """No formula and no escape, whatever a title contains; without rows a script still finds its columns."""
    out = StringIO()
    write_csv([{"a": "=1+1"}, {"a": "x\n\x1b[2J"}, {"a": -5}], out, ["a"])
    write_csv([], out, ["a", "b"])
    assert out.getvalue() == "a\n'=1+1\n" + r"x\n\x1b[2J" + "\n-5\na,b\n"


@pytest.mark.parametrize("length", [1, 100_000])
@pytest.mark.parametrize("table", [True, False])
def test_a_reader_that_has_gone_ends_the_output_silently(length: int, table: bool) -> None:
    """As with `| head`; nothing fails later, when what is still buffered is flushed as the stream is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, standard_output(stream) as out:
        if table:
            console_on(out, 80).print("x" * length)  # by default rich would exit the program
        else:
            out.write("x" * length)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_output_is_one_line_and_not_a_traceback() -> None:
    """Also when it is noticed only as the buffer is flushed at the end."""
    with open("/dev/full", "w") as stream:
        message = "cannot write to standard output \\(No space left on device\\)"
        with pytest.raises(WhalesyncError, match=message), standard_output(stream) as out:
            out.write("x")
        stream.flush()


def test_a_closed_output_is_an_error() -> None:
    """`>&-` leaves Python without a standard output."""
    closed = StringIO()
    closed.close()
    for stream in (None, closed):
        with pytest.raises(WhalesyncError, match="closed"), standard_output(stream):
            pytest.fail("the block must not run")


def test_characters_that_an_encoding_lacks_are_replaced() -> None:
    """A terminal in Latin-1 shows a question mark."""
    raw = BytesIO()
    with standard_output(TextIOWrapper(raw, encoding="latin-1")) as out:
        out.write("62¢ 🐋")
        out.flush()
        assert raw.getvalue() == b"62\xa2 ?"


def test_a_console_interprets_nothing() -> None:
    """Markup and emoji names are plain text."""
    out = StringIO()
    console_on(out, 80).print("[red]x[/red] :boom: 12 'y'")
    assert out.getvalue() == "[red]x[/red] :boom: 12 'y'\n"
