"""JSON and CSV that every reader accepts, and standard outputs that accept nothing."""

import csv
import json
import os
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from whalesync.errors import WhalesyncError
from whalesync.views.output import console_on, standard_output, write_csv, write_json


def as_json(document: Any) -> Any:
    """Parse it strictly."""
    out = StringIO()
    write_json(document, out)
    out.getvalue().encode("ascii")
    return json.loads(out.getvalue(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_json_is_one_document_with_a_line_feed() -> None:
    """An empty list is a document too."""
    out = StringIO()
    write_json([], out)
    assert out.getvalue() == "[]\n"


def test_json_keeps_what_it_is_given() -> None:
    """Nested values, any script, tuples as lists."""
    document = {"a": [1, 2.5, None, True, "café 🐋"], "b": {"c": ("x",)}}
    assert as_json(document) == {"a": [1, 2.5, None, True, "café 🐋"], "b": {"c": ["x"]}}


def test_json_has_only_finite_numbers() -> None:
    """NaN and the infinities become null."""
    assert as_json([float("nan"), float("inf"), -float("inf")]) == [None, None, None]


def test_json_has_no_lone_surrogates() -> None:
    """A lone surrogate is replaced, in names too; a pair of them is the character that it encodes."""
    assert as_json({"x\udc00": "a\ud83db", "whole": "\ud83d\udc0b"}) == {"x\ufffd": "a\ufffdb", "whole": "🐋"}


def test_json_of_a_dataclass_is_an_object() -> None:
    """It has the names of the fields."""

    @dataclass(frozen=True, slots=True)
    class Point:
        x: int
        label: str

    assert as_json([Point(1, "\udfff")]) == [{"x": 1, "label": "\ufffd"}]


def test_csv_comes_back_as_it_was() -> None:
    """Quotes and commas are quoted; None is empty; only the columns asked for, in their order."""
    out = StringIO()
    write_csv([{"b": 'say "hi", you', "a": 1.5, "c": 0}, {"a": None, "b": "é", "c": 0}], out, ["a", "b"])
    assert list(csv.reader(StringIO(out.getvalue()))) == [["a", "b"], ["1.5", 'say "hi", you'], ["", "é"]]


def test_csv_without_rows_has_its_header() -> None:
    """A script finds its columns."""
    out = StringIO()
    write_csv([], out, ["a", "b"])
    assert out.getvalue() == "a,b\n"


def test_csv_has_no_formula_and_no_escape() -> None:
    """Each record stays on one line, whatever a title contains."""
    out = StringIO()
    write_csv([{"a": "=1+1"}, {"a": "x\n\x1b[2J"}, {"a": -5}], out, ["a"])
    assert out.getvalue().splitlines() == ["a", "'=1+1", r"x\n\x1b[2J", "-5"]


@pytest.mark.parametrize("length", [1, 100_000])
def test_a_reader_that_has_gone_ends_the_output_silently(length: int) -> None:
    """As with `| head`; nothing fails later, when what is still buffered is flushed as the stream is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    with standard_output(stream) as out:
        out.write("x" * length)
    stream.close()


def test_a_reader_that_has_gone_ends_tables_silently() -> None:
    """By default rich would exit the program."""
    reader, writer = os.pipe()
    os.close(reader)
    reached = False
    with os.fdopen(writer, "w") as stream, standard_output(stream) as out:
        console = console_on(out, 80)
        console.print("x" * 100_000)
        reached = True
    assert not reached


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_output_is_one_line_and_not_a_traceback() -> None:
    """Also when it is noticed only as the buffer is flushed at the end."""
    with open("/dev/full", "w") as stream:
        with (
            pytest.raises(
                WhalesyncError, match="cannot write to standard output \\(No space left on device\\)"
            ),
            standard_output(stream) as out,
        ):
            out.write("x")
        stream.flush()


@pytest.mark.parametrize("closed", [True, False])
def test_a_closed_output_is_an_error(closed: bool) -> None:
    """`>&-` leaves Python without a standard output."""
    stream = StringIO() if closed else None
    if stream:
        stream.close()
    with pytest.raises(WhalesyncError, match="closed"), standard_output(stream):
        pytest.fail("the block must not run")


def test_an_error_inside_is_not_taken_for_one_of_the_output() -> None:
    """Other exceptions pass unchanged."""
    with pytest.raises(KeyError), standard_output(StringIO()):
        raise KeyError("bug")


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
