"""The crontab: printing one for this host, and reading the one that is installed.

Two dialects have to agree on one text. The cron of Debian and cronie turn ``\\%`` into ``%`` and ``\\\\`` into
``\\`` before ``/bin/sh`` sees the command; busybox crond passes it on unchanged, and knows no
``NAME=value`` lines. So settings are put in front of each command, and neither character is ever written
where the two would read it differently.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent

import whalesync
from whalesync.errors import SettingsError, WhalesyncError
from whalesync.jobs.table import JOBS, Job
from whalesync.settings import DB, ENV_FILE

MAX_COMMAND = 998  # Debian's cron refuses longer ones (MAX_COMMAND in its cron.h)


HEADER = """\
# whalesync: every trade of the whales you watch, in one SQLite file.
#
# To append these lines to your crontab:  (crontab -l 2>/dev/null; whalesync crontab) | crontab -
# To have no other lines than these (REPLACES your crontab):  whalesync crontab | crontab -
# "whalesync doctor" checks that they are in place. They contain no secret: the key belongs in the env file,
# which only you may read.
"""


def render(program: Sequence[str], env_file: Path | None, db: Path | None) -> str:
    """Return the crontab for this host, ready for ``crontab -``. It works under ``PATH=/usr/bin:/bin``.

    A path that is None is not mentioned: the job then finds its own default.

    Raises:
        SettingsError: a path cannot be written in a crontab.
    """
    return "\n".join([HEADER, *(entry(job, program, env_file, db) for job in JOBS)])


def entry(job: Job, program: Sequence[str], env_file: Path | None, db: Path | None) -> str:
    """Return the line of one job, below a comment that says what it is for; see ``render``."""
    paths = {ENV_FILE.name: env_file, DB.name: db}
    before = [f"{name}={_quoted(str(path.absolute()))}" for name, path in paths.items() if path is not None]
    command = " ".join([*before, *map(_quoted, program), job.command, *job.arguments])
    if len(command.encode()) > MAX_COMMAND:
        raise SettingsError(f"the paths are too long: a crontab line takes {MAX_COMMAND} bytes")
    return f"{indent(job.purpose, '# ')}\n{job.cron} {command}\n"


def this_program() -> list[str]:
    """Return how to start this program from anywhere, in an empty environment: absolute paths only.

    Knows a console script, a zipapp and ``python -m whalesync``; whatever else started it, the last one works.

    Raises:
        SettingsError: Python does not know its own path.
    """
    started = Path(sys.argv[0]).absolute()
    if started.name == "whalesync" and shutil.which(str(started)) and not zipfile.is_zipfile(started):
        return [str(started)]
    if not sys.executable:
        raise SettingsError("cannot tell which Python runs this: install whalesync with pipx or uv")
    if zipfile.is_zipfile(started):
        return [sys.executable, str(started)]
    folder = str(Path(whalesync.__file__).absolute().parent.parent)
    # A package that is not installed was found through the working folder or PYTHONPATH, and cron has neither.
    installed = Path(folder).name in ("site-packages", "dist-packages")
    path = [] if installed else ["/usr/bin/env", f"PYTHONPATH={folder}"]
    return [*path, sys.executable, "-m", "whalesync"]


def find_lines(text: str, *, commented_out: bool = False) -> dict[str, str]:
    """Return the lines of a crontab that start our jobs, by command; the last one, if a command has several.

    With ``commented_out`` those that would, if they were not commented out.
    """
    return dict(_lines_of_jobs(text, commented_out))


def find_doubles(text: str) -> list[str]:
    """Return the commands that more than one line starts for the same database."""
    found = [(command, setting(line, DB.name), _option(line, "--db")) for command, line in _lines_of_jobs(text, False)]
    return [job.command for job in JOBS if any(each[0] == job.command and found.count(each) > 1 for each in found)]


def _lines_of_jobs(text: str, commented_out: bool) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        is_comment = line.lstrip().startswith("#")
        words = _words(line.lstrip("# \t")) if is_comment == commented_out else []
        if any("whalesync" in word.lower() for word in words):  # in its name, or in a setting in front of it
            yield from ((job.command, line) for job in JOBS if job.command in words)


def _option(line: str, name: str) -> str | None:
    """Return the value that the line gives to an option, or None."""
    words = _words(line)
    pairs = zip(words, [*words[1:], ""], strict=True)
    return next((word.partition("=")[2] or following for word, following in pairs if word.split("=")[0] == name), None)


def starts(line: str, program: Sequence[str]) -> bool:
    """Return whether the line runs ``program``, whatever is written around it."""
    words = _words(line)
    return any(words[at : at + len(program)] == list(program) for at in range(len(words)))


def setting(line: str, name: str) -> str | None:
    """Return what the line sets ``name`` to in front of its command, or None."""
    values = [word.removeprefix(f"{name}=") for word in _words(line) if word.startswith(f"{name}=")]
    return values[-1] if values else None


def is_available() -> bool:
    """Return whether this host has the program that reads and replaces a user's crontab."""
    return shutil.which("crontab") is not None


def installed_text() -> str | None:
    """Return this user's crontab; None if there is none, it cannot be read, or there is no cron here."""
    try:
        return read() or None
    except WhalesyncError:
        return None


def read() -> str:
    """Return this user's crontab, "" if there is none. Bytes that are not UTF-8 survive ``replace``.

    Raises:
        WhalesyncError: it cannot be read. It must not be replaced then: what it holds is not known.
    """
    done = _run("-l")
    if done.returncode == 0:
        return done.stdout.decode(errors="surrogateescape")
    # All programs exit with 1 and say why: cronie, Debian and macOS "no crontab for NAME", busybox "can't open 'NAME':
    # No such file or directory".
    why = done.stderr.decode(errors="replace").strip()
    if "no crontab for" in why or "No such file" in why:
        return ""
    raise WhalesyncError(f"the crontab cannot be read ('crontab -l': {why or f'exit code {done.returncode}'})")


def replace(text: str) -> None:
    """Make ``text`` this user's crontab.

    Raises:
        WhalesyncError: it was refused; the crontab is as it was.
    """
    done = _run("-", stdin=text.encode(errors="surrogateescape"))
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise WhalesyncError(f"the crontab was not changed ('crontab -': {why})")


def with_entries(text: str, entries: Sequence[str]) -> str:
    """Return a crontab with entries after all its lines, which stay as they are."""
    if text and not text.endswith("\n"):
        text += "\n"
    return "\n".join([*([text] if text else []), *entries])


def _run(argument: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("crontab")
    if program is None:
        raise WhalesyncError("there is no 'crontab' on this host")
    env = {**os.environ, "LC_ALL": "C"}  # ``read`` knows the messages in English
    try:
        return subprocess.run([program, argument], input=stdin, env=env, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise WhalesyncError(f"'crontab {argument}' failed ({exc})") from exc


def _quoted(text: str) -> str:
    """Return ``text`` as one word for /bin/sh in every dialect (see the top of this file).

    Raises:
        SettingsError: it contains a line break or another character that no crontab can hold.
    """
    if not text.isprintable():
        raise SettingsError(f"a path with unprintable characters cannot be written in a crontab: {text!a}")
    # Never "\%" inside quotes, where busybox would keep the backslash; never two backslashes in a row.
    apart = {"%": "\\%", "\\": "'\\'"}
    return "".join(apart.get(part) or shlex.quote(part) for part in re.split(r"([%\\])", text) if part)


def _words(line: str) -> list[str]:
    """Return the words of a crontab line as /bin/sh would see them; none if a quote is not closed."""
    try:
        return shlex.split(line.replace("\\%", "%"))
    except ValueError:
        return []
