"""Writing the env file: other lines, comments and their order stay; nobody else can read it at any moment.

``dotenv.set_key`` is not used: it puts the key into a file that others may read and keeps its mode, does not force the
file onto the disk, turns CRLF into LF in every line, and drops the comment and the ``export`` of the line it changes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from tempfile import NamedTemporaryFile

from whalesync.errors import SettingsError

PRIVATE = 0o600

# A line as the parser of python-dotenv reads it: what is in front of the value, the value, and what follows.
_LINE = re.compile(
    r"""(\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*=[^\S\r\n]*)
        ('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\r\n]*?)
        ((?:(?:[^\S\r\n]+|(?<=[ \t]))\#[^\r\n]*)?[^\S\r\n]*(?:\r\n|\n|\r)?)""",
    re.VERBOSE | re.DOTALL,
)
_NEEDS_QUOTES = re.compile(r"[\s'\"#]")


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return the text of an env file with these values, each in the last line that sets its name, or in a new one."""
    from dotenv.parser import parse_stream

    mark = "\ufeff" if text.startswith("\ufeff") else ""
    parts: list[str] = []
    last: dict[str, int] = {}
    for binding in parse_stream(StringIO(text.removeprefix(mark), newline="")):
        if binding.key is not None and binding.key in values:
            last[binding.key] = len(parts)
        parts.append(binding.original.string)
    end = "\r\n" if "\r\n" in text else "\n"
    for name, value in values.items():
        if name in last:
            parts[last[name]] = _changed(parts[last[name]], name, value)
        else:
            if parts and not parts[-1].endswith(("\n", "\r")):
                parts.append(end)
            parts.append(f"{name}={_quoted(value)}{end}")
    return mark + "".join(parts)


def write(path: Path, values: Mapping[str, str]) -> None:
    """Set values in the env file, which is made if it does not exist, whole or not at all. It has mode 600 afterwards.

    Raises:
        SettingsError: it cannot be written; it is as it was.
    """
    try:
        present = path.read_bytes().decode() if path.exists() else ""
        write_private(path, with_values(present, values))
    except OSError as exc:
        raise SettingsError(f"cannot write the env file {path} ({exc.strerror})") from exc


def write_private(path: Path, text: str) -> None:
    """Make or replace a file, whole or not at all, with mode 600 at every moment.

    Raises:
        OSError: it cannot be written; it is as it was.
    """
    target = path.resolve()  # a link stays a link
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # NamedTemporaryFile makes a file of mode 600, whatever the umask.
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name[:100]}.", delete=False) as file:
        try:
            file.write(text.encode())
            file.flush()
            if target.exists():
                with suppress(PermissionError):  # only root may give a file away
                    os.fchown(file.fileno(), target.stat().st_uid, target.stat().st_gid)
            os.fsync(file.fileno())
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_private(path: Path) -> None:
    """Take the permissions of others away.

    Raises:
        SettingsError: the file belongs to another user.
    """
    try:
        path.chmod(PRIVATE)
    except OSError as exc:
        raise SettingsError(f"cannot change the mode of {path} ({exc.strerror})") from exc


def open_to_others(path: Path) -> int | None:
    """Return the mode of a file that other users may use; None if they may not, or there is none."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0
    return mode if mode & 0o077 else None


def _changed(line: str, name: str, value: str) -> str:
    if found := _LINE.fullmatch(line):
        space = " " if found[3].startswith("#") else ""  # or the comment would be part of the value
        return found[1] + _quoted(value) + space + found[3]
    indent, end = line[: len(line) - len(line.lstrip())], line[len(line.rstrip()) :]  # a name without "="
    return f"{indent}{name}={_quoted(value)}{end or chr(10)}"


def _quoted(value: str) -> str:
    """Return the value so that python-dotenv reads it back, bare where that is enough."""
    if not _NEEDS_QUOTES.search(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
